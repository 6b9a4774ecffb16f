"""What predictions on held-out rows are worth, as one value that is stored as JSON and drawn in the report."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from components.judging import jackknife, metrics
from components.judging.baselines import Rival
from components.judging.importance import Contributions, Course, Stretch, Worth
from components.judging.jackknife import Blocks
from components.judging.metrics import Task, Values
from components.judging.said import Said
from components.judging.suspicion import Overlap
from serving.bundle.judgement import Taught
from serving.contract import Column, Contract, Frozen, Matrix
from serving.errors import DataError
from serving.pages.words import number
from serving.profile import NumericHistogram

SAMPLE = 1_000
BINS = 30
FEW_ROWS = 30  # a slice of fewer says little, and a gate does not judge it unless told to
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
Mask = npt.NDArray[np.bool_]


class Slice(Frozen):
    """Metrics of the rows in which *column* is *value*: a category, or a quarter such as ``54 to 80``.

    Attributes:
        errors: standard errors of the metrics, those that are known.
        blocks: of how many blocks of rows they were taken.
    """

    column: str
    value: str
    rows: int
    metrics: dict[str, float]
    undefined: tuple[str, ...] = ()
    errors: dict[str, float] = Field(default_factory=dict)
    blocks: int = 0


class ErrorDistribution(Frozen):
    """Prediction minus target, in the target's unit.

    Attributes:
        histogram: equal bins between the 1 % and 99 % quantiles, open at both ends.
        quantiles: by percent, ``p05`` and so on.
    """

    histogram: NumericHistogram
    quantiles: dict[str, float]


class Sample(Frozen):
    """At most 1,000 rows, evenly spaced over the holdout: the dots of the residual plots."""

    actual: tuple[float, ...]
    predicted: tuple[float, ...]


class RocCurve(Frozen):
    """Shares 0..1 of one class against the rest, both ascending from (0, 0) to (1, 1).

    Attributes:
        threshold: the least score that counts as *value* at each point, descending from 1.
    """

    value: str
    false_positive: tuple[float, ...]
    true_positive: tuple[float, ...]
    threshold: tuple[float, ...] = ()


class CalibrationBin(Frozen):
    """Rows whose probability of class *value* lies in one tenth: the mean of it, and how often the class was true."""

    value: str = ""
    rows: int
    predicted: float
    observed: float


class Evaluation(Taught):
    """Metrics, slices and plot data of one model on one set of rows.

    Attributes:
        rows_digest: sha256 of the rows as the source sent them, if taken; evaluations of equal ones can be compared.
        metrics: by name, those that are defined; ``undefined`` names the others.
        errors: standard errors of the metrics, of ``blocks`` blocks of rows; those that are known.
        confusion: counts per true class (outer) and predicted class (inner).
        rivals: what answers without a model, on the same rows.
        alone: what the best columns reach by themselves: R2, or ROC AUC.
        overlap: how many of the rows the model was trained on; None where its bundle does not say.
        worths, courses, over_time, contributions: what ``importance`` tells of columns and of time.
    """

    task: Task
    target: str
    unit: str = ""
    rows: int
    rows_digest: str = ""
    metrics: dict[str, float]
    undefined: tuple[str, ...] = ()
    errors: dict[str, float] = Field(default_factory=dict)
    blocks: int = 0
    slices: tuple[Slice, ...] = ()
    error: ErrorDistribution | None = None
    sample: Sample | None = None
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    roc: tuple[RocCurve, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    rivals: dict[str, Rival] = Field(default_factory=dict)
    alone: dict[str, float] = Field(default_factory=dict)
    overlap: Overlap | None = None
    worths: tuple[Worth, ...] = ()
    courses: tuple[Course, ...] = ()
    over_time: tuple[Stretch, ...] = ()
    contributions: Contributions | None = None

    def show(self, name: str) -> str:
        """The metric *name* with its label and unit, ``RMSE 42,105 EUR``."""
        metric = metrics.get(name)
        seen = metric.show(self.metrics[name], self.unit) if name in self.metrics else "undefined"
        return f"{metric.label} {seen}"

    @property
    def sentence(self) -> str:
        return "  ".join(self.show(name) for name in metrics.names(self.task) if name in self.metrics)


def evaluate(
    prediction: Values | Said,
    target: Values,
    matrix: Matrix,
    contract: Contract,
    slices: Sequence[str] = (),
    parts: Blocks | None = None,
) -> Evaluation:
    """Judge *prediction*, (n_rows,) numbers or (n_rows, n_classes) probabilities, against *target* (n_rows,).

    Slices are taken along the columns named in *slices*, numbers in quarters.

    Args:
        parts: the block of each row, (n_rows,), by which it is told how sure the figures are; None: it is not told.

    Raises:
        DataError: no rows, shapes that do not fit, or an unknown column in *slices*.
    """
    said = Said.of(prediction)
    _check(said.values, target, matrix, contract, slices)
    defined, undefined = _finite(metrics.compute(contract.task, target, said))
    common = {
        "target": contract.target.name,
        "unit": contract.target.unit,
        "rows": len(target),
        "metrics": defined,
        "undefined": undefined,
        **jackknife.told(contract.task, target, said, parts, defined),
        "slices": tuple(_slices(said, target, matrix, contract, slices, parts)),
    }
    usable = np.isfinite(said.values.reshape(len(target), -1)).all(axis=1)
    if contract.task == "regression":
        return Evaluation(task="regression", **common, **_regression(said.values[usable], target[usable]))
    found = _classification(said[usable], target[usable], contract.target.classes)
    return Evaluation(task="classification", **common, **found)


def partition(values: Values, column: Column) -> Iterator[tuple[str, Mask]]:
    """The coded *values* of one column cut into named parts: categories, false and true, or quarters of numbers."""
    missing = np.isnan(values)
    if column.type == "category":
        for code, word in enumerate((*column.values, "unknown")):
            yield word, values == code
    elif column.type == "bool":
        yield "false", values == 0
        yield "true", values == 1
    elif not missing.all():
        cuts = np.unique(np.quantile(values[~missing], (0.25, 0.5, 0.75), method="inverted_cdf"))
        quarter = np.searchsorted(cuts, values, side="left")
        for position, word in enumerate(_quarters(cuts)):
            yield word, (quarter == position) & ~missing
    yield "missing", missing


def _quarters(cuts: Values) -> list[str]:
    text = [number(cut) for cut in cuts]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(text)]
    return [f"up to {text[0]}", *between, f"above {text[-1]}"]


def _slices(
    prediction: Said, target: Values, matrix: Matrix, contract: Contract, asked: Sequence[str], parts: Blocks | None
) -> Iterator[Slice]:
    parts = None if parts is None else parts % jackknife.OF_SLICES
    for position, (name, column) in enumerate(contract.slots.items()):
        if name not in asked:
            continue
        for value, mask in partition(matrix[:, position], column):
            if mask.any():
                defined, undefined = _finite(metrics.compute(contract.task, target[mask], prediction[mask]))
                told = None if parts is None or mask.sum() < FEW_ROWS else parts[mask]
                sure = jackknife.told(contract.task, target[mask], prediction[mask], told, defined)
                rows = int(mask.sum())
                yield Slice(column=name, value=value, rows=rows, metrics=defined, undefined=undefined, **sure)


def _regression(prediction: Values, target: Values) -> dict[str, object]:
    if not len(target):
        return {}
    error = prediction - target
    rows = np.unique(np.linspace(0, len(target) - 1, min(SAMPLE, len(target))).round().astype(np.intp))
    return {
        "error": ErrorDistribution(
            histogram=error_histogram(error),
            quantiles={f"p{100 * q:02.0f}": float(np.quantile(error, q)) for q in QUANTILES},
        ),
        "sample": Sample(actual=tuple(target[rows].tolist()), predicted=tuple(prediction[rows].tolist())),
    }


def error_histogram(error: Values) -> NumericHistogram:
    """Equal bins between the 1 % and 99 % quantiles of *error* and one open bin on either side."""
    low, high = (float(np.quantile(error, q)) for q in (0.01, 0.99))
    edges = np.unique(np.linspace(low, high, BINS - 1))
    counts = np.bincount(np.searchsorted(edges, error, side="left"), minlength=len(edges) + 1)
    return NumericHistogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _classification(said: Said, target: Values, classes: tuple[str, ...]) -> dict[str, object]:
    if not len(target):
        return {"classes": classes}
    prediction = said.values
    shown = range(1, 2) if len(classes) == 2 else range(len(classes))
    curves = (_roc(classes[code], target == code, prediction[:, code]) for code in shown)
    return {
        "classes": classes,
        "confusion": tuple(tuple(row) for row in metrics.confusion(target, said.answered).tolist()),
        "roc": tuple(curve for curve in curves if curve is not None),
        "calibration": tuple(one for k in shown for one in _calibration(classes[k], target == k, prediction[:, k])),
    }


def _roc(value: str, positive: Mask, score: Values) -> RocCurve | None:
    """The ROC curve at every distinct score, thinned to about a hundred points."""
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(positive[order])[last_of_tie]
    false = 1 + last_of_tie - hits
    kept = np.unique(np.linspace(0, len(hits) - 1, min(100, len(hits))).round().astype(np.intp))
    shares = [np.append(0.0, counts[kept] / counts[-1]).tolist() for counts in (false, hits)]
    least = np.append(1.0, score[order][last_of_tie][kept]).tolist()
    false_positive, true_positive = map(tuple, shares)
    return RocCurve(value=value, false_positive=false_positive, true_positive=true_positive, threshold=tuple(least))


def _calibration(value: str, positive: Mask, score: Values) -> Iterator[CalibrationBin]:
    tenth = np.minimum((score * 10).astype(np.intp), 9)
    for position in range(10):
        chosen = tenth == position
        if chosen.any():
            yield CalibrationBin(
                value=value,
                rows=int(chosen.sum()),
                predicted=float(score[chosen].mean()),
                observed=float(positive[chosen].mean()),
            )


def _finite(values: dict[str, float]) -> tuple[dict[str, float], tuple[str, ...]]:
    defined = {name: value for name, value in values.items() if math.isfinite(value)}
    return defined, tuple(name for name in values if name not in defined)


def _check(prediction: Values, target: Values, matrix: Matrix, contract: Contract, slices: Sequence[str]) -> None:
    if not len(target):
        raise DataError("there are no holdout rows to evaluate on: expected at least one; widen the split's holdout")
    classes = len(contract.target.classes)
    expected = (len(target), classes) if classes else (len(target),)
    if prediction.shape != expected or matrix.shape != (len(target), len(contract.slots)):
        raise DataError(
            f"predictions of shape {prediction.shape} and rows of shape {matrix.shape} do not fit"
            f" {len(target)} targets; expected {expected} and {(len(target), len(contract.slots))}"
        )
    foreign = next((name for name in slices if name not in contract.slots), None)
    if foreign is not None:
        raise DataError(f"no column {foreign!r} to slice by; expected one of {', '.join(contract.slots)}")
