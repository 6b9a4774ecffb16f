"""The tables of rollouts, in the ledger's database or in a file beside a local service; every row names its service.

Times are seconds since 1970 and read back to the last digit, as the journal's hashes cover them; documents are JSON
text. No ``RETURNING`` and no ``ON CONFLICT``, which SQLite and MySQL do not share.
"""

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from serving.errors import PlaceError, SlipwayError
from serving.ledger.database import Database, connect
from serving.ledger.schema import open_database

metadata = sa.MetaData()
_service = sa.String(100)
_rollout = sa.String(64)
_hash = sa.String(64)
_document = sa.Text().with_variant(sa.Text(1_073_741_823), "mysql", "mariadb")  # LONGTEXT

state = sa.Table(
    "rollout_state",
    metadata,
    sa.Column("service", _service, primary_key=True),
    sa.Column("rollout", _rollout, nullable=False),
    sa.Column("document", _document, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("head", _hash, nullable=False),
)


def _of_rollouts(name: str) -> sa.Table:
    """One document for each of some rollouts of a service, in order."""
    return sa.Table(
        name,
        metadata,
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("service", _service, nullable=False),
        sa.Column("rollout", _rollout, nullable=False),
        sa.Column("document", _document, nullable=False),
        sa.UniqueConstraint("service", "rollout", name=f"{name}_once"),
    )


past = _of_rollouts("rollout_past")
waiting = _of_rollouts("rollout_waiting")
journal = sa.Table(
    "rollout_journal",
    metadata,
    sa.Column("service", _service, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("rollout", _rollout, nullable=False),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("body", _document, nullable=False),
    sa.Column("previous", _hash, nullable=False),
    sa.Column("hash", _hash, nullable=False),
)
# Writers lock their service's row first, so that one transaction at a time writes a service's rollouts.
lease = sa.Table(
    "rollout_lease",
    metadata,
    sa.Column("service", _service, primary_key=True),
    sa.Column("holder", sa.String(200), nullable=False),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
)
inbox = sa.Table(
    "rollout_inbox",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("service", _service, nullable=False, index=True),
    sa.Column("command", _document, nullable=False),
    sa.Column("answer", _document),
)
memory = sa.Table(
    "rollout_memory",
    metadata,
    sa.Column("scope", _service, primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("document", _document, nullable=False),
)


def own(table: sa.Table) -> sa.ColumnElement[bool]:
    """The rows of the service that the parameter ``of_service`` names."""
    return table.c.service == sa.bindparam("of_service")


def open_rollouts(address: str) -> Database:
    """The ledger's database at *address* with the tables of rollouts in it; raises as ``open_database``."""
    database = open_database(address)
    _ensure(database, metadata.create_all)
    return database


def open_rollout_file(path: Path, service: str, *, keep: bool = False) -> Database:
    """The file at *path*, made when it is new; what an older Slipway kept in it is taken over for *service*.

    Args:
        keep: connections stay open until ``close``, for who looks again and again.

    Raises:
        PlaceError: rollout state cannot be kept there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = connect(str(path), "desk", keep=keep)
        _ensure(database, lambda connection: _take_over(connection, path.parent, service))
    except (OSError, SlipwayError) as error:
        raise PlaceError(f"cannot keep rollout state in {path}: {error}; choose another place") from error
    return database


def _ensure(database: Database, create: Callable[[sa.Connection], None]) -> None:
    if database.has(sa.select(sa.func.count()).select_from(lease)) is None:
        database.make(create)


def _take_over(connection: sa.Connection, directory: Path, service: str) -> None:
    """Make the tables, and copy into them what an older Slipway kept: tables without a service, and files beside."""
    there = sa.inspect(connection)
    if there.has_table(lease.name):
        return  # another process was faster
    metadata.create_all(connection)
    for old, table in {"state": state, "past": past, "journal": journal, "lease": lease, "inbox": inbox}.items():
        if there.has_table(old):
            names = ", ".join(column.name for column in table.columns if column.name != "service")
            moved = f"INSERT INTO {table.name} (service, {names}) SELECT :service, {names} FROM {old}"  # noqa: S608  # our own names
            connection.execute(sa.text(moved), {"service": service})
            connection.exec_driver_sql(f"DROP TABLE {old}")
    for path in sorted(directory.glob("waiting/[!.]*.json"), key=lambda path: path.stat().st_mtime_ns):
        values = {"service": service, "rollout": path.stem, "document": path.read_text(encoding="utf-8")}
        connection.execute(waiting.insert(), values)
    for path in directory.glob("told.json"):
        values = {"scope": service, "name": path.stem, "document": path.read_text(encoding="utf-8")}
        connection.execute(memory.insert(), values)
