"""Traffic in a cluster by a route of our own: an InferenceService per revision, an HTTPRoute per model.

The route has two slots that never go away (``two_slots``). A candidate is first put into the slot that rests,
which changes only where its requests would go, and gets weight when the gateway follows that. What the gateway follows
is known from a header that every write of the route sets anew: conditions of the route are set before it is in force.
"""

import contextlib
from dataclasses import dataclass

from serving.cluster.backends.gateway_counts import Scrape
from serving.cluster.backends.kserve_reading import (
    digest_of,
    read_predictors,
    read_readiness,
    ready_pods_of,
    split_document,
    working,
)
from serving.cluster.backends.live_route import LiveRoute, check_fence, refusal
from serving.cluster.backends.readings import LOST
from serving.cluster.backends.workload import available
from serving.cluster.client import DEPLOYMENT, DISRUPTION_BUDGET, INFERENCE_SERVICE, Object
from serving.cluster.edits import disowned
from serving.cluster.manifest import DIGEST, VERSION_LABEL, disruption_budget, inference_service, service_name
from serving.cluster.manifest_route import read_route
from serving.cluster.two_slots import PLACING, RESTING, Route, adopted, divided, placing, resting, without
from serving.errors import ConfigError, ConflictError, InfrastructureError
from serving.rollout.backend import (
    Capabilities,
    Counters,
    Observed,
    Readiness,
    Revision,
    Split,
    not_there,
    require_bundle,
    require_no_weight,
    require_ready,
    require_token,
)

# Set when a revision is made, and from then on whoever's who changes them: replicas belong to who operates the model.
OPERATORS = (
    ("spec", "predictor", "minReplicas"),
    ("spec", "predictor", "maxReplicas"),
    ("metadata", "annotations", "serving.kserve.io/autoscalerClass"),
)


