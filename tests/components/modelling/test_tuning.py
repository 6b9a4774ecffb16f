"""Tuning: repeatable, never worse than the project's own parameters, and on training rows alone."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data.split import SplitPolicy
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.search.folds import choose_folds
from components.modelling.search.progress import Progress
from components.modelling.search.tuning import Search, tune
from components.modelling.search.tuning_values import Tuning
from serving.contract import Contract
from serving.errors import ConfigError

CONTRACT = Contract.model_validate(
    {"columns": {"a": {"type": "float"}, "b": {"type": "float"}}, "target": {"name": "y", "unit": "EUR"}}
)
TIMED = CONTRACT.model_copy(update={"event_time": "at"})
CLASSES = Contract.model_validate(
    {"columns": {"a": {"type": "float"}, "b": {"type": "float"}}, "target": {"name": "c", "classes": ["n", "p"]}}
)
RIDGE = ModelSpec(family="ridge", params={"alpha": 3.0})
SPACE = {"alpha": {"log": [0.001, 1000]}, "fit_intercept": {"choice": [True, False]}}
TREE = ModelSpec(family="decision_tree")
TREES = {"max_depth": {"int": [1, 8]}, "min_samples_leaf": {"int": [1, 30]}, "ccp_alpha": {"float": [0.0, 0.1]}}


def table(n: int = 120) -> pl.DataFrame:
    random = np.random.default_rng(0)
    a, b = random.normal(size=n), random.normal(size=n)
    y = 3 * a - b + 10 + random.normal(0, 0.5, n)
    at = pd.to_datetime("2025-01-01") + pd.to_timedelta(random.permutation(n), unit="D")
    return pl.DataFrame(
        {
            "a": a,
            "b": b,
            "y": y,
            "c": np.where(a > 0, "p", "n").tolist(),
            "at": at.to_numpy(),
            "key": random.integers(0, 20, n),
        }
    )


def search(trials: int = 6, space: Any = SPACE, **more: Any) -> Search:
    return Search(trials=trials, timeout="1h", space=space, **more)


def run(contract: Contract = TIMED, model: ModelSpec = RIDGE, wanted: Search | None = None, **more: Any) -> Tuning:
    return tune(
        table(), contract, FeatureSpec(), model, wanted or search(), by(contract), seed=more.pop("seed", 7), **more
    )


def by(contract: Contract) -> SplitPolicy:
    return SplitPolicy(by="time" if contract.event_time else "random")


def timeless(result: Tuning) -> dict[str, Any]:
    return result.model_dump(exclude={"trials": {"__all__": {"seconds", "started"}}})


@pytest.mark.parametrize(
    ("contract", "model", "space"),
    [
        pytest.param(TIMED, RIDGE, SPACE, id="by-time"),
        pytest.param(CONTRACT, TREE, TREES, id="in-folds"),
        pytest.param(CLASSES, TREE, TREES, id="classification"),
    ],
)
def test_a_search_gives_the_same_trials_twice(contract: Contract, model: ModelSpec, space: Any) -> None:
    """Same rows and seed: same parameters and values in every trial, and the same result but for the seconds."""
    first, second = (run(contract, model, search(8, space)) for _ in range(2))
    assert [(t.params, t.value) for t in first.trials] == [(t.params, t.value) for t in second.trials]
    assert timeless(first) == timeless(second)
    ends = [t.started + timedelta(seconds=t.seconds - 0.01) for t in first.trials if t.started]
    assert len(ends) == len(first.trials)
    assert all(end <= after.started for end, after in zip(ends, first.trials[1:], strict=False) if after.started)
    assert timeless(run(contract, model, search(8, space), seed=8)) != timeless(first)


def test_the_first_trial_is_the_project_itself() -> None:
    """Its parameters are the project's, inside the space or not, and it sets the score to beat."""
    result = run()
    assert result.trials[0].params == {"alpha": 3.0, "fit_intercept": True}
    assert result.baseline_score == result.trials[0].value
    unbounded = run(CONTRACT, TREE, search(4, TREES))
    assert unbounded.trials[0].params["max_depth"] is None


