"""A file that an older Slipway kept beside a local service opens with everything in it, and its journal replays."""

import json
import os
import sqlite3
from dataclasses import asdict
from pathlib import Path

import pytest

from serving.errors import ConflictError, PlaceError
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.persistence import Command, Grant
from serving.rollout.controller.replay import replay
from serving.rollout.controller.tables import open_rollout_file
from tests.serving.rollout.support import World, request

# As it was written before the tables named a service.
OLD = """
CREATE TABLE IF NOT EXISTS state (
  one INTEGER PRIMARY KEY CHECK (one = 1), rollout TEXT NOT NULL, document TEXT NOT NULL,
  revision INTEGER NOT NULL, token INTEGER NOT NULL, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS past (number INTEGER PRIMARY KEY, rollout TEXT UNIQUE NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS journal (
  seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, rollout TEXT NOT NULL, token INTEGER NOT NULL,
  body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lease (
  one INTEGER PRIMARY KEY CHECK (one = 1), holder TEXT NOT NULL, token INTEGER NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS inbox (number INTEGER PRIMARY KEY AUTOINCREMENT, command TEXT NOT NULL, answer TEXT);
"""
ASKED = Command("pause", "ada", "wait a moment")


def older(world: World, path: Path) -> None:
    """What *world*'s desk holds, as the older Slipway would have written it."""
    stored, lease, head = world.desk.load(), world.desk.current(), world.desk.head()
    assert stored is not None
    assert lease is not None
    path.parent.mkdir(parents=True)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(OLD)
    document = json.dumps(stored.state.model_dump(mode="json"))
    db.execute("INSERT INTO state VALUES (1, ?, ?, ?, 1, ?)", (stored.state.id, document, stored.revision, head))
    for past in world.desk.past():
        db.execute(
            "INSERT INTO past (rollout, document) VALUES (?, ?)", (past.id, json.dumps(past.model_dump(mode="json")))
        )
    for record in world.desk.records():
        db.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*_row(asdict(record))])
    db.execute("INSERT INTO lease VALUES (1, ?, ?, ?)", (lease.holder, lease.token, lease.expires))
    db.execute("INSERT INTO inbox (command, answer) VALUES (?, 'done: pause')", (json.dumps(asdict(ASKED)),))
    db.execute("INSERT INTO inbox (command) VALUES (?)", (json.dumps(asdict(ASKED)),))
    db.close()


def _row(values: dict[str, object]) -> list[object]:
    return [json.dumps(value) if name == "body" else value for name, value in values.items()]


@pytest.fixture
def world(tmp_path: Path):
    """In the middle of the second rollout of a service."""
    made = World(tmp_path / "now", rate=400, seed=8)
    made.start(steps=[50], time={"dwell": "1s", "bake": "2s", "drain": "3s"}, risk={"max_initial_weight": 50})
    made.until_phase("succeeded")
    made.start(request(3, stable=2))
    made.until_phase("step")
    yield made
    made.close()


def test_everything_is_there_and_goes_on(world: World, tmp_path: Path) -> None:
    """State, finished rollouts, journal, lease and inbox are as they were; the journal replays, the rollout ends."""
    path = tmp_path / "then" / "rollout.db"
    older(world, path)
    for _ in range(2):  # the second time it is a file of today
        with Desk(open_rollout_file(path, "housing", keep=True), "housing") as desk:
            assert desk.load() == world.desk.load()
            assert desk.past() == world.desk.past()
            assert desk.records() == world.desk.records()
            assert (grant := desk.current()) is not None
            assert grant == world.desk.current() == Grant("first", 1, grant.expires)
            assert desk.asked() == [(2, ASKED)]
            assert desk.answered(1) == "done: pause"
            assert replay(desk.records(), desk.head()).identical
    world.desk.close()
    world.desk = Desk(open_rollout_file(path, "housing", keep=True), "housing")
    world.controller = world.another("first")
    world.controller.tick(world.clock())
    assert (world.state.phase.value, world.desk.answered(2)) == ("paused", "done: pause")


def test_what_was_beside_the_file_is_taken_over(tmp_path: Path) -> None:
    """Requests that wait, oldest first, and the rollout whose end the ledger knows; a second opening finds them too."""
    for number, attempt in enumerate((2, 1)):
        asked = request(attempt=attempt)
        file = tmp_path / "waiting" / f"{asked.id}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(asked.model_dump_json(indent=2))
        os.utime(file, ns=(number, number))
    (tmp_path / "told.json").write_text('{"rollout": "abc"}')
    for _ in range(2):
        with Desk(open_rollout_file(tmp_path / "rollout.db", "housing"), "housing") as desk:
            assert list(desk.waiting) == [request(attempt=2), request(attempt=1)]
            assert desk.memory.get("told") == {"rollout": "abc"}


def test_an_older_process_is_not_followed_by_its_writes(world: World, tmp_path: Path) -> None:
    """The token goes on where it was: a grant of before is refused once another controller has the lease."""
    path = tmp_path / "then" / "rollout.db"
    older(world, path)
    desk = Desk(open_rollout_file(path, "housing"), "housing")
    before = desk.current()
    assert before is not None
    taken = desk.acquire("second", before.expires + 1, 30)
    assert taken is not None
    assert taken.token == before.token + 1
    with pytest.raises(ConflictError, match="another controller took over"):
        desk.append("alert", "r", {"sentence": "late", "critical": False}, before.expires + 2, before.token)


@pytest.mark.parametrize("what", ["a directory", "no database"])
def test_an_unusable_place_is_named(tmp_path: Path, what: str) -> None:
    """One sentence that says which file and that another place is needed."""
    path = tmp_path / "rollout.db"
    if what == "a directory":
        path.mkdir()
    else:
        path.write_text("shopping list " * 100)
    with pytest.raises(PlaceError, match=r"cannot keep rollout state in .*rollout\.db.*choose another place"):
        open_rollout_file(path, "housing")
