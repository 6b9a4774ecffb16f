"""What both ways of explaining have in common."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.contract import Matrix

BACKGROUND = 32  # of the golden rows, that rows are compared with
Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Explained:
    """Rows and what their numbers are made of.

    Attributes:
        base: (n_rows,) mean number of the background.
        score: (n_rows,) the row's own; ``base`` plus the sum of ``contributions``.
        contributions: (n_rows, n_slots) in the order of the contract's slots.
    """

    base: Numbers
    score: Numbers
    contributions: Numbers


class Explainer(Protocol):
    """Tells rows of a coded matrix apart from background rows.

    Attributes:
        method: a phrase for people, which begins with ``exact`` or ``sampled``.
    """

    @property
    def method(self) -> str: ...

    def explained(self, matrix: Matrix, classes: Codes) -> Explained:
        """Of rows (n_rows, n_slots) that the model takes; *classes* (n_rows,) are positions in the contract, and zeros
        where it has none."""
        ...

    def of(self, code: int) -> str:
        """In words, what the numbers of the class at position *code*, or of the target, are numbers of."""
        ...
