"""What a rollout needs from whatever moves the traffic.

Everything is absolute and repeatable: ``apply`` states the whole split, never a change of it, so that doing an action
again after a crash does nothing. Weights are per mille of requests. An **epoch** is a stretch of time with one split;
its token travels with every answer, so that each request is counted under the split that chose its arm.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from serving.additive import Additive
from serving.errors import BackendRefusal, ConflictError
from serving.wire import ARM_HEADER, EPOCH_HEADER, KEY_HEADER, MIRROR_HEADER

WEIGHT_SUM = 1000  # weights are per mille
HEADER_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"  # of a sticky header
REFUSED = "refused"  # the bin of requests that got no prediction because the arm took them for invalid

OWN_HEADERS = frozenset({ARM_HEADER, EPOCH_HEADER, MIRROR_HEADER, KEY_HEADER})  # of requests; no caller's key is there

_TOKEN = re.compile(r"[A-Za-z0-9._:@+/=-]{1,200}")


@dataclass(frozen=True)
class Capabilities:
    """What an installation can do.

    Attributes:
        resolution: the smallest weight step in per mille (1 for Envoy, 10 for integer percents).
        per_request_random: arms are drawn at random for each request; without it no automatic verdict is given.
        warm_rollback: the previous revision keeps running after promotion.
        pairs: answers of mirrored copies are compared with those that were served.
    """

    name: str
    resolution: int
    mirror: bool
    header: bool
    sticky: bool
    per_request_random: bool
    warm_rollback: bool
    pairs: bool = True


@dataclass(frozen=True)
class Revision:
    """One model version as something that runs; *name* is unique for ever, e.g. ``housing-2``."""

    name: str
    model: str
    version: int
    bundle_uri: str
    digest: str


@dataclass(frozen=True)
class Readiness:
    """Whether a revision can take traffic; ``failed`` means it never will without a change, and *reason* says why."""

    state: Literal["absent", "starting", "ready", "failed"]
    reason: str = ""


@dataclass(frozen=True)
class Split:
    """The whole routing state that is wanted; one that no backend could bring about is a ``BackendRefusal``.

    Attributes:
        weights: revision name to per mille; sums to 1000.
        mirror: revision that receives a copy of every request, its answers dropped.
        sticky_header: request header whose hash chooses the arm instead of chance; a request without it, or with an
            empty one, is drawn by chance.
        header_arms: revisions reachable by request header ``x-model-arm: <revision name>``, outside of all counts.
    """

    weights: Mapping[str, int]
    mirror: str | None = None
    sticky_header: str | None = None
    header_arms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if sum(self.weights.values()) != WEIGHT_SUM or min(self.weights.values()) < 0:
            raise BackendRefusal(f"weights must be per mille and sum to {WEIGHT_SUM}, seen {dict(self.weights)}")
        if self.sticky_header is not None and not callers_header(self.sticky_header):
            raise BackendRefusal(
                "a sticky header is one of the caller's: expected letters, digits, _ and -, "
                f"seen {self.sticky_header!r}"
            )

    @property
    def arms(self) -> dict[str, int]:
        """The weights that are not 0."""
        return {name: weight for name, weight in self.weights.items() if weight}

    @property
    def reached(self) -> frozenset[str]:
        """The revisions that some request or copy may come to."""
        return frozenset(filter(None, (*self.arms, *self.header_arms, self.mirror)))

    def weight(self, revision: str) -> int:
        return self.weights.get(revision, 0)

    def routes_like(self, other: "Split | None") -> bool:
        """Whether both route users alike; arms without weight do not matter."""
        return other is not None and (self.arms, self.mirror, self.sticky_header) == (
            other.arms, other.mirror, other.sticky_header
        )  # fmt: skip

    def without(self, revision: str) -> "Split":
        """This split, naming *revision* nowhere; its weight must be 0."""
        return replace(
            self,
            weights={name: weight for name, weight in self.weights.items() if name != revision},
            mirror=None if self.mirror == revision else self.mirror,
            header_arms=tuple(name for name in self.header_arms if name != revision),
        )


@dataclass(frozen=True)
class Observed:
    """The split as the data plane has it.

    Attributes:
        epoch: token of the newest split that traffic is known to follow, None before the first.
        digest: of the configuration in force, to notice that somebody else changed it.
        rejected: the data plane's reason for refusing the newest configuration, empty when accepted.
        by: who else has changed what the backend wrote, as the place names them; empty when nobody did, and where the
            place does not know.
    """

    split: Split | None
    epoch: str | None
    digest: str
    rejected: str = ""
    by: str = ""


@dataclass(frozen=True)
class ArmCounts(Additive):
    """Cumulative counts of one revision in one epoch; they only grow.

    Under a sticky split a key counts as one request, its first in the epoch; only copies are counted one by one.

    Attributes:
        requests: user requests that were answered or failed; mirrored, header-forced and health requests are excluded.
        errors: 5xx, timeouts, resets and invalid outputs among them.
        slow: answers later than the service's threshold.
        bins: requests per prediction bin, by bin name; empty where predictions are not seen.
        mistakes: delayed labels that say the answer was wrong; ``labelled`` is how many labels came.
        mirrored, mirrored_differences: copies that were answered, and those whose answer differed from the served one.
    """

    requests: int = 0
    errors: int = 0
    slow: int = 0
    bins: Mapping[str, int] = field(default_factory=dict)
    labelled: int = 0
    mistakes: int = 0
    mirrored: int = 0
    mirrored_differences: int = 0


@dataclass(frozen=True)
class Counters:
    """All counts since the rollout's start: epoch token -> revision name -> counts.

    ``fresh`` is False when the source did not answer; the counts are then the last known ones.
    """

    epochs: Mapping[str, Mapping[str, ArmCounts]]
    fresh: bool = True


class TrafficBackend(Protocol):
    """Moves traffic between revisions of one service; all calls are idempotent and may be repeated after a crash.

    Every call raises ``InfrastructureError`` when the place does not answer; nothing is then half-done that a second
    call would not complete. What is refused with ``BackendRefusal`` changes nothing, and may be done at a later try.
    The rules at the end of this module are those of every backend.
    """

    def capabilities(self) -> Capabilities: ...

    def ensure(self, revision: Revision, replicas: int) -> None:
        """Ask for *revision* to run; returns at once, ``readiness`` tells the rest.

        Raises:
            ConflictError: its name is another bundle's.
        """

    def readiness(self, revision: str) -> Readiness: ...

    def apply(self, split: Split, epoch: str) -> None:
        """Ask for *split*; refused unless all revisions that it reaches are ready, and *epoch* can be a header."""

    def observed(self) -> Observed: ...

    def counters(self, slow_ms: float | None = None) -> Counters:
        """All counts; an answer that took longer than *slow_ms* counts as slow, with None no answer does."""

    def drained(self, revision: str) -> bool:
        """True when *revision* has weight 0 and no request in flight."""

    def adopt(self, revision: str) -> None:
        """Make *revision*, which must be there, the service's stable one; traffic does not change."""

    def remove(self, revision: str) -> None:
        """Stop *revision*; refused while it has weight. An absent revision is done already."""


