"""What each kind of event adds to the history, and the words for it: all that is written, and all that can be read.

An event holds its detail as JSON, which its hash covers; ``detail_of`` gives the same with names and types.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from serving.ledger.values import Event, Facts, Policy, Stage, Version

_KEYS = {"source": "from", "target": "to"}  # these are in the JSON also when they are None
_NAMES = {key: name for name, key in _KEYS.items()}


@dataclass(frozen=True, kw_only=True)
class Detail:
    """What is common to all; ``kinds`` are the kinds of event that have it."""

    kinds: ClassVar[tuple[str, ...]] = ()

    def to_json(self) -> dict[str, Any]:
        return {_KEYS.get(k, k): value for k, value in vars(self).items() if value is not None or k in _KEYS}

    @property
    def told(self) -> str:
        """In words, to stand after the kind of event."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Registered(Detail, Facts):
    """What registration fixes."""

    kinds: ClassVar[tuple[str, ...]] = ("registered",)

    def version(self, event: Event) -> Version:
        """The version as *event* registered it."""
        at = {"created": event.at, "created_by": event.actor}
        row: dict[str, Any] = {"model": event.model, "version": event.version, **vars(self), **at}
        return Version(stage="development", approval="pending", **row)

    @property
    def told(self) -> str:
        return f"bundle {self.digest[:12]} of run {self.run_id}"


@dataclass(frozen=True, kw_only=True)
class Moved(Detail):
    """From one stage to the next."""

    kinds: ClassVar[tuple[str, ...]] = ("moved",)
    source: Stage
    target: Stage

    @property
    def told(self) -> str:
        return f"from {self.source} to {self.target}"


@dataclass(frozen=True, kw_only=True)
class Judged(Detail):
    """Whether a person or the project's policy said so."""

    kinds: ClassVar[tuple[str, ...]] = ("approved", "rejected")
    policy: Policy

    @property
    def told(self) -> str:
        return "by a person" if self.policy == "manual" else "by the project's policy"


@dataclass(frozen=True, kw_only=True)
class SlotChanged(Detail):
    """Another version in a slot, or another share.

    Attributes:
        source, target: the version before and now, None for an empty slot.
        percent: share of traffic from 0 to 100.
        traffic, place: where the change moves traffic: percent by version, and what deployments are recorded under.
        gate_report: what a promotion was decided on.
        sticky_header: of a canary, the request header that keeps a caller on one of the two versions.
    """

    kinds: ClassVar[tuple[str, ...]] = ("promoted", "rolled back", "canary", "canary ended", "retired", "previous")
    source: int | None
    target: int | None
    percent: float
    traffic: Mapping[str, float] | None = None
    place: str | None = None
    gate_report: Mapping[str, Any] | None = None
    sticky_header: str | None = None

    @property
    def told(self) -> str:
        before = "" if self.source in (None, self.target) else f", before: version {self.source}"
        if self.target is None:
            return f"the slot is empty{before}"
        if self.traffic is None:
            return f"kept for a rollback{before}"
        sticky = "" if self.sticky_header is None else f", by {self.sticky_header}"
        return f"{self.percent:g} % of traffic{sticky}{before}"


@dataclass(frozen=True, kw_only=True)
class BundleGone(Detail):
    """The bundle of a version that was put away was removed from the store, or is there again."""

    kinds: ClassVar[tuple[str, ...]] = ("bundle removed", "bundle restored")
    digest: str

    @property
    def told(self) -> str:
        return f"bundle {self.digest[:12]}"


_KINDS: dict[str, type[Detail]] = {
    kind: each for each in (Registered, Moved, Judged, SlotChanged, BundleGone) for kind in each.kinds
}


def told(event: Event) -> str:
    """The detail of *event* in words, to stand after its kind."""
    try:
        return detail_of(event).told
    except ValueError:
        return "cannot be read"


def detail_of(event: Event) -> Detail:
    """The detail of *event*; ``ValueError`` for one that no kind of event has."""
    try:
        return _KINDS[event.kind](**{_NAMES.get(key, key): value for key, value in event.detail.items()})
    except (KeyError, TypeError) as error:
        raise ValueError(f"event {event.seq} ({event.kind}) is not of this Slipway: {error}") from error
