"""What polars leaves unordered, in an order of this process's own: for a process whose PYTHONPATH begins with this
folder, and whose UNORDERED is another number than another's. Equal runs must not show it.
"""

import os
from collections.abc import Callable
from typing import Any

import polars as pl
from polars.dataframe.group_by import GroupBy


def shuffled(found: Any, seed: int) -> Any:
    return found.sample(fraction=1.0, shuffle=True, seed=seed) if len(found) else found


def unorder(seed: int, put: Callable[[Any, str, Any], None] = setattr) -> None:
    """From now on values, groups and counts come in the order of *seed*, unless theirs was asked for; *put* by."""
    unique, counts, rows, agg = pl.Series.unique, pl.Series.value_counts, pl.DataFrame.unique, GroupBy.agg

    def series(self: pl.Series, *, maintain_order: bool = False) -> pl.Series:
        found = unique(self, maintain_order=maintain_order)
        return found if maintain_order else shuffled(found, seed)

    def value_counts(self: pl.Series, *, sort: bool = False, **told: Any) -> pl.DataFrame:
        found = shuffled(counts(self, **told), seed)
        return found.sort(found.columns[1], descending=True, maintain_order=True) if sort else found

    def frame(self: pl.DataFrame, *given: Any, maintain_order: bool = False, **told: Any) -> pl.DataFrame:
        found = rows(self, *given, maintain_order=maintain_order, **told)
        return found if maintain_order else shuffled(found, seed)

    def groups(self: GroupBy, *given: Any, **told: Any) -> pl.DataFrame:
        found = agg(self, *given, **told)
        return found if self.maintain_order else shuffled(found, seed)

    put(pl.Series, "unique", series)
    put(pl.Series, "value_counts", value_counts)
    put(pl.DataFrame, "unique", frame)
    put(GroupBy, "agg", groups)


if "UNORDERED" in os.environ:
    unorder(int(os.environ["UNORDERED"]))
