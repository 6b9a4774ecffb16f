"""The search over families: what fits the table wins, within its time, the same each time, and one row stays fast."""

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.data.split import SplitPolicy
from components.data.tables import matrix_and_target
from components.modelling.checking import check_model
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.kinds import FAMILIES
from components.modelling.mixtures import Member, Mixture, fit_recipe, named
from components.modelling.recipes import AUTO
from components.modelling.search import portfolio
from components.modelling.search.auto import MEMBERS, MOST_TREES, chosen, tune_families
from components.modelling.search.progress import Progress
from components.modelling.search.tuning import Search, check_search
from components.modelling.search.tuning_values import Tuning
from components.modelling.training import predict
from serving.bundle.model_file import load_model, write_model
from serving.contract import Contract
from serving.errors import ConfigError
from serving.scoring.blend import BlendedScorer
from serving.scoring.compile import compile_pipeline, from_bytes, to_bytes

COLUMNS = {
    "area": {"type": "float"},
    "age": {"type": "float", "nullable": True},
    "kind": {"type": "category", "values": ["house", "flat", "hut"]},
}
PRICES = Contract.model_validate({"columns": COLUMNS, "target": {"name": "y", "unit": "EUR"}})
SOLD = Contract.model_validate({"columns": COLUMNS, "target": {"name": "y", "classes": ["no", "yes"]}})
OPEN = ModelSpec.model_validate(AUTO)


def table(contract: Contract, n: int = 240) -> pl.DataFrame:
    random = np.random.default_rng(1)
    area, age, kind = random.uniform(1, 9, n), random.uniform(0, 9, n), random.integers(0, 3, n)
    score = np.exp(0.5 * area + kind + random.normal(0, 0.1, n))
    told = np.where(score > np.median(score), "yes", "no").tolist() if contract.target.classes else score
    return pl.DataFrame(
        {"area": area, "age": age, "kind": np.array(["house", "flat", "hut"])[kind].tolist(), "y": told}
    )


def run(contract: Contract, trials: int = 6, **more: Any) -> Tuning:
    return tune_families(
        table(contract), contract, FeatureSpec(), OPEN, Search(trials=trials), SplitPolicy(), 3, **more
    )


def timeless(result: Tuning) -> Any:
    return [(trial.params, trial.value) for trial in result.trials], result.best_params


@pytest.mark.parametrize("contract", [PRICES, SOLD], ids=["numbers", "classes"])
def test_a_search_over_families_is_the_same_twice_and_its_model_is_served_exactly(contract: Contract) -> None:
    """Trials, the mixture, its model, the file of it and the fast form."""
    first, second = run(contract), run(contract)
    assert timeless(first) == timeless(second)
    assert Tuning.model_validate_json(first.model_dump_json()) == first
    matrix, target = matrix_and_target(table(contract), contract)
    pipeline = fit_recipe(matrix, target, contract, FeatureSpec(), OPEN, 3, first.best_params)
    answer = predict(pipeline, contract, matrix)
    assert predict(load_model(write_model(pipeline)), contract, matrix).tobytes() == answer.tobytes()
    fast = compile_pipeline(pipeline, contract)
    off = np.abs(fast.score(matrix) - answer).reshape(len(matrix), -1).max(axis=1)  # type: ignore[union-attr]  # has one
    assert (off <= fast.tolerance(matrix)).all()  # type: ignore[union-attr]  # as above


def test_a_skewed_target_is_learned_by_its_logarithm() -> None:
    """A price that is exponential in its columns is learned as such, and its error is far below the first trial's."""
    result = run(PRICES)
    assert any(one["target"] == "log" for one in result.best_params["members"])
    assert result.best_score is not None
    assert result.baseline_score is not None
    assert result.best_score < 0.8 * result.baseline_score


def test_the_time_limit_ends_the_search_and_something_is_found() -> None:
    """Even where no time is left from the beginning, one member was fitted."""
    ticks = itertools.count(0, 1000)
    result = run(PRICES, progress=Progress(clock=lambda: next(ticks)))
    assert result.timed_out
    assert len(result.trials) == 1
    assert len(result.best_params["members"]) == 1


