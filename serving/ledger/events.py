"""The history as a chain of hashes, and the state that it amounts to.

The tables of versions, slots and deployments are what the events amount to: ``replay`` makes them again, so that an
edit of a table is seen as well as one of the history.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from serving.ledger.chain import GENESIS, first_fault, seal
from serving.ledger.details import Judged, Moved, Registered, SlotChanged, detail_of
from serving.ledger.schema import time_text
from serving.ledger.values import Deployment, Event, Slot, Version


def line_of(event: Event) -> list[Any]:
    """*event* as a line of the chain."""
    return [*(vars(event) | {"at": time_text(event.at)}).values()]


def event_hash(event: Event) -> str:
    """The hash of everything in *event* but its own."""
    return seal(line_of(event)[:-1])


def chain_fault(events: Sequence[Event], head_seq: int, head_hash: str) -> str:
    """What is wrong with the chain as one sentence, or "" when it is whole."""
    fault = first_fault(map(line_of, events))
    if fault is None:
        if (len(events), events[-1].hash if events else GENESIS) == (head_seq, head_hash):
            return ""
        return f"the history ends at event {len(events)} and was written up to event {head_seq}"
    event, place = events[fault.place - 1], fault.place
    return {
        "missing": f"event {place} is missing: event {event.seq} stands in its place",
        "exchanged": f"event {place} does not follow event {place - 1}: one of them was exchanged",
        "changed": f"event {place} ({event.kind}, {event.model}, by {event.actor}) was changed after it was written",
    }[fault.what]


@dataclass
class Replayed:
    """What a stretch of history amounts to."""

    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    slots: dict[tuple[str, str], Slot] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)


def replay(events: Iterable[Event]) -> Replayed:
    state = Replayed()
    for event in events:
        _apply(state, event)
    return state


def _apply(state: Replayed, event: Event) -> None:
    detail, key = detail_of(event), (event.model, event.version)
    if isinstance(detail, Registered):
        state.versions[key] = detail.version(event)
    elif isinstance(detail, Moved | Judged):
        change: dict[str, Any] = {"stage": detail.target} if isinstance(detail, Moved) else {"approval": event.kind}
        state.versions[key] = replace(state.versions[key], **change)
    elif isinstance(detail, SlotChanged) and event.slot is not None:
        changed = Slot(
            event.model, event.slot, detail.target, detail.percent, event.revision or 0, detail.sticky_header
        )
        state.slots[event.model, event.slot] = changed
        if detail.traffic is not None:
            _redeploy(state, event, detail.traffic, detail.place or "")


def _redeploy(state: Replayed, event: Event, traffic: Mapping[str, float], place: str) -> None:
    def closed(row: Deployment) -> Deployment:
        return replace(row, ended=event.at) if row.model == event.model and row.ended is None else row

    state.deployments = [closed(row) for row in state.deployments]
    state.deployments += [
        Deployment(event.model, int(version), place, percent, event.at, None) for version, percent in traffic.items()
    ]


def state_fault(
    state: Replayed, versions: Iterable[Version], slots: Iterable[Slot], deployments: Iterable[Deployment]
) -> str:
    """The first difference between the tables and what the history amounts to as one sentence, or ""."""
    seen = {(row.model, row.version): row for row in versions}
    for key in sorted(state.versions.keys() | seen.keys()):
        if (was := state.versions.get(key)) != (now := seen.get(key)):
            facts = [fact for fact in vars(was or now) if getattr(was, fact, None) != getattr(now, fact, None)]
            return f"version {key[1]} of {key[0]} is not what the history says: {', '.join(facts)}"
    held = {(row.model, str(row.name)): row for row in slots}
    for model, name in sorted(held.keys() | state.slots.keys()):
        if held.get((model, name)) != state.slots.get((model, name)):
            return f"slot {name} of {model} is not what the history says"
    if set(deployments) != set(state.deployments):
        return "the deployments are not what the history says"
    return ""
