"""A model that was fitted elsewhere becomes a version, or a sentence says why not."""

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

from components.steps.keys import trusted_keys
from pipelines import settings
from serving.bundle.bundle import open_bundle
from tests.pipelines.here.support import contract, one_sentence, slipway, write_project, write_table

SALES = pl.DataFrame(
    {
        "property_id": [f"p{n}" for n in range(200)],
        "sold_at": ["2024-05-01"] * 200,
        "region": ["city", "suburb", "coast", "country"] * 50,
        "area_m2": [20.0 + n for n in range(200)],
        "distance_km": [float(n % 50) for n in range(200)],
        "price": [30_000.0 + 1_000 * n for n in range(200)],
    }
)
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
    """Its bundle answers what the pipeline does; the version says how good it is and that no gate was asked."""
    pipeline, file = fitted(LinearRegression()), tmp_path / f"model.{form}"
    joblib.dump(pipeline, file) if form == "joblib" else skops.io.dump(pipeline, file)

    said = slipway("--json", "models", "add", file, "--project", project, "--reason", "ours", home=tmp_path / "home")

    assert said.code == 0, said.err
    version = said.value["version"]
    assert (version["model"], version["version"], version["approval"]) == ("homes", 1, "pending")
    assert "no gate was asked (ours)" in version["provenance"]["gate"]["sentence"]
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

    said = slipway("models", "add", file, "--project", project, "--reason", "ours", home=home)

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

    said = slipway("--json", "models", "add", file, "--project", project, "--reason", "ours", home=tmp_path / "home")

    assert said.code == code, said.err
    if code == 0:
        assert said.value["version"]["metrics"]["accuracy"] == pytest.approx(1.0, abs=0.02)
    else:
        assert "in the order 0, 1" in said.err
