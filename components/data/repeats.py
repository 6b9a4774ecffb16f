"""Rows that stand in a table more than once."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from serving.contract import Contract

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Repeats:
    """Row positions.

    Attributes:
        rows: later copies of a row that is there already; the first one stays.
        keys: rows with one key at one event time but different values; nobody can say which is right, so all of them.
    """

    rows: Positions
    keys: Positions


NONE = Repeats(rows=np.empty(0, np.intp), keys=np.empty(0, np.intp))


def policy(contract: Contract) -> Literal["refuse", "drop", "keep"]:
    """What becomes of repeated rows: where a row is no event of a key, another one like it may as well be right."""
    return contract.duplicates or ("refuse" if contract.key and contract.event_time else "drop")


def find(table: pl.DataFrame, contract: Contract) -> Repeats:
    """The repeats of *table*, as far as the *contract* does not keep them.

    With key and event time, rows of one event are compared on the contract's columns. Without both, whole rows are
    compared, ids outside of the contract included, and only where a measured number, a moment or a text can tell rows
    apart, or the contract says so: in a table of categories alone equal rows are no mistake.
    """
    named = [name for name in (contract.key, contract.event_time) if name]
    if policy(contract) == "keep":
        return NONE
    if len(named) == 2:
        compared = table.select(*dict.fromkeys((*named, *contract.inputs, contract.target.name)))
        suspects = _suspects(table.select(named))
    elif named or contract.duplicates or _measures(contract):
        compared, suspects = table, _suspects(table)
    else:
        suspects, compared = np.empty(0, dtype=np.intp), table
    few = compared[suspects]
    first = few.to_struct().is_first_distinct().to_numpy() if len(suspects) else np.empty(0, dtype=bool)
    return Repeats(rows=suspects[~first], keys=_conflicts(few.filter(first), suspects[first], named))


def _measures(contract: Contract) -> bool:
    floats = any(column.type in ("float", "datetime", "text") for column in contract.inputs.values())
    return floats or contract.task == "regression"


def _suspects(table: pl.DataFrame) -> Positions:
    """Positions of rows whose hash occurs more than once; sorting hashes is far cheaper than grouping rows."""
    hashes = table.hash_rows()
    ordered = np.sort(hashes.to_numpy())
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(hashes.is_in(pl.Series(twice).implode()).to_numpy())


def _conflicts(distinct: pl.DataFrame, positions: Positions, event: list[str]) -> Positions:
    if len(event) < 2 or not len(positions):
        return np.empty(0, dtype=np.intp)
    keys = distinct.select(event)
    whole = ~keys.select(pl.any_horizontal(pl.all().is_null())).to_series()
    again: npt.NDArray[np.bool_] = (keys.is_duplicated() & whole).to_numpy()
    return positions[again]
