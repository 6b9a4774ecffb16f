"""A predictor process from start to end, and beside a store that never answers."""

import asyncio
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import httpx
import kserve
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as rpc

from serving.errors import ConfigError, PlaceError
from serving.predictor.metrics import Metrics
from serving.predictor.process import run, settle
from serving.predictor.settings import parse
from serving.predictor.work import Workers
from tests.load import Load, request
from tests.root import ROOT
from tests.serving.predictor.support import (
    DEADLINE_S,
    HOUSE,
    ROW,
    free_port,
    serving,
    stand_in,
    write_model,
)

STAND_IN = "tests.serving.predictor.support"
BODY = json.dumps({"instances": [ROW]}).encode()


def test_probes_live_while_the_model_loads(tmp_path: Path) -> None:
    """Alive from the start, 503 with a reason until loaded, then ready; the same by gRPC."""
    gate = tmp_path / "gate"
    with serving(gate, program=STAND_IN, ready=False) as predictor:
        predictor.wait("/v2/health/live")
        for path in ("/v2/health/ready", "/v2/models/housing/ready", "/v1/models/housing"):
            answer = predictor.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "loading")
            assert "is being loaded" in answer.json()["error"]
            assert answer.headers["retry-after"]
        assert predictor.predict({"instances": [ROW]}).status_code == 503
        with grpc.insecure_channel(f"127.0.0.1:{predictor.grpc_port}") as channel:
            stub = rpc.GRPCInferenceServiceStub(channel)
            assert not stub.ServerReady(pb.ServerReadyRequest()).ready
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(pb.ModelInferRequest(model_name="housing"))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        gate.touch()
        predictor.wait()
        assert predictor.predict({"instances": [ROW]}).status_code == 200
        assert predictor.end() == 0