@pytest.mark.parametrize(("metric", "best"), [("rmse", min), ("r2", max), ("bias", lambda v: min(v, key=abs))])
def test_the_best_is_the_best_in_the_metrics_direction(metric: str, best: Any) -> None:
    """Smallest error, highest score, or smallest size of a signed one; so never worse than the default."""
    result = run(wanted=search(8, metric=metric))
    assert result.best_score == best([trial.value for trial in result.trials])


def test_when_nothing_beats_the_default_nothing_is_changed() -> None:
    """A search among equals returns no parameters, so the project's own stay."""
    result = run(wanted=search(4, {"tol": {"choice": [1e-4, 1e-5]}}))
    assert {trial.value for trial in result.trials} == {result.baseline_score}
    assert result.best_params == {}


def test_a_bad_default_is_beaten() -> None:
    """A far too strong penalty is found and removed."""
    result = run(model=ModelSpec(family="ridge", params={"alpha": 900.0}), wanted=search(12))
    assert result.best_score is not None
    assert result.baseline_score is not None
    assert result.best_score < 0.8 * result.baseline_score
    assert result.sentence.startswith("12 trials, best RMSE ")


def test_an_empty_space_is_skipped() -> None:
    """No trial, no parameters, and a sentence for the progress line."""
    result = run(wanted=Search())
    assert (result.skipped, result.best_params, result.sentence) == (True, {}, "skipped: the search space is empty")


def test_the_time_limit_ends_the_search_and_is_told() -> None:
    """The first trial runs whatever the limit; the result says that it was cut."""
    ticks: Iterator[float] = iter(range(0, 30_000, 3))
    wanted = Search(trials=50, timeout="10s", space=SPACE)
    result = run(wanted=wanted, progress=Progress(clock=lambda: next(ticks)))
    assert result.timed_out
    assert 1 <= len(result.trials) < 10
    assert "ended by the time limit" in result.sentence
    assert len(run(wanted=Search(trials=50, timeout="1ms", space=SPACE)).trials) == 1


def test_a_trial_that_cannot_be_fitted_is_told_and_passed_over() -> None:
    """An impossible combination costs its trial, not the search."""
    model = ModelSpec(family="logistic_regression")
    space = {"l1_ratio": {"choice": [0.5, 1.0]}, "solver": {"choice": ["lbfgs", "saga"]}}
    result = run(CLASSES, model, search(8, space))
    failed = [trial for trial in result.trials if trial.value is None]
    assert failed
    assert all("cannot be fitted" in trial.failure for trial in failed)
    assert f"8 trials, {len(failed)} of them failed, best" in result.sentence
    assert result.best_score is not None


def test_a_result_survives_json() -> None:
    """Read back it is equal."""
    result = run()
    assert Tuning.model_validate_json(result.model_dump_json()) == result


def test_a_search_survives_json() -> None:
    """A search travels to its pipeline step as text."""
    wanted = search(metric="mae")
    assert Search.model_validate_json(wanted.model_dump_json()) == wanted


NO_CLASSES = np.zeros(120)  # a regression divides its rows whatever their target is


def test_rows_with_a_time_are_validated_on_the_newest_fifth() -> None:
    """No fitted row is newer than a validated one, whatever the order of the table."""
    folds, words = choose_folds(table(), NO_CLASSES, by(TIMED), TIMED, seed=1)
    at = table()["at"].to_numpy()
    for fold in folds:
        assert at[fold.rows].max() < at[fold.held].min()
    assert [(len(fold.rows), len(fold.held)) for fold in folds] == [(96, 24), (77, 19), (62, 15)]
    assert not set(folds[0].held) & set(folds[1].held)
    assert words == "the newest 20% of the training rows by at, then the newest of those left, 3 times"