def test_a_mixture_of_many_is_one_model_of_few_trees() -> None:
    """At most so many members and trees, whose weights add up to 1."""
    mixture = Mixture.model_validate(run(PRICES, trials=12).best_params)
    assert 1 <= len(mixture.members) <= MEMBERS
    assert sum(one.weight for one in mixture.members) == pytest.approx(1)
    trees = sum(one.seeds * one.params.get(FAMILIES[one.family].rounds, 0) for one in mixture.members)
    assert trees <= MOST_TREES


def test_members_of_several_kinds_are_one_fast_form() -> None:
    """Trees of a log, a line and a forest side by side: equal to the pipelines' own mean, from the file too."""
    members = (
        Member(family="lightgbm", params={"n_estimators": 20}, target="log", native=True, weight=0.5, seeds=2),
        Member(family="ridge", weight=0.25),
        Member(family="random_forest", params={"n_estimators": 5}, weight=0.25),
    )
    params = Mixture(members=members).model_dump(mode="json")
    matrix, target = matrix_and_target(table(PRICES), PRICES)
    pipeline = fit_recipe(matrix, target, PRICES, FeatureSpec(), OPEN, 3, params)
    fast = compile_pipeline(pipeline, PRICES)
    assert isinstance(fast, BlendedScorer)
    assert len(fast.members) == 4
    again = from_bytes(to_bytes(fast), PRICES)
    off = np.abs(again.score(matrix) - predict(pipeline, PRICES, matrix))
    assert (off <= again.tolerance(matrix)).all()
    assert named(OPEN, params) == "lightgbm of log (50%), ridge (25%), random_forest (25%)"


def test_without_the_extras_scikit_learn_is_searched(monkeypatch: Any) -> None:
    """And what is missing can be said."""
    monkeypatch.setattr(portfolio.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]  # module
    assert portfolio.missing() == ("lightgbm", "xgboost", "catboost")
    families = {trial.params["family"] for trial in run(PRICES, trials=8).trials}
    assert {"hist_gradient_boosting", "ridge"} <= families <= {"hist_gradient_boosting", "ridge", "extra_trees"}


def test_what_cannot_be_said_without_a_family_is_refused() -> None:
    """Parameters and spaces belong to a family."""
    with pytest.raises(ConfigError, match=r"model.params: of no use without a family"):
        ModelSpec(family=AUTO, params={"alpha": 1})
    with pytest.raises(ConfigError, match=r"search.space: of no use without a family"):
        check_search(Search(space={"alpha": {"log": (0.1, 1.0)}}), OPEN, PRICES)
    with pytest.raises(ConfigError, match=r"model.target: is for a target of numbers"):
        check_model(ModelSpec(family=AUTO, target="log"), FeatureSpec(), SOLD)


def test_nothing_that_could_be_fitted_is_told_with_the_reason() -> None:
    """A search that found nothing gives no model."""
    from components.judging import metrics
    from components.modelling.search.auto import Tried
    from components.modelling.search.folds import Fold
    from components.modelling.search.ground import Ground

    matrix, target = matrix_and_target(table(PRICES), PRICES)
    fold = Fold(np.arange(100), np.arange(100, 240))
    ground = Ground(matrix, target, PRICES, FeatureSpec(), OPEN, 0, metrics.get("rmse"), [fold])
    with pytest.raises(ConfigError, match="no family could be fitted: so it is"):
        chosen(ground, [Tried(Member(family="ridge"), np.inf, failure="so it is")])


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "f1"])
@pytest.mark.parametrize("straight", [True, False])
def test_the_penalty_of_a_line_is_looked_for_where_it_is_promising(metric: str, straight: bool) -> None:
    """By a figure that is to be small and by those that are to be large."""
    random = np.random.default_rng(4)
    x = random.normal(size=(300, 2))
    score = x[:, 0] + 0.5 * x[:, 1] if straight else np.abs(x[:, 0]) - 0.67
    made = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": np.where(score > 0, "yes", "no").tolist()})
    numbers = {"columns": {"a": {"type": "float"}, "b": {"type": "float"}}}
    contract = Contract.model_validate({**numbers, "target": {"name": "y", "classes": ["no", "yes"]}})
    wanted = Search(trials=6, metric=metric)
    found = tune_families(made, contract, FeatureSpec(), OPEN, wanted, SplitPolicy(), 3)
    penalties = {one.params["C"] for one in found.trials if one.params["family"] == "logistic_regression"}
    assert (len(penalties) > 1) == straight
