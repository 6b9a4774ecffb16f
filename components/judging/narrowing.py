"""What a new contract refuses that the old one took: what callers of a model have to know before it is released."""

import math
from collections.abc import Iterator

from components.data.rules import fields, listed, number
from serving.contract import Column, Contract

_EVERY = (-math.inf, math.inf)


def narrowed(old: Contract, new: Contract) -> Iterator[str]:
    """One phrase for each thing that the *new* contract refuses and the *old* one took.

    A request names the columns of its contract, no more and no fewer; one that may be missing is sent as null.
    """
    before, now = fields(old), fields(new)
    if old.target.name != new.target.name:
        yield f"{new.target.name} is predicted instead of {old.target.name}"
    gone = [name for name in old.columns if name not in new.columns]
    if gone:
        yield f"{listed(gone)} {'is' if len(gone) == 1 else 'are'} not taken any more"
    asked = [name for name in new.inputs if name not in old.inputs]
    if asked:
        yield f"{listed(asked)} {'is' if len(asked) == 1 else 'are'} needed now"
    for name, column in before.items():
        if name in now:
            yield from _narrower(name, column, now[name])


def _narrower(name: str, old: Column, new: Column) -> Iterator[str]:
    if old.type != new.type:
        if (old.type, new.type) != ("int", "float"):  # a whole number is a number
            yield f"{name} is {new.type} instead of {old.type}"
    elif new.closed and new.unknown == "refuse":
        known = set(new.values)
        if words := [word for word in old.values if word not in known]:
            yield f"{name} no longer takes {listed(words)}"
        elif not old.closed or old.unknown == "flag":
            yield f"{name} takes no other categories any more"
    if forms := [form for form in old.format if form not in new.format and new.type == old.type]:
        yield f"{name} is not read as {listed(forms)} any more"
    if old.nullable and not new.nullable:
        yield f"{name} may not be missing any more"
    if old.unit != new.unit:
        yield f"{name} is in {new.unit or 'no unit'} instead of {old.unit or 'no unit'}"
    (low, high), (bottom, top) = _bounds(old), _bounds(new)
    if bottom > low or top < high:
        yield f"{name} must lie in [{number(bottom)}, {number(top)}]"


def _bounds(column: Column) -> tuple[float, float]:
    """Between which a request's value is not refused."""
    return column.range if column.range is not None and column.out_of_range == "refuse" else _EVERY
