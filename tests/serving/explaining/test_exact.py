"""Exact explanations: Shapley values by their definition, for every family, encoding and task, in the unit named."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn import ensemble
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from components.modelling.boosters import flattened
from serving.bundle.judgement import CalibratedScorer, Calibration
from serving.contract import Contract
from serving.explaining.choice import explainer
from serving.explaining.exact import Exact, exact, shares_of
from serving.explaining.sampled import Sampled
from serving.scoring.around import BlendClassifier, BlendRegressor, Retargeted
from serving.scoring.bends import BENDS
from serving.scoring.compile import CompiledScorer, Fast, compile_pipeline
from serving.scoring.symbols import lower, symbols_of
from serving.scoring.trees import Forest
from tests.components.modelling import test_boosters as boosters
from tests.serving.features import reference
from tests.serving.features.test_models import fitted
from tests.serving.scoring.test_scoring import CATEGORIES, FAMILIES, NUMBERS, contract_for, pair, rows

Margin = Callable[[np.ndarray], np.ndarray]


def plain(width: int, classes: int = 0) -> Contract:
    """Columns of numbers, and nothing done to them."""
    columns = {f"c{place}": {"type": "float", "nullable": True} for place in range(width)}
    target: dict[str, Any] = {"name": "y"}
    if classes:
        target["classes"] = [f"k{place}" for place in range(classes)]
    return Contract.model_validate({"columns": columns, "target": target})


def straight(contract: Contract, estimator: Any) -> CompiledScorer:
    """The fast form of a fitted *estimator* that takes the coded matrix as it is."""
    nothing = FunctionTransformer().fit(np.zeros((1, len(contract.slots))))
    found = compile_pipeline(Pipeline([("nothing", nothing), ("model", estimator)]), contract)
    assert isinstance(found, CompiledScorer), found
    return found


def brute(margin: Margin, row: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Shapley values by their definition, over all subsets of the columns."""
    n = len(row)
    worth = {}
    for inside in itertools.product((False, True), repeat=n):
        worth[inside] = margin(np.where(inside, row, background)).mean()
    values = np.zeros(n)
    for inside, value in worth.items():
        size = sum(inside)
        for player in range(n):
            if inside[player]:
                values[player] += value * math.factorial(size - 1) * math.factorial(n - size) / math.factorial(n)
            else:
                values[player] -= value * math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
    return values


def margin_of(scorer: CompiledScorer, code: int) -> Margin:
    """The sum that a class of the contract, or the number, is made of; XGBoost's without its rounding to float32."""
    sums = dataclasses.replace(scorer.sums, single=False) if isinstance(scorer.sums, Forest) else scorer.sums

    def margin(matrix: np.ndarray) -> np.ndarray:
        raw = sums.raw(scorer.program.features(np.ascontiguousarray(matrix), scorer.contract))
        if "logistic" not in scorer.link:
            return raw[:, scorer.order[code] if scorer.order else 0]
        return raw[:, 0] * (2 if scorer.link == "half_logistic" else 1) * (1 if scorer.order[code] == 1 else -1)

    return margin


