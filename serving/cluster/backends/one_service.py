"""What the two canaries of KServe have in common: one InferenceService for all revisions of a model.

KServe has no word for an epoch, and its routes have no statistics per side. Nor can the object hold one: KServe copies
its labels and annotations to the pods of all revisions, which start anew when one changes. So the token of a split and
that of the lease are remembered here, and no write says anything but the specification. A split counts as in force some
time after KServe shows it, and requests are counted by the model servers themselves: one that never reaches a server is
in no count, which is why a side whose pods are gone must show in its readiness.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from serving.cluster.backends.gateway_counts import Scrape
from serving.cluster.backends.kserve_reading import OfModel, digest_of, read_predictors, split_document, working
from serving.cluster.backends.live_route import SETTLES_S
from serving.cluster.backends.workload import ready_pods
from serving.cluster.client import INFERENCE_SERVICE, Object
from serving.cluster.edits import Path, editor, overwritten, shares, tell
from serving.cluster.manifest import MANAGED_BY
from serving.cluster.manifest_canary import PERCENT, whole_percent
from serving.errors import BackendRefusal, ConflictError, InfrastructureError
from serving.rollout.backend import (
    WEIGHT_SUM,
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

_TRIES = 5


@dataclass(frozen=True)
class OneService(OfModel, ABC):
    """The InferenceService of *model* and what is remembered of its revisions.

    Two revisions have a side each: the stable one, and the newest, which is the stable one too while there is no other.
    """

    keeps_as = "service"
    share: ClassVar[Path]  # where an InferenceService says the split

    # what the two ways differ in

    @abstractmethod
    def sides(self, found: Object) -> tuple[str, str]:
        """The stable revision, and the newest."""

    @abstractmethod
    def percent(self, found: Object) -> int:
        """What is asked for the newest revision beside a stable one."""

    @abstractmethod
    def create(self, revision: Revision, replicas: int) -> None:
        """Make the InferenceService with its first revision."""

    @abstractmethod
    def add(self, found: Object, revision: Revision, replicas: int) -> None:
        """Give the second side to *revision*, without traffic."""

    @abstractmethod
    def weighed(self, found: Object, weight: int) -> Object:
        """The patch that gives the newest revision *weight* per mille."""

    @abstractmethod
    def promote(self, found: Object, revision: str) -> None:
        """Make *revision*, which has all traffic, the stable side."""

    @abstractmethod
    def let_go(self, found: Object) -> None:
        """End the newest revision, which has no traffic."""

    @abstractmethod
    def pods(self, revision: str) -> list[Object]: ...

    @abstractmethod
    def readiness(self, revision: str) -> Readiness: ...

    @abstractmethod
    def observed(self) -> Observed: ...

    # the calls that go one way in both

    def ensure(self, revision: Revision, replicas: int) -> None:
        found = self.found()
        self.keep(revision)
        if found is None:
            self.under_lease()
            self.remember(wanted=None, since=None, confirmed=None)  # of an object of that name that is gone
            self.create(revision, replicas)
            return
        self._require_ours(found)
        stable, newest = self.sides(found)
        if revision.name in (stable, newest):
            return
        if newest != stable and self.percent(found):
            raise BackendRefusal(f"{newest} has {self.percent(found)} % of the traffic; move it before another comes")
        self.add(found, revision, replicas)

    def apply(self, split: Split, epoch: str) -> None:
        found = self.there()
        self._require_possible(split, epoch)
        stable, newest = self.sides(found)
        self.under_lease()
        self.book.look(self.epoch() or "before", self._scrapes)
        who, before = self.by(found), self.known().get("wanted")
        self.remember(wanted={"weights": split.arms, "epoch": epoch})
        if newest != stable:
            self.patch(found, self.weighed(found, split.weight(newest)))
        if who and before is not None:
            theirs, own = shares(self.asked(found)), shares(Split(before["weights"]))
            word = overwritten(f"InferenceService {self.model}", who, theirs, own, shares(split))
            tell(self.cluster, self.memory, found, word, self.clock())

    def counters(self, slow_ms: float | None = None) -> Counters:
        """As the model servers count, whose histogram has the next bound above *slow_ms*."""
        fresh = self.found() is None or self.book.look(self.epoch() or "before", self._scrapes)
        return Counters(self.book.counts(slow_ms), fresh=fresh)

    def drained(self, revision: str) -> bool:
        self.there()
        seen = self.observed()
        if seen.split is None or seen.epoch != self.epoch() or seen.split.weight(revision):
            return False
        return working(self.cluster, self.at.namespace, ready_pods(self.pods(revision))) == 0

    def adopt(self, revision: str) -> None:
        found = self.there()
        stable, newest = self.sides(found)
        if revision not in (stable, newest):
            raise not_there(revision)
        if revision == stable:
            return
        if self.asked(found).weight(revision) != WEIGHT_SUM:
            raise BackendRefusal(
                f"{revision} has {self.percent(found)} % of the traffic and is adopted once it has all of it"
            )
        self.promote(found, revision)

    def remove(self, revision: str) -> None:
        found = self.found()
        if found is None or revision not in self.sides(found):
            return
        require_no_weight(revision, self.asked(found), self.observed().split)
        stable, newest = self.sides(found)
        if revision == stable:
            raise BackendRefusal(f"{revision} is the stable revision; adopt {newest} before removing it")
        self.let_go(found)

    # the InferenceService

    def found(self) -> Object | None:
        return self.cluster.get(INFERENCE_SERVICE, self.at.namespace, self.model)

    def there(self) -> Object:
        found = self.found()
        if found is None:
            raise BackendRefusal(f"InferenceService {self.model} is absent: no revision has been asked for")
        return found

    def _require_ours(self, found: Object) -> None:
        where = f"InferenceService {self.at.namespace}/{self.model}"
        if "deletionTimestamp" in found["metadata"]:
            raise InfrastructureError(f"{where} is still going away; it is asked for again later")
        if found["metadata"].get("labels", {}).get(MANAGED_BY) != "slipway":
            raise ConflictError(f"{where} is not ours; rename it, or the model")

    def asked(self, found: Object) -> Split:
        """The split that the InferenceService asks for."""
        stable, newest = self.sides(found)
        share = 0 if newest == stable else self.percent(found) * PERCENT
        return Split({newest: share, stable: WEIGHT_SUM - share})

    def patch(self, found: Object, body: Object) -> None:
        """Change the specification of *found* and nothing else, if nobody has changed it since.

        Raises:
            ConflictError: a newer controller or somebody else has.
        """
        spec, before = body["spec"], found["metadata"]["generation"]
        for _ in range(_TRIES):
            self.under_lease()
            whole = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "spec": spec}
            try:
                self.cluster.patch(INFERENCE_SERVICE, self.at.namespace, self.model, whole)
            except ConflictError:
                found = self.there()
                if found["metadata"]["generation"] != before:
                    raise
                continue  # only KServe's status has come
            return
        raise InfrastructureError(
            f"InferenceService {self.model} changes faster than it can be written; it is tried again"
        )

    def under_lease(self) -> None:
        """
        Raises:
            ConflictError: a controller under a newer lease was here; 0 is a person, who is not fenced off.
        """
        name = f"fence.{self.at.namespace}.{self.model}"
        seen = int((self.memory.get(name) or {}).get("token", 0))
        if self.fence and seen > self.fence:
            raise ConflictError(
                f"this controller acts under token {self.fence}, {self.model} has seen {seen}; it lost its lease"
            )
        if self.fence > seen:
            self.memory.put(name, {"token": self.fence})

    def epoch(self) -> str | None:
        """Token of the split that was asked for last."""
        token: str | None = (self.known().get("wanted") or {}).get("epoch")
        return token

    # revisions

    def revision(self, name: str) -> Revision:
        """
        Raises:
            BackendRefusal: nobody has asked for *name*.
        """
        known = self.known().get("revisions", {}).get(name)
        if known is None:
            raise BackendRefusal(f"{name} is absent: it has not been asked for")
        return Revision(**known)

    def keep(self, revision: Revision) -> None:
        """
        Raises:
            ConflictError: its name is that of another bundle.
        """
        revisions = dict(self.known().get("revisions", {}))
        known = revisions.get(revision.name)
        if known is not None:
            require_bundle(revision, known["digest"])
        self.remember(revisions={**revisions, revision.name: asdict(revision)})

    # the split

    def home_or_ready(self, revision: str) -> Readiness:
        """Whether *revision* may get traffic."""
        return self.readiness(revision)

    def _require_possible(self, split: Split, epoch: str) -> None:
        if split.mirror or split.sticky_header or split.header_arms:
            raise BackendRefusal("KServe's own canary has weights only: no mirror, no sticky header, no arm by header")
        for weight in split.weights.values():
            whole_percent(weight)
        require_token(epoch)
        require_ready(split, self.home_or_ready)

    def confirmed(self, shown: Mapping[str, int] | None, rejected: str = "") -> Observed:
        """The newest split that traffic follows. *shown*: per mille by revision as KServe's routing has it."""
        epoch, wanted = self.epoch(), self.known().get("wanted") or {}
        whole = shown is not None and sum(shown.values()) == WEIGHT_SUM
        split = Split({name: weight for name, weight in shown.items() if weight}) if shown and whole else None
        if epoch is not None and split is not None and wanted.get("weights") == split.arms:
            since = self.known().get("since") or {}
            if since.get("epoch") != epoch:
                since = {"epoch": epoch, "at": self.clock()}
                self.remember(since=since)
            if self.clock() - float(since["at"]) >= SETTLES_S:
                self.remember(confirmed={"epoch": epoch, "split": split_document(split)})
        before = self.last_confirmed(rejected)
        if before.split is None or split is None or before.epoch != epoch or split.arms == before.split.arms:
            return before
        found = self.found()
        by = self.by(found) if found is not None else ""
        return Observed(split, epoch, digest_of(["changed", split_document(split)]), rejected, by)

    def by(self, found: Object) -> str:
        """Who else has changed the split that was asked for; empty when it is as it was written."""
        wanted, edit = self.known().get("wanted"), editor(found, self.share)
        changed = wanted is not None and self.asked(found).arms != wanted["weights"]
        return edit.manager if edit is not None and changed else ""

    def _scrapes(self) -> list[Scrape]:
        found, known, service = [], self.known().get("revisions", {}), self.found()
        for name in known.keys() & set(self.sides(service) if service is not None else ()):
            version, pods = known[name]["version"], ready_pods(self.pods(name))
            for pod, reading in read_predictors(self.cluster, self.at.namespace, pods, version).items():
                found.append(Scrape(source=f"{pod} {version}", revision=name, reading=reading))
        return found


def revision_of(side: Mapping[str, Any]) -> str:
    """The revision that a predictor was made for."""
    for variable in side.get("model", {}).get("env", ()):
        if variable.get("name") == "SLIPWAY_REVISION":
            return str(variable["value"])
    return ""
