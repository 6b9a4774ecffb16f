"""A model that was fitted elsewhere becomes a version, or a sentence says why not."""

import importlib
from pathlib import Path
from typing import Any

import joblib
import polars as pl
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from components.recording.tracking import store_client
from components.steps.keys import trusted_keys
from pipelines import settings
from serving.bundle.bundle import open_bundle
from tests.pipelines.here.support import contract, one_sentence, slipway, write_project, write_table

SALES = pl.DataFrame(
    {
        "property_id": [f"p{n}" for n in range(200)],
        "sold_at": [f"2024-0{5 if n % 5 else 8}-01" for n in range(200)],
        "region": ["city", "suburb", "coast", "country"] * 50,
        "area_m2": [20.0 + n for n in range(200)],
        "distance_km": [float(n % 50) for n in range(200)],
        "price": [30_000.0 + 1_000 * n for n in range(200)],
    }
)
BY_REGION = {"metric": "rmse", "slice": "region", "min_rows": 5}
INPUTS = ["region", "area_m2", "distance_km"]


def fitted(last: BaseEstimator, columns: list[str] = INPUTS) -> Pipeline:
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    pipeline = Pipeline([("c", ColumnTransformer([("w", words, ["region"])], remainder="passthrough")), ("m", last)])
    return pipeline.fit(SALES[columns].to_pandas(), SALES["price"].to_numpy())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_table(tmp_path, SALES)
    return write_project(tmp_path)


@pytest.mark.parametrize("form", ["joblib", "skops"])
def test_a_fitted_pipeline_becomes_a_version_that_waits(tmp_path: Path, project: Path, form: str) -> None:
    """Its bundle answers what the pipeline does; the version says how good it is and who took it against a guard."""
    pipeline, file = fitted(LinearRegression()), tmp_path / f"model.{form}"
    joblib.dump(pipeline, file) if form == "joblib" else skops.io.dump(pipeline, file)

    said = slipway("--json", "models", "import", file, "--project", project, "--reason", "ours", home=tmp_path / "home")

    assert said.code == 0, said.err
    version = said.value["version"]
    assert (version["model"], version["version"], version["approval"]) == ("homes", 1, "pending")
    told = version["provenance"]["gate"]["sentence"]
    assert "taken all the same (ours), though refused: a guard refuses" in told  # its R2 is 1
    assert ("it was read as a pickle" in said.value["said"]) == (form == "joblib")
    assert version["metrics"]["rmse"] >= 0
    keys = trusted_keys(settings.load(home=str(tmp_path / "home")).key)
    bundle = open_bundle(Path(version["bundle_uri"].removeprefix("file://")), keys, deep=True)
    rows = bundle.contract.encode(SALES[INPUTS].to_pandas())
    assert bundle.scorer.score(rows) == pytest.approx(pipeline.predict(SALES[INPUTS].to_pandas()))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        pytest.param(lambda: fitted(KNeighborsRegressor()), "a bundle cannot hold", id="a-family-that-holds-rows"),
        pytest.param(lambda: fitted(LinearRegression(), ["area_m2", "region"]), "distance_km", id="another-column"),
        pytest.param(lambda: fitted(LinearRegression(), INPUTS[::-1]), "in another order", id="another-order"),
        pytest.param(lambda: {"weights": [1, 2]}, "expected an estimator or Pipeline", id="no-model"),
    ],
)
def test_what_cannot_be_a_version_is_refused_in_a_sentence(
    tmp_path: Path, project: Path, model: Any, told: str
) -> None:
    """Nothing is registered, and the sentence says what to change."""
    file, home = tmp_path / "model.joblib", tmp_path / "home"
    joblib.dump(model(), file)

    said = slipway("models", "import", file, "--project", project, "--reason", "ours", home=home)

    one_sentence(said, 5 if "bundle" in told else 4, told)
    assert slipway("--json", "models", "list", home=home).value["versions"] == []


