"""What comes of one gate."""

from collections.abc import Mapping
from dataclasses import dataclass

from components.judging import metrics
from components.judging.baselines import BASELINE
from components.judging.evaluation import FEW_ROWS, Evaluation, Slice
from components.judging.gate import SURE, Gate
from components.judging.jackknife import Gain, quantile
from components.judging.metrics import Metric
from serving.contract import Frozen
from serving.pages.words import number


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


@dataclass(frozen=True)
class Beside:
    """The champion and the candidate on the rows that it was asked about.

    Attributes:
        champion: None where there is none, or it cannot be asked; *absence* says which.
        gains: of the candidate over it, by metric; empty where nobody took them.
    """

    candidate: Evaluation
    champion: Evaluation | None
    gains: Mapping[str, Gain]
    absence: str


def check(gate: Gate, candidate: Evaluation, beside: Beside) -> Check:
    """Whether *candidate* passes *gate*, and why."""
    metric = metrics.get(gate.metric, where="gates.metric", task=candidate.task)
    if gate.worst is not None:
        return _worst(gate, metric, gate.worst, candidate)
    if gate.suspicious is not None:
        return _suspicious(metric, gate.suspicious, candidate)
    if gate.unseen is not None:
        return _unseen(metric, gate.unseen, candidate)
    seen = candidate.metrics.get(gate.metric)
    bar = gate.at_most if gate.at_most is not None else gate.at_least
    if seen is None:
        return _undefined(metric, bar, "of the candidate")
    if bar is not None:
        return _bar(metric, bar, seen, candidate.unit)
    if gate.against == "champion":
        return _champion(gate, metric, seen, beside)
    return _rival(gate, metric, seen, candidate)


def _bar(metric: Metric, bar: float, seen: float, unit: str, where: str = "") -> Check:
    """Whether *seen* keeps *bar*; *where* says of which rows it is."""
    more = metric.direction == "maximize"
    passed = seen >= bar if more else metric.loss(seen) <= bar
    relation = ("is at least" if passed else "is below") if more else ("is at most" if passed else "is above")
    sentence = f"{metric.label} {metric.show(seen, unit)}{where} {relation} {metric.show(bar, unit)}"
    return Check(metric=metric.name, bar=bar, seen=seen, passed=passed, sentence=sentence)


def _champion(gate: Gate, metric: Metric, seen: float, beside: Beside) -> Check:
    champion = beside.champion
    if champion is None:
        sentence = f"{beside.candidate.show(gate.metric)}: {beside.absence}"
        return Check(metric=gate.metric, bar=None, seen=seen, passed=True, sentence=sentence)
    ours, theirs = beside.candidate.metrics.get(gate.metric), champion.metrics.get(gate.metric)
    if ours is None or theirs is None:
        return _undefined(metric, None, f"of the {'candidate' if ours is None else 'champion'}", ours)
    same = beside.gains.get(gate.metric)
    if same is not None and same.value == same.error == 0:  # on every row the same: nothing would change
        return _told(metric, ours, theirs, champion.unit, _equal(metric, theirs, champion.unit), passed=False)
    return _against(gate, metric, ours, theirs, same, champion.unit)


def _equal(metric: Metric, theirs: float, unit: str) -> str:
    return f"equal to the champion's {metric.show(theirs, unit)}, and a tie keeps the champion"


def _against(gate: Gate, metric: Metric, ours: float, theirs: float, gain: Gain | None, unit: str) -> Check:
    """Whether *ours* is as much better than the champion's as is asked, surely where that is asked."""
    margin, value = gate.margin_of(theirs), metric.loss(theirs) - metric.loss(ours)
    if gate.confidence is not None and gain is None:
        return _undefined(metric, theirs, "and how sure it is", ours)
    least = value if gate.confidence is None or gain is None else gain.least(gate.confidence)
    passed = least > margin if gate.tolerance is None else least >= margin
    other, by = metric.show(theirs, unit), metric.show(abs(margin), unit)
    asked = f" by more than {by}" if margin else ""
    if gate.tolerance is not None:
        words = f"{'not ' if passed else ''}worse than the champion's {other} by more than {by}"
    elif value == 0:
        words = _equal(metric, theirs, unit)
    else:
        words = f"{'' if passed else 'not '}better than the champion's {other}{asked}"
    words += _sure(gate, metric, value, gain, unit, passed=passed)
    return _told(metric, ours, theirs, unit, words, passed=passed)


