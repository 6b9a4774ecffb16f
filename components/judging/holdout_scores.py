"""A bundle's evaluation on the rows of a snapshot; candidate and champion meet here."""

from pathlib import Path

from components.data import snapshots
from components.data.tables import matrix_and_target
from components.judging.evaluation import Evaluation, evaluate
from serving.bundle.bundle import Bundle


def score_holdout(bundle: Bundle, holdout: Path, slices: tuple[str, ...]) -> Evaluation:
    """Score the rows in the snapshot directory *holdout* with the bundle's own scorer and judge them."""
    matrix, target = matrix_and_target(snapshots.read(holdout), bundle.contract)
    return evaluate(bundle.scorer.score(matrix), target, matrix, bundle.contract, slices)
