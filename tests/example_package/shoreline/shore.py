"""How far each row lies from the mean of the training rows, in a way that no expression says."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin


class Shore(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn's classes are untyped
    """Two columns: rank among the training rows, 0..1, of the first column given; and its distance to their median.

    Attributes:
        sorted_: the first column of the training rows, ascending, after ``fit``.
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        del y
        self.sorted_ = np.sort(self._first(X))
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float64]:
        values = self._first(X)
        rank = np.searchsorted(self.sorted_, values) / len(self.sorted_)
        return np.column_stack([rank, np.abs(values - np.median(self.sorted_))])

    def _first(self, X: Any) -> npt.NDArray[np.float64]:
        return np.asarray(X)[:, 0].astype(np.float64)
