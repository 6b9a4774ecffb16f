"""Whether a candidate may serve: floors, the champion on the same rows, and the worst slice.

Ties keep the champion: a change of model costs attention and risk, so it has to bring more than the margin. A metric
that cannot be computed proves nothing and fails its gate.
"""

import math
import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.judging import metrics
from components.judging.evaluation import FEW_ROWS, Evaluation
from components.judging.metrics import Metric
from serving.contract import Contract, Frozen
from serving.errors import ConfigError, DataError
from serving.frozen import Count

Number = Annotated[float, Field(allow_inf_nan=False)]
FEW = 12  # narrowed things that are told before it is said how many more there are
_PERCENT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*%\s*$")


class Gate(Frozen):
    """One condition on one metric: a floor, a comparison with the champion, or a bar for the worst slice.

    Attributes:
        at_most: bar for metrics where less is better, and for the size of a signed one (bias); at_least for the others.
        margin: how much better than the champion it has to be: in the metric's unit, or ``"2%"`` of the champion's
            value; at 0 merely better.
        worst: bar that every slice along the column ``slice`` keeps: a ceiling, or a floor where more is better.
        min_rows: slices with fewer rows are not judged.

    Raises:
        ConfigError: an unknown metric, or keys that contradict each other.
    """

    metric: str
    at_most: Number | None = None
    at_least: Number | None = None
    against: Literal["champion"] | None = None
    margin: Number | str = 0.0
    slice: str | None = None
    worst: Number | None = None
    min_rows: Count = FEW_ROWS

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        metric = metrics.get(self.metric, where="gates.metric")
        given = [key for key in ("at_most", "at_least", "against", "worst") if getattr(self, key) is not None]
        if len(given) != 1:
            raise self._refuse(
                f"exactly one of at_most, at_least, against or slice with worst, seen {' and '.join(given) or 'none'}"
            )
        if (self.slice is None) != (self.worst is None):
            raise self._refuse("'slice' and 'worst' together")
        if self.against is None and "margin" in self.model_fields_set:
            raise self._refuse("'margin' only beside 'against: champion'")
        if self.worst is None and "min_rows" in self.model_fields_set:
            raise self._refuse("'min_rows' only beside 'slice'")
        if self.at_most is not None and metric.direction == "maximize":
            raise self._refuse(f"'at_least', since more {metric.label} is better, seen 'at_most'")
        if self.at_least is not None and metric.direction != "maximize":
            raise self._refuse(f"'at_most', since less {metric.label} is better, seen 'at_least'")
        if isinstance(self.margin, str) and not _PERCENT.match(self.margin):
            raise self._refuse(f"'margin' as a number or a share such as '2%', seen {self.margin!r}")
        if isinstance(self.margin, float) and not self.margin >= 0:
            raise self._refuse(f"'margin' of 0 or more, since ties keep the champion, seen {self.margin:g}")
        return self

    def _refuse(self, expected: str) -> ConfigError:
        return ConfigError(f"gates: the gate on {self.metric} is contradictory: expected {expected}")

    def margin_of(self, champion: float) -> float:
        """The margin in the metric's unit, given the *champion*'s value."""
        match = _PERCENT.match(self.margin) if isinstance(self.margin, str) else None
        return abs(champion) * float(match[1]) / 100 if match else float(self.margin)


class Check(Frozen):
    """What came of one gate.

    Attributes:
        bar: the value to keep, in the metric's unit; None where there is none: no champion, or an undefined one.
        seen: the candidate's value; None when undefined.
    """

    metric: str
    bar: float | None
    seen: float | None
    passed: bool
    sentence: str


