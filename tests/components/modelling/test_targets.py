"""Targets: what is learned is bent, weighed or per unit, and what is answered is in the target's own unit, exactly."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.modelling.checking import check_model
from components.modelling.families import ModelSpec, Weights
from components.modelling.features import FeatureSpec
from components.modelling.kinds import FAMILIES
from components.modelling.targets import row_weights
from components.modelling.training import fit, predict
from serving.bundle.model_file import load_model, write_model
from serving.contract import Contract
from serving.durations import parse
from serving.errors import ConfigError, DataError, GateRefusal
from serving.scoring.bends import BENDS
from serving.scoring.compile import CompiledScorer, compile_pipeline, from_bytes, to_bytes

CONTRACT = Contract.model_validate(
    {
        "columns": {
            "area": {"type": "float", "range": [10, 500]},
            "age": {"type": "float", "nullable": True},
            "kind": {"type": "category", "values": ["house", "flat", "hut"]},
        },
        "target": {"name": "price", "unit": "EUR"},
        "event_time": "sold",
    }
)
CLASSES = CONTRACT.model_copy(update={"target": type(CONTRACT.target)(name="price", classes=("low", "high"))})
TREES: dict[str, Any] = {"hist_gradient_boosting": {"max_iter": 20}, "lightgbm": {"n_estimators": 20}}


def rows(n: int = 400, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """A price that grows with the area and has noise as a factor, so that its mean lies above its median."""
    random = np.random.default_rng(5)
    matrix = np.column_stack([random.uniform(10, 500, n), random.uniform(0, 90, n), random.integers(0, 3, n)])
    matrix[random.random(n) < 0.1, 1] = np.nan
    return matrix, np.exp(0.004 * matrix[:, 0] + matrix[:, 2] + random.normal(0, noise, n)) * 100


def trained(spec: ModelSpec, **more: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    matrix, target = rows()
    return fit(matrix, target, CONTRACT, FeatureSpec(), spec, 1, **more), matrix, target


@pytest.mark.parametrize("bend", BENDS)
@pytest.mark.parametrize("values", [[0.5, 1.0, 2.0, 300.0], [1e-3, 1.0, 1e6, 1e9]])
def test_a_bend_leads_back_to_where_it_came_from(bend: str, values: list[float]) -> None:
    """The way back undoes the way there."""
    target = np.array(values)
    numbers = BENDS[bend].fit(target)
    np.testing.assert_allclose(BENDS[bend].back(BENDS[bend].there(target, numbers), numbers), target, rtol=1e-6)


def test_yeo_johnson_leads_back_below_zero_too() -> None:
    """And at its two seams, exponents 0 and 2."""
    target = np.array([-30.0, -1.0, 0.0, 0.5, 20.0])
    for power in (-0.5, 0.0, 0.7, 2.0, 2.5):
        numbers = (power, 0.0, 1.0)
        there = BENDS["yeo-johnson"].there(target, numbers)
        np.testing.assert_allclose(BENDS["yeo-johnson"].back(there, numbers), target, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", ["ridge", "random_forest", *TREES])
@pytest.mark.parametrize(
    "asked",
    [
        *({"target": bend} for bend in BENDS),
        *({"target": bend, "smearing": True} for bend, one in BENDS.items() if one.smear),
        {"per": "area"},
        {"per": "area", "target": "log"},
        {"exposure": "area"},
    ],
    ids=str,
)
def test_library_file_and_fast_form_say_the_same(family: str, asked: dict[str, Any]) -> None:
    """To the last bit for trees, within the rounding of a sum for linear models, from memory and from file."""
    pipeline, matrix, _ = trained(ModelSpec(family=family, params=TREES.get(family, {}), **asked))
    expected = predict(pipeline, CONTRACT, matrix)
    compiled = compile_pipeline(pipeline, CONTRACT)
    assert isinstance(compiled, CompiledScorer)
    fast = from_bytes(to_bytes(compiled), CONTRACT)
    off = np.abs(fast.score(matrix) - expected)
    if family != "ridge":
        assert not off.any()
    assert (off <= fast.tolerance(matrix)).all()
    assert predict(load_model(write_model(pipeline)), CONTRACT, matrix).tobytes() == expected.tobytes()


def test_a_log_target_is_answered_in_the_targets_unit() -> None:
    """Where noise is a factor it is nearer, in its own unit, than the same model of the target itself."""
    matrix, target = rows(noise=0.1)
    off = {}
    for bend in ("none", "log"):
        pipeline = fit(matrix, target, CONTRACT, FeatureSpec(), ModelSpec(family="ridge", target=bend), 1)
        off[bend] = np.abs(predict(pipeline, CONTRACT, matrix) - target).mean()
    assert off["log"] < 0.5 * off["none"]


def test_smearing_turns_a_median_into_a_mean() -> None:
    """Without it a log target is too low on average, by a known factor; with it the bias is gone."""
    matrix, target = rows(4000, noise=0.8)
    ratio = {}
    for smearing in (False, True):
        spec = ModelSpec(family="ridge", target="log", smearing=smearing)
        ratio[smearing] = predict(fit(matrix, target, CONTRACT, FeatureSpec(), spec, 1), CONTRACT, matrix).mean()
    assert ratio[False] / target.mean() == pytest.approx(np.exp(-(0.8**2) / 2), abs=0.05)
    assert ratio[True] / target.mean() == pytest.approx(1.0, abs=0.05)


def test_a_price_per_area_is_multiplied_by_the_rows_own_area() -> None:
    """Twice the area at the same other columns doubles an answer that knows of the area only by the unit."""
    matrix, target = rows()
    spec = ModelSpec(family="decision_tree", params={"max_depth": 1, "max_features": 1}, per="area")
    pipeline = fit(matrix, target, CONTRACT, FeatureSpec(), spec, 3)
    one = np.array([[100.0, 10.0, 0.0]])
    first = predict(pipeline, CONTRACT, one)
    root = pipeline["model"].pipeline["model"].tree_
    if root.feature[0] == 0:  # the one test is of the area itself: stay on its side
        one[0, 0] = 100.0 if root.threshold[0] > 200 else 2 * root.threshold[0] + 1
        first = predict(pipeline, CONTRACT, one)
    twice = one * [2, 1, 1]
    if root.feature[0] == 0 and (one[0, 0] <= root.threshold[0]) != (twice[0, 0] <= root.threshold[0]):
        twice = one * [0.5, 1, 1]
    np.testing.assert_allclose(predict(pipeline, CONTRACT, twice) / first, twice[:, 0] / one[:, 0])


def test_an_exposure_is_an_offset_of_a_poisson_loss() -> None:
    """Counts over exposures of weight exposure have the gradients of counts with an offset: one rate is the total's."""
    matrix, _ = rows()
    counts = np.random.default_rng(1).poisson(0.03 * matrix[:, 0]).astype(float)
    params = {"objective": "poisson", "n_estimators": 1, "num_leaves": 2, "min_child_samples": 390}
    pipeline = fit(
        matrix, counts, CONTRACT, FeatureSpec(), ModelSpec(family="lightgbm", params=params, exposure="area"), 1
    )
    rate = predict(pipeline, CONTRACT, matrix) / matrix[:, 0]
    np.testing.assert_allclose(rate, counts.sum() / matrix[:, 0].sum(), rtol=1e-6)


