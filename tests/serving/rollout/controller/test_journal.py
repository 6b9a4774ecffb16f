"""The journal is a chain that cannot be edited, and each verdict in it can be taken again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.errors import ConflictError, DataError
from serving.ledger.chain import GENESIS
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.persistence import sealed, verify
from serving.rollout.controller.replay import replay
from serving.rollout.state import RolloutState, begin
from tests.serving.rollout.fake import Behaviour
from tests.serving.rollout.support import NOW, OPENERS, Opener, World, request


@pytest.fixture(params=OPENERS)
def opener(request: pytest.FixtureRequest) -> Opener:
    found: Opener = request.param
    return found


@pytest.fixture
def finished(tmp_path: Path, opener: Opener) -> Iterator[World]:
    """A rollout that met some errors and was promoted."""
    world = World(tmp_path, rate=400, seed=8, opener=opener)
    world.backend.behave("housing-2", Behaviour(errors=0.001))
    world.start(steps=[5, 50])
    world.until_phase("succeeded")
    yield world
    world.close()


def test_replay_takes_every_verdict_again(finished: World) -> None:
    """Equal to the last digit, evidence included."""
    found = replay(finished.desk.records(), finished.desk.head())
    assert found.identical
    assert found.decisions >= 8


def test_each_action_has_an_intent_before_and_a_done_after(finished: World) -> None:
    """A reader can see for each call when it was meant and when it was over."""
    lines = [
        (record.kind, record.body["action"]) for record in finished.desk.records() if record.kind in ("intent", "done")
    ]
    for action, times in (("ensure", 1), ("apply", 4), ("adopt", 1), ("remove", 1)):
        assert lines.count(("done", action)) == times
        assert lines.index(("intent", action)) < lines.index(("done", action))


def test_one_edited_record_is_found(finished: World) -> None:
    """Whichever record is edited, and whatever in it."""
    records = finished.desk.records()
    assert records
    for number, record in enumerate(records):
        for edited in (
            replace(record, at=record.at + 1),
            replace(record, body={**record.body, "sentence": "all is well"}),
        ):
            with pytest.raises(DataError, match=f"record {number + 1} "):
                verify([*records[:number], edited, *records[number + 1 :]])


def test_a_missing_end_is_found(finished: World) -> None:
    """Records cut off at the end are missed, because the state remembers the last one."""
    records, head = finished.desk.records(), finished.desk.head()
    verify(records, head)
    with pytest.raises(DataError, match="missing"):
        verify(records[:-3], head)


def edit(desk: Desk) -> None:
    """Change record 4 where it is stored."""
    with desk._database.writing() as connection:
        change = "SET body = replace(body, 'advance', 'advanse'), at = at + 1 WHERE seq = 4 AND service = :service"
        connection.execute(sa.text(f"UPDATE rollout_journal {change}"), desk._new)


def test_an_edit_in_the_file_is_found(finished: World) -> None:
    """The chain protects what is on disk, not only what is in memory."""
    edit(finished.desk)
    with pytest.raises(DataError, match="record 4 "):
        replay(finished.desk.records())


def test_a_decision_that_does_not_follow_is_named(finished: World) -> None:
    """A chain may be whole and a verdict still not follow from its evidence; replay tells which."""
    previous, forged = GENESIS, []
    for record in finished.desk.records():
        body = dict(record.body)
        if record.kind == "decide" and body["verdict"] == "hold":
            body["verdict"] = "rollback"
        sealed_again = sealed(record.seq, record.at, record.kind, record.rollout, record.token, body, previous)
        forged.append(sealed_again)
        previous = sealed_again.hash
    assert not replay(forged).identical


def test_a_state_survives_the_way_to_disk(finished: World) -> None:
    """What is loaded equals what was saved, to the last digit."""
    document = finished.state.model_dump(mode="json")
    assert RolloutState.model_validate(document).model_dump(mode="json") == document
    finished.reopen()
    assert finished.state.model_dump(mode="json") == document


def test_who_saves_second_is_refused(tmp_path: Path, opener: Opener) -> None:
    """Compare-and-set: a revision can be replaced once."""
    with opener(tmp_path, "housing") as desk:
        grant = desk.acquire("one", NOW, 30)
        assert grant is not None
        world = World(tmp_path / "other")
        state = begin(request(), world.backend.capabilities(), NOW)
        world.close()
        first = desk.save(state, 0, grant.token)
        desk.save(state, first, grant.token)
        with pytest.raises(ConflictError, match="revision 2"):
            desk.save(state, first, grant.token)
