"""The controller on the fake place: whole rollouts, commands, failures of every call, and the way back."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from serving.errors import ConfigError, GateRefusal, InfrastructureError
from serving.rollout.backend import Split
from serving.rollout.controller.persistence import Command
from serving.rollout.controller.replay import replay
from serving.rollout.state import Phase, Reason
from tests.serving.rollout.fake import Behaviour, outage
from tests.serving.rollout.support import World, request, run

QUICK: dict[str, Any] = {"steps": [10, 50], "time": {"dwell": "1s", "bake": "3s", "drain": "5s"}}


@pytest.fixture
def world(tmp_path: Path):
    """400 requests a second on version 1."""
    made = World(tmp_path, rate=400, seed=2)
    yield made
    assert replay(made.desk.records(), made.desk.head()).identical, "every test's journal replays to the same verdicts"
    made.close()


def paused(world: World, reason: Reason) -> bool:
    state = world.run(lambda tick: tick.state is not None and tick.state.phase is Phase.PAUSED).state
    assert state is not None
    assert state.pause is not None, f"not paused but {state.phase}: {state.outcome}"
    return state.pause.reason is reason


BAD = [
    pytest.param(Behaviour(errors=1.0), "error", id="fails"),
    pytest.param(Behaviour(errors=0.05), "error", id="fails-sometimes"),
    pytest.param(Behaviour(slow=0.2), "slow", id="slow"),
    pytest.param(Behaviour(labelled=1.0, mistakes=0.3), "quality", id="worse-labels"),
]


@pytest.mark.parametrize(("behaviour", "gate"), BAD)
def test_a_bad_candidate_goes_home(world: World, behaviour: Behaviour, gate: str) -> None:
    """Each kind of bad model ends with version 1 serving alone and version 2 gone."""
    world.backend.behave("housing-1", Behaviour(errors=0.001, labelled=1.0, mistakes=0.05))
    world.backend.behave("housing-2", Behaviour(**({"labelled": 1.0, "mistakes": 0.05} | vars(behaviour))))
    world.start(**QUICK)
    state = world.until_phase("rolled back")
    assert gate in state.outcome
    assert world.backend.serving() == {"housing-1": 1000}
    assert world.backend.readiness("housing-2").state == "absent"


def test_a_shifted_output_asks_and_goes_on_when_agreed(world: World) -> None:
    """Different predictions pause; ``resume`` accepts them for the rest of the rollout."""
    world.backend.behave("housing-2", Behaviour(bins={"low": 0.95, "high": 0.05}))
    world.start(**QUICK)
    assert paused(world, Reason.OUTPUT)
    world.order("resume", reason="retrained on recession prices")
    world.until_phase("succeeded")


def test_a_good_candidate_takes_over(world: World) -> None:
    """Version 2 serves alone, is adopted once, and version 1 is drained before it is removed."""
    world.start(**QUICK)
    world.until_phase("succeeded")
    assert world.backend.serving() == {"housing-2": 1000}
    assert world.backend.stable == "housing-2"
    assert [name for name, _ in world.backend.effects][-2:] == ["adopt", "remove"]
    phases = [event.after.value for event in world.events]
    assert [phase for phase, _ in itertools.groupby(phases)] == [
        "prepare", "step", "bake", "promote", "adopt", "cleanup", "succeeded",
    ]  # fmt: skip


def test_the_version_before_stays_warm(world: World) -> None:
    """By default the previous version goes on running without traffic, also long after success."""
    world.start(keep_previous=True, **QUICK)
    world.until_phase("succeeded")
    for _ in range(20):
        world.clock.sleep(30)
        world.controller.tick(world.clock())
    assert world.backend.serving() == {"housing-2": 1000}
    assert world.backend.readiness("housing-1").state == "ready"


def test_starting_again_joins(world: World) -> None:
    """The same service, candidate, plan and attempt are one rollout, also when it is over; a new attempt is another."""
    first = world.start(**QUICK)
    assert world.start(**QUICK).id == first.id
    world.until_phase("succeeded")
    assert world.start(**QUICK).phase is Phase.SUCCEEDED
    assert request(attempt=2, **QUICK).id != first.id


def test_another_candidate_supersedes(world: World) -> None:
    """One live rollout per service; a newer candidate sends the older one home first."""
    world.start(**QUICK)
    world.until_phase("step")
    newer = request(3, **QUICK)
    world.start(newer)
    state = world.until_phase("succeeded")
    assert state.candidate.name == "housing-3"
    past = world.desk.past()[0]
    assert (past.phase, past.outcome) == (Phase.ROLLED_BACK, "superseded by housing-3")
    assert world.backend.readiness("housing-2").state == "absent"


def test_a_candidate_without_approval_is_refused(world: World) -> None:
    """Before the start, and when it is withdrawn on the way."""
    objection = ["not approved"]
    controller = world.another("first", check=lambda _: objection[0])
    with pytest.raises(GateRefusal, match="not approved"):
        controller.start(request(**QUICK), world.clock())
    objection[0] = ""
    controller.start(request(**QUICK), world.clock())
    world.run(lambda tick: tick.state is not None and tick.state.phase is Phase.STEP)
    objection[0] = "the approval was withdrawn"
    run(controller, world.clock)
    assert world.state.outcome == "the approval was withdrawn"


def test_a_plan_that_cannot_run_here_is_refused(tmp_path: Path) -> None:
    """Before anything is stored."""
    world = World(tmp_path)
    with pytest.raises(ConfigError, match="names no service"):
        world.start(service="")
    assert world.desk.load() is None
    world.close()


def test_pause_and_resume(world: World) -> None:
    """A person's pause holds the weight, and resuming goes on from there."""
    world.start(**QUICK)
    world.until_phase("step")
    world.order("pause", reason="lunch")
    weight = world.state.weight
    world.run(limit=60)
    assert (world.state.phase, world.state.weight) == (Phase.PAUSED, weight)
    world.order("resume")
    world.until_phase("succeeded")


