"""Run a compiled pipeline on this machine: one child process per run, watched, limited in time, and ended as a whole.

Below the root each run has ``runs/<run_id>/`` with ``events.jsonl``, ``logs/<task>.log``, ``logs/runner.log`` and
``outputs.json``. What steps make is in ``pipeline_root/``, shared by all runs, and so is the cache: run the same
command again after a crash and everything that was finished is served from there.
"""

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

from serving.errors import ConfigError, ConflictError
from serving.files import read_json, write_json

TaskState = Literal["RUNNING", "SUCCEEDED", "CACHED", "FAILED", "SKIPPED"]
RunState = Literal["SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELLED"]
TICK_S = 0.2  # how often the clock and the caller's wish to cancel are looked at
GRACE_S = 3.0  # between asking the steps to end and ending them
OVERTIME, INTERRUPTED = 7, 130


@dataclass(frozen=True)
class TaskEvent:
    """A task changed its state. ``time`` is UTC, ISO 8601; ``message`` is a summary, or why it failed."""

    time: str
    run_id: str
    task: str
    state: TaskState
    seconds: float | None = None
    message: str | None = None


@dataclass(frozen=True)
class TaskResult:
    """How one task ended; ``outputs`` as in ``RunResult``, ``message`` its summary or why it failed."""

    task: str
    state: TaskState
    seconds: float
    message: str | None
    log: Path
    outputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cached(self) -> bool:
        return self.state == "CACHED"


@dataclass(frozen=True)
class RunResult:
    """How a run ended: ``outputs`` are plain values, an artifact a mapping with ``uri`` and ``metadata``.

    ``error`` names the task, the reason and the log; ``exit_code`` is that of the error's family (``serving.errors``).
    """

    run_id: str
    state: RunState
    outputs: Mapping[str, Any]
    tasks: tuple[TaskResult, ...]
    error: str | None
    exit_code: int
    seconds: float
    directory: Path

    def task(self, name: str) -> TaskResult:
        return next(task for task in self.tasks if task.task == name)


