"""Preprocessing as flat arrays: from a coded matrix to the features of an estimator.

Arithmetic runs in one compiled loop. Logarithms and roots run in numpy between passes of that loop, because only the
same ufunc rounds the way scikit-learn's did; each such pass is a ``Level`` whose results stand as further columns to
the right of the matrix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.archive import Arrays
from serving.contract import Contract, Matrix
from serving.errors import DataError
from serving.features.program import Derivation
from serving.scoring import kernels

_FIELDS: Mapping[str, Any] = {
    "columns": np.int32, "codes": np.int32, "operands": np.float64, "table": np.float64, "refused": np.bool_,
}  # fmt: skip
"""Arrays of a ``Preparation``."""
_DERIVED = "derived_"  # before the names of a ``Derivation``'s arrays
UFUNCS: Mapping[str, np.ufunc] = {"log": np.log, "log1p": np.log1p, "sqrt": np.sqrt}


@dataclass(frozen=True)
class Preparation:
    """One run of ``kernels.prepare``; the shapes of its arrays are told there."""

    columns: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int32]
    operands: npt.NDArray[np.float64]
    table: npt.NDArray[np.float64]
    refused: npt.NDArray[np.bool_]

    @property
    def width(self) -> int:
        return len(self.columns)

    def run(self, matrix: Matrix, accepts: int, narrow: bool, out: Matrix) -> int:
        found: int = kernels.prepare(
            matrix, self.columns, self.codes, self.operands, self.table, self.refused, accepts, narrow, out
        )
        return found

    def fault(self, n_columns: int) -> str | None:
        """What would make the compiled loop read outside of its arrays, or None."""
        if self.columns.ndim != 2 or self.columns.shape[1] != 4:
            return f"columns of shape {self.columns.shape}"
        if self.codes.shape != self.operands.shape or self.table.shape != self.refused.shape:
            return "arrays of different lengths"
        source, lookup, start, stop = self.columns.T.astype(np.int64)
        length = np.where(lookup == 1, len(self.table), len(self.codes))
        if ((source < 0) | (source >= n_columns)).any():
            return "a feature from a column that does not exist"
        if ((start < 0) | (stop < start + 2 * (lookup == 1)) | (stop > length)).any():
            return "a feature whose steps lie outside of the program"
        return None


@dataclass(frozen=True)
class Level:
    """A pass whose results go through ufuncs: ``spans`` are (name, first, end) over its columns."""

    arithmetic: Preparation
    spans: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Program:
    """All preprocessing of one model.

    Attributes:
        n_columns: columns of the coded matrix.
        derived: what is computed from these first, and stands behind them; None for nothing.
        accepts: what the estimator takes as a feature: ``kernels.ANY``, ``NOT_INF`` or ``FINITE``.
        narrow: whether features are rounded to float32, as scikit-learn's trees do.
    """

    n_columns: int
    levels: tuple[Level, ...]
    final: Preparation
    accepts: int
    narrow: bool
    derived: Derivation | None = None

    @property
    def width(self) -> int:
        """Columns of the coded matrix, and those derived from it."""
        return self.n_columns + (0 if self.derived is None else len(self.derived.results))

    @property
    def n_features(self) -> int:
        return self.final.width

    def features(self, matrix: Matrix, contract: Contract) -> Matrix:
        """Features of shape (n_rows, n_features).

        Raises:
            DataError: a row that scikit-learn would not take either.
        """
        out = np.empty((len(matrix), self.final.width))
        self.prepared(self.widened(matrix), contract, out)
        return out

    def widened(self, matrix: Matrix) -> Matrix:
        """*matrix* with the derived columns behind it."""
        return matrix if self.derived is None else self.derived.run(matrix)

    def prepared(self, wide: Matrix, contract: Contract, out: Matrix) -> None:
        """Fill *out* (n_rows, n_features), C-contiguous, as ``features`` does, from rows that are ``widened``."""
        for level in self.levels:
            part = np.empty((len(wide), level.arithmetic.width))
            self._told(level.arithmetic.run(wide, kernels.ANY, False, part), level.arithmetic, contract)
            with np.errstate(all="ignore"):
                for name, first, end in level.spans:
                    UFUNCS[name](part[:, first:end], out=part[:, first:end])
            wide = np.concatenate([wide, part], axis=1)
        self._told(self.final.run(wide, self.accepts, self.narrow, out), self.final, contract)

    def _told(self, bad: int, at: Preparation, contract: Contract) -> None:
        if bad < 0:
            return
        row, feature = divmod(bad, at.width)
        name = self._name(self._origin(int(at.columns[feature, 0])), list(contract.slots))
        raise DataError(
            f"row {row}: the model cannot take this value of {name}, such as a missing, unknown or infinite one that "
            "its preprocessing leaves in place"
        )

    def _origin(self, column: int) -> int:
        """The column of the matrix, or the derived one, that a column of a level was computed from."""
        ends = np.cumsum([self.width, *(level.arithmetic.width for level in self.levels)])
        while column >= self.width:
            level = int(np.searchsorted(ends, column, side="right")) - 1
            column = int(self.levels[level].arithmetic.columns[column - ends[level], 0])
        return column

    def slots_of(self, feature: int) -> list[int]:
        """The columns of the matrix that *feature* is computed from, in their order."""
        column = self._origin(int(self.final.columns[feature, 0]))
        if self.derived is None or column < self.n_columns:
            return [column]
        return self.derived.sources(column - self.n_columns, self.n_columns)

    def _name(self, column: int, slots: Sequence[str]) -> str:
        """What a caller knows *column* by; a derived one with what it is computed from."""
        if self.derived is None or column < self.n_columns:
            return repr(slots[column])
        place = column - self.n_columns
        sources = [repr(slots[one]) for one in self.derived.sources(place, self.n_columns)]
        return f"{self.derived.names[place]!r}" + (f", computed from {' and '.join(sources)}" if sources else "")

    def fault(self) -> str | None:
        """What is wrong with the arrays, or None: checked whenever they come from a file."""
        found = None if self.derived is None else self.derived.fault(self.n_columns)
        if found:
            return found
        width = self.width
        for level in self.levels:
            found = level.arithmetic.fault(width)
            if found:
                return found
            for name, first, end in level.spans:
                if name not in UFUNCS or not 0 <= first < end <= level.arithmetic.width:
                    return f"a step {name!r} over columns {first} to {end}"
            width += level.arithmetic.width
        return self.final.fault(width)

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """A JSON-able head, and the arrays by name."""
        arrays: Arrays = {}
        for number, part in enumerate((*(level.arithmetic for level in self.levels), self.final)):
            for field in _FIELDS:
                arrays[f"pass{number}_{field}"] = getattr(part, field)
        head = {
            "n_columns": self.n_columns,
            "spans": [[list(span) for span in level.spans] for level in self.levels],
            "accepts": self.accepts,
            "narrow": self.narrow,
        }
        if self.derived is not None:
            head["derived"], own = self.derived.to_arrays()
            arrays |= {f"{_DERIVED}{name}": array for name, array in own.items()}
        return head, arrays

    @classmethod
    def from_arrays(cls, head: Mapping[str, Any], arrays: Arrays) -> "Program":
        levels = [tuple((str(name), int(first), int(end)) for name, first, end in spans) for spans in head["spans"]]
        passes = [
            Preparation(
                **{name: np.ascontiguousarray(arrays[f"pass{n}_{name}"], kind) for name, kind in _FIELDS.items()}
            )
            for n in range(len(levels) + 1)
        ]
        return cls(
            n_columns=int(head["n_columns"]),
            levels=tuple(Level(part, spans) for part, spans in zip(passes, levels, strict=False)),
            final=passes[-1],
            accepts=int(head["accepts"]),
            narrow=bool(head["narrow"]),
            derived=None if "derived" not in head else Derivation.from_arrays(head["derived"], _behind(arrays)),
        )


def _behind(arrays: Arrays) -> Arrays:
    return {name.removeprefix(_DERIVED): array for name, array in arrays.items() if name.startswith(_DERIVED)}
