"""Files that are one table: which columns they have in common, and as which types their cells meet.

What is needed decides, as a rule what a contract names. A column that is needed has to be in every file, unless it may
be missing; any other is null where it is absent. Where files hold one column in different types, all become the text
that stands there, which the contract then reads like that of a CSV file.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import polars as pl

from components.data.meaning import as_category
from components.data.moments import assembled
from components.data.reader import Reader
from components.data.rules import brought, fields
from components.data.words import plain_numbers, spelled
from serving.contract import Assembled, Column, Contract, Dialect
from serving.errors import DataError

CHUNK_ROWS = 500_000


class Needed(NamedTuple):
    """What a reader of a table needs of it; no other column can make a file unreadable.

    Attributes:
        names: columns that have to be in every file, but for those that *nullable* allows to be absent in some.
        numbers: columns that hold numbers, which may be written with a decimal comma.
        csv: how CSV files are written.
        categories: columns of categories, by name.
        inputs: what a model computes with: a file with none of these is none of the table.
        event: the event time and what it is assembled from, where no column is it as it stands.
    """

    names: tuple[str, ...] = ()
    nullable: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    csv: Dialect = Dialect()
    categories: Mapping[str, Column] = MappingProxyType({})
    inputs: frozenset[str] = frozenset()
    event: tuple[str, Assembled] | None = None

    @classmethod
    def of(cls, contract: Contract, *, inputs: bool = False) -> "Needed":
        """Every column that the *contract* names, or with *inputs* those that a model computes with."""
        columns = contract.inputs if inputs else fields(contract)
        nullable = frozenset(name for name, column in columns.items() if column.nullable)
        numbers = frozenset(name for name, column in columns.items() if column.numeric)
        words = {name: column for name, column in columns.items() if column.type == "category"}
        names = tuple(columns if inputs else brought(contract))
        made = contract.assembled if not inputs else None
        event = None if made is None else (str(contract.event_time), made)
        return cls(names, nullable, numbers, contract.csv, words, frozenset(contract.inputs), event)


ANY = Needed()


@dataclass(frozen=True)
class RawTable:
    """Rows under one another, in the order of the files' names.

    Attributes:
        schema: names and types of all columns.
        notices: sentences about what was not read, such as files without a row.
    """

    uri: str
    schema: pl.Schema
    notices: tuple[str, ...] = ()
    parts: tuple[Reader, ...] = ()
    whole: pl.DataFrame | None = None
    needed: Needed = ANY

    @classmethod
    def of(cls, uri: str, frame: pl.DataFrame) -> "RawTable":
        """A table that was made as a whole."""
        if not frame.width or not frame.height:
            raise _empty(uri)
        return cls(uri, frame.schema, whole=frame)

    @property
    def columns(self) -> list[str]:
        return list(self.schema)

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[pl.DataFrame]:
        """All rows, at most *rows* at a time, with their event time where it is assembled."""
        for chunk in self._chunks(rows):
            made = self.needed.event
            yield chunk if made is None else assembled(chunk, *made)

    def _chunks(self, rows: int) -> Iterator[pl.DataFrame]:
        if self.whole is not None:
            yield from self.whole.iter_slices(rows)
        for part in self.parts:
            known = set(part.names)
            here = [name for name in self.columns if name in known]
            for chunk in map(pl.DataFrame, part.chunks(here, rows)):
                held = chunk.schema  # made anew at each look, which takes as long as there are columns
                yield chunk.select(self._met(name, held, part) for name in self.columns)

    def frame(self) -> pl.DataFrame:
        """All rows at once."""
        return pl.concat(self.chunks(), rechunk=True)

    def _met(self, name: str, held: pl.Schema, part: Reader) -> pl.Expr:
        if name not in held:
            return pl.lit(None, self.schema[name]).alias(name)
        number, cell = name in self.needed.numbers, pl.col(name)
        cell = plain_numbers(cell) if number and part.by_comma else cell
        if held[name] != self.schema[name] and self.schema[name] == pl.String:
            cell = self._text(name, cell, held[name], number)
        return cell.cast(self.schema[name]).alias(name)

    def _text(self, name: str, cell: pl.Expr, dtype: pl.DataType, number: bool) -> pl.Expr:
        """A *cell* of a file that has *name* as another type, as the text that means the same."""
        if number and dtype == pl.Float32:  # whose text has fewer digits than its value
            return spelled(cell.cast(pl.Float64), pl.Float64())
        if name in self.needed.categories:
            return as_category(cell, dtype, self.needed.categories[name])
        return spelled(cell, dtype)


def meeting(uri: str, readers: Sequence[Reader], needed: Needed, passed_over: Sequence[str] = ()) -> RawTable:
    """The one table that the files of *readers* are.

    Raises:
        DataError: no file has a row, or one lacks a needed column that another has.
    """
    parts = tuple(reader for reader in readers if not reader.empty)
    if not parts:
        raise _empty(uri)
    notices = [f"{reader.name} has a header and no row; it is skipped" for reader in readers if reader.empty]
    if passed_over:
        notices.append(f"no tables, and not read: {', '.join(passed_over)}")
    return RawTable(uri, _schema(parts, needed), (*notices, *_lacking(readers, needed)), parts, needed=needed)


def decimal_points(reader: Reader, needed: Needed) -> list[pl.Expr]:
    """What makes the numbers of a file with decimal commas those of one with points; nothing for other files."""
    names = [name for name in reader.names if name in needed.numbers]
    return [plain_numbers(pl.col(name)) for name in names if reader.by_comma]


def _schema(parts: Sequence[Reader], needed: Needed) -> pl.Schema:
    """Each column's type: what all files say, a number wide enough for all, or text."""
    seen: dict[str, list[pl.DataType]] = {}
    for part in parts:
        held = pl.DataFrame(part.schema(part.names).empty_table()).schema
        for name, dtype in held.items():
            seen.setdefault(name, []).append(dtype)
    return pl.Schema({name: _common(found, name in needed.numbers) for name, found in seen.items()})


