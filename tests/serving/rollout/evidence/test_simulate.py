"""Simulated rollouts keep the promised error rates, and the simulation is the engine."""

import numpy as np
import pytest

from serving.rollout.evidence.characteristics import (
    TRUTHS,
    operating_characteristics,
    over_limit,
    reference_plan,
    row,
    table,
    windows,
    z_test,
)
from serving.rollout.evidence.simulate import (
    INCONCLUSIVE,
    PROMOTED,
    ROLLED_BACK,
    Batch,
    Traffic,
    Truth,
    at_most,
    simulate,
)
from serving.rollout.state import Phase
from tests.serving.rollout.support import Bench

PLAN = reference_plan()
EQUAL = Truth("equal, drifting and bursty", (0.003, 0.005, 0.005), (0.003, 0.005, 0.005), drift=True, bursts=True)
MARGIN = Truth("excess rho", (0.001, 0.001, 0.001), (0.011, 0.001, 0.001))
HEAVY = Truth("excess rho on a high rate", (0.02, 0.001, 0.001), (0.0301, 0.001, 0.001))
FAILING = Truth("total failure", (0.001, 0.001, 0.001), (1.0, 0.001, 0.001))
CLEAN = Truth("clean", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("truth", [MARGIN, FAILING, Truth("equal", (0.002, 0.01, 0.0), (0.002, 0.01, 0.0))])
def test_the_simulation_decides_as_the_engine_does(truth: Truth) -> None:
    """The same counts, fed to the engine look by look, give the same steps and the same end."""
    batches: list[Batch] = []
    runs = simulate(PLAN, truth, 1, 21, Traffic(bake=500), batches.append)
    bench = Bench(gates=PLAN.gates.model_dump(), time={"dwell": "0s", "bake": "0s"})
    bench.state = bench.state.model_copy(
        update={"request": bench.state.request.model_copy(update={"plan": _patient(bench)})}
    )
    bench.to("step")
    for batch in batches:
        step = int(batch.step[0])
        if not bench.state.settled:
            assert bench.jump(0.5).verdict == "hold"
        assert (bench.state.step, bench.state.phase) == (step, Phase.BAKE if step == 4 else Phase.STEP)
        if step == 4:
            break
        (e, s, m), (ee, ss, mm) = batch.canary[0].tolist(), batch.stable[0].tolist()
        n, nn = int(batch.n_canary[0]), int(batch.n_stable[0])
        bench.feed(
            {"requests": n, "errors": e, "slow": s, "labelled": n, "mistakes": m},
            {"requests": nn, "errors": ee, "slow": ss, "labelled": nn, "mistakes": mm},
        )
        bench.jump(0.5)
    ended = bench.state.phase is Phase.ROLLBACK
    assert ended == (runs.outcome[0] == ROLLED_BACK)


def _patient(bench: Bench):
    times = bench.state.plan.time.model_copy(update={"step": 1e9, "bake": 1e9})
    return bench.state.plan.model_copy(update={"time": times})


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