def _sure(gate: Gate, metric: Metric, value: float, gain: Gain | None, unit: str, *, passed: bool) -> str:
    """The interval that decided, where one was asked for."""
    if gate.confidence is None or gain is None:
        return ""
    half = gain.error * quantile(gate.confidence, gain.blocks)
    low, high = (metric.show(each, unit) for each in (value - half, value + half))
    kind = f"with confidence {gate.confidence:g}"
    return f" {kind}" if passed else f" {kind}: the gain is {low} to {high}"


def _rival(gate: Gate, metric: Metric, seen: float, candidate: Evaluation) -> Check:
    """Whether the candidate is as much better than what answers without a model as is asked."""
    rival = candidate.rivals.get(str(gate.against))
    theirs = None if rival is None else rival.metrics.get(metric.name)
    if rival is None or theirs is None:  # a bundle of a model from elsewhere, or a single moment
        what = "the training rows" if gate.against == BASELINE else "rows before"
        sentence = f"{candidate.show(metric.name)}: nothing is known of {what} to compare with"
        return Check(metric=metric.name, bar=None, seen=seen, passed=True, sentence=sentence)
    margin, gain = gate.margin_of(theirs), rival.gains.get(metric.name)
    value = (metric.loss(theirs) - metric.loss(seen)) if gain is None else gain.value
    least = value if gate.confidence is None or gain is None else gain.least(gate.confidence)
    passed = least > margin if gate.tolerance is None else least >= margin
    part = f"{number(100 * abs(value / theirs))} % " if theirs and metric.unit != "none" else ""
    better = f"{part}{'better' if value > 0 else 'worse'} than" if value else "equal to"
    sentence = f"{metric.label} {metric.show(seen, candidate.unit)} is {better} the"
    sentence += f" {metric.show(theirs, candidate.unit)} of {rival.words}"
    if rival.rows != candidate.rows:
        sentence += f" on {rival.rows:,} rows"
    if not passed:
        sure = "surely " if gate.confidence else ""
        by = metric.show(abs(margin), candidate.unit)
        asked = (
            f"{sure}better{f' by more than {by}' if margin else ''}" if margin >= 0 else f"{sure}worse by at most {by}"
        )
        sentence += f"; it has to be {asked}: {_next(gate)}"
    return Check(metric=metric.name, bar=theirs, seen=seen, passed=passed, sentence=sentence)


def _next(gate: Gate) -> str:
    if gate.against == BASELINE:
        return "look for columns and features that say more, or set guards.baseline"
    return "bring the value before as a column where it is known in time, or set guards.previous to off"


def _suspicious(metric: Metric, level: float, candidate: Evaluation) -> Check:
    """Whether model and columns stay below *level*; of few rows nothing is too good to be true."""
    seen = candidate.metrics.get(metric.name)
    if seen is None:
        return _undefined(metric, level, "of the candidate")
    enough = min([candidate.rows, *map(sum, candidate.confusion)]) >= FEW_ROWS
    column, alone = next(iter(candidate.alone.items()), ("", 0.0))
    bar = metric.show(level)
    if enough and alone >= level:
        words = f"{column} by itself has {metric.label} {metric.show(alone)}, at least {bar}: it is the target by"
        words += " another name; leave it out, or set guards.leak to off where it is known before the target"
    elif enough and seen >= level:
        words = f"{metric.label} {metric.show(seen)} is at least {bar}, too good to be true: look for the target in"
        words += " the columns, or set guards.leak to off where a formula made it"
    else:
        kept = f"{metric.label} {metric.show(seen)} of the model and {metric.show(alone)} of {column or 'its columns'}"
        words = f"{kept} by itself are below {bar}" if enough else f"{kept}: too few rows to suspect a leak"
        return Check(metric=metric.name, bar=level, seen=seen, passed=True, sentence=words)
    return Check(metric=metric.name, bar=level, seen=max(seen, alone), passed=False, sentence=words)


