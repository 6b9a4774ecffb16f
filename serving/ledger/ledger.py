"""The truth about models: which versions there are, what stage each is in, what serves, and who decided it and why.

Every change is one transaction of compare-and-set, rows and hash-chained events, so that it is there as a whole or not
at all, whatever is killed. A version in the production slot is in stage production and no other version is.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from serving.errors import GateRefusal, UsageError
from serving.ledger import bundles, rows, schema, traffic
from serving.ledger.database import Database
from serving.ledger.details import Judged, Registered
from serving.ledger.schema import open_database, time_text
from serving.ledger.values import (
    Approval,
    Deployment,
    Event,
    HistoryVerification,
    Policy,
    Slot,
    SlotName,
    Stage,
    Verdict,
    Version,
)
from serving.ledger.verifying import verified
from serving.ledger.writing import Writing


def open_ledger(
    url: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), place: str = "local", keep: bool = False
) -> "Ledger":
    """The ledger at *url*, a database URL or the path of an SQLite file, made on first use.

    Args:
        now: the clock of all events; must give times with a zone.
        place: what deployments are recorded under.
        keep: connections stay open until ``close``, for a process that looks again and again.
    """
    return Ledger(open_database(url, keep=keep), now, place)


class Ledger:
    """All methods may be called from several processes at once. Unknown versions are a ``UsageError``, a database that
    does not answer an ``InfrastructureError``; after any error the ledger is as before the call.

    Attributes:
        changed: whether anything was changed through this object.
    """

    changed = False

    def __init__(self, database: Database, now: Callable[[], datetime], place: str) -> None:
        self._database = database
        self._now = now
        self._place = place

    def close(self) -> None:
        """Let go of the connections that are kept."""
        self._database.close()

    # Versions

    def register(
        self,
        model: str,
        facts: Registered,
        actor: str,
        *,
        reason: str = "registered by its run",
        stage: Literal["development", "staging"] = "staging",
    ) -> Version:
        """The version of *model* with the bundle of *facts*; a new number for a new digest, the old one otherwise."""
        with self._writing(actor, reason) as writing:
            known = rows.versions(writing.connection, model)
            for version in known:
                if version.digest == facts.digest:
                    bundles.bring_back(writing, version)
                    return version
            number = max((version.version for version in known), default=0) + 1
            new = facts.version(writing.append(model, "registered", number, facts))
            writing.connection.execute(schema.version.insert().values(vars(new)))
            writing.move(new, stage)
            return rows.version(writing.connection, model, number)

    def models(self) -> tuple[str, ...]:
        with self._database.reading() as connection:
            return tuple(rows.models(connection))

    def version(self, model: str, version: int) -> Version:
        with self._database.reading() as connection:
            return rows.version(connection, model, version)

    def versions(self, model: str) -> tuple[Version, ...]:
        """By number; empty for a model nobody registered."""
        with self._database.reading() as connection:
            return rows.versions(connection, model)

    def move(self, model: str, version: int, to_stage: Stage, actor: str, reason: str) -> Version:
        """Take *version* one allowed step further.

        The steps into and out of production are those of ``promote`` and of taking the model out of service: the slot
        and the deployments go with the stage.

        Raises:
            GateRefusal: the step is not allowed from where the version is, or the version has canary traffic.
        """
        with self._writing(actor, reason) as writing:
            row = rows.version(writing.connection, model, version)
            traffic.move(writing, row, to_stage)
            return rows.version(writing.connection, model, version)

    def drop_bundle(self, model: str, version: int, actor: str, reason: str) -> None:
        """Say that the bundle of *version* is removed: it takes no traffic until its run registers it again.

        Raises:
            ConflictError: the version is not archived, or is kept for a rollback.
        """
        with self._writing(actor, reason) as writing:
            bundles.drop(writing, rows.version(writing.connection, model, version))

    def require_bundle(self, model: str, version: int) -> None:
        """Raise ``GateRefusal`` for a version whose bundle was removed."""
        with self._database.reading() as connection:
            bundles.require(connection, rows.version(connection, model, version))

    # Approval

    def approve(self, model: str, version: int, actor: str, reason: str, policy: Policy = "manual") -> Version:
        """Let *version* take traffic; *policy* records whether a person or the project's policy said so."""
        return self._judge(model, version, actor, reason, "approved", policy)

    def reject(self, model: str, version: int, actor: str, reason: str, policy: Policy = "manual") -> Version:
        """Keep *version* from new traffic; what it serves already, it serves until ``rollback`` or ``promote``."""
        return self._judge(model, version, actor, reason, "rejected", policy)

    def approval(self, model: str, version: int) -> Approval:
        table = schema.event.c
        with self._database.reading() as connection:
            rows.version(connection, model, version)
            said = (table.model == model, table.version == version, table.kind.in_(("approved", "rejected")))
            event = rows.last_event(connection, *said)
        if event is None:
            return Approval("pending")
        verdict: Any = event.kind
        return Approval(verdict, event.detail["policy"], event.actor, event.reason, event.at)

    def _judge(self, model: str, version: int, actor: str, reason: str, verdict: Verdict, policy: Policy) -> Version:
        with self._writing(actor, reason) as writing:
            row = rows.version(writing.connection, model, version)
            if row.approval != verdict:
                writing.append(model, verdict, version, Judged(policy=policy))
                writing.set_version(row, approval=verdict)
            return rows.version(writing.connection, model, version)

    # Traffic

    def slot(self, model: str, name: SlotName = "production") -> Slot:
        """The slot as it is, with its revision; an unused one is empty at revision 0."""
        return self.slots(model)[name]

    def slots(self, model: str) -> dict[SlotName, Slot]:
        with self._database.reading() as connection:
            return rows.slots(connection, model)

    def promote(
        self,
        model: str,
        version: int,
        actor: str,
        reason: str,
        gate_report: Mapping[str, Any] | None = None,
        expected_revision: int | None = None,
    ) -> Slot:
        """Give *version* all traffic: the old production version is archived and kept for ``rollback``.

        *expected_revision* is that of the production slot the decision was made on. Repeating a promotion that is done
        changes nothing.

        Raises:
            ConflictError: the slot has another revision, or another version is the canary; who was first is named.
            GateRefusal: the version is not approved, or still in development.
        """
        with self._writing(actor, reason) as writing:
            row = rows.version(writing.connection, model, version)
            slots = rows.slots(writing.connection, model)
            production = slots["production"]
            if production.version == version:
                last = writing.last(production)
                if last is None or last.actor != actor:
                    writing.expect(production, expected_revision)
                return production
            writing.expect(production, expected_revision)
            traffic.check_release(writing, row, slots)
            traffic.serve(writing, row, "promoted", dict(gate_report or {}))
            return rows.slots(writing.connection, model)["production"]

    def canary(
        self,
        model: str,
        version: int,
        percent: float,
        actor: str,
        reason: str,
        expected_revision: int | None = None,
        sticky_header: str | None = None,
    ) -> Slot:
        """Give *version* *percent* of the traffic and production the rest; 0 ends the canary.

        With *sticky_header* a caller stays on one of the two by that request header's value. Repeating a step that is
        done changes nothing. Raises as ``promote`` does, *expected_revision* being that of the canary slot;
        ``GateRefusal`` also when nothing is in production yet.
        """
        if not 0 <= percent <= 100:
            raise UsageError(f"a canary of {percent} % is not possible; expected 0 to 100, where 0 ends it")
        with self._writing(actor, reason) as writing:
            row = rows.version(writing.connection, model, version)
            slots = rows.slots(writing.connection, model)
            slot, production = slots["canary"], slots["production"]
            wanted = (version, percent, sticky_header) if percent else (None, 0, None)
            if (slot.version, slot.percent, slot.sticky_header) == wanted:
                return slot
            writing.expect(slot, expected_revision)
            if production.version is None or production.version == version:
                what = "nothing is in production" if production.version is None else "it is in production itself"
                raise GateRefusal(f"{model} version {version} cannot be a canary: {what}; promote it, or another one")
            traffic.check_release(writing, row, slots, ending=percent == 0)
            if percent:
                writing.move(row, "staging")
            traffic.split(writing, slot, production.version, *wanted)
            return rows.slots(writing.connection, model)["canary"]

    def rollback(self, model: str, actor: str, reason: str, expected_revision: int | None = None) -> Slot:
        """Give all traffic back to the version that was in production before; a second one goes forward again.

        Raises:
            ConflictError: the production slot is not at *expected_revision*.
            GateRefusal: there is no version to go back to, or it was rejected.
        """
        with self._writing(actor, reason) as writing:
            slots = rows.slots(writing.connection, model)
            writing.expect(slots["production"], expected_revision)
            target = slots["previous"].version
            if target is None:
                raise GateRefusal(f"{model} has no version to roll back to: nothing was in production; promote one")
            row = rows.version(writing.connection, model, target)
            if row.approval == "rejected":
                raise GateRefusal(f"{model} version {target} was rejected and cannot come back; promote another")
            traffic.serve(writing, row, "rolled back")
            return rows.slots(writing.connection, model)["production"]

    def deployments(self, model: str) -> tuple[Deployment, ...]:
        """Every stretch of traffic of *model*, oldest first."""
        with self._database.reading() as connection:
            return rows.deployments(connection, schema.deployment.c.model == model)

    def at(self, model: str, time: datetime) -> tuple[Deployment, ...]:
        """What served at *time*, largest share first; a change at *time* itself has happened."""
        table = schema.deployment.c
        try:
            time_text(time)
        except ValueError as error:
            raise UsageError(str(error)) from error
        running = (table.started <= time, sa.or_(table.ended.is_(None), table.ended > time))
        with self._database.reading() as connection:
            found = rows.deployments(connection, table.model == model, *running)
        return tuple(sorted(found, key=lambda row: (-row.traffic_percent, row.version)))

    # History

    def history(self, model: str | None = None) -> tuple[Event, ...]:
        """The events of *model*, or of all, oldest first."""
        with self._database.reading() as connection:
            return rows.events(connection, *(() if model is None else (schema.event.c.model == model,)))

    def head(self) -> str:
        """The newest hash of the history: another one after each change, whoever made it."""
        with self._database.reading() as connection:
            return str(connection.scalar(sa.select(schema.head.c.hash)))

    def verify(self) -> HistoryVerification:
        """Whether the history is unchanged since it was written and the tables are what it amounts to."""
        return verified(self._database)

    @contextmanager
    def _writing(self, actor: str, reason: str) -> Iterator[Writing]:
        with self._database.writing() as connection:
            writing = Writing(connection, self._now, self._place, actor, reason)
            yield writing
            news = writing.finish()
        self.changed = self.changed or news
