"""Contributions of columns to one prediction, for any model: Shapley values by sampling.

Strumbelj and Kononenko, "Explaining prediction models and individual predictions with feature contributions", Knowledge
and Information Systems 41 (2014). A row is walked from a background row to itself, one column at a time in a random
order; what the score gains at a column's turn is credited to it. Every background row is walked equally often, so the
contributions of a row sum to its score minus the mean score of the background, and for a model that is a sum over
columns they are exact. Orders come in pairs, one the reverse of the other, which lowers the variance.
"""

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from serving.contract import Matrix

BACKGROUND = 32
WALKS = 4
METHOD = "sampled Shapley values against golden rows (Strumbelj and Kononenko 2014)"
Scores = npt.NDArray[np.float64]


class Explanation(msgspec.Struct, frozen=True):
    """Attributes:
    base: mean score of the background.
    score: of the row; ``base`` plus the sum of ``contributions``.
    contributions: one per column, in the order of the contract, in the score's unit.
    """

    base: float
    score: float
    contributions: npt.NDArray[np.float64]


def explain(
    row: npt.NDArray[np.float64], background: Matrix, score: Callable[[Matrix], Scores], seed: int
) -> Explanation:
    """Why *score* says what it says about *row*.

    Args:
        row: coded, of shape (n_columns,).
        background: coded rows, at least one; the first ``BACKGROUND`` of them are used.
        score: one number per row of a coded matrix.
        seed: of the orders; equal seeds give equal explanations.
    """
    background = background[:BACKGROUND]
    width = len(row)
    orders = _orders(len(background) * WALKS, width, seed)
    starts = np.repeat(background, WALKS, axis=0)
    steps = np.empty((len(orders), width + 1, width), dtype=np.float64)
    steps[:, 0, :] = starts
    for turn in range(width):
        steps[:, turn + 1, :] = steps[:, turn, :]
        walk = np.arange(len(orders))
        steps[walk, turn + 1, orders[:, turn]] = row[orders[:, turn]]
    scores = score(steps.reshape(-1, width)).reshape(len(orders), width + 1)
    contributions = np.zeros(width)
    np.add.at(contributions, orders, np.diff(scores, axis=1))
    return Explanation(float(scores[:, 0].mean()), float(scores[0, -1]), contributions / len(orders))


def _orders(walks: int, width: int, seed: int) -> npt.NDArray[np.intp]:
    """*walks* orders of the columns, every second one the reverse of the one before."""
    generator = np.random.default_rng(seed)
    half = np.array([generator.permutation(width) for _ in range((walks + 1) // 2)])
    return np.stack([half, half[:, ::-1]], axis=1).reshape(-1, width)[:walks]
