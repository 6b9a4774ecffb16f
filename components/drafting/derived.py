"""What a draft derives of moments, since no estimator sees one: hour, weekday, month, and days that passed."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import time, timedelta

import polars as pl

from components.drafting.inputs import Input
from components.drafting.look import TableLook
from components.drafting.names import plain
from components.drafting.roles import Roles, moments
from serving.files import canonical_json

WEEKS, YEAR = timedelta(days=14), timedelta(days=360)  # spans in which a part says something


def derived(table: TableLook, roles: Roles, inputs: Sequence[Input]) -> Mapping[str, str]:
    """Expressions by name for the moments among *inputs*, and for an event time whose parts are columns."""
    found: dict[str, str] = {}
    taken = {*table.names}
    for one in inputs:
        if one.column.guess == "datetime" and not one.out:
            found |= _named(one.name, dict(_parts(_column(one.name), one.column.values)), taken)
    if len(roles.event.columns) > 2:
        at = moments(table, roles.event)
        whole = f"datetime({', '.join(map(_column, roles.event.columns))})"
        parts = {name: text for name, text in _parts(whole, at) if name in ("weekday", "days")}
        found |= _named("", parts, taken)
    return found


def _parts(what: str, at: pl.Series) -> Iterator[tuple[str, str]]:
    """The parts of the moments *at*, which an expression calls *what*, that differ from row to row."""
    held = at.drop_nulls()
    first, width = held.min(), held.max() - held.min()
    if not bool((held.dt.time() == time()).all()):
        yield "hour", f"hour({what})"
    if width >= WEEKS:
        yield "weekday", f"weekday({what})"
    if width >= YEAR:
        yield "month", f"month({what})"
        yield "days", f'days_since({what}, "{first:%Y-%m-%d}")'


def _named(name: str, parts: Mapping[str, str], taken: set[str]) -> dict[str, str]:
    """*parts* under names that no column has."""
    word = "".join(one if one.isascii() and (one.isalnum() or one == "_") else "_" for one in plain(name))
    word = f"t_{word}" if word[:1].isdigit() else word
    found: dict[str, str] = {}
    for part, text in parts.items():
        wanted = f"{word}_{part}".strip("_")
        while wanted in taken:
            wanted += "_"
        taken.add(wanted)
        found[wanted] = text
    return found


def _column(name: str) -> str:
    """How an expression calls the column *name*."""
    plain_name = name.isidentifier() and name.isascii() and name not in _WORDS
    return name if plain_name else f"col({canonical_json(name).decode()})"


_WORDS = ("and", "or", "not", "in", "is", "if", "else", "pi", "missing", "true", "false", "True", "False", "None")
