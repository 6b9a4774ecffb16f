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
    Canary,
    standard_promotion,
    standard_removal,
    standard_service,
    standard_weight,
)
from serving.cluster.manifest_route import EPOCH
from serving.errors import InfrastructureError
from serving.rollout.backend import WEIGHT_SUM, Capabilities, Counters, Observed, Readiness, Revision, Split


@dataclass(frozen=True)
class StandardBackend(OneService):
    """``TrafficBackend`` over ``spec.canary``."""

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

    def ensure(self, revision: Revision, replicas: int) -> None:
        found = self.found()
        self.keep(revision)
        if found is None:
            self.cluster.apply(standard_service(self.model, revision, self.at, replicas=replicas))
            return
        stable, candidate = _sides(found)
        if revision.name in (stable, candidate):
            return
        if candidate is not None and _percent(found):
            raise ValueError(f"{candidate} has {_percent(found)} % of the traffic; move it before another canary comes")
        canary = self._canary(found, revision, replicas)
        self.patch(standard_weight(canary, 0, self.at, fence=self.fence))

    def readiness(self, revision: str) -> Readiness:
        found = self.found()
        if found is None or revision not in _sides(found):
            return Readiness("absent")
        return read_readiness(self.cluster, self.at.namespace, self.model, self._deployment(revision))

    def apply(self, split: Split, epoch: str) -> None:
        found = self._there()
        self.check(split, self._home_or_ready)
        stable, candidate = _sides(found)
        strangers = {name for name, weight in split.weights.items() if weight} - {stable, candidate}
        if strangers:
            raise ValueError(f"{sorted(strangers)} are absent from InferenceService {self.model}")
        self.count(_epoch(found))
        self.remember(wanted={"weights": {name: weight for name, weight in split.weights.items() if weight}})
        if candidate is None:
            self.patch({}, epoch=epoch)
            return
        canary = self._canary(found, self.revision(candidate), _replicas(found))
        self.patch(standard_weight(canary, split.weights.get(candidate, 0), self.at, fence=self.fence), epoch=epoch)

    def observed(self) -> Observed:
        found, route = self.found(), self.cluster.get(HTTP_ROUTE, self.at.namespace, self.model)
        if found is None or route is None:
            return Observed(None, None, "")
        shown = self._shown(found, route) if accepted(route) else None
        return self.confirmed(found, shown, refusal(route))

    def counters(self) -> Counters:
        return self.counted()

    def drained(self, revision: str) -> bool:
        seen = self.observed()
        if seen.split is None or seen.epoch != _epoch(self._there()) or seen.split.weights.get(revision):
            return False
        return self.idle(pods_of(self.cluster, self.at.namespace, self._deployment(revision)))

    def adopt(self, revision: str) -> None:
        found = self._there()
        stable, candidate = _sides(found)
        if revision == stable:
            return
        if revision != candidate:
            raise ValueError(f"{revision} is not there and cannot become the stable revision")
        if _percent(found) != WEIGHT_SUM // 10:
            raise ValueError(f"{revision} has {_percent(found)} % of the traffic and is adopted once it has all of it")
        canary = self._canary(found, self.revision(revision), _replicas(found))
        self.patch(standard_promotion(canary, self.at, fence=self.fence)[1])

    def remove(self, revision: str) -> None:
        found = self.found()
        if found is None:
            return
        stable, candidate = _sides(found)
        if revision not in (stable, candidate):
            return
        observed = self.observed()
        weights = dict(observed.split.weights) if observed.split else {}
        share = _percent(found) * 10 if revision == candidate else WEIGHT_SUM - _percent(found) * 10
        if max(share, weights.get(revision, 0)):
            raise ValueError(f"{revision} has traffic ({share} per mille asked for); move it before removing it")
        if revision == stable:
            raise ValueError(f"{revision} is the stable revision; adopt {candidate} before removing it")
        self.patch(standard_removal(fence=self.fence))

    def _there(self) -> Object:
        found = self.found()
        if found is None:
            raise ValueError(f"InferenceService {self.model} is absent: no revision has been asked for")
        return found

    def _canary(self, found: Object, candidate: Revision, replicas: int) -> Canary:
        stable = found["spec"]["predictor"]
        own = int(stable.get("minReplicas", 1))
        return Canary(self.revision(revision_of(stable)), candidate, own, min(replicas, own))

    def _deployment(self, revision: str) -> str:
        return f"{self.model}-v{self.revision(revision).version}-predictor"

    def _home_or_ready(self, revision: str) -> Readiness:
        """The way back to the stable side is open as long as one of its pods answers."""
        seen = self.readiness(revision)
        if seen.state not in ("ready", "absent") and revision == _sides(self._there())[0]:
            deployment = self.cluster.get(DEPLOYMENT, self.at.namespace, self._deployment(revision))
            return Readiness("ready") if available(deployment) else seen
        return seen

    def _shown(self, found: Object, route: Object) -> dict[str, int]:
        names = {self._deployment(name): name for name in _sides(found) if name}
        refs = [ref for rule in route["spec"].get("rules", ())[:1] for ref in rule.get("backendRefs", ())]
        total = sum(int(ref.get("weight", 1)) for ref in refs)
        if not total:
            raise InfrastructureError(f"HTTPRoute {self.model} leads nowhere yet")
        return {
            names.get(ref["name"], ref["name"]): round(int(ref.get("weight", 1)) * WEIGHT_SUM / total) for ref in refs
        }


def _sides(found: Object) -> tuple[str, str | None]:
    """The stable revision and the candidate."""
    entries: list[dict[str, Any]] = found["spec"].get("canary") or []
    return revision_of(found["spec"]["predictor"]), revision_of(entries[0]["predictor"]) if entries else None


def _percent(found: Object) -> int:
    entries = found["spec"].get("canary") or []
    return int(entries[0].get("trafficPercent", 0)) if entries else 0


def _epoch(found: Object) -> str | None:
    value = found["metadata"].get("annotations", {}).get(EPOCH)
    return None if value is None else str(value)


def _replicas(found: Object) -> int:
    return int(found["spec"]["canary"][0]["predictor"]["minReplicas"])
