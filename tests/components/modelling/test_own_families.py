"""Families of installed packages: fitted, searched and stored as ours, and refused in words when a project is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.data.split import SplitPolicy
from components.modelling.checking import check_model
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.recipes import Recipe
from components.modelling.search.tuning import Search, check_search, tune
from components.modelling.training import fit, predict
from serving.bundle.model_file import needed_by, write_model
from serving.contract import Contract, Matrix
from serving.errors import ConfigError
from serving.scoring.compile import CompiledScorer, compile_pipeline

CONTRACT = Contract.model_validate({"columns": {"area": {"type": "float"}}, "target": {"name": "y"}})
CLASSES = Contract.model_validate(
    {"columns": {"area": {"type": "float"}}, "target": {"name": "y", "classes": ["no", "yes"]}}
)

# More offers, beside that of the example.
MORE = """
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC

def line(penalty=1.0):
    return make_pipeline(MinMaxScaler(), Ridge(alpha=penalty))

def wood(trees=3):
    return make_pipeline(MinMaxScaler(), ExtraTreesRegressor(trees, max_features=0.5))

def leaves(trees=3):
    from lightgbm import LGBMRegressor
    return make_pipeline(MinMaxScaler(), LGBMRegressor(n_estimators=trees, n_jobs=1, verbose=-1))

def odds(strength=1.0):
    return make_pipeline(MinMaxScaler(), LogisticRegression(C=strength))

def near(k=3):
    return KNeighborsRegressor(k)

def sure():
    return LinearSVC()

def scaler():
    return MinMaxScaler()

def needy(size):
    return Ridge(size)

def broken():
    raise OSError("no licence")

class Stubborn(Ridge):
    def fit(self, X, y, sample_weight=None):
        raise KeyError("nothing fits")

class Mute(Ridge):
    def predict(self, X):
        raise KeyError("nothing is said")

class Column(Ridge):
    def predict(self, X):
        return super().predict(X)[:, None]

class Empty(Ridge):
    def predict(self, X):
        return super().predict(X) * float("nan")

class Points(LogisticRegression):
    def predict_proba(self, X):
        return self.decision_function(X)[:, None] * [-1, 1]

class Backwards(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y)
        self.classes_ = self.classes_[::-1].copy()
        return self
"""

BAD = ["Stubborn", "Mute", "Column", "Empty", "Points", "Backwards"]


@pytest.fixture(autouse=True)
def offers(installed: Path) -> None:
    """The example with ``MORE``; ``ridge`` is the name of one of ours."""
    (installed / "shoreline" / "more.py").write_text(MORE)
    names = ["line", "wood", "leaves", "odds", "near", "sure", "scaler", "needy", "broken"]
    lines = [f"{name} = shoreline.more:{name}" for name in names]
    lines += [f"{name.lower()} = shoreline.more:{name}" for name in BAD]
    lines += ["ridge = shoreline.more:line", "auto = shoreline.more:line"]
    with (next(installed.glob("*.dist-info")) / "entry_points.txt").open("a") as file:
        file.write("\n[slipway.families]\n" + "\n".join(lines) + "\n")


def rows(n: int = 240) -> tuple[Matrix, Any]:
    """An area, and a target that steps at its quarters."""
    area = np.random.default_rng(4).permutation(np.linspace(0.1, 99.9, n))
    return area[:, None], np.floor(area / 25) * 10.0


def said(model: dict[str, Any], contract: Contract = CONTRACT, **more: Any) -> tuple[Any, Any]:
    matrix, target = rows()
    target = target if contract is CONTRACT else (target > 10).astype(float)
    spec = ModelSpec.model_validate(model)
    check_model(spec, FeatureSpec(), contract)
    pipeline = fit(matrix, target, contract, FeatureSpec(), spec, 7, **more)
    return pipeline, predict(pipeline, contract, matrix)


def test_params_are_arguments_and_a_search_finds_better_ones() -> None:
    """Four steps of the target need four bands at least; the first trial is what the package has by default."""
    matrix, target = rows()
    one, many = (said({"family": "bands", "params": {"bands": n}})[1] for n in (1, 4))
    assert np.unique(one).size == 1
    assert np.abs(many - target).mean() < 1 < np.abs(one - target).mean()

    search = Search.model_validate({"trials": 5, "space": {"bands": {"int": (1, 3)}}})
    table = pl.DataFrame({"area": matrix[:, 0], "y": target})
    spec, policy = ModelSpec(family="bands", params={"bands": 1}), SplitPolicy(by="random")
    found = tune(table, CONTRACT, FeatureSpec(), spec, search, policy, 7)

    assert found.trials[0].params == {"bands": 1}
    assert found.best_params["bands"] > 1
    assert found.best_score is not None
    assert found.baseline_score is not None
    assert found.best_score < found.baseline_score


def test_a_search_takes_the_defaults_of_a_function() -> None:
    """Which are arguments of it and no parameters of the Pipeline that it gives."""
    matrix, target = rows()
    search = Search.model_validate({"trials": 2, "space": {"penalty": {"log": (0.1, 10.0)}}})
    table = pl.DataFrame({"area": matrix[:, 0], "y": target})
    found = tune(table, CONTRACT, FeatureSpec(), ModelSpec(family="line"), search, SplitPolicy(by="random"), 7)

    assert found.trials[0].params == {"penalty": 1.0}
    assert all(trial.value is not None for trial in found.trials)


@pytest.mark.parametrize("family", ["line", "leaves"])
def test_what_leaves_nothing_of_the_package_in_the_model_is_fast(family: str) -> None:
    """A server needs no package then, nor the library whose trees end the Pipeline."""
    pipeline, answers = said({"family": family})

    scorer = compile_pipeline(pipeline, CONTRACT)

    assert isinstance(scorer, CompiledScorer)
    np.testing.assert_allclose(scorer.score(rows()[0]), answers, rtol=1e-12)
    assert needed_by(write_model(pipeline)) == ()


def test_the_facts_of_a_bundle_name_who_offers_its_parts(tmp_path: Path) -> None:
    """By package, version and digest, whatever is left of it in the model; nothing where all is ours."""
    (tmp_path / "contract.json").write_text(CONTRACT.model_dump_json())

    def facts(family: str) -> dict[str, Any]:
        model, contract = json.dumps({"family": family}), str(tmp_path / "contract.json")
        return Recipe(model, "{}", contract, 7, "{}", "{}", {"commit": "abc"}).facts(10)

    (maker,) = facts("line")["made_by"]
    assert (maker["package"], maker["version"], len(maker["sha256"])) == ("shoreline", "1.2.0", 64)
    assert "made_by" not in facts("lasso")


def test_seeds_are_the_project_s_wherever_they_are() -> None:
    """Also of a step of a Pipeline."""
    first, second = (said({"family": "wood"}) for _ in range(2))
    assert first[0][-1][-1].random_state == 7
    assert first[1].tolist() == second[1].tolist()


def test_a_classifier_gives_probabilities() -> None:
    """Of classes in the contract's order."""
    _, answers = said({"family": "odds", "params": {"strength": 100.0}}, CLASSES)
    area = rows()[0][:, 0]
    assert answers[np.argmax(area), 1] > 0.9 > 0.1 > answers[np.argmin(area), 1]


