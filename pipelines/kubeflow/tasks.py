"""What a server's account of a run says about its tasks, in the words of a run on this machine.

A server tells of one graph as of many nodes: of each task its driver, its executor and the pair of them, and the same
of every group. Only the tasks are of interest; whether one came from the cache shows in that it has no executor's pod.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.here.runner import TaskState
from pipelines.here.step_log import Cause, cause
from serving.cluster.backends.workload import HOPELESS

MAIN = "main"  # the container in which a step runs
NEVER_BEFORE = 2000  # a server writes the years 1 and 1970 for a moment that has not come
DRIVER, EXECUTOR = "-driver", "executor"
_FAILED = ("FAILED", "CANCELED", "CANCELING")

Pod = Mapping[str, Any]


@dataclass(frozen=True)
class TaskSeen:
    """A task at one moment; *seconds* from the start of its driver to the end of its executor, None before that."""

    task: str
    state: TaskState
    seconds: float | None = None

    @property
    def ended(self) -> bool:
        return self.state != "RUNNING"


def tasks_seen(details: Sequence[Any], tasks: Sequence[str]) -> dict[str, TaskSeen]:
    """Those of *tasks* that have begun or were passed over, by name; one in a loop is over when the loop is.

    Args:
        details: nodes as the server has them (``V2beta1PipelineTaskDetail``).
    """
    found = {}
    for task in tasks:
        group, name = task.split("/")[-2:-1], short(task)
        drivers = [one for one in details if one.display_name == name + DRIVER]
        nodes = [one for one in details if one.display_name == name]
        around = [one for one in details if one.display_name in group]
        if drivers or nodes:
            found[task] = _seen(task, drivers, nodes, around)
    return found


def _seen(task: str, drivers: Sequence[Any], nodes: Sequence[Any], around: Sequence[Any]) -> TaskSeen:
    states = {str(one.state) for one in (*drivers, *nodes)}
    state: TaskState = "RUNNING"
    if states & set(_FAILED):
        state = "FAILED"
    elif nodes and all(node.state == "SUCCEEDED" for node in (*nodes, *around)):
        state = "SUCCEEDED"
    elif states == {"SKIPPED"}:
        state = "SKIPPED"
    seconds = _seconds([*drivers, *nodes]) if state in ("FAILED", "SUCCEEDED") else None
    return TaskSeen(task, state, seconds)


def _seconds(details: Sequence[Any]) -> float | None:
    begun = [one.start_time for one in details if _has_come(one.start_time)]
    over = [one.end_time for one in details if _has_come(one.end_time)]
    return (max(over) - min(begun)).total_seconds() if begun and over else None


def _has_come(moment: datetime | None) -> bool:
    return moment is not None and moment.year >= NEVER_BEFORE


def short(task: str) -> str:
    """The name of *task* on a server, which does not say in which loop it is."""
    return task.rpartition("/")[2]


def executor_pod(task: str, pods: Collection[Pod]) -> Pod | None:
    """The pod that ran the own code of *task*; None when nothing had to run.

    Of the pods of a loop or of several attempts, one that failed, or else the newest.
    """
    mine = [pod for pod in pods if _path(pod)[-2:] == [short(task), EXECUTOR]]
    return max(mine, key=_worth_a_look, default=None)


def _worth_a_look(pod: Pod) -> tuple[bool, str]:
    return pod.get("status", {}).get("phase") == "Failed", str(pod["metadata"].get("creationTimestamp", ""))


def driver_pod(task: str, pods: Collection[Pod]) -> Pod | None:
    """The pod that decided about *task*."""
    return next((pod for pod in pods if _path(pod)[-1:] == [short(task) + DRIVER]), None)


def settled(seen: TaskSeen, pods: Collection[Pod]) -> TaskState:
    """The state of *seen*, which is CACHED when it succeeded without a pod."""
    return "CACHED" if seen.state == "SUCCEEDED" and executor_pod(seen.task, pods) is None else seen.state


def why_failed(pod: Pod | None, log: str, namespace: str) -> Cause:
    """Why a task failed, from its *pod* and the *log* of that pod: what the step said, else how its process ended."""
    if pod is None:
        return Cause(f"it failed before it had a pod; its workflow has events: kubectl -n {namespace} get wf", 30)
    ending = _terminated(pod)
    if ending.get("reason") == "OOMKilled":
        return Cause("the step used more memory than its pod may have; raise its limit, or give it fewer rows", 7)
    if log.strip():
        return cause(log.splitlines(), ending.get("exitCode"))
    said = pod.get("status", {}).get("message") or ending.get("message") or ending.get("reason")
    reason = f"its pod {name_of(pod)} ended without a log"
    return Cause(f"{reason}: {said}" if said else f"{reason}; see kubectl -n {namespace} describe pod", 30)


def why_waiting(pod: Pod) -> str | None:
    """Why *pod* does not start and will not by itself; None when all is well or it is only early."""
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return f"no node has room: {condition.get('message', 'unschedulable')}"
    for status in (*_containers(pod, "initContainerStatuses"), *_containers(pod, "containerStatuses")):
        waiting = status.get("state", {}).get("waiting", {})
        if waiting.get("reason") in HOPELESS:
            return f"{waiting['reason']}: {waiting.get('message', status.get('image', ''))}"
    return None


def task_of(pod: Pod) -> str:
    """The task that *pod* works for, from the path of its node: ``wf.root.train.executor`` is train's."""
    parts = [part for part in _path(pod) if part != EXECUTOR]
    return parts[-1].removesuffix(DRIVER) if parts else name_of(pod)


def name_of(pod: Pod) -> str:
    return str(pod["metadata"]["name"])


def _path(pod: Pod) -> list[str]:
    """Where the node of *pod* is in its workflow, without the numbers of attempts, which newer servers always write."""
    node = str(pod["metadata"].get("annotations", {}).get("workflows.argoproj.io/node-name", ""))
    return [part for part in re.sub(r"\(\d+\)", "", node).split(".") if part]


def _terminated(pod: Pod) -> Mapping[str, Any]:
    for status in _containers(pod, "containerStatuses"):
        if status.get("name") == MAIN:
            found: Mapping[str, Any] = status.get("state", {}).get("terminated") or {}
            return found
    return {}


def _containers(pod: Pod, field: str) -> Sequence[Mapping[str, Any]]:
    return pod.get("status", {}).get(field) or ()
