"""What a project demands of a candidate, as it is written there: gates, and the guards that stand unless taken down."""

import math
import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.judging import metrics
from components.judging.baselines import BASELINE, PREVIOUS
from components.judging.evaluation import FEW_ROWS
from components.judging.metrics import Metric
from serving.contract import Contract, Frozen
from serving.errors import ConfigError
from serving.frozen import Count

Number = Annotated[float, Field(allow_inf_nan=False)]
Confidence = Annotated[float, Field(ge=0.5, lt=1)]
Off = Literal["off"]
SURE = 0.95
_PERCENT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*%\s*$")
_CONDITIONS = ("at_most", "at_least", "against", "worst", "suspicious", "unseen")


class Gate(Frozen):
    """One condition on one metric.

    Attributes:
        metric: what is judged, such as rmse, mae, mape, r2, bias, roc_auc, log_loss, f1, accuracy.
        at_most: bar for metrics where less is better, and for the size of a signed one (bias).
        at_least: bar for metrics where more is better.
        slice: column along which rows are judged apart.
        against: the champion on the same rows; ``baseline``, the mean or the classes' shares of the training rows; or
            ``previous``, the value before by event time.
        margin: how much better than that it has to be: in the metric's unit, or ``"2%"`` of the other's value; at 0
            merely better.
        tolerance: how much worse it may be instead, in the same words; a candidate that is as good may then serve.
        confidence: that it is so on other rows of the kind too, one-sided by the paired differences; without it the
            held-out rows alone decide. Of slices: that one which fails does fail, all of them taken together.
        worst: bar that every slice along the column ``slice`` keeps: a ceiling, or a floor where more is better.
        min_rows: slices with fewer rows are not judged.
        suspicious: a level that neither the model nor a column by itself may reach, since only a leak does.
        unseen: at least so many held-out rows, of which the model was not trained on most.

    Raises:
        ConfigError: an unknown metric, or keys that contradict each other.
    """

    metric: str
    at_most: Number | None = None
    at_least: Number | None = None
    against: Literal["champion", "baseline", "previous"] | None = None
    margin: Number | str = 0.0
    tolerance: Number | str | None = None
    confidence: Confidence | None = None
    slice: str | None = None
    worst: Number | None = None
    min_rows: Count = FEW_ROWS
    suspicious: Number | None = None
    unseen: Count | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        metric = metrics.get(self.metric, where="gates.metric")
        given = [key for key in _CONDITIONS if getattr(self, key) is not None]
        if len(given) != 1:
            raise self._refuse(
                f"exactly one of {', '.join(_CONDITIONS)} (with slice), seen {' and '.join(given) or 'none'}"
            )
        if (self.slice is None) != (self.worst is None):
            raise self._refuse("'slice' and 'worst' together")
        self._check_company()
        if self.at_most is not None and metric.direction == "maximize":
            raise self._refuse(f"'at_least', since more {metric.label} is better, seen 'at_most'")
        if self.at_least is not None and metric.direction != "maximize":
            raise self._refuse(f"'at_most', since less {metric.label} is better, seen 'at_least'")
        if self.suspicious is not None and metric.name not in ("r2", "roc_auc"):
            raise self._refuse("'suspicious' of r2 or roc_auc, in which columns by themselves are measured too")
        return self

    def _check_company(self) -> None:
        """Refuse keys beside none of those that they belong to."""
        if self.against is None:
            for key in ("margin", "tolerance"):
                if key in self.model_fields_set:
                    raise self._refuse(f"'{key}' only beside 'against'")
        if self.against is None and self.worst is None and self.confidence is not None:
            raise self._refuse("'confidence' only beside 'against' or 'slice'")
        if self.worst is None and "min_rows" in self.model_fields_set:
            raise self._refuse("'min_rows' only beside 'slice'")
        if self.tolerance is not None and "margin" in self.model_fields_set:
            raise self._refuse("'margin' to be better or 'tolerance' to be no worse, seen both")
        for key in ("margin", "tolerance"):
            value = getattr(self, key)
            if isinstance(value, str) and not _PERCENT.match(value):
                raise self._refuse(f"'{key}' as a number or a share such as '2%', seen {value!r}")
            if isinstance(value, float) and not value >= 0:
                raise self._refuse(f"'{key}' of 0 or more, since ties keep the champion, seen {value:g}")

    def _refuse(self, expected: str) -> ConfigError:
        return ConfigError(f"gates: the gate on {self.metric} is contradictory: expected {expected}")

    def margin_of(self, other: float) -> float:
        """How much better it has to be, in the metric's unit, given the *other*'s value; negative: may be worse."""
        return _part(self.margin, other) if self.tolerance is None else -_part(self.tolerance, other)


