"""A place without processes: a virtual clock, arms with chosen faults, and a failure at any call.

It keeps the protocol as strictly as a real place: a split that is refused changes nothing, a change takes time to reach
traffic, and each request is counted once under the split that chose its arm. Under a sticky split a key is counted once
in each epoch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from serving.errors import InfrastructureError
from serving.files import canonical_json, sha256_bytes
from serving.rollout.backend import (
    WEIGHT_SUM,
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

Moment = Literal["before", "after"]


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    now: float = 1_700_000_000.0
    watchers: list[Callable[[float], None]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for watcher in self.watchers:
            watcher(seconds)


@dataclass(frozen=True)
class Behaviour:
    """How a revision answers; rates are chances per request.

    Attributes:
        bins: chance of each prediction bin. loads: seconds from ``ensure`` to ready; None never gets ready.
        broken: why it fails to load, empty when it does not. differs: mirrored answers that differ.
    """

    errors: float = 0.0
    slow: float = 0.0
    bins: Mapping[str, float] = field(default_factory=lambda: {"low": 0.5, "high": 0.5})
    mistakes: float = 0.0
    labelled: float = 0.0
    differs: float = 0.0
    loads: float | None = 1.0
    broken: str = ""


_EVERYTHING = Capabilities(
    "fake", 1, mirror=True, header=True, sticky=True, per_request_random=True, warm_rollback=True
)


class FakeBackend:
    """``TrafficBackend`` in memory.

    Args:
        rate: user requests per second while the clock moves.
        converges: seconds from ``apply`` until traffic follows.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        rate: float = 0.0,
        converges: float = 0.5,
        seed: int = 0,
        capabilities: Capabilities = _EVERYTHING,
    ) -> None:
        self.clock, self.rate, self.converges = clock, rate, converges
        self.behaviours: dict[str, Behaviour] = {}
        self.fault: Callable[[str, Moment], None] = lambda _call, _moment: None
        self.rejects, self.silent, self.in_flight = "", False, 0
        self.effects: list[tuple[str, str]] = []  # what really changed, in order
        self.stable: str | None = None
        self.slow_ms: float | None = None  # as of the last question for counts
        self._capabilities = capabilities
        self._rng = np.random.default_rng(seed)
        self._begun: dict[str, float] = {}
        self._digests: dict[str, str] = {}
        self._lost: set[str] = set()
        self._pending: list[tuple[float, Split, str]] = []
        self._force: tuple[Split, str] | None = None
        self._counts: dict[str, dict[str, ArmCounts]] = {}
        self._keys: set[tuple[str, str]] = set()
        self._tampered, self._by, self._owed = "", "", 0.0
        clock.watchers.append(self._pass)

    # the protocol

    def capabilities(self) -> Capabilities:
        return self._capabilities

    def ensure(self, revision: Revision, replicas: int) -> None:  # one copy is as good as many here
        self.fault("ensure", "before")
        require_bundle(revision, self._digests.setdefault(revision.name, revision.digest))
        if revision.name not in self._begun:
            self._begun[revision.name] = self.clock.now
            self.effects.append(("ensure", revision.name))
        self.fault("ensure", "after")

    def readiness(self, revision: str) -> Readiness:
        self.fault("readiness", "before")
        return self._readiness(revision)

    def apply(self, split: Split, epoch: str) -> None:
        self.fault("apply", "before")
        require_token(epoch)
        require_ready(split, self._readiness)
        self._bring()
        if not self.rejects and (self._force is None or self._force != (split, epoch) or self._tampered):
            self._tampered = ""
            self._pending = [(self.clock.now + self.converges, split, epoch)]
            self.effects.append(("apply", epoch))
        self.fault("apply", "after")

    def observed(self) -> Observed:
        self.fault("observed", "before")
        self._bring()
        split, epoch = self._force or (None, None)
        shown = None if split is None else {"weights": dict(split.weights), "mirror": split.mirror}
        digest = sha256_bytes(canonical_json([shown, epoch, self._tampered]))
        return Observed(split, epoch, digest, self.rejects, self._by if self._tampered else "")

    def counters(self, slow_ms: float | None = None) -> Counters:
        self.fault("counters", "before")
        self.slow_ms = slow_ms  # who is slow is told by the test
        return Counters({token: dict(arms) for token, arms in self._counts.items()}, fresh=not self.silent)

    def drained(self, revision: str) -> bool:
        self.fault("drained", "before")
        self._bring()
        return not self.serving().get(revision) and self.in_flight == 0

    def adopt(self, revision: str) -> None:
        self.fault("adopt", "before")
        if revision not in self._begun:
            raise not_there(revision)
        if self.stable != revision:
            self.stable = revision
            self.effects.append(("adopt", revision))
        self.fault("adopt", "after")

    def remove(self, revision: str) -> None:
        self.fault("remove", "before")
        self._bring()
        require_no_weight(revision, self._force and self._force[0], *(split for _, split, _ in self._pending))
        if self._begun.pop(revision, None) is not None:
            self.effects.append(("remove", revision))
        self.fault("remove", "after")

    # what a test does to it

    def send(self, n: int, *, arm: str | None = None, key: str | None = None) -> list[str]:
        """*n* user requests under the split in force; the revision that answered each.

        Args:
            arm: forces a revision and stays out of all counts.
            key: chooses the arm by its hash when the split is sticky, and then counts once in an epoch.
        """
        self._bring()
        if self._force is None or n <= 0:
            return []
        split, epoch = self._force
        if arm is not None and arm in split.header_arms:
            return [arm] * n
        names = sorted(split.arms)
        weights = [split.weights[name] for name in names]
        units = n
        if key and split.sticky_header is not None:
            units = int((epoch, key) not in self._keys)
            self._keys.add((epoch, key))
            point = int(sha256_bytes(key.encode())[:8], 16) % WEIGHT_SUM
            bounds = np.cumsum(weights)
            counts = [n if i == int(np.searchsorted(bounds, point, side="right")) else 0 for i in range(len(names))]
        else:
            counts = self._rng.multinomial(n, np.array(weights) / WEIGHT_SUM).tolist()
        for name, count in zip(names, counts, strict=True):
            self._count(epoch, name, self._drawn(name, min(count, units)))
        if split.mirror is not None and self._readiness(split.mirror).state == "ready":
            differ = int(self._rng.binomial(n, self.behaviour(split.mirror).differs))
            self._count(epoch, split.mirror, ArmCounts(mirrored=n, mirrored_differences=differ))
        return [name for name, count in zip(names, counts, strict=True) for _ in range(count)]

    def behaviour(self, revision: str) -> Behaviour:
        return self.behaviours.get(revision, Behaviour())

    def behave(self, revision: str, behaviour: Behaviour) -> None:
        self.behaviours[revision] = behaviour

    def lose(self, revision: str) -> None:
        """All endpoints of *revision* are gone, as after a crash loop."""
        self._lost.add(revision)

    def meddle(self, split: Split, by: str = "") -> None:
        """Somebody else changes the split behind everybody's back; the place may know who."""
        epoch = self._force[1] if self._force else "foreign"
        self._force, self._tampered, self._by = (split, epoch), f"meddled at {self.clock.now}", by

    def serving(self) -> dict[str, int]:
        """Per mille by revision, as traffic has it now."""
        self._bring()
        return self._force[0].arms if self._force else {}

    # inside

    def _pass(self, seconds: float) -> None:
        self._owed += self.rate * seconds
        n = int(self._owed)
        self._owed -= n
        self.send(n)

    def _bring(self) -> None:
        for due, split, epoch in self._pending:
            if due <= self.clock.now:
                self._force = (split, epoch)
        self._pending = [entry for entry in self._pending if entry[0] > self.clock.now]

    def _readiness(self, revision: str) -> Readiness:
        begun, behaviour = self._begun.get(revision), self.behaviour(revision)
        if begun is None:
            return Readiness("absent")
        if revision in self._lost:
            return Readiness("failed", "no endpoint is left")
        if behaviour.broken:
            return Readiness("failed", behaviour.broken)
        loaded = behaviour.loads is not None and self.clock.now >= begun + behaviour.loads
        return Readiness("ready") if loaded else Readiness("starting")

    def _drawn(self, name: str, n: int) -> ArmCounts:
        if self._readiness(name).state != "ready":
            return ArmCounts(requests=n, errors=n)
        how, rng = self.behaviour(name), self._rng
        bins = rng.multinomial(n, np.array(list(how.bins.values())) / sum(how.bins.values()))
        labelled = int(rng.binomial(n, how.labelled))
        return ArmCounts(
            requests=n,
            errors=int(rng.binomial(n, how.errors)),
            slow=int(rng.binomial(n, how.slow)),
            bins=dict(zip(how.bins, bins.tolist(), strict=True)),
            labelled=labelled,
            mistakes=int(rng.binomial(labelled, how.mistakes)),
        )

    def _count(self, epoch: str, name: str, more: ArmCounts) -> None:
        arms = self._counts.setdefault(epoch, {})
        arms[name] = arms.get(name, ArmCounts()) + more


def outage(calls: set[str]) -> Callable[[str, Moment], None]:
    """A ``fault`` that fails each of *calls* before it has any effect."""

    def fail(call: str, moment: Moment) -> None:
        if call in calls and moment == "before":
            raise InfrastructureError(f"{call} does not answer")

    return fail
