"""State, journal, lease, inbox, waiting requests and memory of one service in the ledger's database.

The shared form of ``sqlite.py``, under the same rules: each write checks the lease's token in its own transaction,
which locks the lease's row first. So a controller that lost the lease cannot write, and what it has read still holds.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from pydantic import ValidationError

from serving.errors import ConflictError
from serving.ledger.schema import WRITE, database_errors
from serving.rollout.controller import sql_schema as schema
from serving.rollout.controller.persistence import GENESIS, Command, Grant, Record, RecordKind, Stored, sealed
from serving.rollout.controller.sql_schema import open_rollouts
from serving.rollout.state import Request, RolloutState

_FREE: dict[str, Any] = {"holder": "", "expires": 0.0}


class SqlDesk:
    """All four protocols of ``persistence``; safe to use from several threads and processes.

    Attributes:
        waiting: rollouts that were asked for and not begun.
        memory: what a backend and the controller keep between two looks; not fenced, the last word counts.
    """

    def __init__(self, database: sa.Engine | str, service: str) -> None:
        self.engine = open_rollouts(database) if isinstance(database, str) else database
        self.service = service
        self._owned = isinstance(database, str)
        self.waiting = SqlWaiting(self.engine, service)
        self.memory = SqlMemory(self.engine, service)
        self._make_lease()

    def close(self) -> None:
        if self._owned:
            self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # state

    def load(self) -> Stored | None:
        row = self._one(schema.state)
        return None if row is None else Stored(RolloutState.from_json(json.loads(row.document)), row.revision)

    def save(self, state: RolloutState, revision: int, token: int) -> int:
        table = schema.state
        with self._writing(token) as connection:
            row = connection.execute(self._mine(table)).one_or_none()
            stored = 0 if row is None else row.revision
            if stored != revision:
                raise ConflictError(f"rollout state is at revision {stored}, not {revision}: somebody else saved first")
            if row is not None and row.rollout != state.id:
                self._put_away(connection, row)
            last = self._last(connection)
            values = {"rollout": state.id, "document": json.dumps(state.to_json()), "revision": revision + 1}
            values |= {"token": token, "head": last.hash if last else GENESIS}
            if row is None:
                connection.execute(table.insert().values(service=self.service, **values))
            else:
                connection.execute(table.update().where(table.c.service == self.service).values(values))
        return revision + 1

    def past(self) -> list[RolloutState]:
        rows = self._all(self._mine(schema.past).order_by(schema.past.c.number))
        return [RolloutState.from_json(json.loads(row.document)) for row in rows]

    def _put_away(self, connection: sa.Connection, row: Any) -> None:
        """Keep the rollout of *row*, which is over; what was kept of it before is replaced."""
        table = schema.past
        same = sa.and_(table.c.service == self.service, table.c.rollout == row.rollout)
        connection.execute(table.delete().where(same))
        values = {"service": self.service, "rollout": row.rollout, "document": row.document}
        connection.execute(table.insert().values(values))

    # journal

    def append(self, kind: RecordKind, rollout: str, body: Mapping[str, Any], at: float, token: int) -> Record:
        with self._writing(token) as connection:
            last = self._last(connection)
            seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
            record = sealed(seq, at, kind, rollout, token, json.loads(json.dumps(body)), previous)
            values = asdict(record) | {"service": self.service, "body": json.dumps(record.body)}
            connection.execute(schema.journal.insert().values(values))
        return record

    def records(self, rollout: str | None = None) -> list[Record]:
        query = self._mine(schema.journal).order_by(schema.journal.c.seq)
        if rollout is not None:
            query = query.where(schema.journal.c.rollout == rollout)
        return [_record(row) for row in self._all(query)]

    def head(self) -> str | None:
        """Hash of the newest record when the state was last saved; ``verify`` misses nothing up to it."""
        row = self._one(schema.state)
        return None if row is None else str(row.head)

    def _last(self, connection: sa.Connection) -> Any:
        newest = self._mine(schema.journal).order_by(schema.journal.c.seq.desc()).limit(1)
        return connection.execute(newest).one_or_none()

    # lease

    def acquire(self, holder: str, now: float, ttl: float) -> Grant | None:
        with self._locked() as (connection, row):
            if row.holder and row.holder != holder and row.expires > now:
                return None
            kept = row.holder == holder and row.expires > now
            grant = Grant(holder, row.token if kept else row.token + 1, now + ttl)
            self._set_lease(connection, **asdict(grant))
        return grant

    def release(self, grant: Grant) -> None:
        with self._locked() as (connection, row):
            if row.token == grant.token:
                self._set_lease(connection, **_FREE)

    def current(self) -> Grant | None:
        row = self._one(schema.lease)
        return None if row is None or not row.holder else Grant(row.holder, row.token, row.expires)

    def unlock(self) -> None:
        with self._locked() as (connection, row):
            self._set_lease(connection, **_FREE, token=row.token + 1)

    def _set_lease(self, connection: sa.Connection, **values: Any) -> None:
        table = schema.lease
        connection.execute(table.update().where(table.c.service == self.service).values(values))

    def _make_lease(self) -> None:
        """The row that writers lock has to be there first, as a row that is not there cannot be locked."""
        if self._one(schema.lease) is None:
            row = {"service": self.service, "token": 0, **_FREE}
            _insert_once(self.engine, schema.lease.insert().values(row))

    # inbox

    def ask(self, command: Command) -> int:
        with writing(self.engine) as connection:
            values = {"service": self.service, "command": json.dumps(asdict(command))}
            made = connection.execute(schema.inbox.insert().values(values))
            return int((made.inserted_primary_key or (0,))[0])

    def asked(self) -> list[tuple[int, Command]]:
        table = schema.inbox.c
        rows = self._all(self._mine(schema.inbox).where(table.answer.is_(None)).order_by(table.number))
        return [(row.number, Command(**json.loads(row.command))) for row in rows]

    def answer(self, number: int, text: str) -> None:
        with writing(self.engine) as connection:
            connection.execute(schema.inbox.update().where(schema.inbox.c.number == number).values(answer=text))

    def answered(self, number: int) -> str | None:
        rows = self._all(sa.select(schema.inbox.c.answer).where(schema.inbox.c.number == number))
        return rows[0].answer if rows else None

    # transactions

    def _mine(self, table: sa.Table) -> sa.Select[Any]:
        return sa.select(table).where(table.c.service == self.service)

    def _one(self, table: sa.Table) -> Any:
        rows = self._all(self._mine(table))
        return rows[0] if rows else None

    def _all(self, query: sa.Select[Any]) -> list[Any]:
        with reading(self.engine) as connection:
            return list(connection.execute(query))

    @contextmanager
    def _locked(self) -> Iterator[tuple[sa.Connection, Any]]:
        """A transaction that has locked the lease's row, and that row."""
        with writing(self.engine) as connection:
            yield connection, connection.execute(self._mine(schema.lease).with_for_update()).one()

    @contextmanager
    def _writing(self, token: int) -> Iterator[sa.Connection]:
        """A transaction that only the lease's present holder may make."""
        with self._locked() as (connection, row):
            if row.token != token or not row.holder:
                raise ConflictError(f"the lease has token {row.token}, not {token}: another controller took over")
            yield connection


