"""What the contract says of each column: its keys with the reason for them, or why it is left out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.data.meaning import MISSING_WORDS
from components.drafting.bounds import bounds
from components.drafting.doubts import Doubt
from components.drafting.look import ColumnLook, TableLook
from components.drafting.numbers import Values, far_out, sentinel
from components.drafting.roles import Roles, others

KINDS = ("float", "int", "bool", "category")  # what a contract's column may be


@dataclass(frozen=True)
class Input:
    """One column of the contract.

    Attributes:
        keys: what the contract says of it.
        why: the reasons, as one comment.
        out: why it is left out; empty for one that is an input.
    """

    column: ColumnLook
    keys: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    out: str = ""

    @property
    def name(self) -> str:
        return self.column.name


def inputs(table: TableLook, roles: Roles, doubts: Iterable[Doubt]) -> tuple[Input, ...]:
    """Every column without another part to play, in the table's order."""
    reasons: dict[str, str] = {}
    for doubt in doubts:
        if doubt.out:
            for name in doubt.about:
                reasons.setdefault(name, f"{doubt.kind}: {doubt.words}")
    return tuple(_input(column, reasons.get(column.name, "")) for column in others(table, roles))


def _input(column: ColumnLook, out: str) -> Input:
    guess = "text" if column.guess in ("constant", "empty") else column.guess
    if guess not in KINDS:
        return Input(column, {"type": guess}, column.why, out or f"no type of a column holds a {guess} yet")
    keys: dict[str, Any] = {"type": guess}
    why = [column.why]
    if column.numeric:
        low, high, reason = number_range(column)
        keys |= {"unit": "", "range": [low, high]}
        why = [reason]
    elif guess == "category":
        keys |= {"values": [word for word, _ in column.words]}
        if not column.closed:
            keys["unknown"] = "flag"
    if column.missing:
        keys["nullable"] = True
        why.append(f"missing in {column.missing / column.rows:.2%}{_null_words(column)}")
    return Input(column, keys, "; ".join(why), out)


def number_range(column: ColumnLook) -> tuple[float, float, str]:
    """Bounds of the numbers that belong to *column*, those aside that stand for nothing or lie far out."""
    values: Values = column.values.drop_nulls().to_numpy()
    if word := sentinel(values):
        values = values[values != word]
    edge = far_out(values)
    return bounds(column.of(values[values <= edge] if edge is not None else values))


def _null_words(column: ColumnLook) -> str:
    found = [word for word in column.cells.nulls if word not in MISSING_WORDS]
    return f", written {', '.join(found)}" if found else ""
