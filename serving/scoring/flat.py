"""Boosted trees of any library as a scikit-learn estimator of flat arrays.

Training converts a fitted LightGBM, XGBoost or CatBoost model, or one of scikit-learn over sets of categories, into
this. A server then needs none of those libraries, the model file holds arrays alone, and what predicts here is the
loops and links of the fast form, so that both are one model by construction.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from serving.contract import Matrix
from serving.scoring import kernels
from serving.scoring.links import LINKS
from serving.scoring.trees import ARRAYS, Forest


@dataclass(frozen=True)
class Planted:
    """What a library's fitted trees come to.

    Attributes:
        link, accepts, narrow: as of ``estimators.Core``.
        n_features: columns of the matrix that ``forest`` takes.
    """

    forest: Forest
    link: str
    accepts: int
    narrow: bool
    n_features: int


class _Flat(BaseEstimator):  # type: ignore[misc]  # scikit-learn's classes are untyped
    """Fitted from the beginning: ``of`` makes it, and there is nothing to fit."""

    n_features_in_: int

    @classmethod
    def of(cls, planted: Planted, classes: npt.NDArray[Any] | None = None) -> Self:
        """The estimator of *planted*; *classes* are a classifier's, in the order of its outputs."""
        made, forest = cls(), planted.forest
        values = {
            **forest.to_arrays()[1],
            **forest.sets.to_arrays(),
            "divisor": forest.divisor,
            "single": forest.single,
        }
        for name, value in {**values, **{name: getattr(planted, name) for name in SETTINGS}}.items():
            setattr(made, f"{name}_", value)
        made.n_features_in_ = planted.n_features
        if classes is not None:
            made.classes_ = classes
        return made

    def fit(self, X: Any, y: Any = None) -> Self:
        """Nothing: what is fitted came with it, and scikit-learn takes nothing without this for an estimator."""
        del X, y
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "nodes_")

    def __getstate__(self) -> dict[str, Any]:
        """What is stored: arrays and settings, without what was put together from them."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "planted"}

    @cached_property
    def planted(self) -> Planted:
        """The arrays put together."""
        own = {name: getattr(self, f"{name}_") for name in (*ARRAYS, "divisor", "single", *SETTINGS)}
        return Planted(
            Forest.from_arrays(own, own), **{name: own[name] for name in SETTINGS}, n_features=self.n_features_in_
        )

    def _answer(self, X: Any) -> npt.NDArray[np.float64]:
        planted = self.planted
        matrix: Matrix = np.ascontiguousarray(X, np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != planted.n_features:
            raise ValueError(f"expected {planted.n_features} features, seen an array of shape {matrix.shape}")
        if planted.narrow:
            with np.errstate(over="ignore"):
                matrix = matrix.astype(np.float32).astype(np.float64)
        if planted.accepts != kernels.ANY and np.isinf(matrix).any():
            raise ValueError("input contains infinity or a value too large for float32")
        return LINKS[planted.link](planted.forest.raw(matrix))


class FlatRegressor(RegressorMixin, _Flat):  # type: ignore[misc]  # as above
    """Trees that predict a number."""

    def predict(self, X: Any) -> npt.NDArray[np.float64]:
        """Predictions of shape (n_rows,) for features of shape (n_rows, n_features).

        Raises:
            ValueError: another number of features, or an infinite one where the library takes none.
        """
        return self._answer(X)


class FlatClassifier(ClassifierMixin, _Flat):  # type: ignore[misc]  # as above
    """Trees that predict the chances of classes."""

    classes_: npt.NDArray[Any]

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Probabilities of shape (n_rows, n_classes), in the order of ``classes_``; raises as ``FlatRegressor``."""
        return self._answer(X)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable class of each row."""
        return np.asarray(self.classes_[self._answer(X).argmax(axis=1)])


SETTINGS = ("link", "accepts", "narrow")
