"""Tests of a category against a set of its codes, as further columns of the features: 0 inside of the set, 1 outside.

A node then asks such a column whether it is at most a half, so that trees over sets and trees over numbers are one
kind, and every loop that walks them stays as it is. Equal sets are one column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.archive import Arrays
from serving.compiled import B1, F8, I4, I8, OUT, loop, read_only
from serving.contract import Matrix

BLOCK_ROWS = 1024  # whose further columns stand in memory at a time
HALF = 0.5  # the threshold of a node that asks a set
_FIELDS: Mapping[str, Any] = {
    "set_columns": np.int32, "set_starts": np.int64, "set_members": np.bool_, "set_missing": np.bool_,
}  # fmt: skip


@loop(I8(read_only(F8, 2), read_only(I4), read_only(I8), read_only(B1), read_only(B1), OUT))
def widen(features, columns, starts, members, missing, out):  # type: ignore[no-untyped-def]  # compiled
    """Copy *features* to the left of *out* and answer one set in each column to the right; how many rows."""
    width = features.shape[1]
    for row in range(features.shape[0]):
        for feature in range(width):
            out[row, feature] = features[row, feature]
        for one in range(columns.shape[0]):
            value, size = features[row, columns[one]], starts[one + 1] - starts[one]
            inside = missing[one]
            if value > -1.0 and value < size:
                inside = members[starts[one] + int(value)]
            out[row, width + one] = 0.0 if inside else 1.0
    return features.shape[0]


@dataclass(frozen=True)
class Sets:
    """Sets of codes.

    Attributes:
        columns: (n_sets,) the feature that holds the code.
        starts: (n_sets + 1,) where the entries of each set begin in *members*, and the end.
        members: for each code from 0 whether it is inside.
        missing: (n_sets,) whether a missing value, or a code that has no member, is inside.
    """

    columns: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    members: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.columns)

    def widened(self, features: Matrix) -> Matrix:
        """*features* with one further column for each set."""
        out = np.empty((len(features), features.shape[1] + len(self)))
        widen(features, self.columns, self.starts, self.members, self.missing, out)
        return out

    def fault(self, n_features: int) -> str | None:
        """What would make ``widen`` read outside of its arrays, or None."""
        n = len(self.columns)
        if self.columns.ndim != 1 or self.starts.shape != (n + 1,) or self.missing.shape != (n,):
            return "sets of different lengths"
        if self.members.ndim != 1 or self.starts[0] != 0 or self.starts[-1] != len(self.members):
            return "sets that do not cover their members"
        if (np.diff(self.starts) < 0).any() or ((self.columns < 0) | (self.columns >= n_features)).any():
            return "a set of a feature that does not exist"
        return None

    def to_arrays(self) -> Arrays:
        return {f"set_{name}": getattr(self, name) for name in ("columns", "starts", "members", "missing")}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Sets":
        """What ``to_arrays`` wrote; no sets where there are none."""
        if "set_columns" not in arrays:
            return NO_SETS
        return cls(*(np.ascontiguousarray(arrays[name], kind) for name, kind in _FIELDS.items()))


NO_SETS = Sets(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.bool_))


class SetMaker:
    """Collects sets while trees are converted; each is known by the column that will answer it."""

    def __init__(self, n_features: int) -> None:
        self._n_features = n_features
        self._known: dict[tuple[int, bytes, bool], int] = {}

    def column(self, feature: int, members: npt.NDArray[np.bool_], *, missing: bool = False) -> int:
        """The column that answers whether the code in *feature* is one of *members*."""
        told = np.asarray(members, np.bool_)
        used = told[: len(np.trim_zeros(told != missing, "b"))]
        return self._n_features + self._known.setdefault((feature, used.tobytes(), missing), len(self._known))

    def sets(self) -> Sets:
        if not self._known:
            return NO_SETS
        members = [np.frombuffer(inside, np.bool_) for _, inside, _ in self._known]
        return Sets(
            np.array([feature for feature, _, _ in self._known], np.int32),
            np.concatenate([[0], np.cumsum(list(map(len, members)))]).astype(np.int64),
            np.concatenate(members),
            np.array([missing for _, _, missing in self._known], np.bool_),
        )
