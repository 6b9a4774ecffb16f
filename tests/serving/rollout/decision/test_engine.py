"""The engine: each situation of a rollout has one answer, and absence of data is never a reason to go forward."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ConfigError
from serving.rollout.backend import ArmCounts, Counters, Observed, Readiness, Split
from serving.rollout.decision.engine import decide
from serving.rollout.decision.render import render, wanted_split
from serving.rollout.decision.rules import Seen
from serving.rollout.evidence.evidence import weigh
from serving.rollout.state import Epoch, Phase, Reason, RolloutState, begin, merged
from serving.rollout.telling.explain import explain, status
from tests.serving.rollout.fake import FakeBackend
from tests.serving.rollout.support import NOW, Bench, request

GONE = Readiness("failed", "no endpoint is left")


def in_phase(phase: str, **changes: Any) -> Bench:
    bench = Bench(**changes)
    bench.to(phase)
    return bench


def settled(phase: str, **changes: Any) -> Bench:
    bench = in_phase(phase, **changes)
    bench.look()
    return bench


def test_a_plan_with_a_smallest_excess_starts_like_any_other() -> None:
    """Before the first request nothing is certain, and that is no trouble."""
    bench = in_phase("bake", risk={"min_excess": 0.01})
    assert bench.look().evidence.certain_excess == 0.0


def test_a_clean_candidate_climbs_to_all_requests() -> None:
    """Every step is certified before the next, and the way ends in success."""
    bench = Bench()
    seen = [(bench.state.phase, bench.state.weight)]
    for _ in range(300):
        decision = bench.look()
        if (bench.state.phase, bench.state.weight) != seen[-1]:
            seen.append((bench.state.phase, bench.state.weight))
        if bench.state.terminal:
            break
        done = {"adopt"} if bench.state.phase is Phase.ADOPT else set()
        if bench.state.phase is Phase.CLEANUP and "drained" in bench.state.done:
            done = {"remove"}
        bench.state = bench.state.model_copy(update={"done": (*bench.state.done, *done)})
        bench.seen["drained"] = True
        if bench.state.epoch and bench.state.weight < 1000:
            bench.feed({"requests": bench.state.weight}, {"requests": 1000 - bench.state.weight})
    assert decision.verdict == "finish"
    assert [(phase.value, weight) for phase, weight in seen] == [
        ("pending", 0), ("prepare", 0), ("step", 50), ("step", 100), ("step", 250), ("step", 500), ("bake", 950),
        ("promote", 1000), ("adopt", 1000), ("cleanup", 1000), ("succeeded", 1000),
    ]  # fmt: skip


STEP_ROWS = [
    pytest.param({}, {}, {"candidate": GONE}, "rollback", "endpoints", id="canary-loses-all-endpoints"),
    pytest.param({"requests": 9, "errors": 9}, {"requests": 171}, {}, "rollback", "harm", id="failing-goes-home"),
    pytest.param({"requests": 400, "slow": 40}, {"requests": 7600}, {}, "rollback", "slow", id="slow-canary-goes-home"),
    pytest.param(
        {"requests": 400, "labelled": 400, "mistakes": 40}, {"requests": 7600, "labelled": 7600, "mistakes": 76}, {},
        "rollback", "quality", id="worse-labels-go-home",
    ),
    pytest.param(
        {"requests": 50, "errors": 50}, {"requests": 950, "errors": 950}, {}, "pause", "stable", id="both-sick-holds",
    ),
    pytest.param({}, {}, {"stable": GONE}, "pause", "stable", id="dead-stable-holds"),
    pytest.param(
        {"requests": 50, "errors": 50}, {"requests": 950}, {"stable": GONE}, "pause", "stable",
        id="never-roll-back-onto-a-dead-stable",
    ),
    pytest.param({"requests": 3000}, {"requests": 17000}, {}, "pause", "split", id="wrong-split-trusts-nothing"),
    pytest.param(
        {"requests": 500, "bins": {"a": 450, "b": 50}}, {"requests": 9500, "bins": {"a": 1900, "b": 7600}}, {},
        "pause", "predictions", id="shifted-output-asks-a-person",
    ),
    pytest.param({}, {}, {"refused": "digest changed"}, "rollback", "digest", id="changed-digest-goes-home"),
    pytest.param(
        {}, {}, {"observed": Observed(Split({"housing-1": 500, "housing-2": 500}), "x", "other")}, "move",
        "somebody else changed the split", id="an-edit-is-put-back",
    ),
    pytest.param(
        {"requests": 500}, {"requests": 500},
        {"observed": Observed(Split({"housing-1": 500, "housing-2": 500}), "x", "other", by="kubectl-edit")},
        "move", "kubectl-edit changed the split", id="what-an-edit-did-to-the-counts-is-no-evidence",
    ),
    pytest.param({"requests": 10_000}, {"requests": 190_000}, {"counters": None}, "hold", "silent", id="silence-holds"),
    pytest.param({"requests": 0}, {"requests": 0}, {}, "hold", "evidence", id="no-requests-prove-nothing"),
    pytest.param({"requests": 30}, {"requests": 570}, {}, "hold", "evidence", id="too-few-requests-wait"),
    pytest.param({"requests": 500}, {"requests": 9500}, {"refused": None}, "hold", "asked", id="unasked-waits"),
    pytest.param({"requests": 500}, {"requests": 9500}, {}, "move", "10 %", id="clean-canary-gets-more-traffic"),
    pytest.param(
        {"requests": 500, "errors": 3}, {"requests": 9500, "errors": 47}, {}, "move", "10 %",
        id="equally-imperfect-canary-gets-more-traffic",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("canary", "stable", "seen", "verdict", "says"), STEP_ROWS)
def test_in_a_step(canary: dict, stable: dict, seen: dict, verdict: str, says: str) -> None:
    """One look at the first step, five seconds in."""
    bench = settled("step")
    bench.feed(canary, stable)
    decision = bench.look(6.0, **seen)
    assert (decision.verdict, says in decision.sentence) == (verdict, True), decision.sentence


@pytest.mark.parametrize(
    ("plan", "phase", "waits", "seen", "verdict", "after"),
    [
        pytest.param({}, "prepare", 31, {"candidate": Readiness("starting")}, "rollback", Phase.REMOVE, id="not-ready"),
        pytest.param({}, "prepare", 1, {"candidate": GONE}, "rollback", Phase.REMOVE, id="golden-mismatch"),
        pytest.param({}, "step", 21, {"counters": None}, "rollback", Phase.ROLLBACK, id="silent-too-long"),
        pytest.param({}, "bake", 21, {"counters": None}, "pause", Phase.PAUSED, id="silent-in-bake"),
        pytest.param(
            {"on_silence": "pause"}, "step", 21, {"counters": None}, "pause", Phase.PAUSED, id="silent-policy"
        ),
        pytest.param({}, "step", 601, {}, "pause", Phase.PAUSED, id="deadline"),
        pytest.param(
            {"on_inconclusive": "rollback"}, "step", 601, {}, "rollback", Phase.ROLLBACK, id="deadline-policy"
        ),
        pytest.param({}, "bake", 1, {"candidate": GONE}, "rollback", Phase.ROLLBACK, id="bake-still-goes-back"),
        pytest.param({}, "bake", 30, {}, "hold", Phase.BAKE, id="a-bake-without-requests-waits"),
        pytest.param({}, "bake", 611, {}, "pause", Phase.PAUSED, id="a-bake-without-requests-asks"),
        pytest.param({}, "promote", 1, {"candidate": GONE}, "rollback", Phase.ROLLBACK, id="promote-still-goes-back"),
    ],
)
def test_waiting_has_an_end(plan: dict, phase: str, waits: float, seen: dict, verdict: str, after: Phase) -> None:
    """Each deadline and each silence has its answer, and none is promotion."""
    bench = in_phase(phase, **plan)
    if phase in ("step", "bake"):
        bench.look(0.0)
    decision = bench.look(waits, **seen)
    assert (decision.verdict, bench.state.phase) == (verdict, after), decision.sentence


def test_time_without_a_controller_is_not_held_against_anybody() -> None:
    """A controller back after ten minutes finds a candidate that still loads, and a split that was never applied."""
    bench = in_phase("prepare")
    assert bench.jump(600.0, candidate=Readiness("starting")).verdict == "hold"
    assert bench.look(31.0, candidate=Readiness("starting")).verdict == "rollback"
    bench = in_phase("step")
    before = Observed(Split({"housing-1": 1000}), "before", "digest")
    assert bench.jump(600.0, observed=before).verdict == "hold"
    assert bench.look(16.0, observed=before).verdict == "pause"


def test_an_exposure_that_nobody_watched_too_long_goes_home() -> None:
    """The longest unattended exposure is checked by the controller that comes back."""
    bench = settled("step", time={"unattended": "1h"})
    assert bench.jump(3599.0).verdict == "hold"
    assert bench.jump(3601.0).verdict == "rollback"


def test_a_split_that_does_not_arrive_pauses() -> None:
    """Not converged in time, or rejected: the old configuration serves, and a person is asked."""
    bench = in_phase("step")
    stuck = Observed(Split({"housing-1": 1000}), "before", "digest", "weights rejected")
    assert bench.look(1.0, observed=stuck).verdict == "hold"
    decision = bench.look(15.0, observed=stuck)
    assert (decision.verdict, "weights rejected" in decision.sentence) == ("pause", True)
    assert render(bench.state).split is None


def test_an_old_pause_goes_home() -> None:
    """The default policy rolls back after the pause timeout, unless stable is sick."""
    bench = settled("step")
    bench.look(601.0)
    assert bench.jump(3598.0).verdict == "hold"
    assert bench.jump(2.0).verdict == "rollback"


def test_a_sick_stable_keeps_even_an_old_pause() -> None:
    """Nothing goes back to a stable that does not serve."""
    bench = settled("step")
    bench.look(1.0, stable=GONE)
    assert bench.jump(7200.0, stable=GONE).verdict == "hold"
    assert bench.state.weight == 50


def test_a_paused_canary_is_still_watched() -> None:
    """Harm ends a pause."""
    bench = settled("step")
    bench.look(601.0)
    bench.feed({"requests": 50, "errors": 50}, {"requests": 950})
    assert bench.look().verdict == "rollback"


def test_a_source_that_answers_again_ends_its_pause() -> None:
    """Silence in the bake pauses; the first fresh counts resume."""
    bench = settled("bake")
    bench.look(21.0, counters=None)
    assert bench.state.pause is not None
    assert bench.state.pause.reason is Reason.METRICS
    bench.look()
    assert bench.state.phase is Phase.BAKE


def test_stale_counts_are_silence() -> None:
    """Counts that are not fresh neither move the weights nor end the silence."""
    bench = settled("step")
    bench.feed({"requests": 500}, {"requests": 9500})
    stale = Counters({token: dict(arms) for token, arms in bench.counts.items()}, fresh=False)
    assert bench.look(6.0, counters=stale).verdict == "hold"
    assert bench.look(21.0, counters=stale).verdict == "rollback"


def test_the_error_budget_needs_no_statistics() -> None:
    """Fifty failures beyond stable's rate end a rollout whose harm test tolerates them."""
    bench = settled("step", gates={"error": {"ratio": 50, "slo": 0.5}, "quality": None})
    bench.feed({"requests": 2000, "errors": 51}, {"requests": 38_000})
    decision = bench.look()
    assert (decision.verdict, "51 requests" in decision.sentence) == ("rollback", True)