def callers_header(name: str) -> bool:
    """Whether *name* can be a header that callers send, and is none of our own."""
    return re.fullmatch(HEADER_NAME, name) is not None and name.lower() not in OWN_HEADERS


def require_token(epoch: str) -> None:
    if not _TOKEN.fullmatch(epoch):
        raise BackendRefusal(f"an epoch token is sent as a header: expected letters, digits, ._:@+/=-, seen {epoch!r}")


def require_bundle(revision: Revision, known: str) -> None:
    """
    Raises:
        ConflictError: the revision of that name holds the bundle with digest *known*, which is another one.
    """
    if known != revision.digest:
        raise ConflictError(
            f"{revision.name} already names the bundle {known[:12]}, asked for {revision.digest[:12]}; "
            "a revision's name is never used for another bundle"
        )


def require_ready(split: Split, readiness: Callable[[str], Readiness]) -> None:
    for name in sorted(split.reached):
        found = readiness(name)
        if found.state != "ready":
            raise BackendRefusal(f"{name} is {found.state} and cannot take traffic: {found.reason or 'wait for it'}")


def not_there(revision: str) -> BackendRefusal:
    """What is raised when *revision* is to be adopted and is absent."""
    return BackendRefusal(f"{revision} is not there and cannot become the stable revision")


def require_no_weight(revision: str, *splits: Split | None) -> None:
    """Refuse when any of *splits*, those that are asked for and those in force, gives *revision* traffic."""
    weight = max((split.weight(revision) for split in splits if split is not None), default=0)
    if weight:
        raise BackendRefusal(f"{revision} has {weight} per mille of the traffic; move it before removing it")