@pytest.mark.parametrize(("classes", "code"), [(["0", "1"], 0), (["1", "0"], 4), (["3", "5"], 0)])
def test_whole_numbers_are_the_classes_that_the_model_was_taught(tmp_path: Path, classes: list[str], code: int) -> None:
    """Never positions in the contract, which mean something to our own models alone."""
    low, high = sorted(map(int, classes))
    taught = SALES.with_columns(price=pl.when(pl.col("area_m2") > 100).then(high).otherwise(low))
    write_table(tmp_path, taught)
    target = {"target": {"name": "price", "classes": classes}}
    project = write_project(
        tmp_path,
        contract=contract(**target),
        model={"family": "logistic_regression"},
        gates=[{"metric": "roc_auc", "at_least": 0.5}],
    )
    forest = RandomForestClassifier(n_estimators=3, random_state=0)
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    pipeline = Pipeline([("c", ColumnTransformer([("w", words, ["region"])], remainder="passthrough")), ("m", forest)])
    pipeline.fit(taught[INPUTS].to_pandas(), taught["price"].to_numpy())
    file = tmp_path / "model.joblib"
    joblib.dump(pipeline, file)

    said = slipway("--json", "models", "import", file, "--project", project, "--reason", "ours", home=tmp_path / "home")

    assert said.code == code, said.err
    if code == 0:
        assert said.value["version"]["metrics"]["accuracy"] == pytest.approx(1.0, abs=0.02)
    else:
        assert "in the order 0, 1" in said.err


@pytest.mark.parametrize(
    ("gates", "sentence"),
    [
        pytest.param([{"metric": "rmse", "at_most": 1e9}], "accepted: its one gate holds", id="a-gate-that-holds"),
        pytest.param([{**BY_REGION, "worst": 1e9}], "its one gate holds", id="a-slice-that-holds"),
        pytest.param([{**BY_REGION, "worst": 10}], "its one gate fails: RMSE", id="a-slice-that-fails"),
        pytest.param([{"metric": "rmse", "at_most": 10}], "its one gate fails: RMSE", id="a-gate-that-fails"),
    ],
)
def test_the_gates_of_the_project_hold_for_it_too(tmp_path: Path, gates: list[dict[str, Any]], sentence: str) -> None:
    """On the rows that the project holds out; a refusal registers nothing unless somebody says why to take it."""
    rough = SALES.with_columns(price=pl.col("price") + pl.Series([8_000.0 * (n % 7 - 1) for n in range(200)]))
    write_table(tmp_path, rough)
    project, file, home = write_project(tmp_path, gates=gates), tmp_path / "model.joblib", tmp_path / "home"
    pipeline = fitted(LinearRegression())
    joblib.dump(pipeline, file)

    said = slipway("--json", "models", "import", file, "--project", project, home=home)

    if "holds" in sentence:
        assert said.code == 0, said.err
        assert sentence in said.value["version"]["provenance"]["gate"]["sentence"]
        assert "judged on 40 rows" in said.value["said"]
        return
    one_sentence(said, 5, sentence, "nothing was registered", "--reason")
    assert slipway("--json", "models", "list", home=home).value["versions"] == []
    taken = slipway("--json", "models", "import", file, "--project", project, "--reason", "we know", home=home)
    assert "taken all the same (we know), though refused" in taken.value["version"]["provenance"]["gate"]["sentence"]


def test_rows_of_another_table_are_judged_on_as_they_are(tmp_path: Path, project: Path) -> None:
    """None of them is held back, and none is taken for a row that the model was fitted on."""
    file = tmp_path / "model.joblib"
    joblib.dump(fitted(LinearRegression()), file)
    rows = write_table(tmp_path, SALES.head(120).with_columns(sold_at=pl.lit("2024-05-01")), "others.csv")

    words = ("--rows", rows, "--project", project, "--reason", "ours")
    said = slipway("--json", "models", "import", file, *words, home=tmp_path / "home")

    assert said.code == 0, said.err
    assert "judged on 120 rows" in said.value["said"]
    assert "training rows" not in said.value["version"]["provenance"]["gate"]["sentence"]