def test_errors_that_stable_has_too_do_not_use_up_the_budget() -> None:
    """A busy service with errors of its own is not sent home for being busy."""
    bench = settled("step", gates={"error": {"slo": 0.2}})
    bench.feed({"requests": 5000, "errors": 75}, {"requests": 95_000, "errors": 1425})
    assert bench.look(6.0).verdict == "move"


def test_the_guard_watches_the_bake_without_a_stable_arm() -> None:
    """An error rate far above the objective ends the bake, whatever the ratio says."""
    bench = settled("bake")
    bench.feed({"requests": 200, "errors": 30}, {"requests": 10, "errors": 0})
    decision = bench.look()
    assert (decision.verdict, "objective" in decision.sentence) == ("rollback", True)


@pytest.mark.parametrize("approve", ["required", "optional"])
def test_a_required_approval_is_waited_for(approve: str) -> None:
    """``required`` pauses before the step's weight; ``optional`` goes on."""
    bench = settled("step", steps=[5, {"weight": 10, "approve": approve}])
    bench.feed({"requests": 500}, {"requests": 9500})
    bench.look(6.0)
    held = bench.state.pause
    assert (held.reason if held else None) == (Reason.APPROVAL if approve == "required" else None)
    assert bench.state.weight == (50 if approve == "required" else 100)


