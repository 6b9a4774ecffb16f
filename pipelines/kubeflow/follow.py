"""Follow a run on a cluster as if it were here: the same events, the same summaries, and the cause of a failure.

The server knows states and no reasons; what a step says about itself is in the log of its pod. Logs are kept below the
directory of the run as those of a run on this machine are.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pipelines.here import step_log
from pipelines.here.runner import RunResult, TaskEvent, TaskResult, TaskState
from pipelines.kubeflow import tasks as kfp_tasks
from pipelines.kubeflow.server import Phase, RunSeen
from pipelines.kubeflow.tasks import TaskSeen
from serving.errors import InfrastructureError
from serving.files import write_text

POLL_S = 1.0
SETTLE_S = 15.0  # a server says that a run succeeded before it says so of the run's last tasks
PATIENCE_S = 120.0  # a server that restarts is waited for; the run goes on without it
LINES = 5_000
OVERTIME = 7


class RunsApi(Protocol):
    """What following needs of ``kfp_server.KfpServer``."""

    def run(self, run_id: str) -> RunSeen: ...


class Pods(Protocol):
    """The pods of a run, and what they said."""

    def pods(self, run_id: str) -> list[dict[str, Any]]: ...

    def log(self, pod: str, lines: int) -> str: ...


@dataclass(frozen=True)
class Followed:
    """Which run is followed: *run_id* is the server's, *name* is ours, *tasks* those of its graph."""

    run_id: str
    name: str
    tasks: Sequence[str]
    directory: Path


@dataclass
class _Told:
    """What has been told of a run so far."""

    followed: Followed
    pods: Pods
    on_event: Callable[[TaskEvent], None]
    events: dict[str, TaskEvent] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    causes: list[tuple[str, step_log.Cause]] = field(default_factory=list)

    def tell(self, task: str, state: TaskState, seconds: float | None = None, message: str | None = None) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        event = TaskEvent(now, self.followed.name, task, state, seconds, message)
        self.events[task] = event
        with (self.followed.directory / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
        self.on_event(event)

    def ended(self, task: str) -> bool:
        return task in self.events and self.events[task].state != "RUNNING"

    def log(self, task: str) -> Path:
        return self.followed.directory / "logs" / f"{task}.log"


def follow(
    server: RunsApi,
    pods: Pods,
    followed: Followed,
    on_event: Callable[[TaskEvent], None],
    *,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> RunResult:
    """Tell *on_event* of each change until the run is over, or *timeout_s* seconds are.

    A run that is no longer followed goes on.

    Raises:
        InfrastructureError: the server did not answer for two minutes.
    """
    (followed.directory / "logs").mkdir(parents=True, exist_ok=True)
    told = _Told(followed, pods, on_event)
    started = clock()
    answered, over = started, None
    phase: Phase = "PENDING"
    while clock() - started < timeout_s:
        try:
            seen = server.run(followed.run_id)
            answered, phase = clock(), seen.phase
            tasks = kfp_tasks.tasks_seen(seen.details, followed.tasks)
            _advance(told, tasks)
        except InfrastructureError:
            if clock() - answered > PATIENCE_S:
                raise
            sleep(POLL_S)
            continue
        if phase in ("SUCCEEDED", "FAILED", "CANCELED"):
            over = clock() if over is None else over
            if all(told.ended(task) for task in tasks) or clock() - over > SETTLE_S:
                _close(told, tasks, phase)
                break
        sleep(POLL_S)
    return _result(told, phase, clock() - started, timeout_s)


def _advance(told: _Told, tasks: Mapping[str, TaskSeen]) -> None:
    """Tell what is new; pods are looked at when a task has ended, and while one runs that might be stuck."""
    news = [seen for task, seen in tasks.items() if not told.ended(task)]
    if not news:
        return
    pods = told.pods.pods(told.followed.run_id)
    for seen in news:
        if seen.ended:
            _end(told, seen, pods)
        elif seen.task not in told.events:
            told.tell(seen.task, "RUNNING")
    for pod in pods:
        task, reason = kfp_tasks.task_of(pod), kfp_tasks.why_waiting(pod)
        if reason and not told.ended(task) and told.waiting.get(task) != reason:
            told.waiting[task] = reason
            told.tell(task, "RUNNING", message=f"waits for its pod: {reason}")


def _end(told: _Told, seen: TaskSeen, pods: list[dict[str, Any]]) -> None:
    state = kfp_tasks.settled(seen, pods)
    if seen.task not in told.events and state != "SKIPPED":
        told.tell(seen.task, "RUNNING")
    pod = kfp_tasks.executor_pod(seen, pods)
    if pod is None and state == "FAILED":
        pod = kfp_tasks.driver_pod(seen.task, pods)
    text = told.pods.log(kfp_tasks.name_of(pod), LINES) if pod else ""
    if state not in ("SKIPPED", "CACHED"):
        write_text(told.log(seen.task), text)
    message = step_log.summary(text.splitlines())
    if state == "FAILED":
        cause = kfp_tasks.why_failed(pod, text)
        told.causes.append((seen.task, cause))
        message = cause.sentence
    told.tell(seen.task, state, seen.seconds, message)


def _close(told: _Told, tasks: Mapping[str, TaskSeen], phase: Phase) -> None:
    """The run is over: what still seems to run has ended with it, and what never began was passed over."""
    for task in told.followed.tasks:
        if told.ended(task):
            continue
        seen = tasks.get(task)
        if seen is None:
            told.tell(task, "SKIPPED")
        else:
            state: TaskState = "SUCCEEDED" if phase == "SUCCEEDED" else "FAILED"
            _end(told, TaskSeen(task, state, seen.seconds, seen.numbers), told.pods.pods(told.followed.run_id))


def _result(told: _Told, phase: Phase, seconds: float, timeout_s: float) -> RunResult:
    followed = told.followed
    results = tuple(
        TaskResult(task, event.state, event.seconds or 0.0, event.message, told.log(task))
        for task, event in told.events.items()
    )
    state, error, code = "SUCCEEDED", None, 0
    if phase == "FAILED":
        state, error, code = "FAILED", *_fault(told)
    elif phase == "CANCELED":
        state, error, code = "CANCELLED", f"run {followed.name} was ended on the server", 130
    elif phase != "SUCCEEDED":
        state, code = "TIMED_OUT", OVERTIME
        error = f"run {followed.name} was followed for {timeout_s:g} s and goes on; see it as {followed.run_id}"
    return RunResult(followed.name, state, {}, results, error, code, seconds, followed.directory)  # type: ignore[arg-type]  # one of the words above


def _fault(told: _Told) -> tuple[str, int]:
    if not told.causes:
        return f"run {told.followed.name} failed, and no task says why: kubectl -n kubeflow describe wf", 30
    task, cause = told.causes[0]
    return f"{task}: {cause.sentence} (log: {told.log(task)})", cause.exit_code
