"""What the columns of a table are, each with the reason for which it is taken for that."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import polars as pl

from components.data.meeting import RawTable
from components.data.words import counted
from components.drafting import cells, names
from components.drafting.cells import Cells
from components.drafting.numbers import Values, sentinel
from serving.files import sha256_bytes

Guess = Literal["float", "int", "bool", "category", "datetime", "text", "id", "constant", "empty"]
SMALL = 20  # rows below which nothing is unique but by chance
FEW_WORDS, LIKELY_CLOSED, MOST_WORDS = 12, 50, 255  # different words of a column of categories
UNSEEN = 0.001  # chance of a word that is new (Good 1953: words that were seen once, per row), above which it is open
UNIQUE, MOSTLY = 0.95, 0.5  # share of the cells that differ from all others
LONG = 30  # characters of a cell that is a sentence rather than a name
SHOWN = 5


@dataclass(frozen=True)
class ColumnLook:
    """One column of a table.

    Attributes:
        guess: what it is taken for, ``why`` being the reason, as a phrase.
        missing: rows in which nothing stands, or a word of ``cells.nulls``.
        distinct: different values among the others.
        closed: of categories, whether the table is likely to hold all that there are.
        words: of categories the words with their counts, the most frequent first.
        spread: of numbers and moments the least, the 1, 25, 50, 75 and 99 % quantiles and the greatest value.
    """

    name: str
    guess: Guess
    why: str
    rows: int
    missing: int
    distinct: int
    cells: Cells
    closed: bool = True
    words: tuple[tuple[str, int], ...] = ()
    spread: tuple[Any, ...] = ()

    @property
    def numeric(self) -> bool:
        return self.guess in ("float", "int")

    @property
    def low(self) -> Any:
        return self.spread[0]

    @property
    def high(self) -> Any:
        return self.spread[-1]

    @property
    def values(self) -> pl.Series:
        """(n_rows,) what stands there, in the type that it is taken for; null where nothing does."""
        return self.cells.typed

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def counter(self) -> bool:
        """Whether it numbers the rows of an export and means nothing beside it."""
        return self.guess == "id" and self.cells.kind == "number" and not names.suggests_id(self.name)

    @cached_property
    def coded(self) -> float | None:
        """The number that stands for nothing; None where each is one that was measured."""
        return sentinel(self.values.drop_nulls().to_numpy()) if self.numeric else None

    @property
    def measured(self) -> Values:
        """(n,) the numbers that stand for themselves."""
        found: Values = self.values.drop_nulls().to_numpy()
        return found if self.coded is None else found[found != self.coded]

    def of(self, values: Any) -> "ColumnLook":
        """The same column with *values*, (n,) numbers, alone."""
        typed = pl.Series(self.name, values)
        return replace(self, cells=replace(self.cells, typed=typed), spread=quantiles(typed), distinct=typed.n_unique())

    @property
    def held(self) -> str:
        """What it holds, in a few words for people."""
        if self.words:
            shown = ", ".join(word for word, _ in self.words[:SHOWN])
            return shown + (f" and {self.distinct - SHOWN:,} more" if self.distinct > SHOWN else "")
        if self.spread:
            return f"{_short(self.low)} to {_short(self.high)}, middle {_short(self.spread[3])}"
        examples = self.values.drop_nulls().head(2).cast(pl.String).to_list()
        return ", ".join(repr(word[:LONG]) for word in examples)


@dataclass(frozen=True)
class TableLook:
    """A whole table.

    Attributes:
        frame: its rows as they came.
        separator, decimal, encoding: of its first CSV file, as found; empty for other sources.
    """

    uri: str
    frame: pl.DataFrame = field(compare=False)
    columns: tuple[ColumnLook, ...]
    separator: str = ""
    decimal: str = ""
    encoding: str = ""

    def __getitem__(self, name: str) -> ColumnLook:
        return next(column for column in self.columns if column.name == name)

    @property
    def rows(self) -> int:
        return int(self.frame.height)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def look(table: RawTable) -> TableLook:
    """What the columns of *table* are."""
    part = table.parts[0] if table.parts and table.parts[0].is_csv else None
    by_comma = part is not None and part.by_comma
    frame = table.frame()
    columns = tuple(column(frame[name], by_comma=by_comma) for name in frame.columns)
    if part is None:
        return TableLook(table.uri, frame, columns)
    written = part.dialect
    return TableLook(table.uri, frame, columns, written.separator or "", written.decimal or "", written.encoding or "")


def column(series: pl.Series, *, by_comma: bool = False) -> ColumnLook:
    """What *series* is."""
    found = cells.read(series, by_comma=by_comma)
    typed = found.typed
    distinct = int(typed.drop_nulls().n_unique())
    bare = ColumnLook(series.name, "empty", "", len(series), typed.null_count(), distinct, found)
    if distinct == 0:
        return replace(bare, why="no cell holds anything")
    described = {"number": _number, "moment": _moment, "truth": _truth, "word": _word}[found.kind](bare)
    if distinct == 1:
        one = str(typed.drop_nulls()[0])
        return replace(described, guess="constant", why=f"every cell holds {one[:LONG]!r}")
    return described


def digest(column: ColumnLook) -> str:
    """By which columns with the same values in the same rows are found."""
    hashes = column.values.to_frame().hash_rows(seed=1) if column.values.dtype != pl.Object else pl.Series([0])
    return sha256_bytes(hashes.to_numpy().tobytes())


def quantiles(values: pl.Series) -> tuple[Any, ...]:
    """The least, the 1, 25, 50, 75 and 99 % quantiles, and the greatest of *values*."""
    number = values.drop_nulls().cast(pl.Int64) if values.dtype == pl.Datetime else values.drop_nulls()
    found = [number.quantile(q, interpolation="nearest") for q in (0, 0.01, 0.25, 0.5, 0.75, 0.99, 1)]
    if values.dtype == pl.Datetime:
        return tuple(pl.Series([int(one) for one in found]).cast(pl.Datetime("us")).to_list())
    return tuple(found)


def _number(bare: ColumnLook) -> ColumnLook:
    found, spread = bare.cells, quantiles(bare.values)
    described = replace(bare, spread=spread)
    if found.whole and bare.present >= SMALL and _unique(bare) and names.suggests_row(bare.name):
        return replace(described, guess="id", why="whole numbers that never repeat, called as row numbers are")
    if found.whole and bare.present >= SMALL and _unique(bare) and names.suggests_id(bare.name):
        return replace(described, guess="id", why="whole numbers that never repeat, called as identifiers are")
    if found.whole and _counts_up(bare):
        return replace(described, guess="id", why="whole numbers that count the rows")
    if found.whole and names.suggests_code(bare.name) and bare.distinct <= bare.present * MOSTLY:
        words = found.typed.cast(pl.Int64).cast(pl.String)
        named = replace(bare, cells=replace(found, kind="word", typed=words))
        return _words(named, "whole numbers that are names, as the column is called")
    gaps = found.pointed and bare.missing > 0
    if found.whole and (not found.pointed or gaps):
        return replace(described, guess="int", why="whole numbers")
    return replace(described, guess="float", why="numbers")


def _moment(bare: ColumnLook) -> ColumnLook:
    known = bare.cells.dated
    forms = ", ".join(form or "ISO 8601" for form in known.formats) if known else "ISO 8601"
    return replace(bare, guess="datetime", why=f"moments as {forms}", spread=quantiles(bare.values))


def _truth(bare: ColumnLook) -> ColumnLook:
    return replace(bare, guess="bool", why="two words for true and false")


def _word(bare: ColumnLook) -> ColumnLook:
    sample = bare.values.drop_nulls()
    some = sample.gather_every(max(1, len(sample) // 2_000))
    length, words = float(some.str.len_chars().mean() or 0), float((some.str.count_matches(r"\s+") + 1).mean() or 1)
    alike = bare.distinct / max(bare.present, 1)
    if bare.present >= SMALL and alike >= UNIQUE and words < 3 and length < LONG and _like_id(bare, some):
        return replace(bare, guess="id", why="short texts that never repeat")
    if bare.distinct > FEW_WORDS and (alike >= MOSTLY or (length >= LONG and words >= 3)):
        return replace(bare, guess="text", why=f"texts of about {length:.0f} characters, {alike:.0%} of them different")
    return _words(bare, "words that repeat")


def _words(bare: ColumnLook, why: str) -> ColumnLook:
    """A column of categories; closed where hardly any word can be new."""
    listed = tuple((str(word), rows) for word, rows in counted(bare.values).items())
    once = sum(rows == 1 for _, rows in listed)
    few = bare.distinct <= FEW_WORDS
    closed = bare.distinct <= LIKELY_CLOSED and once <= UNSEEN * bare.present
    closed = closed or (few and once <= max(1, UNSEEN * bare.present))
    kept = f"{bare.distinct} different in {bare.present:,} cells"
    tail = "hardly any can be new" if closed else f"{once} of them once, so that more are to be expected"
    return replace(bare, guess="category", why=f"{why}, {kept}, {tail}", words=listed, closed=closed)


def _unique(bare: ColumnLook) -> bool:
    return bare.distinct >= UNIQUE * bare.present


def _counts_up(bare: ColumnLook) -> bool:
    """Whether each row's number is that of the row before plus one, as a counter that was exported."""
    steps = bare.values.drop_nulls().diff().drop_nulls()
    counter = bare.missing == 0 and not bare.cells.pointed and bare.values.min() in (0, 1)
    return bare.present >= SMALL and counter and bool((steps == 1).all())


def _like_id(bare: ColumnLook, some: pl.Series) -> bool:
    """Digits in nearly all, or a name that says so."""
    return names.suggests_id(bare.name) or float(some.str.contains(r"\d").mean() or 0.0) > 0.9


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    return f"{value:.6g}" if isinstance(value, float) else str(value)
