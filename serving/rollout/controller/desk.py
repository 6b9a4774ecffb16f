"""State, journal, lease and inbox of one service, and what waits for it: what lets its controller die at any moment.

They are rows of a database, the ledger's for a cluster and a file beside a local service. Each write checks the lease's
token in its own transaction, which locks the lease's row first: a controller that lost the lease cannot write, and what
it has read still holds.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from pydantic import ValidationError

from serving.errors import ConflictError
from serving.ledger.chain import GENESIS
from serving.ledger.database import Database
from serving.rollout.controller import tables
from serving.rollout.controller.persistence import Command, Grant, Record, RecordKind, Stored, sealed
from serving.rollout.controller.tables import own
from serving.rollout.state import Request, RolloutState

_FRESH = 0.75  # of a lease: while so much is left it is not renewed
_FREE: dict[str, Any] = {"holder": "", "expires": 0.0}

# Statements are made once: what SQLAlchemy does for a new one at each call costs more than the call.
_STATE = sa.select(tables.state).where(own(tables.state))
_SET_STATE = tables.state.update().where(own(tables.state))
_LEASE = sa.select(tables.lease).where(own(tables.lease))
_LOCKED_LEASE = _LEASE.with_for_update()
_SET_LEASE = tables.lease.update().where(own(tables.lease))
_PAST = sa.select(tables.past).where(own(tables.past)).order_by(tables.past.c.number)
_FORGET = tables.past.delete().where(own(tables.past), tables.past.c.rollout == sa.bindparam("of_rollout"))
_JOURNAL = sa.select(tables.journal).where(own(tables.journal)).order_by(tables.journal.c.seq)
_OF_ROLLOUT = _JOURNAL.where(tables.journal.c.rollout == sa.bindparam("of_rollout"))
_LAST = sa.select(tables.journal.c.seq, tables.journal.c.hash).where(own(tables.journal)).limit(1)
_LAST = _LAST.order_by(tables.journal.c.seq.desc())
_ASKED = sa.select(tables.inbox).where(own(tables.inbox), tables.inbox.c.answer.is_(None))
_ASKED = _ASKED.order_by(tables.inbox.c.number)
_NUMBERED = tables.inbox.c.number == sa.bindparam("of_number")
_ANSWERED = sa.select(tables.inbox.c.answer).where(own(tables.inbox), _NUMBERED)
_ANSWER = tables.inbox.update().where(own(tables.inbox), _NUMBERED)
_WAITING = sa.select(tables.waiting).where(own(tables.waiting)).order_by(tables.waiting.c.number)
_BEGUN = tables.waiting.delete().where(own(tables.waiting), tables.waiting.c.rollout == sa.bindparam("of_rollout"))
_DOCUMENT = sa.and_(tables.memory.c.scope == sa.bindparam("of_scope"), tables.memory.c.name == sa.bindparam("of_name"))
_GET = sa.select(tables.memory.c.document).where(_DOCUMENT)
_SET = tables.memory.update().where(_DOCUMENT)


class Memory:
    """Small JSON documents by name that outlive a controller, only the last of each: those of *scope* in *database*."""

    def __init__(self, database: Database, scope: str) -> None:
        self._database, self._scope = database, scope

    def get(self, name: str) -> Mapping[str, Any] | None:
        """The document last put under *name*, None before the first."""
        rows = self._database.rows(_GET, {"of_scope": self._scope, "of_name": name})
        return dict(json.loads(rows[0].document)) if rows else None

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        text = json.dumps(dict(document))
        row = {"scope": self._scope, "name": name, "document": text}
        if not self._replace(name, text) and not self._database.insert_once(tables.memory.insert(), row):
            self._replace(name, text)

    def _replace(self, name: str, text: str) -> bool:
        with self._database.writing() as connection:
            changed = connection.execute(_SET, {"of_scope": self._scope, "of_name": name, "document": text})
            return changed.rowcount > 0


class Waiting:
    """Rollouts of *service* that were asked for and not begun, oldest first."""

    def __init__(self, database: Database, service: str) -> None:
        self._database, self._service = database, service

    def put(self, request: Request) -> None:
        """Ask for *request*; asking again changes nothing."""
        values = {"service": self._service, "rollout": request.id, "document": request.model_dump_json()}
        self._database.insert_once(tables.waiting.insert(), values)

    def __iter__(self) -> Iterator[Request]:
        for row in self._database.rows(_WAITING, {"of_service": self._service}):
            try:
                yield Request.model_validate_json(row.document)
            except ValidationError:
                continue  # of another version

    def done(self, request: Request) -> None:
        """It has begun, or never will."""
        with self._database.writing() as connection:
            connection.execute(_BEGUN, {"of_service": self._service, "of_rollout": request.id})


class Desk:
    """What is written down of *service* in *database*; safe to use from several threads and processes.

    Attributes:
        waiting: rollouts that were asked for and not begun.
        memory: what a backend and the controller keep between two looks; not fenced, the last word counts.
    """

    def __init__(self, database: Database, service: str) -> None:
        self._database = database
        self._new, self._mine = {"service": service}, {"of_service": service}
        self.waiting = Waiting(database, service)
        self.memory = Memory(database, service)
        self._make_lease()

    def close(self) -> None:
        """Let go of the connections that the database keeps open."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # state

    def load(self) -> Stored | None:
        rows = self._all(_STATE)
        return Stored(RolloutState.model_validate_json(rows[0].document), rows[0].revision) if rows else None

    def save(self, state: RolloutState, revision: int, token: int) -> int:
        """Replace revision *revision* (0: nothing yet) and return the new one.

        Raises:
            ConflictError: somebody else saved meanwhile, or *token* is not the present lease's.
        """
        with self._writing(token) as connection:
            row = connection.execute(_STATE, self._mine).one_or_none()
            stored = 0 if row is None else row.revision
            if stored != revision:
                raise ConflictError(f"rollout state is at revision {stored}, not {revision}: somebody else saved first")
            if row is not None and row.rollout != state.id:
                self._put_away(connection, row)
            last = connection.execute(_LAST, self._mine).one_or_none()
            values = {"rollout": state.id, "document": state.model_dump_json(), "revision": revision + 1}
            values |= {"token": token, "head": last.hash if last else GENESIS}
            if row is None:
                connection.execute(tables.state.insert(), values | self._new)
            else:
                connection.execute(_SET_STATE, values | self._mine)
        return revision + 1

    def past(self) -> list[RolloutState]:
        """Finished rollouts, oldest first."""
        return [RolloutState.model_validate_json(row.document) for row in self._all(_PAST)]

    def _put_away(self, connection: sa.Connection, row: Any) -> None:
        """Keep the rollout of *row*, which is over; what was kept of it before is replaced."""
        connection.execute(_FORGET, {"of_rollout": row.rollout, **self._mine})
        connection.execute(tables.past.insert(), {"rollout": row.rollout, "document": row.document, **self._new})

    # journal

    def append(self, kind: RecordKind, rollout: str, body: Mapping[str, Any], at: float, token: int) -> Record:
        """Add one record; ``ConflictError`` when *token* is not the present lease's."""
        text = json.dumps(body)
        with self._writing(token) as connection:
            last = connection.execute(_LAST, self._mine).one_or_none()
            seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
            record = sealed(seq, at, kind, rollout, token, json.loads(text), previous)
            connection.execute(tables.journal.insert(), vars(record) | self._new | {"body": text})
        return record

    def records(self, rollout: str | None = None) -> list[Record]:
        """The journal, or what it holds of *rollout*, oldest first."""
        rows = self._all(_JOURNAL) if rollout is None else self._all(_OF_ROLLOUT, of_rollout=rollout)
        return [
            Record(row.seq, row.at, row.kind, row.rollout, row.token, json.loads(row.body), row.previous, row.hash)
            for row in rows
        ]

    def head(self) -> str | None:
        """Hash of the newest record when the state was last saved; ``verify`` misses nothing up to it."""
        rows = self._all(_STATE)
        return str(rows[0].head) if rows else None

    # lease

    def acquire(self, holder: str, now: float, ttl: float) -> Grant | None:
        """The lease for *ttl* seconds from *now*; None while somebody else than *holder* has it.

        Who has it keeps it as it is in the first quarter, so that not every look has to write.
        """
        with self._locked() as (connection, row):
            if row.holder and row.holder != holder and row.expires > now:
                return None
            kept = row.holder == holder and row.expires > now
            if kept and row.expires - now > ttl * _FRESH:
                return Grant(row.holder, row.token, row.expires)
            grant = Grant(holder, row.token if kept else row.token + 1, now + ttl)
            connection.execute(_SET_LEASE, vars(grant) | self._mine)
        return grant

    def release(self, grant: Grant) -> None:
        """Give the lease back; an old *grant* takes it from nobody."""
        with self._locked() as (connection, row):
            if row.token == grant.token:
                connection.execute(_SET_LEASE, _FREE | self._mine)

    def current(self) -> Grant | None:
        """Who has the lease, or had it last and did not give it back."""
        row = self._all(_LEASE)[0]
        return Grant(row.holder, row.token, row.expires) if row.holder else None

    def unlock(self) -> None:
        """Take the lease from whoever has it; their token is void from now on."""
        with self._locked() as (connection, row):
            connection.execute(_SET_LEASE, {**_FREE, "token": row.token + 1, **self._mine})

    def _make_lease(self) -> None:
        """The row that writers lock has to be there first, as a row that is not there cannot be locked."""
        if not self._all(_LEASE):
            self._database.insert_once(tables.lease.insert(), {"token": 0, **_FREE, **self._new})

    # inbox: commands from other processes; the lease's holder answers them at its next look

    def ask(self, command: Command) -> int:
        """Leave *command*; the number under which it is answered."""
        with self._database.writing() as connection:
            made = connection.execute(tables.inbox.insert(), {**self._new, "command": json.dumps(asdict(command))})
            return int((made.inserted_primary_key or (0,))[0])

    def asked(self) -> list[tuple[int, Command]]:
        """What nobody has answered yet, oldest first."""
        return [(row.number, Command(**json.loads(row.command))) for row in self._all(_ASKED)]

    def answer(self, number: int, text: str) -> None:
        with self._database.writing() as connection:
            connection.execute(_ANSWER, {"of_number": number, "answer": text, **self._mine})

    def answered(self, number: int) -> str | None:
        """The answer to command *number*, None before there is one."""
        rows = self._all(_ANSWERED, of_number=number)
        return rows[0].answer if rows else None

    # transactions

    def _all(self, query: sa.Select[Any], **values: Any) -> list[Any]:
        return self._database.rows(query, values | self._mine)

    @contextmanager
    def _locked(self) -> Iterator[tuple[sa.Connection, Any]]:
        """A transaction that has locked the lease's row, and that row."""
        with self._database.writing() as connection:
            yield connection, connection.execute(_LOCKED_LEASE, self._mine).one()

    @contextmanager
    def _writing(self, token: int) -> Iterator[sa.Connection]:
        """A transaction that only the lease's present holder may make."""
        with self._locked() as (connection, row):
            if row.token != token or not row.holder:
                raise ConflictError(f"the lease has token {row.token}, not {token}: another controller took over")
            yield connection
