"""How a database is opened and used: an SQLite file or a server, one transaction at a time, its errors as sentences."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from serving.errors import ConfigError, InfrastructureError, PlaceError
from serving.locks import file_lock

BUSY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Database:
    """Transactions on *engine*; safe to use from several threads and processes.

    Attributes:
        what: what is in it as errors call it, such as ``ledger``.
    """

    engine: sa.Engine
    what: str

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One transaction that reads, all of it at one moment."""
        with self.errors(), self.engine.connect() as connection:
            self._begin(connection, "BEGIN")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that writes; an error takes all of it back.

        SQLite's write lock is taken before anything is read, so that what is decided on cannot have changed since.
        """
        with self.errors(), self.engine.connect() as connection:
            self._begin(connection, "BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def rows(self, query: sa.Select[Any], values: dict[str, Any]) -> list[Any]:
        """What one *query* gives, with *values* for its parameters."""
        with self.errors(), self.engine.connect() as connection:
            return list(connection.execute(query, values))

    def insert_once(self, row: sa.Insert, values: dict[str, Any]) -> bool:
        """Whether *values* were inserted; False when they are there already."""
        try:
            with self.writing() as connection:
                connection.execute(row, values)
        except sa.exc.IntegrityError:
            return False
        return True

    def has(self, probe: sa.Select[Any]) -> Any:
        """The first value that *probe* gives; None without a row, without its table, and without the file."""
        if self.engine.dialect.name == "sqlite" and not Path(str(self.engine.url.database)).exists():
            return None
        with self.errors(), self.engine.connect() as connection:
            try:
                return connection.scalar(probe)
            except (sa.exc.OperationalError, sa.exc.ProgrammingError):
                connection.rollback()
                tables = sa.inspect(connection)
                there = all(tables.has_table(str(table)) for table in probe.get_final_froms())
                return connection.scalar(probe) if there else None  # there: made meanwhile, or something else is wrong

    def make(self, create: Callable[[sa.Connection], None]) -> None:
        """Have *create* make tables in a transaction; what it does must bear to be done twice.

        On a server, where statements that make tables end the transaction, another process may be doing the same.
        """
        if self.engine.dialect.name == "sqlite":
            self._make_file(create)
            return
        for attempt in range(3):
            try:
                with self.writing() as connection:
                    create(connection)
            except (sa.exc.ProgrammingError, sa.exc.IntegrityError, InfrastructureError):
                if attempt == 2:
                    raise
            else:
                return

    def _make_file(self, create: Callable[[sa.Connection], None]) -> None:
        path = Path(str(self.engine.url.database))
        try:
            with file_lock(path.with_name(f"{path.name}.lock")):
                with self.errors(), self.engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # kept in the file from here on
                with self.writing() as connection:
                    create(connection)
        except PermissionError as error:
            raise PlaceError(
                f"the {self.what} {path} cannot be written: permission denied; choose another place"
            ) from error

    def close(self) -> None:
        """Let go of the connections that are kept; the next transaction opens another."""
        self.engine.dispose()

    def _begin(self, connection: sa.Connection, statement: str) -> None:
        if self.engine.dialect.name == "sqlite":  # its driver would begin too late, others begin by themselves
            connection.exec_driver_sql(statement)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the driver's errors into sentences."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            where, text = self.engine.url.render_as_string(hide_password=True), str(error.orig)
            what = f"the {self.what} {where}"
            if "disk is full" in text or "readonly" in text:
                raise PlaceError(f"{what} cannot be written: {text}; nothing was changed") from error
            if "not a database" in text or "malformed" in text:
                raise ConfigError(
                    f"{where} is not a {self.what}: {text}; restore it from a copy or name another"
                ) from error
            if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
                raise InfrastructureError(f"{what} does not answer: {text}; nothing was changed") from error
            raise


def connect(address: str, what: str, *, keep: bool = False) -> Database:
    """The database at *address*, a URL or the path of an SQLite file; nothing is asked of it yet.

    Args:
        keep: an SQLite file's connections are kept open for the next transaction, until ``close``. Without it each
            transaction opens its own: it costs 0.1 ms and no process ever inherits an open one.

    Raises:
        ConfigError: the address is not one, or its driver is not installed.
    """
    try:
        url = sa.make_url(address) if "://" in address else sa.URL.create("sqlite", database=address)
        if url.get_backend_name() == "sqlite":
            return Database(_sqlite_engine(url, what, keep), what)
        return Database(sa.create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True), what)
    except sa.exc.ArgumentError as error:
        raise ConfigError(
            f"no {what} at {address!r}: expected 'sqlite:///file.db', a path or a database URL"
        ) from error
    except ImportError as error:
        raise ConfigError(f"the {what} needs the driver {error.name!r} for its address; install it") from error


def _sqlite_engine(url: sa.URL, what: str, keep: bool) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError(f"a {what} in memory would forget; expected 'sqlite:///file.db' or a path")
    pool = sa.QueuePool if keep else sa.NullPool
    engine = sa.create_engine(url, poolclass=pool, connect_args={"timeout": BUSY_TIMEOUT_S})
    sa.event.listen(engine, "connect", _on_connect)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin too late; a transaction says when it begins
    connection.execute("PRAGMA synchronous=FULL")  # what a call has returned is on the disk
