"""Metrics equal scikit-learn's, and an evaluation survives JSON, gaps and one-sided slices."""

import json
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from components.judging import metrics
from components.judging.evaluation import Evaluation, evaluate
from serving.contract import Contract
from serving.errors import ConfigError, DataError
from serving.files import canonical_json

COLUMNS: dict[str, Any] = {
    "area": {"type": "float"},
    "new": {"type": "bool"},
    "kind": {"type": "category", "values": ["house", "flat"], "nullable": True},
}
PRICE = Contract.model_validate({"columns": COLUMNS, "target": {"name": "price", "unit": "EUR"}})


def classes(n: int) -> Contract:
    return Contract.model_validate({"columns": COLUMNS, "target": {"name": "y", "classes": ["a", "b", "c", "d"][:n]}})


def rows(n: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.column_stack([random.uniform(0, 100, n), random.integers(0, 2, n), random.integers(0, 2, n)]).astype(
        float
    )


def probabilities(n: int, k: int, seed: int, ties: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    raw = np.random.default_rng(seed).uniform(0.01, 1, (n, k))
    raw = np.round(raw, 1) + 0.05 if ties else raw
    return raw / raw.sum(axis=1, keepdims=True)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 60), seed=st.integers(0, 10_000), scale=st.sampled_from([1.0, 1e-3, 1e6]))
def test_regression_metrics_equal_scikit_learns(n: int, seed: int, scale: float) -> None:
    """rmse, mae, mape, r2 and bias on any rows."""
    random = np.random.default_rng(seed)
    target, prediction = random.normal(3, 1, n) * scale, random.normal(3, 1, n) * scale
    seen = metrics.compute("regression", target, prediction)
    assert seen == pytest.approx(
        {
            "rmse": sk.root_mean_squared_error(target, prediction),
            "mae": sk.mean_absolute_error(target, prediction),
            "mape": sk.mean_absolute_percentage_error(target, prediction),
            "r2": sk.r2_score(target, prediction),
            "bias": prediction.mean() - target.mean(),
        },
        rel=1e-9,
        abs=1e-9 * scale,
    )


@settings(max_examples=40, deadline=None)
@given(n=st.integers(8, 60), k=st.integers(2, 4), seed=st.integers(0, 10_000), ties=st.booleans())
def test_classification_metrics_equal_scikit_learns(n: int, k: int, seed: int, ties: bool) -> None:
    """roc_auc, log_loss, f1, accuracy, recall and the confusion matrix of two classes and of more, with ties."""
    target = np.random.default_rng(seed).permutation(np.arange(n) % k).astype(float)
    chance = probabilities(n, k, seed, ties)
    best, labels = chance.argmax(axis=1), list(range(k))
    two = k == 2
    seen = metrics.compute("classification", target, chance)
    assert seen == pytest.approx(
        {
            "roc_auc": sk.roc_auc_score(target, chance[:, 1] if two else chance, multi_class="ovr", labels=labels),
            "log_loss": sk.log_loss(target, chance, labels=labels),
            "f1": sk.f1_score(target, best, average="binary" if two else "macro", labels=labels),
            "accuracy": sk.accuracy_score(target, best),
            "recall": sk.recall_score(target, best, average=None, labels=labels).min(),
            "calibration": np.mean([stated_off(target == code, chance[:, code]) for code in labels[two:]]),
        },
        abs=1e-12,
    )
    np.testing.assert_array_equal(metrics.confusion(target, chance), sk.confusion_matrix(target, best, labels=labels))


def stated_off(true: Any, stated: Any) -> float:
    """The mean distance of what is stated from what is so over tenths, by rows, as its definition has it."""
    parts = [(stated >= low / 10) & ((stated < (low + 1) / 10) | (low == 9)) for low in range(10)]
    return sum(abs(stated[one].mean() - true[one].mean()) * one.mean() for one in parts if one.any())


def test_a_certain_and_wrong_prediction_has_a_finite_log_loss() -> None:
    """Probabilities of 0 and 1 are clipped as scikit-learn does."""
    target, chance = np.array([1.0, 0.0]), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert metrics.log_loss(target, chance) == pytest.approx(sk.log_loss(target, chance, labels=[0, 1]))


def test_the_roc_curve_has_the_area_of_the_metric() -> None:
    """The points that are drawn integrate to the AUC that is judged."""
    target = np.random.default_rng(1).integers(0, 2, 90).astype(float)
    chance = probabilities(90, 2, 1, ties=True)
    result = evaluate(chance, target, rows(90), classes(2))
    (curve,) = result.roc
    assert np.trapezoid(curve.true_positive, curve.false_positive) == pytest.approx(result.metrics["roc_auc"])
    assert (curve.false_positive[-1], curve.true_positive[-1]) == (1, 1)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_an_evaluation_survives_json(k: int) -> None:
    """What is written is what is read, in text that a digest can be taken of."""
    matrix = rows(50)
    if k == 1:
        result = evaluate(matrix[:, 0] + 1, matrix[:, 0], matrix, PRICE, ["area", "new"])
    else:
        result = evaluate(probabilities(50, k, 3, False), (np.arange(50) % k).astype(float), matrix, classes(k))
    text = canonical_json(result.model_dump(mode="json"))
    assert Evaluation.model_validate_json(text) == result
    assert Evaluation.model_validate(json.loads(text)) == result


