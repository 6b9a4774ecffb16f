"""What a rollout needs from whatever moves the traffic.

Everything is absolute and repeatable: ``apply`` states the whole split, never a change of it, so that doing an action
again after a crash does nothing. Weights are per mille of requests. An **epoch** is a stretch of time with one split;
its token travels with every answer, so that each request is counted under the split that chose its arm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

WEIGHT_SUM = 1000  # weights are per mille
HEADER_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"  # of a sticky header
REFUSED = "refused"  # the bin of requests that got no prediction because the arm took them for invalid


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
    """The whole routing state that is wanted.

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


@dataclass(frozen=True)
class Observed:
    """The split as the data plane has it.

    Attributes:
        epoch: token of the newest split that traffic is known to follow, None before the first.
        digest: of the configuration in force, to notice that somebody else changed it.
        rejected: the data plane's reason for refusing the newest configuration, empty when accepted.
    """

    split: Split | None
    epoch: str | None
    digest: str
    rejected: str = ""


@dataclass(frozen=True)
class ArmCounts:
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
    call would not complete.
    """

    def capabilities(self) -> Capabilities: ...

    def ensure(self, revision: Revision, replicas: int) -> None:
        """Ask for *revision* to run; returns at once, ``readiness`` tells the rest."""

    def readiness(self, revision: str) -> Readiness: ...

    def apply(self, split: Split, epoch: str) -> None:
        """Ask for *split*; ``ValueError`` unless the weights sum to 1000 and each weighted arm is ready."""

    def observed(self) -> Observed: ...

    def counters(self) -> Counters: ...

    def drained(self, revision: str) -> bool:
        """True when *revision* has weight 0 and no request in flight."""

    def adopt(self, revision: str) -> None:
        """Make *revision* the service's stable one; traffic does not change."""

    def remove(self, revision: str) -> None:
        """Stop *revision*; refused with ``ValueError`` while it has weight. An absent revision is done already."""
