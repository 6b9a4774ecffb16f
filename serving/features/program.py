"""A program of derived columns as flat arrays: made by ``compile``, kept in a bundle, run by ``kernel.derive``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from serving.archive import Arrays
from serving.contract import Matrix
from serving.features import kernel

_FIELDS: Mapping[str, Any] = {"code": np.int32, "constants": np.float64, "table": np.float64, "results": np.int32}
MOST_STEPS = 1 << 14  # of one program


@dataclass(frozen=True)
class Derivation:
    """What is computed from a row of the coded matrix before anything else.

    Attributes:
        names: of the derived columns, one for each of ``results``.
        code: (n_steps, 5), per instruction what it does and its operands; ``constants``, ``table`` and ``results`` go
            with it as ``kernel.derive`` says.
    """

    names: tuple[str, ...]
    code: npt.NDArray[np.int32]
    constants: npt.NDArray[np.float64]
    table: npt.NDArray[np.float64]
    results: npt.NDArray[np.int32]

    def run(self, matrix: Matrix) -> Matrix:
        """*matrix* of shape (n_rows, n_columns), C-contiguous, with the derived columns behind it; none is infinite."""
        out = np.empty((len(matrix), matrix.shape[1] + len(self.results)))
        kernel.derive(matrix, self.code, self.constants, self.table, self.results, out)
        return out

    def sources(self, place: int, n_columns: int) -> list[int]:
        """The columns of the matrix that derived column *place* is computed from, in their order."""
        first, found, waiting = n_columns + len(self.constants), set[int](), [int(self.results[place])]
        while waiting:
            register = waiting.pop()
            if register in found:
                continue
            found.add(register)
            if register >= first:
                op, *operands = self.code[register - first].tolist()
                waiting += operands[: kernel.OPERANDS[op]]
        return sorted(register for register in found if register < n_columns)

    def fault(self, n_columns: int) -> str | None:
        """What would make the compiled loop read outside of its arrays, or None."""
        if self.code.ndim != 2 or self.code.shape[1] != 5 or len(self.code) > MOST_STEPS:
            return f"derived columns by instructions of shape {self.code.shape}"
        if any(array.ndim != 1 for array in (self.constants, self.table, self.results)):
            return "derived columns by arrays of several dimensions"
        if len(self.names) != len(self.results):
            return f"{len(self.results)} derived columns with {len(self.names)} names"
        first = n_columns + len(self.constants)
        code = self.code.astype(np.int64)
        op, operands, own = code[:, 0], code[:, 1:], first + np.arange(len(code))
        if ((op < 0) | (op >= len(kernel.OPERANDS))).any():
            return "a derived column by an instruction that does not exist"
        spanned = np.isin(op, kernel.SPANNED)
        register = ~(spanned[:, None] & (np.arange(4) >= 2))
        if (register & ((operands < 0) | (operands >= own[:, None]))).any():
            return "a derived column from what is not computed before it"
        if ((self.results < 0) | (self.results >= first + len(code))).any():
            return "a derived column that nothing computes"
        start, stop = operands[spanned, 2], operands[spanned, 3]
        odd = (op[spanned] == kernel.LOCAL) & ((stop - start) % 2 != 1)
        short = (op[spanned] == kernel.LOOK_UP) & (stop < start + 2)
        if ((start < 0) | (stop < start) | (stop > len(self.table)) | odd | short).any():
            return "a derived column by a table that lies outside of its array"
        return None

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """A JSON-able head, and the arrays by name."""
        return {"names": list(self.names)}, {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_arrays(cls, head: Mapping[str, Any], arrays: Arrays) -> Self:
        """What ``to_arrays`` gave; ``fault`` says whether it may be run."""
        kept = {name: np.ascontiguousarray(arrays[name], kind) for name, kind in _FIELDS.items()}
        return cls(names=tuple(map(str, head["names"])), **kept)