def test_weights_reach_the_end_of_a_pipeline() -> None:
    """Rows that count nothing change nothing."""
    area, target = rows()[0][:, 0], rows()[1]
    upper = (area > 50).astype(float)
    _, alone = said({"family": "line", "params": {"penalty": 1e-9}}, weights=upper)
    expected = np.polyval(np.polyfit(area[area > 50], target[area > 50], 1), area)
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        pytest.param({"family": "bends"}, "model.family: expected auto or one of .*, bands, .*seen 'bends'", id="name"),
        pytest.param({"family": "bands", "params": {"band": 3}}, "params.band: expected .* one of bands", id="param"),
        pytest.param({"family": "bands", "params": {"bands": 0}}, "model.params: bands cannot be fitted", id="value"),
        pytest.param({"family": "wood", "params": {"random_state": 3}}, "it is the project's 'seed'", id="seed"),
        pytest.param({"family": "bands", "weights": {"column": "w"}}, "Bands takes no weights of rows", id="weights"),
        pytest.param({"family": "near"}, "model.family: a bundle cannot hold .*KNeighborsRegressor", id="no-bundle"),
        pytest.param({"family": "scaler"}, "scaler, of .*: expected an estimator .*got MinMaxScaler", id="no-model"),
        pytest.param({"family": "sure"}, "predict_proba; got LinearSVC", id="no-probabilities"),
        pytest.param({"family": "needy"}, "needy, of shoreline.more:needy, cannot be made", id="needs-arguments"),
        pytest.param({"family": "broken"}, "cannot be made: .*no licence", id="raises"),
        pytest.param({"family": "stubborn"}, "stubborn cannot be fitted .*nothing fits", id="raises-in-its-fit"),
        pytest.param({"family": "odds"}, "odds has no regression; expected one of", id="task"),
        pytest.param({"family": "ridge"}, "ridge is a family of Slipway's.*another name", id="name-of-ours"),
        pytest.param("auto", "auto is a family of Slipway's", id="auto"),
    ],
)
def test_a_mistake_is_told_when_the_project_is_read(model: Any, told: str) -> None:
    """In one sentence, by its key."""
    with pytest.raises(ConfigError, match=told) as refusal:
        check_model(ModelSpec.model_validate(model), FeatureSpec(), CONTRACT)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("family", "contract", "told"),
    [
        ("mute", CONTRACT, "cannot predict the rows of its fit: .*nothing is said"),
        ("column", CONTRACT, r"expected as many numbers, .* of shape \(64, 1\)"),
        ("empty", CONTRACT, r"expected as many numbers, .*answers \[nan, nan"),
        ("points", CLASSES, "expected as many probabilities"),
        ("backwards", CLASSES, "in the order of ascending classes_"),
    ],
)
def test_what_it_says_of_rows_is_tried_when_the_project_is_read(family: str, contract: Contract, told: str) -> None:
    """Before a search begins, of which every trial would end so, or would be judged by other rows' answers."""
    with pytest.raises(ConfigError, match=f"^model.family: .*{told}"):
        check_model(ModelSpec(family=family), FeatureSpec(), contract)


@pytest.mark.usefixtures("offered_twice")
def test_a_name_that_two_packages_offer_is_refused() -> None:
    """Whichever is found last would make the model; what else they offer is as it was."""
    seen = "is offered under .* as shoreline.* of shoreline and tideline.* of tideline: expected one"
    with pytest.raises(ConfigError, match=f"model.family: bands {seen}"):
        check_model(ModelSpec(family="bands"), FeatureSpec(), CONTRACT)
    with pytest.raises(ConfigError, match=f"features.own: shore {seen}"):
        check_model(ModelSpec(family="lasso"), FeatureSpec(own={"shore": ("area",)}), CONTRACT)
    assert said({"family": "odds"}, CLASSES)


def test_a_search_over_what_it_does_not_have_is_refused() -> None:
    """As of families of ours."""
    search = Search.model_validate({"space": {"depth": {"int": (1, 3)}}})
    with pytest.raises(ConfigError, match=r"search\.space\.depth: expected a parameter of bands"):
        check_search(search, ModelSpec(family="bands"), CONTRACT)
