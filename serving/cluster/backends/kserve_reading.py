"""What the backends of a cluster have in common: predictors, their pods and their metrics."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from serving.cluster.backends.gateway_counts import KeptBook
from serving.cluster.backends.readings import Reading, in_flight, predictor_reading
from serving.cluster.backends.workload import crashing, judge, ready_pods
from serving.cluster.client import DEPLOYMENT, INFERENCE_SERVICE, POD, Cluster, Object, pods_text
from serving.cluster.manifest import Installation
from serving.errors import InfrastructureError
from serving.files import canonical_json, sha256_bytes
from serving.rollout.backend import Observed, Readiness, Split
from serving.rollout.controller.desk import Memory

PREDICTOR_PORT = 8080
_LOG_LINES = 20


@dataclass(frozen=True)
class OfModel:
    """One model in a cluster, and what its backend remembers; every way of moving traffic is one of these.

    Attributes:
        memory: keeps what the cluster forgets.
        fence: token of the lease under which this controller acts, 0 for a person at the keyboard.
    """

    cluster: Cluster
    at: Installation
    model: str
    memory: Memory
    fence: int = 0
    clock: Callable[[], float] = time.time

    keeps_as: ClassVar[str]

    @property
    def book(self) -> KeptBook:
        return KeptBook(self.memory, f"counts.{self.at.namespace}.{self.model}")

    def known(self) -> Mapping[str, Any]:
        return self.memory.get(f"{self.keeps_as}.{self.at.namespace}.{self.model}") or {}

    def remember(self, **changes: Any) -> None:
        known = dict(self.known())
        if {**known, **changes} != known:
            self.memory.put(f"{self.keeps_as}.{self.at.namespace}.{self.model}", {**known, **changes})

    def last_confirmed(self, rejected: str = "") -> Observed:
        """The newest split that traffic is known to have followed."""
        before = self.known().get("confirmed")
        if before is None:
            return Observed(None, None, "", rejected)
        split = split_of(before["split"])
        return Observed(split, before["epoch"], meaning(split, before["epoch"]), rejected)


def read_readiness(cluster: Cluster, namespace: str, service: str, predictor: str) -> Readiness:
    """The readiness of the predictor whose Deployment is *predictor*, of InferenceService *service*."""
    found = cluster.get(INFERENCE_SERVICE, namespace, service)
    if found is None:
        return judge(None, None, ())
    pods = pods_of(cluster, namespace, predictor)
    readiness = judge(found, cluster.get(DEPLOYMENT, namespace, predictor), pods)
    if readiness.state != "failed" or ": " in readiness.reason.partition(")")[2]:
        return readiness
    told = _last_words(cluster, namespace, pods)
    return Readiness("failed", f"{readiness.reason}: {told}" if told else readiness.reason)


def pods_of(cluster: Cluster, namespace: str, predictor: str) -> list[Object]:
    return cluster.list(POD, namespace, {"app": f"isvc.{predictor}"})


def ready_pods_of(cluster: Cluster, namespace: str, predictor: str) -> list[str]:
    return ready_pods(pods_of(cluster, namespace, predictor))


def read_predictors(cluster: Cluster, namespace: str, pods: Iterable[str], version: int) -> dict[str, Reading]:
    """By pod what its model server counts for *version*; a pod that does not answer is left out."""
    found = {}
    for pod in pods:
        try:
            text = pods_text(cluster, namespace, pod, PREDICTOR_PORT, "/metrics")
        except InfrastructureError:
            continue
        found[pod] = predictor_reading(text, str(version))
    return found


def working(cluster: Cluster, namespace: str, pods: Iterable[str]) -> int:
    """Requests that *pods* are working on."""
    return sum(in_flight(pods_text(cluster, namespace, pod, PREDICTOR_PORT, "/metrics")) for pod in pods)


def split_document(split: Split) -> dict[str, Any]:
    return {
        "weights": split.arms,
        "mirror": split.mirror,
        "header_arms": sorted(set(split.header_arms)),
    }


def split_of(document: Mapping[str, Any]) -> Split:
    return Split(dict(document["weights"]), document["mirror"], None, tuple(document["header_arms"]))


def meaning(split: Split, epoch: str) -> str:
    return digest_of([split_document(split), epoch])


def digest_of(value: Any) -> str:
    return sha256_bytes(canonical_json(value))


def _last_words(cluster: Cluster, namespace: str, pods: list[Object]) -> str:
    for pod in pods:
        container = crashing(pod)
        if container is not None:
            try:
                lines = cluster.log(namespace, pod["metadata"]["name"], container, _LOG_LINES).strip().splitlines()
            except InfrastructureError:
                return ""
            return lines[-1].strip()[:300] if lines else ""
    return ""
