"""Requests spoilt byte by byte: refused or read as a slow reader reads them, and nothing is read outside of a body."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from serving.contract import Contract
from serving.predictor.grpc_service import tensors_of
from serving.predictor.rows import v2
from serving.predictor.rows.tensors import rows_of_tensors
from serving.predictor.rows.v1 import Decoder
from serving.predictor.rows.validate import Checker, Rows
from tests.root import ROOT
from tests.serving.predictor.corpus import (
    Call,
    NoJson,
    bodies,
    calls,
    messages,
    outcome,
    slow_v1,
    slow_v2,
    spoilt,
    spoilt_call,
)
from tests.serving.predictor.support import HOUSE, ROW, TUMOUR, Predictor, document, serving, write_model

MAX_ROWS = 5000
SEED = 31
HOUSE_READER, TUMOUR_READER = Decoder(HOUSE, MAX_ROWS), Decoder(TUMOUR, MAX_ROWS)
READERS = {"house": (HOUSE, HOUSE_READER), "tumour": (TUMOUR, TUMOUR_READER)}
FULL = pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)], id="full")
JSON = {"content-type": "application/json"}
REFUSED = ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")
RAW = {"content-type": "application/octet-stream"}


def accepted(said: Any) -> bool:
    return not isinstance(said[0], int)


def v2_rows(checker: Checker, call: Call) -> Rows:
    return v2.decode(checker, *call, MAX_ROWS).rows


def grpc_rows(request: Any) -> Rows:
    return rows_of_tensors(HOUSE_READER.checker, tensors_of(request, MAX_ROWS * 7), MAX_ROWS)


@pytest.mark.parametrize("which", READERS)
@pytest.mark.parametrize("count", [pytest.param(500, id="few"), FULL])
def test_spoilt_v1_bodies_are_read_as_a_slow_reader_reads_them(which: str, count: int) -> None:
    """Codes, flags and problems are the same by the quick path, the large one, and Python's own JSON."""
    contract, reader = READERS[which]
    chance, valid = random.Random(SEED), bodies(contract)
    read = 0
    for _ in range(count):
        body = spoilt(chance, chance.choice(valid), valid)
        said = outcome(reader.decode, body)
        assert outcome(reader.decode_large, body) == said, body
        read += accepted(said)
        if accepted(said) or said[1]:
            assert outcome(slow_v1, reader.checker, body) == said, body
    assert read > count / 50


@pytest.mark.parametrize("which", READERS)
@pytest.mark.parametrize("count", [pytest.param(500, id="few"), FULL])
def test_spoilt_v2_bodies_are_read_as_a_slow_reader_reads_them(which: str, count: int) -> None:
    """JSON tensors and raw ones: what is accepted has the codes that ``json`` and ``struct`` find there."""
    contract, reader = READERS[which]
    chance, valid = random.Random(SEED), calls(contract)
    others = [body for body, _ in valid]
    read = 0
    for _ in range(count):
        call = spoilt_call(chance, chance.choice(valid), others)
        said = outcome(v2_rows, reader.checker, call)
        read += accepted(said)
        if accepted(said):
            assert outcome(slow_v2, reader.checker, call) == said, call
    assert read > count / 50


@pytest.mark.parametrize(
    "text",
    ["18446744073709551616", "184467440737095516160", "1.8446744073709551616", "0.00000000001844674407370955161600"],
)
def test_digits_that_wrap_around_are_not_zero(text: str) -> None:
    """Twenty digits that are zero in 64 bits are the number that they say, in a large body too."""
    body = json.dumps({"instances": [{**ROW, "distance": 77}]}).replace("77", text).encode()
    assert outcome(HOUSE_READER.decode_large, body) == outcome(slow_v1, HOUSE_READER.checker, body)


@pytest.mark.parametrize("count", [pytest.param(500, id="few"), FULL])
def test_spoilt_grpc_messages_are_read_or_refused(count: int) -> None:
    """Whatever protobuf still takes for a request gives rows or a refusal."""
    chance, valid = random.Random(SEED), messages()
    read = 0
    for _ in range(count):
        try:
            request = pb.ModelInferRequest.FromString(spoilt(chance, chance.choice(valid), valid))
        except DecodeError:
            continue
        read += accepted(outcome(grpc_rows, request))
    assert read > count / 200