def test_what_was_exported_can_be_brought_again(tmp_path: Path, project: Path) -> None:
    """The file of an export answers what the version did."""
    file, home = tmp_path / "model.joblib", tmp_path / "home"
    joblib.dump(fitted(LinearRegression()), file)
    words = ("--project", project, "--reason", "ours")
    first = slipway("--json", "models", "import", file, *words, home=home).value["version"]

    out = tmp_path / "out.joblib"
    assert slipway("models", "export", "homes", 1, "--joblib", out, home=home).code == 0
    again = slipway("--json", "models", "import", out, *words, home=home).value["version"]

    assert again["version"] == 2
    assert again["metrics"] == first["metrics"]


TREES: dict[str, Any] = {
    "xgboost": ("XGBRegressor", {"n_estimators": 20, "n_jobs": 1}, "model.ubj"),
    "lightgbm": ("LGBMRegressor", {"n_estimators": 20, "n_jobs": 1, "verbose": -1}, "model.txt"),
    "catboost": (
        "CatBoostRegressor",
        {"iterations": 20, "verbose": False, "allow_writing_files": False},
        "model.cbm",
    ),
}


def trees(library: str, file: Path) -> Any:
    """Of codes in the order of the contract, written to *file*; returns the model."""
    kind, settings, _ = TREES[library]
    codes = pl.col("region").replace_strict({"city": 0, "suburb": 1, "coast": 2, "country": 3})
    table = SALES.select(codes, "area_m2", "distance_km").to_pandas()
    model = getattr(importlib.import_module(library), kind)(**settings).fit(table, SALES["price"].to_numpy())
    getattr(model, "booster_", model).save_model(str(file))
    return model, table


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", TREES)
def test_trees_of_another_library_become_a_version(tmp_path: Path, project: Path, library: str) -> None:
    """Signed, with golden rows and profile, in the fast form, and with what the library says of each row."""
    file, home = tmp_path / TREES[library][2], tmp_path / "home"
    model, table = trees(library, file)

    said = slipway("--json", "models", "import", file, "--project", project, "--reason", "ours", home=home)

    assert said.code == 0, said.err
    version = said.value["version"]
    keys = trusted_keys(settings.load(home=str(home)).key)
    bundle = open_bundle(Path(version["bundle_uri"].removeprefix("file://")), keys, deep=True)
    assert bundle.scorer.form == "trees"
    answer = bundle.scorer.score(bundle.contract.encode(SALES[INPUTS].to_pandas()))
    assert answer.tolist() == [float(one) for one in model.predict(table)]
    assert "region by the contract's codes: city 0, suburb 1, coast 2, ..." in said.value["said"]


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_the_tracking_store_becomes_a_version(tmp_path: Path, project: Path) -> None:
    """By its address; one that is not there is said."""
    home = tmp_path / "home"
    trees("xgboost", tmp_path / "model.ubj")
    (tmp_path / "MLmodel").write_text("flavors: {xgboost: {data: model.ubj}}")
    told = set()
    with store_client(settings.load(home=str(home)).tracking) as client:
        experiment = client.create_experiment("theirs", artifact_location=(tmp_path / "artifacts").as_uri())
        run = client.create_run(experiment).info.run_id
        for name in ("MLmodel", "model.ubj"):
            client.log_artifact(run, str(tmp_path / name), "model")
        client.create_registered_model("homes")
        client.create_model_version("homes", f"{(tmp_path / 'artifacts').as_uri()}/{run}/artifacts/model", run)

    words = ("--project", project, "--reason", "ours")
    for address in (f"runs:/{run}/model", "models:/homes/1"):
        said = slipway("--json", "models", "import", address, *words, home=home)
        assert said.code == 0, said.err
        assert "3 features met by name" in said.value["said"]
        told.add(said.value["version"]["provenance"]["file"])
    assert len(told) == 1, "two addresses of the same files"
    missing = slipway("models", "import", "models:/homes/7", *words, home=home)
    one_sentence(missing, 4, "models:/homes/7", "has no such model")
