"""The evaluation stage on paths: the bundle's own predictions of holdout rows against the truth."""

import json
from pathlib import Path

from components.judging import metrics
from components.judging.evaluation import FEW_ROWS, Evaluation
from components.judging.holdout_scores import score_holdout
from components.steps.keys import trusted_keys
from components.steps.telling import tell
from serving.bundle.bundle import open_bundle
from serving.files import canonical_json, sha256_bytes, whole_directory, write_json


def evaluate(slices: str, key: str, holdout: str, bundle: str, evaluation: str) -> str:
    """Score the holdout rows with the bundle's own scorer; returns a digest of the evaluation."""
    opened = open_bundle(Path(bundle), trusted_keys(key))
    result = score_holdout(opened, Path(holdout), tuple(json.loads(slices)))
    with whole_directory(Path(evaluation)) as folder:
        write_json(folder / "evaluation.json", result.model_dump(mode="json"))
    tell(f"{result.sentence}{_worst_slice(result)}")
    return sha256_bytes(canonical_json(result.model_dump(mode="json")))


def _worst_slice(evaluation: Evaluation) -> str:
    """The slice of enough rows where the leading metric is worst, as a phrase."""
    leading = metrics.leading(evaluation.task)
    known = [part for part in evaluation.slices if part.rows >= FEW_ROWS and leading.name in part.metrics]
    if not known:
        return ""
    worst = max(known, key=lambda part: leading.loss(part.metrics[leading.name]))
    return f"  worst slice {worst.column} {worst.value}: {leading.show(worst.metrics[leading.name], evaluation.unit)}"
