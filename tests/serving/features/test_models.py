"""Derived columns in a model: training, the pipeline, its fast form and its files compute the same bits."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no annotations

from components.modelling import kinds
from components.modelling.encoding import ByTarget, Smoothing, encoder
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.training import fit
from serving.archive import pack_arrays, unpack_arrays
from serving.bundle.model_file import load_model, write_model
from serving.contract import Contract, Matrix
from serving.errors import ConfigError, DataError, GateRefusal
from serving.features import kernel
from serving.scoring.api import SklearnScorer
from serving.scoring.compile import CompiledScorer, compile_pipeline, from_bytes, to_bytes
from tests.serving.features.reference import CONTRACT, rows

COLUMNS = {
    "arithmetic": {"ratio": "area / rooms", "rest": "(area - 3) % 7 // 2", "log_area": "log(area)"},
    "truths": {"large": "area > 50 and rooms >= 3", "flat": 'kind == "flat"', "dry": "not garden or isnull(area)"},
    "choices": {"filled": "fill(area, 20) ** 0.5", "size": 'where(area > 50, "large", "small")', "low": "min(area, 9)"},
    "dates": {"hour": "hour(berlin)", "week": "week(chatham)", "age": 'days_since(at, "2010-01-01")'},
    "cycles": {"around": "cyclic(hour(new_york), 24)", "up": "col('around.sin') * 2"},
    "categories": {"size": "bin(area, [0, 50])", "both": "cross(kind, region)", "third": "cross(size, garden)"},
    "groups": {
        "usual": "median(area, kind)",
        "rare": "area - mean(area - usual, cross(kind, garden))",
        "s": "std(lat, garden)",
    },
    "places": {"far": "distance(lat, lon, 52.5, 13.4)"},
}
ENCODINGS: dict[str, Any] = {
    "target": {"kind": "target", "region": {"target": {"smooth": 20}}},
    "frequency": {"kind": "frequency", "region": "onehot"},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "hist_gradient_boosting": {"max_iter": 15},
    "ridge": {},
    "random_forest": {"n_estimators": 5},
}
EVERY: dict[str, dict[str, Any]] = {
    **FAMILIES, "linear_regression": {}, "lasso": {}, "elastic_net": {}, "decision_tree": {},
    "extra_trees": {"n_estimators": 5}, "gradient_boosting": {"n_estimators": 8}, "lightgbm": {"n_estimators": 15},
    "xgboost": {"n_estimators": 15}, "catboost": {"iterations": 15}, "logistic_regression": {},
}  # fmt: skip


def fitted(features: dict[str, Any], family: str = "hist_gradient_boosting", classes: int = 0) -> tuple[Any, Contract]:
    rules = CONTRACT
    matrix = rows(1, 400)
    value = np.nan_to_num(matrix[:, 1]) + 20 * (matrix[:, 6] == 1) + np.nan_to_num(matrix[:, 8]) / 1e8
    if classes:
        target: dict[str, Any] = {"name": "price", "classes": [f"c{place}" for place in range(classes)]}
        rules = Contract.model_validate({**CONTRACT.model_dump(), "target": target})
        value = np.digitize(value, np.quantile(value, np.linspace(0, 1, classes + 1)[1:-1])).astype(float)
    spec = FeatureSpec.model_validate(features)
    return fit(matrix, value, rules, spec, ModelSpec(family=family, params=EVERY[family]), seed=3), rules


def assert_same(pipeline: Any, rules: Contract, matrix: Matrix) -> None:
    fast = compile_pipeline(pipeline, rules)
    assert isinstance(fast, CompiledScorer), fast
    with threadpool_limits(limits=1):
        expected = SklearnScorer(pipeline, rules, "").score(matrix)
        np.testing.assert_array_equal(
            expected, SklearnScorer(load_model(write_model(pipeline)), rules, "").score(matrix)
        )
    found = from_bytes(to_bytes(fast), rules).score(matrix)
    off = np.abs(found - expected).reshape(len(matrix), -1).max(axis=1)
    assert (off <= fast.tolerance(matrix)).all()
    np.testing.assert_array_equal(found[:20], [fast.score(row[None])[0] for row in matrix[:20]])
    np.testing.assert_array_equal(
        wide_of(pipeline, rules, matrix), fast.program.derived.run(matrix) if fast.program.derived else matrix
    )


def wide_of(pipeline: Any, rules: Contract, matrix: Matrix) -> Matrix:
    """What the pipeline's own first step computes, its words as codes again."""
    step = dict(pipeline.steps).get("derived")
    if step is None:
        return matrix
    table = step.transform(rules.frame(matrix))
    wide = np.empty(table.shape)
    for place, (name, cells) in enumerate(table.items()):
        codes = {word: code for code, word in enumerate([*step.words.get(name, ()), "?"])}
        wide[:, place] = [np.nan if cell is None else codes.get(cell, cell) for cell in cells]
    return wide


