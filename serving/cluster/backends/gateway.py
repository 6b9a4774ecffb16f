"""The proxies of an Envoy Gateway: their statistics, and which write of a route they follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from serving.cluster.backends.readings import Reading, active, envoy_readings
from serving.cluster.backends.workload import ready_pods
from serving.cluster.client import POD, Cluster, pods_text
from serving.cluster.manifest import Installation, host
from serving.cluster.manifest_route import SPLITS, backend_positions
from serving.cluster.two_slots import Route
from serving.errors import InfrastructureError
from serving.wire import EPOCH_HEADER, ready_path

NAMESPACE = "envoy-gateway-system"  # where the proxies run
STATS_PORT = 19001
LISTENER_PORT = 10080  # of a Gateway's listener on port 80
_OWNER = "gateway.envoyproxy.io/owning-gateway-"


@dataclass(frozen=True)
class Proxies:
    """The proxy pods behind the Gateway of *at*."""

    cluster: Cluster
    at: Installation
    model: str

    def pods(self) -> list[str]:
        labels = {f"{_OWNER}name": self.at.gateway, f"{_OWNER}namespace": self.at.gateway_namespace}
        return ready_pods(self.cluster.list(POD, NAMESPACE, labels))

    def readings(self) -> dict[str, dict[str, Reading]]:
        """By pod, then by Envoy cluster.

        Raises:
            InfrastructureError: there is no proxy, or one of them does not answer.
        """
        return {pod: envoy_readings(text) for pod, text in self._stats().items()}

    def active(self) -> dict[str, int]:
        """Requests without an answer by Envoy cluster, over all proxies."""
        sums: dict[str, int] = {}
        for text in self._stats().values():
            for cluster, count in active(text).items():
                sums[cluster] = sums.get(cluster, 0) + count
        return sums

    def heard(self) -> str | None:
        """The epoch that every proxy answers with; empty while they differ, None where none can be asked."""
        path, headers = ready_path(self.model), {"Host": host(self.model, self.at)}
        try:
            replies = [
                self.cluster.answer(NAMESPACE, pod, LISTENER_PORT, path, headers).headers.get(EPOCH_HEADER)
                for pod in self.pods()
            ]
        except InfrastructureError:
            return None
        if not replies or None in replies:
            return None
        return replies[0] if len(set(replies)) == 1 else ""

    def slots(self, route: Route) -> Mapping[str, str]:
        """Envoy clusters of each slot of *route* to the revision it points at."""
        where = f"httproute/{self.at.namespace}/{route.model}/"
        of_a = {where + position: route.a.revision for position in backend_positions("A")}
        return of_a | {where + position: route.b.revision for position in backend_positions("B")}

    def mirrors(self, route: Route) -> tuple[str, ...]:
        """How the Envoy clusters of the copies begin; the position of the filter in its rule comes after."""
        return tuple(f"httproute/{self.at.namespace}/{route.model}/rule/{rule}-mirror-" for rule in SPLITS)

    def _stats(self) -> dict[str, str]:
        pods = self.pods()
        if not pods:
            raise InfrastructureError(
                f"no proxy of Gateway {self.at.gateway} answers in {NAMESPACE}; is Envoy Gateway running?"
            )
        # All statistics of all routes are megabytes; the expression is matched with the whole name of each.
        rules = "|".join(map(str, SPLITS))
        counted = r"(upstream_rq_([1-5]xx|time|active)|\.grpc\..*\.[0-9]+)"
        own = rf"httproute/{self.at.namespace}/{self.model}/rule/({rules})[/-].*{counted}$"
        wanted = rf"{own}|no_cluster$"
        path = f"/stats/prometheus?filter={quote(wanted, safe='')}"
        return {pod: pods_text(self.cluster, NAMESPACE, pod, STATS_PORT, path) for pod in pods}