def _part(stated: float | str, of: float) -> float:
    match = _PERCENT.match(stated) if isinstance(stated, str) else None
    return abs(of) * float(match[1]) / 100 if match else float(stated)


class Guards(Frozen):
    """Gates that stand in every project until it takes them down with ``off``, or has its own against the same.

    Attributes:
        baseline: how much better the model must be than always saying the mean (or the classes' shares) of the
            training rows, as a share of that one's loss.
        previous: how much better than saying the value before by event time. Where labels come with a delay
            (``watch.labels.delay``) that value is not known, and nothing is asked unless this is written.
        leak: R2 or ROC AUC that a model, or a column by itself, reaches only where the target leaks into it.
        unseen: how many held-out rows a verdict needs at least; and most of them must not be training rows.
    """

    baseline: Off | str = "2.5%"
    previous: Off | str = "0%"
    leak: Off | Annotated[float, Field(gt=0, le=1)] | None = None
    unseen: Off | Count = FEW_ROWS

    @model_validator(mode="after")
    def _shares(self) -> Self:
        for key in ("baseline", "previous"):
            if (seen := getattr(self, key)) != "off" and not _PERCENT.match(seen):
                raise ValueError(f"{key}: expected a share such as '2.5%', or off; seen {seen!r}")
        return self

    def gates(self, contract: Contract, metric: str | None, own: Sequence[Gate], *, late: bool) -> tuple[Gate, ...]:
        """As gates on *metric*, the one that the project follows, beside its *own*.

        Args:
            late: labels come with a delay.
        """
        lead, leaks = metric or metrics.leading(contract.task).name, "roc_auc" if contract.target.classes else "r2"
        stated = {gate.against for gate in own}
        found = []
        if self.unseen != "off":
            found.append(Gate(metric=lead, unseen=self.unseen))
        if self.leak != "off":
            found.append(Gate(metric=leaks, suspicious=self.leak or LEAKS[leaks]))
        if self.baseline != "off" and BASELINE not in stated:
            found.append(Gate(metric=lead, against=BASELINE, margin=self.baseline))
        if self._previous(contract, late=late) and PREVIOUS not in stated:
            found.append(Gate(metric=lead, against=PREVIOUS, margin=self.previous))
        return tuple(found)

    def _previous(self, contract: Contract, *, late: bool) -> bool:
        known = contract.event_time is not None and not contract.target.classes
        return known and self.previous != "off" and (not late or "previous" in self.model_fields_set)


LEAKS = {"r2": 0.999, "roc_auc": 0.9999}  # real tables stay below, but for those that a formula made


def check_gates(gates: Sequence[Gate], contract: Contract) -> None:
    """Refuse gates on metrics of another task, on slices along columns that the *contract* does not have, or that no
    candidate passes."""
    for place, gate in enumerate(gates):
        metric = metrics.get(gate.metric, where=f"gates[{place}].metric", task=contract.task)
        for key in ("at_most", "at_least", "worst", "suspicious"):
            if (level := getattr(gate, key)) is not None:
                metrics.check_floor(f"gates[{place}].{key}", metric, level)
        _check_margin(f"gates[{place}].margin", gate, metric)
        if gate.slice is not None and gate.slice not in contract.slots:
            raise ConfigError(
                f"gates[{place}].slice: expected a column, one of {', '.join(contract.slots)}; seen {gate.slice!r}"
            )
        if gate.against == PREVIOUS and (contract.event_time is None or contract.target.classes):
            raise ConfigError(f"gates[{place}].against: 'previous' needs contract.event_time and a target of numbers")


def _check_margin(where: str, gate: Gate, metric: Metric) -> None:
    """Refuse a margin that nothing is better by: an error falls by at most all of itself, a share rises by 1."""
    low, high = metric.losses
    part = isinstance(gate.margin, str)
    most = (math.inf if metric.direction == "maximize" else 1.0) if part else high - low
    if not _part(gate.margin, 1.0) < most:
        raise ConfigError(f"{where}: expected less than {'100%' if part else f'{most:g}'}, seen {gate.margin!r}")
    if gate.tolerance is not None and not _part(gate.tolerance, 1.0) < (1 if isinstance(gate.tolerance, str) else high):
        raise ConfigError(f"{where[:-6]}tolerance: expected less than what refuses nothing, seen {gate.tolerance!r}")
