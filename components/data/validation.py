"""Does a table keep its contract: which rows go on, which are set aside and why, and whether a run may go on at all.

Reasons are counted by our own expressions (``rules``), one pass over the columns whatever the number of bad rows.
Pandera stands behind them as a second opinion: the rows that were accepted must pass ``pandera_schema``, the schema
generated from the same contract, so a slip in our rules ends the run instead of reaching a model. Above
``SECOND_OPINION_ROWS`` rows pandera sees an evenly spaced sample, since it copies what it checks.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from components.data import repeats
from components.data.meaning import TYPES
from components.data.moments import TYPE, naive
from components.data.quarantine_report import EXAMPLES, Freshness, ReasonCount, Report, by_day
from components.data.rules import Rule, brought, fields, named, raw, rules, suspected, told, typed
from components.data.words import counted
from serving.contract import Contract
from serving.errors import DataError

SECOND_OPINION_ROWS = 500_000
FAILURE_CASES = 20  # pandera would build one case for each bad value: millions for one wrong unit
FEW_COLUMNS = 64  # pandera takes so many at once: it lists all columns of a table again for each of them
REASONS = "reasons"

_REPEATED_ROW, _REPEATED_KEY = "repeated:row", "repeated:key"


@dataclass(frozen=True)
class Validation:
    """The two halves of a table.

    Attributes:
        accepted: key, event time, input columns and target in the contract's types.
        good: (n_rows,) of the table, true for the accepted rows: as they came, another contract may give them another
            meaning.
        quarantined: the other rows as they came, and ``reasons``.
    """

    accepted: pl.DataFrame
    good: npt.NDArray[np.bool_]
    quarantined: pl.DataFrame
    report: Report


def validate(frame: pl.DataFrame, contract: Contract, as_of: datetime) -> Validation:
    """Divide *frame* into rows that keep *contract* and rows that do not; ``require`` says whether that will do.

    Args:
        as_of: the moment of the run; naive means UTC. Events after it are refused and freshness is counted from it.

    Raises:
        DataError: a column is absent, or of a type that cannot hold what the contract asks for.
    """
    found = _judged(frame, contract, naive(as_of))
    _second_opinion(found.accepted, contract)
    return found


class Validator:
    """``validate`` for a table that comes in parts, each with all rows of its keys; a part is all that is in memory.

    Args:
        rows: of the whole table; of a long one pandera sees every so many-th accepted row.
        quarantine: the parquet file that gets the rows that do not keep the contract.

    Attributes:
        report: of the parts so far.
    """

    report: Report

    def __init__(self, contract: Contract, as_of: datetime, rows: int, quarantine: Path) -> None:
        self._contract, self._as_of, self._path = contract, naive(as_of), quarantine
        self._every = -(-rows // SECOND_OPINION_ROWS)
        self._sample: list[pl.DataFrame] = []
        self._writer: pq.ParquetWriter | None = None

    def judge(self, part: pl.DataFrame) -> Validation:
        """What becomes of the rows of *part*; changes nothing here."""
        return _judged(part, self._contract, self._as_of)

    def note(self, found: Validation) -> npt.NDArray[np.bool_]:
        """Take what was *found* into the report and the quarantine; returns which rows of the part are good."""
        self.report = self.report + found.report if self._sample else found.report
        self._sample.append(found.accepted.gather_every(self._every) if self._every > 1 else found.accepted)
        fallen = found.quarantined.to_arrow(compat_level=pl.CompatLevel.oldest())
        self._writer = self._writer or pq.ParquetWriter(self._path, fallen.schema, compression="zstd")
        self._writer.write_table(fallen.cast(self._writer.schema))
        return found.good

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        if error is None:
            _second_opinion(pl.concat(self._sample), self._contract)


def _judged(frame: pl.DataFrame, contract: Contract, as_of: datetime) -> Validation:
    _check_columns(frame, contract)
    forms = frame.lazy().select(typed(frame.schema, contract)).collect()
    found = repeats.find(frame.with_columns(forms.select(named(contract)).iter_columns()), contract)
    kept = np.ones(frame.height, np.bool_)
    if repeats.policy(contract) == "drop" and len(found.rows):
        kept[found.rows] = False
        found = repeats.Repeats(rows=repeats.NONE.rows, keys=found.keys)
    marks, repeat_rules = _repeats(found, frame.height, contract)
    forms, rows = forms.with_columns(marks).filter(pl.Series(kept)), frame.filter(pl.Series(kept))
    asked = suspected(forms, [*repeat_rules, *rules(frame.schema, contract, as_of)])
    good, quarantined, reasons = _divide(rows, forms, asked)
    accepted = forms.select(named(contract)).filter(good)
    report = _report(rows, accepted, reasons, contract, as_of)
    report = report.model_copy(update={"rows": frame.height, "repeated": frame.height - rows.height})
    if contract.event_time:
        report = report.model_copy(update={"days": by_day(forms[contract.event_time], good, as_of)})
    kept[kept] = good.to_numpy()
    return Validation(accepted, kept, quarantined, report)


def require(report: Report, contract: Contract) -> None:
    """Say whether a run may go on with what was accepted.

    Raises:
        DataError: no rows, none accepted, too many refused, one class only, or events that are too old.
    """
    if not report.rows:
        raise DataError("the table is empty: expected at least one row, got none; check the source")
    if report.share > contract.refuse_above or not report.accepted:
        raise DataError(
            f"{report.quarantined:,} of {report.rows:,} rows ({report.share:.1%}) break the contract, more than "
            f"contract.refuse_above allows ({contract.refuse_above:.1%}): {_worst(report)}; see the quarantine report"
        )
    newest = report.newest(contract.newest)
    if newest is not None and newest.surely_above(contract.refuse_above):
        raise DataError(
            f"{newest.bad:,} of the {newest.rows:,} newest rows, from {newest.since} on, break the contract "
            f"({newest.bad / newest.rows:.1%}), more than contract.refuse_above allows ({contract.refuse_above:.1%}), "
            f"though of all rows {report.share:.1%} do: {_worst(report)}; see the quarantine report"
        )
    if contract.task == "classification" and sum(1 for rows in report.classes.values() if rows) < 2:
        seen = ", ".join(name for name, rows in report.classes.items() if rows)
        raise DataError(
            f"target {contract.target.name!r} has the one class {seen}: expected at least two of "
            f"{', '.join(contract.target.classes)}; check the source"
        )
    if contract.max_age_days is not None and report.freshness and report.freshness.age_days > contract.max_age_days:
        raise DataError(
            f"the newest {contract.event_time} is {report.freshness.newest}, {report.freshness.age_days:.1f} days "
            f"before {report.as_of}: contract.max_age_days allows {contract.max_age_days:g}; check the source"
        )


def pandera_schema(contract: Contract) -> Any:
    """The contract as a ``pandera.polars.DataFrameSchema`` for accepted rows: types, ranges, categories and nulls."""
    import pandera.polars as pa  # half a second, and the model server's neighbours never need it

    columns: dict[str, Any] = dict.fromkeys(filter(None, (contract.key, contract.event_time)))
    for name, column in fields(contract).items():
        checks = []
        if column.range is not None and column.numeric:
            checks.append(pa.Check.in_range(*column.range, n_failure_cases=FAILURE_CASES))
        if column.closed:
            checks.append(pa.Check.isin(list(column.values), n_failure_cases=FAILURE_CASES))
        columns[name] = pa.Column(TYPES[column.type], checks=checks, nullable=column.nullable)
    if contract.key:
        columns[contract.key] = pa.Column(nullable=False)
    if contract.event_time:
        columns[contract.event_time] = pa.Column(TYPE, nullable=False)
    return pa.DataFrameSchema(columns, strict=True)


def _check_columns(frame: pl.DataFrame, contract: Contract) -> None:
    whole = contract.event_time in frame.columns
    wanted, here = dict.fromkeys((named if whole else brought)(contract)), dict.fromkeys(frame.columns)
    absent = [name for name in wanted if name not in here]
    if not absent:
        return
    spare = [name for name in here if name not in wanted]
    close = {name: difflib.get_close_matches(name, spare, n=1, cutoff=0.5) for name in absent}
    hints = "".join(f"; is {found[0]!r} meant to be {name!r}?" for name, found in close.items() if found)
    noun = "column" if len(absent) == 1 else "columns"
    raise DataError(
        f"the table lacks {noun} {', '.join(absent)} of the contract: it has {', '.join(frame.columns)}"
        f"{hints or '; correct the source or the contract'}"
    )


def _repeats(found: repeats.Repeats, rows: int, contract: Contract) -> tuple[list[pl.Series], list[Rule]]:
    """Marks on the repeated ones of so many *rows*, and the rules that read the marks."""
    key = contract.key or ""
    again = f"{key}: there again at the same {contract.event_time} with other values"
    row = Rule("", "duplicate row", pl.col(_REPEATED_ROW), pl.lit("the row is there already"), "each event once")
    event = Rule(key, "duplicate key", pl.col(_REPEATED_KEY), pl.lit(again), "each event once")
    asked = [(row, _REPEATED_ROW, found.rows), (event, _REPEATED_KEY, found.keys)]
    asked = [(rule, mark, positions) for rule, mark, positions in asked if len(positions)]
    every = np.arange(rows)
    marks = [pl.Series(mark, np.isin(every, positions)) for _, mark, positions in asked]
    return marks, [rule for rule, _, _ in asked]


def _divide(
    frame: pl.DataFrame, forms: pl.DataFrame, asked: Sequence[Rule]
) -> tuple[pl.Series, pl.DataFrame, tuple[ReasonCount, ...]]:
    """Which rows are good, the others with their reasons, and how many there are of each."""
    if not asked:
        none = frame.clear().with_columns(pl.lit("").alias(REASONS))
        return pl.repeat(True, frame.height, eager=True), none, ()
    bad = forms.select(pl.any_horizontal(rule.bad for rule in asked)).to_series()
    fallen = forms.filter(bad)
    counts = fallen.select(rule.bad.sum().alias(str(i)) for i, rule in enumerate(asked)).row(0)
    reasons = tuple(_counted(rule, int(count), fallen) for rule, count in zip(asked, counts, strict=True) if count)
    texts = fallen.select(told(asked).alias(REASONS)).to_series()
    return ~bad, frame.filter(bad).with_columns(texts), reasons


def _counted(rule: Rule, rows: int, fallen: pl.DataFrame) -> ReasonCount:
    examples = fallen.lazy().filter(rule.bad).head(EXAMPLES).select(rule.text.alias("text")).collect()["text"].to_list()
    distinct = tuple(dict.fromkeys(str(text) for text in examples))
    hint = rule.hint(fallen.filter(rule.bad)[raw(rule.column)]) if rule.hint else ""
    expected = "; ".join(filter(None, (rule.expected, hint)))
    found = ReasonCount(column=rule.column, reason=rule.reason, rows=rows, expected=expected, examples=distinct)
    return found.model_copy(update={"hint": hint})


def _second_opinion(accepted: pl.DataFrame, contract: Contract) -> None:
    """Raise when pandera finds fault with rows that our rules accepted."""
    import pandera.errors
    import pandera.polars as pa

    every = -(-accepted.height // SECOND_OPINION_ROWS)
    sample = accepted.gather_every(every) if every > 1 else accepted
    columns = list(pandera_schema(contract).columns.items())
    try:
        for start in range(0, len(columns), FEW_COLUMNS):
            some = dict(columns[start : start + FEW_COLUMNS])
            pa.DataFrameSchema(some).validate(sample.select(list(some)), lazy=True)
    except pandera.errors.SchemaErrors as error:
        first = error.failure_cases.row(0, named=True)
        raise DataError(
            f"pandera refuses rows that the contract's rules accepted: column {first['column']}, check "
            f"{first['check']}, value {first['failure_case']!r}; correct the contract, or report this as a defect"
        ) from error


def _report(
    frame: pl.DataFrame, accepted: pl.DataFrame, reasons: tuple[ReasonCount, ...], contract: Contract, as_of: datetime
) -> Report:
    wanted = set(named(contract))
    return Report(
        rows=frame.height,
        accepted=accepted.height,
        quarantined=frame.height - accepted.height,
        reasons=reasons,
        extra_columns=tuple(name for name in frame.columns if name not in wanted),
        missing={
            name: accepted[name].null_count() / max(accepted.height, 1)
            for name, column in contract.inputs.items()
            if column.nullable
        },
        classes=_classes(accepted, contract),
        freshness=_freshness(accepted, contract, as_of),
        as_of=as_of.isoformat(timespec="seconds"),
    )


def _classes(accepted: pl.DataFrame, contract: Contract) -> dict[str, int]:
    rows = counted(accepted[contract.target.name]) if contract.target.classes else {}
    return {name: rows.get(name, 0) for name in contract.target.classes}


def _freshness(accepted: pl.DataFrame, contract: Contract, as_of: datetime) -> Freshness | None:
    if contract.event_time is None or not accepted.height:
        return None
    oldest, newest = accepted[contract.event_time].min(), accepted[contract.event_time].max()
    age = (as_of - newest).total_seconds() / 86_400
    return Freshness(oldest=oldest.isoformat(), newest=newest.isoformat(), age_days=age)


def _worst(report: Report) -> str:
    if not report.reasons:
        return "no row is left"
    count = report.worst[0]
    example = f", for example {count.examples[0]!r}" if count.examples else ""
    return count.phrase.replace(" ", " rows ", 1) + example + (f"; {count.hint}" if count.hint else "")
