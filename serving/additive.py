"""Counts that add up by themselves."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Self


class Additive:
    """A value whose fields are whole numbers, or mappings to whole numbers in which an absent key is 0.

    For dataclasses and for pydantic's models: the arithmetic goes field by field and key by key.
    """

    def __add__(self, other: Self) -> Self:
        return self._each(operator.add, other)

    def __sub__(self, other: Self) -> Self:
        """What came since *other*; never negative."""
        return self._each(lambda now, then: max(0, now - then), other)

    def __or__(self, other: Self) -> Self:
        """The larger of each: counts only grow, so a smaller one comes from a source that started anew."""
        return self._each(max, other)

    def _each(self, of: Callable[[int, int], int], other: Self) -> Self:
        theirs = vars(other)
        return type(self)(**{name: _both(of, value, theirs[name]) for name, value in vars(self).items()})


def _both(of: Callable[[int, int], int], one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return {key: of(one.get(key, 0), other.get(key, 0)) for key in {**one, **other}}
    return of(one, other)