@dataclass(frozen=True)
class SqlWaiting:
    """Rollouts of *service* that were asked for and not begun, oldest first."""

    engine: sa.Engine
    service: str

    def put(self, request: Request) -> None:
        """Ask for *request*; asking again changes nothing."""
        values = {"service": self.service, "rollout": request.id, "document": request.model_dump_json()}
        _insert_once(self.engine, schema.waiting.insert().values(values))

    def __iter__(self) -> Iterator[Request]:
        table = schema.waiting
        query = sa.select(table).where(table.c.service == self.service).order_by(table.c.number)
        with reading(self.engine) as connection:
            rows = list(connection.execute(query))
        for row in rows:
            try:
                yield Request.model_validate_json(row.document)
            except ValidationError:
                continue  # of another version

    def done(self, request: Request) -> None:
        table = schema.waiting.c
        same = sa.and_(table.service == self.service, table.rollout == request.id)
        with writing(self.engine) as connection:
            connection.execute(schema.waiting.delete().where(same))


@dataclass(frozen=True)
class SqlMemory:
    """The ``Memory`` of *scope*, a service or what else keeps documents."""

    engine: sa.Engine
    scope: str

    def get(self, name: str) -> Mapping[str, Any] | None:
        with reading(self.engine) as connection:
            text = connection.scalar(sa.select(schema.memory.c.document).where(self._row(name)))
        return None if text is None else dict(json.loads(text))

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        text = json.dumps(dict(document))
        if not self._replace(name, text):
            row = {"scope": self.scope, "name": name, "document": text}
            if not _insert_once(self.engine, schema.memory.insert().values(row)):
                self._replace(name, text)

    def _replace(self, name: str, text: str) -> bool:
        with writing(self.engine) as connection:
            changed = connection.execute(schema.memory.update().where(self._row(name)).values(document=text))
            return changed.rowcount > 0

    def _row(self, name: str) -> sa.ColumnElement[bool]:
        return sa.and_(schema.memory.c.scope == self.scope, schema.memory.c.name == name)


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that writes; an error takes all of it back."""
    with (
        database_errors(engine),
        engine.connect().execution_options(begin=WRITE) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    with database_errors(engine), engine.connect() as connection:
        yield connection


def _insert_once(engine: sa.Engine, row: sa.Insert) -> bool:
    """Whether *row* was inserted; False when it is there already."""
    try:
        with writing(engine) as connection:
            connection.execute(row)
    except sa.exc.IntegrityError:
        return False
    return True


def _record(row: Any) -> Record:
    return Record(row.seq, row.at, row.kind, row.rollout, row.token, json.loads(row.body), row.previous, row.hash)
