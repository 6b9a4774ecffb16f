"""Follow a run on a cluster as if it were here: the same events, the same summaries, and the cause of a failure.

The server knows states and no reasons; what a step says about itself is in the log of its pod. Logs are kept below the
directory of the run as those of a run on this machine are.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pipelines.here import step_log
from pipelines.here.runner import OVERTIME, RunResult, RunState, TaskEvent, TaskResult, TaskState
from pipelines.kubeflow import tasks as kfp_tasks
from pipelines.kubeflow.server import KfpServer, Phase
from pipelines.kubeflow.tasks import TaskSeen
from serving.cluster.client import POD, Cluster, Object
from serving.errors import InfrastructureError
from serving.files import write_text

POLL_S = 1.0
SETTLE_S = 15.0  # a server says that a run succeeded before it says so of the run's last tasks
PATIENCE_S = 120.0  # a server that restarts is waited for; the run goes on without it
LINES = 5_000
RUN_LABEL = "pipeline/runid"  # what says of which run a pod is


@dataclass
class Follower:
    """One run and what has been told of it so far.

    Attributes:
        cluster, namespace: asked for the pods of steps and what they said.
        run_id: the server's. name: ours, which events carry.
        tasks: those of its graph, without groups. directory: where events and logs are kept.
    """

    server: KfpServer
    cluster: Cluster
    namespace: str
    run_id: str
    name: str
    tasks: Sequence[str]
    directory: Path
    on_event: Callable[[TaskEvent], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    events: dict[str, TaskEvent] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    causes: list[tuple[str, step_log.Cause]] = field(default_factory=list)

    def follow(self, timeout_s: float) -> RunResult:
        """Tell ``on_event`` of each change until the run is over, or *timeout_s* seconds are.

        A run that is no longer followed goes on.

        Raises:
            InfrastructureError: the server did not answer for two minutes.
        """
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)
        started = answered = self.clock()
        over: float | None = None
        phase: Phase = "PENDING"
        while self.clock() - started < timeout_s:
            try:
                phase, details = self.server.run(self.run_id)
                answered = self.clock()
                seen = kfp_tasks.tasks_seen(details, self.tasks)
                self._advance(seen)
            except InfrastructureError:
                if self.clock() - answered > PATIENCE_S:
                    raise
                self.sleep(POLL_S)
                continue
            if phase in ("SUCCEEDED", "FAILED", "CANCELED"):
                over = self.clock() if over is None else over
                if all(self._ended(task) for task in seen) or self.clock() - over > SETTLE_S:
                    self._close(seen, phase)
                    break
            self.sleep(POLL_S)
        return self._result(phase, self.clock() - started, timeout_s)

    def _advance(self, tasks: Mapping[str, TaskSeen]) -> None:
        """Tell what is new; pods are looked at when a task has ended, and while one runs that might be stuck."""
        news = [seen for task, seen in tasks.items() if not self._ended(task)]
        if not news:
            return
        pods = self._pods()
        for seen in news:
            if seen.ended:
                self._end(seen, pods)
            elif seen.task not in self.events:
                self._tell(seen.task, "RUNNING")
        for pod in pods:
            reason, owner = kfp_tasks.why_waiting(pod), kfp_tasks.task_of(pod)
            task = next((task for task in self.tasks if kfp_tasks.short(task) == owner), owner)
            if reason and not self._ended(task) and self.waiting.get(task) != reason:
                self.waiting[task] = reason
                self._tell(task, "RUNNING", message=f"waits for its pod: {reason}")

    def _end(self, seen: TaskSeen, pods: list[Object]) -> None:
        state = kfp_tasks.settled(seen, pods)
        if seen.task not in self.events and state != "SKIPPED":
            self._tell(seen.task, "RUNNING")
        pod = kfp_tasks.executor_pod(seen.task, pods)
        if pod is None and state == "FAILED":
            pod = kfp_tasks.driver_pod(seen.task, pods)
        text = self.cluster.log(self.namespace, kfp_tasks.name_of(pod), kfp_tasks.MAIN, LINES) if pod else ""
        if state not in ("SKIPPED", "CACHED"):
            write_text(self._log(seen.task), text)
        message = step_log.summary(text.splitlines())
        self.outcomes[seen.task] = step_log.outcome(text.splitlines()) or ""
        if state == "FAILED":
            cause = kfp_tasks.why_failed(pod, text, self.namespace)
            self.causes.append((seen.task, cause))
            message = cause.sentence
        self._tell(seen.task, state, seen.seconds, message)

    def _close(self, tasks: Mapping[str, TaskSeen], phase: Phase) -> None:
        """The run is over: what still seems to run has ended with it, and what never began was passed over."""
        for task in self.tasks:
            if self._ended(task):
                continue
            seen = tasks.get(task)
            if seen is None:
                self._tell(task, "SKIPPED")
            else:
                self._end(replace(seen, state="SUCCEEDED" if phase == "SUCCEEDED" else "FAILED"), self._pods())

    def _tell(self, task: str, state: TaskState, seconds: float | None = None, message: str | None = None) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        event = TaskEvent(now, self.name, task, state, seconds, message)
        self.events[task] = event
        with (self.directory / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
        self.on_event(event)

    def _ended(self, task: str) -> bool:
        return task in self.events and self.events[task].state != "RUNNING"

    def _pods(self) -> list[Object]:
        return self.cluster.list(POD, self.namespace, {RUN_LABEL: self.run_id})

    def _log(self, task: str) -> Path:
        return step_log.log_of(self.directory / "logs", task)

    def _result(self, phase: Phase, seconds: float, timeout_s: float) -> RunResult:
        results = tuple(
            TaskResult(
                task, event.state, event.seconds or 0.0, event.message, self._log(task),
                {"Output": self.outcomes.get(task, "")},
            )
            for task, event in self.events.items()
        )  # fmt: skip
        state, error, code = self._end_of_run(phase, timeout_s)
        return RunResult(self.name, state, {}, results, error, code, seconds, self.directory)

    def _end_of_run(self, phase: Phase, timeout_s: float) -> tuple[RunState, str | None, int]:
        """The state of the run, what is wrong with it, and the exit code of that family."""
        match phase:
            case "SUCCEEDED":
                return "SUCCEEDED", None, 0
            case "CANCELED":
                return "CANCELLED", f"run {self.name} was ended on the server", 130
            case "FAILED" if self.causes:
                task, cause = self.causes[0]
                return "FAILED", f"{task}: {cause.sentence} (log: {self._log(task)})", cause.exit_code
            case "FAILED":
                return "FAILED", _unexplained(self.name, self.namespace), 30
        error = f"run {self.name} was followed for {timeout_s:g} s and goes on; see it as {self.run_id}"
        return "TIMED_OUT", error, OVERTIME


def _unexplained(run: str, namespace: str) -> str:
    return f"run {run} failed, and no task says why: kubectl -n {namespace} describe wf"
