"""Rows that are like the training rows without being any of them.

MUNGE of Bucila, Caruana and Niculescu-Mizil, "Model compression", KDD 2006: a row takes some cells of a row near it,
numbers drawn around that one's. Theirs is the nearest of all; ours is the nearest of a few dozen that are drawn, which
costs no square of the rows and gives a row another neighbour each time.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data.tables import Vector
from serving.contract import Contract

SWAPPED = 0.5  # chance of a cell to be of the neighbour
NARROW = 2.0  # a number is drawn around the neighbour's, this many times as near as the two are to each other
DRAWN = 48  # rows of which the nearest is the neighbour
CHUNK = 20_000  # rows at a time: distances are DRAWN times as many

Places = npt.NDArray[np.intp]


def mixed(rows: pl.DataFrame, contract: Contract, count: int, seed: int) -> pl.DataFrame:
    """*count* rows made of *rows*, which are accepted ones with the contract's columns in its types.

    Whatever is no input stays as in the row that one is made of, as do its key, event time and ids: such rows are whole
    on one side of a cut by them. Cells are empty as in *rows*, words are words of theirs, and numbers lie between
    theirs, whole where all are.
    """
    random = np.random.default_rng(seed)
    own = np.arange(count) % len(rows)
    names = [name for name in contract.inputs if name != contract.event_time]
    places = [_placed(rows[name]) for name in names]
    chunks = [_nearest(places, part, random) for part in np.split(own, range(CHUNK, count, CHUNK))]
    near = np.concatenate(chunks)
    cells = [_mixed(rows[name], own, near, contract.inputs[name].numeric, random) for name in names]
    return rows[own].with_columns(cells)


def _placed(cells: pl.Series) -> tuple[Vector, bool]:
    """Numbers in units of their spread, or a number for each word, and whether they are such; NaN for no value."""
    if not cells.dtype.is_numeric():
        return cells.rank("dense").cast(pl.Float64).to_numpy(), True
    values = cells.cast(pl.Float64).to_numpy()
    spread = float(np.nanstd(values)) if cells.null_count() < len(cells) else 0.0
    return values / (spread or 1.0), False


def _nearest(places: list[tuple[Vector, bool]], own: Places, random: np.random.Generator) -> Places:
    """For each of *own* the nearest of the rows that are drawn: the sum of spreads apart, and of words that differ."""
    count = len(places[0][0]) if places else 1
    drawn = random.integers(0, count, (len(own), DRAWN))
    drawn += drawn == own[:, None]  # itself is no neighbour
    drawn %= count
    apart = np.zeros(drawn.shape)
    for values, words in places:
        mine, theirs = values[own][:, None], values[drawn]
        off = np.abs(mine - theirs)
        differs = np.isnan(mine) != np.isnan(theirs)
        apart += np.where(np.isnan(off), differs, off > 0 if words else off)
    found: Places = drawn[np.arange(len(own)), apart.argmin(axis=1)]
    return found


def _mixed(cells: pl.Series, own: Places, near: Places, numeric: bool, random: np.random.Generator) -> pl.Series:
    taken = random.random(len(own)) < SWAPPED
    chosen = cells[np.where(taken, near, own)]
    if not numeric or cells.null_count() == len(cells):
        return chosen
    values: npt.NDArray[Any] = cells.cast(pl.Float64).to_numpy()
    mine, theirs = values[own], values[near]
    drawn = random.normal(theirs, np.abs(np.nan_to_num(mine - theirs)) / NARROW)
    if (np.nan_to_num(values) == np.rint(np.nan_to_num(values))).all():
        drawn = np.rint(drawn)
    drawn = np.clip(drawn, np.nanmin(values), np.nanmax(values))
    return pl.Series(cells.name, np.where(taken, drawn, mine)).fill_nan(None)
