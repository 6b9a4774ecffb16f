"""An older ledger brought up to date, inside of a transaction that somebody else has begun."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def upgrade(connection: sa.Connection, found: int) -> None:
    """Run every revision after *found*, which is that of the tables as they are."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.stamp(config, str(found))
    command.upgrade(config, "head")
