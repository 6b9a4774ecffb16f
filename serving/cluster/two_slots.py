"""The two slots between which the traffic of one model is divided, as values.

Two references, A and B, never change places, lose their weight or go away: Envoy names its clusters and statistics by
these positions, and drops requests for the moment in which a weighted reference comes or goes. What may change is what
a slot points at, which only changes the endpoints of a cluster, and its weight, which stays at least 1 of 1,000,000.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from serving.errors import BackendRefusal
from serving.rollout.backend import WEIGHT_SUM, Split, require_token

T = TypeVar("T")
RouteSlot = Literal["A", "B"]

WEIGHT_TOTAL = 1_000_000
RESTING = 1  # of WEIGHT_TOTAL: a slot without share keeps its cluster in Envoy
PLACING = "@"  # ends the token of a write that only puts a candidate into its slot


@dataclass(frozen=True)
class BackendRef:
    """One of the two references of a split: the revision it points at, and its weight of ``WEIGHT_TOTAL``."""

    revision: str
    weight: int


@dataclass(frozen=True)
class Route:
    """All that the traffic of one model depends on.

    Attributes:
        stable: slot that answers what is no prediction (metadata, readiness).
        epoch: token of this write; it comes back in the header ``x-epoch`` of every divided answer.
        mirror: revision that gets a copy of each divided request.
        header_arms: revisions that ``x-model-arm`` may choose; others are not reachable by header.
    """

    model: str
    a: BackendRef
    b: BackendRef
    epoch: str
    stable: RouteSlot = "A"
    mirror: str | None = None
    header_arms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.a.weight + self.b.weight != WEIGHT_TOTAL or min(self.a.weight, self.b.weight) < RESTING:
            raise BackendRefusal(
                f"weights must be at least {RESTING} and sum to {WEIGHT_TOTAL}, "
                f"seen A={self.a.weight} and B={self.b.weight}"
            )
        require_token(self.epoch)

    @property
    def slots(self) -> tuple[BackendRef, BackendRef]:
        return self.a, self.b

    @property
    def sides(self) -> tuple[BackendRef, BackendRef]:
        """The stable slot, and the other one."""
        return _in_order(self.stable, self.a, self.b)

    def weights(self) -> dict[str, int]:
        """Revision to weight; a revision in both slots has all of it."""
        sums: dict[str, int] = {}
        for slot in self.slots:
            sums[slot.revision] = sums.get(slot.revision, 0) + slot.weight
        return sums

    def split(self) -> Split:
        """The split in per mille; resting weights count as none."""
        shares = {name: round(weight * WEIGHT_SUM / WEIGHT_TOTAL) for name, weight in self.weights().items()}
        weights = {name: share for name, share in shares.items() if share > 0}
        return Split(weights=weights, mirror=self.mirror, header_arms=self.header_arms)


def resting(model: str, revision: str, epoch: str, stable: RouteSlot = "A") -> Route:
    """Both slots at one revision: the state between rollouts."""
    return Route(model, *_shared(stable, revision, revision, 0), epoch, stable)


def divided(route: Route, split: Split, epoch: str) -> Route:
    """*route* with *split* in its slots: each revision stays in the slot it has, and a new one takes the slot that is
    not the stable one.

    Raises:
        BackendRefusal: *split* needs more than two revisions, or a hash of a header.
    """
    if split.sticky_header is not None:
        raise BackendRefusal("the Gateway API draws each request by itself; a sticky header needs another backend")
    stable, other = route.sides
    wanted = sorted({*split.weights, *split.reached} - {stable.revision})
    if len(wanted) > 1:
        raise BackendRefusal(f"a route divides between {stable.revision} and one other revision, asked for {wanted}")
    named = wanted[0] if wanted else other.revision  # at weight 0 the candidate keeps its slot until it is removed
    share = split.weight(named) if wanted else 0
    a, b = _shared(route.stable, stable.revision, named, share)
    return Route(route.model, a, b, epoch, route.stable, split.mirror, tuple(sorted(set(split.header_arms))))


def adopted(route: Route, revision: str, epoch: str) -> Route:
    """*revision* in both slots, weights as they are: nobody's traffic moves that was not its already.

    Raises:
        BackendRefusal: another revision still has more than a resting weight.
    """
    if any(slot.weight > RESTING and slot.revision != revision for slot in route.slots):
        raise BackendRefusal(f"{revision} can be adopted once it has all of the traffic, seen {route.weights()}")
    stable: RouteSlot = "A" if route.a.weight > route.b.weight else "B"
    a, b = (replace(slot, revision=revision) for slot in route.slots)
    return Route(route.model, a, b, epoch, stable)


def placing(now: Route, wanted: Route) -> Route | None:
    """The write before *wanted* that only changes where a resting slot points; None when none is needed.

    Raises:
        BackendRefusal: the slot that *wanted* needs for a new revision has traffic of another one.
    """
    (stable, there), here = wanted.sides, _in_order(wanted.stable, *now.slots)[1]
    if here.revision == there.revision or there.weight == RESTING:
        return None
    if here.weight > RESTING:
        raise BackendRefusal(
            f"{here.revision} has {now.split().weight(here.revision)} per mille of the traffic; move it first"
        )
    a, b = _shared(wanted.stable, stable.revision, there.revision, 0)
    return replace(wanted, a=a, b=b, epoch=wanted.epoch + PLACING, mirror=None)


def in_total(weights: Sequence[int]) -> list[int]:
    """Two *weights* as shares of ``WEIGHT_TOTAL``, the first one's remainder; people write 80 and 20.

    Raises:
        ValueError: they are no shares.
    """
    first, second = weights
    if min(weights) < 0 or first + second <= 0:
        raise ValueError(f"weights are at least 0 and not both 0, seen {first} and {second}")
    share = min(max(round(second * WEIGHT_TOTAL / (first + second)), RESTING), WEIGHT_TOTAL - RESTING)
    return [WEIGHT_TOTAL - share, share]


def without(route: Route, revision: str) -> Route:
    """*route* that names *revision* nowhere; its resting slot points where the other one does."""
    other = next((slot.revision for slot in route.slots if slot.revision != revision), None)
    if other is None:
        return route
    a, b = (BackendRef(other, slot.weight) if slot.revision == revision else slot for slot in route.slots)
    arms = tuple(name for name in route.header_arms if name != revision)
    return replace(route, a=a, b=b, mirror=None if route.mirror == revision else route.mirror, header_arms=arms)


def _in_order(stable: RouteSlot, one: T, other: T) -> tuple[T, T]:
    """What (stable, other) have as (A, B), and what (A, B) have as (stable, other)."""
    return (one, other) if stable == "A" else (other, one)


def _shared(stable: RouteSlot, revision: str, other: str, share: int) -> tuple[BackendRef, BackendRef]:
    """A and B, of which *revision* has the slot *stable*, and *other* the other one with *share* per mille."""
    weight = min(max(share * WEIGHT_TOTAL // WEIGHT_SUM, RESTING), WEIGHT_TOTAL - RESTING)
    return _in_order(stable, BackendRef(revision, WEIGHT_TOTAL - weight), BackendRef(other, weight))
