"""Reading the ledger's tables into values."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from serving.errors import UsageError
from serving.ledger import schema
from serving.ledger.schema import time_of
from serving.ledger.values import SLOTS, Deployment, Event, Slot, SlotName, Version


def version_of(row: Any) -> Version:
    values = dict(row._mapping)
    values |= {name: json.loads(values[name]) for name in ("metrics", "provenance")}
    return Version(**{**values, "created": time_of(values["created"])})


def event_of(row: Any) -> Event:
    values = dict(row._mapping)
    return Event(**{**values, "at": time_of(values["at"]), "detail": json.loads(values["detail"])})


def deployment_of(row: Any) -> Deployment:
    ended = None if row.ended is None else time_of(row.ended)
    return Deployment(row.model, row.version, row.place, row.traffic_percent, time_of(row.started), ended)


def versions(connection: sa.Connection, model: str | None = None) -> tuple[Version, ...]:
    query = sa.select(schema.version).order_by(schema.version.c.model, schema.version.c.version)
    if model is not None:
        query = query.where(schema.version.c.model == model)
    return tuple(version_of(row) for row in connection.execute(query))


def version(connection: sa.Connection, model: str, number: int) -> Version:
    table = schema.version.c
    query = sa.select(schema.version).where(table.model == model, table.version == number)
    row = connection.execute(query).one_or_none()
    if row is None:
        known = ", ".join(str(found.version) for found in versions(connection, model)) or "none"
        raise UsageError(f"{model} has no version {number} in the ledger; known: {known}")
    return version_of(row)


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
    return tuple(event_of(row) for row in connection.execute(query))


def last_event(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Event | None:
    query = sa.select(schema.event).where(*conditions).order_by(schema.event.c.seq.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else event_of(row)


def deployments(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> tuple[Deployment, ...]:
    query = sa.select(schema.deployment).where(*conditions).order_by(schema.deployment.c.id)
    return tuple(deployment_of(row) for row in connection.execute(query))


def models(connection: sa.Connection) -> Sequence[str]:
    return connection.scalars(sa.select(schema.version.c.model).distinct().order_by(schema.version.c.model)).all()
