"""Traffic in a cluster by a route of our own: an InferenceService per revision, an HTTPRoute per model.

The route has two slots that never go away (``manifest_route``). A candidate is first put into the slot that rests,
which changes only where its requests would go, and gets weight when the gateway follows that. What the gateway follows
is known from a header that every write of the route sets anew: conditions of the route are set before it is in force.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from serving.cluster.backends.gateway import Proxies
from serving.cluster.backends.gateway_counts import LOST, Scrape, account, document, opened
from serving.cluster.backends.kserve_reading import (
    read_predictors,
    read_readiness,
    ready_pods_of,
    require_sum,
    split_document,
    split_of,
    working,
)
from serving.cluster.backends.live_route import LiveRoute, check_fence, digest_of, meaning, refusal
from serving.cluster.backends.workload import available
from serving.cluster.client import DEPLOYMENT, INFERENCE_SERVICE, Cluster, Object
from serving.cluster.manifest import DIGEST, VERSION_LABEL, Installation, inference_service, service_name
from serving.cluster.manifest_route import (
    RESTING,
    WEIGHT_TOTAL,
    BackendRef,
    Route,
    adopted,
    divided,
    read_route,
    resting,
)
from serving.errors import ConfigError, ConflictError, InfrastructureError
from serving.rollout.backend import Capabilities, Counters, Observed, Readiness, Revision, Split
from serving.rollout.controller.memory import Memory

_PLACING = "@"  # ends the token of a write that only puts a candidate into its slot


@dataclass(frozen=True)
class RouteBackend:
    """``TrafficBackend`` of one model; every answer comes from the cluster, and *memory* keeps what it forgets.

    Attributes:
        slow_ms: an answer that took longer counts as slow, to the next bound of Envoy's histogram; None counts none.
        fence: token of the lease under which this controller acts, 0 for a person at the keyboard.
        gateway_ns: where the proxies run.
        probe_epoch: the epoch that an answer through the gateway carries, None when there is no answer; by default
            the proxies are asked one by one.
    """

    cluster: Cluster
    at: Installation
    model: str
    memory: Memory
    slow_ms: float | None = None
    fence: int = 0
    gateway_ns: str = "envoy-gateway-system"
    probe_epoch: Callable[[], str | None] | None = None
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="route",
            resolution=1,
            mirror=True,
            header=True,
            sticky=False,
            per_request_random=True,
            warm_rollback=True,
            pairs=False,  # predictions are counted, not kept, by what is read here
        )

    def ensure(self, revision: Revision, replicas: int) -> None:
        wanted = inference_service(revision, self.at, replicas=replicas, fence=self.fence)
        found = self._service(revision.name)
        if found is not None:
            check_fence(self.fence, found)
            self._same_bundle(found, revision)
            if found["spec"]["predictor"].get("minReplicas") == replicas:
                return  # a running model is never changed in place
        self.cluster.apply(wanted)

    def readiness(self, revision: str) -> Readiness:
        return read_readiness(self.cluster, self.at.namespace, revision, service_name(revision))

    def apply(self, split: Split, epoch: str) -> None:
        found = self._live.found()
        now = self._live.parsed(found) if found is not None else None
        if found is not None and now is not None and self._live.says(found, now, split, epoch):
            return
        self._check(split, now)
        if found is None or now is None:
            first = _first(self.model, split, epoch)
            self._count(first)  # what the gateway has counted until here is of nobody's concern
            self._live.write(first, None)
            return
        wanted = self._without_absent(divided(now, split, epoch))
        self._count(now)  # what has come until here belongs to the split before
        placing = _placing(now, wanted)
        if placing is not None:
            found = self._live.write(placing, found)
        if self._live.parsed(found).epoch == epoch + _PLACING:
            found = self._live.wait(self._live.follows, f"put {sorted(split.weights)} into its slots")
        self._live.write(wanted, found)

    def observed(self) -> Observed:
        found = self._live.found()
        if found is None:
            return Observed(None, None, "")
        try:
            route = read_route(found)
        except ConfigError as changed:
            return Observed(None, None, digest_of(found["spec"]), str(changed))
        if self._live.follows(found):
            self._live.remember(confirmed={"epoch": route.epoch, "split": split_document(route.split())})
            return Observed(route.split(), route.epoch, self._live.digest(found, route), refusal(found))
        before = self._live.known().get("confirmed")
        if before is None:
            return Observed(None, None, "", refusal(found))
        split = split_of(before["split"])
        return Observed(split, before["epoch"], meaning(split, before["epoch"]), refusal(found))

    def counters(self) -> Counters:
        """Counts of the gateway by slot, and of the model servers by prediction."""
        found = self._live.found()
        try:
            if found is not None:
                self._count(self._live.parsed(found), strict=True)
        except InfrastructureError:
            return Counters(opened(self.memory.get(self._counts)).counts(), fresh=False)
        return Counters(opened(self.memory.get(self._counts)).counts(), fresh=True)

    def drained(self, revision: str) -> bool:
        found = self._live.found()
        if found is not None:
            route = self._live.parsed(found)
            split = route.split()
            if split.weights.get(revision) or split.mirror == revision or not self._live.follows(found):
                return False
            slots = self._proxies.slots(route)
            waiting = self._proxies.active()
            if any(waiting.get(cluster, 0) for cluster, name in slots.items() if name == revision):
                return False
        return working(self.cluster, self.at.namespace, self._pods(revision)) == 0

    def adopt(self, revision: str) -> None:
        found = self._live.found()
        if found is None or self._service(revision) is None:
            raise ValueError(f"{revision} is not there and cannot become the stable revision")
        route = self._live.parsed(found)
        stable, other = (route.a, route.b) if route.stable == "A" else (route.b, route.a)
        if stable.revision == revision and other.weight > RESTING:
            return  # it is the stable one, beside a canary
        if {slot.revision for slot in route.slots} != {revision}:
            self._count(route)
            self._live.write(adopted(route, revision, route.epoch), found)

    def remove(self, revision: str) -> None:
        found = self._live.found()
        self._live.guard(found)
        if found is not None:
            route = self._live.parsed(found)
            self._weightless(route, revision)
            left = _without(route, revision)
            if left != route:
                self._count(route)
                found = self._live.write(left, found)
            if self._service(revision) is not None:
                self._live.wait(self._live.settled, f"take {revision} out of its slot")
        self.cluster.delete(INFERENCE_SERVICE, self.at.namespace, revision)

    def _pods(self, revision: str) -> list[str]:
        return ready_pods_of(self.cluster, self.at.namespace, service_name(revision))

    @property
    def _proxies(self) -> Proxies:
        return Proxies(self.cluster, self.at, self.gateway_ns, self.model)

    @property
    def _live(self) -> LiveRoute:
        heard = self.probe_epoch or self._proxies.heard
        return LiveRoute(self.cluster, self.at, self.model, self.memory, self.fence, heard, self.clock, self.sleep)

    # what may be asked for

    def _same_bundle(self, found: Object, revision: Revision) -> None:
        if "deletionTimestamp" in found["metadata"]:
            raise InfrastructureError(f"{revision.name} is still going away; it is asked for again later")
        known = found["metadata"].get("annotations", {}).get(DIGEST, "")
        if known != revision.digest:
            raise ConflictError(
                f"{revision.name} already names the bundle {known[:12]}, asked for {revision.digest[:12]}; "
                "a revision's name is never used for another bundle"
            )

    def _check(self, split: Split, now: Route | None) -> None:
        require_sum(split)
        if split.sticky_header is not None:
            raise ValueError("the Gateway API draws each request; a sticky header needs another backend")
        used = {name for name, weight in split.weights.items() if weight > 0} | {*split.header_arms, split.mirror}
        for name in sorted(filter(None, used)):
            seen = self.readiness(name)
            if seen.state != "ready" and not (now is not None and self._is_home(name, now)):
                raise ValueError(f"{name} is {seen.state} and cannot take traffic: {seen.reason or 'wait for it'}")

    def _is_home(self, name: str, now: Route) -> bool:
        """The way back to the stable revision is open as long as one of its pods answers."""
        stable = now.a if now.stable == "A" else now.b
        deployment = self.cluster.get(DEPLOYMENT, self.at.namespace, service_name(name))
        return name == stable.revision and available(deployment) > 0

    def _weightless(self, route: Route, revision: str) -> None:
        known = self._live.known().get("confirmed")
        weight = max(
            route.split().weights.get(revision, 0),
            split_of(known["split"]).weights.get(revision, 0) if known else 0,
        )
        if weight > 0:
            raise ValueError(f"{revision} has {weight} per mille of the traffic; move it before removing it")

    def _without_absent(self, route: Route) -> Route:
        """A resting slot must name a Service that is there, or the gateway drops its cluster."""
        other = route.b if route.stable == "A" else route.a
        if other.weight > RESTING or self._service(other.revision) is not None:
            return route
        return _without(route, other.revision)

    def _service(self, revision: str) -> Object | None:
        return self.cluster.get(INFERENCE_SERVICE, self.at.namespace, revision)

    def _count(self, route: Route, *, strict: bool = False) -> None:
        """Put what has come since the last look down to the epoch of *route*."""
        key = self._counts
        before = opened(self.memory.get(key))
        try:
            after = account(before, route.epoch, self._samples(route))
        except InfrastructureError:
            if strict:
                raise
            return  # it is counted at the next look, before the new split is taken for settled
        if after != before:
            self.memory.put(key, document(after))

    def _samples(self, route: Route) -> list[Scrape]:
        slots, copies = self._proxies.slots(route), self._proxies.mirror(route)
        dead, found = self._dead(route), []
        for pod, clusters in self._proxies.readings(self.slow_ms).items():
            for cluster, reading in clusters.items():
                source = f"{pod} {cluster}"
                if cluster in slots:
                    found.append(Scrape(source=source, revision=slots[cluster], reading=reading))
                elif cluster == LOST:
                    found.append(Scrape(source=source, revision=dead, reading=reading))
                elif cluster.startswith(copies):
                    found.append(Scrape(source=source, revision=route.mirror or "", reading=reading, copies=True))
        return found + self._predictions(route)

    def _dead(self, route: Route) -> str:
        """The side with traffic and without pods, whose requests the gateway answers with 503 and counts for nobody.

        The proxy says how many there were, not of which route: those of another model without pods are among them.
        """
        for name in route.split().weights:
            if not available(self.cluster.get(DEPLOYMENT, self.at.namespace, service_name(name))):
                return name
        return ""

    def _predictions(self, route: Route) -> list[Scrape]:
        """By revision with traffic; one that only gets copies predicts nothing for anybody."""
        found = []
        for name in route.split().weights:
            version = (self._service(name) or {}).get("metadata", {}).get("labels", {}).get(VERSION_LABEL, "0")
            pods = read_predictors(self.cluster, self.at.namespace, self._pods(name), int(version), None)
            for pod, reading in pods.items():
                found.append(Scrape(source=pod, revision=name, reading=reading, only_bins=True))
        return found

    @property
    def _counts(self) -> str:
        return f"counts.{self.at.namespace}.{self.model}"


def _first(model: str, split: Split, epoch: str) -> Route:
    """The first route of a model; nobody's requests are on their way yet."""
    stable = max(split.weights, key=lambda name: split.weights[name])
    return divided(resting(model, stable, epoch), split, epoch)


