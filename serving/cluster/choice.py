"""Which backend moves the traffic of a cluster's models: the way that the installation can do, or the one asked for."""

from dataclasses import replace

from serving.cluster.client import Cluster
from serving.cluster.control import BackendOf
from serving.cluster.installation import Way, choose, probe
from serving.cluster.manifest import Installation
from serving.cluster.service import ClusterAddress
from serving.rollout.backend import TrafficBackend
from serving.rollout.controller.desk import Memory


def backends_of(cluster: Cluster, place: ClusterAddress) -> tuple[Way, BackendOf]:
    """The way, and what makes a model's backend of it.

    Raises:
        ConfigError: the installation does not do what *place* asks for; the reason is named.
        InfrastructureError: the API does not answer.
    """
    from serving.cluster.backends.knative import KnativeBackend
    from serving.cluster.backends.route import RouteBackend
    from serving.cluster.backends.standard import StandardBackend

    way = choose(probe(cluster), place.way or None)
    kind = {"route": RouteBackend, "standard": StandardBackend, "knative": KnativeBackend}[way]
    usual = Installation(namespace=place.namespace)
    space, _, gateway = (place.gateway or f"{usual.gateway_namespace}/{usual.gateway}").partition("/")
    public = {"domain": place.domain or usual.domain, "gateway": gateway, "gateway_namespace": space}
    at = replace(usual, **public, priority=place.priority)

    def make(model: str, memory: Memory, fence: int) -> TrafficBackend:
        backend: TrafficBackend = kind(cluster, at, model, memory, fence=fence)
        return backend

    return way, make
