"""Traffic by hand: which version is meant, what the ledger then says, and that a live rollout is not overruled."""

from pathlib import Path

import pytest

from serving.errors import ConflictError, GateRefusal, UsageError
from serving.service import by_hand
from tests.pipelines.here.support import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Version 1 serves, 2 and 3 are approved."""
    made = Scene(tmp_path)
    made.register(1, 2, 3)
    made.release(1)
    made.until(lambda: made.backend.serving() == {"housing-1": 1000})
    return made


def test_the_canary_is_named_or_there_already_or_the_newest(scene: Scene) -> None:
    """In this order; the share is the canary's own, and 0 ends it."""
    ledger, service = scene.ledger, scene.service
    assert by_hand.give(ledger, service, None, 20, "ada") == "housing 3 has 20 % of requests"
    with pytest.raises(ConflictError, match="version 3 is the canary"):
        by_hand.give(ledger, service, 2, 5, "ada")
    by_hand.give(ledger, service, None, 0, "ada")
    assert by_hand.give(ledger, service, 2, 5, "ada") == "housing 2 has 5 % of requests"
    assert by_hand.give(ledger, service, None, 40, "ada") == "housing 2 has 40 % of requests"
    assert scene.slots["canary"] == (2, 40)
    by_hand.give(ledger, service, None, 0, "ada")
    assert scene.slots["canary"] == (None, 0)
    with pytest.raises(UsageError, match="version 0"):
        by_hand.give(ledger, service, 0, 5, "ada")


def test_without_another_approved_version_one_has_to_be_named(tmp_path: Path) -> None:
    """The one that serves is none to compare with itself."""
    made = Scene(tmp_path)
    made.register(1)
    made.release(1)
    with pytest.raises(UsageError, match="name one with --version"):
        by_hand.give(made.ledger, made.service, None, 5, "ada")


def test_the_canary_is_promoted_or_a_version_that_is_named(scene: Scene) -> None:
    """Without either there is nothing to promote; 0 is a version that does not exist, and not the canary."""
    ledger, service = scene.ledger, scene.service
    with pytest.raises(ConflictError, match="no canary to promote"):
        by_hand.promote(ledger, service, None, "ada", "good")
    by_hand.give(ledger, service, 2, 20, "ada")
    with pytest.raises(UsageError, match="version 0"):
        by_hand.promote(ledger, service, 0, "ada", "good")
    assert by_hand.promote(ledger, service, None, "ada", "good") == "housing 2 has all traffic"
    assert by_hand.promote(ledger, service, 3, "ada", "better") == "housing 3 has all traffic"
    assert [scene.slots[name][0] for name in ("production", "previous")] == [3, 2]


def test_undoing_ends_the_canary_first_and_then_goes_back(scene: Scene) -> None:
    """A canary by hand is what was done last; without one the version before serves again, and a reason is kept."""
    ledger, service = scene.ledger, scene.service
    with pytest.raises(GateRefusal, match="roll back"):
        by_hand.undo(ledger, service, "ada", "")
    by_hand.promote(ledger, service, 2, "ada", "good")
    by_hand.give(ledger, service, 3, 20, "ada")
    assert by_hand.undo(ledger, service, "ada", "") == "the canary housing 3 has no requests any more"
    assert by_hand.undo(ledger, service, "ada", "") == "housing 1 serves again"
    assert ledger.history("housing")[-1].reason == "rolled back by hand"
    assert by_hand.roll_back(ledger, service, "ada", "forward") == "housing 2 serves again"


def test_a_live_rollout_decides(scene: Scene) -> None:
    """Whatever is asked by hand while it does is a conflict, and changes nothing."""
    scene.release(2)
    scene.live_at(10)
    before, ledger, service = scene.slots, scene.ledger, scene.service
    for attempt in (
        lambda: by_hand.give(ledger, service, 3, 5, "ada"),
        lambda: by_hand.promote(ledger, service, 3, "ada", "r"),
        lambda: by_hand.roll_back(ledger, service, "ada", "r"),
        lambda: by_hand.undo(ledger, service, "ada", "r"),
    ):
        with pytest.raises(ConflictError, match="is live"):
            attempt()
    assert scene.slots == before
