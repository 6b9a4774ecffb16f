"""A family: what rows like it were worth, where alike is a matter of one number."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin


class Bands(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn's classes are untyped
    """The mean of the target in equally full bands of the first feature.

    Attributes:
        edges_, means_: where the bands part, ascending; and what each is worth, after ``fit``.
    """

    def __init__(self, bands: int = 8):
        self.bands = bands

    def fit(self, X: Any, y: Any) -> Self:
        if self.bands < 1:
            raise ValueError(f"bands: expected at least 1, seen {self.bands}")
        first = np.asarray(X, np.float64)[:, 0]
        self.edges_ = np.quantile(first, np.arange(1, self.bands) / self.bands)
        band = np.searchsorted(self.edges_, first)
        counts = np.bincount(band, minlength=self.bands)
        sums = np.bincount(band, weights=np.asarray(y, np.float64), minlength=self.bands)
        self.means_ = np.where(counts > 0, sums / np.maximum(counts, 1), np.mean(y))
        self.n_features_in_ = np.shape(X)[1]
        return self

    def predict(self, X: Any) -> npt.NDArray[np.float64]:
        values: npt.NDArray[np.float64] = self.means_[np.searchsorted(self.edges_, np.asarray(X, np.float64)[:, 0])]
        return values