def assert_defined(scorer: CompiledScorer, matrix: np.ndarray, background: np.ndarray, code: int = 0) -> None:
    """The values are those of the definition and add up, a row alone and all together; and the unit is the one said."""
    margin, codes = margin_of(scorer, code), np.full(len(matrix), code)
    told = exact(scorer, background)
    found = told.explained(matrix, codes)
    scale = np.abs(margin(np.concatenate([matrix, background]))).max()
    for place, row in enumerate(matrix):
        expected = brute(margin, row, background)
        np.testing.assert_allclose(found.contributions[place], expected, rtol=0, atol=1e-9 * scale)
        alone = told.explained(matrix[place : place + 1], codes[:1])
        np.testing.assert_array_equal(alone.contributions[0], found.contributions[place])
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), found.score, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(found.score, margin(matrix), rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(found.base, margin(background).mean(), rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_explained_by_the_definition(family: str) -> None:
    """Rows with gaps and unknown categories; of classes the first and the last."""
    classes, _ = FAMILIES[family]
    for code in {0, max(classes - 1, 0)}:
        assert_defined(pair(family)[1], rows(3, 3), rows(4, 7), code)


@pytest.mark.parametrize("family", ["ridge", "logistic-3", "forest-3", "histogram", "boosting-2"])
@pytest.mark.parametrize("categories", CATEGORIES)
@pytest.mark.parametrize("numbers", ["fill-log-scale", "sqrt-fill-log", "standard-then-frequent"])
def test_all_that_is_made_of_a_column_is_the_columns(family: str, numbers: str, categories: str) -> None:
    """One-hot columns, codes, scaled, filled and bent numbers."""
    assert numbers in NUMBERS
    full = rows(3, 40, gaps=0.0, unknown=0.0)
    assert_defined(pair(family, numbers, categories)[1], full[:2], full[2:9])


def generated(seed: int, width: int, trees: int, depth: int, outputs: int) -> CompiledScorer:
    """Trees that nobody fitted: any column at any node, often one more than once on a path, gaps to either side."""
    random = np.random.default_rng(seed)
    nodes: list[tuple[float, int, int]] = []

    def grow(left: int) -> None:
        at = len(nodes)
        nodes.append((0.0, 0, -1))
        if left and random.random() < 0.85:
            grow(left - 1)
            right = len(nodes)
            grow(left - 1)
            nodes[at] = (float(random.integers(-2, 3)), right, int(2 * random.integers(width) + random.integers(2)))

    roots = [0]
    for _ in range(trees):
        grow(depth)
        roots.append(len(nodes))
    array = np.array(nodes, [("threshold", "<f8"), ("right", "<i4"), ("test", "<i4")])
    wide = outputs if random.random() < 0.5 else 1
    values, base = random.normal(size=(len(nodes), wide)), random.normal(size=outputs)
    forest = Forest(array, values, np.array(roots), base, float(random.integers(1, 4)))
    contract = plain(width, outputs if outputs > 1 else 0)
    program = lower(symbols_of(contract), width, 0, False)
    assert forest.fault(width) is None
    link, order = ("softmax", tuple(random.permutation(outputs).tolist())) if outputs > 1 else ("identity", ())
    return CompiledScorer(contract, program, forest, link, order)


FORMS = st.tuples(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 5), st.integers(0, 6), st.integers(1, 3))


def check_form(form: tuple[int, int, int, int, int]) -> None:
    seed, width, _, _, outputs = form
    random = np.random.default_rng(seed + 1)
    cells = random.integers(-3, 4, (9, width)).astype(float)
    cells[random.random(cells.shape) < 0.1] = np.nan
    assert_defined(generated(*form), cells[:3], cells[3:], int(random.integers(outputs)))


@settings(max_examples=60, deadline=None)
@given(FORMS)
def test_generated_trees_are_explained_by_the_definition(form: tuple[int, int, int, int, int]) -> None:
    """Any shape of trees, any order of classes, cells that are equal in row and background."""
    check_form(form)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(FORMS)
def test_many_generated_trees_are_explained_by_the_definition(form: tuple[int, int, int, int, int]) -> None:
    """As above."""
    check_form(form)


BOOSTED = [
    ("lightgbm", "regression", "any"), ("lightgbm", "binary", "two"), ("lightgbm", "multiclass", "three"),
    ("lightgbm", "poisson", "counts"), ("xgboost", "reg:squarederror", "any"), ("xgboost", "binary:logistic", "two"),
    ("xgboost", "multi:softprob", "three"), ("xgboost", "reg:gamma", "positive"), ("catboost", "RMSE", "any"),
    ("catboost", "Logloss", "two"), ("catboost", "MultiClass", "three"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "objective", "kind"), BOOSTED)
@pytest.mark.parametrize("sets", [False, True], ids=["numbers", "sets"])
def test_a_boosters_margin_is_explained(family: str, objective: str, kind: str, sets: bool) -> None:
    """The library's own margin is base plus contributions; LightGBM's sets of categories are their column's."""
    if sets and family != "lightgbm":
        pytest.skip("its trees ask numbers")
    seen, classes = boosters.rows(1), {"two": 2, "three": 3}.get(kind, 0)
    model = boosters.estimator(family, objective, kind, 8, 15, 1)
    model.fit(seen, boosters.target(seen, kind), **({"categorical_feature": [3, 4]} if sets else {}))
    scorer = straight(plain(5, classes), flattened(model))
    matrix, code = boosters.rows(2, 9), max(classes - 1, 0)
    assert_defined(scorer, matrix[:3], matrix[3:], code)
    own = {"lightgbm": {"raw_score": True}, "xgboost": {"output_margin": True}}
    asked = own.get(family, {"prediction_type": "RawFormulaVal"})
    margin = np.asarray(model.predict(matrix, **asked)).reshape(len(matrix), -1)[:, -1]
    found = exact(scorer, matrix[3:]).explained(matrix, np.full(len(matrix), code))
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), margin, rtol=1e-5, atol=1e-5)


