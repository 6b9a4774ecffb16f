"""Traffic on this machine: one model server per revision behind one Envoy.

What is asked for is written into the service's wanted state, for the supervisor to bring about; what is observed is
read from Envoy itself. Both survive the process that asks, so a controller may end between any two calls.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from serving.errors import BackendRefusal, InfrastructureError
from serving.local.client import supervisor_alive
from serving.local.counting import CountsReader, parse
from serving.local.envoy_admin import Admin, InForce
from serving.local.envoy_config import NAME
from serving.local.paths import ServicePaths, service_paths
from serving.local.reading import Document, Tail
from serving.local.state import AskedRevision, ObservedState, WantedState, read_desired, read_observed, update_desired
from serving.rollout.backend import (
    REFUSED,
    ArmCounts,
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
from serving.tally import Tally

FRESH_S = 1.0
Arms = Mapping[str, ArmCounts]
# What Envoy cannot see, by epoch and revision: bins, labels, invalid answers, mirrored answers that differ.
Extras = Callable[[], Mapping[str, Arms]]


class Harm:
    """Answers that speak against an arm, as they come: for less than counting, and without keeping who gave them.

    A sign that it is time to count, no evidence: what is written while a log is put aside is not seen.
    """

    def __init__(self, where: ServicePaths) -> None:
        self._log, self._tail = where.access_log, Tail()
        self._tail.skip(self._log)
        self.seen = 0

    def read(self, slow_ms: float | None) -> int:
        """How many were failed, refused or slower than *slow_ms* since this began; it never falls."""
        for line in parse(self._tail.read(self._log)):
            slow = slow_ms is not None and line.duration_ms > slow_ms
            self.seen += line.failed or line.refused or slow
        return self.seen


class Reading:
    """The files of one service, each read again only when it changed, or from where the last reading stopped.

    Attributes:
        changed: set whenever this process has changed what is wanted.
        slow_ms: what the last look called slow.
        answered_at: when Envoy last answered, in seconds of the monotonic clock.
        epochs: what each epoch's counts were made of, and the counts.
    """

    def __init__(self, where: ServicePaths) -> None:
        self.where = where
        self.desired = Document(where.desired, partial(read_desired, where))
        self.observed = Document(where.observed, partial(read_observed, where))
        self.counts = CountsReader(where)
        self.harm = Harm(where)
        self.changed = threading.Event()
        self.slow_ms: float | None = None
        self.answered_at = -math.inf
        self.epochs: dict[str, tuple[object, Arms]] = {}


@dataclass(frozen=True)
class EnvoyBackend:
    """The ``TrafficBackend`` of a service directory.

    Attributes:
        fence: token of the lease under which this controller acts, 0 for a person at the keyboard.
        extras: reads what only the prediction log and the labels know.
        reading: what was read before; belongs to one thread, whatever the fence.
    """

    service_dir: Path
    fence: int = 0
    extras: Extras | None = None
    reading: Reading = field(default=None, repr=False, compare=False)  # type: ignore[assignment]  # set below

    def __post_init__(self) -> None:
        if self.reading is None:
            object.__setattr__(self, "reading", Reading(service_paths(self.service_dir)))

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="envoy",
            resolution=1,
            mirror=True,
            header=True,
            sticky=True,
            per_request_random=True,
            warm_rollback=True,
        )

    def ensure(self, revision: Revision, replicas: int) -> None:
        _require_name(revision.name)

        def change(desired: WantedState) -> WantedState:
            known = desired.revisions.get(revision.name)
            wanted = AskedRevision(**vars(revision), replicas=replicas, asked=desired.generation + 1)
            if known is not None:
                require_bundle(revision, known.digest)
                wanted = replace(wanted, bundle_uri=known.bundle_uri, asked=known.asked)
            return desired.model_copy(update={"revisions": {**desired.revisions, revision.name: wanted}})

        self._update(change)

    def readiness(self, revision: str) -> Readiness:
        if revision not in self.reading.desired.get().revisions:
            return Readiness("absent")
        seen = self._seen()
        server = seen.servers.get(revision)
        if server is None:
            return Readiness("starting", "not seen by the supervisor yet")
        if server.state == "stopping":
            return Readiness("starting", "its former process is still ending")
        return Readiness(server.state, server.reason)

    def apply(self, split: Split, epoch: str) -> None:
        split = replace(split, header_arms=tuple(sorted(set(split.header_arms))))
        now = self.reading.desired.get()
        if (now.split, now.epoch) != (split, epoch):  # saying it again is no reason to look at the arms again
            require_token(epoch)
            require_ready(split, self.readiness)

        def change(desired: WantedState) -> WantedState:
            unknown = {*split.weights, *split.reached} - {*desired.revisions}
            if unknown:
                raise BackendRefusal(f"the split names revisions that are not there: {sorted(unknown)}")
            return desired.model_copy(update={"split": split, "epoch": epoch})

        self._update(change)

    def observed(self) -> Observed:
        seen = self._seen()
        force = self._in_force(seen)
        return Observed(force.split, force.epoch, force.digest, seen.proxy.refusal(self.reading.desired.get()))

    def counters(self, slow_ms: float | None = None) -> Counters:
        """Counts of Envoy's access log; ``fresh`` is False when Envoy has not answered within the last second."""
        self.reading.slow_ms = slow_ms
        recently = time.monotonic() - self.reading.answered_at < FRESH_S
        return Counters(self._epochs(), recently or self._admin(self.reading.observed.get()).live())

    def told(self) -> object:
        """What the supervisor says of Envoy and of the model servers; another one calls for a look."""
        seen = self.reading.observed.get()
        return seen.proxy, [(name, server.state, server.reason) for name, server in seen.servers.items()]

    def harmed(self) -> int:
        """How many answers were failed, refused or slow since this process began; more of them call for a look."""
        return self.reading.harm.read(self.reading.slow_ms)

    def _epochs(self) -> dict[str, Arms]:
        """All counts; an epoch's are made anew only when something in it changed."""
        counted, extras = self.reading.counts.read().epochs, self.extras() if self.extras else {}
        before, self.reading.epochs = self.reading.epochs, {}
        for epoch in {**counted, **extras}:
            parts = (counted.get(epoch, {}), extras.get(epoch, {}), self.reading.slow_ms)
            known = before.get(epoch)
            same = known is not None and known[0] == parts
            self.reading.epochs[epoch] = known if known and same else (parts, _joined(*parts))
        return {epoch: arms for epoch, (_, arms) in self.reading.epochs.items()}

    def drained(self, revision: str) -> bool:
        seen = self._seen()
        split = self._in_force(seen).split
        if split is not None and (split.weight(revision) or split.mirror == revision):
            return False
        return self._admin(seen).in_flight(revision) == 0

    def adopt(self, revision: str) -> None:
        def change(desired: WantedState) -> WantedState:
            if revision not in desired.revisions:
                raise not_there(revision)
            return desired.model_copy(update={"stable": revision})

        self._update(change)

    def remove(self, revision: str) -> None:
        def change(desired: WantedState) -> WantedState:
            if revision not in desired.revisions:
                return desired
            require_no_weight(revision, desired.split, self._split_in_force())
            others = {name: wanted for name, wanted in desired.revisions.items() if name != revision}
            return desired.model_copy(
                update={
                    "revisions": others,
                    "split": desired.split and desired.split.without(revision),
                    "stable": None if desired.stable == revision else desired.stable,
                }
            )

        self._update(change)

    def _update(self, change: Callable[[WantedState], WantedState]) -> None:
        update_desired(self.reading.where, change, fence=self.fence)
        self.reading.changed.set()

    def _seen(self) -> ObservedState:
        """What the supervisor wrote; its answer would be stale while it is not there."""
        seen = self.reading.observed.get()
        if not supervisor_alive(seen):
            raise InfrastructureError(f"no supervisor looks after {self.service_dir}; start it with: slipway serve")
        return seen

    def _split_in_force(self) -> Split | None:
        """The split Envoy follows; None when it does not answer, as the supervisor keeps the order then as well."""
        with contextlib.suppress(InfrastructureError):
            return self._in_force(self._seen()).split
        return None

    def _in_force(self, seen: ObservedState) -> InForce:
        force = self._admin(seen).routes()
        self.reading.answered_at = time.monotonic()
        return force

    def _admin(self, seen: ObservedState) -> Admin:
        return Admin(seen.proxy.admin_port)


def _counts(tally: Tally, slow_ms: float | None) -> ArmCounts:
    slow = 0 if slow_ms is None else tally.slow(slow_ms)
    # Refusals are the caller's fault on both arms alike; an arm that refuses more of them answers differently.
    bins = {REFUSED: tally.refused} if tally.refused else {}
    return ArmCounts(requests=tally.requests, errors=tally.errors, slow=slow, bins=bins, mirrored=tally.mirrored)


def _joined(tallies: Mapping[str, Tally], extras: Arms, slow_ms: float | None) -> Arms:
    """One epoch's counts with what only *extras* has; its errors are answers with status 200 that are no predictions.

    An arm that only gets copies has no counts but theirs.
    """
    arms = {name: _counts(tally, slow_ms) for name, tally in tallies.items()}
    for name, extra in extras.items():
        own = arms.get(name, ArmCounts())
        if own.mirrored and not own.requests:
            extra = ArmCounts(mirrored_differences=extra.mirrored_differences)
        # A copy that differs was answered, whether or not its line in the access log is written yet.
        arms[name] = (own + extra) | ArmCounts(mirrored=extra.mirrored_differences)
    return arms


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise BackendRefusal(f"a revision's name is letters, digits and ._- up to 128, seen {name!r}")
