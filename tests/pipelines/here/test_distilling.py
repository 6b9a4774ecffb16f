"""A slow model's answers become a fast version, or a sentence says why not."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor, StackingRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from components.modelling.distilling.asking import ROW
from components.steps.keys import trusted_keys
from pipelines import settings
from serving.bundle.bundle import open_bundle
from tests.pipelines.here.support import contract, one_sentence, slipway, write_project, write_table

INPUTS = ["region", "area_m2", "distance_km"]
PUPIL = {"family": "hist_gradient_boosting", "params": {"max_iter": 60}}


def sales(count: int = 500) -> pl.DataFrame:
    """Prices of area, distance and region, each as far off as the next."""
    random = np.random.default_rng(5)
    area, distance = random.uniform(20, 200, count), random.uniform(0, 50, count)
    places = random.integers(0, 4, count)
    price = 60_000 + 2_000 * area - 1_500 * distance + 15_000 * places + random.normal(0, 25_000, count)
    return pl.DataFrame(
        {
            "property_id": [f"p{n}" for n in range(count)],
            "sold_at": [f"2024-0{5 if n % 5 else 8}-01" for n in range(count)],
            "region": np.array(["city", "suburb", "coast", "country"])[places],
            "area_m2": area,
            "distance_km": distance,
            "price": np.maximum(price, 21_000),
        }
    )


SALES = sales()
LEARNED = SALES.filter(pl.col("sold_at").str.starts_with("2024-05"))
ABOUT = SALES["price"] + pl.Series(np.random.default_rng(6).normal(0, 80_000, len(SALES)))
DEAR = SALES.with_columns(price=pl.Series(np.where(ABOUT.median() < ABOUT, "yes", "no")))
CLASSES = {"name": "price", "classes": ["no", "yes"]}


class Noise:
    """A teacher of another library, which no pupil can follow."""

    def predict(self, table: Any) -> Any:
        return np.where(np.random.default_rng(len(table)).random(len(table)) < 0.5, 30_000.0, 900_000.0)


class Elsewhere:
    """A teacher of another library: no estimator of scikit-learn, and its probabilities in a table with names."""

    def __init__(self, inner: Pipeline) -> None:
        self.inner = inner

    def predict_proba(self, table: Any) -> Any:
        import pandas as pd

        return pd.DataFrame(self.inner.predict_proba(table), columns=self.inner.classes_)[["yes", "no"]]


def fitted(last: BaseEstimator, table: pl.DataFrame = LEARNED) -> Pipeline:
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("w", words, ["region"]), ("n", StandardScaler(), INPUTS[1:])])
    return Pipeline([("c", columns), ("m", last)]).fit(table[INPUTS].to_pandas(), table["price"].to_numpy())


def stack() -> Pipeline:
    forests = (RandomForestRegressor(20, random_state=0), ExtraTreesRegressor(20, random_state=0))
    parts = [(type(one).__name__, one) for one in forests]
    return fitted(StackingRegressor(parts, final_estimator=KNeighborsRegressor(15), cv=2))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def project_of(tmp_path: Path, *, classes: bool = False, **changes: Any) -> Path:
    write_table(tmp_path, DEAR if classes else SALES)
    usual: dict[str, Any] = {"model": PUPIL, "features": {}, "gates": []}
    if classes:
        usual |= {"contract": contract(target=CLASSES), "gates": [{"metric": "roc_auc", "at_least": 0.6}]}
    return write_project(tmp_path, **usual | changes)


def kept(model: Any, tmp_path: Path) -> Path:
    joblib.dump(model, file := tmp_path / "teacher.joblib")
    return file


def distilled(home: Path, project: Path, *words: object, rows: int = 1_500) -> Any:
    return slipway("--json", "models", "distill", *words, "--project", project, "--rows", rows, home=home)


def opened(version: dict[str, Any], home: Path) -> Any:
    keys = trusted_keys(settings.load(home=str(home)).key)
    return open_bundle(Path(version["bundle_uri"].removeprefix("file://")), keys, deep=True)


@pytest.mark.parametrize(
    "teacher",
    [
        pytest.param(lambda: fitted(KNeighborsRegressor(15)), id="neighbours"),
        pytest.param(stack, id="stack", marks=pytest.mark.slow),
    ],
)
def test_a_pupil_says_what_its_teacher_does_in_a_fast_form(tmp_path: Path, home: Path, teacher: Any) -> None:
    """A model that no bundle can hold becomes a signed version that waits, with both losses beside each other."""
    project, model = project_of(tmp_path), teacher()

    said = distilled(home, project, kept(model, tmp_path))

    assert said.code == 0, said.err
    version = said.value["version"]
    assert (version["version"], version["approval"]) == (1, "pending")
    bundle = opened(version, home)
    assert bundle.scorer.form == "trees"
    told = version["provenance"]
    assert told["pupil_loss"] <= 1.05 * told["teacher_loss"]
    assert told["pupil_loss"] == pytest.approx(version["metrics"]["rmse"])
    held = SALES.filter(pl.col("sold_at").str.starts_with("2024-08"))
    theirs = model.predict(held[INPUTS].to_pandas())
    assert told["teacher_loss"] == pytest.approx(float(np.sqrt(np.mean((theirs - held["price"].to_numpy()) ** 2))))
    ours = bundle.scorer.score(bundle.contract.encode(held[INPUTS].to_pandas()))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.98
    for words in ("its teacher is", "it was read as a pickle", "ms as trees, and its teacher", "where its teacher has"):
        assert words in said.value["said"]


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        pytest.param(lambda: fitted(KNeighborsRegressor(1), SALES), "where its teacher has", id="has-seen-the-truth"),
        pytest.param(Noise, "a guard refuses", id="noise"),
    ],
)
def test_a_pupil_that_cannot_follow_is_refused(tmp_path: Path, home: Path, teacher: Any, told: str) -> None:
    """What a teacher knows by heart, and what is no knowledge; `--reason` takes it all the same, which is kept."""
    project, file = project_of(tmp_path), kept(teacher(), tmp_path)

    said = distilled(home, project, file, rows=0)

    one_sentence(said, 5, told, "nothing was registered")
    assert slipway("--json", "models", "list", home=home).value["versions"] == []
    taken = distilled(home, project, file, "--reason", "we know", rows=0)
    assert taken.code == 0, taken.err
    sentence = taken.value["version"]["provenance"]["gate"]["sentence"]
    assert "taken all the same (we know), though" in sentence
    assert told in sentence


def test_probabilities_are_taught_as_such(tmp_path: Path, home: Path) -> None:
    """To the project's own classes, in whatever order a teacher of another library has them."""
    project, inner = project_of(tmp_path, classes=True), fitted(KNeighborsClassifier(40), DEAR)

    said = distilled(home, project, kept(Elsewhere(inner), tmp_path))

    assert said.code == 0, said.err
    version = said.value["version"]
    bundle = opened(version, home)
    assert bundle.scorer.form == "trees"
    assert version["provenance"]["pupil_loss"] == pytest.approx(version["metrics"]["log_loss"])
    ours = bundle.scorer.score(bundle.contract.encode(SALES[INPUTS].to_pandas()))[:, 1]
    assert np.abs(ours - inner.predict_proba(SALES[INPUTS].to_pandas())[:, 1]).mean() < 0.05
    assert "of the same class in" in said.value["said"]


