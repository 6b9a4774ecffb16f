"""Whether the pods of a predictor can answer, judged by its Deployment and pods.

An InferenceService calls itself ready while the pods of an earlier specification serve and the newest ones crash, so
its own condition is never asked; it is read only for the reason that its storage initializer or model gave.
Precedence from top to bottom: absent, leaving, broken, serving, starting.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serving.rollout.backend import Readiness

Found = Mapping[str, Any]

PATIENCE = 2  # restarts of a container before a crash is called a failure: a store may be away for a moment
HOPELESS = frozenset(
    ("CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ErrImagePull",
     "ImagePullBackOff", "InvalidImageName", "RunContainerError")
)  # fmt: skip
"""Why a container waits for what will not come by itself."""
_LONGEST = 300  # characters of a reason that somebody else wrote


def judge(service: Found | None, deployment: Found | None, pods: Sequence[Found]) -> Readiness:
    """The readiness of one predictor.

    Args:
        service: its InferenceService. deployment: of the predictor. pods: all pods of the Deployment.
    """
    if service is None:
        return Readiness("absent")
    if _leaving(service):
        return Readiness("starting", "its former pods are still ending")
    if deployment is None:
        why = _last_failure(service)
        return Readiness("failed", why) if why else Readiness("starting", "KServe has made no Deployment yet")
    alive = [pod for pod in pods if not _leaving(pod)]
    broken = next((why for pod in alive if (why := failure(pod))), "")
    if available(deployment) and complete(deployment):
        return Readiness("ready", f"one of its pods fails: {broken}" if broken else "")
    if broken:
        told = _last_failure(service)
        return Readiness("failed", f"{broken}: {told}" if told else broken)
    return Readiness("starting", _awaited(deployment, alive))


def available(deployment: Found | None) -> int:
    """Pods that answer, of whichever specification."""
    return int((deployment or {}).get("status", {}).get("availableReplicas") or 0)


def complete(deployment: Found) -> bool:
    """Whether the newest specification has reached all pods, once; a pod that is lost later does not undo it."""
    status = deployment.get("status", {})
    if int(status.get("observedGeneration") or 0) < int(deployment["metadata"].get("generation") or 0):
        return False
    wanted, updated = int(deployment["spec"].get("replicas", 1)), int(status.get("updatedReplicas") or 0)
    if wanted < 1 or updated < wanted or int(status.get("replicas") or 0) > updated:
        return False
    progress = _condition(deployment, "Progressing")
    if progress is None:
        return available(deployment) >= wanted
    return bool(progress.get("reason") == "NewReplicaSetAvailable")


def failure(pod: Found) -> str:
    """Why *pod* will not answer without a change; empty while it may."""
    for status in _containers(pod):
        waiting, name = status.get("state", {}).get("waiting") or {}, status.get("name", "?")
        if waiting.get("reason") in HOPELESS:
            return _short(f"container {name}: {waiting['reason']} {waiting.get('message', '')}")
        if not status.get("ready") and int(status.get("restartCount") or 0) >= PATIENCE:
            ended = _ended(status)
            if ended.get("exitCode"):
                code = f"exit code {ended['exitCode']}, {status['restartCount']} restarts"
                return _short(f"container {name} crashes ({code}) {_last_line(ended.get('message', ''))}")
    return ""


def crashing(pod: Found) -> str | None:
    """The container whose log tells why *pod* fails."""
    for status in _containers(pod):
        if not status.get("ready") and _ended(status).get("exitCode"):
            return str(status.get("name"))
    return None


def ready_pods(pods: Sequence[Found]) -> list[str]:
    """Names of the pods that answer."""
    return [
        str(pod["metadata"]["name"])
        for pod in pods
        if not _leaving(pod) and (_condition(pod, "Ready") or {}).get("status") == "True"
    ]


def _awaited(deployment: Found, pods: Sequence[Found]) -> str:
    for pod in pods:
        placed = _condition(pod, "PodScheduled")
        if placed is not None and placed.get("status") == "False":
            return _short(f"no node has room for it: {placed.get('message', '')}")
    if complete(deployment):
        return f"none of its {deployment['spec'].get('replicas', 1)} pods answers"
    updated = int(deployment.get("status", {}).get("updatedReplicas") or 0)
    return f"{updated} of {deployment['spec'].get('replicas', 1)} pods are of the newest specification, not all answer"


def _last_failure(service: Found) -> str:
    info = service.get("status", {}).get("modelStatus", {}).get("lastFailureInfo") or {}
    message = str(info.get("message", "")).strip()
    told = message.splitlines()[-1] if message else ""  # of a traceback the last line says what happened
    return _short(f"{info.get('reason', '')}: {told}".strip(": "))


def _containers(pod: Found) -> Iterator[Found]:
    status = pod.get("status", {})
    # One that starts first and has not failed says nothing; one that has failed explains why the others wait.
    for init in status.get("initContainerStatuses") or ():
        if (init.get("state", {}).get("terminated") or {}).get("reason") != "Completed":
            yield init
    yield from status.get("containerStatuses") or ()


def _ended(status: Found) -> Found:
    now = status.get("state", {}).get("terminated")
    ended: Found = now or status.get("lastState", {}).get("terminated") or {}
    return ended


def _condition(found: Found, kind: str) -> Found | None:
    for condition in found.get("status", {}).get("conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return None


def _leaving(found: Found) -> bool:
    return "deletionTimestamp" in found["metadata"]


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""


def _short(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