def test_a_freeze_window_holds_the_weights_but_not_the_way_home() -> None:
    """No step up in the window, a rollback at any time."""
    always = [{"start": "00:00", "end": "24:00"}]
    frozen = Bench(freeze=always)
    assert frozen.look().verdict == "hold"
    bench = settled("step")
    bench.state = bench.state.model_copy(update={"request": request(freeze=always)})
    bench.feed({"requests": 500}, {"requests": 9500})
    assert "freeze" in bench.look(6.0).sentence
    assert bench.look(candidate=GONE).verdict == "rollback"


def test_a_shadow_step_exposes_nobody() -> None:
    """Copies are counted until there are enough; only then does a user meet the candidate."""
    bench = settled("shadow", steps=[{"shadow": 100, "until": 300}, 5])
    split = wanted_split(bench.state)
    assert split is not None
    assert (dict(split.weights), split.mirror) == ({"housing-1": 1000}, "housing-2")
    bench.feed({"mirrored": 299}, {"requests": 299})
    assert bench.look(6.0).verdict == "hold"
    bench.feed({"mirrored": 1}, {"requests": 1})
    decision = bench.look()
    assert (decision.verdict, bench.state.weight) == ("move", 50)
    assert decision.evidence.shadow == (300, 0)
    assert decision.evidence.shadow_bound < 0.02


