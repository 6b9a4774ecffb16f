"""Server processes of a benchmark: started, waited for, measured, ended."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]  # ships no annotations

from tests.root import ROOT

DEADLINE_S = 120.0
PAUSE_S = 0.005


@dataclass
class Server:
    """A running server.

    Attributes:
        start_s: from the start of the process to the first answer that says ready.
    """

    port: int
    process: psutil.Process
    start_s: float

    def family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds of the process and its children so far."""
        times = [one.cpu_times() for one in self.family()]
        return float(sum(one.user + one.system for one in times))

    def memory_mb(self) -> float:
        return float(sum(one.memory_info().rss for one in self.family())) / 1e6


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ours(folder: Path, port: int) -> list[str]:
    return [
        sys.executable, "-m", "serving.predictor", "--host", "127.0.0.1", "--model_name", "housing",
        "--bundle", str(folder / "bundle"), "--trusted_key", str(folder / "public.pem"),
        "--http_port", str(port), "--grpc_port", str(free_port()), "--drain_s", "0",
    ]  # fmt: skip


def stock(folder: Path, port: int, kind: str = "columns") -> list[str]:
    file = folder / "stock" / f"{kind}.joblib"
    return [sys.executable, "-m", "tests.bench.stock", str(file), str(port), str(free_port())]


@contextlib.contextmanager
def running(command: Sequence[str], port: int, ready: str = "/v2/models/housing/ready") -> Iterator[Server]:
    """The server that *command* starts on *port*, once its path *ready* answers 200."""
    path = f"{Path(command[0]).absolute().parent}:{os.environ['PATH']}"  # for peers that start their own
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": path}
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            _wait(process, port, ready, log)
            yield Server(port, psutil.Process(process.pid), time.perf_counter() - began)
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], port: int, path: str, log: IO[Any]) -> None:
    end = time.monotonic() + DEADLINE_S
    ask = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode()
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(ask)
            if connection.recv(4096).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(PAUSE_S)
    text = Path(log.name).read_text()[-3000:]
    raise SystemExit(f"{process.args!r} was not ready within {DEADLINE_S:.0f} s: {text}")


def _end(process: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for one in [*family, process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
