"""A predictor process for tests: a small model in a signed bundle, the real server on free ports, and a client."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np

from serving.bundle.judgement import Judgement
from serving.contract import Contract
from serving.predictor.route import Front
from serving.predictor.served import Served
from serving.predictor.settings import parse
from serving.predictor.state import PredictorState
from serving.predictor.work import Workers
from serving.profile import CategoryHistogram, NumericHistogram, Profile
from tests.root import ROOT

PREDICT = "/v1/models/housing:predict"

DEADLINE_S = 150.0

HOUSE = Contract.model_validate(
    {
        "target": {"name": "price", "unit": "EUR"},
        "columns": {
            "area_m2": {"type": "float", "unit": "m2", "range": [10, 1500]},
            "age": {"type": "float", "range": [0, 300], "nullable": True, "out_of_range": "clip"},
            "condition": {"type": "category", "values": ["poor", "good"], "nullable": True, "unknown": "flag"},
            "distance": {"type": "float", "range": [0, 100], "out_of_range": "flag"},
            "garden": {"type": "bool"},
            "kind": {"type": "category", "values": ["house", "flat"]},
            "rooms": {"type": "int", "range": [1, 30]},
        },
    }
)
ROW: dict[str, Any] = {
    "area_m2": 84,
    "age": 12.5,
    "condition": "good",
    "distance": 4,
    "garden": True,
    "kind": "flat",
    "rooms": 3,
}
TUMOUR = Contract.model_validate(
    {
        "target": {"name": "diagnosis", "classes": ["malignant", "benign"]},
        "columns": {"mean radius": {"type": "float", "range": [0, 50]}, "mean texture": {"type": "float"}},
    }
)

PLANT = Contract.model_validate(
    {
        "target": {"name": "species", "classes": ["setosa", "versicolor", "virginica"]},
        "columns": {"petal length": {"type": "float", "range": [0, 9]}, "petal width": {"type": "float"}},
    }
)


def profile(contract: Contract) -> Profile:
    inputs: dict[str, Any] = {}
    for name, column in contract.slots.items():
        if column.type == "category":
            inputs[name] = CategoryHistogram(values=column.values, counts=(1,) * len(column.values))
        else:
            inputs[name] = NumericHistogram(edges=(0.0, 10.0, 100.0), counts=(1, 1, 1, 1))
    edges = (0.25, 0.5, 0.75) if contract.target.classes else (50_000.0, 100_000.0, 200_000.0)
    return Profile(rows=4, inputs=inputs, prediction=NumericHistogram(edges=edges, counts=(1, 1, 1, 1)))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Predictor:
    """A running process and how to talk to it."""

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    model: str
    stderr: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.http_port}", timeout=30, trust_env=False)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(path, content=content, headers={"content-type": "application/json", **(headers or {})})

    def predict(self, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.post(f"/v1/models/{self.model}:predict", body, headers)

    def infer(self, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.post(f"/v2/models/{self.model}/infer", body, headers)

    def wait(self, path: str = "", status: int = 200) -> httpx.Response:
        """The answer to GET *path* once it has *status*."""
        path = path or f"/v2/models/{self.model}/ready"
        end = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = self.client.get(path)
                if answer.status_code == status:
                    return answer
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no {status} from {path}: {self.stderr.read_text()[-3000:]}")
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def serving(
    bundle: Path, *arguments: str, model: str = "housing", program: str = "serving.predictor", ready: bool = True
) -> Iterator[Predictor]:
    """A predictor of *bundle*, version 2; killed at the end if it still runs."""
    http_port, grpc_port = free_port(), free_port()
    command = [sys.executable, "-m", program, "--host", "127.0.0.1", "--drain_s", "0"]
    command += ["--model_name", model, "--version", "2", "--bundle", str(bundle)]
    command += ["--http_port", str(http_port), "--grpc_port", str(grpc_port), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log, stdout=log)
        predictor = Predictor(process, http_port, grpc_port, model, Path(log.name))
        try:
            if ready:
                predictor.wait()
            yield predictor
        finally:
            predictor.client.close()
            if process.poll() is None:
                process.kill()
                process.wait()


def random_rows(contract: Contract, count: int, seed: int) -> list[dict[str, Any]]:
    """Valid rows of *contract* as V1 records."""
    generator = np.random.default_rng(seed)

    def value(column: Any) -> Any:
        if column.nullable and generator.random() < 0.2:
            return None
        if column.type == "category":
            return column.values[int(generator.integers(len(column.values)))]
        if column.type == "bool":
            return bool(generator.random() < 0.5)
        if column.type in ("datetime", "text", "id"):
            made = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=int(generator.integers(10_000)))
            return made.isoformat() if column.type == "datetime" else f"text of {made.month}"
        low, high = column.range or (-10.0, 10.0)
        if column.type == "int":
            return int(generator.integers(int(low), int(high) + 1))
        return float(generator.uniform(low, high))

    return [{name: value(column) for name, column in contract.columns.items()} for _ in range(count)]


def write_model(directory: Path, contract: Contract, rows: int = 300, *, fast: bool = True) -> tuple[Path, Path]:
    """A signed bundle of a small HistGradientBoosting model of *contract*; its directory and the public key.

    Without *fast* the pipeline is one that has no fast form.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    from serving.bundle.bundle import write_bundle
    from serving.bundle.signing import SigningKey

    table = random_rows(contract, rows, 1)
    matrix = contract.encode({name: [row[name] for row in table] for name in contract.inputs})
    score = np.nan_to_num(matrix[:, 0]) * 1000 + np.nan_to_num(matrix[:, 1]) * 100
    words = [name for name, column in contract.columns.items() if column.type == "category"]
    encode = ColumnTransformer(
        [("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), words)],
        remainder="passthrough",
        transformer_weights=None if fast else {"words": 1.0},
        verbose_feature_names_out=False,
    )
    classes = contract.target.classes
    if classes:
        cuts = np.quantile(score, np.linspace(0, 1, len(classes) + 1)[1:-1])
        target = np.array(classes)[np.searchsorted(cuts, score)]
        model = HistGradientBoostingClassifier(max_iter=30, random_state=0)
    else:
        target = score
        model = HistGradientBoostingRegressor(max_iter=100, max_leaf_nodes=15, random_state=0)
    pipeline = Pipeline([("encode", encode), ("model", model)]).fit(contract.frame(matrix), target)
    key = SigningKey.generate()
    bundle = directory / "bundle"
    write_bundle(
        bundle,
        pipeline=pipeline,
        contract=contract,
        profile=profile(contract),
        golden=matrix[:40],
        card="# test model\n",
        provenance={"seed": 0},
        key=key,
    )
    public = directory / "public.pem"
    public.write_bytes(key.public.pem)
    return bundle, public


class Linear:
    """A scorer without a model behind it: thousand times the first column plus the rest, None as zero."""

    form = "linear"
    reason = "a stand-in of the tests"

    def score(self, matrix: Any) -> Any:
        return np.nan_to_num(matrix) @ np.array([1000.0 if i == 0 else 1.0 for i in range(matrix.shape[1])])


def stand_in(contract: Contract, scorer: Any = None, judgement: Judgement | None = None) -> Any:
    """What the predictor needs of a bundle, without training one."""
    rows = random_rows(contract, 20, 5)
    golden = contract.encode({name: [row[name] for row in rows] for name in contract.inputs})
    return SimpleNamespace(
        digest="0" * 64,
        manifest={},
        contract=contract,
        profile=profile(contract),
        golden=golden,
        judgement=judgement or Judgement(),
        scorer=scorer or Linear(),
    )


def front(contract: Contract = HOUSE, scorer: Any = None, *flags: str, judgement: Judgement | None = None) -> Front:
    settings = parse(["--model_name", "housing", "--version", "2", *flags], {})
    state = PredictorState(settings)
    served = Served(
        stand_in(contract, scorer, judgement), settings
    )  # not warmed: a scorer that hangs would never be ready
    state.loaded(served, 0.1)
    return Front(state, Workers(settings, state.metrics))


async def ask(
    app: Front, body: bytes, path: str = PREDICT, receive: Callable[[], Awaitable[Any]] | None = None, **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and document of one POST."""
    sent: list[Any] = []

    async def whole() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": "POST", "path": path, "headers": pairs}, receive or whole, send)
    if not sent:
        return 0, {}, None
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, document(told, sent[1]["body"])


def document(headers: Mapping[str, str], body: bytes) -> Any:
    """The JSON of an answer, without the raw tensors that may follow it."""
    length = headers.get("inference-header-content-length")
    return json.loads(body[: int(length)] if length else body)


def _gated(gate: Path) -> Any:
    """A stand-in that is loaded only once the file *gate* exists."""
    while not gate.exists():
        time.sleep(0.02)
    return stand_in(HOUSE)


if __name__ == "__main__":
    from serving.predictor.__main__ import main

    sys.exit(main(sys.argv[1:], lambda settings: _gated(settings.bundle)))
