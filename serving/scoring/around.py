"""What stands around fitted pipelines: a target that is bent back into its own unit, and the mean of several models.

The estimators here and the fast form call the same functions, so that they agree by construction.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from serving.scoring.api import weighted_mean
from serving.scoring.bends import Back

Numbers = npt.NDArray[np.float64]


class Retargeted(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn's classes are untyped
    """A fitted *pipeline* whose predictions are bent back, and multiplied by the column *per*.

    Attributes:
        bend: a name of ``bends.BENDS``.
        numbers: what that bend was fitted to.
        per: name of the column, as it comes in the table; empty for none.
    """

    def __init__(
        self, pipeline: Any = None, bend: str = "none", numbers: tuple[float, ...] = (), per: str = ""
    ) -> None:
        self.pipeline, self.bend, self.numbers, self.per = pipeline, bend, numbers, per

    def fit(self, X: Any, y: Any = None) -> Self:
        """Nothing: what is fitted came with it, and scikit-learn takes nothing without this for an estimator."""
        del X, y
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def back(self) -> Back:
        return Back(str(self.bend), tuple(map(float, self.numbers)), str(self.per))

    def predict(self, X: Any) -> Numbers:
        """Predictions of shape (n_rows,) in the target's unit, for a table of ``Contract.frame``."""
        raw = np.asarray(self.pipeline.predict(X), np.float64)
        return self.back.of(raw, np.asarray(X[self.per], np.float64) if self.per else None)


class _Blend(BaseEstimator):  # type: ignore[misc]  # scikit-learn's classes are untyped
    """Of fitted *members*, pipelines that take the same table; *weights* are their shares, which add up to 1."""

    def __init__(self, members: list[Any] | None = None, weights: list[float] | None = None) -> None:
        self.members, self.weights = members, weights

    def fit(self, X: Any, y: Any = None) -> Self:
        """Nothing: the members are fitted already."""
        del X, y
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return bool(self.members)


class BlendRegressor(RegressorMixin, _Blend):  # type: ignore[misc]  # as above
    """The mean of numbers."""

    def predict(self, X: Any) -> Numbers:
        """Predictions of shape (n_rows,) in the target's unit."""
        return weighted_mean([one.predict(X) for one in self.members or ()], self.weights or ())


class BlendClassifier(ClassifierMixin, _Blend):  # type: ignore[misc]  # as above
    """The mean of chances; all members know the same classes in the same order."""

    @property
    def classes_(self) -> npt.NDArray[Any]:
        return np.asarray((self.members or [])[0].classes_)

    def predict_proba(self, X: Any) -> Numbers:
        """Probabilities of shape (n_rows, n_classes), in the order of ``classes_``."""
        return weighted_mean([one.predict_proba(X) for one in self.members or ()], self.weights or ())

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable class of each row."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])
