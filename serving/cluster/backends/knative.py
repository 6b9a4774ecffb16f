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
from serving.cluster.manifest_canary import PERCENT, knative_service, knative_template, knative_weight
from serving.errors import InfrastructureError
from serving.rollout.backend import Capabilities, Observed, Readiness, Revision

_REVISION = "serving.knative.dev/revision"


@dataclass(frozen=True)
class KnativeBackend(OneService):
    """``TrafficBackend`` over ``canaryTrafficPercent``."""

    share = ("spec", "predictor", "canaryTrafficPercent")

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

    def readiness(self, revision: str) -> Readiness:
        found = self.found()
        if found is None or revision not in self.sides(found):
            return Readiness("absent")
        if "deletionTimestamp" in found["metadata"]:
            return Readiness("starting", "the InferenceService is still ending")
        stable, newest = self.sides(found)
        if revision == stable and _rolled_out(_status(found)):
            return Readiness("ready")
        if revision == stable != newest:
            return Readiness("starting", "Knative routes nothing to it and has scaled it down")
        return self._template(found)

    def observed(self) -> Observed:
        found = self.found()
        if found is None:
            return Observed(None, None, "")
        return self.confirmed(self._shown(found))

    def sides(self, found: Object) -> tuple[str, str]:
        """The revision that was last rolled out in full, and the one in the template."""
        newest = revision_of(found["spec"]["predictor"])
        return str(self.known().get("stable", newest)), newest

    def percent(self, found: Object) -> int:
        """What the template's revision gets; without a number it gets all."""
        share = found["spec"]["predictor"].get("canaryTrafficPercent")
        return 100 if share is None else int(share)

    def create(self, revision: Revision, replicas: int) -> None:
        self.remember(stable=revision.name)
        self.cluster.apply(knative_service(self.model, revision, self.at, replicas=replicas))

    def add(self, found: Object, revision: Revision, replicas: int) -> None:  # noqa: ARG002 - Knative scales
        if not _status(found).get("latestRolledoutRevision"):
            # Until something is rolled out in full the share is ignored, and the newest revision would take everything.
            newest = self.sides(found)[1]
            raise InfrastructureError(f"{newest} is not rolled out yet; {revision.name} is started once it is")
        self.remember(former=_status(found).get("latestCreatedRevision"))
        self.patch(found, knative_template(revision, self.at))

    def weighed(self, found: Object, weight: int) -> Object:  # noqa: ARG002 - the share is a number of its own
        return knative_weight(weight)

    def promote(self, found: Object, revision: str) -> None:  # noqa: ARG002 - nothing changes but the name
        self.remember(stable=revision)

    def let_go(self, found: Object) -> None:
        self.remember(former=_status(found).get("latestCreatedRevision"))
        self.patch(found, knative_template(self.revision(self.sides(found)[0]), self.at))

    def pods(self, revision: str) -> list[Object]:
        pods = self.cluster.list(POD, self.at.namespace, {"serving.kserve.io/inferenceservice": self.model})
        return [pod for pod in pods if _made_for(pod) == revision]

    def _template(self, found: Object) -> Readiness:
        """The readiness of the template's revision, by its pods."""
        created = self._created(found)
        if created is None:
            return Readiness("starting", "KServe has made no revision of it yet")
        pods = self.cluster.list(POD, self.at.namespace, {_REVISION: created})
        broken = next((why for pod in pods if (why := failure(pod))), "")
        if broken:
            return Readiness("failed", broken)
        ready = _status(found).get("latestReadyRevision") == created
        return Readiness("ready") if ready else Readiness("starting", "loading")

    def _shown(self, found: Object) -> dict[str, int]:
        stable, newest = self.sides(found)
        sums = {stable: 0, newest: 0}
        for entry in _status(found).get("traffic", ()):
            name = newest if entry.get("revisionName") == self._created(found) else stable
            sums[name] += int(entry.get("percent") or 0) * PERCENT
        return sums

    def _created(self, found: Object) -> str | None:
        """Knative's name for the template's revision; None while the newest it has made is of the template before."""
        created = _status(found).get("latestCreatedRevision")
        return None if created is None or created == self.known().get("former") else str(created)


def _made_for(pod: Mapping[str, Any]) -> str:
    names = (revision_of({"model": container}) for container in pod.get("spec", {}).get("containers", ()))
    return next(filter(None, names), "")


def _status(found: Object) -> Mapping[str, Any]:
    status: Mapping[str, Any] = found.get("status", {}).get("components", {}).get("predictor", {})
    return status


def _rolled_out(status: Mapping[str, Any]) -> bool:
    """Whether the revision before the template's has traffic: Knative lets it go down to no pods otherwise."""
    return any(entry.get("percent") and not entry.get("latestRevision") for entry in status.get("traffic", ()))
