"""Kubeflow Pipelines' own client is enough: a package from `slipway compile --image` runs to a release by itself.

The client is a process without a module of ours, as a person at another machine or the UI would be. Runs take the image
that is deployed, or SLIPWAY_IMAGE.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
import yaml
from sklearn import datasets

from components.projects import project as projects
from components.projects import project_file
from serving.store.store import open_store
from tests.cluster.support import (
    QUICK,
    House,
    ask,
    forwarded,
    inside,
    object_store,
    read,
    require_cluster,
    until,
)
from tests.root import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3_000)]
STOCK = """
import json, sys
import kfp
client = kfp.Client(host=sys.argv[1])
run = client.create_run_from_pipeline_package(sys.argv[2], json.loads(sys.argv[3]), experiment_name=sys.argv[4])
state = client.wait_for_run_completion(run.run_id, 1_800).state
assert not {"pipelines", "components", "serving"} & set(sys.modules)
print(json.dumps({"run_id": run.run_id, "state": state}))
"""
ROWS = 30  # in each of three files


@dataclass(frozen=True)
class Tumours(House):
    """The classification project under a name of its own, its packages, and a folder of the store."""

    packages: Path

    @property
    def folder(self) -> str:
        return f"s3://slipway/{self.name}"

    def stock(self, pipeline: str, **arguments: Any) -> dict[str, str]:
        """A run of the package by KFP's own client; its id and how it ended."""
        with forwarded("kubeflow", "svc/ml-pipeline", 8888) as port:
            package, given = self.packages / f"{pipeline}.yaml", json.dumps(arguments)
            words = [f"http://127.0.0.1:{port}", str(package), given, self.name]
            command = [sys.executable, "-W", "ignore", "-c", STOCK, *words]
            done = subprocess.run(
                command, cwd=self.packages, capture_output=True, text=True, check=False, timeout=2_000
            )
        assert done.returncode == 0, done.stderr + done.stdout
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return found


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tumours]:
    require_cluster()
    directory = tmp_path_factory.mktemp("tumours")
    found = project_file.read(ROOT / "pipelines/breast_cancer/project.yaml")
    found["name"], found["search"] = f"package-{secrets.token_hex(3)}", {}
    found["rollout"] = {"time": QUICK}
    (directory / "project.yaml").write_text(yaml.safe_dump(found, sort_keys=False))
    made = Tumours(found["name"], directory / "project.yaml", directory / "home", directory)
    for pipeline in ("train", "score"):
        command = ["compile", pipeline, "--image", image(), "--project", str(made.project)]
        subprocess.run(
            [sys.executable, "-m", "pipelines.cli.main", *command, "-o", str(directory / f"{pipeline}.yaml")],
            cwd=ROOT, check=True, timeout=120,
        )  # fmt: skip
    yield made
    made.forget()
    with object_store(directory) as s3:
        for place in (made.folder, f"s3://slipway/models/{made.name}"):
            store = open_store(place, s3)
            for key in list(store.list("")):
                store.delete(key)


def image() -> str:
    spec = read("-n", "slipway-system", "get", "deployment", "rollout-controller")["spec"]["template"]["spec"]
    return os.environ.get("SLIPWAY_IMAGE") or str(spec["containers"][0]["image"])


@pytest.fixture(scope="module")
def trained(own: Tumours) -> dict[str, str]:
    """A run that was asked nothing: all that it needs is in the package and on the cluster."""
    return own.stock("train")


def test_the_stock_client_runs_a_package_to_a_release(own: Tumours, trained: dict[str, str]) -> None:
    """The version is of the server's run, has all traffic, and answers through the gateway."""
    assert trained["state"] == "SUCCEEDED"
    (version,) = json.loads(inside("models", "list", own.name, "--json"))["versions"]
    assert (version["run_id"], version["stage"]) == (trained["run_id"], "production")
    body = json.dumps({"instances": rows(own).head(1).to_dicts()}).encode()
    answer = until(lambda: (a := ask(own.name, body)).status == 200 and a, "it answers")
    assert (answer.revision, len(json.loads(answer.body)["predictions"])) == (own.revision(1), 1)


def test_what_the_ui_draws_is_among_the_runs_artifacts(own: Tumours, trained: dict[str, str], tmp_path: Path) -> None:
    """Scalar metrics, confusion matrix and ROC curve where the UI asks for them, and the page in the object store."""
    scalars, classes, pages = (
        artifacts(f"system.{kind}", trained["run_id"]) for kind in ("Metrics", "ClassificationMetrics", "HTML")
    )
    assert any(b"roc_auc" in one and b"log_loss" in one for one in scalars)
    (drawn,) = classes
    for part in (b"confusionMatrix", b"benign", b"malignant", b"confidenceThreshold", b"falsePositiveRate", b"recall"):
        assert part in drawn
    (page,) = pages
    with object_store(tmp_path) as s3:
        store = open_store("s3://mlpipeline", s3)
        (key,) = [key for key in store.list("") if trained["run_id"] in key and key.endswith("/report")]
        assert key.encode() in page
        assert own.name.encode() in store.get(key)


def test_a_scoring_run_is_submitted_by_either(own: Tumours, trained: dict[str, str], tmp_path: Path) -> None:
    """By the stock client, which is told rows and a folder only; by our verb again, which finds all of it done."""
    with object_store(tmp_path) as s3:
        store = open_store(own.folder, s3)
        for day in range(3):
            rows(own)[day * ROWS : (day + 1) * ROWS].write_parquet(tmp_path / "part.parquet")
            store.put(f"rows/day={day}/part.parquet", (tmp_path / "part.parquet").read_bytes())
        asked = {"source": f"{own.folder}/rows", "output": f"{own.folder}/predictions"}
        assert own.stock("score", **asked)["state"] == "SUCCEEDED"
        manifest = store.get("predictions/manifest.json")
        assert (json.loads(manifest)["rows"], json.loads(manifest)["refused"]) == (3 * ROWS, 0)
        words = [word for name, value in asked.items() for word in (f"--{name}", value)]
        lines = own.submit("score", *words, *(("--image", image()) if os.environ.get("SLIPWAY_IMAGE") else ()))
        assert store.get("predictions/manifest.json") == manifest
    said = {line["task"]: line["text"] for line in lines if line.get("state") == "SUCCEEDED"}
    assert "were done" in said["for-loop-1/score"]
    assert next(line for line in lines if line["subject"] == "result")["outcome"] == "scored"


def rows(own: Tumours) -> pl.DataFrame:
    """The table without what is predicted, under the contract's names."""
    table = datasets.load_breast_cancer(as_frame=True).frame.drop(columns="target")
    return pl.from_pandas(table).rename(
        dict(zip(table.columns, projects.load(own.project).contract.names, strict=True))
    )


def artifacts(kind: str, run_id: str) -> list[bytes]:
    """What the metadata store, which the UI asks, has of *kind* in a run: messages, in which texts are as they are."""
    with forwarded("kubeflow", "svc/metadata-grpc-service", 8080) as port:
        method = "/ml_metadata.MetadataStoreService/GetArtifactsByType"
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
            answer = call(b"\x0a" + bytes([len(kind)]) + kind.encode())
    return [one for one in messages(answer) if run_id.encode() in one]


def messages(answer: bytes) -> Iterator[bytes]:
    """The elements of a message that is one repeated field of messages (protobuf's wire format)."""
    at = 0
    while at < len(answer):
        at, length, shift = at + 1, 0, 0
        while True:
            byte, at = answer[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield answer[at : at + length]
        at += length
