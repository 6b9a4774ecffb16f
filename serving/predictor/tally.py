"""Counts of what a model was asked and what it said, on the bins of its reference profile.

Counts need no payload to be kept or read for drift to be measured, and those of several pods add up. Single rows are
kept and counted together, since counting ten columns one row at a time costs more than the prediction.
"""

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.contract import Contract, Matrix
from serving.profile import NumericHistogram, Profile

BLOCK = 512
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bins:
    """How one column is counted.

    Attributes:
        edges: bin edges of a number; empty for a category.
        values: the categories in the order of their codes; empty for a number.
    """

    name: str
    edges: npt.NDArray[np.float64]
    values: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bins, with one for missing at the end, and for a category one for unknown before it."""
        return len(self.values) + 2 if self.values else len(self.edges) + 2

    def count(self, column: npt.NDArray[np.float64]) -> Counts:
        missing = np.isnan(column)
        if self.values:
            codes = np.where(missing, len(self.values) + 1, column).astype(np.intp)
        else:
            codes = np.where(missing, len(self.edges) + 1, np.searchsorted(self.edges, column, side="left"))
        return np.bincount(codes, minlength=self.size)


class HistogramTally:
    """Histogram counts of inputs and predictions since the process began; safe to use from several threads."""

    def __init__(self, contract: Contract, profile: Profile) -> None:
        self.inputs = [_bins(contract, profile, name) for name in contract.slots]
        self.prediction = Bins("prediction", np.asarray(profile.prediction.edges, dtype=np.float64), ())
        self._counts = [np.zeros(bins.size, dtype=np.int64) for bins in (*self.inputs, self.prediction)]
        self._sum = 0.0
        self._lock = threading.Lock()
        self._rows: list[tuple[npt.NDArray[np.float64], float]] = []

    def add(self, matrix: Matrix, predictions: npt.NDArray[np.float64]) -> None:
        """Count *matrix*, of shape (n_rows, n_columns), and its predictions."""
        if len(matrix) == 1:
            with self._lock:
                self._rows.append((matrix[0], predictions[0]))
                if len(self._rows) >= BLOCK:
                    self._settle()
            return
        counted = self._counted(matrix, predictions)
        total = float(predictions.sum())
        with self._lock:
            self._merge(counted, total)

    def counts(self) -> tuple[list[Counts], Counts, float]:
        """Counts of every input column, of the prediction, and the sum of predictions."""
        with self._lock:
            self._settle()
            copies = [counts.copy() for counts in self._counts]
            return copies[:-1], copies[-1], self._sum

    def _settle(self) -> None:
        if not self._rows:
            return
        matrix = np.stack([row for row, _ in self._rows])
        predictions = np.array([prediction for _, prediction in self._rows])
        self._rows.clear()
        self._merge(self._counted(matrix, predictions), float(predictions.sum()))

    def _counted(self, matrix: Matrix, predictions: npt.NDArray[np.float64]) -> list[Counts]:
        inputs = [bins.count(matrix[:, i]) for i, bins in enumerate(self.inputs)]
        return [*inputs, self.prediction.count(predictions)]

    def _merge(self, counted: list[Counts], total: float) -> None:
        for counts, more in zip(self._counts, counted, strict=True):
            counts += more
        self._sum += total


def _bins(contract: Contract, profile: Profile, name: str) -> Bins:
    """Bins of the profile, or where it has none for this column, one for everything."""
    histogram = profile.inputs.get(name)
    if contract.slots[name].type == "category":
        return Bins(name, np.empty(0), contract.slots[name].values)
    edges = histogram.edges if isinstance(histogram, NumericHistogram) else ()
    return Bins(name, np.asarray(edges, dtype=np.float64), ())
