"""Small JSON documents by name that outlive a controller, where nothing but the last one matters."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from serving.ledger.database import Database
from serving.rollout.controller.tables import memory

_THIS = sa.and_(memory.c.scope == sa.bindparam("of_scope"), memory.c.name == sa.bindparam("of_name"))
_GET = sa.select(memory.c.document).where(_THIS)
_SET = memory.update().where(_THIS)


class Memory:
    """The documents of *scope*, a service or what else keeps some, in *database*."""

    def __init__(self, database: Database, scope: str) -> None:
        self._database, self._scope = database, scope

    def get(self, name: str) -> Mapping[str, Any] | None:
        """The document last put under *name*, None before the first."""
        rows = self._database.rows(_GET, {"of_scope": self._scope, "of_name": name})
        return dict(json.loads(rows[0].document)) if rows else None

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        text = json.dumps(dict(document))
        row = {"scope": self._scope, "name": name, "document": text}
        if not self._replace(name, text) and not self._database.insert_once(memory.insert(), row):
            self._replace(name, text)

    def _replace(self, name: str, text: str) -> bool:
        with self._database.writing() as connection:
            changed = connection.execute(_SET, {"of_scope": self._scope, "of_name": name, "document": text})
            return changed.rowcount > 0