def test_without_random_arms_a_person_decides() -> None:
    """A place whose arms are a rota gets no automatic verdict, but failures still end the rollout."""
    bench = Bench()
    rota = dataclasses.replace(FakeBackend.capabilities(bench.backend), per_request_random=False)
    bench.state = begin(request(), rota, NOW)
    bench.to("paused")
    assert bench.state.pause is not None
    assert bench.state.pause.reason is Reason.UNRANDOM
    assert bench.look(candidate=GONE).verdict == "rollback"


def test_a_first_version_takes_all_requests_when_ready() -> None:
    """Without a version to compare with there are no steps."""
    bench = Bench()
    bench.state = begin(request(stable=None), bench.backend.capabilities(), NOW)
    for _ in range(4):
        bench.look(stable=None)
    assert (bench.state.phase, bench.state.weight) == (Phase.ADOPT, 1000)


def test_labels_that_block_are_waited_for() -> None:
    """``labels: block`` needs labels before more traffic; ``watch`` goes on without."""
    bench = settled("step", gates={"quality": {"labels": "block"}})
    bench.feed({"requests": 500}, {"requests": 9500})
    assert bench.look(6.0).verdict == "hold"
    bench.feed({"labelled": 500}, {"labelled": 9500})
    assert bench.look().verdict == "move"


def test_labels_that_arrive_unevenly_are_not_trusted() -> None:
    """Labels for one arm only are a selection, and no verdict rests on them."""
    bench = settled("step")
    bench.feed({"requests": 500, "labelled": 450, "mistakes": 100}, {"requests": 9500, "labelled": 450})
    decision = bench.look()
    assert (decision.verdict, "labels" in decision.sentence) == ("pause", True)


def test_counts_while_a_split_settles_are_no_certificate() -> None:
    """Requests from before traffic followed the split count for harm, never for promotion."""
    bench = in_phase("step")
    bench.feed({"requests": 500}, {"requests": 9500})
    bench.look(6.0)
    assert bench.state.settled
    decision = bench.look()
    assert decision.verdict == "hold"
    assert decision.evidence.gates[0].canary == (0, 0)


def test_harm_is_weighed_at_the_larger_weight_while_a_split_settles() -> None:
    """Errors from before traffic followed the split may have come at either weight; the milder reading counts."""
    bench = in_phase("step")
    assert bench.state.epoch is not None
    bench.feed({"requests": 10, "errors": 2}, {"requests": 100})
    seen = {}
    for before in (0, 500):
        epoch = bench.state.epoch.model_copy(update={"previous": before})
        state = bench.state.model_copy(update={"epochs": (epoch,), "counts": bench.counts})
        seen[before] = weigh(state).log_e
    assert 0 < seen[500] < seen[0]


def test_a_candidate_that_serves_already_is_refused() -> None:
    """There is nothing to roll out."""
    with pytest.raises(ConfigError, match="already serves"):
        begin(request(candidate=1), FakeBackend.capabilities(Bench().backend), NOW)