@given(
    rows=st.integers(30, 120),
    things=st.integers(2, 60),
    days=st.integers(2, 40),
    rare=st.integers(1, 9),
    policy=st.sampled_from(
        [SplitPolicy(by="time"), SplitPolicy(by="random"), SplitPolicy(by="group"), SplitPolicy(by="group", group="g")]
    ),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_the_search_is_cut_as_the_holdout_is(
    rows: int, things: int, days: int, rare: int, policy: SplitPolicy, seed: int
) -> None:
    """No key or group on both sides of a fold, what validates is newer by time, and every class is fitted."""
    contract = CLASSES.model_copy(update={"key": "key", "event_time": "at"})
    random = np.random.default_rng(seed)
    target = (np.arange(rows) < rare).astype(float)
    made = pl.DataFrame(
        {
            "key": random.integers(0, things, rows),
            "g": random.integers(0, 9, rows),
            "at": pl.Series(random.integers(0, days, rows) * 86_400_000_000).cast(pl.Datetime("us")),
            "a": random.normal(size=rows),
            "b": random.normal(size=rows),
            "c": np.where(target > 0, "p", "n").tolist(),
        }
    )
    try:
        folds, _ = choose_folds(made, target, policy, contract, seed)
    except ConfigError as error:
        assert "on both sides" in str(error)  # noqa: PT017  # some tables have no such cut, and then it is said
        return
    for fitting, validation in ((fold.rows, fold.held) for fold in folds):
        assert not set(made["key"][fitting]) & set(made["key"][validation])
        assert policy.group is None or not set(made["g"][fitting]) & set(made["g"][validation])
        assert policy.by != "time" or made["at"][fitting].max() < made["at"][validation].min()
        assert set(target[fitting]) == set(target[validation]) == {0.0, 1.0}


def test_the_search_does_not_choose_the_model_that_remembers() -> None:
    """A column that names the home tells its price; on homes never seen a deep tree that learned the names is worse."""
    contract = TIMED.model_copy(update={"key": "key"})
    random = np.random.default_rng(3)
    home = random.integers(0, 150, 600)
    worth = random.normal(0, 100, 150)
    made = pl.DataFrame(
        {
            "key": home,
            "at": pl.Series(np.arange(600) * 86_400_000_000).cast(pl.Datetime("us")),
            "a": random.normal(size=150)[home],
            "b": np.zeros(600),
            "y": worth[home],
        }
    )
    model = ModelSpec(family="decision_tree", params={"max_depth": 1})
    wanted = search(4, {"max_depth": {"choice": [1, 30]}})
    result = tune(made, contract, FeatureSpec(), model, wanted, by(contract), seed=1)
    assert result.best_params.get("max_depth", 1) == 1
    assert result.best_score is not None
    assert result.best_score > 50  # what is promised is what homes never seen get


@pytest.mark.parametrize(
    ("space", "words"),
    [
        pytest.param({"alpha": {"log": [0, 1]}}, "space.alpha.log: expected two numbers above 0", id="log-of-zero"),
        pytest.param({"alpha": {"float": [2, 1]}}, "low < high", id="upside-down"),
        pytest.param({"max_iter": {"int": [1.5, 3]}}, "two whole numbers", id="half-an-int"),
        pytest.param({"alpha": {"float": [1, 2], "log": [1, 2]}}, "exactly one of", id="two-kinds"),
        pytest.param({"solver": {"choice": []}}, "choice: expected a list of texts", id="no-choice"),
        pytest.param({"alpah": {"float": [1, 2]}}, "search.space.alpah: expected a parameter of ridge", id="unknown"),
        pytest.param({"random_state": {"int": [1, 2]}}, "project's 'seed'", id="seeds-are-not-searched"),
    ],
)
def test_impossible_spaces_are_refused(space: Any, words: str) -> None:
    """The message names the key, what it needs and what it met."""
    with pytest.raises(ConfigError, match=words):
        run(wanted=search(space=space))


@pytest.mark.parametrize(
    ("contract", "metric"), [pytest.param(TIMED, "f1", id="other-task"), pytest.param(TIMED, "rsme", id="unknown")]
)
def test_impossible_metrics_are_refused(contract: Contract, metric: str) -> None:
    """A regression is not searched by F1."""
    with pytest.raises(ConfigError, match=r"search\.metric: expected a metric"):
        run(contract, wanted=search(metric=metric))


def test_defaults_that_cannot_be_fitted_end_the_search() -> None:
    """With nothing to compare against there is no search."""
    with pytest.raises(ConfigError, match=r"own parameters cannot be searched from.*alpha"):
        run(
            model=ModelSpec(family="ridge", params={"alpha": -1.0}), wanted=search(space={"tol": {"log": [1e-5, 1e-3]}})
        )