def run(
    package: Path,
    arguments: Mapping[str, Any],
    root: Path,
    *,
    run_id: str,
    timeout_s: float,
    on_event: Callable[[TaskEvent], None],
    cache: bool = True,
    environment: Mapping[str, str] = {},
    cancelled: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Run *package* with *arguments* and wait for its end.

    Args:
        environment: variables added to those of this process for the steps. They say where things are, so they do not
            count for the cache; what a result depends on belongs into *arguments*.
        cancelled: asked five times a second; once true, the run is ended. An exception of *on_event* ends it as well.

    Raises:
        ConfigError: there is no such package.
        ConflictError: a run of this name is under way.
    """
    if not package.is_file():
        raise ConfigError(f"there is no compiled pipeline at {package}; make it with `slipway compile`")
    directory = root.resolve() / "runs" / run_id
    with _alone(directory):
        return _run(
            directory,
            {
                "package": str(package.resolve()),
                "arguments": dict(arguments),
                "root": str(root.resolve()),
                "cache": cache,
            },
            environment,
            timeout_s,
            on_event,
            cancelled,
        )


def _run(
    directory: Path,
    spec: Mapping[str, Any],
    environment: Mapping[str, str],
    timeout_s: float,
    on_event: Callable[[TaskEvent], None],
    cancelled: Callable[[], bool],
) -> RunResult:
    run_id = directory.name
    _prepare(directory)
    started = time.monotonic()
    events: list[TaskEvent] = []

    def seen(event: TaskEvent) -> None:
        events.append(event)
        with (directory / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
        on_event(event)

    with _Child(directory, {**spec, "run_id": run_id}, environment) as child:
        end = _follow(child, run_id, seen, started + timeout_s, cancelled)
    _sweep(directory / "tmp")
    if end["state"] == "TIMED_OUT":
        end["error"] = f"run {run_id} was stopped after {timeout_s:g} s{_during(events)}; give it more time"
    if end["state"] == "CANCELLED":
        end["error"] = f"run {run_id} was cancelled{_during(events)}; the same command takes up where it stopped"
    made = read_json(directory / "outputs.json") if (directory / "outputs.json").exists() else {}
    outputs = {name: _plain(value) for name, value in made.get("outputs", {}).items()}
    tasks = _tasks(events, made.get("tasks", {}), directory / "logs")
    return RunResult(run_id, end["state"], outputs, tasks, end["error"], end["exit_code"],
                     time.monotonic() - started, directory)  # fmt: skip


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the run's name while it runs; the system lets go of it when the process is killed."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f".{directory.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"run {directory.name} is under way in another process; wait for it, or choose another name"
            ) from None
        yield


def _prepare(directory: Path) -> None:
    """An empty place for the run's records; those of an earlier go under the same name are replaced."""
    if directory.exists():
        shutil.rmtree(directory)
    (directory / "logs").mkdir(parents=True)
    (directory / "tmp").mkdir()
    (directory / "events.jsonl").touch()


def _sweep(temporary: Path) -> None:
    """Remove what kfp's steps leave behind; the folder stays, a server that a step started may have it as its own."""
    for left in temporary.glob("tmp.*"):
        shutil.rmtree(left, ignore_errors=True)


class _Child:
    """The process of one run and all it starts: a process group of its own, gone when the block is left."""

    def __init__(self, directory: Path, spec: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.directory = directory
        read, write = os.pipe()
        write_json(directory / "spec.json", {**spec, "events_fd": write})
        with (directory / "logs" / "runner.log").open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "pipelines.here.run", str(directory / "spec.json")],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, pass_fds=[write], start_new_session=True,
            )  # fmt: skip
        os.close(write)
        self.lines: IO[bytes] = os.fdopen(read, "rb", buffering=0)
        # TMPDIR: each step leaves its program in a temporary directory, which is swept at the end of the run.
        self._tell({"TMPDIR": str(directory / "tmp"), **environment})

    def _tell(self, environment: Mapping[str, str]) -> None:
        assert self.process.stdin  # noqa: S101 - asked for above
        with contextlib.suppress(BrokenPipeError):  # it is gone already; that its pipe ends says so
            self.process.stdin.write(json.dumps(environment).encode() + b"\n")
            self.process.stdin.flush()

    def messages(self) -> Iterator[Mapping[str, Any] | None]:
        """What the child says; None at least every ``TICK_S`` while it says nothing; ends when it has."""
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.lines, selectors.EVENT_READ)
            while True:
                if not selector.select(TICK_S):
                    yield None
                    continue
                data = self.lines.read(1 << 16)
                if not data:
                    return
                *whole, rest = (rest + data).split(b"\n")
                yield from map(json.loads, whole)

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.process.poll() is None:
            _wait(self.process, GRACE_S)
        self._signal(signal.SIGTERM if self.process.poll() is None else signal.SIGKILL)
        _wait(self.process, GRACE_S)
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.lines.close()
        if self.process.stdin:
            self.process.stdin.close()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):  # the group is empty; on some systems that is "not permitted"
            return


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _follow(
    child: _Child, run_id: str, seen: Callable[[TaskEvent], None], deadline: float, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Pass the child's events on until it has given its result, the time is over or nobody wants it any more."""
    for message in child.messages():
        if message and "result" in message:
            return dict(message["result"])
        if message:
            seen(TaskEvent(datetime.now(UTC).isoformat(timespec="milliseconds"), run_id, **message["event"]))
        if time.monotonic() > deadline:
            child._signal(signal.SIGTERM)
            return {"state": "TIMED_OUT", "exit_code": OVERTIME}
        if cancelled():
            child._signal(signal.SIGTERM)
            return {"state": "CANCELLED", "exit_code": INTERRUPTED}
    return {"state": "FAILED", "exit_code": OVERTIME, "error": _vanished(child)}


def _vanished(child: _Child) -> str:
    log = child.directory / "logs" / "runner.log"
    _wait(child.process, GRACE_S)
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = f", its last line was: {said[-1]}" if said else ""
    return (
        f"the process of the run ended with status {child.process.poll()} before it was done{last} (log: {log}); "
        "run the same command again, finished tasks are not repeated"
    )


def _during(events: list[TaskEvent]) -> str:
    ended = {event.task for event in events if event.state != "RUNNING"}
    open_ = [event.task for event in events if event.task not in ended]
    return f" in task {open_[-1]!r}" if open_ else ""


def _tasks(events: list[TaskEvent], outputs: Mapping[str, Any], logs: Path) -> tuple[TaskResult, ...]:
    """The last state of each task, in the order of their starts."""
    last = {event.task: event for event in events}
    return tuple(
        TaskResult(
            task,
            event.state,
            event.seconds or 0.0,
            event.message,
            logs / f"{task.replace('/', '.')}.log",
            {name: _plain(value) for name, value in outputs.get(task, {}).items()},
        )
        for task, event in last.items()
    )


def _plain(output: Mapping[str, Any]) -> Any:
    return next(iter(output.values()))