def shap_table(seed: int, n: int) -> np.ndarray:
    """Cells that float32 holds: scikit-learn rounds others before it compares them, and shap does not."""
    return np.round(64 * np.random.default_rng(seed).normal(size=(n, 4))) / 64


SHAP: dict[str, tuple[Any, int, float, list[list[float]]]] = {
    "forest": (
        ensemble.RandomForestRegressor(5, max_depth=4, random_state=0), 0,
        -0.292370415411, [
            [0.0006586034, 0.1863143896, -0.342017082, -0.7414401579],
            [0.6493072081, 0.2016181713, -0.2791381063, 0.694743182],
        ],
    ),
    "boosting-2": (
        ensemble.GradientBoostingClassifier(n_estimators=8, max_depth=3, random_state=0), 2,
        -0.182676270223, [
            [-0.0157513749, -0.0133250924, -0.3860251893, -0.3299551536],
            [-0.0157513749, -0.0363658897, -0.7340338153, 0.140448777],
        ],
    ),
    "histogram": (
        ensemble.HistGradientBoostingRegressor(max_iter=6, max_leaf_nodes=8, early_stopping=False, random_state=0), 0,
        -0.11423609137, [
            [0.0023668589, 0.0, -0.2582061668, -0.2667758311],
            [-0.0131492154, 0.0, -0.2790245003, 0.1102093988],
        ],
    ),
    "histogram-2": (
        ensemble.HistGradientBoostingClassifier(max_iter=6, max_leaf_nodes=8, early_stopping=False, random_state=0), 2,
        -0.111584387403, [
            [0.0004767494, -0.0005445369, -0.6163115376, -0.2774404972],
            [-0.0696302374, -0.0118325755, -0.6108317993, 0.3294511504],
        ],
    ),
    "forest-3": (
        ensemble.RandomForestClassifier(5, max_depth=4, random_state=0), 3,
        0.29118133701, [
            [0.025557763, -0.0009515034, 0.001895883, -0.0198418663],
            [-0.2137793181, -0.0317776909, 0.0422324456, 0.0193654421],
        ],
    ),
    "extra": (
        ensemble.ExtraTreesRegressor(5, max_depth=4, random_state=0), 0,
        -0.059362719218, [
            [-0.0580454515, -0.019398446, -0.0655795457, -0.4899301692],
            [0.0383572134, -0.0315890901, -0.0457646518, 0.7863995302],
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", SHAP)
def test_the_values_are_those_of_the_shap_package(family: str) -> None:
    """Of shap 0.51.0 with scikit-learn 1.9.1, for the class at position 1 where there are classes:

    ``TreeExplainer(model, data=shap_table(1, 16), feature_perturbation="interventional")``, of which
    ``shap_values(shap_table(2, 2))``.

    Its values of forests miss their own sum in the eighth digit, ours do not.
    """
    model, classes, base, values = SHAP[family]
    seen = shap_table(0, 200)
    target = seen[:, 0] * seen[:, 1] + np.sin(2 * seen[:, 2]) + 0.5 * seen[:, 3]
    kinds = {0: target, 2: (target > 0).astype(int), 3: np.digitize(target, [-0.5, 0.5])}
    scorer = straight(plain(4, classes), model.fit(seen, kinds[classes]))
    found = exact(scorer, shap_table(1, 16)).explained(shap_table(2, 2), np.full(2, min(classes, 1)))
    np.testing.assert_allclose(found.base, base, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.contributions, values, rtol=0, atol=1e-6)


UNITS = {
    "histogram": ("price", lambda scores: scores),
    "histogram-poisson": ("log of price", np.exp),
    "forest-3": ("probability of class2", lambda scores: scores),
    "histogram-2": ("log-odds of class1", expit),
    "boosting-2-exponential": ("log-odds of class1", expit),
    "logistic-2": ("log-odds of class1", expit),
}


@pytest.mark.parametrize("family", UNITS)
def test_the_unit_in_words_is_the_unit_of_the_numbers(family: str) -> None:
    """What they say is undone, and the prediction comes out."""
    classes, _ = FAMILIES[family]
    scorer, matrix, code = pair(family)[1], rows(5, 20), max(classes - 1, 0)
    words, undone = UNITS[family]
    told = exact(scorer, rows(6, 5))
    assert told.of(code) == words
    answer = scorer.score(matrix)
    numbers = told.explained(matrix, np.full(20, code)).score
    np.testing.assert_allclose(undone(numbers), answer[:, code] if classes else answer, rtol=1e-12)


def test_scores_of_several_classes_are_what_the_softmax_takes() -> None:
    """All of a row together give its probabilities."""
    scorer, matrix = pair("histogram-3")[1], rows(5, 20)
    told = exact(scorer, rows(6, 5))
    assert told.of(2) == "score of class2 before the softmax"
    scores = np.column_stack([told.explained(matrix, np.full(20, code)).score for code in range(3)])
    np.testing.assert_allclose(softmax(scores, axis=1), scorer.score(matrix))


def regressor(seed: int, contract: Contract, **bent: Any) -> Any:
    seen = np.abs(boosters.rows(seed)[:, :3]) + 0.1
    model = ensemble.HistGradientBoostingRegressor(max_iter=5, random_state=seed)
    model.fit(seen, np.nan_to_num(seen).sum(axis=1))
    pipeline = Pipeline([("nothing", FunctionTransformer().fit(np.zeros((1, 3)))), ("model", model)])
    return Pipeline([("around", Retargeted(pipeline, **bent))]) if bent else pipeline


@pytest.mark.parametrize(
    ("bend", "numbers", "words"),
    [
        ("log", (1.0,), "log of y"),
        ("log1p", (1.2,), "log of 1 + y"),
        ("sqrt", (0.0, 0.0), "square root of y"),
        ("yeo-johnson", (0.5, 1.0, 2.0), "y bent by Yeo-Johnson"),
        ("none", (), "y per c1"),
    ],
)
def test_a_bent_target_is_explained_as_it_is_bent(bend: str, numbers: tuple[float, ...], words: str) -> None:
    """And what is said per unit is explained per unit."""
    per = "c1" if bend == "none" else ""
    scorer = compile_pipeline(regressor(1, plain(3), bend=bend, numbers=numbers, per=per), plain(3))
    assert isinstance(scorer, CompiledScorer)
    matrix = np.abs(np.nan_to_num(boosters.rows(2, 9)[:, :3])) + 0.1
    told = exact(scorer, matrix[3:])
    assert told.of(0) == words
    score = told.explained(matrix, np.zeros(9, int)).score
    answer = BENDS[bend].back(score, numbers) * (matrix[:, 1] if per else 1)
    np.testing.assert_allclose(answer, scorer.score(matrix))
    assert_defined(scorer, matrix[:2], matrix[3:])


def blend(kind: type, members: list[Any], contract: Contract) -> Fast:
    found = compile_pipeline(Pipeline([("blend", kind(members, [0.25, 0.75]))]), contract)
    assert not hasattr(found, "score") or hasattr(found, "members")
    return found  # type: ignore[return-value]  # checked where it is used


def test_a_mean_of_numbers_is_explained_by_the_mean() -> None:
    """Each value is the weighted mean of the members' values, and all sum to the answer."""
    members, contract = [regressor(1, plain(3)), regressor(2, plain(3))], plain(3)
    scorer = blend(BlendRegressor, members, contract)
    matrix = boosters.rows(5, 12)[:, :3]
    told = explainer(scorer, contract, matrix[4:])
    assert isinstance(told, Exact)
    found = told.explained(matrix, np.zeros(12, int))
    np.testing.assert_allclose(found.score, scorer.score(matrix))
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), found.score)
    np.testing.assert_allclose(found.contributions[0], brute(scorer.score, matrix[0], matrix[4:]), atol=1e-12)


def test_a_mean_of_what_is_bent_is_sampled() -> None:
    """The mean of probabilities is no sum of log-odds: what is explained then is the answer, and that is said."""
    contract, seen = plain(3, 2), np.nan_to_num(boosters.rows(1)[:, :3])
    lines = [LogisticRegression(C=c).fit(seen, seen[:, 0] > 0) for c in (0.01, 1.0)]
    members = [Pipeline([("nothing", FunctionTransformer().fit(seen)), ("model", line)]) for line in lines]
    told = explainer(blend(BlendClassifier, members, contract), contract, seen[:5])
    assert isinstance(told, Sampled)
    assert told.of(1) == "probability of k1"
    assert told.method.startswith("sampled Shapley values")
    assert told.method.endswith("because of a mean of models that are bent before they are averaged")


def test_columns_derived_of_one_are_exact_and_of_several_sampled() -> None:
    """Unless no tree asks them."""
    background = reference.rows(2, 6)
    for features, exactly in (
        ({"columns": {"hour": "hour(berlin)", "log_area": "log(area)"}}, True),
        ({"columns": {"ratio": "area / rooms"}}, False),
        ({"columns": {"nothing": "0 * area / rooms"}}, True),
    ):
        pipeline, contract = fitted(features)  # type: ignore[arg-type]  # so it is read from a file
        scorer = compile_pipeline(pipeline, contract)
        told = explainer(scorer, contract, background)
        assert isinstance(told, Exact) == exactly, features
        assert exactly or "derived of area and rooms" in told.method
        if exactly:
            assert isinstance(scorer, CompiledScorer)
            matrix, codes = reference.rows(3, 4), np.zeros(4, int)
            found = told.explained(matrix, codes)
            np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), scorer.score(matrix))
            for name in ("area", "berlin") if "hour" in features["columns"] else ():
                place = list(contract.slots).index(name)
                sampled = Sampled(scorer.score, contract, background, "").explained(matrix, codes)
                np.testing.assert_allclose(found.contributions[:, place], sampled.contributions[:, place], atol=3)


def test_calibrated_chances_are_explained_before_their_calibration() -> None:
    """A calibration is a bend that no sum goes through."""
    scorer = pair("histogram-2")[1]
    calibrated = CalibratedScorer(scorer, Calibration(kind="sigmoid", slope=(2.0,), offset=(0.0,)))
    told = explainer(calibrated, contract_for(2), rows(4, 5))
    assert told.of(1) == "log-odds of class1, before calibration"
    codes = np.ones(5, int)
    plainly = exact(scorer, rows(4, 5)).explained(rows(3, 5), codes)
    np.testing.assert_array_equal(told.explained(rows(3, 5), codes).contributions, plainly.contributions)


def test_shares_are_chances_of_orders() -> None:
    """p! q! / (p + q + 1)!, also where factorials have no numbers any more."""
    shares = shares_of(200)
    for p, q in ((0, 0), (1, 0), (0, 3), (2, 5), (99, 70)):
        expected = 1 / ((p + q + 1) * math.comb(p + q, p))
        assert shares[p, q] == pytest.approx(expected, rel=1e-12)
    assert np.isfinite(shares).all()
