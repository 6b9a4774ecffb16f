"""What is doubtful about columns before anybody asks what they predict."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import polars as pl

from components.drafting import dates
from components.drafting.look import FEW_WORDS, ColumnLook, digest
from components.drafting.numbers import FEW, Values, capped, far_out, mixed_units

DoubtKind = Literal[
    "leak",
    "known afterwards",
    "identifier",
    "constant",
    "empty",
    "duplicate column",
    "sentinel",
    "far out",
    "capped",
    "mixed units",
    "unit change",
    "tiny class",
    "target missing",
    "two date formats",
    "day or month",
    "wrong dates",
    "numbers as text",
    "no numbers",
    "repeated rows",
    "repeated period",
    "gap in time",
    "nothing learned",
]
LINE = 0.99999  # correlation above which two columns are one
EPOCHS = (datetime(1970, 1, 1), datetime(1900, 1, 1), datetime(1899, 12, 30))  # naive as tables hold them


FEW_CELLS, MOSTLY = 5, 0.9  # cells that hold anything where nearly all do not, of which training may see none
CARRIED = "no input; it goes along with a row and comes back with its answer"
ALL_THERE_IS = "kept, since no other column is left to learn from"
LEFT_OUT = "left out; remove the # in front of it to keep it"


@dataclass(frozen=True)
class Doubt:
    """Something that a person should look at.

    Attributes:
        columns: those that it is about; none where it is about rows.
        words: what was seen.
        act: what the draft does about it, and what else one may do.
    """

    kind: DoubtKind
    columns: tuple[str, ...]
    words: str
    act: str

    @property
    def out(self) -> bool:
        """Whether the draft leaves ``about`` out."""
        return LEFT_OUT in self.act

    @property
    def about(self) -> tuple[str, ...]:
        """The columns that it doubts; of a pair that says the same, the second one alone."""
        return self.columns[:1] if self.kind == "duplicate column" else self.columns

    @property
    def sentence(self) -> str:
        where = f"{', '.join(self.columns)}: " if self.columns else ""
        return f"{where}{self.words}; {self.act}"


def of_columns(columns: Sequence[ColumnLook], target: str, key: str | None = None) -> Iterator[Doubt]:
    """What is doubtful about each of *columns* alone, and about those that say the same."""
    for column in columns:
        yield from _shape(column, named={target, str(key)})
        if column.numeric:
            yield from _numbers(column)
        if column.numeric and column.name == target and (cut := capped(column.measured)):
            words = f"{cut[1]:,} rows have {cut[0]:,.10g}, far more than any number near it, as if cut off there"
            yield Doubt("capped", (column.name,), words, "what lies beyond is not known; a model learns the cap")
        if column.guess == "datetime":
            yield from _moments(column)
    yield from _alike([column for column in columns if column.name not in (target, key)])


def _shape(column: ColumnLook, named: set[str]) -> Iterator[Doubt]:
    name, found = (column.name,), column.cells
    if column.guess == "constant" and column.missing == 0:
        yield Doubt("constant", name, column.why, LEFT_OUT)
    elif column.guess == "constant":
        words = f"{column.why} or nothing, which {column.missing:,} do"
        yield Doubt("constant", name, words, LEFT_OUT)
    elif column.guess == "empty":
        yield Doubt("empty", name, column.why, LEFT_OUT)
    elif column.present < FEW_CELLS and column.missing > MOSTLY * column.rows:
        words = f"{column.present:,} of {column.rows:,} cells hold anything"
        yield Doubt("empty", name, words, LEFT_OUT)
    if column.guess == "id" and column.name not in named:
        yield Doubt("identifier", name, column.why, LEFT_OUT if column.counter else CARRIED)
    if found.affixed and column.guess in ("category", "text", "id") and column.distinct > FEW_WORDS:
        yield Doubt("numbers as text", name, f"numbers with {found.affixed!r} beside them", f"as text here; {LEFT_OUT}")
    if found.odd_rows:
        noun = "date" if found.kind == "moment" else "number"
        shown = ", ".join(repr(word[:30]) for word in found.odd)
        yield Doubt("no numbers", name, f"{found.odd_rows:,} rows hold no {noun}: {shown}", "those rows are set aside")


def _numbers(column: ColumnLook) -> Iterator[Doubt]:
    values = column.measured
    if column.coded is not None:
        words = f"{column.coded:g} stands in {column.present - len(values):,} rows and far from all others"
        yield Doubt("sentinel", (column.name,), words, SENTINEL)
    if mixed := mixed_units(values):
        yield Doubt("mixed units", (column.name,), mixed, "bring both to one unit before they are read")
    elif (edge := far_out(values)) is not None:
        rows = int((values > edge).sum())
        words = f"{rows:,} rows lie far beyond all others, from {values[values > edge].min():g} on"
        yield Doubt("far out", (column.name,), words, "the range leaves them out, and those rows are set aside")


SENTINEL = "taken for a missing value; take it out of null_values if it is one that was measured"


def _moments(column: ColumnLook) -> Iterator[Doubt]:
    known = column.cells.dated
    if known is None:
        return
    if len(known.formats) > 1:
        shares = ", ".join(f"{form or 'ISO 8601'} ({share:.1%})" for form, share in _pairs(known))
        yield Doubt("two date formats", (column.name,), f"dates are written as {shares}", "both are read; is that so?")
    elif known.ambiguous:
        other = dates.twin(known.formats[0])
        words = f"every cell can be read as {known.formats[0]} and as {other}"
        yield Doubt("day or month", (column.name,), words, f"read as {known.formats[0]}; correct the format if not so")
    values = column.values.drop_nulls()
    for epoch in EPOCHS:
        rows = int((values == epoch).sum())
        if rows >= FEW and float((values > epoch).mean() or 0) + rows / len(values) > 0.999 and rows < len(values):
            words = f"{rows:,} rows are of {epoch:%Y-%m-%d}, which programs write for no date"
            yield Doubt("wrong dates", (column.name,), words, "leave those cells empty")


def _pairs(known: dates.Dated) -> Iterator[tuple[str, float]]:
    return zip(known.formats, known.shares, strict=True)


def _alike(columns: Sequence[ColumnLook]) -> Iterator[Doubt]:
    """Columns that say what one before them says: the same cells, the same words by other names, or a line through."""
    first: dict[str, str] = {}
    for column in columns:
        if column.guess in ("constant", "empty"):
            continue
        same = first.setdefault(digest(column), column.name)
        if same != column.name:
            yield Doubt("duplicate column", (column.name, same), f"every cell is that of {same}", LEFT_OUT)
    twice = set(first.values())
    yield from _lines([one for one in columns if one.numeric and one.name in twice and one.distinct > 10])
    yield from _renamed([one for one in columns if one.guess in ("category", "int") and one.name in twice])


def _lines(columns: Sequence[ColumnLook]) -> Iterator[Doubt]:
    """Numbers that are a multiple of others, such as one temperature on two scales."""
    if len(columns) < 2:
        return
    every = max(1, len(columns[0].values) // 20_000)
    matrix = np.vstack([one.values.gather_every(every).to_numpy() for one in columns]).astype(np.float64)
    for right in range(1, len(columns)):
        same = next((left for left in range(right) if _same_line(matrix[left], matrix[right])), None)
        if same is not None:
            name, other = columns[right].name, columns[same].name
            yield Doubt("duplicate column", (name, other), f"it is {other} on another scale", LEFT_OUT)


def _same_line(left: Values, right: Values) -> bool:
    both = np.isfinite(left) & np.isfinite(right)
    enough = both.sum() > 50 and both.mean() > 0.5 * np.isfinite(right).mean()
    return bool(enough) and abs(_correlation(left[both], right[both])) > LINE


def _correlation(left: Values, right: Values) -> float:
    a, b = left - left.mean(), right - right.mean()
    return float((a * b).sum() / (math.sqrt((a * a).sum() * (b * b).sum()) or 1.0))


def _renamed(columns: Sequence[ColumnLook]) -> Iterator[Doubt]:
    """Categories of which each word stands with one word of another column, and the other way round."""
    for place, column in enumerate(columns):
        for other in columns[:place]:
            if column.distinct != other.distinct or not 3 <= column.distinct <= 255 or "category" not in (
                column.guess, other.guess
            ):  # fmt: skip
                continue
            pairs = pl.DataFrame({"a": column.values.cast(pl.String), "b": other.values.cast(pl.String)}).unique()
            if pairs.drop_nulls().height == column.distinct and column.missing == other.missing:
                words = f"each of its words stands with one of {other.name}"
                yield Doubt("duplicate column", (column.name, other.name), words, LEFT_OUT)
                break
