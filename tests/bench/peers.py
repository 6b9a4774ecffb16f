"""Other model servers, each in an environment of its own that is named by its interpreter."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.contract import Matrix
from tests.bench import servers
from tests.bench.model import NAMES, shapes, words
from tests.load import request

HELP = (
    "servers to compare with besides stock KServe, each as mlflow|mlserver|bentoml=/path/to/python; skipped if absent"
)


@dataclass(frozen=True)
class Guest:
    """A running peer, and how it is asked for the predictions of rows."""

    name: str
    server: servers.Server
    request: Callable[[Matrix], bytes]


@dataclass(frozen=True)
class Peer:
    """How a peer is prepared and started.

    Attributes:
        command: from the interpreter, the folder of the model and the port; writes what the server needs.
        ready: path that answers 200 once the model is loaded.
    """

    title: str
    module: str
    command: Callable[[str, Path, int], list[str]]
    ready: str
    request: Callable[[Matrix], bytes]


_SAVE = """
import sys, joblib, mlflow.sklearn
mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2], serialization_format="cloudpickle")
"""


def _mlflow(python: str, folder: Path, port: int) -> list[str]:
    place, pickle = str(folder / "mlflow"), str(folder / "stock" / "columns.joblib")
    subprocess.run([python, "-c", _SAVE, pickle, place], check=True, capture_output=True)
    flags = ["-m", place, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [python, "-m", "mlflow", "models", "serve", *flags]


def _mlserver(python: str, folder: Path, port: int) -> list[str]:
    place = folder / "mlserver"
    place.mkdir(exist_ok=True)
    ports = {"http_port": port, "grpc_port": servers.free_port(), "metrics_port": servers.free_port()}
    (place / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    settings = {
        "name": "housing",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(folder / "stock" / "columns.joblib")},
    }
    (place / "model-settings.json").write_text(json.dumps(settings))
    return [python, "-m", "mlserver.cli.main", "start", str(place)]


_BENTO = """
import bentoml, joblib, pandas

@bentoml.service
class Housing:
    def __init__(self):
        self.model = joblib.load({path!r})

    @bentoml.api
    def predict(self, instances: list[dict]) -> dict:
        return {{"predictions": self.model.predict(pandas.DataFrame(instances)).tolist()}}
"""


def _bentoml(python: str, folder: Path, port: int) -> list[str]:
    place = folder / "bentoml"
    place.mkdir(exist_ok=True)
    (place / "service.py").write_text(_BENTO.format(path=str(folder / "stock" / "columns.joblib")))
    flags = ["--working-dir", str(place), "--host", "127.0.0.1", "--port", str(port)]
    return [python, "-m", "bentoml", "serve", "service:Housing", *flags]


def _records(path: str, key: str) -> Callable[[Matrix], bytes]:
    def made(rows: Matrix) -> bytes:
        return request(path, json.dumps({key: [dict(zip(NAMES, row, strict=True)) for row in words(rows)]}).encode())

    return made


def _tensors(rows: Matrix) -> bytes:
    """V2 with one named tensor per column: MLServer's way to a table."""
    shape = shapes(rows)[2]
    return request(shape.path, shape.theirs)


PEERS = {
    "mlflow": Peer("MLflow", "mlflow", _mlflow, "/ping", _records("/invocations", "dataframe_records")),
    "mlserver": Peer("MLServer", "mlserver_sklearn", _mlserver, "/v2/models/housing/ready", _tensors),
    "bentoml": Peer("BentoML", "bentoml", _bentoml, "/readyz", _records("/predict", "instances")),
}


def usable(given: Sequence[str]) -> list[str]:
    """Those of *given*, each NAME=PYTHON, whose package that interpreter can import."""
    found = []
    for one in given:
        name, _, python = one.partition("=")
        if name not in PEERS or not python:
            raise SystemExit(f"--peers: expected NAME=PYTHON with one of {', '.join(PEERS)}, got {one!r}")
        probe = [python, "-c", f"import {PEERS[name].module}"]
        if shutil.which(python) and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            found.append(one)
    return found


@contextlib.contextmanager
def serving(given: str, folder: Path) -> Iterator[Guest]:
    name, _, python = given.partition("=")
    peer, port = PEERS[name], servers.free_port()
    with servers.running(peer.command(python, folder, port), port, peer.ready) as server:
        yield Guest(peer.title, server, peer.request)
