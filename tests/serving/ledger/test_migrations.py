"""A ledger of an older Slipway becomes one of today; one that is of today costs nothing to open."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from serving.ledger import schema
from serving.ledger.ledger import open_ledger
from tests.serving.ledger.facts import facts

# As the tables were before revisions had numbers, where they differ from today's.
BEFORE = """
DROP TABLE alembic_version;
UPDATE head SET schema_version = 1;
ALTER TABLE slot DROP COLUMN sticky_header;
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A ledger of before with a sticky canary; only the event says which header."""
    path = tmp_path / "ledger.db"
    ledger = open_ledger(str(path))
    for number in (1, 2):
        ledger.register("housing", facts(f"{number:064}"), "ann")
        ledger.approve("housing", number, "ann", "fine")
    ledger.promote("housing", 1, "ann", "first")
    ledger.canary("housing", 2, 20, "ann", "experiment", sticky_header="x-user")
    connection = sqlite3.connect(path)
    connection.executescript(BEFORE)
    connection.close()
    return path


def test_an_older_ledger_is_brought_up(old: Path) -> None:
    """Everything is there, the canary's header is in its slot, and the history still proves it."""
    ledger = open_ledger(str(old))
    slot = ledger.slot("housing", "canary")
    assert (slot.version, slot.percent, slot.sticky_header) == (2, 20, "x-user")
    assert ledger.verify().intact
    assert ledger.canary("housing", 2, 0, "ann", "enough").sticky_header is None
    assert open_ledger(str(old)).verify().intact


def test_an_upgraded_ledger_is_as_a_new_one(old: Path, tmp_path: Path) -> None:
    """The two ways to today's tables lead to the same ones, and to what the code says they are."""
    open_ledger(str(old))
    open_ledger(str(tmp_path / "new.db"))
    for path in (old, tmp_path / "new.db"):
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
            assert connection.scalar(sa.select(schema.revision.c.version_num)) == str(schema.REVISION)
            assert connection.scalar(sa.select(schema.head.c.schema_version)) == schema.REVISION


def test_the_newest_revision_is_the_one_the_code_knows() -> None:
    """A revision without the number in ``schema`` would never run."""
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    assert ScriptDirectory.from_config(config).get_heads() == [str(schema.REVISION)]


def test_of_four_that_open_an_older_ledger_one_brings_it_up(old: Path) -> None:
    """Four processes at once: all find it as it should be."""
    script = (
        "import sys; from serving.ledger.ledger import open_ledger; print(open_ledger(sys.argv[1]).verify().intact)"
    )
    words = [sys.executable, "-c", script, str(old)]
    workers = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [worker.communicate(timeout=300) for worker in workers] == [("True\n", "")] * 4


def test_a_ledger_of_today_opens_without_alembic(tmp_path: Path) -> None:
    """Neither a new one nor one that is up to date pays for the import."""
    script = """
import json, sys
from serving.ledger.ledger import open_ledger
for _ in range(2):
    open_ledger(sys.argv[1]).models()
print(json.dumps(sorted(name for name in sys.modules if name.startswith("alembic"))))
"""
    words = [sys.executable, "-c", script, str(tmp_path / "ledger.db")]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == []
