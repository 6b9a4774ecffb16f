"""Metrics of predictions, each with its direction and the way it is written.

Targets have shape (n_rows,): numbers, or positions in the contract's classes. Predictions have shape (n_rows,) for
regression and (n_rows, n_classes) probabilities for classification. A metric that cannot be computed (AUC of rows of
one class) is NaN.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from components.judging.said import Said
from serving.errors import ConfigError
from serving.pages.words import number, with_unit

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Direction = Literal["minimize", "maximize", "zero"]
Range = tuple[float, float]  # lowest and highest value, either of which may be infinite
Task = Literal["regression", "classification"]
EPSILON = float(np.finfo(np.float64).eps)
ENDLESS = 1_000  # a share above it, as of targets near 0, has digits that say nothing
_ERROR: Range = (0.0, math.inf)
_SHARE: Range = (0.0, 1.0)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        direction: ``zero`` for a signed value whose best is 0.
        unit: ``target``: in the target's unit; ``share``: 1 is written as 100 %; ``none``: a bare number.
        values: the lowest and the highest that ``function`` ever gives.
        takes: what of all that is said ``function`` is given beside the truth.
    """

    name: str
    label: str
    task: Task
    direction: Direction
    unit: Literal["target", "share", "none"]
    function: Callable[[Values, Values], float]
    values: Range
    takes: Literal["values", "answered", "bounds", "charges"] = "values"

    def of(self, target: Values, prediction: Values | Said) -> float:
        """Its value, NaN where what it takes is not said."""
        given = getattr(Said.of(prediction), self.takes)
        return math.nan if given is None else self.function(target, given)

    @property
    def losses(self) -> Range:
        """The lowest and the highest ``loss``."""
        low, high = self.values
        return {"minimize": (low, high), "maximize": (-high, -low), "zero": (0.0, high)}[self.direction]

    def loss(self, value: float) -> float:
        """*value* turned so that smaller is better, in the metric's own unit."""
        if self.direction == "zero":
            return abs(value)
        return value if self.direction == "minimize" else -value

    def show(self, value: float, unit: str = "") -> str:
        """*value* as people read it, given the target's *unit*: ``42,105 EUR``, ``8.2 %``, ``0.871``."""
        if self.unit == "share" and value > ENDLESS:
            return f"more than {number(100 * ENDLESS)} %"
        if self.unit == "share":
            return f"{number(100 * value)} %"
        return with_unit(number(value), unit if self.unit == "target" else "")


def rmse(target: Values, prediction: Values) -> float:
    """Root mean squared error in the target's unit; the best value is 0."""
    return float(np.sqrt(np.mean((prediction - target) ** 2)))


def mae(target: Values, prediction: Values) -> float:
    """Mean absolute error in the target's unit; the best value is 0."""
    return float(np.mean(np.abs(prediction - target)))


def mape(target: Values, prediction: Values) -> float:
    """Mean absolute error as a share of the target, 0.1 for 10 %; the best value is 0, huge for targets near 0."""
    return float(np.mean(np.abs(prediction - target) / np.maximum(np.abs(target), EPSILON)))


def r2(target: Values, prediction: Values) -> float:
    """Share of the target's variance that is explained; the best value is 1, and the mean as prediction has 0."""
    total = float(np.sum((target - np.mean(target)) ** 2))
    return 1.0 - float(np.sum((prediction - target) ** 2)) / total if total > 0 else float("nan")


def bias(target: Values, prediction: Values) -> float:
    """Mean of prediction minus target in the target's unit; the best value is 0, above it predictions are too high."""
    return float(np.mean(prediction - target))


def coverage(target: Values, bounds: Values) -> float:
    """Share of truths within their intervals, of which *bounds* (n_rows, 2) are the ends; best is what was asked."""
    return float(np.mean((bounds[:, 0] <= target) & (target <= bounds[:, 1])))


