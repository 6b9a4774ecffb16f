"""Traffic by KServe's own canary in Standard mode (0.21 and later).

The sides are dealt out in turn and no statistic tells them apart, so no verdict is given from their counts; weights
move when a person or a plan says so. Nothing loses its pods before it has lost its weight (``manifest_canary``).
"""

from dataclasses import dataclass
from typing import Any

from serving.cluster.backends.kserve_reading import pods_of, read_readiness
from serving.cluster.backends.live_route import accepted, refusal
from serving.cluster.backends.one_service import OneService, revision_of
from serving.cluster.backends.workload import available
from serving.cluster.client import DEPLOYMENT, HTTP_ROUTE, Object
from serving.cluster.manifest_canary import (
    beside,
    standard_canary,
    standard_promotion,
    standard_removal,
    standard_service,
    standard_weight,
)
from serving.errors import ConflictError, InfrastructureError
from serving.rollout.backend import WEIGHT_SUM, Capabilities, Observed, Readiness, Revision


@dataclass(frozen=True)
class StandardBackend(OneService):
    """``TrafficBackend`` over ``spec.canary``."""

    share = ("spec", "canary")

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="standard",
            resolution=10,
            mirror=False,
            header=False,
            sticky=False,
            per_request_random=False,
            warm_rollback=True,
        )

    def readiness(self, revision: str) -> Readiness:
        found = self.found()
        if found is None or revision not in self.sides(found):
            return Readiness("absent")
        return read_readiness(self.cluster, self.at.namespace, self.model, self._deployment(revision))

    def observed(self) -> Observed:
        found, route = self.found(), self.cluster.get(HTTP_ROUTE, self.at.namespace, self.model)
        if found is None or route is None:
            return Observed(None, None, "")
        shown = self._shown(found, route) if accepted(route) else None
        return self.confirmed(shown, refusal(route))

    def sides(self, found: Object) -> tuple[str, str]:
        stable, entry = revision_of(found["spec"]["predictor"]), _entry(found)
        return stable, revision_of(entry["predictor"]) if entry else stable

    def percent(self, found: Object) -> int:
        return int(_entry(found).get("trafficPercent", 0))

    def create(self, revision: Revision, replicas: int) -> None:
        route = self.cluster.get(HTTP_ROUTE, self.at.namespace, self.model)
        if route is not None and not route["metadata"].get("ownerReferences"):
            raise ConflictError(
                f"HTTPRoute {self.at.namespace}/{self.model} is there, and KServe would write over it: a model stays "
                "with the way 'route' until its route is deleted, or goes on under another name"
            )
        self.cluster.apply(standard_service(self.model, revision, self.at, replicas=replicas))

    def add(self, found: Object, revision: Revision, replicas: int) -> None:
        own = self._own(found)
        self.remember(raised={"own": own, "to": beside(own, replicas)})
        self.patch(found, standard_canary(self.model, revision, replicas, own, self.at))

    def weighed(self, found: Object, weight: int) -> Object:
        return standard_weight(found["spec"], weight)

    def promote(self, found: Object, revision: str) -> None:  # noqa: ARG002 - there is one canary
        self.patch(found, standard_promotion(found["spec"]))

    def let_go(self, found: Object) -> None:
        self.patch(found, standard_removal(self._own(found)))

    def pods(self, revision: str) -> list[Object]:
        return pods_of(self.cluster, self.at.namespace, self._deployment(revision))

    def home_or_ready(self, revision: str) -> Readiness:
        """The way back to the stable side is open as long as one of its pods answers."""
        seen = self.readiness(revision)
        if seen.state not in ("ready", "absent") and revision == self.sides(self.there())[0]:
            deployment = self.cluster.get(DEPLOYMENT, self.at.namespace, self._deployment(revision))
            return Readiness("ready") if available(deployment) else seen
        return seen

    def _own(self, found: Object) -> int:
        """How many replicas the stable side has of its own: what somebody else wrote there is that number."""
        asked, raised = int(found["spec"]["predictor"].get("minReplicas", 1)), self.known().get("raised") or {}
        return int(raised["own"]) if _entry(found) and raised.get("to") == asked else asked

    def _deployment(self, revision: str) -> str:
        return f"{self.model}-v{self.revision(revision).version}-predictor"

    def _shown(self, found: Object, route: Object) -> dict[str, int]:
        names = {self._deployment(name): name for name in self.sides(found)}
        refs = [ref for rule in route["spec"].get("rules", ())[:1] for ref in rule.get("backendRefs", ())]
        total = sum(int(ref.get("weight", 1)) for ref in refs)
        if not total:
            raise InfrastructureError(f"HTTPRoute {self.model} leads nowhere yet")
        return {
            names.get(ref["name"], ref["name"]): round(int(ref.get("weight", 1)) * WEIGHT_SUM / total) for ref in refs
        }


def _entry(found: Object) -> dict[str, Any]:
    """The canary; empty while there is none."""
    entries: list[dict[str, Any]] = found["spec"].get("canary") or [{}]
    return entries[0]