@pytest.mark.parametrize("family", [name for name, one in FAMILIES.items() if "regression" in one.tasks])
def test_a_row_of_weight_two_is_two_rows(family: str) -> None:
    """Weights reach every family: rows of weight 0 leave no trace."""
    matrix, target = rows(200)
    params: dict[str, Any] = {**TREES.get(family, {}), **({"n_estimators": 5} if family == "random_forest" else {})}
    if family == "catboost":
        params = {"iterations": 20}
    weights = np.where(np.arange(200) < 100, 1.0, 0.0)
    spoilt = np.where(weights > 0, target, target * 50)
    pipeline = fit(matrix, spoilt, CONTRACT, FeatureSpec(), ModelSpec(family=family, params=params), 1, weights=weights)
    assert predict(pipeline, CONTRACT, matrix).max() < 5 * target.max()


def test_weights_come_from_a_column_or_from_the_age_of_a_row() -> None:
    """A row as old as the half life counts half of the newest."""
    newest = datetime(2026, 1, 31)
    sold, more = [newest - timedelta(days=days) for days in (0, 180, 360)], {"area": 20.0, "age": 1.0, "price": 5.0}
    table = pl.DataFrame({"sold": sold, "w": ["1", "0.5", "2"]}).with_columns(kind=pl.lit("flat"), **more)
    aged = ModelSpec(family="ridge", weights=Weights(half_life=parse("180d")))
    told = ModelSpec(family="ridge", weights=Weights(column="w"))
    assert np.asarray(row_weights(aged, table, CONTRACT)).tolist() == [1, 0.5, 0.25]
    assert np.asarray(row_weights(told, table, CONTRACT)).tolist() == [1, 0.5, 2]
    assert row_weights(ModelSpec(family="ridge"), table, CONTRACT) is None


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        pytest.param(["1", "-1"], "at least 0 in w, seen '-1' in training row 1", id="below-zero"),
        pytest.param(["1", "x"], "seen 'x' in training row 1", id="no-number"),
        pytest.param([1.0, None], "seen None in training row 1", id="missing"),
        pytest.param([0, 0], "w is 0 in every training row", id="none-counts"),
    ],
)
def test_weights_that_cannot_be_are_refused_with_their_row(cells: Any, words: str) -> None:
    """A weight decides what a model learns, so none is guessed."""
    spec = ModelSpec(family="ridge", weights=Weights(column="w"))
    with pytest.raises(DataError, match=words):
        row_weights(spec, pl.DataFrame({"w": cells}), CONTRACT)