def auc(positive: npt.NDArray[np.bool_], score: Values) -> float:
    """Chance that a positive row scores above a negative one, ties counting half (Mann and Whitney 1947)."""
    from scipy.stats import rankdata  # only this metric needs it, and its import is slow

    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = float(np.asarray(rankdata(score))[positive].sum())
    return (ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def roc_auc(target: Values, prediction: Values) -> float:
    """Area under the ROC curve of the second of two classes; the plain mean over one-against-rest of more.

    The best value is 1, chance is 0.5.
    """
    if prediction.shape[1] == 2:
        return auc(target == 1, prediction[:, 1])
    return float(np.mean([auc(target == code, prediction[:, code]) for code in range(prediction.shape[1])]))


def log_loss(target: Values, prediction: Values) -> float:
    """Mean of minus the logarithm of the probability given to the true class; the best value is 0."""
    chosen = prediction[np.arange(len(target)), target.astype(np.intp)]
    return float(-np.mean(np.log(np.clip(chosen, EPSILON, 1 - EPSILON))))


def f1(target: Values, prediction: Values) -> float:
    """Harmonic mean of precision and recall of the second of two classes; the plain mean over the classes of more.

    The best value is 1. A class that is neither present nor predicted is left out of the mean.
    """
    matrix = confusion(target, prediction)
    hits = np.diag(matrix).astype(np.float64)
    seen = (matrix.sum(axis=0) + matrix.sum(axis=1)).astype(np.float64)
    scores = np.divide(2 * hits, seen, out=np.full(len(hits), np.nan), where=seen > 0)
    if len(scores) == 2:
        return float(scores[1])
    return float(scores[seen > 0].mean())


def accuracy(target: Values, prediction: Values) -> float:
    """Share of rows whose most probable class is the true one; the best value is 1."""
    return float(np.mean(np.argmax(prediction, axis=1) == target))


def recall(target: Values, prediction: Values) -> float:
    """The lowest share, over the classes that are present, of a class's rows that are told as it; the best value is 1.

    It is 0 as soon as one class is never told.
    """
    matrix = confusion(target, prediction)
    present = matrix.sum(axis=1) > 0
    return float((np.diag(matrix)[present] / matrix.sum(axis=1)[present]).min())


def calibration(target: Values, prediction: Values) -> float:
    """How far stated probabilities are from how often it was so: the mean distance over tenths of probability, by rows.

    Of the second of two classes, or the mean over more; 0..1, the best value is 0 (expected calibration error: Naeini
    and others 2015).
    """
    codes = range(1, 2) if prediction.shape[1] == 2 else range(prediction.shape[1])
    return float(np.mean([_off(target == code, prediction[:, code]) for code in codes]))


def _off(positive: npt.NDArray[np.bool_], stated: Values) -> float:
    tenth = np.minimum((stated * 10).astype(np.intp), 9)
    sums = np.bincount(tenth, weights=stated - positive, minlength=10)
    return float(np.abs(sums).sum() / len(stated))


def cost(target: Values, charges: Values) -> float:
    """Mean cost of an answer in the unit of the project's costs, of *charges* as ``Said`` has them; the best is 0."""
    return float(np.mean(charges[np.arange(len(target)), target.astype(np.intp)]))


def confusion(target: Values, prediction: Values) -> Counts:
    """Counts of shape (n_classes, n_classes): rows are true classes, columns the most probable ones."""
    n = prediction.shape[1]
    cells = target.astype(np.int64) * n + np.argmax(prediction, axis=1)
    return np.bincount(cells, minlength=n * n).reshape(n, n).astype(np.int64)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("rmse", "RMSE", "regression", "minimize", "target", rmse, _ERROR),
            Metric("mae", "MAE", "regression", "minimize", "target", mae, _ERROR),
            Metric("mape", "MAPE", "regression", "minimize", "share", mape, _ERROR),
            Metric("r2", "R2", "regression", "maximize", "none", r2, (-math.inf, 1.0)),
            Metric("bias", "bias", "regression", "zero", "target", bias, (-math.inf, math.inf)),
            Metric("coverage", "coverage", "regression", "maximize", "share", coverage, _SHARE, "bounds"),
            Metric("roc_auc", "ROC AUC", "classification", "maximize", "none", roc_auc, _SHARE),
            Metric("log_loss", "log loss", "classification", "minimize", "none", log_loss, (0.0, -math.log(EPSILON))),
            Metric("f1", "F1", "classification", "maximize", "none", f1, _SHARE, "answered"),
            Metric("accuracy", "accuracy", "classification", "maximize", "share", accuracy, _SHARE, "answered"),
            Metric("recall", "lowest recall", "classification", "maximize", "share", recall, _SHARE, "answered"),
            Metric("calibration", "calibration error", "classification", "minimize", "share", calibration, _SHARE),
            Metric("cost", "cost per row", "classification", "minimize", "none", cost, _ERROR, "charges"),
        )
    }
)


