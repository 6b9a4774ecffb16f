"""Given: a file of another library's trees becomes a pipeline that says what the library says, or is refused."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml

from components.modelling.given.reading import read_model
from serving.bundle.model_file import load_model, write_model
from serving.contract import Contract
from serving.errors import DataError, UsageError
from serving.scoring.api import SklearnScorer

KINDS = ("city", "suburb", "coast")
TASKS = ("regression", "two", "three")
NAMES = ("area", "kind", "rooms")
FILES = (".json", ".ubj", ".txt", ".cbm")
LIBRARY = {".json": "xgboost", ".ubj": "xgboost", ".txt": "lightgbm", ".cbm": "catboost"}


def contract(task: str = "regression", names: tuple[str, ...] = NAMES, **target: Any) -> Contract:
    types: dict[str, Any] = {
        "area": {"type": "float", "nullable": True},
        "kind": {"type": "category", "values": list(KINDS), "nullable": True},
        "rooms": {"type": "int"},
        "extra": {"type": "float"},
    }
    classes = {"two": ["no", "yes"], "three": ["low", "middle", "high"]}.get(task, [])
    return Contract.model_validate(
        {"columns": {name: types[name] for name in names}, "target": {"name": "y", "classes": classes, **target}}
    )


def rows(n: int = 300) -> np.ndarray:
    """Of the contract: numbers with gaps, codes with gaps, numbers."""
    random = np.random.default_rng(3)
    area, kind = random.normal(100, 30, n), random.integers(0, 3, n).astype(float)
    area[::11], kind[::13] = np.nan, np.nan
    return np.column_stack([area, kind, random.integers(1, 9, n)])


def target(matrix: np.ndarray, task: str) -> np.ndarray:
    full = np.nan_to_num(matrix)
    score = full[:, 0] + 20 * (full[:, 1] == 1) + 5 * full[:, 2]
    return {"regression": score, "two": (score > 130).astype(int), "three": np.digitize(score, [110, 140])}[task]


def taught(library: str, task: str, table: Any, labels: np.ndarray, **more: Any) -> Any:
    package, side = importlib.import_module(library), "Regressor" if task == "regression" else "Classifier"
    if library == "xgboost":
        return getattr(package, f"XGB{side}")(n_estimators=8, n_jobs=1, **more).fit(table, labels)
    if library == "lightgbm":
        kind = getattr(package, f"LGBM{side}")
        return kind(n_estimators=8, min_child_samples=5, n_jobs=1, verbose=-1, **more).fit(table, labels)
    kind = getattr(package, f"CatBoost{side}")
    return kind(iterations=8, depth=3, verbose=False, allow_writing_files=False, thread_count=1, **more).fit(
        table, labels
    )


def saved(model: Any, file: Path) -> Path:
    if file.suffix == ".txt":
        getattr(model, "booster_", model).save_model(str(file))
    else:
        model.save_model(str(file))
    return file


def own(model: Any, table: Any) -> np.ndarray:
    answer = model.predict_proba(table) if hasattr(model, "predict_proba") else model.predict(table)
    return np.asarray(answer, np.float64)


def said(file: Path, rules: Contract, matrix: np.ndarray, **named: str) -> np.ndarray:
    """What the model in *file* answers once a bundle has held it."""
    ready = read_model(file, named).ready(rules)
    ready.check(matrix, rules)
    return SklearnScorer(load_model(write_model(ready.pipeline)), rules, "of a test").score(matrix)


def assert_same(answer: np.ndarray, expected: np.ndarray, *, rounded: bool = False) -> None:
    off = np.abs(answer - expected)
    assert (off <= (16 * np.spacing(np.abs(expected)) if rounded else 0)).all(), off.max()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("form", ["names", "another-order", "places"])
def test_a_file_says_what_its_library_says(tmp_path: Path, suffix: str, task: str, form: str) -> None:
    """By the names in it, in whatever order, or by place where it has none; gaps and codes as it learned them."""
    matrix, library = rows(), LIBRARY[suffix]
    order = [2, 0, 1] if form == "another-order" else [0, 1, 2]
    table: Any = pd.DataFrame(matrix[:, order], columns=[NAMES[place] for place in order])
    table = table.to_numpy() if form == "places" else table
    model = taught(library, task, table, target(matrix, task))
    file = saved(model, tmp_path / f"model{suffix}")

    answer = said(file, contract(task), matrix)

    assert_same(answer, own(model, table), rounded=library == "catboost" and task == "three")
    told = " ".join(read_model(file).ready(contract(task)).notes)
    assert ("met by place" in told) == (form == "places")
    assert "kind by the contract's codes: city 0, suburb 1, coast 2" in told


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
@pytest.mark.parametrize("form", ["own", "scikit-learn", "sklearn-flavor"])
def test_a_directory_of_mlflow_says_what_its_library_says(tmp_path: Path, library: str, task: str, form: str) -> None:
    """The library's own file under whatever name MLflow gives it, or its scikit-learn form."""
    matrix = rows()
    table = pd.DataFrame(matrix, columns=list(NAMES))
    model = taught(library, task, table, target(matrix, task))
    suffix = {"xgboost": ".ubj", "lightgbm": ".txt", "catboost": ".cbm"}[library]
    name = {"xgboost": "model.xgb", "lightgbm": "model.lgb", "catboost": "model.cb"}[library]
    if form == "own":
        saved(model, tmp_path / f"model{suffix}").rename(tmp_path / name)
    else:
        joblib.dump(model, tmp_path / (name := "model.pkl"))
    flavor = {"sklearn": {"pickled_model": name}} if form == "sklearn-flavor" else {library: {"data": name}}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": {}, **flavor}}))

    answer = said(tmp_path, contract(task), matrix)

    assert_same(answer, own(model, table), rounded=library == "catboost" and task == "three")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_a_pipeline_that_ends_in_such_trees_says_the_same(tmp_path: Path, library: str, task: str) -> None:
    """Its last step becomes arrays, and what stands before stays."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    matrix, rules = rows(), contract(task)
    words = OneHotEncoder(categories=[list(KINDS)], handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("kind", words, ["kind"])], remainder="passthrough")
    table = rules.frame(matrix)
    x = columns.fit_transform(table)
    model = taught(library, task, x, target(matrix, task))
    joblib.dump(Pipeline([("columns", columns), ("model", model)]), tmp_path / "model.joblib")

    answer = said(tmp_path / "model.joblib", rules, matrix)

    assert_same(answer, own(model, x), rounded=library == "catboost" and task == "three")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", TASKS)
def test_categories_that_lightgbm_codes_itself_keep_its_codes(tmp_path: Path, task: str) -> None:
    """In whatever order the contract has them; a value that training had not is missing, as there."""
    matrix = rows()
    words = np.array([*KINDS, None], dtype=object)[np.nan_to_num(matrix[:, 1], nan=3).astype(int)]
    table = pd.DataFrame(matrix, columns=list(NAMES)).assign(
        kind=pd.Categorical(list(np.where(words == "coast", None, words)), categories=["suburb", "city"])
    )
    model = taught("lightgbm", task, table, target(matrix, task))

    answer = said(saved(model, tmp_path / "model.txt"), contract(task), matrix)

    assert_same(answer, own(model, table))


def _numbers(library: str, **more: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        matrix = rows()
        table = pd.DataFrame(matrix, columns=list(NAMES))
        suffix = next(suffix for suffix, name in LIBRARY.items() if name == library)
        return saved(taught(library, "regression", table, target(matrix, "regression"), **more), folder / f"m{suffix}")

    return make


def _categories(library: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        matrix = rows()
        words = np.array([*KINDS, "none"])[np.nan_to_num(matrix[:, 1], nan=3).astype(int)]
        kind = words if library == "catboost" else pd.Categorical(list(words))
        table = pd.DataFrame(matrix, columns=list(NAMES)).assign(kind=kind)
        more = {"cat_features": ["kind"]} if library == "catboost" else {"enable_categorical": True}
        suffix = next(suffix for suffix, name in LIBRARY.items() if name == library)
        return saved(taught(library, "regression", table, target(matrix, "regression"), **more), folder / f"m{suffix}")

    return make


def _file(name: str, content: bytes = b"nothing") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _directory(text: str | None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        if text is not None:
            (folder / "MLmodel").write_text(text)
        return folder

    return make


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(_numbers("xgboost", booster="dart"), "booster: expected gbtree; seen 'dart'", id="dart"),
        pytest.param(_numbers("xgboost", booster="gblinear"), "expected gbtree", id="gblinear"),
        pytest.param(
            _numbers("xgboost", objective="reg:squaredlogerror"), "objective: expected one of", id="objective"
        ),
        pytest.param(_numbers("lightgbm", linear_tree=True), "linear_tree", id="linear-trees"),
        pytest.param(_numbers("lightgbm", zero_as_missing=True), "zero_as_missing", id="zeros"),
        pytest.param(_numbers("catboost", grow_policy="Lossguide"), "grow_policy", id="trees-of-any-shape"),
        pytest.param(_categories("xgboost"), "enable_categorical: train it on the codes", id="xgboost-categories"),
        pytest.param(_categories("catboost"), "train it on the codes of categories", id="catboost-categories"),
        pytest.param(_file("m.onnx"), "expected .skops or .joblib", id="another-kind"),
        pytest.param(_file("m.json", b"{}"), "cannot be read as a model of xgboost", id="other-json"),
        pytest.param(_file("m.txt"), "begin with the line 'tree'", id="other-text"),
        pytest.param(_file("m.cbm"), "cannot be read as a model of catboost", id="no-cbm"),
        pytest.param(_file("m.skops"), "cannot be read as a model of skops", id="no-skops"),
        pytest.param(_directory(None), "no directory with an MLmodel", id="any-directory"),
        pytest.param(_directory("flavors: {keras: {}}"), "expected one of sklearn, lightgbm", id="another-flavor"),
        pytest.param(_directory("flavors: {xgboost: {data: ../m.ubj}}"), "points out of it", id="outside"),
    ],
)
def test_what_has_no_exact_form_is_refused_by_its_reason(
    tmp_path: Path, make: Callable[[Path], Path], told: str
) -> None:
    """In one sentence, before anything is made."""
    with pytest.raises(DataError, match=r".+") as refusal:
        read_model(make(tmp_path)).ready(contract())
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize(
    ("rules", "named", "told"),
    [
        pytest.param(contract(names=("area", "kind")), {}, "the contract has no rooms", id="a-name-without-a-column"),
        pytest.param(contract(), {"bath": "rooms"}, "knows no such name", id="a-name-that-is-not-there"),
        pytest.param(contract(), {"rooms": "area"}, "two features", id="one-column-twice"),
        pytest.param(contract("two"), {}, "predicts numbers", id="another-target"),
    ],
)
def test_columns_that_do_not_meet_are_told_by_name(
    tmp_path: Path, suffix: str, rules: Contract, named: dict[str, str], told: str
) -> None:
    """Nothing is guessed."""
    file = _numbers(LIBRARY[suffix])(tmp_path)
    with pytest.raises(DataError, match=told):
        read_model(file, named).ready(rules)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", FILES)
def test_names_can_be_told_and_columns_left_out(tmp_path: Path, suffix: str) -> None:
    """A contract may call a column otherwise, and have more of them, which is said."""
    matrix = rows()
    table = pd.DataFrame(matrix, columns=["m2", "kind", "rooms"])
    model = taught(LIBRARY[suffix], "regression", table, target(matrix, "regression"))
    file = saved(model, tmp_path / f"model{suffix}")
    rules = contract(names=("extra", *NAMES))
    wide = np.column_stack([np.ones(len(matrix)), matrix])

    assert_same(said(file, rules, wide, m2="area"), own(model, table))

    told = " ".join(read_model(file, {"m2": "area"}).ready(rules).notes)
    assert "the model computes with none of extra" in told


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", FILES)
def test_places_are_met_only_where_they_are_as_many(tmp_path: Path, suffix: str) -> None:
    """A file without names tells nothing but how many."""
    matrix = rows()
    file = saved(taught(LIBRARY[suffix], "regression", matrix, target(matrix, "regression")), tmp_path / f"m{suffix}")
    with pytest.raises(DataError, match=r"no names for its 3 features, and the contract has 4 columns"):
        read_model(file).ready(contract(names=("extra", *NAMES)))


@pytest.mark.filterwarnings("ignore")
def test_rounds_behind_the_best_one_are_left_out(tmp_path: Path) -> None:
    """XGBoost keeps them in its file and does not use them; it is said."""
    matrix = rows()
    labels, kind = target(matrix, "regression"), importlib.import_module("xgboost").XGBRegressor
    model = kind(n_estimators=200, early_stopping_rounds=3, n_jobs=1)
    model.fit(matrix[:200], labels[:200], eval_set=[(matrix[200:], labels[200:])], verbose=False)
    file = saved(model, tmp_path / "model.json")
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()

    assert_same(said(file, contract(), matrix), own(model, matrix))

    assert f"its {model.best_iteration + 1} rounds up to the best one" in read_model(file).ready(contract()).notes


@pytest.mark.filterwarnings("ignore")
def test_trees_that_say_something_else_here_are_refused(tmp_path: Path) -> None:
    """The library is asked about the same rows, and every bit counts."""
    rules, matrix = contract(), rows()
    ready = read_model(_numbers("xgboost")(tmp_path)).ready(rules)
    ready.pipeline["model"].values_ = ready.pipeline["model"].values_ * (1 + 1e-6)
    with pytest.raises(DataError, match="no exact form"):
        ready.check(matrix, rules)


def test_names_of_a_pipeline_are_its_own_affair(tmp_path: Path) -> None:
    """A column by another name would pass its own checks by."""
    from sklearn.linear_model import LinearRegression

    joblib.dump(LinearRegression().fit(np.eye(3), [1, 2, 3]), tmp_path / "m.joblib")
    with pytest.raises(UsageError, match="--column"):
        read_model(tmp_path / "m.joblib", {"a": "area"})
