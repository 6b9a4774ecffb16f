"""What the contract says of each column: its keys with the reason for them, or why it is left out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.drafting.bounds import bounds
from components.drafting.doubts import Doubt
from components.drafting.look import ColumnLook, TableLook
from components.drafting.numbers import far_out
from components.drafting.roles import Roles, others
from serving.columns.column import MISSING_WORDS


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
    def carried(self) -> bool:
        """It goes along with a row, and no model computes with it."""
        return bool(self.keys["type"] == "id")

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
    if column.guess in ("constant", "empty"):
        return Input(column, {"type": "text"}, column.why, out or column.why)
    keys: dict[str, Any] = {"type": column.guess}
    why = [column.why]
    if column.numeric:
        low, high, reason = number_range(column)
        keys |= {"unit": "", "range": [low, high]}
        why = [reason]
    elif column.guess == "category":
        keys |= {"values": [word for word, _ in column.words]} if column.closed else {}
    elif column.guess == "datetime":
        keys |= written(column)
    if nulls := null_words(column):
        keys["null_values"] = nulls
        why.append(f"{', '.join(map(repr, nulls))} stands where nothing is known")
    gone = column.rows - (len(column.measured) if column.numeric else column.present)
    if gone and column.guess != "id":
        keys["nullable"] = True
        why.append(f"missing in {gone / column.rows:.2%}")
    return Input(column, keys, "; ".join(why), out)


def written(column: ColumnLook) -> dict[str, Any]:
    """The keys that say how moments are written; none where they are ISO 8601."""
    known = column.cells.dated
    forms = [form for form in known.formats if form] if known else []
    return {"format": forms[0] if len(forms) == 1 else forms} if forms else {}


def null_words(column: ColumnLook) -> list[str]:
    """Words that stand for nothing, beside those that always do; a number among them."""
    words = [word for word in column.cells.nulls if word not in MISSING_WORDS]
    return words if column.coded is None else [*words, f"{column.coded:g}"]


def number_range(column: ColumnLook) -> tuple[float, float, str]:
    """Bounds of the numbers that belong to *column*, those aside that stand for nothing or lie far out."""
    values = column.measured
    edge = far_out(values)
    return bounds(column.of(values[values <= edge] if edge is not None else values))
