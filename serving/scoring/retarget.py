"""A model of a bent target: its answers are brought back into the target's own unit.

The pipeline inside was fitted on log(y), on y per unit of a column, or the like. The estimator here and the fast form
call the same functions, so that they agree by construction.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin

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
