"""What a model says besides its predictions: intervals that hold, probabilities that are so, the best threshold."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from sklearn.isotonic import IsotonicRegression

from components.data.split import SplitPolicy
from components.data.split_rule import SplitRule
from components.judging import metrics
from components.judging.said import Said
from components.modelling.crossing import crossed
from components.modelling.deciding import Costs, Threshold, threshold
from components.modelling.saying import Besides, Says, calibration, said_besides
from components.watching.figures import deviation, figure
from components.watching.policy import Bar
from serving.bundle.judgement import CalibratedScorer, Judgement
from serving.contract import Contract
from serving.errors import ConfigError, DataError
from tests.bench.intervals import RULES, TABLES, coverage, fitted

YESNO = Contract.model_validate(
    {"columns": {"x": {"type": "float"}}, "target": {"name": "y", "classes": ["no", "yes"]}}
)


@pytest.mark.parametrize("name", ["errors that grow", "a season, by time"])
def test_intervals_cover_what_they_say(name: str) -> None:
    """On rows that nobody had seen, whatever the errors are like; the larger test has all tables and a narrower bar."""
    for level, share in list(coverage(name, 3_000, 1).items())[-2:]:
        assert abs(100 * share - level) < 3, (name, level, share)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_intervals_cover_within_a_point(name: str) -> None:
    """Of six tables, at the nominal nine in ten, over several draws of each."""
    assert abs(coverage(name, 6_000, 6)[90] - 0.9) < 0.01


def test_intervals_grow_with_the_errors() -> None:
    """Where errors are large the interval is wide: one width for all would cover as much, and say nothing."""
    made, predicted, truth = fitted("errors that grow", 4_000, 0)
    assert made.widths is not None
    ends = made.widths.bounds(predicted)
    wide, error = ends[:, 1] - ends[:, 0], np.abs(truth - predicted)
    few, many = (wide < np.quantile(wide, 0.3)), (wide > np.quantile(wide, 0.7))
    assert error[many].mean() > 1.5 * error[few].mean()
    for part in (few, many):
        assert 0.86 < np.mean((ends[part, 0] <= truth[part]) & (truth[part] <= ends[part, 1])) < 0.94


def test_a_shift_makes_the_coverage_alarm_ring_and_nothing_else_does() -> None:
    """Labels that have risen leave their intervals; those of the same market do not."""
    made, predicted, truth = fitted("errors of one size", 3_000, 1)
    bar = Bar(below=0.85)
    for rise, standing in ((0.0, "within"), (3.0, "beyond")):
        said = Said.of(predicted, made)
        value = metrics.METRICS["coverage"].of(truth + rise, said)
        sd = deviation("coverage", truth + rise, said)
        assert figure("coverage", value, sd, 0.9, bar, "").standing == standing


@pytest.mark.parametrize(
    "policy", [SplitPolicy(by=by, holdout=0.2) for by in ("group", "time")], ids=lambda one: one.by
)
def test_no_row_is_predicted_by_a_model_that_has_seen_it_or_its_key_or_what_came_after(policy: SplitPolicy) -> None:
    """By group whole keys, by time only from older rows."""
    moments = [f"2026-01-01T00:{k // 60:02}:{k % 60:02}" for k in range(500)]
    rows, place, seen = pl.DataFrame({"id": [str(k // 5) for k in range(500)], "at": moments}), np.arange(500.0), []

    def fit(learned: Any) -> Any:
        seen.append(learned)
        return lambda matrix: np.full(len(matrix), len(seen) - 1.0)

    rule = SplitRule(policy=policy, seed=0).model_dump_json()
    found = crossed(rows, RULES, rule, place.reshape(-1, 1), place, 4, fit)
    for row, model in zip(found.rows, found.predicted.astype(int), strict=True):
        learned = seen[model]
        assert row not in learned
        assert row // 5 not in learned // 5 if policy.by == "group" else learned.max() < row
    assert len(found.rows) == (500 if policy.by == "group" else 200)


def stated(rows: int = 4_000, power: float = 2.0) -> tuple[Any, Any]:
    """Probabilities of two classes that are surer than they should be, and what was so."""
    random = np.random.default_rng(0)
    odds = random.normal(size=rows)
    truth = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(float)
    said = 1 / (1 + np.exp(-power * odds))
    return np.column_stack([1 - said, said]), truth


@pytest.mark.parametrize("kind", ["isotonic", "sigmoid"])
def test_calibrated_probabilities_are_what_is_observed(kind: Any) -> None:
    """Those of another half of the rows, and one half in the odds is the slope that undoes a square."""
    chance, truth = stated()
    kept = calibration(kind, chance[:2_000], truth[:2_000])
    before, after = (
        metrics.calibration(truth[2_000:], each) for each in (chance[2_000:], kept.calibrated(chance[2_000:]))
    )
    assert after < 0.5 * before
    np.testing.assert_allclose(kept.calibrated(chance).sum(axis=1), 1)
    if kind == "sigmoid":
        assert kept.slope[0] == pytest.approx(0.5, abs=0.06)


def test_isotonic_is_scikit_learns() -> None:
    """The line that is kept is the one that it fits."""
    chance, truth = stated(600)
    kept = calibration("isotonic", chance, truth).calibrated(chance)[:, 1]
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(chance[:, 1], truth).predict(chance[:, 1])
    np.testing.assert_allclose(kept, theirs, atol=1e-12)


def test_more_classes_are_calibrated_each_and_sum_to_one() -> None:
    """Also where all of them are thought impossible."""
    random = np.random.default_rng(1)
    chance = random.dirichlet([1, 1, 1], 900)
    truth = (random.random((900, 1)) > chance.cumsum(axis=1)).sum(axis=1).clip(0, 2).astype(float)
    for kind in ("isotonic", "sigmoid"):
        kept = calibration(kind, chance, truth)
        np.testing.assert_allclose(kept.calibrated(chance).sum(axis=1), 1)
    scorer: Any = SimpleNamespace(score=lambda rows: chance, form="trees", reason="exact")
    np.testing.assert_array_equal(CalibratedScorer(scorer, kept).score(np.empty((900, 1))), kept.calibrated(chance))


def every(chance: Any, truth: Any, value: Any) -> float:
    """The best of all thresholds, one after another."""
    return max(value(truth, chance[:, 1] >= at) for at in np.unique(chance[:, 1]))


BEST = {
    "f1": (Threshold(metric="f1"), lambda t, said: sk.f1_score(t, said, zero_division=0)),
    "accuracy": (Threshold(metric="accuracy"), sk.accuracy_score),
    "balanced": (Threshold(metric="balanced_accuracy"), sk.balanced_accuracy_score),
    "cost": (
        Threshold(cost=Costs(miss=5, false_alarm=1)),
        lambda t, said: -5 * int(((t == 1) & ~said).sum()) - int(((t == 0) & said).sum()),
    ),
    "recall-at-precision": (
        Threshold(precision=0.7),
        lambda t, said: sk.recall_score(t, said) if sk.precision_score(t, said, zero_division=0) >= 0.7 else -1,
    ),
}


@pytest.mark.parametrize("asked", BEST)
def test_a_threshold_is_the_best_of_all(asked: str) -> None:
    """By scikit-learn's own figure of every threshold there is."""
    chance, truth = stated(300)
    wanted, value = BEST[asked]
    found = threshold(wanted, chance[:, 1], truth)
    assert value(truth, chance[:, 1] >= found) == pytest.approx(every(chance, truth, value))


