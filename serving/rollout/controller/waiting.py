"""Rollouts that were asked for and not begun; asking needs neither a lease nor a controller."""

from collections.abc import Iterator

import sqlalchemy as sa
from pydantic import ValidationError

from serving.ledger.database import Database
from serving.rollout.controller.tables import own, waiting
from serving.rollout.state import Request

_ALL = sa.select(waiting).where(own(waiting)).order_by(waiting.c.number)
_FORGET = waiting.delete().where(own(waiting), waiting.c.rollout == sa.bindparam("of_rollout"))


class Waiting:
    """The requests of *service* in *database*, oldest first."""

    def __init__(self, database: Database, service: str) -> None:
        self._database, self._service = database, service

    def put(self, request: Request) -> None:
        """Ask for *request*; asking again changes nothing."""
        values = {"service": self._service, "rollout": request.id, "document": request.model_dump_json()}
        self._database.insert_once(waiting.insert(), values)

    def __iter__(self) -> Iterator[Request]:
        for row in self._database.rows(_ALL, {"of_service": self._service}):
            try:
                yield Request.model_validate_json(row.document)
            except ValidationError:
                continue  # of another version

    def done(self, request: Request) -> None:
        """It has begun, or never will."""
        with self._database.writing() as connection:
            connection.execute(_FORGET, {"of_service": self._service, "of_rollout": request.id})
