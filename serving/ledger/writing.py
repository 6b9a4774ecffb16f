"""One transaction that writes the ledger: its events, and the rows they change.

Every writer locks the ``head`` row first, so that transactions follow one another on every database and what one has
read is still true when it writes. Slots are nevertheless changed only by comparing their revision.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from serving.errors import ConflictError, DataError, UsageError
from serving.files import canonical_json
from serving.ledger import rows, schema
from serving.ledger.details import Detail, Moved, SlotChanged
from serving.ledger.events import event_hash
from serving.ledger.schema import time_text
from serving.ledger.values import Deployment, Event, Slot, SlotName, Stage, Version, route


class Writing:
    """The open transaction; *actor* does everything in it, for one *reason*."""

    def __init__(
        self, connection: sa.Connection, now: Callable[[], datetime], place: str, actor: str, reason: str
    ) -> None:
        if not actor.strip() or not reason.strip():
            raise UsageError("the ledger records who does something and why; give an actor and a reason")
        self.connection = connection
        self.place = place
        self.actor = actor
        self.reason = reason
        head = connection.execute(sa.select(schema.head).with_for_update()).one()
        self._before = self._seq = head.seq
        self._hash = head.hash
        # A clock that was set back must not put an event before the one it follows.
        self.at = max(now(), datetime.fromisoformat(head.at)) if head.at else now()

    def append(
        self,
        model: str,
        kind: str,
        version: int,
        detail: Detail,
        slot: SlotName | None = None,
        revision: int | None = None,
    ) -> Event:
        if kind not in detail.kinds:
            raise ValueError(f"an event {kind!r} has no detail {type(detail).__name__}")
        event = Event(
            seq=self._seq + 1,
            at=self.at,
            model=model,
            kind=kind,
            version=version,
            slot=slot,
            revision=revision,
            actor=self.actor,
            reason=self.reason,
            detail=document(detail.to_json()),
            previous_hash=self._hash,
            hash="",
        )
        event = replace(event, hash=event_hash(event))
        self.connection.execute(schema.event.insert().values(vars(event)))
        self._seq, self._hash = event.seq, event.hash
        return event

    def finish(self) -> bool:
        """Move the head to the newest event, the last statement of the transaction; says whether there is a new one."""
        if self._seq == self._before:
            return False
        values = {"seq": self._seq, "hash": self._hash, "at": time_text(self.at)}
        self.connection.execute(schema.head.update().values(values))
        return True

    def set_version(self, version: Version, **values: str) -> None:
        table = schema.version.c
        condition = sa.and_(table.model == version.model, table.version == version.version)
        self.connection.execute(schema.version.update().where(condition).values(values))

    def move(self, version: Version, stage: Stage) -> None:
        """Take *version* to *stage* by allowed moves, each of them an event."""
        here = version.stage
        for step in route(here, stage):
            self.append(version.model, "moved", version.version, Moved(source=here, target=step))
            here = step
        if here != version.stage:
            self.set_version(version, stage=here)

    def set_slot(self, slot: Slot, kind: str, version: int | None, percent: float, **more: Any) -> None:
        """Put *version* into *slot*, or empty it with None; *slot* is what was read and is compared.

        *more* is what else ``SlotChanged`` says.
        """
        detail = SlotChanged(source=slot.version, target=version, percent=percent, **more)
        after = replace(slot, version=version, percent=percent, revision=slot.revision + 1)
        values = vars(replace(after, sticky_header=detail.sticky_header))
        table = schema.slot.c
        if slot.revision == 0:
            self.connection.execute(schema.slot.insert().values(values))
        else:
            same = sa.and_(table.model == slot.model, table.name == slot.name, table.revision == slot.revision)
            if self.connection.execute(schema.slot.update().where(same).values(values)).rowcount != 1:
                raise ConflictError(f"{slot.name} of {slot.model} changed meanwhile; look at it and decide again")
        subject = version if version is not None else slot.version
        if subject is None:
            raise ValueError(f"{slot.name} of {slot.model} is empty already")
        self.append(slot.model, kind, subject, detail, slot.name, slot.revision + 1)

    def set_traffic(self, model: str, traffic: Mapping[int, float]) -> None:
        """Close the open deployments of *model* and open those of *traffic*, version to percent."""
        table = schema.deployment.c
        open_rows = sa.and_(table.model == model, table.ended.is_(None))
        self.connection.execute(schema.deployment.update().where(open_rows).values(ended=self.at))
        for version, percent in traffic.items():
            row = Deployment(model, version, self.place, percent, self.at, None)
            self.connection.execute(schema.deployment.insert().values(vars(row)))

    def expect(self, slot: Slot, revision: int | None) -> None:
        """``ConflictError`` naming who was first, unless *slot* is still at *revision* (None: at any)."""
        if revision is None or revision == slot.revision:
            return
        raise ConflictError(
            f"{slot.name} of {slot.model} is at revision {slot.revision}, not {revision}: {self.winner(slot)}; "
            "look at it and decide again"
        )

    def last(self, slot: Slot) -> Event | None:
        table = schema.event.c
        return rows.last_event(self.connection, table.model == slot.model, table.slot == slot.name)

    def winner(self, slot: Slot) -> str:
        event = self.last(slot)
        if event is None:
            return "nobody has changed it yet"
        when = event.at.isoformat(timespec="seconds")
        return f"{event.actor} was first at {when} ({event.kind} version {event.version}: {event.reason})"


def document(value: Any) -> Any:
    """*value* as it will be read, so that it hashes the same."""
    try:
        return json.loads(canonical_json(value))
    except (ValueError, TypeError) as error:
        raise DataError(f"the ledger keeps JSON, and {error}; expected finite numbers, text, lists and maps") from error