def names(task: Task) -> tuple[str, ...]:
    return tuple(name for name, metric in METRICS.items() if metric.task == task)


def leading(task: Task) -> Metric:
    """The metric of *task* that a search follows and a page leads with, unless the project says otherwise."""
    return METRICS["rmse" if task == "regression" else "log_loss"]


def get(name: str, *, where: str = "metric", task: Task | None = None) -> Metric:
    """The metric called *name*; *where* is the key it was written under.

    Raises:
        ConfigError: there is none, or it is not one for *task*.
    """
    metric = METRICS.get(name)
    if metric is None or (task is not None and metric.task != task):
        choices = ", ".join(METRICS if task is None else names(task))
        kind = f" for {task}" if task else ""
        raise ConfigError(f"{where}: expected a metric{kind}, one of {choices}; seen {name!r}")
    return metric


def check_side(where: str, metric: Metric | None, seen: str, *, less: str, more: str) -> None:
    """Refuse a bar on the good side of a *metric*: *less* is the key of one where less is better, *more* of others.

    Raises:
        ConfigError: *seen*, the key that was written under *where*, is the other one.
    """
    word, wanted = ("more", more) if metric is not None and metric.direction == "maximize" else ("less", less)
    if seen != wanted:
        raise ConfigError(f"{where}: expected {wanted!r}, since {word} of it is better; seen {seen!r}")


def check_floor(where: str, metric: Metric, level: float) -> None:
    """Refuse a *level* to keep, written under *where*, that *metric* never has; a signed one is kept in size."""
    low, high = metric.losses
    if not low <= (-level if metric.direction == "maximize" else level) <= high:
        low, high = (low, high) if metric.direction == "zero" else metric.values
        raise ConfigError(f"{where}: expected {_within(low, high)}, the values of {metric.label}; seen {level:g}")


def check_alarm(where: str, label: str, values: Range, level: float, *, above: bool) -> None:
    """Refuse a *level* that a figure of the range *values* is never beyond, or always."""
    low, high = values
    if not (low <= level < high if above else low < level <= high):
        side = "all" if (level < low if above else level > high) else "none"
        raise ConfigError(
            f"{where}: expected a level that some values of {label} are beyond and some are not, {_within(low, high)};"
            f" {side} are beyond {level:g}"
        )


def _within(low: float, high: float) -> str:
    if math.isfinite(low) and math.isfinite(high):
        return f"{low:g} to {high:g}"
    return f"{low:g} or more" if math.isfinite(low) else f"{high:g} or less" if math.isfinite(high) else "any number"


def compute(task: Task, target: Values, prediction: Values | Said) -> dict[str, float]:
    """Every metric of *task* by name, coverage where there are intervals and cost where it is said what errors
    cost; all are NaN without rows or when a prediction is not finite."""
    said = Said.of(prediction)
    usable = len(target) > 0 and bool(np.isfinite(said.values).all())
    known = [name for name in names(task) if METRICS[name].takes not in said.unsaid]
    return {name: METRICS[name].of(target, said) if usable else float("nan") for name in known}
