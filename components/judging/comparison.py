"""Candidate and champion on the same rows, each through its own contract, and how the two contracts differ.

Rows come as the source sent them (``validation.Validation.good``), so that a champion which knows other columns or
categories is asked about what it would have been asked. A row that only one of the two can answer is no evidence for
either: both are judged on the others, and it is said how many were left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from components.data.rules import field_rules, fields, forms
from components.data.stable_hash import hash_rows
from components.data.tables import matrix_and_target
from components.judging.evaluation import Evaluation, evaluate
from serving.bundle.bundle import Bundle
from serving.contract import Column, Contract
from serving.files import sha256_bytes


@dataclass(frozen=True)
class SideBySide:
    """Both on the same rows.

    Attributes:
        champion: None where it cannot be asked.
        sentence: why, or which rows were left out; empty where all rows were compared.
    """

    candidate: Evaluation
    champion: Evaluation | None
    sentence: str = ""


def scored(bundle: Bundle, rows: pl.DataFrame, slices: Sequence[str]) -> Evaluation:
    """*rows* through the bundle's own contract and scorer, judged along those of *slices* that it has."""
    contract = bundle.contract
    matrix, target = matrix_and_target(rows, contract)
    known = [name for name in slices if name in contract.columns]
    found = evaluate(bundle.scorer.score(matrix), target, matrix, contract, known)
    return found.model_copy(update={"rows_digest": sha256_bytes(hash_rows(rows).tobytes())})


def compare(
    rows: pl.DataFrame, judged: Evaluation, candidate: Callable[[], Bundle], champion: Bundle, slices: Sequence[str]
) -> SideBySide:
    """The *champion* beside the candidate, which was *judged* on all *rows*.

    Args:
        candidate: its bundle, asked for only where some of the rows have to be left out.
    """
    contract = champion.contract
    absent = [name for name in fields(contract) if name not in rows.columns]
    if absent:
        return _floors(judged, f"the table no longer has its {', '.join(absent)}")
    if (contract.task, contract.target.name) != (judged.task, judged.target):
        return _floors(judged, f"it predicts {contract.target.name} ({contract.task})")
    refused = _refused(rows, contract)
    common = rows.filter(~refused)
    if not refused.any():
        return SideBySide(judged, scored(champion, rows, slices))
    if not common.height:
        return _floors(judged, f"its contract refuses all {rows.height:,} rows")
    sentence = f"compared on {common.height:,} of {rows.height:,} rows, as the champion's contract refuses the others"
    return SideBySide(scored(candidate(), common, slices), scored(champion, common, slices), sentence)


def narrowed(old: Contract, new: Contract) -> Iterator[str]:
    """What the *new* contract refuses, or no longer uses, that the *old* one took; one phrase each."""
    before, now = fields(old), fields(new)
    for name, column in before.items():
        if name not in now:
            yield f"{name} is not used any more"
        else:
            yield from _narrower(name, column, now[name])
    yield from (f"{name} is needed now" for name, column in now.items() if name not in before and not column.nullable)


def _floors(judged: Evaluation, why: str) -> SideBySide:
    return SideBySide(judged, None, f"the champion cannot be asked, since {why}; floors and slices decide")


def _refused(rows: pl.DataFrame, contract: Contract) -> pl.Series:
    """Which of *rows* have an input or a target that *contract* does not take."""
    columns = fields(contract)
    meaning = rows.select(forms(rows.schema, columns))
    bad = [rule.bad for rule in field_rules(rows.schema, contract)]
    return meaning.select(pl.any_horizontal(pl.lit(value=False), *bad)).to_series()


def _narrower(name: str, old: Column, new: Column) -> Iterator[str]:
    if old.type != new.type:
        yield f"{name} is {new.type} instead of {old.type}"
    if gone := [word for word in old.values if word not in new.values]:
        yield f"{name} no longer takes {', '.join(gone[:12])}" + (f" and {len(gone) - 12} more" if gone[12:] else "")
    if old.nullable and not new.nullable:
        yield f"{name} may not be missing any more"
    if new.range is not None and (old.range is None or new.range[0] > old.range[0] or new.range[1] < old.range[1]):
        yield f"{name} must lie in [{new.range[0]:g}, {new.range[1]:g}]"