def test_a_required_approval(world: World) -> None:
    """The step begins when somebody approves it."""
    world.start(steps=[10, {"weight": 50, "approve": "required"}], time=QUICK["time"])
    assert paused(world, Reason.APPROVAL)
    world.order("approve", reason="looks fine")
    world.until_phase("succeeded")


def test_promote_skips_waiting_but_not_the_evidence(world: World) -> None:
    """Refused until certified for all users; force needs a reason; harm is never overruled."""
    world.start(steps=[10, 50], time={"dwell": "10m", "step": "1h"})
    world.until_phase("step")
    world.run(limit=2)
    assert "not certified" in world.order("promote")
    assert "reason" in world.order("promote", force=True)
    world.run(limit=60)
    world.order("promote")
    assert world.state.phase is Phase.BAKE
    world.until_phase("succeeded")


def test_force_never_overrules_harm(world: World) -> None:
    """A harm verdict stands, whatever the reason given."""
    world.start(steps=[10], time={"dwell": "10m"})
    world.until_phase("step")
    world.run(limit=2)
    world.backend.behave("housing-2", Behaviour(errors=1.0))
    world.backend.fault = outage({"apply"})
    world.clock.sleep(5)
    state = world.state.model_copy(update={"counts": world.backend.counters().epochs})
    stored = world.desk.load()
    grant = world.desk.current()
    assert stored is not None
    assert grant is not None
    world.desk.save(state, stored.revision, grant.token)
    assert "no force" in world.order("promote", force=True, reason="the boss says so")


def test_abort_goes_home_from_any_phase_before_adoption(world: World) -> None:
    """Also while paused; after the end there is nothing to abort."""
    world.start(**QUICK)
    world.until_phase("bake")
    world.order("abort", reason="wrong branch")
    state = world.until_phase("rolled back")
    assert state.outcome == "aborted by ada: wrong branch"
    assert "is over" in world.order("abort")


def test_a_command_for_another_controller_waits_in_its_inbox(world: World) -> None:
    """A process without the lease asks; the holder does it at its next look and answers, also with a refusal."""
    world.start(**QUICK)
    world.until_phase("step")
    for _ in range(2):
        world.desk.ask(Command("pause", "ada"))
    world.another("second").tick(world.clock())
    assert world.desk.answered(1) is None
    world.controller.tick(world.clock())
    assert world.state.phase is Phase.PAUSED
    assert world.desk.answered(1) == "done: pause"
    assert "cannot be paused" in (world.desk.answered(2) or "")


def test_late_labels_turn_a_success_around(world: World) -> None:
    """In the watch window, evidence that comes after success starts the way back by itself."""
    world.start(**QUICK, watch={"window": "10m"})
    world.until_phase("succeeded")
    epochs = [epoch.token for epoch in world.state.epochs]
    for token in epochs:
        arms = world.backend._counts[token]
        for name, wrong in (("housing-1", 0.01), ("housing-2", 0.5)):
            if name in arms:
                seen = arms[name].requests
                arms[name] = type(arms[name])(**{**vars(arms[name]), "labelled": seen, "mistakes": round(seen * wrong)})
    tick = world.controller.tick(world.clock())
    assert tick.state is not None
    assert tick.state.candidate.name == "housing-1"
    state = world.until_phase("succeeded")
    assert state.candidate.name == "housing-1"
    assert {epoch.weight for epoch in state.epochs} == {1000}, "no steps on the way back to a version that served"
    assert any(event.critical for event in world.events)