def test_figures_judge_what_is_answered() -> None:
    """F1, accuracy and recall are of the threshold's answers; AUC and log loss are of probabilities."""
    chance, truth = stated(300)
    said = Said.of(chance, Judgement(threshold=0.2))
    seen, plain = metrics.compute("classification", truth, said), metrics.compute("classification", truth, chance)
    assert seen["f1"] == pytest.approx(sk.f1_score(truth, chance[:, 1] >= 0.2))
    assert (seen["roc_auc"], seen["log_loss"]) == (plain["roc_auc"], plain["log_loss"])
    assert seen["f1"] != plain["f1"]


def test_a_project_is_told_what_it_cannot_have() -> None:
    """Intervals of classes, thresholds of numbers, coverage without intervals, more than the rows can say."""
    for words, given, rules in (
        ("is for a target of numbers", Besides(interval=0.9), YESNO),
        ("two classes, seen numbers", Besides(threshold=Threshold(at=0.4)), RULES),
        ("probabilities: isotonic is for", Besides(probabilities="isotonic"), RULES),
        ("whole percent", Besides(interval=0.905), RULES),
    ):
        with pytest.raises(ConfigError, match=words):
            given.check_says(rules, [])
    with pytest.raises(ConfigError, match="interval: missing"):
        Besides().check_says(RULES, ["coverage"])
    rows = pl.DataFrame({"id": [str(k) for k in range(15)], "at": ["2026-01-01"] * 15})
    x, rule = (
        np.random.default_rng(0).normal(size=(15, 1)),
        SplitRule(policy=SplitPolicy(by="random", holdout=0.2), seed=0),
    )
    with pytest.raises(DataError, match="needs at least 19 training rows"):
        said_besides(
            Says(interval=0.9), (rows, RULES, rule.model_dump_json(), x, x[:, 0]), lambda some: lambda m: m[:, 0]
        )
