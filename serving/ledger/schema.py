"""The ledger's tables, the same on SQLite, Postgres and MySQL, and how they are made and kept up.

Times are ISO 8601 text in UTC with microseconds and documents are canonical JSON text: both read back exactly as they
were hashed, on every database. No partial indexes and no server-side functions, which the three do not share.

A change of a table is a revision in ``migrations``, with the next number, and ``REVISION`` here. New ledgers are made
as the tables stand here; a test holds the two ways equal.
"""

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from serving.errors import ConfigError
from serving.ledger.chain import GENESIS
from serving.ledger.database import Database, connect

REVISION = 2
_BEFORE_REVISIONS = 1  # of a ledger that was made when there were none

metadata = sa.MetaData()
_name = sa.String(100)
_hash = sa.String(64)
_time = sa.String(27)
# MySQL takes the smallest text type that holds so many characters: MEDIUMTEXT, 16 MB, also at four bytes a character
_document = sa.Text().with_variant(sa.Text(4_194_303), "mysql", "mariadb")

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
    sa.Column("sticky_header", sa.String(200)),
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
