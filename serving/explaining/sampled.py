"""Contributions of columns to one prediction, for any model: Shapley values by sampling.

Strumbelj and Kononenko, "Explaining prediction models and individual predictions with feature contributions", Knowledge
and Information Systems 41 (2014). A row is walked from a background row to itself, one column at a time in a random
order; what the score gains at a column's turn is credited to it. Every background row is walked equally often, so the
contributions of a row sum to its score minus the mean score of the background, and for a model that is a sum over
columns they are exact. Orders come in pairs, one the reverse of the other, which lowers the variance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.contract import Contract, Matrix
from serving.explaining.api import Codes, Explained, Numbers

Orders = npt.NDArray[np.intp]

WALKS = 4
CALL = 4_000_000  # cells in one question to the model, whatever its width
SEED = 20140101
METHOD = "sampled Shapley values against golden rows (Strumbelj and Kononenko 2014)"


@dataclass(frozen=True)
class Sampled:
    """A model that nothing is known of but how it scores a coded matrix: numbers, or probabilities of classes.

    Attributes:
        reason: a phrase, what stands against exact values.
    """

    score: Callable[[Matrix], Numbers]
    contract: Contract
    background: Matrix
    reason: str

    @property
    def method(self) -> str:
        return f"{METHOD}, because of {self.reason}"

    @property
    def cells(self) -> int:
        """That are scored to explain one row."""
        width = len(self.contract.slots)
        return len(self.background) * WALKS * (width + 1) * width

    def explained(self, matrix: Matrix, classes: Codes) -> Explained:
        """See ``api.Explainer``; in the unit of the answers."""
        told = [self._row(row, int(code)) for row, code in zip(matrix, classes, strict=True)]
        bases, scores, contributions = zip(*told, strict=True)
        return Explained(np.array(bases), np.array(scores), np.array(contributions))

    def of(self, code: int) -> str:
        """See ``api.Explainer``."""
        target = self.contract.target
        return f"probability of {target.classes[code]}" if target.classes else target.name

    def _row(self, row: Numbers, code: int) -> tuple[float, float, Numbers]:
        def of_interest(matrix: Matrix) -> Numbers:
            scores = self.score(matrix)
            return np.asarray(scores[:, code]) if self.contract.target.classes else scores

        return explain(row, self.background, of_interest, SEED)


def explain(
    row: Numbers, background: Matrix, score: Callable[[Matrix], Numbers], seed: int
) -> tuple[float, float, Numbers]:
    """Base, score and contributions (n_columns,), why *score* says what it says about *row*.

    Args:
        row: coded, of shape (n_columns,).
        background: coded rows, at least one.
        score: one number per row of a coded matrix.
        seed: of the orders; equal seeds give equal explanations.
    """
    width = len(row)
    orders, starts = _orders(len(background) * WALKS, width, seed), np.repeat(background, WALKS, axis=0)
    at_once = max(1, CALL // ((width + 1) * width))
    parts = [slice(first, first + at_once) for first in range(0, len(orders), at_once)]
    scores = np.concatenate([_walked(row, starts[part], orders[part], score) for part in parts])
    contributions = np.zeros(width)
    np.add.at(contributions, orders, np.diff(scores, axis=1))
    return float(scores[:, 0].mean()), float(scores[0, -1]), contributions / len(orders)


def _walked(row: Numbers, starts: Matrix, orders: Orders, score: Callable[[Matrix], Numbers]) -> Numbers:
    """Scores, a row per walk, of what lies between each of *starts* and *row* as cells are taken over in *orders*."""
    walk, width = np.arange(len(orders)), len(row)
    steps = np.empty((len(orders), width + 1, width), dtype=np.float64)
    steps[:, 0, :] = starts
    for turn in range(width):
        steps[:, turn + 1, :] = steps[:, turn, :]
        steps[walk, turn + 1, orders[:, turn]] = row[orders[:, turn]]
    return score(steps.reshape(-1, width)).reshape(len(orders), width + 1)


def _orders(walks: int, width: int, seed: int) -> Orders:
    """*walks* orders of the columns, every second one the reverse of the one before."""
    generator = np.random.default_rng(seed)
    half = np.array([generator.permutation(width) for _ in range((walks + 1) // 2)])
    return np.stack([half, half[:, ::-1]], axis=1).reshape(-1, width)[:walks]
