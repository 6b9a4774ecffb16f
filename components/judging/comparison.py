"""Candidate and champion on the same rows, each through its own contract.

Rows come as the source sent them (``validation.Validation.good``), so that a champion which knows other columns or
categories is asked about what it would have been asked. A row that only one of the two can answer, or that the champion
was trained on, is no evidence: both are judged on the others, and it is said how many were left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from pydantic import ValidationError

from components.data.rules import field_rules, fields, forms, listed, meant
from components.data.split_rule import SplitRule
from components.judging.answers import ask
from components.judging.evaluation import FEW_ROWS, Evaluation
from components.judging.gates import Gate, GateReport, judge
from components.judging.jackknife import Gain
from components.judging.narrowing import narrowed
from serving.bundle.bundle import Bundle
from serving.contract import Contract
from serving.errors import DataError, GateRefusal
from serving.store.store import StoreKeyError


class CannotBeAsked(Exception):
    """Why a champion is no bar for a candidate; the text goes on after "since"."""


@dataclass(frozen=True)
class SideBySide:
    """Both on the same rows.

    Attributes:
        champion: None where it cannot be asked.
        sentence: which rows were left out, or, without a champion, why it cannot be asked; empty where all rows were
            compared.
        gains: of the candidate over the champion, by metric.
    """

    candidate: Evaluation
    champion: Evaluation | None
    sentence: str = ""
    gains: Mapping[str, Gain] = field(default_factory=dict)


def beside(
    champion: Callable[[], Bundle],
    candidate: Callable[[], Bundle],
    rows: Callable[[], pl.DataFrame],
    judged: Evaluation,
    gates: Sequence[Gate],
    slices: Sequence[str],
    guards: Sequence[Gate] = (),
) -> tuple[GateReport, Evaluation | None]:
    """The verdict on a candidate that was *judged* on all *rows*, and the champion on those that it was asked about."""
    try:
        theirs = champion()
    except (GateRefusal, StoreKeyError) as error:
        unasked = f"its bundle does not load: {error}"
        return judge(judged, None, gates, unasked=unasked, guards=guards), None
    ours, names = candidate(), sorted({gate.metric for gate in gates if gate.against == "champion"})
    found = compare(rows(), judged, ours, theirs, slices, names)
    facts = {"compared": found.sentence} if found.champion else {}
    unasked = "" if found.champion else found.sentence
    verdict = judge(judged, found.champion, gates, found.candidate, unasked, gains=found.gains, guards=guards)
    less = tuple(narrowed(theirs.contract, ours.contract))
    return verdict.model_copy(update={**facts, "narrowed": less}), found.champion


def compare(
    rows: pl.DataFrame,
    judged: Evaluation,
    candidate: Bundle,
    champion: Bundle,
    slices: Sequence[str],
    names: Sequence[str] = (),
) -> SideBySide:
    """The *champion* beside the *candidate*, which was *judged* on all *rows*; paired in the metrics *names*."""
    try:
        _check(rows, judged, champion.contract)
        common, sentence = _common(rows, champion)
        classes = _classes(common, judged, champion.contract)
    except (CannotBeAsked, DataError) as error:
        return SideBySide(judged, None, str(error))
    theirs, ours = ask(champion, common, classes, by=candidate), ask(candidate, common, classes)
    again = common.height < rows.height or classes != judged.classes
    beside_it = ours.evaluation(slices) if again else judged
    return SideBySide(beside_it, theirs.evaluation(slices), sentence, ours.gains(theirs, names))


def _check(rows: pl.DataFrame, judged: Evaluation, contract: Contract) -> None:
    """Refuse a champion that knows something which is gone, or predicts something else than the candidate."""
    here = set(rows.columns)
    absent = [name for name in fields(contract) if name not in here]
    if absent:
        raise CannotBeAsked(f"the table no longer has its {listed(absent)}")
    target, unit = contract.target, f" in {contract.target.unit}" if contract.target.unit else ""
    if (target.name, target.task, target.unit) != (judged.target, judged.task, judged.unit):
        raise CannotBeAsked(f"it predicts {target.name}{unit} ({target.task})")


def _common(rows: pl.DataFrame, champion: Bundle) -> tuple[pl.DataFrame, str]:
    """The rows that both can be asked about, and how many were left out and why."""
    if not champion.split:
        raise CannotBeAsked("its bundle does not say on which rows it was trained, as bundles do now")
    contract = champion.contract
    try:
        rule = SplitRule.model_validate_json(champion.split)
    except ValidationError as error:
        raise CannotBeAsked("its bundle says in other words on which rows it was trained") from error
    unseen = rule.unseen(rows, contract)
    refused = unseen & _refused(rows, contract)
    common, trained, unfit = rows.filter(unseen & ~refused), int((~unseen).sum()), int(refused.sum())
    reasons = [f"it may have been trained on {trained:,}"] if trained else []
    reasons += [f"its contract refuses {unfit:,}"] if unfit else []
    if common.height < min(FEW_ROWS, rows.height):
        raise CannotBeAsked(f"of {rows.height:,} rows {common.height:,} are left: {' and '.join(reasons)}")
    told = f"compared with the champion on {common.height:,} of {rows.height:,} rows: {' and '.join(reasons)}"
    return common, told if reasons else ""


def _classes(common: pl.DataFrame, judged: Evaluation, contract: Contract) -> tuple[str, ...]:
    """The classes that both know, in the candidate's order."""
    if contract.task == "regression":
        return ()
    both = tuple(name for name in judged.classes if name in contract.target.classes)
    bare = contract.model_copy(update={"key": None, "event_time": None})
    here = set(meant(common, bare)[contract.target.name].unique())
    if absent := [name for name in both if name not in here]:
        raise CannotBeAsked(f"no row of {judged.target} {listed(absent)} is left")
    if len(both) < 2:
        raise CannotBeAsked(f"it tells {listed(contract.target.classes)} apart")
    return both


def _refused(rows: pl.DataFrame, contract: Contract) -> pl.Series:
    """Which of *rows* have an input or a target that *contract* does not take."""
    columns = fields(contract)
    meaning = rows.select(forms(rows.schema, columns))
    bad = [rule.bad for rule in field_rules(rows.schema, contract)]
    return meaning.select(pl.any_horizontal(pl.lit(value=False), *bad)).to_series()
