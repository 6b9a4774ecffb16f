"""What the ledger says: frozen values, and the stages with their only moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Stage = Literal["development", "staging", "production", "archived"]
SlotName = Literal["production", "canary", "previous"]
Verdict = Literal["pending", "approved", "rejected"]
Policy = Literal["manual", "auto"]

MOVES: Mapping[Stage, tuple[Stage, ...]] = {
    "development": ("staging",),
    "staging": ("production", "archived"),
    "production": ("archived",),
    "archived": ("staging",),
}
SLOTS: tuple[SlotName, ...] = ("production", "canary", "previous")


def route(source: Stage, target: Stage) -> tuple[Stage, ...]:
    """The stages to pass from *source* to *target* by allowed moves, shortest first, without *source*."""
    paths: list[tuple[Stage, ...]] = [()]
    for path in paths:
        here = path[-1] if path else source
        if here == target:
            return path
        paths += [(*path, step) for step in MOVES[here] if step not in path and step != source]
    raise ValueError(f"no way from stage {source} to {target}")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What registration fixes.

    Attributes:
        digest: sha256 of the bundle's manifest; a model has one version per digest.
        run_id: the run that made it; ``snapshot`` the id of the data it was made from.
        metrics: holdout metrics by name; ``provenance`` whatever else was recorded of its making.
    """

    digest: str
    bundle_uri: str
    run_id: str
    snapshot: str
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Version(Facts):
    """One registered model; everything but ``stage`` and ``approval`` stays as registered."""

    model: str
    version: int
    stage: Stage
    approval: Verdict
    created: datetime
    created_by: str

    @property
    def name(self) -> str:
        return f"{self.model}-{self.version}"


@dataclass(frozen=True)
class Approval:
    """The newest word on whether a version may take traffic; ``at`` is None while nobody has spoken."""

    verdict: Verdict
    policy: Policy | None = None
    actor: str = ""
    reason: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Slot:
    """A named place for at most one version of a model.

    Attributes:
        percent: share of traffic from 0 to 100; 0 for ``previous`` and for an empty slot.
        revision: how often the slot has changed; 0 before the first change.
        sticky_header: of the canary, the request header that keeps a caller on one of the two versions.
    """

    model: str
    name: SlotName
    version: int | None = None
    percent: float = 0.0
    revision: int = 0
    sticky_header: str | None = None


@dataclass(frozen=True)
class Deployment:
    """A stretch of time in which a version had one share of a place's traffic; ``ended`` is None while it lasts."""

    model: str
    version: int
    place: str
    traffic_percent: float
    started: datetime
    ended: datetime | None


@dataclass(frozen=True)
class Event:
    """One line of the append-only history.

    Attributes:
        slot, revision: the slot that changed and its number of changes since; None where no slot did.
        detail: what the kind of event adds, e.g. the gate report of a promotion.
        previous_hash, hash: of the event before, and of this one with everything above in it.
    """

    seq: int
    at: datetime
    model: str
    kind: str
    version: int
    slot: SlotName | None
    revision: int | None
    actor: str
    reason: str
    detail: Mapping[str, Any]
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class HistoryVerification:
    """Whether the history is the one that was written, and the tables what the history says."""

    intact: bool
    events: int
    head: str
    sentence: str
