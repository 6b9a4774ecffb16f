"""What a search came to, as one value that is stored as JSON and drawn in the report."""

from datetime import datetime
from typing import Any

from pydantic import Field

from components.judging import metrics
from serving.frozen import Frozen


class Trial(Frozen):
    """One set of parameters and the metric it reached; None, with the reason, when it could not be fitted.

    Attributes:
        started, seconds: when it was tried and for how long; a search from the cache keeps the times it was made at.
    """

    number: int
    params: dict[str, Any]
    value: float | None
    failure: str = ""
    seconds: float = 0.0
    started: datetime | None = None


class Tuning(Frozen):
    """The outcome of a search.

    Attributes:
        baseline_score: of the project's own parameters; the best is never worse.
        validation: which rows the metric was measured on.
        timed_out: the time limit ended the search, so that another run may hold more or fewer trials.
    """

    trials: tuple[Trial, ...] = ()
    best_params: dict[str, Any] = Field(default_factory=dict)
    best_score: float | None = None
    baseline_score: float | None = None
    metric: str = ""
    direction: str = ""
    unit: str = ""
    validation: str = ""
    timed_out: bool = False

    @property
    def skipped(self) -> bool:
        return not self.trials

    @property
    def sentence(self) -> str:
        """``16 trials, 3 of them failed, best RMSE 41,870 EUR (default 44,912 EUR)``."""
        if self.best_score is None or self.baseline_score is None:
            return "skipped: the search space is empty"
        metric = metrics.get(self.metric)
        best, default = (metric.show(score, self.unit) for score in (self.best_score, self.baseline_score))
        limit = ", ended by the time limit" if self.timed_out else ""
        failed = sum(trial.value is None for trial in self.trials)
        limit = (f", {failed} of them failed" if failed else "") + limit
        return f"{len(self.trials)} trials{limit}, best {metric.label} {best} (default {default})"
