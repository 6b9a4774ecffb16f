"""State, journal, lease and inbox of one service in one SQLite file.

Write-ahead log and ``synchronous=FULL``: what a call has returned is on the disk. Each write checks the lease's token
in its own transaction, so a controller that lost the lease cannot write whatever it still believes.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from serving.errors import ConflictError, PlaceError
from serving.rollout.controller.persistence import GENESIS, Command, Grant, Record, RecordKind, Stored, sealed
from serving.rollout.state import RolloutState

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (
  one INTEGER PRIMARY KEY CHECK (one = 1), rollout TEXT NOT NULL, document TEXT NOT NULL,
  revision INTEGER NOT NULL, token INTEGER NOT NULL, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS past (number INTEGER PRIMARY KEY, rollout TEXT UNIQUE NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS journal (
  seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, rollout TEXT NOT NULL, token INTEGER NOT NULL,
  body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lease (
  one INTEGER PRIMARY KEY CHECK (one = 1), holder TEXT NOT NULL, token INTEGER NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS inbox (number INTEGER PRIMARY KEY AUTOINCREMENT, command TEXT NOT NULL, answer TEXT);
"""


class SqliteDesk:
    """All four protocols of ``persistence``; safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise PlaceError(f"cannot keep rollout state in {path}: {error}; choose another place") from error

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # state

    def load(self) -> Stored | None:
        row = self._one("SELECT document, revision FROM state")
        return None if row is None else Stored(RolloutState.from_json(json.loads(row[0])), row[1])

    def save(self, state: RolloutState, revision: int, token: int) -> int:
        with self._writing(token) as db:
            row = db.execute("SELECT revision, rollout FROM state").fetchone()
            stored = 0 if row is None else int(row[0])
            if stored != revision:
                raise ConflictError(f"rollout state is at revision {stored}, not {revision}: somebody else saved first")
            if row is not None and row[1] != state.id:
                db.execute("INSERT OR REPLACE INTO past (rollout, document) SELECT rollout, document FROM state")
            head = db.execute("SELECT hash FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
            db.execute(
                "INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?)",
                (state.id, json.dumps(state.to_json()), revision + 1, token, head[0] if head else GENESIS),
            )
        return revision + 1

    def past(self) -> list[RolloutState]:
        rows = self._all("SELECT document FROM past ORDER BY number")
        return [RolloutState.from_json(json.loads(row[0])) for row in rows]

    # journal

    def append(self, kind: RecordKind, rollout: str, body: Mapping[str, Any], at: float, token: int) -> Record:
        with self._writing(token) as db:
            last = db.execute("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
            seq, previous = (last[0] + 1, last[1]) if last else (1, GENESIS)
            record = sealed(seq, at, kind, rollout, token, json.loads(json.dumps(body)), previous)
            values = (seq, at, kind, rollout, token, json.dumps(record.body), previous, record.hash)
            db.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        return record

    def records(self, rollout: str | None = None) -> list[Record]:
        if rollout is None:
            rows = self._all("SELECT * FROM journal ORDER BY seq")
        else:
            rows = self._all("SELECT * FROM journal WHERE rollout = ? ORDER BY seq", rollout)
        return [_record(*row) for row in rows]

    def head(self) -> str | None:
        """Hash of the newest record when the state was last saved; ``verify`` misses nothing up to it."""
        row = self._one("SELECT head FROM state")
        return None if row is None else str(row[0])

    # lease

    def acquire(self, holder: str, now: float, ttl: float) -> Grant | None:
        with self._transaction() as db:
            row = db.execute("SELECT holder, token, expires FROM lease").fetchone()
            if row is not None and row[0] != holder and row[0] and row[2] > now:
                return None
            kept = row is not None and row[0] == holder and row[2] > now
            token = (row[1] if row else 0) + (0 if kept else 1)
            db.execute("INSERT OR REPLACE INTO lease VALUES (1, ?, ?, ?)", (holder, token, now + ttl))
        return Grant(holder, token, now + ttl)

    def release(self, grant: Grant) -> None:
        with self._transaction() as db:
            db.execute("UPDATE lease SET holder = '', expires = 0 WHERE token = ?", (grant.token,))

    def current(self) -> Grant | None:
        row = self._one("SELECT holder, token, expires FROM lease WHERE holder != ''")
        return None if row is None else Grant(*row)

    def unlock(self) -> None:
        with self._transaction() as db:
            db.execute("UPDATE lease SET holder = '', expires = 0, token = token + 1")

    # inbox

    def ask(self, command: Command) -> int:
        with self._transaction() as db:
            cursor = db.execute("INSERT INTO inbox (command) VALUES (?)", (json.dumps(asdict(command)),))
            return int(cursor.lastrowid or 0)

    def asked(self) -> list[tuple[int, Command]]:
        rows = self._all("SELECT number, command FROM inbox WHERE answer IS NULL ORDER BY number")
        return [(row[0], Command(**json.loads(row[1]))) for row in rows]

    def answer(self, number: int, text: str) -> None:
        with self._transaction() as db:
            db.execute("UPDATE inbox SET answer = ? WHERE number = ?", (text, number))

    def answered(self, number: int) -> str | None:
        row = self._one("SELECT answer FROM inbox WHERE number = ?", number)
        return None if row is None else row[0]

    # transactions

    def _one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        rows = self._all(query, *values)
        return rows[0] if rows else None

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _writing(self, token: int) -> Iterator[sqlite3.Connection]:
        """A transaction that only the lease's present holder may make."""
        with self._transaction() as db:
            row = db.execute("SELECT holder, token FROM lease").fetchone()
            if row is None or row[1] != token or not row[0]:
                now_at = row[1] if row else 0
                raise ConflictError(f"the lease has token {now_at}, not {token}: another controller took over")
            yield db


def _record(seq: int, at: float, kind: str, rollout: str, token: int, body: str, previous: str, digest: str) -> Record:
    return Record(seq, at, kind, rollout, token, json.loads(body), previous, digest)


def open_desk(directory: Path, service: str) -> SqliteDesk:
    """The desk of *service* under *directory*, made when it is new."""
    return SqliteDesk(directory / f"{service}.db")
