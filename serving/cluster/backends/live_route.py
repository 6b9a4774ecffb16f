"""The route of one model as it is in the cluster: read, written under a lease, and whether traffic follows it."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serving.cluster.backends.gateway import Proxies
from serving.cluster.backends.kserve_reading import OfModel, digest_of, meaning, split_document
from serving.cluster.client import HTTP_ROUTE, Object
from serving.cluster.edits import Word, editor, overwritten, shares, tell
from serving.cluster.manifest import FENCE
from serving.cluster.manifest_route import http_route, read_route
from serving.cluster.two_slots import Route
from serving.errors import ConfigError, ConflictError, InfrastructureError
from serving.polling import await_true
from serving.rollout.backend import Split

SETTLES_S = 2.0  # after which a write that the gateway has accepted is in force, where nothing proves it
PATIENCE_S = 8.0  # how long one call waits for the gateway before it leaves the rest to the next call
_POLL_S = 0.05
_TRIES = 5


@dataclass(frozen=True)
class LiveRoute(OfModel):
    """The HTTPRoute of *model*."""

    sleep: Callable[[float], None] = time.sleep

    keeps_as = "route"

    @property
    def proxies(self) -> Proxies:
        return Proxies(self.cluster, self.at, self.model)

    def found(self) -> Object | None:
        return self.cluster.get(HTTP_ROUTE, self.at.namespace, self.model)

    def parsed(self, found: Object) -> Route:
        """The route as this controller wrote it, whatever somebody else has made of it: the next write follows it.

        Raises:
            InfrastructureError: nobody knows how it was written.
        """
        known = self.known().get("route") if self.by(found) or not _readable(found) else None
        try:
            return read_route(known if known is not None else found)
        except ConfigError as changed:
            raise InfrastructureError(str(changed)) from changed

    def write(self, route: Route, before: Object | None) -> Object:
        """Write *route*, if nobody has changed the one that it follows from.

        Raises:
            ConflictError: a newer controller or somebody else has written meanwhile.
        """
        for _ in range(_TRIES):
            found = self.found()
            self.guard(found)
            if found is not None and before is not None:
                self._unchanged(found, before)
            edited = self.by(found) if found is not None else ""
            fence = max(self.fence, _fence(found))
            wanted = http_route(route, self.at, fence=fence)
            if found is not None:
                wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
            try:
                written = self.cluster.apply(wanted)
            except ConflictError:  # most often only the gateway's status has come
                continue
            if found is None and self.known().get("route") is not None:
                gone = Word("EditPutBack", f"somebody else deleted HTTPRoute {self.model}, which is made again", "")
                tell(self.cluster, self.memory, written, gone, self.clock())
            elif found is not None and edited:
                self._tell_overwritten(found, route)
            self.remember(route=http_route(route, self.at, fence=fence), written=self._stamp(written))
            return written
        raise InfrastructureError(f"HTTPRoute {self.model} changes faster than it can be written; it is tried again")

    def guard(self, found: Object | None) -> None:
        """
        Raises:
            ConflictError: the route is somebody else's, or a controller with a newer lease has written it.
        """
        if found is None:
            return
        metadata = found["metadata"]  # KServe copies the labels of an InferenceService to its own routes
        if metadata.get("labels", {}).get("app.kubernetes.io/managed-by") != "slipway" or "ownerReferences" in metadata:
            raise ConflictError(
                f"HTTPRoute {self.at.namespace}/{self.model} is not ours; rename it, or the InferenceService behind it"
            )
        check_fence(self.fence, found)

    def _unchanged(self, found: Object, before: Object) -> None:
        if found["metadata"]["generation"] != before["metadata"]["generation"]:
            raise ConflictError(f"somebody else has changed HTTPRoute {self.model}; look again and repeat")

    def intact(self, found: Object, route: Route) -> bool:
        return _contains(found["spec"], http_route(route, self.at)["spec"])

    def says(self, found: Object, route: Route, split: Split, epoch: str) -> bool:
        """Whether this is already written."""
        same = split_document(route.split()) == split_document(split)
        return same and route.epoch == epoch and self.intact(found, route)

    def by(self, found: Object) -> str:
        """Who else has changed the split that was written; empty when it is as it was written."""
        edit = editor(found)
        if edit is None:
            return ""
        written = self.known().get("route")
        if written is None and _readable(found):
            written = http_route(read_route(found), self.at)
        return "" if written is not None and _contains(found["spec"], written["spec"]) else edit.manager

    def _tell_overwritten(self, found: Object, route: Route) -> None:
        """Nothing that somebody else wrote ends without a word: this is the only place that writes a route."""
        who = self.by(found)
        before, ours = shares(self.parsed(found).split()), shares(route.split())
        theirs = shares(read_route(found).split()) if _readable(found) else "nothing that can be read"
        word = overwritten(f"HTTPRoute {self.model}", who, theirs, before, ours)
        tell(self.cluster, self.memory, found, word, self.clock())

    def digest(self, found: Object, route: Route) -> str:
        own = meaning(route.split(), route.epoch)
        return own if self.intact(found, route) else digest_of([own, found["spec"]])

    def follows(self, found: Object) -> bool:
        """Whether traffic follows the write in *found*."""
        route = self.parsed(found)
        confirmed = self.known().get("confirmed") or {}
        if confirmed.get("epoch") == route.epoch and confirmed.get("split") == split_document(route.split()):
            return True
        heard = self.proxies.heard()
        return self.settled(found) if heard is None else heard == route.epoch

    def settled(self, found: Object) -> bool:
        """Accepted by the gateway, and long enough ago."""
        if not accepted(found):
            return False
        stamp = self.known().get("written") or {}
        if stamp.get("generation") != found["metadata"]["generation"]:
            stamp = self._stamp(found)
            self.remember(written=stamp)
        return bool(self.clock() - float(stamp["at"]) >= SETTLES_S)

    def wait(self, true: Callable[[Object], bool], what: str) -> Object:
        """The route once *true* of it.

        Raises:
            InfrastructureError: it is not within the time that one call may take.
        """

        def look() -> Object | None:
            found = self.found()
            return found if found is not None and true(found) else None

        found = await_true(look, PATIENCE_S, _POLL_S, clock=self.clock, sleep=self.sleep)
        if found is None:
            raise InfrastructureError(f"the gateway did not {what} within {PATIENCE_S:g} s; it is tried again")
        return found

    def _stamp(self, found: Object) -> dict[str, Any]:
        return {"generation": found["metadata"]["generation"], "at": self.clock()}


def _readable(found: Object) -> bool:
    with contextlib.suppress(ConfigError):
        return read_route(found) is not None
    return False


def check_fence(own: int, found: Object) -> None:
    """
    Raises:
        ConflictError: *found* was written under a newer lease than *own*; 0 is a person, who is not fenced off.
    """
    seen = _fence(found)
    if own and seen > own:
        name = found["metadata"]["name"]
        raise ConflictError(f"this controller acts under token {own}, {name} has seen {seen}; it lost its lease")


def _fence(found: Object | None) -> int:
    return int((found or {}).get("metadata", {}).get("annotations", {}).get(FENCE, "0"))


def accepted(found: Object) -> bool:
    told = [_condition(parent, "Accepted") for parent in found.get("status", {}).get("parents", ())]
    generation = found["metadata"]["generation"]
    return bool(told) and all(c.get("status") == "True" and c.get("observedGeneration", 0) >= generation for c in told)


def refusal(found: Object) -> str:
    """The gateway's reason for not taking this route. A reference without a Service is no refusal: the way home may
    leave one behind."""
    for parent in found.get("status", {}).get("parents", ()):
        told = _condition(parent, "Accepted")
        if told.get("status") == "False" and told.get("observedGeneration", 0) >= found["metadata"]["generation"]:
            return f"{told.get('reason', '')}: {told.get('message', '')}".strip(": ") or "not accepted"
    return ""


def _condition(parent: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((c for c in parent.get("conditions", ()) if c.get("type") == kind), {})


def _contains(found: Any, wanted: Any) -> bool:
    """Whether *found* says all that *wanted* says; the API adds defaults."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_contains(found.get(name), wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(_contains(f, w) for f, w in zip(found, wanted, strict=True))
    return bool(found == wanted)