class GateReport(Frozen):
    """Whether the candidate is accepted, and the sentence that explains it.

    Attributes:
        compared: which rows the champion was not asked about; empty where it was about all, or not at all.
        unasked: why the champion could not be asked; empty where it was, or there is none.
        narrowed: what the candidate's contract refuses that the champion's took.
    """

    accepted: bool
    sentence: str
    checks: tuple[Check, ...] = ()
    compared: str = ""
    unasked: str = ""
    narrowed: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know beside the verdict, one phrase each."""
        unasked = f"the champion cannot be asked, since {self.unasked}" if self.unasked else ""
        refuses = f"the new contract narrows: {'; '.join(self.narrowed[:FEW])}" if self.narrowed else ""
        more = f" and {len(self.narrowed) - FEW:,} more" if self.narrowed[FEW:] else ""
        return tuple(filter(None, (self.compared, unasked, refuses + more)))


def check_gates(gates: Sequence[Gate], contract: Contract) -> None:
    """Refuse gates on metrics of another task, on slices along columns that the *contract* does not have, or that no
    candidate passes."""
    for place, gate in enumerate(gates):
        metric = metrics.get(gate.metric, where=f"gates[{place}].metric", task=contract.task)
        for key in ("at_most", "at_least", "worst"):
            if (level := getattr(gate, key)) is not None:
                metrics.check_floor(f"gates[{place}].{key}", metric, level)
        _check_margin(f"gates[{place}].margin", gate, metric)
        if gate.slice is not None and gate.slice not in contract.columns:
            raise ConfigError(
                f"gates[{place}].slice: expected a column, one of {', '.join(contract.names)}; seen {gate.slice!r}"
            )


def _check_margin(where: str, gate: Gate, metric: Metric) -> None:
    """Refuse a margin that nothing is better by: an error falls by at most all of itself, a share rises by 1."""
    low, high = metric.losses
    part = isinstance(gate.margin, str)
    most = (math.inf if metric.direction == "maximize" else 1.0) if part else high - low
    if not gate.margin_of(1.0) < most:
        raise ConfigError(f"{where}: expected less than {'100%' if part else f'{most:g}'}, seen {gate.margin!r}")


def judge(
    candidate: Evaluation,
    champion: Evaluation | None,
    gates: Sequence[Gate],
    compared: Evaluation | None = None,
    unasked: str = "",
) -> GateReport:
    """Say whether *candidate* may serve, and why; with no *champion* the floors and slices are the bar.

    Args:
        compared: the candidate on the rows that the champion was asked about, where these are not all.
        unasked: why there is a champion and no evaluation of it.

    Raises:
        DataError: the two were not evaluated on the same rows.
    """
    beside = compared or candidate
    if champion is not None and (champion.rows, champion.rows_digest) != (beside.rows, beside.rows_digest):
        raise DataError(
            f"the champion was evaluated on other rows ({champion.rows}) than the candidate ({beside.rows});"
            " score both on the candidate's holdout"
        )
    absence = "the champion cannot be asked" if unasked else "no champion yet"
    checks = tuple(_check(gate, candidate, beside, champion, absence) for gate in gates)
    failed = [check for check in checks if not check.passed]
    if failed:
        told = "; ".join(check.sentence for check in failed)
        count = "its one gate fails" if len(checks) == 1 else f"{len(failed)} of {len(checks)} gates fail"
        return GateReport(accepted=False, sentence=f"refused: {count}: {told}", checks=checks, unasked=unasked)
    sentence = _accepted(checks, "" if champion else absence)
    return GateReport(accepted=True, sentence=sentence, checks=checks, unasked=unasked)


def _accepted(checks: Sequence[Check], absence: str) -> str:
    if not checks:
        return "accepted: the project defines no gates, so nothing was compared"
    held = "its one gate holds" if len(checks) == 1 else f"all {len(checks)} gates hold"
    return f"accepted: {held}" + (f", {absence}" if absence else "")


def _check(gate: Gate, candidate: Evaluation, beside: Evaluation, champion: Evaluation | None, absence: str) -> Check:
    metric = metrics.get(gate.metric, where="gates.metric", task=candidate.task)
    if gate.worst is not None:
        return _worst(gate, metric, gate.worst, candidate)
    seen = candidate.metrics.get(gate.metric)
    bar = gate.at_most if gate.at_most is not None else gate.at_least
    if seen is None:
        return _undefined(metric, bar, "of the candidate")
    if bar is not None:
        return _bar(metric, bar, seen, candidate.unit)
    if champion is None:
        sentence = f"{candidate.show(gate.metric)}: {absence}"
        return Check(metric=gate.metric, bar=None, seen=seen, passed=True, sentence=sentence)
    seen = beside.metrics.get(gate.metric)
    return _undefined(metric, bar, "of the candidate") if seen is None else _against(gate, metric, seen, champion)


def _bar(metric: Metric, bar: float, seen: float, unit: str, where: str = "") -> Check:
    """Whether *seen* keeps *bar*; *where* says of which rows it is."""
    more = metric.direction == "maximize"
    passed = seen >= bar if more else metric.loss(seen) <= bar
    relation = ("is at least" if passed else "is below") if more else ("is at most" if passed else "is above")
    sentence = f"{metric.label} {metric.show(seen, unit)}{where} {relation} {metric.show(bar, unit)}"
    return Check(metric=metric.name, bar=bar, seen=seen, passed=passed, sentence=sentence)


def _against(gate: Gate, metric: Metric, seen: float, champion: Evaluation) -> Check:
    theirs = champion.metrics.get(gate.metric)
    if theirs is None:
        return _undefined(metric, None, "of the champion", seen)
    margin = gate.margin_of(theirs)
    gain = metric.loss(theirs) - metric.loss(seen)
    passed = gain > margin
    mine, other = metric.show(seen, champion.unit), metric.show(theirs, champion.unit)
    asked = f" by more than {metric.show(margin, champion.unit)}" if margin else ""
    if passed:
        verdict = f"better than the champion's {other}{asked}"
    elif gain == 0:
        verdict = f"equal to the champion's {other}, and a tie keeps the champion"
    else:
        verdict = f"not better than the champion's {other}{asked}"
    sentence = f"{metric.label} {mine} is {verdict}"
    return Check(metric=gate.metric, bar=theirs, seen=seen, passed=passed, sentence=sentence)


def _worst(gate: Gate, metric: Metric, bar: float, candidate: Evaluation) -> Check:
    along = [part for part in candidate.slices if part.column == gate.slice]
    judged = [part for part in along if part.rows >= gate.min_rows]
    if not judged:
        reason = f"no slice along {gate.slice} has {gate.min_rows} rows" if along else f"no slices along {gate.slice}"
        return Check(metric=metric.name, bar=bar, seen=None, passed=False, sentence=f"{metric.label}: {reason}")
    blank = next((part for part in judged if metric.name not in part.metrics), None)
    if blank is not None:
        return _undefined(metric, bar, f"where {blank.column} is {blank.value}")
    worst = max(judged, key=lambda part: metric.loss(part.metrics[metric.name]))
    where = f" of the worst slice, {worst.column} {worst.value},"
    return _bar(metric, bar, worst.metrics[metric.name], candidate.unit, where)


def _undefined(metric: Metric, bar: float | None, where: str, seen: float | None = None) -> Check:
    sentence = f"{metric.label} {where} cannot be computed on these rows, and what is not known does not pass"
    return Check(metric=metric.name, bar=bar, seen=seen, passed=False, sentence=sentence)