def test_a_bundle_that_is_not_to_be_loaded_leaves_a_process_that_says_why(tmp_path: Path) -> None:
    """Not ready for good, alive, with the reason on readiness and status; SIGTERM ends it as usual."""
    with serving(tmp_path / "nothing", ready=False) as predictor:
        predictor.wait("/v2/health/live")
        end = time.monotonic() + DEADLINE_S
        while predictor.client.get("/slipway/status").json()["phase"] == "loading":
            assert time.monotonic() < end
        answer = predictor.client.get("/v2/models/housing/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "load_failed")
        assert "--trusted_key" in answer.json()["error"]
        assert "--trusted_key" in predictor.client.get("/slipway/status").json()["reason"]
        assert predictor.client.get("/v2/health/live").status_code == 200
        assert predictor.end() == 0


def test_a_model_without_a_fast_form_is_served(tmp_path: Path) -> None:
    """By scikit-learn itself, its encoders of categories among it, in a process that says pyarrow is not there."""
    bundle, key = write_model(tmp_path, HOUSE, fast=False)
    with serving(bundle, "--trusted_key", str(key)) as predictor:
        assert predictor.client.get("/slipway/status").json()["scorer"]["form"] == "sklearn"
        assert predictor.predict({"instances": [ROW]}).status_code == 200


def test_probes_find_the_server_whatever_port_it_was_given(tmp_path: Path) -> None:
    """The port that a runtime's probes name answers as the one that its user chose does."""
    bundle, key = write_model(tmp_path, HOUSE)
    port = free_port()
    with (
        serving(bundle, "--trusted_key", str(key), "--health_port", str(port)) as predictor,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as probe,
    ):
        assert probe.get("/v2/health/ready").status_code == 200
        assert probe.get("/v2/models/housing").json() == predictor.client.get("/v2/models/housing").json()


def test_sigterm_under_load_loses_no_request(tmp_path: Path) -> None:
    """While draining, readiness says no and every request is answered; the end is 0, and all of it is in the log."""
    log = tmp_path / "log"
    data = request("/v1/models/housing:predict", BODY)
    with (
        serving(tmp_path, "--drain_s", "1", "--log_dir", str(log), program=STAND_IN) as predictor,
        Load(predictor.http_port, lambda _: data) as load,
    ):
        load.await_answers(200, DEADLINE_S)
        predictor.process.send_signal(signal.SIGTERM)
        draining = predictor.wait(status=503)
        assert draining.json()["code"] == "draining"
        assert predictor.process.wait(DEADLINE_S) == 0
    assert [answer for answer in load.lost if not answer.first] == []  # where none was taken a gateway tries elsewhere
    answered = [answer for answer in load.answers if answer.status]
    assert {answer.status for answer in answered} == {200}
    lines = [json.loads(line) for part in log.glob("*.jsonl") for line in part.read_text().splitlines()]
    assert len({line["request_id"] for line in lines}) == len(lines) == len(answered)
    assert lines[0]["features"] == ROW


@pytest.mark.parametrize("which", ["http_port", "grpc_port"])
def test_a_taken_port_is_told(tmp_path: Path, which: str) -> None:
    """One sentence of the family of places that cannot do it, before anything is loaded."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"http_port": free_port(), "grpc_port": free_port()} | {which: port}
        flags = [part for name, value in ports.items() for part in (f"--{name}", str(value))]
        settings = parse(["--host", "127.0.0.1", *flags], {})
        with pytest.raises(PlaceError, match=f"127.0.0.1:{port}: the port is taken"):
            run(settings, lambda: stand_in(HOUSE))


def test_a_store_that_hangs_neither_slows_nor_fails_requests(tmp_path: Path) -> None:
    """The log fills, rows are dropped and counted, every request is answered, and the process still ends with 0."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()  # connections are taken by the kernel and never answered
        secret = tmp_path / "s3"
        secret.mkdir()
        for name, value in (
            ("endpoint", f"127.0.0.1:{hole.getsockname()[1]}"),
            ("access_key", "a"),
            ("secret_key", "b"),
            ("secure", "false"),
        ):
            (secret / name).write_text(value)
        flags = ["--log_dir", "s3://bucket/log", "--log_s3", str(secret), "--log_queue_rows", "20"]
        with serving(tmp_path, *flags, "--log_part_bytes", "1024", program=STAND_IN) as predictor:
            end = time.monotonic() + DEADLINE_S
            while predictor.client.get("/slipway/status").json()["log"]["dropped"] < 50:
                assert predictor.predict({"instances": [ROW]}).status_code == 200
                assert time.monotonic() < end
            assert "slipway_log_dropped_rows_total" in predictor.client.get("/metrics").text
            assert predictor.end() == 0


@pytest.mark.parametrize(
    ("argv", "environment", "expected"),
    [
        (["--max_rows", "5"], {}, 5),
        ([], {"SLIPWAY_MAX_ROWS": "6"}, 6),
        (["--max_rows", "5"], {"SLIPWAY_MAX_ROWS": "6"}, 5),
        ([], {}, 50_000),
    ],
    ids=["flag", "variable", "flag-wins", "default"],
)
def test_settings_come_from_flags_then_variables(argv: list[str], environment: dict[str, str], expected: int) -> None:
    """A flag wins over its variable, and the variable over the default."""
    assert parse(argv, environment).max_rows == expected


def test_every_flag_of_kserves_server_is_taken_or_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Those of the installed release, read from its own parser; a misspelt one still ends the process."""
    text = (Path(kserve.__file__).parent / "model_server.py").read_text()
    flags = re.findall(r'add_argument\(\s*"(--[a-z_-]+)"', text)
    assert len(flags) > 20
    values = {"--workers": "1", "--http_port": "8080", "--grpc_port": "8081", "--enable_grpc": "true"}
    for flag in flags:
        settings = parse([f"{flag}={values.get(flag, 'x')}"], {})
        taken = flag in values or flag == "--model_name"
        assert taken or f"'{flag}'" in str([record.__dict__.get("flag") for record in caplog.records]), flag
        assert settings.workers >= 1
    parse(["--enable_predictor_health_check", "--max_threads", "4"], {})
    with pytest.raises(ConfigError, match="unknown arguments"):
        parse(["--max_thread=4"], {})


def test_a_bundle_that_does_not_load_ends_the_process_where_a_termination_log_is(tmp_path: Path) -> None:
    """The log holds the one sentence and the exit code is not 0, which is what KServe shows of a model."""
    told = tmp_path / "termination-log"
    bundle = tmp_path / "none"
    with serving(bundle, "--trusted_key", str(tmp_path), "--termination_log", str(told), ready=False) as predictor:
        assert predictor.process.wait(DEADLINE_S) not in (0, None)
    assert told.read_text().strip()
    assert "\n" not in told.read_text()
    assert "Traceback" not in told.read_text()


def test_kserves_own_flags_are_understood() -> None:
    """What KServe passes to a predictor container is taken as it is."""
    settings = parse(["--model_name=housing", "--model_dir=/mnt/other", "--http_port=8080", "--grpc_port=8081"], {})
    assert (settings.model_name, str(settings.bundle)) == ("housing", "/mnt/other")


def test_batches_give_way_to_single_rows() -> None:
    """The scheduler prefers the event loop to a thread that works at a large request."""
    settings = parse([], {})

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def compared() -> tuple[int, int]:
        workers = Workers(settings, Metrics("m", "1"))
        try:
            return priority(), await workers.run(priority)
        finally:
            workers.close()

    own, worker = asyncio.run(compared())
    assert worker > own or own == 19


def test_the_predictor_starts_without_what_it_does_not_use() -> None:
    """KServe's messages are loaded and its package is not, nor what only a table or a Kubernetes client needs."""
    script = (
        "import sys\n"
        "from serving.predictor.__main__ import load_kernels\n"
        "load_kernels()\n"
        "import serving.predictor.process, serving.bundle.bundle, serving.bundle.signing\n"
        "unused = {'kserve', 'fastapi', 'kubernetes', 'sklearn', 'pandas', 'rich', 'httpx', 'scipy.linalg', 'cffi'}\n"
        "assert not unused & sys.modules.keys(), unused & sys.modules.keys()\n"
        "import scipy.linalg\n"
        "from kserve.protocol.grpc import grpc_predict_v2_pb2 as theirs\n"
        "from serving.predictor.grpc_service import pb as ours\n"
        "assert ours.ModelInferRequest is theirs.ModelInferRequest"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_garbage_is_collected_once_the_load_is_over() -> None:
    """The start goes without it, and what the start brought is left out of it afterwards."""
    gc.disable()
    try:
        settle()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable()