def test_the_slow_reader_reads_what_is_valid() -> None:
    """The comparison has something to compare: every unspoilt request is accepted by both."""
    for contract, reader in READERS.values():
        for body in bodies(contract):
            assert accepted(outcome(slow_v1, reader.checker, body))
        for call in calls(contract):
            assert accepted(outcome(slow_v2, reader.checker, call))
    with pytest.raises(NoJson):
        slow_v1(HOUSE_READER.checker, b'{"instances": [[NaN]]}')


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        pytest.param("guard", 2000, id="page-without-access-behind-the-body"),
        pytest.param("guard", 200_000, marks=pytest.mark.slow, id="page-without-access-behind-the-body-full"),
        pytest.param("checked", 20_000, marks=pytest.mark.slow, id="every-index-checked"),
    ],
)
def test_compiled_loops_stay_inside_their_arrays(tmp_path: Path, mode: str, count: int) -> None:
    """The compiled readers touch no byte behind a body's closing zero, and no index leaves an array."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    if mode == "checked":
        environment |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.serving.predictor.bounds", mode, str(count)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert int(done.stdout.split()[-1]) > count / 100


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("which", ["v1", "v2"])
def test_coverage_guided_fuzzing_finds_nothing(tmp_path: Path, which: str) -> None:
    """libFuzzer, led by the decoders' branches and with the compiled loops run as Python, finds no disagreement."""
    pytest.importorskip("atheris")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}
    command = [
        sys.executable,
        "-m",
        "tests.serving.predictor.run_atheris",
        which,
        str(tmp_path),
        "-runs=100000",
        "-seed=31",
    ]
    command += ["-max_len=4096", "-max_total_time=300", "-timeout=30", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done" in done.stderr


# The real server


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    bundle, key = write_model(tmp_path_factory.mktemp("model"), HOUSE)
    with serving(bundle, "--trusted_key", str(key), "--max_rows", str(MAX_ROWS)) as running:
        yield running


class Battery:
    """Spoilt requests of each kind at a running server, and the codes it gave."""

    def __init__(self, predictor: Predictor, contract: Contract) -> None:
        self.predictor, self.chance = predictor, random.Random(SEED)
        self.bodies, self.calls, self.messages = bodies(contract), calls(contract), messages()
        self.codes: dict[str, Counter[str]] = {kind: Counter() for kind in ("v1", "v2", "binary", "grpc")}

    def run(self, each: int) -> None:
        raw = [call for call in self.calls if call[1] is not None]
        plain = [call for call in self.calls if call[1] is None]
        with grpc.insecure_channel(f"127.0.0.1:{self.predictor.grpc_port}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")  # bytes as they are
            for _ in range(each):
                self.codes["v1"][self._v1()] += 1
                self.codes["v2"][self._v2(plain)] += 1
                self.codes["binary"][self._v2(raw)] += 1
                self.codes["grpc"][self._grpc(infer)] += 1

    def _v1(self) -> str:
        verb = self.chance.choice(["predict"] * 9 + ["explain"])
        body = spoilt(self.chance, self.chance.choice(self.bodies), self.bodies)
        return self._told(self.predictor.post(f"/v1/models/housing:{verb}", body, JSON), body)

    def _v2(self, valid: list[tuple[bytes, int | None]]) -> str:
        call = spoilt_call(self.chance, self.chance.choice(valid), [body for body, _ in self.calls])
        length = {} if call[1] is None else {"inference-header-content-length": str(call[1])}
        return self._told(self.predictor.infer(call[0], {**RAW, **length} if length else JSON), call)

    def _told(self, answer: Any, sent: Any) -> str:
        assert answer.status_code < 500, (answer.text, sent)
        told = document(answer.headers, answer.content)
        if answer.status_code != 200:
            assert set(told) == {"error", "code", "problems", "request_id"}, sent
        return str(answer.status_code)

    def _grpc(self, infer: Any) -> str:
        message = spoilt(self.chance, self.chance.choice(self.messages), self.messages)
        try:
            pb.ModelInferResponse.FromString(infer(message))
        except grpc.RpcError as error:
            told = error
        else:
            return "OK"
        assert told.code().name in REFUSED, (told.details(), message)
        return str(told.code().name)


def memory_kb(predictor: Predictor) -> int:
    status = Path(f"/proc/{predictor.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_spoilt_requests_of_every_kind_leave_no_trace(
    predictor: Predictor, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """28,000 at the real process: no 5xx, one error shape, it answers as before, and memory grew by under a tenth."""
    battery = Battery(predictor, HOUSE)
    battery.run(500)
    before = memory_kb(predictor)
    battery.run(6500)
    after = memory_kb(predictor)
    figures = {kind: dict(codes) for kind, codes in battery.codes.items()}
    record_property("codes", figures)
    with capsys.disabled():
        print(f"\n{figures}; RSS {before} kB before, {after} kB after")
    assert after < before * 1.1
    assert all(codes.get("200", 0) + codes.get("OK", 0) > 100 for codes in figures.values()), figures
    assert predictor.predict({"instances": [ROW]}).status_code == 200
