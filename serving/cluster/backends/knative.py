"""Traffic by ``canaryTrafficPercent`` in Knative mode.

An InferenceService has one template. A candidate takes its place there, with a share; the revision before it is what
Knative last rolled out in full, and it is named only by that. What is effective is read from the status and never
inferred: a new revision that never got ready leaves numbers that look like a split, with the old one on both sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.cluster.backends.one_service import OneService, revision_of
from serving.cluster.backends.workload import failure
from serving.cluster.client import POD, Object
from serving.cluster.manifest_canary import knative_return, knative_service, knative_start, knative_weight
from serving.cluster.manifest_route import EPOCH
from serving.errors import InfrastructureError
from serving.rollout.backend import WEIGHT_SUM, Capabilities, Counters, Observed, Readiness, Revision, Split

_REVISION = "serving.knative.dev/revision"


@dataclass(frozen=True)
class KnativeBackend(OneService):
    """``TrafficBackend`` over ``canaryTrafficPercent``."""

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="knative",
            resolution=10,
            mirror=False,
            header=False,
            sticky=False,
            per_request_random=True,
            warm_rollback=False,  # without traffic the previous revision goes down to no pods
        )

    def ensure(self, revision: Revision, replicas: int) -> None:
        found = self.found()
        self.keep(revision)
        if found is None:
            self.remember(stable=revision.name)
            self.cluster.apply(knative_service(self.model, revision, self.at, replicas=replicas))
            return
        stable, latest = self._sides(found)
        if revision.name in (stable, latest):
            return
        if latest != stable and _percent(found):
            raise ValueError(f"{latest} has {_percent(found)} % of the traffic; move it before another revision comes")
        if not _status(found).get("latestRolledoutRevision"):
            # Until something is rolled out in full the share is ignored, and the newest revision would take everything.
            raise InfrastructureError(f"{latest} is not rolled out yet; {revision.name} is started once it is")
        self.remember(former=_status(found).get("latestCreatedRevision"))
        self.patch(knative_start(revision, 0, self.at, fence=self.fence))

    def readiness(self, revision: str) -> Readiness:
        found = self.found()
        if found is None or revision not in self._sides(found):
            return Readiness("absent")
        if "deletionTimestamp" in found["metadata"]:
            return Readiness("starting", "the InferenceService is still ending")
        stable, latest = self._sides(found)
        status = _status(found)
        if revision == stable and _rolled_out(status):
            return Readiness("ready")
        if revision == stable != latest:
            return Readiness("starting", "Knative routes nothing to it and has scaled it down")
        created = self._created(found)
        if created is None:
            return Readiness("starting", "KServe has made no revision of it yet")
        pods = self.cluster.list(POD, self.at.namespace, {_REVISION: created})
        broken = next((why for pod in pods if (why := failure(pod))), "")
        if broken:
            return Readiness("failed", broken)
        return Readiness("ready") if status.get("latestReadyRevision") == created else Readiness("starting", "loading")

    def apply(self, split: Split, epoch: str) -> None:
        found = self._there()
        self.check(split, self.readiness)
        stable, latest = self._sides(found)
        self.count(found["metadata"].get("annotations", {}).get(EPOCH))
        self.remember(wanted={"weights": {name: weight for name, weight in split.weights.items() if weight}})
        if latest == stable:
            self.patch({}, epoch=epoch)
        else:
            self.patch(knative_weight(split.weights.get(latest, 0), fence=self.fence), epoch=epoch)

    def observed(self) -> Observed:
        found = self.found()
        if found is None:
            return Observed(None, None, "")
        return self.confirmed(found, self._shown(found))

    def counters(self) -> Counters:
        return self.counted()

    def drained(self, revision: str) -> bool:
        found, seen = self._there(), self.observed()
        asked = found["metadata"].get("annotations", {}).get(EPOCH)
        if seen.split is None or seen.epoch != asked or seen.split.weights.get(revision):
            return False
        pods = self.cluster.list(POD, self.at.namespace, {"serving.kserve.io/inferenceservice": self.model})
        made_for = [pod for pod in pods if self._made_for(pod) == revision]
        return self.idle(made_for)

    def adopt(self, revision: str) -> None:
        found = self._there()
        stable, latest = self._sides(found)
        if revision == stable:
            return
        if revision != latest:
            raise ValueError(f"{revision} is not there and cannot become the stable revision")
        if _percent(found) != WEIGHT_SUM // 10:
            raise ValueError(f"{revision} has {_percent(found)} % of the traffic and is adopted once it has all of it")
        self.remember(stable=revision)

    def remove(self, revision: str) -> None:
        found = self.found()
        if found is None or revision not in self._sides(found):
            return
        stable, latest = self._sides(found)
        observed = self.observed()
        weight = observed.split.weights.get(revision, 0) if observed.split else 0
        share = WEIGHT_SUM if latest == stable else _percent(found) * 10
        asked = share if revision == latest else WEIGHT_SUM - share
        if max(weight, asked):
            raise ValueError(
                f"{revision} has {max(weight, asked)} per mille of the traffic; move it before removing it"
            )
        if revision == stable:
            raise ValueError(f"{revision} is the stable revision; adopt {latest} before removing it")
        self.remember(former=_status(found).get("latestCreatedRevision"))
        _, clean = knative_return(self.revision(stable), self.at, fence=self.fence)
        self.patch(clean)

    def _there(self) -> Object:
        found = self.found()
        if found is None:
            raise ValueError(f"InferenceService {self.model} is absent: no revision has been asked for")
        return found

    def _sides(self, found: Object) -> tuple[str, str]:
        """The revision that was last rolled out in full, and the one in the template."""
        latest = revision_of(found["spec"]["predictor"])
        return str(self.known().get("stable", latest)), latest

    def _shown(self, found: Object) -> dict[str, int] | None:
        stable, latest = self._sides(found)
        status, sums = _status(found), {stable: 0, latest: 0}
        for entry in status.get("traffic", ()):
            name = latest if entry.get("revisionName") == self._created(found) else stable
            sums[name] += int(entry.get("percent") or 0) * 10
        return sums if sum(sums.values()) == WEIGHT_SUM else None

    def _created(self, found: Object) -> str | None:
        """Knative's name for the template's revision; None while the newest it has made is of the template before."""
        created = _status(found).get("latestCreatedRevision")
        return None if created is None or created == self.known().get("former") else str(created)

    def _made_for(self, pod: Mapping[str, Any]) -> str:
        for container in pod.get("spec", {}).get("containers", ()):
            name = revision_of({"model": container})
            if name:
                return name
        return ""


def _status(found: Object) -> Mapping[str, Any]:
    status: Mapping[str, Any] = found.get("status", {}).get("components", {}).get("predictor", {})
    return status


def _rolled_out(status: Mapping[str, Any]) -> bool:
    """Whether the revision before the template's has traffic: Knative lets it go down to no pods otherwise."""
    return any(entry.get("percent") and not entry.get("latestRevision") for entry in status.get("traffic", ()))


def _percent(found: Object) -> int:
    """What the template's revision gets; without a number it gets all."""
    share = found["spec"]["predictor"].get("canaryTrafficPercent")
    return 100 if share is None else int(share)