COUNTS = st.builds(
    ArmCounts,
    requests=st.integers(0, 500),
    errors=st.integers(0, 50),
    bins=st.dictionaries(st.sampled_from("ab"), st.integers(0, 9)),
)


@given(COUNTS, COUNTS)
@settings(deadline=None)
def test_counts_only_grow(a: ArmCounts, b: ArmCounts) -> None:
    """Merging is idempotent and never smaller; an epoch or an arm that only one side knows stays."""
    once = merged({"e": {"r": a}, "old": {"r": a}}, {"e": {"r": b, "s": b}})
    assert once == {"e": {"r": a | b, "s": b}, "old": {"r": a}}
    assert merged(once, {"e": {"r": b}}) == once


ODD = st.fixed_dictionaries(
    {},
    optional={
        "candidate": st.sampled_from([None, GONE, Readiness("starting")]),
        "stable": st.sampled_from([None, GONE]),
        "observed": st.none(),
        "counters": st.none(),
        "drained": st.booleans(),
    },
)


@given(st.lists(st.tuples(st.floats(0.1, 400), ODD), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_without_user_requests_nothing_is_ever_promoted(looks) -> None:
    """Whatever the schedule of looks and failures, no weight above the declared first step is reached."""
    bench = Bench()
    for after, seen in looks:
        bench.jump(after, **seen)
        assert bench.state.weight <= 50
        assert bench.state.phase not in (Phase.BAKE, Phase.PROMOTE, Phase.ADOPT, Phase.SUCCEEDED)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_silence_promotes_in_none_of_a_thousand_runs() -> None:
    """No traffic, a silent source, and both in turns: 0 promotions in 1,000 runs to the end."""
    for run in range(1000):
        bench = Bench(time={"step": "60s", "pause": "60s"})
        for look in range(30):
            silent = {"counters": None} if (run + look) % 3 == 0 else {}
            bench.jump(9.0, **silent)
            if bench.state.terminal or bench.state.phase is Phase.REMOVE:
                break
        assert bench.state.weight == 0, "it went home"
        assert bench.state.phase is not Phase.SUCCEEDED


def test_the_status_says_everything_in_figures_and_words() -> None:
    """Split as configured and realized, evidence with its threshold, what is still needed, and who holds the lease."""
    bench = settled("step")
    bench.feed({"requests": 20}, {"requests": 380})
    bench.look()
    found = status(bench.state, bench.now)
    assert found.configured == {"housing-2": 5.0, "housing-1": 95.0}
    assert found.realized == {"housing-2": 5.0, "housing-1": 95.0}
    assert (found.threshold, found.rho, found.phase, found.step) == (100, 0.01, "step", 0)
    assert found.harm == pytest.approx(1.0)
    assert found.requests_needed is not None
    assert 400 < found.requests_needed < 700
    assert any("more requests certify 10%" in sentence for sentence in found.sentences)
    text = "\n".join(explain(bench.state))
    assert "error: candidate 0 of 20, stable 0 of 380" in text
    assert "roll back at 100" in text


def large_state(epochs: int = 50, bins: int = 7) -> RolloutState:
    """Fifty epochs, three gates and seven output bins: ten classes of events."""
    bench = settled("step")
    names = {f"bin {b}": 10 for b in range(bins)}
    found, counts = [], {}
    for number in range(epochs):
        token = f"{bench.state.id}.{number + 1}"
        found.append(
            Epoch(token=token, weight=50, previous=50, step=number // 13, since=NOW, settling={}, digest="digest")
        )
        counts[token] = {
            "housing-2": ArmCounts(100, 1, 1, bins=names, labelled=50, mistakes=1),
            "housing-1": ArmCounts(1900, 19, 19, bins=dict.fromkeys(names, 190), labelled=950, mistakes=19),
        }
    return bench.state.model_copy(update={"epochs": tuple(found), "counts": counts, "step": 3})


def test_a_large_state_is_decided_on() -> None:
    """Ten classes over fifty epochs are one look like any other."""
    state = large_state()
    observed = Observed(wanted_split(state), state.epochs[-1].token, "digest")
    decision = decide(state, Seen(Readiness("ready"), Readiness("ready"), observed, Counters(state.counts)), NOW + 60)
    assert math.isfinite(decision.evidence.log_e)
    assert decision.evidence.gates[0].canary[0] == 100 * sum(1 for epoch in state.epochs if epoch.step == 3)
