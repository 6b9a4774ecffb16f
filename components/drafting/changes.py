"""What changed in a table against a contract, in words, and what the contract would have to say instead."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from components.data.rules import fields
from components.data.words import counted
from components.drafting.doubts import of_columns
from components.drafting.editing import edited, removed
from components.drafting.inputs import Input, inputs
from components.drafting.look import ColumnLook, TableLook
from components.drafting.numbers import far_out, mixed_units, sentinel
from components.drafting.roles import Role, Roles, class_words
from serving.contract import Column, Contract

MOST_MISSING = 0.5  # share of a column's rows that may lack it, if it is to stay an input
GONE = object()


@dataclass(frozen=True)
class Change:
    """One thing that is not as the contract says.

    Attributes:
        path: of the key in the project, below ``contract``.
        value: what would have to stand there; ``GONE`` for a key that goes, None where no key mends it.
    """

    path: tuple[str, ...]
    words: str
    value: Any = None

    @property
    def mends(self) -> str:
        """What the proposal does, in words."""
        if self.value is None:
            return "mend the data, or decide by hand"
        what = "commented out" if self.value is GONE else "as proposed"
        return f"{'.'.join(('contract', *self.path))} {what}"

    def applied(self, text: str) -> str:
        """The *text* of a project with this change."""
        if self.value is None:
            return text
        path = ("contract", *self.path)
        return removed(text, path) if self.value is GONE else edited(text, path, self.value)


def changes(table: TableLook, contract: Contract) -> tuple[Change, ...]:
    """How *table* differs from what *contract* says of its columns."""
    return (*_columns(table, contract), *_new(table, contract), *_parts(table, contract))


def proposal(text: str, found: tuple[Change, ...]) -> str:
    """The *text* of a project with every change that a key can say."""
    for change in found:
        text = change.applied(text)
    return text


def _columns(table: TableLook, contract: Contract) -> Iterator[Change]:
    target = contract.target.name
    for name, column in fields(contract).items():
        path = ("target",) if name == target else ("columns", name)
        if name not in table.names:
            words = f"{name}: the table has no such column any more"
            yield Change(path, words, None if name == target else GONE)
            continue
        look = table[name]
        yield from _missing(look, column, path, target=name == target)
        if column.numeric:
            yield from _numbers(look, column, path)
        elif column.type == "category" and column.values:
            yield from _categories(table, look, column, path, target=name == target)


def _missing(look: ColumnLook, column: Column, path: tuple[str, ...], *, target: bool) -> Iterator[Change]:
    if not look.missing or column.nullable:
        return
    words = f"{look.name}: missing in {look.missing:,} of {look.rows:,} rows, which the contract does not allow"
    mends = not target and look.missing <= MOST_MISSING * look.rows
    yield Change((*path, "nullable"), words, True if mends else None)


def _numbers(look: ColumnLook, column: Column, path: tuple[str, ...]) -> Iterator[Change]:
    if look.cells.kind != "number":
        if look.present:
            yield Change(path, f"{look.name}: no column of numbers any more, but {look.guess}: {look.held}")
        return
    values = look.values.drop_nulls()
    if column.type == "int" and not look.cells.whole:
        rows = int((values != values.floor()).sum())
        yield Change((*path, "type"), f"{look.name}: {rows:,} rows hold no whole number", "float")
    if column.range is not None:
        yield from _range(look, values, column.range, path)


def _range(look: ColumnLook, values: pl.Series, held: tuple[float, float], path: tuple[str, ...]) -> Iterator[Change]:
    outside = values.filter(~values.is_between(*held))
    if not len(outside):
        return
    words = f"{look.name}: {len(outside):,} of {look.rows:,} rows lie outside of [{held[0]:g}, {held[1]:g}],"
    words += f" from {outside.min():g} to {outside.max():g}"
    numbers = values.to_numpy()
    why = mixed_units(numbers) or ("far beyond all others" if far_out(numbers) is not None else "")
    if (word := sentinel(numbers)) is not None:
        why = f"{word:g} looks like a word for a missing value"
    share = len(outside) / len(values)
    if why or share > MOST_MISSING:
        yield Change((*path, "range"), f"{words}; {why or 'has the unit changed?'}")
        return
    from components.drafting.bounds import bounds

    low, high, _ = bounds(look)
    yield Change((*path, "range"), words, [min(held[0], low), max(held[1], high)])


def _categories(
    table: TableLook, look: ColumnLook, column: Column, path: tuple[str, ...], *, target: bool
) -> Iterator[Change]:
    rows = {str(word): rows for word, rows in counted(class_words(table.frame[look.name], look)).items()}
    new = [word for word in rows if word not in column.values]
    if new:
        shown = ", ".join(f"{word!r} ({rows[word]:,} rows)" for word in new[:6])
        more = f" and {len(new) - 6:,} more" if len(new) > 6 else ""
        key = "classes" if target else "values"
        yield Change((*path, key), f"{look.name}: words that are new: {shown}{more}", [*column.values, *new])
    if gone := [word for word in column.values if word not in rows]:
        yield Change((*path, "values"), f"{look.name}: no row has {', '.join(map(repr, gone[:6]))} any more")


def _new(table: TableLook, contract: Contract) -> Iterator[Change]:
    """Columns that no part of the contract names."""
    named = {contract.key, contract.event_time, contract.target.name, *contract.columns}
    roles = Roles(Role((contract.target.name,)), key=Role((contract.key,) if contract.key else ()))
    free = [column for column in table.columns if column.name not in named]
    out = {name for doubt in of_columns(free, contract.target.name) if doubt.out for name in doubt.about}
    by_name: dict[str, Input] = {one.name: one for one in inputs(table, roles, ())}
    for column in free:
        keys = by_name[column.name].keys if column.name in by_name else {}
        usable = column.guess not in ("constant", "empty", "id") and column.name not in out
        words = f"{column.name}: a column that the contract does not name, {column.guess}: {column.held}"
        yield Change(("columns", column.name), words, dict(keys) if usable else None)


def _parts(table: TableLook, contract: Contract) -> Iterator[Change]:
    for part, name in (("key", contract.key), ("event_time", contract.event_time)):
        if name is not None and name not in table.names:
            yield Change((part,), f"{name}: the {part.replace('_', ' ')} is not in the table any more")
        elif name is not None and part == "event_time" and table[name].guess not in ("datetime", "constant"):
            yield Change((part,), f"{name}: no moments any more, but {table[name].guess}: {table[name].held}")
