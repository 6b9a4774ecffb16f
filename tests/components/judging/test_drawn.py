"""What Kubeflow Pipelines' UI draws of a run is what its own SDK would have it draw, from the holdout's figures."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from kfp.dsl import Artifact, ClassificationMetrics

from components.judging import drawn
from components.judging.evaluation import evaluate
from serving.contract import Contract

NAMES = ("benign", "malignant", "unclear")
Figures = np.ndarray[Any, np.dtype[np.float64]]


def contract(classes: int) -> Contract:
    target = {"name": "y", **({"classes": NAMES[:classes]} if classes else {})}
    return Contract.model_validate({"columns": {"x": {"type": "float"}}, "target": target})


def made(classes: int, folder: Path, rows: int = 300) -> tuple[str, Figures, Figures]:
    """The file of an evaluation, (rows,) truths and (rows, classes) probabilities of a model that is mostly right."""
    random = np.random.default_rng(7)
    x = random.normal(size=(rows, 1))
    truth = random.integers(max(classes, 1), size=rows).astype(float) if classes else x[:, 0] + 1.0
    score = random.random((rows, classes)) + np.eye(classes)[truth.astype(int)] if classes else x
    prediction = score / score.sum(axis=1, keepdims=True) if classes else x[:, 0]
    file = folder / "evaluation.json"
    file.write_text(evaluate(prediction, truth, x, contract(classes)).model_dump_json())
    return str(file), truth, prediction


def test_two_classes_are_drawn_as_the_sdk_draws_them(tmp_path: Path) -> None:
    """Confusion matrix and ROC curve are what KFP's own artifact logs of the same counts and points."""
    file, truth, prediction = made(2, tmp_path)
    seen = drawn.classes(file)
    points = seen["confidenceMetrics"]
    theirs = ClassificationMetrics(name="c", uri="", metadata={})
    theirs.log_confusion_matrix(list(NAMES[:2]), sk.confusion_matrix(truth, prediction.argmax(axis=1)).tolist())
    curve = [[point[name] for point in points] for name in ("falsePositiveRate", "recall", "confidenceThreshold")]
    theirs.log_roc_curve(*curve)
    assert json.loads(json.dumps(seen, allow_nan=False)) == theirs.metadata


def test_the_ui_takes_what_is_logged(tmp_path: Path) -> None:
    """A threshold that is no number, a row of another length or a label that is no text is an error banner there.

    The checks are those of Pipelines 2.17.0: frontend/src/components/viewers/ROCCurveHelper.tsx for the curve, and
    MetricsVisualizations.tsx beside it for the matrix, whose rows it labels as true and whose columns as predicted.
    """
    file, truth, prediction = made(3, tmp_path)
    matrix = drawn.classes(file)["confusionMatrix"]
    counts = [one["row"] for one in matrix["rows"]]
    assert all(isinstance(one["displayName"], str) for one in matrix["annotationSpecs"])
    assert [len(row) for row in counts] == [len(matrix["annotationSpecs"])] * len(counts)
    assert [sum(row) for row in counts] == np.bincount(truth.astype(int)).tolist()
    assert [sum(column) for column in zip(*counts, strict=True)] == np.bincount(prediction.argmax(axis=1)).tolist()
    points = drawn.classes(made(2, tmp_path)[0])["confidenceMetrics"]
    assert {name for point in points for name in point} == {"confidenceThreshold", "recall", "falsePositiveRate"}
    assert all(type(value) is float and math.isfinite(value) for point in points for value in point.values())


def test_the_page_of_a_step_has_something_to_preview(tmp_path: Path) -> None:
    """It asks the object store for each output and says "Error in retrieving artifact preview" of one without a file.

    That is frontend/src/components/ArtifactPreview.tsx of Pipelines 2.17.0; a regression has no classes, and a file.
    """
    file = made(0, tmp_path)[0]
    for name, figures in (("metrics", drawn.scalars(file)), ("classification", drawn.classes(file))):
        artifact = Artifact(name=name, uri=str(tmp_path / name))
        drawn.shown(artifact, figures)
        assert artifact.metadata == figures == json.loads(Path(artifact.path).read_text())


def test_each_point_of_the_curve_has_its_threshold(tmp_path: Path) -> None:
    """Whoever takes the threshold of a point for a rule gets the two shares that stand beside it."""
    file, truth, prediction = made(2, tmp_path)
    points = drawn.classes(file)["confidenceMetrics"]
    assert (points[0]["recall"], points[0]["falsePositiveRate"]) == (0.0, 0.0)
    for point in points[1:]:
        chosen = prediction[:, 1] >= point["confidenceThreshold"]
        assert chosen[truth == 1].mean() == pytest.approx(point["recall"])
        assert chosen[truth == 0].mean() == pytest.approx(point["falsePositiveRate"])


def test_of_more_classes_the_matrix_is_drawn_and_no_nameless_curve(tmp_path: Path) -> None:
    """The artifact has room for one curve, and one of three would not say whose it is."""
    seen = drawn.classes(made(3, tmp_path)[0])
    assert [one["displayName"] for one in seen["confusionMatrix"]["annotationSpecs"]] == list(NAMES)
    assert sum(sum(row["row"]) for row in seen["confusionMatrix"]["rows"]) == 300
    assert "confidenceMetrics" not in seen


def test_of_a_regression_the_metrics_are_drawn_and_no_classes(tmp_path: Path) -> None:
    """And of a champion that there is not, nothing."""
    file = made(0, tmp_path)[0]
    assert drawn.classes(file) == {}
    assert drawn.scalars(file)["rmse"] == pytest.approx(1.0)
    assert drawn.scalars(str(tmp_path / "champion.json")) == {}
