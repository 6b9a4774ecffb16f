"""What the UI of Kubeflow Pipelines draws of an evaluation, in the words of its artifacts' metadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from components.judging.evaluation import Evaluation
from serving.files import read_json, write_json


class Artifact(Protocol):
    """What a step is handed for an output by KFP."""

    metadata: dict[str, Any]
    path: str


def shown(artifact: Artifact, figures: Mapping[str, Any]) -> None:
    """Leave *figures* in the metadata, which the UI draws, and in the file, whose first lines stand on the step's page.

    KFP's own metrics write no file, and that page says of each that it could not be retrieved.
    """
    artifact.metadata.update(figures)
    write_json(Path(artifact.path), figures)


def scalars(file: str) -> dict[str, float]:
    """Metrics by name of the evaluation in *file*, for a ``dsl.Metrics``; none where there is no such file."""
    return dict(Evaluation.model_validate(read_json(Path(file))).metrics) if Path(file).exists() else {}


def classes(file: str) -> dict[str, Any]:
    """Confusion matrix, and of two classes the ROC curve, for a ``dsl.ClassificationMetrics``; nothing of a regression.

    The artifact holds one curve without a name; of more classes there is one each, and the run's page has them.
    """
    seen = Evaluation.model_validate(read_json(Path(file)))
    drawn: dict[str, Any] = {}
    if seen.confusion:
        rows = [{"row": list(row)} for row in seen.confusion]
        drawn["confusionMatrix"] = {"annotationSpecs": [{"displayName": one} for one in seen.classes], "rows": rows}
    if len(seen.roc) == 1:
        (curve,) = seen.roc
        points = zip(curve.threshold, curve.true_positive, curve.false_positive, strict=True)
        names = ("confidenceThreshold", "recall", "falsePositiveRate")
        drawn["confidenceMetrics"] = [dict(zip(names, point, strict=True)) for point in points]
    return drawn