def _placing(now: Route, wanted: Route) -> Route | None:
    """The write before *wanted* that only changes where a resting slot points; None when none is needed.

    Raises:
        ValueError: the slot that *wanted* needs for a new revision has traffic of another one.
    """
    position = 1 if wanted.stable == "A" else 0
    here, there = now.slots[position], wanted.slots[position]
    if here.revision == there.revision or there.weight == RESTING:
        return None
    if here.weight > RESTING:
        raise ValueError(f"{here.revision} has {now.split().weights.get(here.revision, 0)} per mille; move them first")
    a, b = (WEIGHT_TOTAL - RESTING, RESTING) if position else (RESTING, WEIGHT_TOTAL - RESTING)
    return replace(
        wanted,
        a=BackendRef(wanted.a.revision, a),
        b=BackendRef(wanted.b.revision, b),
        epoch=wanted.epoch + _PLACING,
        mirror=None,
    )


def _without(route: Route, revision: str) -> Route:
    """*route* that names *revision* nowhere; its resting slot points where the other one does."""
    other = next((slot.revision for slot in route.slots if slot.revision != revision), None)
    if other is None:
        return route
    a, b = (BackendRef(other, slot.weight) if slot.revision == revision else slot for slot in route.slots)
    arms = tuple(name for name in route.header_arms if name != revision)
    return replace(route, a=a, b=b, mirror=None if route.mirror == revision else route.mirror, header_arms=arms)
