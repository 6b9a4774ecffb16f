"""Simulated rollouts keep the promised error rates, and the simulation is the engine."""

from collections import defaultdict
from itertools import zip_longest
from typing import Any

import numpy as np
import pytest

from serving.rollout.decision import rules
from serving.rollout.decision.characteristics import (
    TRUTHS,
    operating_characteristics,
    over_limit,
    reference_plan,
    row,
    table,
    windows,
    z_test,
)
from serving.rollout.decision.edits import answer_edit
from serving.rollout.decision.engine import RULES
from serving.rollout.decision.simulate import (
    HEARD,
    INCONCLUSIVE,
    PAUSED,
    PROMOTED,
    ROLLED_BACK,
    Batch,
    Traffic,
    Truth,
    at_most,
    could_be_certified,
    simulate,
)
from serving.rollout.evidence.evidence import Evidence, evidence_of
from serving.rollout.evidence.figures import Figures, certified
from serving.rollout.state import Phase
from tests.serving.rollout.support import Bench

PLAN = reference_plan()
EQUAL = Truth("equal, drifting and bursty", (0.003, 0.005, 0.005), (0.003, 0.005, 0.005), drift=True, bursts=True)
MARGIN = Truth("excess rho", (0.001, 0.001, 0.001), (0.011, 0.001, 0.001))
HEAVY = Truth("excess rho on a high rate", (0.02, 0.001, 0.001), (0.0301, 0.001, 0.001))
FAILING = Truth("total failure", (0.001, 0.001, 0.001), (1.0, 0.001, 0.001))
CLEAN = Truth("clean", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
ENDS = {PROMOTED: "hold", INCONCLUSIVE: "hold", ROLLED_BACK: "rollback", PAUSED: "pause"}  # clocks stand still in life


class Watching:
    """The looks of simulated runs: per run its batches' rows, the evidence, and whether it could be certified."""

    def __init__(self) -> None:
        self.looks: dict[int, list[tuple[int, Any, Any, Evidence]]] = defaultdict(list)
        self.hidden = 0

    def __call__(self, batch: Batch, figures: Figures) -> None:
        self.hidden += int(np.sum(certified(figures.gates, figures.certificate) & ~could_be_certified(figures)))
        for at, run in enumerate(batch.runs.tolist()):
            step = int(batch.step[at])
            self.looks[run].append((step, batch.canary[at], batch.stable[at], evidence_of(figures, at)))


def counted(drawn: Any) -> dict[str, int]:
    requests, errors, slow, mistakes = drawn.tolist()
    return {"requests": requests, "errors": errors, "slow": slow, "labelled": requests, "mistakes": mistakes}


@pytest.mark.parametrize(
    ("truth", "changes", "end"),
    [
        pytest.param(MARGIN, {}, ROLLED_BACK, id="harm"),
        pytest.param(FAILING, {}, ROLLED_BACK, id="total-failure"),
        pytest.param(Truth("equal", (0.002, 0.01, 0.0), (0.002, 0.01, 0.0)), {}, INCONCLUSIVE, id="equal"),
        pytest.param(
            Truth("many errors", (0.0, 0.0, 0.0), (0.6, 0.0, 0.0)),
            {"gates": {"error": {"ratio": 1000}}, "risk": {"max_canary_errors": 5}},
            ROLLED_BACK,
            id="budget",
        ),
        pytest.param(
            Truth("equal, many errors", (0.03, 0.0, 0.0), (0.03, 0.0, 0.0)),
            {"gates": {"error": {"slo": 0.005}, "slow": None}},
            PAUSED,
            id="stable-breaks-its-objective",
        ),
        pytest.param(
            Truth("errors", (0.0, 0.0, 0.0), (0.04, 0.0, 0.0)),
            {"gates": {"error": {"slo": 0.003, "ratio": 1000}, "quality": None}, "steps": [5], "risk": {"rho": 0.2}},
            ROLLED_BACK,
            id="objective-in-the-bake",
        ),
        pytest.param(
            MARGIN,
            {"risk": {"min_excess": 0.001}, "steps": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]},
            INCONCLUSIVE,
            id="certain-excess-in-ten-steps",
        ),
        pytest.param(CLEAN, {"gates": {"quality": {"labels": "watch"}}}, PROMOTED, id="clean"),
    ],
)
def test_the_simulation_is_the_engine(truth: Truth, changes: dict[str, Any], end: int) -> None:
    """The same counts, fed to the engine look by look: the same evidence to the last digit, and the same verdicts."""
    bench = Bench(**({"gates": PLAN.gates.model_dump(), "time": {"dwell": "0s", "step": 1e9, "bake": 1e9}} | changes))
    begun, seen = bench.state, Watching()
    outcomes = simulate(begun.plan, truth, 6, 21, Traffic(bake=500, step=2000), seen)
    assert seen.hidden == 0
    assert end in outcomes.outcome
    for run, looks in seen.looks.items():
        bench = Bench()
        bench.state = begun
        bench.to("step")
        following = [step for step, *_ in looks[1:]]
        for (step, canary, stable, evidence), after in zip_longest(looks, following):
            if not bench.state.settled:
                assert bench.jump(0.5).verdict == "hold"
            assert bench.state.step == step
            bench.feed(counted(canary), counted(stable))
            decision = bench.jump(0.5)
            assert decision.evidence == evidence
            expected = "hold" if after == step else "move"
            assert decision.verdict == (ENDS[outcomes.outcome[run]] if after is None else expected)


