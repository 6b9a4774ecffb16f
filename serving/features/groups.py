"""Statistics of a number by category, learned from training rows and looked up afterwards."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
STATISTICS: Mapping[str, Callable[[Values], Any]] = {"mean": np.mean, "median": np.median, "std": np.std}


def grouped(statistic: str, number: Values, codes: Values, size: int) -> Values:
    """The *statistic* of *number* by code, of shape (size + 2,); rows where either is missing do not count.

    An unknown category, a missing one, and one without rows have that of all rows; without any row it is missing.
    """
    known = ~np.isnan(number)
    function = STATISTICS[statistic]
    every = float(function(number[known])) if known.any() else np.nan
    found = np.full(size + 2, every)
    known &= (codes >= 0) & (codes < size)
    order = np.argsort(codes[known], kind="stable")
    present, firsts = np.unique(codes[known][order].astype(np.intp), return_index=True)
    for code, part in zip(present, np.split(number[known][order], firsts[1:]), strict=bool(len(present))):
        found[code] = function(part)
    return found
