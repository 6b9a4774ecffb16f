"""A slot holds its sticky header, which before only the event of its last change did."""

import json

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"

_slot = sa.table("slot", *(sa.column(name) for name in ("model", "name", "revision", "sticky_header")))
_event = sa.table("event", *(sa.column(name) for name in ("model", "slot", "revision", "detail")))
_head = sa.table("head", sa.column("schema_version"))


def upgrade() -> None:
    """Add the column and take what is in it from the events; a Slipway of before refuses the ledger from here on."""
    connection = op.get_bind()
    if "sticky_header" not in {
        column["name"] for column in sa.inspect(connection).get_columns("slot")
    }:  # MySQL keeps it
        op.add_column("slot", sa.Column("sticky_header", sa.String(200)))
    same = sa.and_(
        _event.c.model == _slot.c.model, _event.c.slot == _slot.c.name, _event.c.revision == _slot.c.revision
    )
    for row in connection.execute(sa.select(_slot.c.model, _slot.c.name, _event.c.detail).join(_event, same)).all():
        header = json.loads(row.detail).get("sticky_header")
        this = sa.and_(_slot.c.model == row.model, _slot.c.name == row.name)
        connection.execute(_slot.update().where(this).values(sticky_header=header))
    connection.execute(_head.update().values(schema_version=2))
