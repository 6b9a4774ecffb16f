"""Fitted scikit-learn estimators, compiled into sums and a link."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.scoring import kernels
from serving.scoring.flat import FlatClassifier, FlatRegressor
from serving.scoring.linear import Linear
from serving.scoring.symbols import CannotCompile
from serving.scoring.trees import Forest, grown_predictor, grown_tree, plant


@dataclass(frozen=True)
class Core:
    """An estimator without its preprocessing.

    Attributes:
        accepts, narrow: see ``program.Program``.
        link: a name of ``links.LINKS``.
    """

    sums: Forest | Linear
    link: str
    accepts: int
    narrow: bool


def compile_estimator(estimator: Any, sparse: bool) -> Core:
    """The core of a fitted *estimator*; *sparse* tells that scikit-learn hands it a sparse matrix.

    Raises:
        CannotCompile: the family or a setting has no exact fast form.
    """
    name = type(estimator).__name__
    if isinstance(estimator, FlatRegressor | FlatClassifier):
        planted = estimator.planted
        return Core(planted.forest, planted.link, planted.accepts, planted.narrow)
    if type(estimator).__module__.startswith("sklearn.") and name in _COMPILERS:
        return _COMPILERS[name](estimator, sparse)
    raise CannotCompile(f"{name} has no fast form")


def _linear(estimator: Any, sparse: bool) -> Core:
    del sparse  # only the order of a sum
    coefficients = np.atleast_2d(np.asarray(estimator.coef_, np.float64))
    intercepts = np.broadcast_to(np.asarray(estimator.intercept_, np.float64).ravel(), len(coefficients))
    classes = len(getattr(estimator, "classes_", ()))
    link = "identity" if not classes else "logistic" if classes == 2 else "softmax"
    sums = Linear(np.ascontiguousarray(coefficients), np.ascontiguousarray(intercepts))
    return Core(sums, link, kernels.FINITE, narrow=False)


def _forest(estimator: Any, sparse: bool) -> Core:
    """A forest, or a tree as a forest of one."""
    if estimator.n_outputs_ != 1:
        raise CannotCompile("a tree of several targets has no fast form")
    classes = int(getattr(estimator, "n_classes_", 0))
    members = getattr(estimator, "estimators_", [estimator])
    trees = [grown_tree(one.tree_, missing=not sparse) for one in members]
    forest = plant(trees, [0.0] * max(classes, 1), float(len(trees)))
    return Core(forest, "shares" if classes else "identity", kernels.NOT_INF, narrow=True)


def _gradient_boosting(estimator: Any, sparse: bool) -> Core:
    del sparse  # NaN is refused, so nothing is missing
    if estimator.init_ != "zero" and type(estimator.init_).__name__ not in ("DummyRegressor", "DummyClassifier"):
        raise CannotCompile("gradient boosting that starts from another model has no fast form")
    base = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))[0]
    trees = [
        grown_tree(one.tree_, missing=False, scale=float(estimator.learning_rate))
        for one in estimator.estimators_.ravel()
    ]
    link = "identity"
    if hasattr(estimator, "classes_"):
        half = type(estimator._loss).__name__ == "ExponentialLoss"
        link = "half_logistic" if half else "logistic" if len(base) == 1 else "softmax"
    return Core(plant(trees, base.tolist()), link, kernels.FINITE, narrow=True)


def _histogram(estimator: Any, sparse: bool) -> Core:
    if sparse or estimator._preprocessor is not None:
        raise CannotCompile("histogram gradient boosting over declared categories has no fast form")
    predictors = [one for stage in estimator._predictors for one in stage]
    if any(one.nodes["is_categorical"].any() for one in predictors):
        raise CannotCompile("histogram gradient boosting over declared categories has no fast form")
    base, link = histogram_link(estimator)
    return Core(plant(map(grown_predictor, predictors), base.tolist()), link, kernels.ANY, narrow=False)


def histogram_link(estimator: Any) -> tuple[npt.NDArray[np.float64], str]:
    """Where the sums of histogram gradient boosting start, and the link behind them."""
    base = np.asarray(estimator._baseline_prediction, np.float64).ravel()
    if hasattr(estimator, "classes_"):
        return base, "logistic" if len(base) == 1 else "softmax_by_columns"
    return base, {"IdentityLink": "identity", "LogLink": "exponential"}[type(estimator._loss.link).__name__]


def _both(family: str) -> tuple[str, str]:
    return f"{family}Regressor", f"{family}Classifier"


_GROWN = (*_both("DecisionTree"), *_both("RandomForest"), *_both("ExtraTrees"))
_COMPILERS: dict[str, Callable[[Any, bool], Core]] = {
    **dict.fromkeys(("LinearRegression", "Ridge", "Lasso", "ElasticNet", "LogisticRegression"), _linear),
    **dict.fromkeys(_GROWN, _forest),
    **dict.fromkeys(_both("GradientBoosting"), _gradient_boosting),
    **dict.fromkeys(_both("HistGradientBoosting"), _histogram),
}
