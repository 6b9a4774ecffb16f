"""Reading the ledger's tables into values."""

from collections.abc import Sequence
from dataclasses import fields, replace

import sqlalchemy as sa

from serving.errors import UsageError
from serving.ledger import schema
from serving.ledger.values import SLOTS, Deployment, Event, Slot, SlotName, Version


def versions(connection: sa.Connection, model: str | None = None) -> tuple[Version, ...]:
    query = sa.select(schema.version).order_by(schema.version.c.model, schema.version.c.version)
    if model is not None:
        query = query.where(schema.version.c.model == model)
    return tuple(Version(**row._mapping) for row in connection.execute(query))


def version(connection: sa.Connection, model: str, number: int) -> Version:
    table = schema.version.c
    query = sa.select(schema.version).where(table.model == model, table.version == number)
    row = connection.execute(query).one_or_none()
    if row is None:
        known = ", ".join(str(found.version) for found in versions(connection, model)) or "none"
        raise UsageError(f"{model} has no version {number} in the ledger; known: {known}")
    return Version(**row._mapping)


def stored_slots(connection: sa.Connection, model: str | None = None) -> tuple[Slot, ...]:
    query = sa.select(schema.slot)
    if model is not None:
        query = query.where(schema.slot.c.model == model)
    return tuple(Slot(**row._mapping) for row in connection.execute(query))


def slots(connection: sa.Connection, model: str) -> dict[SlotName, Slot]:
    """All three slots of *model*, empty ones too; production has the traffic that the canary has not."""
    found = {slot.name: slot for slot in stored_slots(connection, model)}
    full = {name: found.get(name, Slot(model, name)) for name in SLOTS}
    production = full["production"]
    if production.version is not None:
        share = 100.0 - full["canary"].percent
        full["production"] = replace(production, percent=share)
    return full


def events(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> tuple[Event, ...]:
    query = sa.select(schema.event).where(*conditions).order_by(schema.event.c.seq)
    return tuple(Event(**row._mapping) for row in connection.execute(query))


def last_event(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Event | None:
    query = sa.select(schema.event).where(*conditions).order_by(schema.event.c.seq.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else Event(**row._mapping)


def deployments(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> tuple[Deployment, ...]:
    names = (schema.deployment.c[each.name] for each in fields(Deployment))
    query = sa.select(*names).where(*conditions).order_by(schema.deployment.c.id)
    return tuple(Deployment(**row._mapping) for row in connection.execute(query))


def models(connection: sa.Connection) -> Sequence[str]:
    return connection.scalars(sa.select(schema.version.c.model).distinct().order_by(schema.version.c.model)).all()
