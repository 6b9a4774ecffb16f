"""What is doubtful about the rows of a table: some that stand twice, and times in which something changed."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from components.drafting.doubts import Doubt, DoubtKind
from components.drafting.look import ColumnLook, TableLook
from components.drafting.roles import Roles, moments

PERIODS = 24  # stretches of equal length that a table is cut into, to see what changes from one to the next
FEW_ROWS = 20  # in a stretch, below which its middle says nothing
JUMP = 3.0  # times that the middle of a stretch is another, where others differ by far less
MORE = 10.0  # times as many equal rows as chance makes, since columns do know of one another
MOSTLY_TWICE = 0.3  # share of a period's rows that stand twice, where hardly any elsewhere do


def of_rows(table: TableLook, roles: Roles, inputs: Sequence[ColumnLook]) -> Iterator[Doubt]:
    """Doubts about rows; *inputs* are the columns that the model is to see."""
    yield from _target(table, roles)
    yield from _repeated(table, roles)
    if roles.event.name is not None:
        at = moments(table, roles.event)
        yield from _gap(roles.event.name, at)
        period = _periods(at)
        for column in (*inputs, table[str(roles.target.name)]):
            if column.numeric:
                yield from _changed(column, period, at)


def repeated(table: TableLook) -> pl.Series:
    """(n_rows,) whether the same row stands above already."""
    flat = [name for name, dtype in table.frame.schema.items() if not dtype.is_nested()]
    return ~table.frame.select(flat).hash_rows(seed=1).is_first_distinct()


def _target(table: TableLook, roles: Roles) -> Iterator[Doubt]:
    target = table[str(roles.target.name)]
    if target.missing:
        words = f"the target is missing in {target.missing:,} of {target.rows:,} rows"
        yield Doubt("target missing", (target.name,), words, "those rows are set aside, and nothing is learned of them")
    for name, rows in zip(roles.classes, roles.class_rows, strict=True):
        if rows < max(20, 0.001 * target.rows):
            words = f"class {name!r} has {rows:,} rows"
            act = "too few to be learned or judged; join it to another or drop it"
            yield Doubt("tiny class", (target.name,), words, act)


def _repeated(table: TableLook, roles: Roles) -> Iterator[Doubt]:
    again = repeated(table)
    rows = int(again.sum())
    if not rows:
        return
    words = f"{rows:,} of {table.rows:,} rows stand there already, cell by cell"
    if roles.event.name is not None:
        at = moments(table, roles.event)
        if place := _overlap(at, again):
            words = f"{rows:,} rows stand twice, nearly all of {place}"
            yield Doubt("repeated period", (), words, "an export overlaps another; each is taken once")
            return
    if rows > max(0.001 * table.rows, MORE * _by_chance(table)):
        yield Doubt("repeated rows", (), words, "each is taken once")


def _by_chance(table: TableLook) -> float:
    """Pairs of equal rows that are to be expected where no row is there twice, as if columns knew nothing of others."""
    alike = 1.0
    for column in table.columns:
        shares = table.frame[column.name].value_counts()["count"].sort() / table.rows
        alike *= float((shares**2).sum())
    return alike * table.rows * (table.rows - 1) / 2


def _overlap(at: pl.Series, again: pl.Series) -> str:
    """The stretch of time in which nearly all repeated rows lie and many are repeated; empty where there is none."""
    times = at.filter(again).drop_nulls()
    if len(times) < FEW_ROWS:
        return ""
    low, high = times.quantile(0.02, "nearest"), times.quantile(0.98, "nearest")
    inside = at.is_between(low, high).fill_null(value=False)
    whole = at.drop_nulls()
    narrow = (high - low) < 0.5 * (whole.max() - whole.min())
    dense = float(again.filter(inside).mean() or 0.0) >= MOSTLY_TWICE
    return f"{low:%Y-%m-%d} to {high:%Y-%m-%d}" if narrow and dense else ""


def _periods(at: pl.Series) -> pl.Series:
    """(n_rows,) the number of the stretch in which each row lies."""
    number = at.cast(pl.Int64).cast(pl.Float64)
    low, high = number.min(), number.max()
    width = (high - low) / PERIODS or 1.0
    return ((number - low) / width).floor().clip(0, PERIODS - 1).cast(pl.Int64)


def _changed(column: ColumnLook, period: pl.Series, at: pl.Series) -> Iterator[Doubt]:
    """Numbers whose middle is another by a factor from some moment on, as where a unit was changed."""
    rows = pl.DataFrame({"period": period, "value": column.values, "moment": at}).drop_nulls()
    rows = rows.filter(pl.col("value") > 0)
    by = rows.group_by("period").agg(
        pl.col("value").median().log().alias("middle"),
        pl.col("value").std().fill_null(0).alias("spread"),
        pl.len().alias("rows"),
        pl.col("moment").min().alias("since"),
        pl.col("moment").max().alias("until"),
    )
    by = by.filter(pl.col("rows") >= FEW_ROWS).sort("period")
    if by.height < 4:
        return
    middle = by["middle"].to_numpy()
    if (found := _step(middle)) is None:
        return
    first, last, size = found
    since, until = by["since"][first], by["until"][last]
    when = f"from {since:%Y-%m-%d} on" if last == by.height - 1 else f"from {since:%Y-%m-%d} to {until:%Y-%m-%d}"
    when = f"until {until:%Y-%m-%d}" if first == 0 else when
    words = f"numbers are about {np.exp(abs(size)):.3g} times as {'large' if size > 0 else 'small'} {when}"
    yield Doubt("unit change", (column.name,), words, "has its unit or its meaning changed? bring all rows to one")


def _step(middle: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[int, int, float] | None:
    """First and last of the stretches that differ from all others by one factor, and its logarithm."""
    usual = float(np.median(middle))
    for sign in (1, -1):
        other = sign * (middle - usual) > np.log(JUMP)
        if not 0 < other.sum() <= len(middle) // 2:
            continue
        places = np.flatnonzero(other)
        size = float(np.median(middle[other]) - np.median(middle[~other]))
        calm = max(float(np.ptp(middle[~other])), float(np.ptp(middle[other])))
        if places[-1] - places[0] + 1 == len(places) and calm < 0.6 * abs(size):
            return int(places[0]), int(places[-1]), size
    return None


def _gap(name: str, at: pl.Series) -> Iterator[Doubt]:
    """A time without a row that is far longer than any other, in a table that otherwise has rows all the time."""
    known = at.drop_nulls().unique().sort()
    if len(known) < 50:
        return
    steps = known.diff().drop_nulls()
    usual, longest = steps.quantile(0.99, "nearest"), steps.max()
    second = steps.sort(descending=True)[1]
    width: timedelta = known[-1] - known[0]
    if longest > max(10 * usual, 5 * second) and longest > 0.02 * width:
        since: datetime = known[int(steps.arg_max() or 0)]
        until = since + longest
        words = f"no row lies between {since:%Y-%m-%d} and {until:%Y-%m-%d}"
        first = since - known[0] < 0.05 * width or known[-1] - until < 0.05 * width
        kind: DoubtKind = "wrong dates" if first and longest > 0.3 * width else "gap in time"
        act = "are the dates beyond it right?" if kind == "wrong dates" else "is an export missing?"
        yield Doubt(kind, (name,), words, act)