def test_every_rule_of_a_step_is_heard_or_has_nothing_to_say() -> None:
    """What a simulation leaves out is about people, clocks, the place, and predictions."""
    outside = {
        rules.candidate_refused, rules.unattended, rules.endpoints_lost, rules.metrics_silent, answer_edit,
        rules.unsettled, rules.shifted,
    }  # fmt: skip
    assert {*RULES[Phase.STEP], *RULES[Phase.BAKE]} == outside | set(HEARD)


@pytest.mark.parametrize("truth", [EQUAL, CLEAN])
def test_an_equal_candidate_is_promoted(truth: Truth) -> None:
    """200 runs under drift and bursts, three gates: no more than a chance few go home."""
    seen = simulate(PLAN, truth, 200, 31)
    assert at_most(seen.count(ROLLED_BACK), 200) <= 0.05
    assert seen.share(PROMOTED) >= 0.95


@pytest.mark.parametrize("truth", [MARGIN, FAILING])
def test_a_harmful_candidate_is_not_promoted(truth: Truth) -> None:
    """Of 200 runs none."""
    seen = simulate(PLAN, truth, 200, 32)
    assert seen.count(PROMOTED) == 0


def test_a_total_failure_costs_a_handful_of_requests() -> None:
    """At 5 % of traffic, looked at every fifty requests: at most seven users at the 95th percentile."""
    seen = simulate(PLAN, FAILING, 400, 33)
    assert np.quantile(seen.failed, 0.95) <= 7


def test_a_clean_service_is_promoted_within_six_thousand_requests() -> None:
    """Median over 100 runs, bake included."""
    assert np.median(simulate(PLAN, CLEAN, 100, 34).requests) <= 6000


def test_a_run_out_of_requests_ends_without_verdict() -> None:
    """A step has an end, and it is not promotion."""
    seen = simulate(PLAN, CLEAN, 20, 35, Traffic(step=200))
    assert seen.share(INCONCLUSIVE) == 1.0


def test_common_rules_roll_back_healthy_candidates() -> None:
    """On the same traffic a threshold and a peeking z-test send a large part of healthy candidates home."""
    truth = TRUTHS[2]
    for rule in (over_limit, z_test):
        assert windows(PLAN, truth, 300, 36, rule).share(ROLLED_BACK) > 0.3


def test_the_table_has_a_row_for_each_truth_and_rule() -> None:
    """Markdown for people, rows for programs."""
    rows = operating_characteristics(20, 37, truths=(CLEAN, FAILING))
    assert [(r.truth, r.promoted) for r in rows[::3]] == [("clean", 1.0), ("total failure", 0.0)]
    assert table(rows).count("\n") == 2 + len(rows)


def test_the_same_seed_gives_the_same_runs() -> None:
    """Simulations are repeatable."""
    a, b = (simulate(PLAN, EQUAL, 20, 38) for _ in range(2))
    assert row("r", EQUAL, a) == row("r", EQUAL, b)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_thousand_equal_candidates() -> None:
    """False rollback under drift and bursts with three gates: 99 % upper bound at most alpha + 0.5 points."""
    seen = simulate(PLAN, EQUAL, 2000, 41)
    assert at_most(seen.count(ROLLED_BACK), 2000) <= PLAN.risk.alpha + 0.005


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("truth", [MARGIN, HEAVY])
def test_a_thousand_candidates_with_excess_rho(truth: Truth) -> None:
    """False promotion: 99 % upper bound at most beta."""
    seen = simulate(PLAN, truth, 1000, 42)
    assert at_most(seen.count(PROMOTED), 1000) <= PLAN.risk.beta
