"""The process of one run as its parent sees it: started, listened to, and ended with all that it started."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from serving.files import write_json

TICK_S = 0.2  # how often the clock is looked at
GRACE_S = 3.0  # between asking the steps to end and ending them


class Child:
    """A process group of its own, gone when the block is left; *directory* is the run's."""

    def __init__(self, directory: Path, spec: Mapping[str, Any]) -> None:
        self.log = directory / "logs" / "runner.log"
        read, write = os.pipe()
        write_json(directory / "spec.json", {**spec, "events_fd": write})
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "pipelines.here.run", str(directory / "spec.json")],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, pass_fds=[write], start_new_session=True,
            )  # fmt: skip
        os.close(write)
        self._lines: IO[bytes] = os.fdopen(read, "rb", buffering=0)

    def messages(self) -> Iterator[Mapping[str, Any] | None]:
        """What the child says; None at least every ``TICK_S`` while it says nothing; ends when it has."""
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._lines, selectors.EVENT_READ)
            while True:
                if not selector.select(TICK_S):
                    yield None
                    continue
                data = self._lines.read(1 << 16)
                if not data:
                    return
                *whole, rest = (rest + data).split(b"\n")
                yield from map(json.loads, whole)

    def ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)

    def vanished(self) -> str:
        """The sentence about a child that ended without a result."""
        self._wait()
        said = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        last = f", its last line was: {said[-1]}" if said else ""
        return (
            f"the process of the run ended with status {self.process.poll()} before it was done{last} "
            f"(log: {self.log}); run the same command again, finished tasks are not repeated"
        )

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._wait()
        self._signal(signal.SIGTERM if self.process.poll() is None else signal.SIGKILL)
        self._wait()
        self._signal(signal.SIGKILL)
        self.process.wait()
        self._lines.close()
        if self.process.stdin:
            self.process.stdin.close()

    def _wait(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_S)

    def _signal(self, number: signal.Signals) -> None:
        # An empty group is "no such process", on some systems "not permitted".
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)