def test_slices_cover_every_row_once() -> None:
    """Along each column the parts add up to the table, and each part's metric is that of its own rows."""
    matrix = rows(400)
    matrix[:20, 2] = np.nan
    matrix[20:50, 2] = 2
    matrix[:7, 0] = np.nan
    target = np.linspace(100, 200, 400)
    prediction = target + np.where(matrix[:, 2] == 1, 10.0, 1.0)
    result = evaluate(prediction, target, matrix, PRICE, slices=PRICE.names)
    by_column = {name: [part for part in result.slices if part.column == name] for name in PRICE.names}
    assert {name: sum(part.rows for part in parts) for name, parts in by_column.items()} == dict.fromkeys(
        PRICE.names, 400
    )
    assert [part.value for part in by_column["kind"]] == ["house", "flat", "unknown", "missing"]
    assert [part.metrics["rmse"] for part in by_column["kind"]] == pytest.approx([1, 10, 1, 1])
    assert [part.value for part in by_column["new"]] == ["false", "true"]
    assert len(by_column["area"]) == 5
    assert all(90 <= part.rows <= 105 for part in by_column["area"][:4])
    assert evaluate(prediction, target, matrix, PRICE).slices == ()


def test_a_slice_of_one_class_has_no_auc_but_a_log_loss() -> None:
    """What cannot be computed is named, not invented."""
    matrix = rows(40)
    target = matrix[:, 2].copy()
    result = evaluate(probabilities(40, 2, 0, False), target, matrix, classes(2), ["kind"])
    assert result.slices
    for part in result.slices:
        assert "roc_auc" in part.undefined
        assert "log_loss" in part.metrics


def test_predictions_that_are_not_numbers_leave_every_metric_undefined() -> None:
    """One NaN among the predictions is no reason to look away from its row."""
    matrix = rows(40)
    prediction = matrix[:, 0].copy()
    prediction[3] = np.nan
    result = evaluate(prediction, matrix[:, 0], matrix, PRICE)
    assert result.metrics == {}
    assert result.undefined == tuple(name for name in metrics.names("regression") if name != "coverage")
    assert result.error is not None
    assert sum(result.error.histogram.counts) == 39


def test_the_error_distribution_counts_every_row() -> None:
    """Open outer bins keep what lies beyond the 1 % and 99 % quantiles."""
    target = np.zeros(1000)
    prediction = np.random.default_rng(0).standard_cauchy(1000)
    result = evaluate(prediction, target, rows(1000), PRICE)
    assert result.error is not None
    assert sum(result.error.histogram.counts) == 1000
    assert result.error.quantiles["p50"] == np.quantile(prediction, 0.5)


def test_the_sample_is_small_and_always_the_same() -> None:
    """At most 1,000 dots, spread over all rows."""
    matrix = rows(5000)
    target = np.arange(5000.0)
    first, second = (evaluate(target + 1, target, matrix, PRICE).sample for _ in range(2))
    assert first == second
    assert first is not None
    assert len(first.actual) == 1000
    assert (first.actual[0], first.actual[-1]) == (0.0, 4999.0)


@pytest.mark.parametrize(
    ("prediction", "n", "slices", "words"),
    [
        pytest.param(np.empty(0), 0, (), "no holdout rows", id="no-rows"),
        pytest.param(np.zeros(3), 5, (), "do not fit 5 targets", id="other-length"),
        pytest.param(np.zeros((5, 2)), 5, (), "do not fit", id="probabilities-for-a-number"),
        pytest.param(np.zeros(5), 5, ("region",), "no column 'region' to slice by", id="unknown-slice"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(prediction: Any, n: int, slices: Any, words: str) -> None:
    """The message says which shapes or names were expected."""
    with pytest.raises(DataError, match=words):
        evaluate(prediction, np.zeros(n), rows(n), PRICE, slices)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("rmse", 42105.3, "42,105 EUR"),
        ("mape", 0.0823, "8.23 %"),
        ("r2", 0.87123, "0.8712"),
        ("bias", -3.5, "-3.5 EUR"),
    ],
)
def test_metrics_are_written_with_their_unit(name: str, value: float, shown: str) -> None:
    """Numbers in the target's unit carry it, shares are percent."""
    assert metrics.get(name).show(value, "EUR") == shown


def test_an_unknown_metric_names_the_choices() -> None:
    """A metric of the other task counts as unknown."""
    with pytest.raises(ConfigError, match="one of rmse, mae, mape, r2, bias, coverage; seen 'f1'"):
        metrics.get("f1", task="regression")


def test_a_share_of_nearly_nothing_is_told_in_words() -> None:
    """MAPE divides by the target: near 0 its sixteen digits are noise, and no page has them."""
    found = metrics.compute("regression", np.array([0.0, 5.0]), np.array([1.0, 5.0]))["mape"]
    assert metrics.get("mape").show(found) == "more than 100,000 %"
    assert metrics.get("mape").show(0.1) == "10 %"
    assert metrics.get("mape").show(1_000) == "100,000 %"
