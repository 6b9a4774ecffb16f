"""Hashes of values that stay the same over libraries, machines and years.

Snapshots and splits decide by them where a row goes; a hash that changed with a library would silently move rows from
the training side to the holdout side.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

Hashes = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NULL = np.uint64(0x6E756C6C)  # the hash of a missing value, before mixing


def splitmix64(values: Hashes) -> Hashes:
    """Finaliser of SplitMix64 (Steele, Lea & Flood 2014): a bijection of 64-bit words that scatters all bits."""
    with np.errstate(over="ignore"):
        z = values + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hash_values(column: pl.Series, seed: int = 0) -> Hashes:
    """One hash per value; equal numbers hash alike whatever their width, and missing values hash alike."""
    words = splitmix64(_words(column))
    if column.null_count():
        words = np.where(column.is_null().to_numpy(), _NULL, words)
    return splitmix64(words ^ splitmix64(np.array([seed], dtype=np.uint64)))


def hash_rows(frame: pl.DataFrame, seed: int = 0) -> Hashes:
    """One hash per row, of all its flat columns in their order."""
    hashes = np.full(frame.height, seed, dtype=np.uint64)
    for column in frame.iter_columns():
        if not column.dtype.is_nested():
            hashes = splitmix64(hashes) ^ hash_values(column)
    return splitmix64(hashes)


def _words(column: pl.Series) -> Hashes:
    dtype = column.dtype
    if dtype.is_integer() or dtype.is_temporal() or dtype == pl.Boolean:
        words = _full(column.to_physical(), 0).cast(pl.Int64, wrap_numerical=True).to_numpy().view(np.uint64)
    elif dtype.is_float():
        # Adding zero makes -0.0 and 0.0 one value.
        words = (_full(column, 0.0).cast(pl.Float64).to_numpy() + 0.0).view(np.uint64)
    else:
        words = pd.util.hash_array(_full(column.cast(pl.String), "").to_numpy(), categorize=False)
    return np.asarray(words, dtype=np.uint64)


def _full(column: pl.Series, value: int | float | str) -> pl.Series:
    """*column* without gaps; to fill those of a column that has none is a whole query for polars."""
    return column.fill_null(value) if column.null_count() else column
