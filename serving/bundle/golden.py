"""Golden rows: the predictions that every later load of a bundle must reproduce."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.contract import Contract, Matrix
from serving.errors import DataError, GateRefusal
from serving.files import canonical_json
from serving.scoring.api import Declined, Predictions, SklearnScorer
from serving.scoring.compile import Fast

# scikit-learn's sums go through BLAS, which another processor may add up in another order.
SKLEARN_TOLERANCE = 1e-12  # relative to the largest golden prediction


@dataclass(frozen=True)
class Golden:
    """Coded rows, and what the pipeline predicted for them when it was trained."""

    rows: Matrix
    expected: Predictions

    @classmethod
    def from_json(cls, data: bytes, contract: Contract) -> "Golden":
        """What ``to_json`` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is not that, or belongs to another contract.
        """
        document = json.loads(data)
        rows = np.array(document["rows"], dtype=np.float64)
        expected = np.array(document["expected"], dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(contract.slots) or not len(rows) or len(expected) != len(rows):
            raise ValueError(f"golden rows of shape {rows.shape} with predictions of shape {expected.shape}")
        return cls(rows, expected)

    def to_json(self) -> bytes:
        rows = [[None if np.isnan(cell) else cell for cell in row] for row in self.rows.tolist()]
        return canonical_json({"rows": rows, "expected": self.expected.tolist()})

    def agreeing(self, fast: Fast | Declined) -> Fast | Declined:
        """*fast*, unless it gives another prediction for a row than the pipeline did."""
        if isinstance(fast, Declined):
            return fast
        try:
            answer, allowed = fast.score(self.rows), fast.tolerance(self.rows)
        except DataError as error:
            return Declined(f"the fast form refuses a golden row ({error})")
        if answer.shape != self.expected.shape:
            return Declined(f"the fast form answers in shape {answer.shape}, the pipeline in {self.expected.shape}")
        off = np.abs(answer - self.expected).reshape(len(self.rows), -1).max(axis=1)
        wrong = np.flatnonzero(~(off <= allowed))
        if len(wrong):
            row = int(wrong[0])
            return Declined(f"the fast form differs from the pipeline in golden row {row} by {off[row]:.3g}")
        return fast

    def check(self, directory: Path, scorer: SklearnScorer) -> None:
        """Whether the pipeline of the bundle in *directory* still says what it said.

        Raises:
            GateRefusal: it does not.
        """
        try:
            answer = scorer.score(self.rows)
        except Exception as error:
            raise GateRefusal(f"{directory}: the pipeline cannot predict its golden rows: {error}") from error
        expected = self.expected
        if answer.shape != expected.shape:
            raise GateRefusal(f"{directory}: the pipeline answers in shape {answer.shape}, expected {expected.shape}")
        off = np.abs(answer - expected)
        if not (off <= SKLEARN_TOLERANCE * np.abs(expected).max()).all():
            raise GateRefusal(
                f"{directory}: the pipeline gives other predictions for its golden rows than when it was trained (by "
                f"up to {off.max():.3g}); libraries or processor differ too much, train again here"
            )
