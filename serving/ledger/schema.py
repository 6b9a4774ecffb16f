"""The ledger's tables, the same on SQLite, Postgres and MySQL, and how they are made and kept up.

Times are ISO 8601 text in UTC with microseconds and documents are canonical JSON text: both read back exactly as they
were hashed, on every database. No partial indexes and no server-side functions, which the three do not share.

A change of a table is a revision in ``migrations``, with the next number, and ``REVISION`` here. New ledgers are made
as the tables stand here; a test holds the two ways equal.
"""

import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import sqlalchemy as sa

from serving.errors import ConfigError
from serving.files import canonical_json
from serving.ledger.chain import GENESIS
from serving.ledger.database import Database, connect
from serving.ledger.values import Deployment, Event, Slot, Version

REVISION = 2
_BEFORE_REVISIONS = 1  # of a ledger that was made when there were none

metadata = sa.MetaData()
_hash = sa.String(64)


class Time(sa.TypeDecorator[datetime]):
    impl = sa.String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> str | None:  # noqa: ARG002 - all alike
        return None if value is None else time_text(value)

    def process_result_value(self, value: str | None, dialect: object) -> datetime | None:  # noqa: ARG002 - all alike
        return None if value is None else datetime.fromisoformat(value)


class JsonText(sa.TypeDecorator[Any]):
    # MySQL takes the smallest text type that holds so many characters: MEDIUMTEXT, 16 MB, also at four bytes each
    impl = sa.Text().with_variant(sa.Text(4_194_303), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: object) -> str:  # noqa: ARG002 - all alike
        return canonical_json(value).decode()

    def process_result_value(self, value: str | None, dialect: object) -> Any:  # noqa: ARG002 - all alike
        return json.loads(value or "")


_TYPES: dict[str, Any] = {  # of the fields of values: a column of one name has one type in all tables
    **dict.fromkeys(("version", "revision", "seq"), sa.Integer),
    **dict.fromkeys(("percent", "traffic_percent"), sa.Double),
    **dict.fromkeys(("stage", "approval", "name", "slot"), sa.String(20)),
    **dict.fromkeys(("digest", "previous_hash", "hash"), _hash),
    **dict.fromkeys(("run_id", "snapshot", "created_by", "sticky_header", "actor", "place"), sa.String(200)),
    **dict.fromkeys(("created", "at", "started", "ended"), Time),
    **dict.fromkeys(("metrics", "provenance", "detail"), JsonText),
    **{"model": sa.String(100), "bundle_uri": sa.String(1000), "kind": sa.String(30), "reason": sa.Text},
}


def _table(value: type[Any], keys: str, *more: Any, index: str = "") -> sa.Table:
    """Rows of *value*: a column for each of its fields, empty only where the field may be None."""
    columns = [
        sa.Column(
            each.name, _TYPES[each.name], primary_key=each.name in keys.split(), autoincrement=False,
            index=each.name == index or None, nullable=NoneType in get_args(each.type),
        )
        for each in fields(value)
    ]  # fmt: skip
    return sa.Table(value.__name__.lower(), metadata, *columns, *more)


# Which revision of ``migrations`` the tables are of. Made first: where it is missing, the tables are of before it.
revision = sa.Table("alembic_version", metadata, sa.Column("version_num", sa.String(32), primary_key=True))
# The newest event's place and hash. Writers lock this row first, so that one transaction at a time writes the ledger.
head = sa.Table(
    "head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("hash", _hash, nullable=False),
    sa.Column("at", sa.String(27), nullable=False),
)
version = _table(Version, "model version", sa.UniqueConstraint("model", "digest", name="version_digest"))
slot = _table(Slot, "model name")
event = _table(Event, "seq", sa.UniqueConstraint("model", "slot", "revision", name="event_revision"), index="model")
deployment = _table(Deployment, "", sa.Column("id", sa.Integer, primary_key=True), index="model")


def time_text(moment: datetime) -> str:
    """UTC text of fixed width, so that text order is time order; ``ValueError`` for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; say which, e.g. {moment.isoformat()}Z")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def open_database(address: str, *, keep: bool = False) -> Database:
    """The database of the ledger at *address*, a URL or the path of an SQLite file, with its tables as they are now.

    *keep* is that of ``connect``.

    Raises:
        ConfigError: the address is not one, its driver is not installed, or a newer Slipway wrote the ledger.
        InfrastructureError: the database does not answer.
    """
    database = connect(address, "ledger", keep=keep)
    if database.has(sa.select(revision.c.version_num)) != str(REVISION):
        database.make(_bring_up)
    return database


def _bring_up(connection: sa.Connection) -> None:
    """Make the tables, or change those of an older Slipway."""
    tables = sa.inspect(connection)
    made_before = tables.has_table(head.name) and not tables.has_table(revision.name)
    if not made_before:
        metadata.create_all(connection)
        _fill(connection)
    found = _BEFORE_REVISIONS if made_before else int(connection.scalar(sa.select(revision.c.version_num)) or 0)
    if found > REVISION:
        raise ConfigError(
            f"the ledger {connection.engine.url} has schema {found} and this Slipway knows {REVISION}; "
            "use the newer Slipway"
        )
    if found < REVISION:
        _upgrade(connection, found)


def _upgrade(connection: sa.Connection, found: int) -> None:
    """Run every revision after *found*, which is that of the tables as they are."""
    from alembic import command  # 0.2 s that only an upgrade has to pay
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.stamp(config, str(found))
    command.upgrade(config, "head")


def _fill(connection: sa.Connection) -> None:
    """What every ledger begins with."""
    if connection.scalar(sa.select(revision.c.version_num)) is None:
        connection.execute(revision.insert().values(version_num=str(REVISION)))
    if connection.scalar(sa.select(head.c.id)) is None:
        connection.execute(head.insert().values(id=1, schema_version=REVISION, seq=0, hash=GENESIS, at=""))
