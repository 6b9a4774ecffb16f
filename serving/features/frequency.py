"""How often each value of a category is, fitted on training rows."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

if TYPE_CHECKING:
    import pandas as pd


class Frequency(TransformerMixin, BaseEstimator):
    """A column of categories as the share, 0..1, of training rows that have the row's value, or are missing like it.

    Attributes:
        values: the categories; any other is unknown, and unknown ones count together.
        shares_: of ``values``, of unknown and of missing cells, after ``fit``.
    """

    def __init__(self, values: list[str]) -> None:
        self.values = values

    def fit(self, table: "pd.DataFrame", target: Any = None) -> Self:
        del target
        codes = self._codes(table)
        self.shares_ = np.bincount(codes, minlength=len(self.values) + 2) / len(codes)
        self.feature_names_in_ = np.array(list(table.columns), dtype=object)
        self.n_features_in_ = 1
        return self

    def transform(self, table: "pd.DataFrame") -> npt.NDArray[np.float64]:
        """Shares of shape (n_rows, 1)."""
        shares = np.asarray(self.shares_, dtype=np.float64)
        return shares[self._codes(table)][:, None]

    def get_feature_names_out(self, names: Any = None) -> npt.NDArray[Any]:
        return np.asarray(self.feature_names_in_ if names is None else names, dtype=object)

    def _codes(self, table: "pd.DataFrame") -> npt.NDArray[np.intp]:
        places = {word: place for place, word in enumerate(self.values)}
        size = len(self.values)
        cells = table.iloc[:, 0].tolist()
        return np.array([size + 1 if cell is None else places.get(cell, size) for cell in cells], dtype=np.intp)
