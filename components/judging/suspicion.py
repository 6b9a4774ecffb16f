"""Signs that a figure is too good to be true: a column that is the target by another name, rows seen in training."""

import numpy as np
import polars as pl

from components.data.stable_hash import hash_rows
from components.judging import metrics
from components.judging.metrics import Values
from serving.bundle.judgement import Learned
from serving.contract import Contract, Frozen, Matrix

SKETCH = 1_024
LOOKED_AT = 5_000  # rows, of which one column that is the target shows as well as of millions
TOLD = 5  # columns
STRANGE = 5  # rows, fewer of which are no evidence


class Overlap(Frozen):
    """How many of the held-out rows are training rows, inputs and target alike.

    Attributes:
        told: of how many rows it can be told by the sketch in the bundle.
        seen: how many of them are training rows.
        chance: the share that could be, since rows repeat among the held-out ones too; 0..1.
    """

    told: int
    seen: int
    chance: float

    @property
    def suspicious(self) -> bool:
        """More than half of them, and more than their repeats explain, where rows differ enough to tell."""
        strange = self.told * (1 - self.chance)  # rows that would not be among the training rows by themselves
        return strange >= STRANGE and self.seen / self.told > 0.5 + self.chance / 2


def learned(matrix: Matrix, target: Values, contract: Contract) -> Learned:
    """What coded training rows and their targets say without a model."""
    classes = len(contract.target.classes)
    shares = np.bincount(target.astype(np.intp), minlength=classes) / len(target) if classes else [float(target.mean())]
    smallest = np.unique(_hashes(matrix, target))[:SKETCH]
    return Learned(rows=len(target), constant=tuple(map(float, shares)), sketch=tuple(map(int, smallest)))


def overlap(matrix: Matrix, target: Values, known: Learned) -> Overlap:
    """How many of the coded rows are among those that *known* is of."""
    hashes, counts = np.unique(_hashes(matrix, target), return_counts=True)
    sketch = np.array(known.sketch, dtype=np.uint64)
    told = hashes <= sketch[-1] if len(sketch) >= SKETCH else np.ones(len(hashes), dtype=bool)
    repeated = 1.0 - (counts == 1).sum() / len(target)
    chance = 1.0 - (1.0 - min(repeated, 1.0)) ** max(known.rows / len(target), 1.0)
    seen = int(counts[told & np.isin(hashes, sketch)].sum())
    return Overlap(told=int(counts[told].sum()), seen=seen, chance=float(chance))


def _hashes(matrix: Matrix, target: Values) -> np.ndarray:
    return hash_rows(pl.DataFrame(np.column_stack([matrix, target])))


def alone(matrix: Matrix, target: Values, contract: Contract) -> dict[str, float]:
    """What the best few columns reach, each without the others: R2, or ROC AUC; the best first.

    A column is taken as it is, by its ranks, and by the rows that are next to a row in it, so that neither another
    unit, nor a logarithm, nor another code hides the target.
    """
    rows = np.unique(np.linspace(0, len(target) - 1, min(LOOKED_AT, len(target))).round().astype(np.intp))
    found = {
        name: _reach(matrix[rows, place], target[rows], len(contract.target.classes))
        for place, (name, column) in enumerate(contract.slots.items())
        if column.type != "datetime"  # beside which a row of a series always has its neighbours
    }
    best = sorted(found.items(), key=lambda one: -one[1])[:TOLD]
    return {name: value for name, value in best if np.isfinite(value)}


def _reach(values: Values, target: Values, classes: int) -> float:
    if classes == 0:
        direct = max(_correlation(values, target), _correlation(_ranks(values), _ranks(target)))
        return max(direct, metrics.r2(target, _beside(values, target)))
    if classes == 2:
        side = metrics.auc(target == 1, np.where(np.isnan(values), -np.inf, values))
        return max(side, 1 - side, metrics.auc(target == 1, _beside(values, target)))
    sides = (target == one for one in range(classes))
    return float(np.mean([metrics.auc(side, _beside(values, 1.0 * side)) for side in sides]))


def _correlation(values: Values, target: Values) -> float:
    """Its square over the rows that have a value, 0 unless these are nearly all."""
    known = np.isfinite(values)
    x, y = values[known] - values[known].mean() if known.any() else values[known], target[known]
    size = np.sqrt(np.sum(x**2) * np.sum((y - y.mean()) ** 2)) if len(y) else 0.0
    return float((np.sum(x * y) / size) ** 2) if size > 0 and known.mean() > 0.99 else 0.0


def _ranks(values: Values) -> Values:
    return np.unique(values, return_inverse=True)[1].astype(np.float64) if np.isfinite(values).all() else values


def _beside(values: Values, target: Values) -> Values:
    """For each row the mean target of the others with its value; of a single one, of the values next to it."""
    place = np.unique(np.where(np.isnan(values), np.inf, values), return_inverse=True)[1]
    count, total = np.bincount(place), np.bincount(place, weights=target)
    mean = np.pad(total / count, 1, mode="edge")
    mean[0], mean[-1] = (mean[2], mean[-3]) if len(count) > 1 else (target.mean(), target.mean())
    next_to = (mean[:-2] + mean[2:]) / 2
    others = (total[place] - target) / np.maximum(count[place] - 1, 1)
    return np.where(count[place] > 1, others, next_to[place])
