"""One service under its controller: the ledger, the rollout and traffic say the same, whoever moved first."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from serving.errors import ConflictError
from serving.rollout.backend import Split
from serving.rollout.controller.persistence import Command
from serving.rollout.plan import Step
from serving.service.release import Release, refuse_during_rollout, release_version
from serving.service.slots import following, revision_of, wanted_epoch, wanted_split
from tests.pipelines.here.support import MODEL, QUICK, Scene, environment, one_sentence, slipway, write_project
from tests.serving.ledger.facts import facts
from tests.serving.rollout.fake import Behaviour


class Crash(BaseException):
    """The process is gone at this line."""


@pytest.fixture(params=[pytest.param("", id="here"), pytest.param("kserve://models", id="cluster")])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, request.param)
    yield made
    checked = made.ledger.verify()
    assert checked.intact, checked.sentence
    end(made)


def end(scene: Scene) -> None:
    """What is left of a process goes: the thread that writes the page first, it reads the desk."""
    scene.control.show.close()
    scene.control.desk.close()


@pytest.fixture
def served(scene: Scene) -> Scene:
    """Version 1 has all traffic; 2 and 3 are approved."""
    scene.register(1, 2, 3)
    scene.release(1)
    scene.until(lambda: scene.backend.serving() == {"housing-1": 1000})
    return scene


def test_the_first_release_takes_all_traffic(scene: Scene) -> None:
    """Without a version in production there is nothing to compare with: the first one has everything at once."""
    scene.register(1)
    outcome = scene.release(1)
    assert outcome == Release("released", f"housing 1 takes 100 % when {scene.service.keeper} runs")
    assert scene.slots["production"] == (1, 100)
    scene.until(lambda: scene.backend.serving() == {"housing-1": 1000})
    assert scene.backend.stable == "housing-1"
    assert scene.state is None, "no rollout was needed"


def test_releasing_what_serves_changes_nothing(served: Scene) -> None:
    """The release of a re-run finds its version in production."""
    events = len(served.ledger.history(MODEL))
    served.service.sleep = served.tick  # the controller goes on while the release waits
    assert served.release(1) == Release("released", "housing 1 has all traffic already")
    assert len(served.ledger.history(MODEL)) == events
    assert list(served.service.waiting) == []


def test_nothing_serves_without_approval(scene: Scene) -> None:
    """A version that waits for a person gets no traffic, and the sentence says what the person types."""
    scene.ledger.register(MODEL, facts("d" * 64), "ada")
    outcome = scene.release(1)
    assert outcome.state == "waiting"
    assert "slipway models approve housing 1" in outcome.sentence
    scene.tick()
    assert scene.slots["production"] == (None, 0)
    assert scene.backend.serving() == {}


def test_approving_starts_what_was_asked_for(served: Scene) -> None:
    """A release that waited for a person starts with the project's own steps, not with the usual ones."""
    served.ledger.register(MODEL, facts(f"{4:064d}", "file:///b/4"), "ada")
    own = QUICK.model_copy(update={"steps": (Step(weight=3), Step(weight=30))})
    assert served.release(4, own).state == "waiting"
    assert served.state is None
    with environment(SLIPWAY_SERVING=served.serving):
        said = slipway("models", "approve", MODEL, 4, "--reason", "looks fine", home=served.home)
    assert said.code == 0, said.err
    assert "approved; housing 4 starts at 3 % beside housing 1" in said.out
    percents: list[float] = []

    def over() -> bool:
        percents.append(served.slots["canary"][1])
        return served.over

    served.until(over)
    assert served.state is not None
    assert served.state.plan == own
    assert [percent for percent, _ in itertools.groupby(percents) if percent] == [3, 30, 95, 100]


def test_approving_what_nobody_released_takes_the_usual_steps(served: Scene) -> None:
    """A version that was registered by hand has no plan of its own."""
    served.ledger.register(MODEL, facts(f"{4:064d}", "file:///b/4"), "ada")
    served.ledger.approve(MODEL, 4, "ada", "fine")
    assert "starts at 5 %" in release_version(served.ledger, served.service, 4, None, "ada").sentence


