"""What the two canaries of KServe have in common: one InferenceService for all revisions of a model.

KServe has no word for an epoch, and its routes have no statistics per side. The token of a split is an annotation, the
split counts as in force some time after KServe shows it, and requests are counted by the model servers themselves: one
that never reaches a server is in no count, which is why a side whose pods are gone must show in its readiness.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from serving.cluster.backends.gateway_counts import Scrape, account, document, opened
from serving.cluster.backends.kserve_reading import (
    read_predictors,
    require_sum,
    split_document,
    split_of,
    working,
)
from serving.cluster.backends.live_route import SETTLES_S, check_fence, digest_of, meaning
from serving.cluster.backends.workload import ready_pods
from serving.cluster.client import INFERENCE_SERVICE, POD, Cluster, Object
from serving.cluster.manifest import FENCE, Installation
from serving.cluster.manifest_canary import whole_percent
from serving.cluster.manifest_route import EPOCH
from serving.errors import ConflictError, InfrastructureError
from serving.rollout.backend import Counters, Observed, Readiness, Revision, Split
from serving.rollout.controller.memory import Memory


@dataclass(frozen=True)
class OneService:
    """The InferenceService of *model* and what is remembered of its revisions.

    Attributes:
        slow_ms: an answer that took longer in the model server counts as slow; None counts none.
        fence: token of the lease under which this controller acts, 0 for a person at the keyboard.
    """

    cluster: Cluster
    at: Installation
    model: str
    memory: Memory
    slow_ms: float | None = None
    fence: int = 0
    clock: Callable[[], float] = time.time

    def found(self) -> Object | None:
        return self.cluster.get(INFERENCE_SERVICE, self.at.namespace, self.model)

    def patch(self, body: Object, *, epoch: str | None = None) -> None:
        """Change the InferenceService under this controller's lease."""
        found = self.found()
        if found is not None:
            check_fence(self.fence, found)
        metadata = body.get("metadata", {})
        annotations = dict(metadata.get("annotations", {}))
        if self.fence == 0:
            annotations.pop(FENCE, None)
        if epoch is not None:
            annotations[EPOCH] = epoch
        body = {**body, "metadata": {**metadata, "annotations": annotations}}
        self.cluster.patch(INFERENCE_SERVICE, self.at.namespace, self.model, body)

    # revisions

    def revision(self, name: str) -> Revision:
        """
        Raises:
            ValueError: nobody has asked for *name*.
        """
        known = self.known().get("revisions", {}).get(name)
        if known is None:
            raise ValueError(f"{name} is absent: it has not been asked for")
        return Revision(**known)

    def keep(self, revision: Revision) -> None:
        """
        Raises:
            ConflictError: its name is that of another bundle.
        """
        revisions = dict(self.known().get("revisions", {}))
        known = revisions.get(revision.name)
        if known is not None and known["digest"] != revision.digest:
            raise ConflictError(
                f"{revision.name} already names the bundle {known['digest'][:12]}, asked for {revision.digest[:12]}; "
                "a revision's name is never used for another bundle"
            )
        self.remember(revisions={**revisions, revision.name: asdict(revision)})

    # the split

    def check(self, split: Split, readiness: Callable[[str], Readiness]) -> None:
        """
        Raises:
            ValueError: KServe cannot do it, or an arm is not ready.
        """
        require_sum(split)
        if split.mirror or split.sticky_header or split.header_arms:
            raise ValueError("KServe's own canary has weights only: no mirror, no sticky header, no arm by header")
        for name, weight in sorted(split.weights.items()):
            whole_percent(weight)
            seen = readiness(name)
            if weight > 0 and seen.state != "ready":
                raise ValueError(f"{name} is {seen.state} and cannot take traffic: {seen.reason or 'wait for it'}")

    def confirmed(self, found: Object, shown: Mapping[str, int] | None, rejected: str = "") -> Observed:
        """The newest split that traffic follows. *shown*: per mille by revision as KServe's routing has it."""
        epoch = found["metadata"].get("annotations", {}).get(EPOCH)
        wanted = self.known().get("wanted") or {}
        split = None if shown is None else Split({name: weight for name, weight in shown.items() if weight})
        if epoch is not None and split is not None and wanted.get("weights") == dict(split.weights):
            since = self.known().get("since") or {}
            if since.get("epoch") != epoch:
                since = {"epoch": epoch, "at": self.clock()}
                self.remember(since=since)
            if self.clock() - float(since["at"]) >= SETTLES_S:
                self.remember(confirmed={"epoch": epoch, "split": split_document(split)})
        before = self.known().get("confirmed")
        if before is None:
            return Observed(None, None, "", rejected)
        known = split_of(before["split"])
        if before["epoch"] == epoch and split is not None and dict(split.weights) != dict(known.weights):
            return Observed(split, epoch, digest_of(["changed", split_document(split)]), rejected)
        return Observed(known, before["epoch"], meaning(known, before["epoch"]), rejected)

    # counts

    def count(self, epoch: str | None, *, strict: bool = False) -> None:
        """Put what the model servers have answered since the last look down to *epoch*."""
        key = f"counts.{self.at.namespace}.{self.model}"
        before = opened(self.memory.get(key))
        try:
            pods = self._pods()
        except InfrastructureError:
            if strict:
                raise
            return
        samples = [
            Scrape(source=f"{pod} {known['version']}", revision=name, reading=reading)
            for name, known in self.known().get("revisions", {}).items()
            for pod, reading in read_predictors(
                self.cluster, self.at.namespace, pods, known["version"], self.slow_ms
            ).items()
        ]
        after = account(before, epoch or "before", samples)
        if after != before:
            self.memory.put(key, document(after))

    def counted(self) -> Counters:
        found, fresh = self.found(), True
        if found is not None:
            try:
                self.count(found["metadata"].get("annotations", {}).get(EPOCH), strict=True)
            except InfrastructureError:
                fresh = False
        return Counters(opened(self.memory.get(f"counts.{self.at.namespace}.{self.model}")).counts(), fresh=fresh)

    def idle(self, pods: list[Object]) -> bool:
        return working(self.cluster, self.at.namespace, ready_pods(pods)) == 0

    def known(self) -> Mapping[str, Any]:
        return self.memory.get(f"service.{self.at.namespace}.{self.model}") or {}

    def remember(self, **changes: Any) -> None:
        known = dict(self.known())
        if {**known, **changes} != known:
            self.memory.put(f"service.{self.at.namespace}.{self.model}", {**known, **changes})

    def _pods(self) -> list[str]:
        labels = {"serving.kserve.io/inferenceservice": self.model}
        return ready_pods(self.cluster.list(POD, self.at.namespace, labels))


def revision_of(side: Mapping[str, Any]) -> str:
    """The revision that a predictor was made for."""
    for variable in side.get("model", {}).get("env", ()):
        if variable.get("name") == "SLIPWAY_REVISION":
            return str(variable["value"])
    return ""
