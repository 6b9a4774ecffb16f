"""How many trees are enough: boosting that stops when rows it does not learn from get no better."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.contract import Matrix

PATIENCE = 30  # rounds without a better one


@dataclass(frozen=True)
class Umpire:
    """Rows that tell when to stop.

    Attributes:
        x, labels: their features, and what is learned, as of training rows.
        over: whether there is no time for another round.
    """

    x: Matrix
    labels: npt.NDArray[Any]
    over: Callable[[], bool]


def watching(estimator: Any, watch: Umpire) -> dict[str, Any]:
    """Arguments of the fit of *estimator* with which it stops in time; may set it up."""
    x, labels, over = watch.x, watch.labels, watch.over
    package = _package(estimator)
    if package == "lightgbm":
        library = importlib.import_module(package)
        stops = [library.early_stopping(PATIENCE, verbose=False), _stop(over)]
        return {"eval_X": x, "eval_y": labels, "callbacks": stops}
    if package == "xgboost":
        estimator.set_params(early_stopping_rounds=PATIENCE, callbacks=[_stopper(over)])
        return {"eval_set": [(x, labels)], "verbose": False}
    if package == "catboost":
        return {"eval_set": (x, labels), "early_stopping_rounds": PATIENCE, "callbacks": [_Catboost(over)]}
    return {}


def _package(estimator: Any) -> str:
    return str(type(estimator).__module__.partition(".")[0])


def _stop(over: Callable[[], bool]) -> Callable[[Any], None]:
    def callback(env: Any) -> None:
        if over():
            raise importlib.import_module("lightgbm").callback.EarlyStopException(
                env.iteration, env.evaluation_result_list
            )

    return callback


def _stopper(over: Callable[[], bool]) -> Any:
    base = importlib.import_module("xgboost").callback.TrainingCallback

    class Stopper(base):  # type: ignore[misc, valid-type]  # of a library that is imported late
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            del model, epoch, evals_log
            return over()

    return Stopper()


class _Catboost:
    def __init__(self, over: Callable[[], bool]) -> None:
        self._over = over

    def after_iteration(self, info: Any) -> bool:
        """Whether to go on."""
        del info
        return not self._over()


def best_of_xgboost(booster: Any) -> int:
    """Its rounds up to the best one; all of them where time was over before one was told."""
    best = booster.attr("best_iteration")
    return int(booster.num_boosted_rounds()) if best is None else int(best) + 1


def rounds_of(estimator: Any, watch: Umpire) -> int | None:
    """How many rounds were best for the *watch*; None where the estimator has none to count.

    What stopped keeps the best; scikit-learn's boosting is asked stage by stage, and cut by histograms.
    """
    package = _package(estimator)
    if package == "lightgbm":
        return int(estimator.best_iteration_ or estimator.n_iter_)
    if package == "xgboost":
        return best_of_xgboost(estimator.get_booster())
    if package == "catboost":
        return int(estimator.tree_count_)
    if not hasattr(estimator, "staged_predict"):
        return None
    if hasattr(estimator, "staged_predict_proba"):
        own = np.arange(len(watch.labels))
        said = estimator.staged_predict_proba(watch.x)
        losses = [-np.log(np.clip(p[own, watch.labels], 1e-12, 1)).mean() for p in said]
    else:
        losses = [float(np.mean((p - watch.labels) ** 2)) for p in estimator.staged_predict(watch.x)]
    best = int(np.argmin(losses)) + 1
    if hasattr(estimator, "_predictors"):
        estimator._predictors = estimator._predictors[:best]
    return best
