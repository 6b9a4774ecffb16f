"""The model that every server of a benchmark answers with, and the requests they get."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no annotations

from components.modelling.families import ModelSpec, build_estimator
from components.modelling.profiles import profile
from serving.bundle.bundle import write_bundle
from serving.bundle.signing import SigningKey
from serving.contract import Contract, Matrix
from tests.load import request

TRAINING_ROWS = 20_000
CONTRACT = Contract.model_validate(
    {
        "target": {"name": "price", "unit": "EUR"},
        "columns": {
            "area_m2": {"type": "float", "unit": "m2", "range": [10, 1500]},
            "rooms": {"type": "int", "range": [1, 30]},
            "age": {"type": "float", "range": [0, 300]},
            "floor": {"type": "int", "range": [0, 100]},
            "distance_km": {"type": "float", "range": [0, 150]},
            "latitude": {"type": "float", "range": [-90, 90]},
            "longitude": {"type": "float", "range": [-180, 180]},
            "interest_rate": {"type": "float", "range": [0, 20]},
            "kind": {"type": "category", "values": ["house", "flat", "terrace", "plot"]},
            "condition": {"type": "category", "values": ["poor", "fair", "good", "new"]},
        },
    }
)
NAMES = CONTRACT.names
NUMBERS = 8  # the first columns; categories follow
MODELS: Mapping[str, ModelSpec] = {
    "hgb": ModelSpec(
        family="hist_gradient_boosting", params={"max_iter": 300, "max_leaf_nodes": 31, "early_stopping": False}
    ),
    "ridge": ModelSpec(family="ridge"),
    "forest": ModelSpec(family="random_forest", params={"n_estimators": 100}),
}


def rows(count: int, seed: int) -> Matrix:
    """Homes as a coded matrix; some columns have few digits and some all that a float has, as tables do."""
    draw = np.random.default_rng(seed)
    columns = [
        draw.gamma(6, 16, count).clip(12, 900).round(1),
        draw.integers(1, 9, count),
        draw.gamma(2, 18, count).clip(0, 250).round(),
        draw.integers(0, 12, count),
        draw.gamma(2, 5, count).clip(0, 140),
        draw.normal(50.1, 0.2, count),
        draw.normal(8.7, 0.3, count),
        draw.uniform(0.5, 6, count).round(2),
        draw.integers(0, 4, count),
        draw.integers(0, 4, count),
    ]
    return np.column_stack(columns).astype(np.float64)


def prices(matrix: Matrix) -> np.ndarray[Any, np.dtype[np.float64]]:
    area, rooms, age, _, far, north, east, rate, kind, condition = matrix.T
    value = 3_000 * area * np.exp(-far / 40) * (1 - age / 500) * (1 + 0.05 * condition) * (1 - 0.03 * rate)
    value *= 1 + 0.1 * np.sin(north * 9) * np.cos(east * 7) + 0.02 * rooms * (kind == 0)
    return np.asarray(value * np.random.default_rng(3).lognormal(0, 0.05, len(matrix)))


def write(folder: Path, name: str) -> None:
    """The model called *name* as a signed bundle, and as the pickles that other servers load.

    ``columns.joblib`` takes a table with named columns. ``matrix.joblib`` is the same estimator behind the same steps
    fitted on category codes, for servers that make an unnamed array of a list of lists.
    """
    matrix = rows(TRAINING_ROWS, 1)
    target, table = prices(matrix), CONTRACT.frame(matrix)
    words = [list(CONTRACT.columns[name].values) for name in NAMES[NUMBERS:]]
    codes = [[0.0, 1.0, 2.0, 3.0]] * len(words)
    with threadpool_limits(limits=1):
        pipeline = _pipeline(name, list(NAMES), words).fit(table, target)
        unnamed = _pipeline(name, list(range(len(NAMES))), codes).fit(matrix, target)
    key = SigningKey.generate()
    (folder / "stock").mkdir(parents=True)
    write_bundle(
        folder / "bundle",
        pipeline=pipeline,
        contract=CONTRACT,
        profile=profile(matrix, CONTRACT, pipeline.predict(table), target, {}),
        golden=matrix[:200],
        card="",
        provenance={},
        key=key,
    )
    (folder / "public.pem").write_bytes(key.public.pem)
    joblib.dump(pipeline, folder / "stock" / "columns.joblib")
    joblib.dump(unnamed, folder / "stock" / "matrix.joblib")


def _pipeline(name: str, columns: list[Any], categories: list[list[Any]]) -> Pipeline:
    """Two blocks of columns, which is what people write; one transformer per column would slow scikit-learn down."""
    steps = [
        ("numbers", StandardScaler(), columns[:NUMBERS]),
        (
            "words",
            OneHotEncoder(categories=categories, handle_unknown="ignore", sparse_output=False),
            columns[NUMBERS:],
        ),
    ]
    return Pipeline([("columns", ColumnTransformer(steps)), ("model", build_estimator(MODELS[name], "regression", 5))])


@dataclass(frozen=True)
class Shape:
    """One way of asking.

    Attributes:
        theirs: the body stock KServe understands for the same rows; where it can, the very same bytes.
        matrix: whether the stock model is the one of unnamed arrays.
    """

    name: str
    path: str
    ours: bytes
    theirs: bytes
    matrix: bool = False


def words(matrix: Matrix) -> list[list[Any]]:
    """Rows as a person writes them, in the order of the contract."""
    table = []
    for cells in matrix.tolist():
        row: list[Any] = cells
        row[1], row[3] = int(row[1]), int(row[3])
        for at in (8, 9):
            row[at] = CONTRACT.columns[NAMES[at]].values[int(row[at])]
        table.append(row)
    return table


def shapes(matrix: Matrix) -> tuple[Shape, ...]:
    """The same rows as V1 records, V1 arrays and V2 named tensors.

    Stock KServe takes a record only inside of a list of its own, and of an array only numbers, so it gets those.
    """
    table = words(matrix)
    records = [dict(zip(NAMES, row, strict=True)) for row in table]
    tensors = [_tensor(name, list(column)) for name, column in zip(NAMES, zip(*table, strict=True), strict=True)]
    v2 = _json({"parameters": {"content_type": "pd"}, "inputs": tensors})
    v1 = "/v1/models/housing:predict"
    return (
        Shape("V1 records", v1, _json({"instances": records}), _json({"instances": [[one] for one in records]})),
        Shape("V1 arrays", v1, _json({"instances": table}), _json({"instances": matrix.tolist()}), matrix=True),
        Shape("V2 tensors", "/v2/models/housing/infer", v2, v2),
    )


def requests(shape: Shape) -> tuple[bytes, bytes]:
    return request(shape.path, shape.ours), request(shape.path, shape.theirs)


def _tensor(name: str, values: list[Any]) -> dict[str, Any]:
    column = CONTRACT.columns[name]
    datatype = {"category": "BYTES", "int": "INT64"}.get(column.type, "FP64")
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": values}


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()
