"""Profiles of tables: the bins are chosen once, on training rows, and every later table is counted into the same."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from components.judging.evaluation import error_histogram
from components.judging.metrics import Values
from serving.contract import Column, Contract, Matrix
from serving.errors import DataError
from serving.profile import CategoryHistogram, Histogram, NumericHistogram, Profile

BINS = 20
NOTHING: Mapping[str, float] = MappingProxyType({})


def profile(
    matrix: Matrix,
    contract: Contract,
    prediction: Values,
    target: Values | None = None,
    metrics: Mapping[str, float] = NOTHING,
) -> Profile:
    """The reference profile: bins and counts of the training rows *matrix*.

    *prediction* and *target* belong to the holdout, so their length is their own: (n,) numbers, or (n, n_classes)
    probabilities of which the last class counts. Errors are counted for regression, when *target* is given.
    """
    columns = zip(contract.slots.items(), matrix.T, strict=True)
    scores = _scores(prediction)
    error = None
    if target is not None and contract.task == "regression":
        errors = prediction - target
        error = error_histogram(errors[np.isfinite(errors)])
    return Profile(
        rows=len(matrix),
        inputs={name: _count(_empty(column, values), values) for (name, column), values in columns},
        prediction=_count(_numeric(edges(scores)), scores),
        error=error,
        metrics={name: float(value) for name, value in metrics.items() if np.isfinite(value)},
    )


def count(matrix: Matrix, reference: Profile, contract: Contract, prediction: Values) -> Profile:
    """New rows, in the order of the *contract*'s slots, counted into the bins of *reference*; errors count as none.

    Raises:
        DataError: the profile is not one of this table's columns.
    """
    if len(contract.slots) != matrix.shape[1] or set(contract.slots) != set(reference.inputs):
        raise DataError(f"the profile is of {len(reference.inputs)} other columns than the table's {matrix.shape[1]}")
    return Profile(
        rows=len(matrix),
        inputs={
            name: _count(reference.inputs[name], values) for name, values in zip(contract.slots, matrix.T, strict=True)
        },
        prediction=_count_numeric(reference.prediction, _scores(prediction)),
        error=None if reference.error is None else _count_numeric(reference.error, np.empty(0)),
    )


def edges(values: Values, *, whole: bool = False) -> tuple[float, ...]:
    """Inner bin edges for *values*: distinct quantiles that make up to 20 bins of about equal counts.

    Whole numbers (*whole*) are cut halfway between them, and a single value gets a bin of its own, so that a move to
    either side shows.
    """
    seen = values[np.isfinite(values)]
    if not len(seen):
        return ()
    distinct = np.unique(seen)
    if len(distinct) == 1:
        only = float(distinct[0])
        return (only - 0.5, only + 0.5) if whole else (float(np.nextafter(only, -np.inf)), only)
    if whole and len(distinct) <= BINS:
        return tuple(((distinct[:-1] + distinct[1:]) / 2).tolist())
    cuts = np.quantile(seen, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf")
    if whole:
        cuts = np.floor(cuts) + 0.5
    return tuple(np.unique(cuts).tolist())


def _empty(column: Column, values: Values) -> Histogram:
    if column.type == "category":
        return CategoryHistogram(values=column.values, counts=(0,) * len(column.values))
    if column.type == "bool":
        return _numeric((0.5,))
    if column.type == "datetime":  # whose values are new ones every day: only gaps are compared
        return _numeric(())
    return _numeric(edges(values, whole=column.type == "int"))


def _numeric(cuts: tuple[float, ...]) -> NumericHistogram:
    return NumericHistogram(edges=cuts, counts=(0,) * (len(cuts) + 1))


def _count(histogram: Histogram, values: Values) -> Histogram:
    """The counts of *values* in the bins of *histogram*, whose own counts do not enter."""
    if isinstance(histogram, NumericHistogram):
        return _count_numeric(histogram, values)
    known = values[~np.isnan(values)].astype(np.intp)
    size = len(histogram.values)
    counts = np.bincount(np.minimum(known, size), minlength=size + 1)
    return CategoryHistogram(
        values=histogram.values,
        counts=tuple(counts[:size].tolist()),
        unknown=int(counts[size]),
        missing=len(values) - len(known),
    )


def _count_numeric(histogram: NumericHistogram, values: Values) -> NumericHistogram:
    known = values[~np.isnan(values)]
    bins = np.searchsorted(np.asarray(histogram.edges), known, side="left")
    counts = np.bincount(bins, minlength=len(histogram.edges) + 1)
    return NumericHistogram(edges=histogram.edges, counts=tuple(counts.tolist()), missing=len(values) - len(known))


def _scores(prediction: Values) -> Values:
    return prediction if prediction.ndim == 1 else prediction[:, -1]