@pytest.mark.parametrize(("bend", "value"), [("log", 0.0), ("log1p", -1.0), ("sqrt", -0.1)])
def test_a_target_that_cannot_be_bent_is_refused_with_its_row(bend: Any, value: float) -> None:
    """Where the contract states no range, the fit finds it."""
    matrix, target = rows(50)
    target[7] = value
    with pytest.raises(DataError, match=rf"model.target: {bend} needs price .*, seen {value:g} in training row 7"):
        fit(matrix, target, CONTRACT, FeatureSpec(), ModelSpec(family="ridge", target=bend), 1)


def ranged(low: float) -> Contract:
    return CONTRACT.model_copy(update={"target": type(CONTRACT.target)(name="price", range=(low, 1e9))})


@pytest.mark.parametrize(
    ("contract", "asked", "words"),
    [
        pytest.param(ranged(0), {"target": "log"}, "log needs a target above 0, and .* starts at 0", id="log-of-zero"),
        pytest.param(ranged(-1), {"target": "sqrt"}, "sqrt needs a target of at least 0", id="root-below-zero"),
        pytest.param(CLASSES, {"target": "log"}, "model.target: is for a target of numbers", id="log-of-classes"),
        pytest.param(CLASSES, {"per": "area"}, "model.per: is for a target of numbers", id="classes-per-unit"),
        pytest.param(CONTRACT, {"per": "aera"}, "model.per: no column 'aera'", id="unit-unknown"),
        pytest.param(CONTRACT, {"exposure": "age"}, "model.exposure: age divides the target", id="unit-with-gaps"),
        pytest.param(
            CONTRACT.model_copy(update={"event_time": None}),
            {"weights": Weights(half_life=parse("90d"))},
            "model.weights.half_life: needs contract.event_time",
            id="age-without-time",
        ),
    ],
)
def test_what_the_contract_cannot_give_is_refused_when_it_is_read(
    contract: Contract, asked: dict[str, Any], words: str
) -> None:
    """Before a row is looked at."""
    family = "ridge" if contract.task == "regression" else "logistic_regression"
    with pytest.raises(ConfigError, match=words):
        check_model(ModelSpec(family=family, **asked), FeatureSpec(), contract)


@pytest.mark.parametrize(
    "asked", [{"per": "area", "exposure": "area"}, {"smearing": True}, {"smearing": True, "target": "yeo-johnson"}]
)
def test_keys_that_rule_each_other_out_are_refused(asked: dict[str, Any]) -> None:
    """One division, and smearing only where there is a mean to give."""
    with pytest.raises(ConfigError, match=r"model\.(exposure|smearing)"):
        ModelSpec(family="ridge", **asked)


def test_a_way_back_that_was_tampered_with_is_refused() -> None:
    """Another column, another function or another count of numbers is no form of this contract."""
    pipeline, _, _ = trained(ModelSpec(family="ridge", target="log", per="area"))
    compiled = compile_pipeline(pipeline, CONTRACT)
    assert isinstance(compiled, CompiledScorer)
    for back in (
        compiled.back.__class__("log", (1.0,), "nothing"),
        compiled.back.__class__("cube", (1.0,), "area"),
        compiled.back.__class__("log", (), "area"),
        compiled.back.__class__("log", (float("nan"),), "area"),
    ):
        broken = CompiledScorer(CONTRACT, compiled.program, compiled.sums, compiled.link, back=back)
        with pytest.raises(GateRefusal, match=r"scoring.npz holds a (way back|bend)"):
            from_bytes(to_bytes(broken), CONTRACT)