@dataclass(frozen=True)
class RouteBackend(LiveRoute):
    """``TrafficBackend`` of one model; every answer comes from the cluster, and *memory* keeps what it forgets."""

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
        """*replicas* are those to begin with: of a revision that is there they are whose who operates it."""
        wanted = inference_service(revision, self.at, replicas=replicas, fence=self.fence)
        found = self._service(revision.name)
        if found is None:
            found = self.cluster.apply(wanted)
        else:  # a running model is never changed in place
            check_fence(self.fence, found)
            self._same_bundle(found, revision)
        self._budget(revision, found)
        fields = disowned(found, OPERATORS)
        if fields is not None:
            seen = {"managedFields": fields, "resourceVersion": found["metadata"]["resourceVersion"]}
            with contextlib.suppress(ConflictError):  # KServe has written meanwhile; the next call does it
                self.cluster.patch(INFERENCE_SERVICE, self.at.namespace, revision.name, {"metadata": seen})

    def _budget(self, revision: Revision, made: Object) -> None:
        """Its disruption budget, once: what somebody makes of it afterwards stays, for as long as the revision."""
        found = self.cluster.get(DISRUPTION_BUDGET, self.at.namespace, revision.name) or {"metadata": {}}
        owners = [one["uid"] for one in found["metadata"].get("ownerReferences", ())]
        if made["metadata"]["uid"] not in owners:  # that of an earlier revision of this name is about to be collected
            self.cluster.apply(disruption_budget(revision, made))

    def readiness(self, revision: str) -> Readiness:
        return read_readiness(self.cluster, self.at.namespace, revision, service_name(revision))

    def apply(self, split: Split, epoch: str) -> None:
        found = self.found()
        now = self.parsed(found) if found is not None else None
        if found is not None and now is not None and self.says(found, now, split, epoch):
            return
        require_token(epoch)
        require_ready(split, lambda name: self._home_or_ready(name, now))
        if found is None or now is None:
            first = _first(self.model, split, epoch)
            self._count(first)  # what the gateway has counted until here is of nobody's concern
            self.write(first, None)
            return
        wanted = self._without_absent(divided(now, split, epoch))
        self._count(now)  # what has come until here belongs to the split before
        before = placing(now, wanted)
        if before is not None:
            found = self.write(before, found)
        if self.parsed(found).epoch == epoch + PLACING:
            found = self.wait(self.follows, f"put {sorted(split.weights)} into its slots")
        self.write(wanted, found)

    def observed(self) -> Observed:
        found = self.found()
        if found is None:
            return Observed(None, None, "")
        try:
            route = read_route(found)
        except ConfigError as changed:
            return Observed(None, None, digest_of(found["spec"]), str(changed), self.by(found))
        if self.follows(found):
            self.remember(confirmed={"epoch": route.epoch, "split": split_document(route.split())})
            return Observed(route.split(), route.epoch, self.digest(found, route), refusal(found), self.by(found))
        return self.last_confirmed(refusal(found))

    def counters(self, slow_ms: float | None = None) -> Counters:
        """Counts of the gateway by slot, and of the model servers by prediction.

        Slow is what took longer than the next bound of Envoy's histogram.
        """
        found = self.found()
        try:
            fresh = found is None or self._count(self.parsed(found))
        except InfrastructureError:  # the route is unreadable
            fresh = False
        return Counters(self.book.counts(slow_ms), fresh=fresh)

    def drained(self, revision: str) -> bool:
        found = self.found()
        if found is not None:
            route = self.parsed(found)
            split = route.split()
            if split.weight(revision) or split.mirror == revision or not self.follows(found):
                return False
            slots = self.proxies.slots(route)
            waiting = self.proxies.active()
            if any(waiting.get(cluster, 0) for cluster, name in slots.items() if name == revision):
                return False
        return working(self.cluster, self.at.namespace, self._pods(revision)) == 0

    def adopt(self, revision: str) -> None:
        found = self.found()
        if found is None or self._service(revision) is None:
            raise not_there(revision)
        route = self.parsed(found)
        stable, other = route.sides
        if stable.revision == revision and other.weight > RESTING:
            return  # it is the stable one, beside a canary
        if {slot.revision for slot in route.slots} != {revision}:
            self._count(route)
            self.write(adopted(route, revision, route.epoch), found)

    def remove(self, revision: str) -> None:
        found = self.found()
        self.guard(found)
        if found is not None:
            route = self.parsed(found)
            require_no_weight(revision, route.split(), self.last_confirmed().split)
            left = without(route, revision)
            if left != route or self.by(found):
                self._count(route)
                found = self.write(left, found)
            if self._service(revision) is not None:
                self.wait(self.settled, f"take {revision} out of its slot")
        self.cluster.delete(INFERENCE_SERVICE, self.at.namespace, revision)

    def _pods(self, revision: str) -> list[str]:
        return ready_pods_of(self.cluster, self.at.namespace, service_name(revision))

    # what may be asked for

    def _same_bundle(self, found: Object, revision: Revision) -> None:
        if "deletionTimestamp" in found["metadata"]:
            raise InfrastructureError(f"{revision.name} is still going away; it is asked for again later")
        require_bundle(revision, found["metadata"].get("annotations", {}).get(DIGEST, ""))

    def _home_or_ready(self, name: str, now: Route | None) -> Readiness:
        """The way back to the stable revision is open as long as one of its pods answers."""
        seen = self.readiness(name)
        if seen.state == "ready" or now is None or name != now.sides[0].revision:
            return seen
        return Readiness("ready") if self._answering(name) else seen

    def _without_absent(self, route: Route) -> Route:
        """A resting slot must name a Service that is there, or the gateway drops its cluster."""
        other = route.sides[1]
        if other.weight > RESTING or self._service(other.revision) is not None:
            return route
        return without(route, other.revision)

    def _answering(self, revision: str) -> int:
        return available(self.cluster.get(DEPLOYMENT, self.at.namespace, service_name(revision)))

    def _service(self, revision: str) -> Object | None:
        return self.cluster.get(INFERENCE_SERVICE, self.at.namespace, revision)

    def _count(self, route: Route) -> bool:
        """Put what has come until now down to the epoch of *route*; False when that is not known."""
        return self.book.look(route.epoch, lambda: self._samples(route))

    def _samples(self, route: Route) -> list[Scrape]:
        slots, copies = self.proxies.slots(route), self.proxies.mirrors(route)
        dead, found = self._dead(route), []
        for pod, clusters in self.proxies.readings().items():
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
            if not self._answering(name):
                return name
        return ""

    def _predictions(self, route: Route) -> list[Scrape]:
        """By revision with traffic; one that only gets copies predicts nothing for anybody."""
        found = []
        for name in route.split().weights:
            version = (self._service(name) or {}).get("metadata", {}).get("labels", {}).get(VERSION_LABEL, "0")
            pods = read_predictors(self.cluster, self.at.namespace, self._pods(name), int(version))
            for pod, reading in pods.items():
                found.append(Scrape(source=pod, revision=name, reading=reading, only_bins=True))
        return found


def _first(model: str, split: Split, epoch: str) -> Route:
    """The first route of a model; nobody's requests are on their way yet."""
    stable = max(split.weights, key=lambda name: split.weights[name])
    return divided(resting(model, stable, epoch), split, epoch)
