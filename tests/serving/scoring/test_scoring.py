"""The fast form scores like the pipeline it was compiled from: the same bits for trees, 4 ulp for linear models."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from serving.archive import pack_arrays, unpack_arrays
from serving.contract import Contract
from serving.errors import DataError, GateRefusal, UsageError
from serving.scoring import kernels, quick_kernels
from serving.scoring.api import Declined, SklearnScorer
from serving.scoring.compile import CompiledScorer, compile_pipeline, from_bytes, to_bytes
from serving.scoring.symbols import symbols_of
from serving.scoring.trees import AT_ONCE, Forest, Grown, plant

COLUMNS = {
    "area": {"type": "float", "range": [0, 2000], "nullable": True},
    "age": {"type": "float", "nullable": True},
    "rooms": {"type": "int", "range": [1, 30]},
    "garden": {"type": "bool", "nullable": True},
    "kind": {"type": "category", "values": ["house", "flat", "plot"], "nullable": True, "unknown": "flag"},
    "region": {"type": "category", "values": ["north", "south"], "unknown": "flag"},
}
REGRESSION = Contract.model_validate({"columns": COLUMNS, "target": {"name": "price"}})
WORDS = {n: tuple(f"class{k}" for k in range(n)) for n in (2, 3, 9)}


def contract_for(classes: int) -> Contract:
    if not classes:
        return REGRESSION
    return Contract.model_validate({"columns": COLUMNS, "target": {"name": "price", "classes": list(WORDS[classes])}})


def rows(seed: int, count: int, gaps: float = 0.1, unknown: float = 0.1) -> np.ndarray:
    """Coded rows with missing values and unknown categories; some numbers repeat, so that thresholds are hit."""
    rng = np.random.default_rng(seed)
    matrix = np.column_stack(
        [
            np.round(rng.uniform(0, 2000, count), rng.integers(0, 3)),
            np.round(rng.normal(40, 30, count), 1),
            rng.integers(1, 9, count).astype(float),
            rng.integers(0, 2, count).astype(float),
            rng.integers(0, 3, count).astype(float),
            rng.integers(0, 2, count).astype(float),
        ]
    )
    for column in (0, 1, 3, 4):
        matrix[rng.random(count) < gaps, column] = np.nan
    for column, size in ((4, 3), (5, 2)):
        matrix[rng.random(count) < unknown, column] = size
    return matrix


def target(matrix: np.ndarray, classes: int) -> np.ndarray:
    clean = np.nan_to_num(matrix)
    value = clean[:, 0] / 10 + 30 * np.sin(clean[:, 1]) + 20 * clean[:, 4] * clean[:, 5] + 5 * clean[:, 2] + 1
    if not classes:
        return np.maximum(value, 0.5)
    cut = np.quantile(value, np.linspace(0, 1, classes + 1)[1:-1])
    return np.digitize(value, cut)


NUMBERS: dict[str, Callable[[], list[Any]]] = {
    "median-standard": lambda: [SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()],
    "mean-minmax": lambda: [SimpleImputer(), MinMaxScaler(clip=True)],
    "standard-then-frequent": lambda: [StandardScaler(), SimpleImputer(strategy="most_frequent")],
    "robust-constant": lambda: [RobustScaler(), SimpleImputer(strategy="constant", fill_value=-3.0)],
    "fill-log-scale": lambda: [
        SimpleImputer(strategy="constant", fill_value=7.0),
        FunctionTransformer(np.log1p, feature_names_out="one-to-one"),
        StandardScaler(),
    ],
    "sqrt-fill-log": lambda: [
        FunctionTransformer(np.sqrt),
        SimpleImputer(strategy="median"),
        FunctionTransformer(np.log1p),
        MinMaxScaler((-2, 3)),
    ],
    "clipped": lambda: [MinMaxScaler(clip=True)],
    "as-they-are": lambda: [],
}
CATEGORIES: dict[str, Callable[[], list[Any]]] = {
    "one-hot": lambda: [OneHotEncoder(handle_unknown="ignore", sparse_output=False)],
    "one-hot-rare": lambda: [OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.3)],
    "one-hot-drop": lambda: [OneHotEncoder(handle_unknown="ignore", drop="first", sparse_output=False)],
    "ordinal-nan": lambda: [
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        SimpleImputer(strategy="most_frequent"),
        MinMaxScaler(),
    ],
    "filled-one-hot": lambda: [
        SimpleImputer(missing_values=None, strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    ],
}


def preprocessing(numbers: str, categories: str, sparse: bool = False) -> ColumnTransformer:
    def chain(steps: list[Any]) -> Any:
        return Pipeline([(f"s{k}", step) for k, step in enumerate(steps)]) if steps else "passthrough"

    return ColumnTransformer(
        [
            ("categories", chain(CATEGORIES[categories]()), ["kind", "region"]),
            ("area", chain(NUMBERS[numbers]()), ["area"]),
            ("others", chain([SimpleImputer(), StandardScaler()]), ["age", "rooms"]),
        ],
        remainder="drop",
        sparse_threshold=1.0 if sparse else 0.0,
    )


BOOSTED = {"n_estimators": 12, "max_depth": 3, "random_state": 0}
FAMILIES: dict[str, tuple[int, Callable[[], Any]]] = {
    "linear": (0, LinearRegression),
    "ridge": (0, Ridge),
    "lasso": (0, lambda: Lasso(0.1)),
    "elastic-net": (0, lambda: ElasticNet(0.1)),
    "logistic-2": (2, lambda: LogisticRegression(max_iter=300)),
    "logistic-3": (3, lambda: LogisticRegression(max_iter=300)),
    "tree": (0, lambda: DecisionTreeRegressor(random_state=0)),
    "tree-best-first": (0, lambda: DecisionTreeRegressor(max_leaf_nodes=20, random_state=0)),
    "tree-2": (2, lambda: DecisionTreeClassifier(max_depth=4, random_state=0)),
    "tree-9": (9, lambda: DecisionTreeClassifier(random_state=0)),
    "forest": (0, lambda: RandomForestRegressor(7, random_state=0)),
    "forest-3": (3, lambda: RandomForestClassifier(7, max_depth=5, class_weight="balanced", random_state=0)),
    "extra": (0, lambda: ExtraTreesRegressor(7, max_leaf_nodes=50, random_state=0)),
    "extra-2": (2, lambda: ExtraTreesClassifier(7, random_state=0)),
    "boosting": (0, lambda: GradientBoostingRegressor(**BOOSTED)),
    "boosting-zero": (0, lambda: GradientBoostingRegressor(**BOOSTED, init="zero", loss="huber")),
    "boosting-2": (2, lambda: GradientBoostingClassifier(**BOOSTED)),
    "boosting-2-exponential": (2, lambda: GradientBoostingClassifier(**BOOSTED, loss="exponential")),
    "boosting-9": (9, lambda: GradientBoostingClassifier(**BOOSTED)),
    "histogram": (0, lambda: HistGradientBoostingRegressor(max_iter=12, random_state=0)),
    "histogram-64": (0, lambda: HistGradientBoostingRegressor(max_iter=5, max_leaf_nodes=64, min_samples_leaf=2)),
    "histogram-100": (0, lambda: HistGradientBoostingRegressor(max_iter=5, max_leaf_nodes=100, min_samples_leaf=1)),
    "histogram-poisson": (0, lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=8)),
    "histogram-2": (2, lambda: HistGradientBoostingClassifier(max_iter=8)),
    "histogram-3": (3, lambda: HistGradientBoostingClassifier(max_iter=5)),
    "histogram-9": (9, lambda: HistGradientBoostingClassifier(max_iter=3)),
}
_fitted: dict[tuple[str, ...], tuple[SklearnScorer, CompiledScorer]] = {}


def pair(
    family: str, numbers: str = "median-standard", categories: str = "one-hot", sparse: bool = False
) -> tuple[SklearnScorer, CompiledScorer]:
    """scikit-learn's scorer and the compiled one of the same fitted pipeline."""
    key = (family, numbers, categories, str(sparse))
    if key not in _fitted:
        classes, make = FAMILIES[family]
        contract, matrix = contract_for(classes), rows(1, 400)
        pipeline = Pipeline([("columns", preprocessing(numbers, categories, sparse)), ("model", make())])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline.fit(contract.frame(matrix), target(matrix, classes))
        fast = compile_pipeline(pipeline, contract)
        assert isinstance(fast, CompiledScorer), fast
        _fitted[key] = SklearnScorer(pipeline, contract, "the reference"), fast
    return _fitted[key]