def _common(found: Sequence[pl.DataType], number: bool) -> pl.DataType:
    """A type for cells of the types *found*; of what is no *number*, such as a key, no digit may be lost."""
    known = list(dict.fromkeys(dtype for dtype in found if dtype != pl.Null)) or [pl.Null()]
    if len(known) == 1:
        return known[0]
    if all(dtype.is_integer() and dtype != pl.UInt64 for dtype in known):
        return pl.Int64()
    floats = all(dtype.is_float() or (number and dtype.is_numeric()) for dtype in known)
    return pl.Float64() if floats else pl.String()


def _lacking(readers: Sequence[Reader], needed: Needed) -> Iterator[str]:
    """Notices about columns that a file of *readers* lacks and may lack; raises for one that it may not.

    Of a file with no row but its first it matters all the same whether that one is a header.
    """
    parts = [reader for reader in readers if not reader.empty]
    held = {name for part in parts for name in part.names}  # what no file has validation says better
    names = tuple(name for name in needed.names if name in held)
    known = needed._replace(names=names, inputs=needed.inputs & held)
    for reader in readers:
        _check_header(reader, known)
    for part in parts:
        if gone := absent(part, known):
            yield f"{part.name} lacks {', '.join(gone)}, which may be missing; its rows have none"


def absent(part: Reader, needed: Needed) -> list[str]:
    """The needed columns that the file *part* of several lacks, and whose rows then hold nothing there.

    Raises:
        DataError: one may not be missing, or stands there in other letters, or no input of a model is there.
    """
    _check_header(part, needed)
    gone = [name for name in needed.names if name not in part.names]
    spare = [column for column in part.names if column not in needed.names]
    letters = {column.casefold() for column in spare}
    for name in gone:
        if name not in needed.nullable or name.casefold() in letters:
            raise _absent(name, part, spare)
    return gone


def _check_header(part: Reader, needed: Needed) -> None:
    if part.names and needed.inputs and needed.inputs.isdisjoint(part.names):
        raise DataError(
            f"{part.name} has none of the columns {', '.join(sorted(needed.inputs)[:20])}, but "
            f"{', '.join(part.names[:20])}: is its header missing, or is it of another table?"
        )


def _absent(name: str, part: Reader, spare: Sequence[str]) -> DataError:
    other = {column.casefold(): column for column in spare}
    close = difflib.get_close_matches(name.casefold(), other, n=1, cutoff=0.5)
    hint = f"is its {other[close[0]]!r} meant?" if close else f"it has {', '.join(part.names[:20])};"
    return DataError(f"{part.name} lacks column {name!r}: {hint} export all files alike")


def _empty(uri: str) -> DataError:
    return DataError(f"source {uri} is an empty table: expected at least one row, got none; check the export")
