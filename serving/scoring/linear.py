"""Linear models: one dot product per output, summed in the order of the features.

The order is fixed, so a row scores the same alone and in a batch; scikit-learn's own sum goes through BLAS, whose order
depends on the shape, and the two differ by the rounding of the sum: at most a few units in the last place of the sum of
the terms' magnitudes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.archive import Arrays
from serving.contract import Matrix
from serving.scoring import kernels


@dataclass(frozen=True)
class Linear:
    """``coefficients`` of shape (n_outputs, n_features) and ``intercepts`` of shape (n_outputs,)."""

    coefficients: npt.NDArray[np.float64]
    intercepts: npt.NDArray[np.float64]

    def raw(self, features: Matrix) -> Matrix:
        """Sums of shape (n_rows, n_outputs)."""
        out = np.empty((len(features), len(self.intercepts)))
        kernels.dot(features, self.coefficients, self.intercepts, out)
        return out

    def magnitude(self, features: Matrix) -> Matrix:
        """The sums of the terms' absolute values: the scale of a sum's rounding."""
        return Linear(np.abs(self.coefficients), np.abs(self.intercepts)).raw(np.abs(features))

    def fault(self, n_features: int) -> str | None:
        shape = self.coefficients.shape
        if len(shape) != 2 or not shape[0] or shape[1] != n_features or self.intercepts.shape != shape[:1]:
            return f"coefficients of shape {shape} for {n_features} features"
        return None

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        return {}, {"coefficients": self.coefficients, "intercepts": self.intercepts}

    @classmethod
    def from_arrays(cls, head: Mapping[str, Any], arrays: Arrays) -> "Linear":
        del head
        return cls(
            np.ascontiguousarray(arrays["coefficients"], np.float64),
            np.ascontiguousarray(arrays["intercepts"], np.float64),
        )
