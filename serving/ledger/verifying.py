"""Whether the history is unchanged since it was written, and the tables are what it amounts to."""

import sqlalchemy as sa

from serving.ledger import rows, schema
from serving.ledger.database import Database
from serving.ledger.events import chain_fault, replay, state_fault
from serving.ledger.values import HistoryVerification


def verified(database: Database) -> HistoryVerification:
    """The chain and the tables of *database* against each other, read in one transaction."""
    try:
        with database.reading() as connection:
            head = connection.execute(sa.select(schema.head)).one()
            events = rows.events(connection)
            tables = rows.versions(connection), rows.stored_slots(connection), rows.deployments(connection)
    except (ValueError, TypeError) as error:
        return HistoryVerification(False, 0, "", f"a row cannot be read: {error}; it was changed after it was written")
    fault = chain_fault(events, head.seq, head.hash) or state_fault(replay(events), *tables)
    return HistoryVerification(not fault, len(events), head.hash, fault or f"{len(events)} events, all as written")