def assert_same(reference: SklearnScorer, fast: CompiledScorer, matrix: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn says that categories are unknown
        try:
            expected = reference.score(matrix)
        except DataError:
            with pytest.raises(DataError):
                fast.score(matrix)
            return
    answer = fast.score(matrix)
    assert answer.shape == expected.shape
    off = np.abs(answer - expected).reshape(len(matrix), -1).max(axis=1)
    allowed = fast.tolerance(matrix) if fast.form == "linear" else np.zeros(len(matrix))
    assert (off <= allowed).all(), (off.max(), int(off.argmax()))


SIZES = (1, AT_ONCE, 12, quick_kernels.FEW + 1, quick_kernels.SOME + 1, quick_kernels.MANY + 3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES)
def test_every_family_scores_like_scikit_learn_at_every_row_count(family: str, size: int) -> None:
    """All loops (walk, blocked walk, QuickScorer) give scikit-learn's bits, on missing and unknown values too."""
    if family == "histogram-9" and size == 1:
        pytest.skip("scikit-learn itself adds nine classes of one row in another order than in a batch")
    assert_same(*pair(family), rows(size, size))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_two_hundred_thousand_rows_score_like_scikit_learn(family: str) -> None:
    """Missing values and unknown categories included; trees to the bit, linear models up to the order of summation."""
    reference, fast = pair(family)
    assert_same(reference, fast, rows(31, 200_000))


COMBINATIONS = [("histogram", numbers, categories) for numbers in NUMBERS for categories in CATEGORIES] + [
    (family, numbers, list(CATEGORIES)[(place + shift) % len(CATEGORIES)])
    for shift, family in enumerate(("forest", "ridge", "boosting"))
    for place, numbers in enumerate(NUMBERS)
    if numbers not in ("as-they-are", "clipped") or family == "forest"  # the others cannot be fitted on missing values
]


@pytest.mark.parametrize(("family", "numbers", "categories"), COMBINATIONS)
def test_every_preprocessing_is_exact(family: str, numbers: str, categories: str) -> None:
    """Each transformer and setting leaves the same features, or refuses the same rows, as scikit-learn does."""
    reference, fast = pair(family, numbers, categories)
    for seed, size in ((3, 1), (5, 200)):
        assert_same(reference, fast, rows(seed, size))


@pytest.mark.parametrize("family", ["forest", "tree-9", "boosting-2", "ridge"])
def test_a_sparse_matrix_between_encoder_and_estimator_changes_nothing(family: str) -> None:
    """A ColumnTransformer that hands over a sparse matrix is scored the same."""
    assert_same(*pair(family, sparse=True), rows(6, 150))


CELL = st.one_of(
    st.floats(-5000, 5000, width=32), st.floats(allow_nan=False, allow_infinity=False), st.just(float("nan")),
    st.sampled_from([0.0, -0.0, 1e-300, 1e30, -1e30, float("inf"), float("-inf")]),
)  # fmt: skip
ROW = st.tuples(
    CELL, CELL, st.integers(-3, 40).map(float), st.sampled_from([0.0, 1.0, float("nan")]),
    st.sampled_from([0.0, 1.0, 2.0, 3.0, float("nan")]), st.sampled_from([0.0, 1.0, 2.0, float("nan")]),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    family=st.sampled_from(["histogram", "histogram-3", "forest-3", "extra", "boosting", "boosting-2", "tree"]),
    numbers=st.sampled_from(["median-standard", "mean-minmax", "sqrt-fill-log", "standard-then-frequent"]),
    batch=st.lists(ROW, min_size=1, max_size=20),
)
def test_generated_rows_score_the_same_bits_or_are_refused_alike(
    family: str, numbers: str, batch: list[tuple[float, ...]]
) -> None:
    """Whatever a row holds, infinities and values beyond float32 included, both forms answer alike."""
    assert_same(*pair(family, numbers), np.array(batch))


@pytest.mark.parametrize("numbers", ["standard-then-frequent", "mean-minmax", "clipped"])
def test_an_infinite_number_is_refused_where_scikit_learn_refuses_it(numbers: str) -> None:
    """Histogram gradient boosting takes infinities, the scaler or imputer before it does not."""
    reference, fast = pair("histogram", numbers)
    matrix = rows(2, 3)
    matrix[1, 0] = np.inf
    for scorer in (reference, fast):
        with pytest.raises(DataError):
            scorer.score(matrix)


@settings(max_examples=60, deadline=None)
@given(family=st.sampled_from(sorted(FAMILIES)), seed=st.integers(0, 10_000), at=st.integers(0, 99))
def test_a_row_scores_the_same_alone_and_in_any_batch(family: str, seed: int, at: int) -> None:
    """Batch scoring equals online scoring exactly, linear models included."""
    _, fast = pair(family)
    matrix = rows(seed, 100)
    np.testing.assert_array_equal(fast.score(matrix)[at], fast.score(matrix[at : at + 1])[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_form_survives_its_file(family: str) -> None:
    """What is read from scoring.npz scores like what was written, and is written with the same bytes."""
    _, fast = pair(family)
    data = to_bytes(fast)
    again = from_bytes(data, fast.contract)
    np.testing.assert_array_equal(again.score(rows(8, 90)), fast.score(rows(8, 90)))
    assert to_bytes(again) == data


def test_any_layout_of_the_matrix_is_taken() -> None:
    """Read-only, Fortran-ordered and integer matrices score like contiguous ones; a missing column is told."""
    _, fast = pair("histogram")
    matrix = rows(9, 40, gaps=0.0)
    expected = fast.score(matrix)
    frozen = matrix.copy()
    frozen.flags.writeable = False
    for other in (frozen, np.asfortranarray(matrix), matrix[::-1][::-1]):
        np.testing.assert_array_equal(fast.score(other), expected)
    assert fast.score(matrix[:0]).shape == (0,)
    with pytest.raises(UsageError, match="6 columns"):
        fast.score(matrix[:, :5].copy())


def test_codes_beyond_the_contract_count_as_unknown() -> None:
    """A category code that no value has cannot reach past the table."""
    _, fast = pair("forest")
    matrix = rows(10, 3, gaps=0.0, unknown=0.0)
    wild, unknown = matrix.copy(), matrix.copy()
    wild[:, 4], unknown[:, 4] = [1e18, -7.0, np.inf], 3.0
    np.testing.assert_array_equal(fast.score(wild), fast.score(unknown))


@pytest.mark.parametrize(
    ("steps", "model", "reason"),
    [
        pytest.param([PowerTransformer()], Ridge(), "PowerTransformer", id="other-transformer"),
        pytest.param([SimpleImputer(add_indicator=True)], Ridge(), "add_indicator", id="missing-indicator"),
        pytest.param([FunctionTransformer(np.exp)], Ridge(), "log, log1p or sqrt", id="other-function"),
        pytest.param([], KNeighborsRegressor(), "KNeighborsRegressor", id="other-family"),
        pytest.param(
            [], GradientBoostingRegressor(n_estimators=2, init=Ridge()), "another model", id="boosting-from-a-model"
        ),
        pytest.param(
            [], HistGradientBoostingRegressor(max_iter=2, categorical_features=[0]), "categories", id="categories"
        ),
    ],
)  # fmt: skip
def test_what_has_no_exact_form_is_declined_with_the_reason(steps: list[Any], model: Any, reason: str) -> None:
    """Unsupported pipelines are declined, never approximated."""
    contract = Contract.model_validate({"columns": {"x": {"type": "float"}}, "target": {"name": "y"}})
    matrix = np.random.default_rng(0).integers(1, 9, (60, 1)).astype(float)
    if any("indicator" in str(step) for step in steps):
        matrix[0] = np.nan
    pipeline = Pipeline([*[(f"s{k}", step) for k, step in enumerate(steps)], ("model", model)])
    pipeline.fit(contract.frame(matrix), matrix[:, 0] if len(steps) != 1 else np.arange(60.0))
    declined = compile_pipeline(pipeline, contract)
    assert isinstance(declined, Declined)
    assert reason in declined.reason


def test_a_long_category_in_columns_of_its_own_is_declined_before_its_table_is_made() -> None:
    """A table of 100,000 categories in as many columns would take 80 GB."""
    words = tuple(f"place-{number}" for number in range(100_000))
    contract = Contract.model_validate({"columns": {"place": {"type": "category", "values": words}}, "target": "y"})
    one_hot = OneHotEncoder(categories=[np.array(words, object)], handle_unknown="ignore", sparse_output=False)
    matrix = np.arange(0.0, 40.0)[:, None]
    pipeline = Pipeline([("encode", one_hot), ("model", Ridge())]).fit(contract.frame(matrix), matrix[:, 0])
    declined = compile_pipeline(pipeline, contract)
    assert isinstance(declined, Declined)
    assert declined.reason == "OneHotEncoder with 100,000 columns has no fast form"


def spoil(fast: CompiledScorer, name: str, change: Callable[[np.ndarray], Any]) -> bytes:
    arrays = unpack_arrays(to_bytes(fast))
    arrays[name] = arrays[name].copy()
    replaced = change(arrays[name])
    if replaced is not None:
        arrays[name] = replaced
    return pack_arrays(arrays)


def put(field: str, value: int, where: str) -> Callable[[np.ndarray], None]:
    def change(nodes: np.ndarray) -> None:
        inner = np.flatnonzero(nodes["test"] >= 0)
        nodes[field][{"first": inner[0], "last": inner[-1]}[where]] = value

    return change


def set_to(index: Any, value: float) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[index] = value

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param("nodes", put("right", 10**9, "first"), id="child-beyond-the-end"),
        pytest.param("nodes", put("right", 0, "last"), id="cycle"),
        pytest.param("nodes", put("right", -5, "first"), id="negative-child"),
        pytest.param("nodes", put("test", 2_000, "first"), id="feature-that-does-not-exist"),
        pytest.param("nodes", put("test", -1, "first"), id="nodes-nobody-reaches"),
        pytest.param("nodes", lambda nodes: nodes[:-1].copy(), id="nodes-cut-off"),
        pytest.param("values", lambda values: values[:-1].copy(), id="values-cut-off"),
        pytest.param("roots", set_to(1, 10**6), id="root-beyond-the-end"),
        pytest.param("roots", set_to(1, -4), id="negative-root"),
        pytest.param("base", lambda base: np.zeros(3), id="more-outputs-than-the-target"),
        pytest.param("pass0_columns", set_to((0, 0), 99), id="column-that-does-not-exist"),
        pytest.param("pass0_columns", set_to((0, 3), 10**6), id="table-beyond-the-end"),
        pytest.param("pass0_columns", set_to((0, 2), -1), id="table-before-the-start"),
        pytest.param("pass0_refused", lambda refused: refused[:-1].copy(), id="flags-cut-off"),
        pytest.param("head", lambda head: head[:-9].copy(), id="half-a-head"),
        pytest.param("head", lambda head: np.array(["x"], dtype=object), id="pickled-array"),
    ],
)
def test_arrays_that_would_lead_a_loop_astray_are_refused(name: str, change: Callable[[np.ndarray], Any]) -> None:
    """Every index of scoring.npz is checked before a loop follows it."""
    _, fast = pair("histogram", "median-standard", "one-hot")
    if name == "head" and change(np.zeros(20, np.uint8)).dtype == object:
        with pytest.raises(ValueError, match="allow_pickle"):
            spoil(fast, name, change)
        return
    with pytest.raises(GateRefusal, match="crafted"):
        from_bytes(spoil(fast, name, change), fast.contract)


def test_a_form_belongs_to_its_contract() -> None:
    """Arrays made for another set of columns or classes are refused."""
    _, fast = pair("histogram")
    fewer = Contract.model_validate({"columns": {"area": {"type": "float"}}, "target": {"name": "price"}})
    for other in (fewer, contract_for(2)):
        with pytest.raises(GateRefusal, match="crafted"):
            from_bytes(to_bytes(fast), other)


def test_classes_come_in_the_order_of_the_contract() -> None:
    """Probabilities follow the contract's classes, though scikit-learn sorts its labels."""
    contract = Contract.model_validate({"columns": COLUMNS, "target": {"name": "t", "classes": ["pos", "neg"]}})
    matrix = rows(1, 200)
    words = np.where(target(matrix, 2) == 1, "pos", "neg")
    pipeline = Pipeline([("c", preprocessing("median-standard", "one-hot")), ("m", RandomForestClassifier(5))])
    pipeline.fit(contract.frame(matrix), words)
    fast = compile_pipeline(pipeline, contract)
    assert isinstance(fast, CompiledScorer)
    assert_same(SklearnScorer(pipeline, contract, ""), fast, matrix)
    assert ((fast.score(matrix)[:, 0] > 0.5) == (words == "pos")).mean() > 0.9


def test_the_loop_is_picked_by_rows_and_shape_of_the_trees() -> None:
    """Trees of some leaves have a QuickScorer form with a bit for each; deep ones and votes per class have none."""

    def quick(family: str) -> Any:
        forest = pair(family)[1].sums
        assert isinstance(forest, Forest)
        return forest.quick

    assert [quick(family).leaves.shape[1] for family in ("histogram", "histogram-64", "histogram-100")] == [16, 64, 104]
    assert quick("tree-9") is None


@pytest.mark.parametrize(("cuts", "code"), [(1, np.int8), (255, np.int8), (256, np.int16), (400, np.int16)])
@pytest.mark.parametrize("n_rows", [13, 129, 600])
def test_codes_at_the_ends_of_their_type_find_the_leaves_of_a_plain_walk(cuts: int, code: Any, n_rows: int) -> None:
    """Values on, beside and beyond each cut, infinite and missing ones, whichever side a missing value goes to."""
    thresholds = np.linspace(-1.0, 1.0, cuts)
    left, right, feature = np.array([1, -1, -1]), np.array([2, -1, -1]), np.zeros(3, np.int64)
    leaf = np.array([False, True, True])
    stumps = [
        Grown(
            left, right, feature, np.array([cut, 0, 0]), ~leaf & bool(i % 2), leaf, np.array([[0], [i + 0.1], [-0.3]])
        )
        for i, cut in enumerate(thresholds)
    ]
    forest = plant(stumps, [0.5])
    edges = [-np.inf, np.inf, np.nan, *thresholds, *np.nextafter(thresholds, 2), *np.nextafter(thresholds, -2)]
    features = np.ascontiguousarray(np.resize(np.array(edges), (n_rows, 1)))
    walked = np.empty((n_rows, 1))
    kernels.walk(features, forest.nodes, forest.values, forest.roots, forest.base, forest.single, walked)
    assert forest.quick is not None
    assert forest.quick.bins.dtype == code
    assert (forest.raw(features) == walked).all()


def test_symbols_follow_the_contract() -> None:
    """Every category has its values and two more codes, for unknown and missing."""
    kinds = [len(symbol.values) if hasattr(symbol, "values") else 0 for symbol in symbols_of(REGRESSION)]
    assert kinds == [0, 0, 0, 0, 5, 4]


def test_scorers_are_values() -> None:
    """A compiled scorer cannot be changed under a running server."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair("ridge")[1].link = "other"  # type: ignore[misc]  # what is checked
