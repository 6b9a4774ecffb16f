"""Run a compiled pipeline on this machine: one child process per run, watched, limited in time, and ended as a whole.

Below the root each run has ``runs/<run_id>/`` with ``events.jsonl``, ``logs/<task>.log``, ``logs/runner.log`` and
``outputs.json``. What steps make is in ``pipeline_root/``, shared by all runs, and so is the cache: run the same
command again after a crash and everything that was finished is served from there.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pipelines.here.child import Child
from pipelines.here.step_log import log_of
from serving.errors import ConfigError
from serving.files import read_json
from serving.locks import only_holder

TaskState = Literal["RUNNING", "SUCCEEDED", "CACHED", "FAILED", "SKIPPED"]
RunState = Literal["SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELLED"]
OVERTIME = 7


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
    model: str = "",
) -> RunResult:
    """Run *package* with *arguments* and wait for its end; an exception of *on_event* ends it as well.

    Steps inherit the environment of this process. It says where things are, so it does not count for the cache; what a
    result depends on belongs into *arguments*.

    Raises:
        ConfigError: there is no such package.
        ConflictError: a run of this name is under way.
    """
    if not package.is_file():
        raise ConfigError(f"there is no compiled pipeline at {package}; make it with `slipway compile`")
    place, started = root.resolve(), time.monotonic()
    told = _Told(place / "runs" / run_id, on_event)
    spec = {"package": str(package.resolve()), "arguments": dict(arguments), "root": str(place), "run_id": run_id}
    spec |= {"model": model}
    with _alone(told.directory):
        told.prepare()
        with Child(told.directory, {**spec, "cache": cache}) as child:
            end = told.follow(child, started + timeout_s)
        told.sweep()
    if end["state"] == "TIMED_OUT":
        end["error"] = f"run {run_id} was stopped after {timeout_s:g} s{told.during}; give it more time"
    return told.result(end, time.monotonic() - started)


def model_of(spec: Mapping[str, Any]) -> str:
    """The model that a run's ``spec.json`` is about; of an older Slipway's it was an argument."""
    return str(spec.get("model") or spec.get("arguments", {}).get("name", ""))


@dataclass
class _Told:
    """What was heard of one run, and its records."""

    directory: Path
    on_event: Callable[[TaskEvent], None]
    events: list[TaskEvent] = field(default_factory=list)

    def prepare(self) -> None:
        """An empty place for the records; those of an earlier go under the same name are replaced."""
        if self.directory.exists():
            shutil.rmtree(self.directory)
        (self.directory / "logs").mkdir(parents=True)
        (self.directory / "tmp").mkdir()
        (self.directory / "events.jsonl").touch()

    def sweep(self) -> None:
        """Remove what steps leave behind; the folder stays, a server that a step started may have it as its own."""
        for left in (self.directory / "tmp").glob("tmp.*"):
            shutil.rmtree(left, ignore_errors=True)

    def follow(self, child: Child, deadline: float) -> dict[str, Any]:
        """Pass the child's events on until it has given its result or the time is over."""
        for message in child.messages():
            if message and "result" in message:
                return dict(message["result"])
            if message:
                self._seen(message["event"])
            if time.monotonic() > deadline:
                child.ask_to_end()
                return {"state": "TIMED_OUT", "exit_code": OVERTIME}
        return {"state": "FAILED", "exit_code": OVERTIME, "error": child.vanished()}

    def _seen(self, said: Mapping[str, Any]) -> None:
        event = TaskEvent(datetime.now(UTC).isoformat(timespec="milliseconds"), self.directory.name, **said)
        self.events.append(event)
        with (self.directory / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
        self.on_event(event)

    @property
    def during(self) -> str:
        """Where a run was interrupted, for a sentence about it."""
        ended = {event.task for event in self.events if event.state != "RUNNING"}
        open_ = [event.task for event in self.events if event.task not in ended]
        return f" in task {open_[-1]!r}" if open_ else ""

    def result(self, end: Mapping[str, Any], seconds: float) -> RunResult:
        """What *end* and the run's own record of its outputs say; tasks in the order of their starts."""
        path = self.directory / "outputs.json"
        made = read_json(path) if path.exists() else {}
        last = {event.task: event for event in self.events}
        tasks = tuple(self._task(event, made.get("tasks", {}).get(task, {})) for task, event in last.items())
        outputs = _plain(made.get("outputs", {}))
        return RunResult(
            self.directory.name, end["state"], outputs, tasks, end["error"], end["exit_code"], seconds, self.directory
        )

    def _task(self, event: TaskEvent, outputs: Mapping[str, Any]) -> TaskResult:
        log = log_of(self.directory / "logs", event.task)
        return TaskResult(event.task, event.state, event.seconds or 0.0, event.message, log, _plain(outputs))


def _alone(directory: Path) -> AbstractContextManager[None]:
    """Hold the run's name while it runs; the system lets go of it when the process is killed."""
    told = f"run {directory.name} is under way"
    lock = directory.parent / f".{directory.name}.lock"
    return only_holder(lock, lambda who: f"{told} in {who}; wait for it, or choose another name")


def _plain(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: next(iter(value.values())) for name, value in outputs.items()}
