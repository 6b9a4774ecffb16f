"""How often rollouts decide wrongly: the rule of this package beside two that are in common use, on equal traffic."""

from collections.abc import Callable
from typing import Any

import numpy as np

from serving.contract import Frozen
from serving.rollout.decision.simulate import (
    INCONCLUSIVE,
    PAUSED,
    PROMOTED,
    ROLLED_BACK,
    Outcomes,
    Truth,
    at_most,
    simulate,
    wave,
)
from serving.rollout.plan import RolloutPlan

Pair = tuple[Any, Any]
FailedChecks = Callable[[Pair, Pair], Any]

TRUTHS = (
    Truth("no errors, equal", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    Truth("0.1 % errors, equal", (0.001, 0.001, 0.001), (0.001, 0.001, 0.001)),
    Truth("0.5 % errors, equal", (0.005, 0.005, 0.005), (0.005, 0.005, 0.005)),
    Truth("equal, drifting and bursty", (0.003, 0.005, 0.005), (0.003, 0.005, 0.005), drift=True, bursts=True),
    Truth("0.1 % -> 0.3 % errors (tolerated)", (0.001, 0.001, 0.001), (0.003, 0.001, 0.001)),
    Truth("0.1 % -> 1.1 % errors (excess rho)", (0.001, 0.001, 0.001), (0.011, 0.001, 0.001)),
    Truth("2 % -> 3 % errors (excess rho)", (0.02, 0.001, 0.001), (0.03, 0.001, 0.001)),
    Truth("0.1 % -> 1.1 % slow (excess rho)", (0.001, 0.001, 0.001), (0.001, 0.011, 0.001)),
    Truth("0.1 % -> 5 % errors", (0.001, 0.001, 0.001), (0.05, 0.001, 0.001)),
    Truth("0.1 % -> 100 % errors", (0.001, 0.001, 0.001), (1.0, 0.001, 0.001)),
)


class Row(Frozen):
    """One rule under one truth; shares in [0, 1], requests and failures as median and 95th percentile.

    Attributes:
        at_most: one-sided 99 % Clopper-Pearson bounds of (promoted, rolled back).
        failed: user requests that the canary failed.
    """

    rule: str
    truth: str
    runs: int
    promoted: float
    rolled_back: float
    inconclusive: float
    at_most: tuple[float, float]
    requests: tuple[float, float]
    failed: tuple[float, float]


def operating_characteristics(
    runs: int, seed: int, plan: RolloutPlan | None = None, truths: tuple[Truth, ...] = TRUTHS
) -> tuple[Row, ...]:
    """Each truth under three rules: e-values, a threshold per window, and a z-test at every window."""
    chosen = plan or reference_plan()
    rows = []
    for number, truth in enumerate(truths):
        rows.append(row("e-values", truth, simulate(chosen, truth, runs, seed + number)))
        for name, rule in (("threshold 1 %, 5 failed windows", over_limit), ("z-test 5 % at each window", z_test)):
            rows.append(row(name, truth, windows(chosen, truth, runs, seed + number, rule)))
    return tuple(rows)


def reference_plan() -> RolloutPlan:
    """The default plan for a service that promises 5 % or better, so that no truth in the table breaks the promise."""
    return RolloutPlan.model_validate(
        {"service": "simulated", "gates": {"error": {"slo": 0.05}, "quality": {"labels": "block"}}}
    )


def row(rule: str, truth: Truth, seen: Outcomes) -> Row:
    runs = len(seen.outcome)

    def spread(values: Any) -> tuple[float, float]:
        return float(np.median(values)), float(np.quantile(values, 0.95))

    return Row(
        rule=rule,
        truth=truth.name,
        runs=runs,
        promoted=seen.share(PROMOTED),
        rolled_back=seen.share(ROLLED_BACK),
        inconclusive=seen.share(INCONCLUSIVE) + seen.share(PAUSED),
        at_most=(at_most(seen.count(PROMOTED), runs), at_most(seen.count(ROLLED_BACK), runs)),
        requests=spread(seen.requests),
        failed=spread(seen.failed),
    )


def table(rows: tuple[Row, ...]) -> str:
    """Markdown."""
    lines = [
        "| truth (stable -> canary) | rule | promoted | rolled back | no verdict | requests, median (p95) | "
        "failed by canary, median (p95) |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.truth} | {r.rule} | {r.promoted:.1%} | {r.rolled_back:.1%} | {r.inconclusive:.1%} | "
        f"{r.requests[0]:,.0f} ({r.requests[1]:,.0f}) | {r.failed[0]:,.0f} ({r.failed[1]:,.0f}) |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


# What a rule says of the windows of one step: requests and errors of (canary, stable), each of shape (runs, windows).


def over_limit(requests: Pair, errors: Pair) -> Any:
    """Failed checks per window: the canary's error rate in the window is above 1 %; five of them roll back."""
    return errors[0] > 0.01 * requests[0]


def z_test(requests: Pair, errors: Pair) -> Any:
    """A one-sided test at 5 % of the step so far, looked at after each window; the first rejection rolls back."""
    (nc, ns), (kc, ks) = np.cumsum(requests, axis=2), np.cumsum(errors, axis=2)
    pooled = (kc + ks) / (nc + ns)
    deviation = np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(nc, 1) + 1 / np.maximum(ns, 1)))
    difference = kc / np.maximum(nc, 1) - ks / np.maximum(ns, 1)
    return 5 * (difference > 1.645 * np.maximum(deviation, 1e-12))  # one rejection weighs as much as five failed checks


def windows(plan: RolloutPlan, truth: Truth, runs: int, seed: int, failed_checks: FailedChecks) -> Outcomes:
    """A rule that looks at windows of 300 requests, 15 to a step, and counts failed checks of the first class."""
    size, per_step, allowed = 300, 15, 5
    rng = np.random.default_rng(seed)
    weights = np.repeat([stage.permille / 1000 for stage in plan.stages], per_step)
    factor = wave(truth, runs, len(weights), size, rng)
    nc = rng.binomial(size, np.broadcast_to(weights, factor.shape))
    kc = rng.binomial(nc, np.minimum(1.0, factor * truth.canary[0]))
    ks = rng.binomial(size - nc, np.minimum(1.0, factor * truth.stable[0]))
    checks = [
        failed_checks((nc[:, step], size - nc[:, step]), (kc[:, step], ks[:, step]))
        for step in (slice(first, first + per_step) for first in range(0, len(weights), per_step))
    ]
    seen = np.cumsum(np.concatenate(checks, axis=1), axis=1)
    bad = seen >= allowed
    back = bad.any(axis=1)
    end = np.where(back, bad.argmax(axis=1), len(weights) - 1)
    failed = np.take_along_axis(np.cumsum(kc, axis=1), end[:, None], axis=1)[:, 0]
    return Outcomes(np.where(back, ROLLED_BACK, PROMOTED), (end + 1) * size, failed)