def test_a_waiting_rollout_begins_and_slots_follow_it(served: Scene) -> None:
    """Each step is in the ledger while it is in force; the end is a promotion with the rollout's name as the reason."""
    nobody = "" if served.service.serves() else f" when {served.service.keeper} runs"
    assert served.release(2).sentence == f"housing 2 starts at 10 % beside housing 1{nobody}"
    assert served.release(2).state == "released", "asking again changes nothing"
    assert len(list(served.service.waiting)) == 1
    percents: list[float] = []

    def over() -> bool:
        percents.append(served.slots["canary"][1])
        return served.over

    served.until(over)
    assert list(served.service.waiting) == []
    assert [percent for percent, _ in itertools.groupby(percents) if percent] == [10, 50, 95, 100], "95 % is the bake"
    assert served.slots == {"production": (2, 100), "canary": (None, 0), "previous": (1, 0)}
    assert served.stages() == {1: "archived", 2: "production", 3: "staging"}
    served.until(lambda: served.backend.serving() == {"housing-2": 1000})
    promoted = next(e for e in served.ledger.history(MODEL) if e.kind == "promoted" and e.version == 2)
    assert promoted.actor == "rollout controller"
    assert served.state is not None
    assert served.state.id in promoted.reason
    assert served.backend.readiness("housing-1").state == "ready", "the previous version stays warm"


def test_what_the_ledger_says_served_is_what_served(served: Scene) -> None:
    """`slipway models at` of a moment in the middle of a step gives both versions with their shares."""
    served.release(2)
    served.until(lambda: served.backend.serving() == {"housing-1": 500, "housing-2": 500})
    moment = datetime.fromtimestamp(served.clock(), UTC)
    served.until(lambda: served.over)
    shares = {d.version: d.traffic_percent for d in served.ledger.at(MODEL, moment)}
    assert shares == {1: 50, 2: 50}


def test_a_bad_version_is_archived_and_the_old_one_serves(served: Scene) -> None:
    """After a rollback the canary slot is empty, the version is put away with the reason, and 1 has everything."""
    served.backend.behave("housing-2", Behaviour(errors=0.5))
    served.release(2)
    served.until(lambda: served.over)
    served.tick()
    assert served.slots == {"production": (1, 100), "canary": (None, 0), "previous": (None, 0)}
    assert served.stages()[2] == "archived"
    assert "error" in served.ledger.history(MODEL)[-1].reason
    assert served.backend.serving() == {"housing-1": 1000}
    again = served.release(2)
    assert (again.state, "slipway rollout start 2" in again.sentence) == ("waiting", True)


def test_a_version_that_was_put_away_gets_a_second_chance_when_asked(served: Scene) -> None:
    """`slipway rollout start` of a rolled back version is a new attempt, not the old rollout joined."""
    served.backend.behave("housing-2", Behaviour(errors=0.5))
    served.release(2)
    served.until(lambda: served.over)
    first = served.state
    served.backend.behave("housing-2", Behaviour())
    assert served.release(2, again=True).state == "released"
    served.until(lambda: served.state is not None and first is not None and served.state.id != first.id)
    served.until(lambda: served.over)
    assert served.slots["production"] == (2, 100)


def test_a_newer_version_takes_the_place_of_the_one_on_its_way(served: Scene) -> None:
    """Version 3 released in the middle of 2's rollout: 2 goes home and is put away, 3 starts and wins."""
    served.release(2)
    served.live_at(10)
    served.release(3)
    served.until(lambda: served.state is not None and served.state.candidate.version == 3)
    served.until(lambda: served.over)
    assert served.slots == {"production": (3, 100), "canary": (None, 0), "previous": (1, 0)}
    assert served.stages() == {1: "archived", 2: "archived", 3: "production"}


def test_a_request_that_lost_its_approval_is_dropped(served: Scene) -> None:
    """A version rejected between asking and beginning does not start, and does not stop others."""
    served.release(2)
    served.ledger.reject(MODEL, 2, "eve", "second thoughts")
    served.tick()
    assert served.state is None
    assert list(served.service.waiting) == []
    served.release(3)
    served.until(lambda: served.over)
    assert served.slots["production"] == (3, 100)


