"""What the backends of a cluster have in common: predictors, their pods and their metrics."""

from collections.abc import Iterable, Mapping
from typing import Any

from serving.cluster.backends.readings import Reading, in_flight, predictor_reading
from serving.cluster.backends.workload import crashing, judge, ready_pods
from serving.cluster.client import DEPLOYMENT, INFERENCE_SERVICE, POD, Cluster, Object, pods_text
from serving.errors import InfrastructureError
from serving.rollout.backend import Readiness, Split

PREDICTOR_PORT = 8080
_LOG_LINES = 20


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
