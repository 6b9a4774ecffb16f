"""The ledger's tables, the same on SQLite, Postgres and MySQL, and how a database is opened and made.

Times are ISO 8601 text in UTC with microseconds and documents are canonical JSON text: both read back exactly as they
were hashed, on every database. No partial indexes and no server-side functions, which the three do not share.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from serving.errors import ConfigError, InfrastructureError, PlaceError
from serving.ledger.values import GENESIS
from serving.locks import file_lock

SCHEMA = 1
BUSY_TIMEOUT_S = 30.0
WRITE = "BEGIN IMMEDIATE"  # how SQLite begins a transaction that will write; other databases do not look at it

metadata = sa.MetaData()
_name = sa.String(100)
_hash = sa.String(64)
_time = sa.String(27)
_document = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

# The newest event's place and hash. Writers lock this row first, so that one transaction at a time writes the ledger.
head = sa.Table(
    "head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("hash", _hash, nullable=False),
    sa.Column("at", _time, nullable=False),
)
version = sa.Table(
    "version",
    metadata,
    sa.Column("model", _name, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", _hash, nullable=False),
    sa.Column("bundle_uri", sa.String(1000), nullable=False),
    sa.Column("run_id", sa.String(200), nullable=False),
    sa.Column("snapshot", sa.String(200), nullable=False),
    sa.Column("metrics", _document, nullable=False),
    sa.Column("provenance", _document, nullable=False),
    sa.Column("stage", sa.String(20), nullable=False),
    sa.Column("approval", sa.String(20), nullable=False),
    sa.Column("created", _time, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.UniqueConstraint("model", "digest", name="version_digest"),
)
slot = sa.Table(
    "slot",
    metadata,
    sa.Column("model", _name, primary_key=True),
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("version", sa.Integer),
    sa.Column("percent", sa.Double, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
)
event = sa.Table(
    "event",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", _time, nullable=False),
    sa.Column("model", _name, nullable=False, index=True),
    sa.Column("kind", sa.String(30), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("slot", sa.String(20)),
    sa.Column("revision", sa.Integer),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", _document, nullable=False),
    sa.Column("previous_hash", _hash, nullable=False),
    sa.Column("hash", _hash, nullable=False),
    sa.UniqueConstraint("model", "slot", "revision", name="event_revision"),
)
deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", _name, nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("place", sa.String(200), nullable=False),
    sa.Column("traffic_percent", sa.Double, nullable=False),
    sa.Column("started", _time, nullable=False),
    sa.Column("ended", _time),
)


def time_text(moment: datetime) -> str:
    """UTC text of fixed width, so that text order is time order; ``ValueError`` for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; say which, e.g. {moment.isoformat()}Z")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def open_engine(address: str) -> sa.Engine:
    """An engine for *address*, a database URL or the path of an SQLite file, its tables made once.

    Raises:
        ConfigError: the address is not one, its driver is not installed, or a newer Slipway wrote the ledger.
        InfrastructureError: the database does not answer.
    """
    try:
        url = sa.make_url(address) if "://" in address else sa.URL.create("sqlite", database=address)
        if url.get_backend_name() == "sqlite":
            return _open_sqlite(url)
        engine = sa.create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True)
    except sa.exc.ArgumentError as error:
        raise ConfigError(
            f"no ledger at {address!r}: expected 'sqlite:///file.db', a path or a database URL"
        ) from error
    except ImportError as error:
        raise ConfigError(f"the ledger needs the driver {error.name!r} for its address; install it") from error
    with database_errors(engine):
        _create(engine)
    return engine


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError("a ledger in memory would forget; expected 'sqlite:///file.db' or a path")
    path = Path(url.database)
    # A connection is opened per transaction: it costs 0.1 ms and no process ever inherits an open one.
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": BUSY_TIMEOUT_S})
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    with database_errors(engine):
        try:
            with file_lock(path.with_name(f"{path.name}.lock")):
                with engine.connect().execution_options(begin=None) as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # kept in the file from here on
                _create(engine)
        except PermissionError as error:
            raise PlaceError(f"the ledger {path} cannot be written: permission denied; choose another place") from error
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin too late; _on_begin does
    connection.execute("PRAGMA foreign_keys=ON")


def _on_begin(connection: sa.Connection) -> None:
    """A writer takes SQLite's write lock before it reads, so that what it decided on cannot have changed since."""
    statement = connection.get_execution_options().get("begin", "BEGIN")
    if statement:
        connection.exec_driver_sql(statement)


def _create(engine: sa.Engine) -> None:
    """Make what is missing; another process may be doing the same on a shared server."""
    for attempt in range(3):
        try:
            metadata.create_all(engine)
            with engine.connect().execution_options(begin=WRITE) as connection, connection.begin():
                found = connection.scalar(sa.select(head.c.schema_version))
                if found is None:
                    row = {"id": 1, "schema_version": SCHEMA, "seq": 0, "hash": GENESIS, "at": ""}
                    connection.execute(head.insert().values(row))
        except (sa.exc.ProgrammingError, sa.exc.OperationalError, sa.exc.IntegrityError):
            if attempt == 2 or engine.dialect.name == "sqlite":  # there the file lock was held
                raise
        else:
            break
    if found is not None and found != SCHEMA:
        raise ConfigError(
            f"the ledger {engine.url} has schema {found} and this Slipway knows {SCHEMA}; use the newer Slipway"
        )


@contextmanager
def database_errors(engine: sa.Engine) -> Iterator[None]:
    """Turn the driver's errors into sentences."""
    where = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except sa.exc.DBAPIError as error:
        text = str(error.orig)
        if "disk is full" in text or "readonly" in text:
            raise PlaceError(f"the ledger {where} cannot be written: {text}; nothing was changed") from error
        if "not a database" in text or "malformed" in text:
            raise ConfigError(f"{where} is not a ledger: {text}; restore it from a copy or name another") from error
        if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
            raise InfrastructureError(f"the ledger {where} does not answer: {text}; nothing was changed") from error
        raise