def test_a_rollout_waits_for_a_canary_set_by_hand(served: Scene) -> None:
    """Two canaries cannot be: while somebody holds one by hand, a release says so and how to go on."""
    served.ledger.canary(MODEL, 3, 20, "ada", "by hand")
    outcome = served.release(2)
    assert outcome.state == "waiting"
    assert "housing 3 has 20 %" in outcome.sentence
    assert "slipway rollout set 0" in outcome.sentence
    served.until(lambda: served.backend.serving() == {"housing-1": 800, "housing-3": 200})
    assert served.state is None


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_slots_set_by_hand_are_followed(served: Scene) -> None:
    """Without a rollout traffic is what the slots say: a canary, its end, a promotion, the way back."""
    served.ledger.canary(MODEL, 2, 20, "ada", "by hand")
    served.until(lambda: served.backend.serving() == {"housing-1": 800, "housing-2": 200})
    served.ledger.canary(MODEL, 2, 0, "ada", "enough")
    served.until(lambda: served.backend.serving() == {"housing-1": 1000})
    served.ledger.promote(MODEL, 2, "ada", "by hand")
    served.until(lambda: served.backend.serving() == {"housing-2": 1000})
    assert served.backend.stable == "housing-2"
    served.ledger.rollback(MODEL, "ada", "back")
    served.until(lambda: served.backend.serving() == {"housing-1": 1000})


def test_a_version_without_a_slot_is_removed_after_its_last_request(served: Scene) -> None:
    """1 is neither production nor previous after two promotions: its process ends, but not with callers in it."""
    served.ledger.promote(MODEL, 2, "ada", "by hand")
    served.until(lambda: served.backend.serving() == {"housing-2": 1000})
    served.ledger.promote(MODEL, 3, "ada", "by hand")
    served.backend.in_flight = 1
    served.until(lambda: served.backend.serving() == {"housing-3": 1000})
    served.tick()
    assert served.backend.readiness("housing-1").state == "ready"
    served.backend.in_flight = 0
    served.until(lambda: served.backend.readiness("housing-1").state == "absent")
    assert served.backend.readiness("housing-2").state == "ready", "the previous version stays warm"


def test_slots_are_followed_again_after_a_rollout(served: Scene) -> None:
    """A rollback by hand after a promotion by evidence is not undone by the rollout that is over."""
    served.release(2)
    served.until(lambda: served.over)
    served.tick()
    served.ledger.rollback(MODEL, "ada", "complaints")
    served.until(lambda: served.backend.serving() == {"housing-1": 1000})
    for _ in range(5):
        served.tick()
    assert served.slots["production"] == (1, 100)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["models", "promote", MODEL, 3, "--reason", "now"], id="promote"),
        pytest.param(["models", "rollback", MODEL, "--reason", "now"], id="rollback"),
        pytest.param(["rollout", "set", 30], id="set"),
    ],
)
def test_nobody_moves_traffic_by_hand_during_a_rollout(served: Scene, words: list[Any]) -> None:
    """Commands by hand are refused with 6, name the rollout, and leave ledger and traffic as they are."""
    served.release(2)
    served.live_at(10)
    before = served.slots
    project = ["--project", write_project(served.home, name=MODEL)] if words[0] == "rollout" else []
    with environment(SLIPWAY_SERVING=served.serving):
        said = slipway(*words, *project, home=served.home)
    one_sentence(said, 6, "housing-2 is live", "slipway rollout promote")
    with pytest.raises(ConflictError):
        refuse_during_rollout(served.service)
    assert served.slots == before


def test_an_abort_during_the_rollout_reaches_the_ledger(served: Scene) -> None:
    """What a person orders in the controller's inbox ends as a rollback in ledger and traffic."""
    served.release(2)
    served.live_at(10)
    number = served.control.desk.ask(Command("abort", "ada", "a bad feeling"))
    served.until(lambda: served.over)
    served.tick()
    assert (served.control.desk.answered(number) or "").startswith("done")
    assert served.slots["canary"] == (None, 0)
    assert "a bad feeling" in served.ledger.history(MODEL)[-1].reason


# --- crashes ---------------------------------------------------------------------------------------------------------


def crash_in_ledger(scene: Scene, call: str, moment: str) -> contextlib.AbstractContextManager[Any]:
    """The process ends at the first *call* of the ledger, before or after it has had its effect."""
    real = getattr(scene.ledger, call)

    def ends(*arguments: Any, **options: Any) -> Any:
        if moment == "before":
            raise Crash
        real(*arguments, **options)
        raise Crash

    return patch.object(scene.ledger, call, ends)