@pytest.mark.parametrize(
    "classes", [pytest.param(False, id="numbers"), pytest.param(True, id="classes", marks=pytest.mark.slow)]
)
def test_answers_from_elsewhere_make_the_same_bundle(tmp_path: Path, home: Path, classes: bool) -> None:
    """The rows go out in a file and come back answered, in any order; the bundle is the one of the teacher's file."""
    model = fitted(KNeighborsClassifier(40), DEAR) if classes else fitted(KNeighborsRegressor(15))
    project, rows, back = project_of(tmp_path, classes=classes), tmp_path / "rows.parquet", tmp_path / "answers.parquet"
    by_file = distilled(home, project, kept(model, tmp_path), rows=300)

    asked = distilled(home, project, "--ask", rows, rows=300)

    table = pl.read_parquet(rows)
    assert asked.value["rows"] == len(table) == len(SALES) + 300
    assert table.columns == [ROW, *INPUTS]
    said = np.atleast_2d((model.predict_proba if classes else model.predict)(table[INPUTS].to_pandas()).T)
    named = zip(asked.value["columns"], said, strict=True)
    answers = table.select(ROW, **{name: pl.Series(one) for name, one in named})
    answers.sample(fraction=1, shuffle=True, seed=1).write_parquet(back)
    by_answers = slipway("--json", "models", "distill", "--answers", back, "--project", project, home=home)
    assert by_answers.code == 0, by_answers.err
    assert by_answers.value["version"]["digest"] == by_file.value["version"]["digest"]


def test_answers_to_other_rows_are_refused(tmp_path: Path, home: Path) -> None:
    """What was asked before the table changed says nothing of the rows that would be asked now."""
    project, rows, back = project_of(tmp_path), tmp_path / "rows.parquet", tmp_path / "answers.csv"
    assert distilled(home, project, "--ask", rows, rows=50).code == 0
    pl.read_parquet(rows).select(ROW, price=pl.lit(90_000.0)).write_csv(back)
    write_table(tmp_path, SALES.with_columns(pl.col("area_m2") + 1))

    said = slipway("models", "distill", "--answers", back, "--project", project, home=home)

    one_sentence(said, 4, "of other rows than are asked now", "ask again")
    broken = tmp_path / "broken.parquet"
    broken.write_text("no")
    said = slipway("models", "distill", "--answers", broken, "--project", project, home=home)
    one_sentence(said, 4, "cannot be read", "expected parquet")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param((), "one of TEACHER", id="nothing"),
        pytest.param(("model.joblib", "--ask", "rows.parquet"), "one of TEACHER", id="two"),
        pytest.param(("--answers", "answers.csv", "--rows", "7"), "to the rows asked", id="rows-of-answers"),
        pytest.param(("model.joblib", "--at-most", "much"), "such as 5%", id="no-share"),
        pytest.param(("nowhere.joblib",), "no such file", id="no-file"),
    ],
)
def test_a_call_without_sense_is_a_usage_error(tmp_path: Path, home: Path, words: Any, told: str) -> None:
    """It says what was expected."""
    one_sentence(slipway("models", "distill", *words, "--project", project_of(tmp_path), home=home), 2, told)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [False, True], ids=["numbers", "classes"])
def test_an_open_family_is_searched_for_the_answers(tmp_path: Path, home: Path, classes: bool) -> None:
    """`model: auto` chooses the pupil by what the teacher says; a column of open categories is learned first."""
    rules = contract(target=CLASSES) if classes else contract()
    rules = rules | {"columns": rules["columns"] | {"region": {"type": "category"}}}
    changes = {"model": {"family": "auto"}, "search": {"trials": 3}, "contract": rules}
    changes |= {"split": {"by": "random", "holdout": 0.2}}  # by one day of training rows no search can cut
    model = fitted(KNeighborsClassifier(40), DEAR) if classes else fitted(KNeighborsRegressor(15))

    said = distilled(home, project_of(tmp_path, classes=classes, **changes), kept(model, tmp_path), "--at-most", "20%")

    assert said.code == 0, said.err
    assert opened(said.value["version"], home).scorer.form in ("trees", "linear")
