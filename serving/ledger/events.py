"""The history as a chain of hashes, and the state that it amounts to.

Each event holds the hash of the one before, so that an edited, removed, added or reordered event breaks the chain. The
chain proves what was written since; it cannot stop somebody who rewrites all of it, which is why its newest hash is
worth keeping elsewhere too.

The tables of versions, slots and deployments are what the events amount to: ``replay`` makes them again, so that an
edit of a table is seen as well as one of the history.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.files import canonical_json, sha256_bytes
from serving.ledger.schema import time_text
from serving.ledger.values import GENESIS, Deployment, Event, Slot, Version

SlotKey = tuple[str, str]
VersionKey = tuple[str, int]
SlotFacts = tuple[int | None, float, int]  # version, percent, revision
FACTS = ("digest", "bundle_uri", "run_id", "snapshot", "metrics", "provenance")  # what registration fixes
COLUMNS = (*FACTS, "stage", "approval", "created", "created_by")


def event_hash(event: Event) -> str:
    """sha256 of the canonical JSON of everything in *event* but its own hash."""
    content = [event.seq, time_text(event.at), event.model, event.kind, event.version, event.slot, event.revision]
    content += [event.actor, event.reason, event.detail, event.previous_hash]
    return sha256_bytes(canonical_json(content))


def chain_fault(events: Sequence[Event], head_seq: int, head_hash: str) -> str:
    """What is wrong with the chain as one sentence, or "" when it is whole."""
    previous = GENESIS
    for place, event in enumerate(events, start=1):
        if event.seq != place:
            return f"event {place} is missing: event {event.seq} stands in its place"
        if event.previous_hash != previous:
            return f"event {place} does not follow event {place - 1}: one of them was exchanged"
        if event.hash != event_hash(event):
            return f"event {place} ({event.kind}, {event.model}, by {event.actor}) was changed after it was written"
        previous = event.hash
    if (len(events), previous) != (head_seq, head_hash):
        return f"the history ends at event {len(events)} and was written up to event {head_seq}"
    return ""


@dataclass
class Replayed:
    """What a stretch of history amounts to."""

    versions: dict[VersionKey, dict[str, Any]] = field(default_factory=dict)
    slots: dict[SlotKey, SlotFacts] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)


def replay(events: Iterable[Event]) -> Replayed:
    state = Replayed()
    for event in events:
        _apply(state, event)
    return state


def _apply(state: Replayed, event: Event) -> None:
    detail, key = event.detail, (event.model, event.version)
    if event.kind == "registered":
        facts = {"created": event.at, "created_by": event.actor, "stage": "development", "approval": "pending"}
        state.versions[key] = {**detail, **facts}
    elif event.kind == "moved":
        state.versions[key]["stage"] = detail["to"]
    elif event.kind in ("approved", "rejected"):
        state.versions[key]["approval"] = event.kind
    if event.slot is not None:
        state.slots[event.model, event.slot] = (detail["to"], detail["percent"], event.revision or 0)
    if "traffic" in detail:
        _redeploy(state, event)


def _redeploy(state: Replayed, event: Event) -> None:
    def closed(row: Deployment) -> Deployment:
        if row.model != event.model or row.ended is not None:
            return row
        return Deployment(row.model, row.version, row.place, row.traffic_percent, row.started, event.at)

    state.deployments = [closed(row) for row in state.deployments]
    state.deployments += [
        Deployment(event.model, int(version), event.detail["place"], percent, event.at, None)
        for version, percent in event.detail["traffic"].items()
    ]


def state_fault(
    state: Replayed, versions: Iterable[Version], slots: Iterable[Slot], deployments: Iterable[Deployment]
) -> str:
    """The first difference between the tables and what the history amounts to as one sentence, or ""."""
    seen = {(row.model, row.version): {key: getattr(row, key) for key in COLUMNS} for row in versions}
    for key in sorted(state.versions.keys() | seen.keys()):
        if (was := state.versions.get(key)) != (now := seen.get(key)):
            facts = [fact for fact in COLUMNS if was is None or now is None or was[fact] != now[fact]]
            return f"version {key[1]} of {key[0]} is not what the history says: {', '.join(facts)}"
    held: dict[SlotKey, SlotFacts] = {(row.model, row.name): (row.version, row.percent, row.revision) for row in slots}
    if held != state.slots:
        differing = sorted(key for key in held.keys() | state.slots.keys() if held.get(key) != state.slots.get(key))
        return f"slot {differing[0][1]} of {differing[0][0]} is not what the history says"
    if set(deployments) != set(state.deployments):
        return "the deployments are not what the history says"
    return ""
