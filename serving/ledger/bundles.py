"""Whether a version still has its bundle: it may go once the version is put away, and comes back with its next run."""

import sqlalchemy as sa

from serving.errors import ConflictError, GateRefusal
from serving.ledger import rows, schema
from serving.ledger.details import BundleGone
from serving.ledger.values import Version
from serving.ledger.writing import Writing

GONE, BACK = BundleGone.kinds


def gone(connection: sa.Connection, row: Version) -> bool:
    """Whether the history says that the bundle of *row* was removed, and not that it came back."""
    table = schema.event.c
    said = (table.model == row.model, table.version == row.version, table.kind.in_(BundleGone.kinds))
    last = rows.last_event(connection, *said)
    return last is not None and last.kind == GONE


def require(connection: sa.Connection, row: Version) -> None:
    """Raise ``GateRefusal`` for a version whose bundle was removed."""
    if gone(connection, row):
        raise GateRefusal(
            f"{row.model} version {row.version} has no bundle any more, it was put away and cleaned; "
            f"make it again, as the page of its run {row.run_id} says"
        )


def drop(writing: Writing, row: Version) -> None:
    """Write down that the bundle of *row* goes; from then on it takes no traffic."""
    slots = rows.slots(writing.connection, row.model)
    held = [name for name, slot in slots.items() if slot.version == row.version]
    if row.stage != "archived" or held:
        raise ConflictError(
            f"{row.model} version {row.version} is {held[0] if held else f'in {row.stage}'} and keeps its bundle; "
            "somebody was first, look again"
        )
    if not gone(writing.connection, row):
        writing.append(row.model, GONE, row.version, BundleGone(digest=row.digest))


def bring_back(writing: Writing, row: Version) -> None:
    """Write down that the bundle of *row* is there again, where it was gone."""
    if gone(writing.connection, row):
        writing.append(row.model, BACK, row.version, BundleGone(digest=row.digest))
