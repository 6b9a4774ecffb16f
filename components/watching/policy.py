"""What a project says about watching and retraining: the ``watch`` and ``retrain`` sections."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from components.watching import cron
from serving.contract import Frozen
from serving.durations import Duration, Span, parse
from serving.errors import ConfigError
from serving.frozen import MOST, TINY, Count

_RELATIVE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*x\s*$")


def _level(value: float | str) -> float | str:
    match = _RELATIVE.match(value) if isinstance(value, str) else None
    if isinstance(value, str) and not (match and math.isfinite(float(match[1]))):
        raise ValueError("expected a number, or a multiple such as '1.25x'")
    return value


Level = Annotated[float | str, AfterValidator(_level)]


class Bar(Frozen):
    """A level that a watched figure must not pass.

    Attributes:
        above: the alarm's level; a number in the metric's unit, or ``"1.25x"``: times the holdout value of the version
            that serves.
        below: the same for metrics where more is better.
    """

    above: Level | None = None
    below: Level | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("a bar needs exactly one of 'above' and 'below'")
        return self

    @property
    def side(self) -> Literal["above", "below"]:
        return "below" if self.above is None else "above"

    @property
    def stated(self) -> float | str:
        """The level as it was written."""
        level = self.below if self.above is None else self.above
        return 0.0 if level is None else level

    @property
    def relative(self) -> bool:
        """Whether the level is a multiple of the holdout value."""
        return isinstance(self.stated, str)

    def level(self, reference: float | None) -> float | None:
        """The level in the metric's unit; a multiple of no *reference*, or of one that is not above 0, is nowhere."""
        if match := _RELATIVE.match(str(self.stated)) if self.relative else None:
            return None if reference is None or reference <= 0 else float(match[1]) * reference
        return float(self.stated)


class Labels(Frozen):
    """When truths arrive, and how many say something.

    Attributes:
        delay: how long after a prediction its truth usually arrives.
        at_least: with fewer labelled predictions the performance is unknown.
    """

    delay: Duration = parse("0s")
    at_least: Annotated[Count, Field(ge=2)] = 100


class DriftPolicy(Frozen):
    """When a column counts as drifted: the corrected p-value AND the effect size must both say so.

    Attributes:
        alpha: family-wise error rate over all columns (Holm 1979), 0..1.
        ks: least Kolmogorov-Smirnov distance of a numeric column, 0..1.
        cramers_v: least Cramer's V of a category column, 0..1.
        missing: least rise of the share of missing or out-of-range values, 0..1.
        rows: fewer rows say nothing.
    """

    alpha: Annotated[float, Field(ge=TINY, lt=1)] = 0.01
    ks: Annotated[float, Field(ge=0, le=1)] = 0.1
    cramers_v: Annotated[float, Field(ge=0, le=1)] = 0.1
    missing: Annotated[float, Field(ge=0, le=1)] = 0.02
    rows: Count = 200


class Watch(Frozen):
    """What is looked at, and when it is an alarm.

    Attributes:
        labels: when truths arrive, and how many are needed.
        drift: when a column counts as drifted.
        window: how far back from the moment of the look the judged figures reach; labelled ones by ``delay`` farther.
        alarm: bars by metric, or by ``error_rate`` (share of requests) and ``latency_p99`` (milliseconds), which have
            no holdout value and so take plain numbers.
        webhook: URL that gets each alert as JSON; empty: none.
    """

    labels: Labels = Labels()
    window: Span = parse("90d")
    alarm: dict[str, Bar] = Field(default_factory=dict)
    drift: DriftPolicy = DriftPolicy()
    webhook: str = ""


Trigger = Literal["performance", "drift", "schedule", "data"]


class Retrain(Frozen):
    """When the loop starts a run.

    Attributes:
        on: the reasons that count.
        schedule: five cron fields, UTC.
        cooldown: least time between two runs.
        fresh_labels: a run for performance or drift waits for this many labels newer than the last training row.
        window: how far back the training rows reach; None: all.
    """

    on: tuple[Trigger, ...] = ("performance",)
    schedule: str = ""
    cooldown: Duration = parse("7d")
    fresh_labels: Annotated[int, Field(ge=0, le=MOST)] = 500
    window: Span | None = None

    @field_validator("schedule")
    @classmethod
    def _due_some_day(cls, value: str) -> str:
        """A schedule that nothing waits for is checked too: it was written to be waited for."""
        try:
            if value:
                cron.check(value)
        except ConfigError as error:  # pydantic turns only ValueError into its report, with the key
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="before")
    @classmethod
    def _yaml_reads_on_as_true(cls, value: Any) -> Any:
        """YAML 1.1 reads the bare key ``on`` as the boolean true."""
        if isinstance(value, dict) and True in value:
            return {("on" if key is True else key): item for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "schedule" in self.on and not self.schedule:
            raise ValueError("'on' names schedule, but 'schedule' is empty; write five cron fields, e.g. \"0 3 1 * *\"")
        return self
