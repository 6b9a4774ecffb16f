"""``python -m tests.cluster.kserve.models``: stand-ins for the models of KServe's tests, put where ``plugin`` looks.

KServe's are pickles in a bucket of Google's. Ours are bundles, signed by the key of the installation, of models that
answer the rows of those tests with the numbers that they expect: the tests are of servers, not of models.
"""

import base64
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import minio
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from components.modelling.profiles import profile
from components.modelling.stages import golden_rows
from components.modelling.training import predict
from serving.bundle.bundle import write_bundle
from serving.bundle.signing import SigningKey
from serving.contract import Contract, Matrix
from serving.store.settings import S3Settings
from serving.store.store import open_store
from tests.cluster.support import forwarded, kubectl, read

IRIS = {"columns": {f"{part}_(cm)": {"type": "float"} for part in
                    ("sepal_length", "sepal_width", "petal_length", "petal_width")},
        "target": {"name": "species", "classes": ["0", "1", "2"]}}  # fmt: skip
WORDS = {
    "MSZoning": ("RL", "RM"),
    "LotShape": ("Reg", "IR1"),
    "Utilities": ("AllPub", "NoSeWa"),
    "Neighborhood": ("CollgCr", "Veenker"),
    "SaleType": ("WD", "New"),
}
NUMBERS = {"LotArea": 8450, "YrSold": 2008, "OverallQual": 7, "YearBuilt": 2003, "GarageArea": 548}
ORDER = (  # of its request
    *("MSZoning", "LotArea", "LotShape", "Utilities", "YrSold"),
    *("Neighborhood", "OverallQual", "YearBuilt", "SaleType", "GarageArea"),
)
MIXED = {"columns": {name: {"type": "category", "values": list(WORDS[name])} if name in WORDS else {"type": "int"}
                     for name in ORDER}, "target": {"name": "LogPrice"}}  # fmt: skip
EXPECTED = 12.202832815138274
PLACES = {
    "slipway": {
        "kserve-suite/kfserving-examples/models/sklearn/1.0/model": "iris",
        "kserve-suite/kfserving-examples/models/xgboost/1.5/model": "iris",
        "kserve-suite/kfserving-examples/models/sklearn/1.3/mixedtype": "mixed",
    },
    "example-models": {"sklearn": "iris"},  # the one address that is not Google's
}


def iris() -> tuple[Contract, Matrix, np.ndarray[Any, Any], Pipeline]:
    data = load_iris()
    contract = Contract.model_validate(IRIS)
    pipeline = Pipeline([("model", LogisticRegression(max_iter=1_000))])
    rows = np.ascontiguousarray(data.data)
    return contract, rows, data.target, pipeline.fit(contract.frame(rows), data.target)


def mixed() -> tuple[Contract, Matrix, np.ndarray[Any, Any], Pipeline]:
    contract = Contract.model_validate(MIXED)
    rows = np.array([[j % 2 if name in WORDS else NUMBERS[name] + j for name in ORDER] for j in range(20)], dtype=float)
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("words", words, list(WORDS))], remainder="passthrough")
    pipeline = Pipeline([("columns", columns), ("model", LinearRegression())])
    pipeline.fit(contract.frame(rows), np.zeros(len(rows)))
    pipeline["model"].intercept_ = EXPECTED  # what KServe's model says of the row of its test
    return contract, rows, np.full(len(rows), EXPECTED), pipeline


def bundle(directory: Path, made: tuple[Contract, Matrix, Any, Pipeline], key: SigningKey) -> None:
    contract, rows, _, pipeline = made
    seen = profile(rows, contract, predict(pipeline, contract, rows))
    write_bundle(
        directory, pipeline=pipeline, contract=contract, profile=seen, golden=golden_rows(rows),
        card="# A stand-in for a model of KServe's tests\n", provenance={"made_by": "tests.cluster.kserve"}, key=key,
    )  # fmt: skip


def secret(name: str) -> dict[str, bytes]:
    data = read("-n", "slipway-system", "get", "secret", name)["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


def upload(made: Mapping[str, Path], settings: S3Settings) -> None:
    client = minio.Minio(
        settings.endpoint, settings.access_key, settings.secret_key, secure=False, region=settings.region
    )
    for bucket, places in PLACES.items():
        if not client.bucket_exists(bucket):
            client.make_bucket(bucket)
        for prefix, name in places.items():
            open_store(f"s3://{bucket}", settings).upload_directory(made[name], prefix)
            print(f"{name:<6} s3://{bucket}/{prefix}/")


def give_storage_key(namespace: str, store: Mapping[str, bytes]) -> None:
    """The secret by which KServe's test of ``storage: {key: localS3}`` finds its bucket."""
    told = {
        "type": "s3",
        "access_key_id": store["access_key"].decode(),
        "secret_access_key": store["secret_key"].decode(),
        "endpoint_url": f"http://{store['endpoint'].decode()}",
        "bucket": "example-models",
        "region": store["region"].decode(),
    }
    data = {"localS3": base64.b64encode(json.dumps(told).encode()).decode()}
    metadata = {"name": "storage-config", "namespace": namespace}
    kubectl(
        "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    )


def main() -> None:
    key, store = SigningKey.from_pem(secret("slipway-signing-key")["signing.key"]), secret("slipway-object-store")
    give_storage_key("kserve-ci-e2e-test", store)
    with tempfile.TemporaryDirectory() as name, forwarded("slipway-system", "svc/minio", 9000) as port:
        place = Path(name)
        for model, make in (("iris", iris), ("mixed", mixed)):
            bundle(place / model, make(), key)
        files = place / "store"
        files.mkdir()
        for field, value in {**store, "endpoint": f"127.0.0.1:{port}".encode()}.items():
            (files / field).write_bytes(value)
        upload({model: place / model for model in ("iris", "mixed")}, S3Settings.from_files(files))


if __name__ == "__main__":
    main()