@contextlib.contextmanager
def crash_in_backend(scene: Scene, call: str, moment: str) -> Iterator[None]:
    def fault(seen: str, at: str) -> None:
        if (seen, at) == (call, moment):
            raise Crash

    usual, scene.backend.fault = scene.backend.fault, fault
    yield
    scene.backend.fault = usual


CRASHES = [
    pytest.param(where, call, moment, id=f"{moment}-{call}")
    for where, calls in [
        (crash_in_backend, ("ensure", "apply", "adopt")),
        (crash_in_ledger, ("canary", "promote")),
    ]
    for call in calls
    for moment in ("before", "after")
]


def fails(served: Scene, where: Callable[..., Any], call: str, moment: str) -> None:
    """Go on until the process ends at *call*, then start another that knows nothing."""
    with where(served, call, moment), pytest.raises(Crash):
        served.until(lambda: False)
    end(served)
    served.another()


@pytest.mark.parametrize(("where", "call", "moment"), CRASHES)
def test_another_controller_goes_on_where_one_ended(served: Scene, where: Any, call: str, moment: str) -> None:
    """A crash at any call, and the next process brings the same rollout to the same end, once."""
    served.release(2)
    fails(served, where, call, moment)
    served.until(lambda: served.over)
    served.until(lambda: served.backend.serving() == {"housing-2": 1000})
    served.tick()
    assert served.slots == {"production": (2, 100), "canary": (None, 0), "previous": (1, 0)}
    assert [e.kind for e in served.ledger.history(MODEL)].count("promoted") == 2, "1 at first, then 2, each once"
    assert len([state for state in served.control.desk.past() if state.candidate.version == 2]) <= 1


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", ["canary", "move"])
def test_another_controller_ends_the_rollback(served: Scene, call: str, moment: str) -> None:
    """The same on the way home: the bad version is put away once, whoever writes it down."""
    served.backend.behave("housing-2", Behaviour(errors=0.5))
    served.release(2)
    served.live_at(10)
    fails(served, crash_in_ledger, call, moment)
    served.until(lambda: served.over)
    served.until(lambda: served.stages()[2] == "archived")  # once the lease of the one that is gone has ended
    assert served.slots == {"production": (1, 100), "canary": (None, 0), "previous": (None, 0)}
    assert served.backend.serving() == {"housing-1": 1000}


# --- what the slots amount to ----------------------------------------------------------------------------------------


def test_the_split_is_the_slots_in_per_mille(served: Scene) -> None:
    """Fractions of a percent reach traffic; every change of a slot is a new epoch, so counts are never mixed."""
    slots = served.ledger.slots(MODEL)
    first = wanted_epoch(slots)
    served.ledger.canary(MODEL, 2, 0.5, "ada", "a little")
    slots = served.ledger.slots(MODEL)
    split = wanted_split(MODEL, slots)
    assert split is not None
    assert dict(split.weights) == {"housing-1": 995, "housing-2": 5}
    assert wanted_epoch(slots) != first
    assert revision_of(served.ledger.version(MODEL, 2)).name == "housing-2"


def test_a_canary_by_hand_may_be_sticky(served: Scene) -> None:
    """The header reaches traffic with its share, in an epoch of its own, and ends with the next change by hand."""
    seen: list[str | None] = []
    for header in (None, "x-user", None):
        for _ in range(2):  # the second time it is done already
            slot = served.ledger.canary(MODEL, 2, 50, "ada", "experiment", sticky_header=header)
        split = wanted_split(MODEL, served.ledger.slots(MODEL))
        assert split is not None
        assert not following(served.backend, split).followed
        served.until(lambda: served.backend.observed().split == split)  # noqa: B023 - asked before the next turn
        assert split == Split({"housing-1": 500, "housing-2": 500}, sticky_header=header)
        assert slot.revision == len(seen) + 1
        seen.append(served.backend.observed().epoch)
    assert len(set(seen)) == 3
    assert served.ledger.verify().intact


def test_no_slot_means_no_split(scene: Scene) -> None:
    """Before the first promotion nothing is wanted, and a pass does nothing."""
    assert wanted_split(MODEL, scene.ledger.slots(MODEL)) is None
    scene.tick()
    assert scene.backend.effects == []