CASES = [
    *(pytest.param({"columns": columns}, id=name) for name, columns in COLUMNS.items()),
    *(pytest.param({"encode": encode}, id=name) for name, encode in ENCODINGS.items()),
    pytest.param({"columns": COLUMNS["categories"], "encode": {"third": "target", "both": "frequency"}}, id="encoded"),
]


@pytest.mark.parametrize("features", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_request_a_batch_and_training_compute_the_same_bits(family: str, features: dict[str, Any]) -> None:
    pipeline, rules = fitted(features, family)
    assert_same(pipeline, rules, rows(2, 20))


def test_every_family_is_asked_for_its_bits() -> None:
    assert EVERY.keys() == kinds.FAMILIES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("features", CASES)
@pytest.mark.parametrize("family", EVERY)
def test_a_hundred_thousand_rows_compute_the_same_bits(family: str, features: dict[str, Any]) -> None:
    pipeline, rules = fitted(features, family, 2 if family == "logistic_regression" else 0)
    assert_same(pipeline, rules, rows(2, 100_000))


@pytest.mark.parametrize("classes", [2, 4])
def test_means_of_a_class_are_exact_in_the_fast_form(classes: int) -> None:
    pipeline, rules = fitted({"encode": ENCODINGS["target"]}, "hist_gradient_boosting", classes)
    assert_same(pipeline, rules, rows(2, 50))


def test_a_mean_of_the_target_never_comes_from_the_row_itself_while_training() -> None:
    """A category that each row has alone says nothing then, and afterwards what it was."""
    rules = Contract.model_validate(
        {"target": {"name": "y"}, "columns": {"who": {"type": "category", "values": [f"v{n}" for n in range(200)]}}}
    )
    target, table = np.random.default_rng(0).normal(size=200), rules.frame(np.arange(200.0)[:, None])
    options = ByTarget(target=Smoothing(smooth=0))
    means = encoder(rules.columns["who"].values, options, rules.target, seed=0, native=False)
    assert len(np.unique(means.fit_transform(table, target))) == 5, "one mean for each fifth, that of the other rows"
    np.testing.assert_allclose(means.transform(table)[:, 0], target)


def test_a_statistic_of_a_group_is_that_of_the_training_rows() -> None:
    """As pandas has it; where a category is unknown, missing or has no number, that of all rows."""
    pipeline, rules = fitted({"columns": {"usual": "median(area, kind)", "beside": "mean(area / usual, region)"}})
    table = rules.frame(rows(1, 400))
    usual = table.groupby("kind")["area"].median()
    step = pipeline.named_steps["derived"]
    found = step.transform(rules.frame(rows(2, 300)))
    known = found["kind"].isin(["flat", "house", "plot"])
    assert found["usual"][known].tolist() == usual[found["kind"][known]].tolist()
    assert set(found["usual"][~known]) == {table["area"].median()}
    ratio = table["area"] / step.transform(table)["usual"]
    means = ratio.groupby(table["region"]).mean()
    north = found["region"] == "north"
    np.testing.assert_allclose(found["beside"][north], means["north"])
    np.testing.assert_allclose(found["beside"][found["region"] == "?"], ratio.mean())


def test_a_request_error_names_the_columns_that_a_derived_value_comes_from() -> None:
    """A value beyond float32 is no number for trees; the caller never saw the derived column."""
    pipeline, rules = fitted(
        {"columns": {"half": "area / 2", "huge": "where(half > 0, exp(rooms), 0)"}}, "random_forest"
    )
    fast = compile_pipeline(pipeline, rules)
    assert isinstance(fast, CompiledScorer)
    row = rows(0, 1)
    row[0, :3] = [80.0, 1.0, 100.0]
    with pytest.raises(DataError, match=r"row 0: .* value of 'huge', computed from 'area' and 'rooms', such as"):
        fast.score(row)


def test_dropped_columns_and_moments_reach_expressions_only() -> None:
    pipeline, _ = fitted({"columns": {"size": "area * rooms"}, "drop": ["area", "rooms", "lat", "lon"]})
    names = [name for _, _, (name,) in pipeline.named_steps["columns"].transformers]
    assert names == ["living area", "garden", "kind", "region", "size"]


@pytest.mark.parametrize(
    ("features", "words"),
    [
        pytest.param({"drop": ["aera"]}, "features.drop: no column 'aera'", id="drop"),
        pytest.param({"drop": list(CONTRACT.slots)}, "no column is left for the model", id="none-left"),
        pytest.param({"encode": {"area": "onehot"}}, "features.encode.area: its type is float", id="number"),
        pytest.param({"encode": {"knd": "onehot"}}, "features.encode.knd: no such column reaches the model", id="name"),
        pytest.param({"columns": {"x": "area"}, "impute": "none"}, "impute is none, but area is nullable", id="gaps"),
    ],
)  # fmt: skip
def test_features_that_cannot_be_are_refused(features: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fitted(features, "ridge")


def change(field: str, at: Any, value: float) -> Any:
    return lambda arrays: arrays[f"derived_{field}"].__setitem__(at, value)


CRAFTED = [
    pytest.param(change("code", (0, 0), len(kernel.OPERANDS)), id="instruction-beyond-the-last"),
    pytest.param(change("code", (0, 0), -1), id="instruction-below-the-first"),
    pytest.param(change("code", (0, 1), -1), id="register-before-the-first"),
    pytest.param(change("code", (0, 2), 1 << 30), id="register-far-behind"),
    pytest.param(change("code", (-1, 1), 10_000), id="register-not-computed-yet"),
    pytest.param(
        lambda arrays: arrays["derived_code"].__setitem__(
            (0, 1), len(CONTRACT.slots) + len(arrays["derived_constants"])
        ),
        id="register-of-itself",
    ),
    pytest.param(change("results", 0, -1), id="result-before-the-first"),
    pytest.param(change("results", 0, 1 << 20), id="result-behind-the-last"),
    pytest.param(lambda arrays: arrays.update(derived_table=arrays["derived_table"][:-1]), id="table-too-short"),
    pytest.param(lambda arrays: arrays.update(derived_constants=arrays["derived_constants"][:0]), id="no-constants"),
    pytest.param(lambda arrays: arrays.update(derived_code=arrays["derived_code"][:, :4].copy()), id="narrow-code"),
    pytest.param(lambda arrays: arrays.update(derived_code=arrays["derived_code"][0].copy()), id="flat-code"),
    pytest.param(
        lambda arrays: arrays.update(derived_results=arrays["derived_results"][:-1]), id="result-without-name"
    ),
    pytest.param(
        lambda arrays: arrays.update(derived_results=arrays["derived_results"][None]), id="results-of-two-axes"
    ),
    pytest.param(lambda arrays: arrays.pop("derived_table"), id="no-table"),
]


@pytest.mark.parametrize("spoil", CRAFTED)
def test_crafted_programs_are_refused_before_they_run(spoil: Any) -> None:
    """In the fast form and in the pipeline: neither can be made to read outside of its arrays."""
    pipeline, rules = fitted({"columns": {**COLUMNS["dates"], **COLUMNS["categories"]}})
    fast = compile_pipeline(pipeline, rules)
    assert isinstance(fast, CompiledScorer)
    arrays = unpack_arrays(to_bytes(fast))
    spoil(arrays)
    with pytest.raises(GateRefusal, match=r"scoring\.npz"):
        from_bytes(pack_arrays(arrays), rules)
    step = pipeline.named_steps["derived"]
    step.arrays = {name.removeprefix("derived_"): array for name, array in arrays.items() if "derived_" in name}
    del step.table_
    with pytest.raises(GateRefusal, match="damaged or crafted"):
        step.transform(rules.frame(rows(0, 2)))
    with pytest.raises(GateRefusal, match="damaged or crafted"):
        compile_pipeline(load_model(write_model(pipeline)), rules)


@pytest.mark.parametrize(("op", "less"), [(kernel.LOCAL, 1), (kernel.LOOK_UP, 4)])
def test_a_part_of_the_table_is_a_whole_one(op: int, less: int) -> None:
    """n moments and n + 1 offsets, values and two more: otherwise the loop would read one too far."""
    pipeline, rules = fitted({"columns": {**COLUMNS["dates"], **COLUMNS["groups"]}})
    program = pipeline.named_steps["derived"].program()
    spanned = np.flatnonzero(program.code[:, 0] == op)
    code = program.code.copy()
    code[spanned[0], 4] -= less
    assert "table" in str(dataclasses.replace(program, code=code).fault(len(rules.slots)))
