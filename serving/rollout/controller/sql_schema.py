"""The tables of rollouts in a shared database, the ledger's, on SQLite and MySQL; every row names its service.

Times are seconds since 1970 and read back to the last digit, as the journal's hashes cover them; documents are JSON
text. No ``RETURNING`` and no ``ON CONFLICT``, which the two do not share.
"""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from serving.ledger.schema import database_errors, open_engine
from serving.locks import file_lock

metadata = sa.MetaData()
_service = sa.String(100)
_rollout = sa.String(64)
_hash = sa.String(64)
_document = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

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
past = sa.Table(
    "rollout_past",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("service", _service, nullable=False),
    sa.Column("rollout", _rollout, nullable=False),
    sa.Column("document", _document, nullable=False),
    sa.UniqueConstraint("service", "rollout", name="rollout_past_once"),
)
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
waiting = sa.Table(
    "rollout_waiting",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("service", _service, nullable=False),
    sa.Column("rollout", _rollout, nullable=False),
    sa.Column("document", _document, nullable=False),
    sa.UniqueConstraint("service", "rollout", name="rollout_waiting_once"),
)
memory = sa.Table(
    "rollout_memory",
    metadata,
    sa.Column("scope", _service, primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("document", _document, nullable=False),
)


def open_rollouts(address: str) -> sa.Engine:
    """An engine for the ledger's *address* in whose database the tables of rollouts are; raises as ``open_engine``."""
    engine = open_engine(address)
    with database_errors(engine):
        if engine.dialect.name == "sqlite":
            path = Path(str(engine.url.database))
            with file_lock(path.with_name(f"{path.name}.lock")):
                metadata.create_all(engine)
        else:
            _create_shared(engine)
    return engine


def _create_shared(engine: sa.Engine) -> None:
    """Make what is missing; another process may be doing the same."""
    for attempt in range(3):
        try:
            metadata.create_all(engine)
        except (sa.exc.ProgrammingError, sa.exc.OperationalError):
            if attempt == 2:
                raise
        else:
            return