def _unseen(metric: Metric, least: int, candidate: Evaluation) -> Check:
    """Whether there are *least* held-out rows, and most of them were not trained on."""
    found, seen = candidate.overlap, candidate.metrics.get(metric.name)
    passed = candidate.rows >= least and not (found is not None and found.suspicious)
    if candidate.rows < least:
        words = f"{candidate.rows:,} held-out rows are too few to judge by, at least {least:,} are asked; hold out more"
    elif found is None:
        words = f"{candidate.rows:,} held-out rows; of training rows the bundle says nothing"
    elif passed:
        words = f"{candidate.rows:,} held-out rows, of {found.told:,} of them {found.seen:,} are training rows too"
    else:
        words = f"of {found.told:,} held-out rows {found.seen:,} are training rows: it was trained on what judges it"
    return Check(metric=metric.name, bar=None, seen=seen, passed=passed, sentence=words)


def _worst(gate: Gate, metric: Metric, bar: float, candidate: Evaluation) -> Check:
    along = [part for part in candidate.slices if part.column == gate.slice]
    judged = [part for part in along if part.rows >= gate.min_rows]
    if not judged:
        reason = f"no slice along {gate.slice} has {gate.min_rows} rows" if along else f"no slices along {gate.slice}"
        return Check(metric=metric.name, bar=bar, seen=None, passed=False, sentence=f"{metric.label}: {reason}")
    blank = next((part for part in judged if metric.name not in part.metrics), None)
    if blank is not None:
        return _undefined(metric, bar, f"where {blank.column} is {blank.value}")
    sure = 1 - (1 - (gate.confidence or SURE)) / len(judged)  # that none of as many fails by chance (Bonferroni)
    least = {part.value: _loss(part, metric, sure) for part in judged}
    level = -bar if metric.direction == "maximize" else bar
    failing = [part for part in judged if least[part.value] > level]
    worst = max(failing or judged, key=lambda part: metric.loss(part.metrics[metric.name]))
    where = f" of the worst slice, {worst.column} {worst.value},"
    found = _bar(metric, bar, worst.metrics[metric.name], candidate.unit, where)
    doubt = "" if found.passed or failing else f", within the noise of its {worst.rows:,} rows"
    few = len(along) - len(judged)
    left = f"; {few} of fewer than {gate.min_rows} rows not judged" if few else ""
    return found.model_copy(update={"passed": not failing, "sentence": found.sentence + doubt + left})


def _loss(part: Slice, metric: Metric, sure: float) -> float:
    """What the loss of *part* is at least, as far as it is known how sure it is."""
    seen = metric.loss(part.metrics[metric.name])
    error = part.errors.get(metric.name)
    return seen if error is None else seen - error * quantile(sure, part.blocks)


def _undefined(metric: Metric, bar: float | None, where: str, seen: float | None = None) -> Check:
    sentence = f"{metric.label} {where} cannot be computed on these rows, and what is not known does not pass"
    return Check(metric=metric.name, bar=bar, seen=seen, passed=False, sentence=sentence)


def _told(metric: Metric, ours: float, theirs: float, unit: str, words: str, *, passed: bool) -> Check:
    sentence = f"{metric.label} {metric.show(ours, unit)} is {words}"
    return Check(metric=metric.name, bar=theirs, seen=ours, passed=passed, sentence=sentence)
