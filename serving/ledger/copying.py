"""``python -m serving.ledger.copying out|in LEDGER``: all of a ledger's database as lines of JSON, and back.

LEDGER is its address; in it are versions, slots and history, and what rollouts keep beside them. A line is a table's
name and a row; the last one counts them, so that a copy that broke off is none. What is read is one moment's,
and what is written is written in one transaction, so a copy can go from one kind of database to another.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from serving.errors import ConfigError, DataError, GateRefusal, SlipwayError
from serving.ledger.database import Database, connect
from serving.ledger.ledger import open_ledger

SCHEMA = "alembic_version"  # the table whose one row says which tables there are
ROWS = 500  # of one statement


def out(database: Database) -> Iterator[str]:
    """The lines of a copy."""
    count = 0
    with database.errors(), database.engine.connect() as connection:
        if database.engine.dialect.name != "sqlite":  # whose readers see one moment anyway
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        for table in _tables(connection):
            for row in connection.execute(sa.select(table)).mappings():
                count += 1
                yield json.dumps([table.name, dict(row)], ensure_ascii=False)
    yield json.dumps([None, count])


def into(database: Database, lines: Iterable[str]) -> int:
    """Write a copy's *lines* into *database*, whose ledger has no version yet; how many rows it has.

    Raises:
        DataError: the lines are no whole copy.
        ConfigError: the copy is of another version of the tables.
        GateRefusal: there are versions already.
    """
    rows = _whole(lines)
    with database.writing() as connection:
        tables = {table.name: table for table in _tables(connection)}
        if unknown := sorted({name for name, _ in rows} - tables.keys()):
            raise ConfigError(f"the copy has the tables {', '.join(unknown)}, which this version does not know")
        if connection.scalar(sa.select(sa.func.count()).select_from(tables["version"])):
            raise GateRefusal("the ledger has versions; a copy goes into one that has none")
        here = connection.execute(sa.select(tables[SCHEMA])).scalar_one()
        there = next((row["version_num"] for name, row in rows if name == SCHEMA), None)
        if there != here:
            raise ConfigError(f"the copy is of tables {there}, here are {here}; restore with the version that saved it")
        for table in reversed(list(tables.values())):
            connection.execute(sa.delete(table))
        for name, table in tables.items():
            own = [row for other, row in rows if other == name]
            for first in range(0, len(own), ROWS):
                connection.execute(sa.insert(table), own[first : first + ROWS])
    return len(rows)


def _whole(lines: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    try:
        *read, (_, count) = [json.loads(line) for line in lines if line.strip()]
        rows = [(str(name), dict(row)) for name, row in read]
    except (ValueError, TypeError) as error:
        raise DataError(f"expected the lines of a ledger's copy: {error}; take another copy") from error
    if count != len(rows):
        raise DataError(f"the copy broke off: {len(rows)} rows, its last line counts {count!r}; take another copy")
    return rows


def _tables(connection: sa.Connection) -> list[sa.Table]:
    """All tables that are there, each after those that it refers to."""
    found = sa.MetaData()
    found.reflect(connection)
    for column in (column for table in found.sorted_tables for column in table.columns):
        if hasattr(column.type, "asdecimal"):
            column.type.asdecimal = False  # what MySQL's types are taken for otherwise, and rounded
    return found.sorted_tables


def main(way: str, address: str) -> None:
    open_ledger(address).head()  # has the tables made where there are none
    database = connect(address, "ledger")
    if way == "out":
        for line in out(database):
            print(line)
    else:
        print(into(database, sys.stdin))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except SlipwayError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