def test_a_warm_version_leaves_when_the_watch_is_over(world: World) -> None:
    """It is kept for the window and removed afterwards."""
    world.start(**QUICK, watch={"window": "30s"})
    world.until_phase("succeeded")
    for _ in range(40):
        world.clock.sleep(1)
        world.controller.tick(world.clock())
    assert world.backend.readiness("housing-1").state == "absent"


CALLS = ["ensure", "readiness", "apply", "observed", "counters", "drained", "adopt", "remove"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_each_call_may_fail_now_and_then(world: World, call: str, moment: str) -> None:
    """One call in three of one kind raises, before or after its effect; the rollout ends as it should."""
    turn = itertools.count()

    def flaky(name: str, when: str) -> None:
        if name == call and when == moment and next(turn) % 3 == 0:
            raise InfrastructureError(f"{name} does not answer")

    world.backend.fault = flaky
    world.start(**QUICK)
    state = world.until_phase("succeeded")
    assert world.backend.serving() == {"housing-2": 1000}
    assert [name for name, _ in world.backend.effects].count("adopt") == 1
    assert state.outcome


def test_a_rollback_that_fails_is_tried_for_ever(world: World) -> None:
    """Weight 0 first, removal last, with a critical alert meanwhile."""
    world.start(**QUICK)
    world.until_phase("step")
    world.run(lambda tick: tick.state is not None and tick.state.settled)
    world.backend.lose("housing-2")
    world.backend.fault = outage({"apply"})
    world.run(limit=90)
    assert world.state.phase is Phase.ROLLBACK
    assert any(event.critical and event.verdict == "alert" for event in world.events)
    world.backend.fault = lambda call, moment: None
    world.until_phase("rolled back")
    names = [name for name, _ in world.backend.effects]
    assert names.index("remove") > max(i for i, name in enumerate(names) if name == "apply")


def test_an_adoption_that_fails_stays_on_the_healthy_copy(world: World) -> None:
    """Weight stays at 100 %, somebody is called, nothing goes back to a half-replaced stable."""
    world.backend.fault = outage({"adopt"})
    world.start(**QUICK)
    world.until_phase("adopt")
    world.run(limit=60)
    assert (world.state.phase, world.backend.serving()) == (Phase.ADOPT, {"housing-2": 1000})
    assert any(event.critical and event.verdict == "alert" for event in world.events)
    assert "already adopted" in world.order("abort")
    world.backend.fault = lambda call, moment: None
    world.until_phase("succeeded")


EDITS = [
    pytest.param("put-back", {"housing-1": 700, "housing-2": 300}, 100, "put back", id="ours-again"),
    pytest.param("obey", {"housing-1": 700, "housing-2": 300}, 300, "obeys", id="theirs-from-now-on"),
    pytest.param("obey", {"housing-1": 50, "housing-2": 950}, 950, "obeys", id="as-much-as-before-the-last"),
    pytest.param("obey", {"housing-1": 30, "housing-2": 970}, 100, "comes by evidence", id="nearly-everything"),
    pytest.param("obey", {"housing-2": 1000}, 100, "comes by evidence", id="everything"),
    pytest.param("obey", {"housing-1": 700, "housing-9": 300}, 100, "none between the versions", id="a-stranger"),
]


@pytest.mark.parametrize(("edits", "theirs", "weight", "says"), EDITS)
@pytest.mark.parametrize("held", [False, True], ids=["going-on", "paused"])
def test_somebody_else_changes_the_split(
    world: World, edits: str, theirs: dict[str, int], weight: int, says: str, held: bool
) -> None:
    """It is obeyed or put back as the plan says, with their name in the sentence; a pause stays, and none begins."""
    world.start(steps=[10, 50], time={"dwell": "10m", "bake": "3s"}, edits=edits)
    world.until_phase("step")
    world.run(lambda tick: tick.state is not None and tick.state.settled)
    if held:
        world.order("pause")
    world.backend.meddle(Split(theirs), by="kubectl-edit")
    world.run(limit=10)
    assert world.backend.serving() == {"housing-1": 1000 - weight, "housing-2": weight}
    assert world.state.phase is (Phase.PAUSED if held else Phase.STEP)
    told = [event.sentence for event in world.events if "kubectl-edit" in event.sentence]
    assert len(told) == 1
    assert says in told[0]


def test_an_edit_that_takes_everything_away_sends_the_candidate_home(world: World) -> None:
    """As an abort does, and the outcome names who did it."""
    world.start(steps=[10, 50], time={"dwell": "10m"}, edits="obey")
    world.until_phase("step")
    world.run(lambda tick: tick.state is not None and tick.state.settled)
    world.backend.meddle(Split({"housing-1": 1000}), by="argocd-controller")
    world.until_phase("rolled back")
    assert "argocd-controller gave housing-2 0 % of requests" in world.state.outcome


def test_what_came_under_the_split_of_somebody_else_is_no_evidence(world: World) -> None:
    """Half of the requests for some seconds are a wrong split to a test of it; the rollout ends well."""
    world.start(**QUICK)
    world.until_phase("step")
    world.run(lambda tick: tick.state is not None and tick.state.settled)
    for _ in range(3):
        world.backend.meddle(Split({"housing-1": 500, "housing-2": 500}), by="kubectl-patch")
        world.run(limit=5)
    assert world.state.pause is None
    world.until_phase("succeeded")


def test_a_later_step_begins_where_an_obeyed_edit_stands(world: World) -> None:
    """30 % is past the step of 10 %: the next one is 50 %, never less."""
    world.start(steps=[5, 10, 50], time=QUICK["time"], edits="obey")
    world.until_phase("step")
    world.run(lambda tick: tick.state is not None and tick.state.settled)
    world.backend.meddle(Split({"housing-1": 700, "housing-2": 300}), by="kubectl-edit")
    world.until_phase("succeeded")
    weights = [epoch.weight for epoch in world.state.epochs]
    assert weights == [50, 300, 500, 950, 1000]


def test_a_pause_holds_the_share_that_is_asked_for(world: World) -> None:
    """Whatever step it is in, also while it is paused; too much and too little have other names."""
    world.start(steps=[10, 50], time={"dwell": "10m", "bake": "3s"})
    world.until_phase("step")
    for percent in (20.0, 60.0, 5.0):
        assert world.order("pause", percent=percent).startswith("done")
        world.run(limit=5)
        assert world.backend.serving()["housing-2"] == percent * 10
        assert paused(world, Reason.MANUAL)
    assert "promote gives more, abort nothing" in world.order("pause", percent=99)
    assert "promote gives more, abort nothing" in world.order("pause", percent=0)


def test_a_rejected_configuration_keeps_the_old_one_serving(world: World) -> None:
    """It is applied again with backoff, then paused; when the place accepts it, resume goes on."""
    world.start(**QUICK)
    world.until_phase("prepare")
    world.backend.rejects = "weights rejected"
    assert paused(world, Reason.CONVERGE)
    assert world.backend.serving() == {"housing-1": 1000}
    world.backend.rejects = ""
    world.order("resume")
    world.until_phase("succeeded")


def test_a_webhook_that_fails_holds_nothing_up(world: World) -> None:
    """Notifications are told to others, not asked for."""

    def broken(_: object) -> None:
        raise RuntimeError("410 Gone")

    world.controller = type(world.controller)(world.backend, world.desk, "first", notify=broken)
    world.start(**QUICK)
    world.until_phase("succeeded")


def test_a_bystander_says_who_holds_the_lease(world: World) -> None:
    """Without the lease a tick reads and does nothing."""
    world.start(**QUICK)
    tick = world.another("second").tick(world.clock())
    assert (tick.held_by, tick.decision) == ("first", None)
    assert tick.state is not None


def test_silence_of_the_metrics_is_not_success(world: World) -> None:
    """A source that is cut in a step sends the candidate home after the metrics timeout."""
    world.start(steps=[10, 50], time={"dwell": "1m"})
    world.until_phase("step")
    world.backend.silent = True
    assert "silent" in world.until_phase("rolled back").outcome


def test_without_traffic_a_step_ends_inconclusive(tmp_path: Path) -> None:
    """The deadline pauses, the old pause goes home, nothing is promoted."""
    world = World(tmp_path, rate=0)
    world.start(time={"step": "20s", "pause": "40s"})
    assert paused(world, Reason.INCONCLUSIVE)
    assert "paused for" in world.until_phase("rolled back").outcome
    world.close()


def test_a_first_version_is_deployed_at_once(tmp_path: Path) -> None:
    """Nothing serves yet, so there is nobody to compare with."""
    world = World(tmp_path, stable=False)
    world.start(request(1, stable=None))
    world.until_phase("succeeded")
    assert world.backend.serving() == {"housing-1": 1000}
    world.close()


def test_a_rollout_has_one_name() -> None:
    """A rollout's id follows from service, candidate, plan and attempt."""
    assert request(**QUICK).id == request(**QUICK).id
    assert request(**QUICK).id != request(steps=[10, 40]).id
