"""A tour that came to its end stands while nothing has changed, and only then."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.projects import project as projects
from pipelines import settings
from pipelines.housing.tour.home import MARK, key_of, prepare, recorded
from pipelines.housing.tour.tour import Happening
from serving.errors import ConflictError
from serving.files import write_json, write_text
from serving.ledger.ledger import open_ledger
from tests.pipelines.here.support import write_project, write_table
from tests.serving.ledger.facts import facts

ENDED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What a finished tour of key ``k`` leaves."""
    line = {"at": 3.0, "subject": "traffic", "text": "all answered", "seconds": 1.5}
    write_json(tmp_path / MARK, {"finished": True, "key": "k", "ended": ENDED.isoformat(), "lines": [line]})
    write_text(tmp_path / "report.html", "<p>")
    open_ledger(f"sqlite:///{tmp_path}/ledger.db").register("homes", facts("d" * 64), "ada")
    return tmp_path


def test_a_finished_tour_is_told_again(home: Path) -> None:
    """With its lines and when it ended."""
    assert recorded(settings.load(str(home)), "k") == (ENDED, [Happening(3.0, "traffic", "all answered", 1.5)])


@pytest.mark.parametrize("gone", [MARK, "report.html", "ledger"])
def test_what_is_not_whole_is_played_again(home: Path, gone: str) -> None:
    """No mark, no page, or a history that was edited: the record is not trusted."""
    if gone == "ledger":
        import sqlite3

        with sqlite3.connect(home / "ledger.db") as db:
            (table,) = next(
                row for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'") if "event" in row[0]
            )
            db.execute(f"UPDATE {table} SET actor = 'eve'")  # a table of our own
    else:
        (home / gone).unlink()
    assert recorded(settings.load(str(home)), "k") is None


def test_any_change_gives_another_key(tmp_path: Path) -> None:
    """Of the project or the world; of the code too, as its digest is part of it."""
    write_table(tmp_path)
    one = projects.load(write_project(tmp_path))
    other = projects.load(write_project(tmp_path, "other.yaml", seed=43))
    keys = {key_of(one, "calm"), key_of(one, "season"), key_of(other, "calm")}
    assert len(keys) == 3
    assert key_of(one, "calm") == key_of(one, "calm")


def test_an_unfinished_or_changed_tour_is_put_aside(home: Path) -> None:
    """The next one begins at version 1, and nothing of the former is lost."""
    place = settings.load(str(home))
    prepare(place, "homes")
    assert not (home / "ledger.db").exists()
    assert [path.name for path in home.glob("earlier/*/ledger.db")] == ["ledger.db"]
    assert recorded(place, "k") is None


def test_versions_that_no_tour_made_are_left_alone(home: Path) -> None:
    """A home of real work is refused, with the way out."""
    (home / MARK).unlink()
    with pytest.raises(ConflictError, match="slipway --home DIR tour"):
        prepare(settings.load(str(home)), "homes")
