"""The last look before registration: the candidate in the real model server process, asked over HTTP.

What is compared is what callers will get: records in, numbers out, through decoding, validation, scoring and encoding.
A compiled form sums in a fixed order, so the server must answer what it answers here, to the last bit; scikit-learn's
own sums depend on the number of rows in a request and may differ in their rounding.
"""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.bundle.bundle import Bundle
from serving.bundle.golden import SKLEARN_TOLERANCE
from serving.columns.coding import spoken
from serving.contract import Contract, Frozen, Matrix
from serving.errors import GateRefusal, PlaceError
from serving.http_client import Connection
from serving.local.paths import HOST, free_port
from serving.local.processes import tail
from serving.local.servers import predictor_command, probe
from serving.polling import await_true
from serving.scoring.api import Predictions
from serving.wire import predict_path

CANDIDATE = "candidate"
READY_S = 60.0
POLL_S = 0.05
ANSWER_S = 30.0
END_S = 10.0
SINGLES = 200


class ServerVerification(Frozen):
    """What the server did.

    Attributes:
        exact: all answers were equal to the last bit.
        ready_s: process start to ready; p99_ms: of single-row requests over one connection.
    """

    rows: int
    exact: bool
    ready_s: float
    p99_ms: float

    @property
    def sentence(self) -> str:
        return (
            f"model server answers {self.rows} golden rows {'exactly' if self.exact else 'up to rounding'}, "
            f"p99 {self.p99_ms:.1f} ms, ready after {self.ready_s:.1f} s"
        )


def verify(name: str, bundle_path: Path, bundle: Bundle, public_key: bytes, own: str = "") -> ServerVerification:
    """Start the model server on *bundle_path* and compare its answers to the golden rows.

    Args:
        own: packages whose code it may load, with commas; empty for what the environment says.

    Raises:
        GateRefusal: an answer differs from that of the bundle's scorer, or the server refuses the bundle.
        PlaceError: the server process does not start.
    """
    started = time.monotonic()
    records = as_records(bundle.golden, bundle.contract)
    with server(name, bundle_path, public_key, own) as port:
        ready_s = time.monotonic() - started
        with Connection(f"http://{HOST}:{port}", ANSWER_S) as connection:
            batch = _ask(connection, name, records)
            singles, times = [], []
            for record in records[:SINGLES]:
                begun = time.perf_counter()
                singles += _ask(connection, name, [record])
                times.append(time.perf_counter() - begun)
    said = {name: [record[name] for record in records] for name in bundle.contract.inputs}
    expected = bundle.scorer.score(bundle.contract.encode(said))
    allowed = SKLEARN_TOLERANCE * float(np.abs(expected).max()) if bundle.scorer.form == "sklearn" else 0.0
    exact = [_compare(name, answers, expected[: len(answers)], allowed) for answers in (batch, singles)]
    p99_ms = 1_000 * float(np.quantile(times, 0.99, method="higher"))
    return ServerVerification(rows=len(records), exact=all(exact), ready_s=ready_s, p99_ms=p99_ms)


def as_records(matrix: Matrix, contract: Contract) -> list[dict[str, Any]]:
    """Rows of a coded matrix as the JSON objects a caller sends; a text is another one, as it cannot be told."""
    places = {slot: place for place, slot in enumerate(contract.slots)}
    said = {name: (places[next(iter(c.slots(name)))], spoken(c)) for name, c in contract.inputs.items()}
    return [{name: say(row[place]) for name, (place, say) in said.items()} for row in matrix.tolist()]


@contextlib.contextmanager
def server(name: str, bundle_path: Path, public_key: bytes, own: str = "") -> Iterator[int]:
    """A ready model server, started as ``slipway serve`` starts one; gives its port, and ends it with the block."""
    with tempfile.TemporaryDirectory(prefix="slipway-verify-") as folder:
        key, log = Path(folder) / "trusted.pub", Path(folder) / "server.log"
        key.write_bytes(public_key)
        port = free_port()
        what = {"model": name, "version": CANDIDATE, "revision": CANDIDATE, "bundle": bundle_path, "log_dir": folder}
        command = [part.format(**what, http_port=port, grpc_port=free_port()) for part in predictor_command(key)]
        command += ["--own_packages", own] if own else []
        with log.open("wb") as output:
            # In this step's own process group, so that whoever ends the run ends the server too.
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603 - our own module
            try:
                _wait_ready(process, port, name, log)
                yield port
            finally:
                _end(process)


def _wait_ready(process: "subprocess.Popen[bytes]", port: int, name: str, log: Path) -> None:
    def ready() -> bool:
        if process.poll() is not None:
            raise PlaceError(f"the model server ended with code {process.returncode}: {tail(log)}")
        seen = probe(port, name)
        if seen.refusal:
            raise GateRefusal(f"the model server refuses the candidate: {seen.refusal}")
        return seen.ready

    if not await_true(ready, READY_S, POLL_S):
        raise PlaceError(f"the model server was not ready within {READY_S:.0f} s; its log ends: {tail(log)}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ask(connection: Connection, name: str, records: Sequence[dict[str, Any]]) -> list[Any]:
    body, headers = json.dumps({"instances": list(records)}), {"Content-Type": "application/json"}
    reply = connection.ask("POST", predict_path(name), body, headers)
    if not reply.ok:
        raise GateRefusal(f"the model server answers a golden row with {reply.status}: {reply.text[:300]}")
    value = json.loads(reply.body)
    predictions: list[Any] = value.get("probabilities", value["predictions"])
    return predictions


def _compare(name: str, answers: list[Any], expected: Predictions, allowed: float) -> bool:
    """Whether *answers* are *expected* to the last bit; refused when one is further away than *allowed*."""
    seen = np.array(answers, dtype=np.float64)
    if seen.shape != expected.shape:
        raise GateRefusal(
            f"{name}: the model server answers in shape {seen.shape}, expected {expected.shape}; "
            "the candidate is not registered"
        )
    wrong = np.flatnonzero(~(np.abs(seen - expected) <= allowed).reshape(len(expected), -1).all(axis=1))
    if len(wrong):
        row = int(wrong[0])
        raise GateRefusal(
            f"{name}: the model server answers golden row {row} with {seen[row].tolist()!r}, "
            f"expected {expected[row].tolist()!r}; the candidate is not registered"
        )
    return bool(np.array_equal(seen, expected))
