"""Many rollouts at once against traffic whose truth is known: how often is the verdict wrong, and what does it cost.

Runs are rows of arrays, and the arithmetic is that of ``bounds`` and ``harm``; only the state machine is written again,
without clocks: a step lasts until it is certified, found harmful, or has used up its requests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from serving.rollout.backend import WEIGHT_SUM
from serving.rollout.evidence.bounds import Floats, log_against_high, log_against_low, log_sum_exp, lower, upper
from serving.rollout.evidence.evidence import BUDGET_NOISE, SRM_THRESHOLD, guard_levels, next_copy
from serving.rollout.evidence.harm import RATIOS, copy_shares, increments, log_srm
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import BAKE_WEIGHT

Ints = npt.NDArray[np.int64]
RUNNING, PROMOTED, ROLLED_BACK, INCONCLUSIVE, PAUSED = range(5)


@dataclass(frozen=True)
class Truth:
    """Event rates of both arms, one per class, in [0, 1].

    Attributes:
        drift: the base rates of all classes move between 0.1 and 1.9 times their value over each run.
        bursts: one interval in fifty has ten times the rate, for both arms.
    """

    name: str
    stable: tuple[float, ...]
    canary: tuple[float, ...]
    drift: bool = False
    bursts: bool = False


@dataclass(frozen=True)
class Traffic:
    """How requests arrive and how long is waited, all in requests.

    Attributes:
        every: between two looks. step: most that one step may use. bake: in the bake.
        lag: still answered by the canary's old weight after a verdict, until the new split is followed.
    """

    every: int = 50
    step: int = 20_000
    bake: int = 1000
    lag: int = 0


@dataclass(frozen=True)
class Outcomes:
    """What became of each run; arrays of shape (runs,)."""

    outcome: Ints
    requests: Ints
    failed: Ints

    def share(self, outcome: int) -> float:
        return float(np.mean(self.outcome == outcome))

    def count(self, outcome: int) -> int:
        return int(np.sum(self.outcome == outcome))


@dataclass(frozen=True)
class Batch:
    """New counts of the active runs between two looks; events have shape (active, classes)."""

    runs: Ints
    step: Ints
    n_canary: Ints
    n_stable: Ints
    canary: Ints
    stable: Ints


@dataclass
class _Fleet:
    """The evidence of the runs that still go on, row by row."""

    plan: RolloutPlan
    ratios: Sequence[float]
    shares: Floats
    runs: Ints
    step: Ints
    used: Ints
    n: Ints  # (runs, 2): requests of canary and stable in this step
    events: Ints  # (runs, classes, 2)
    logs: Floats  # (runs, classes, copies, grid)
    srm: Floats  # (runs, stages + 1)
    newly: Floats  # (runs, 2): errors beyond stable's rate in the steps, and the variance of that
    baked: Ints  # (runs, 2): requests and errors of the canary in the bake
    copies: list[tuple[int, Ints]] = field(default_factory=list)

    @classmethod
    def new(cls, plan: RolloutPlan, classes: int, runs: int) -> "_Fleet":
        gates = plan.gates
        known = [gate for gate in (gates.error, gates.slow, gates.quality) if gate is not None][:classes]
        shares = np.array([gate.share for gate in known])
        stages = len(plan.stages) + 1
        zeros = np.zeros(runs, dtype=np.int64)
        return cls(
            plan, [gate.ratio for gate in known], np.log(shares / shares.sum()), np.arange(runs), zeros.copy(),
            zeros.copy(), np.zeros((runs, 2), np.int64), np.zeros((runs, classes, 2), np.int64),
            np.zeros((runs, classes, stages, len(RATIOS))), np.zeros((runs, stages)),
            np.zeros((runs, 2)), np.zeros((runs, 2), np.int64),
        )  # fmt: skip

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        for name in ("runs", "step", "used", "n", "events", "logs", "srm", "newly", "baked"):
            setattr(self, name, getattr(self, name)[rows])
        self.copies = [(n, start[rows]) for n, start in self.copies]

    def absorb(self, batch: Batch, weights: Floats) -> None:
        self.n += np.stack([batch.n_canary, batch.n_stable], axis=1)
        self.events += np.stack([batch.canary, batch.stable], axis=2)
        self.used += batch.n_canary + batch.n_stable
        copies = np.arange(self.logs.shape[2])
        started = (self.step[:, None] >= copies)[:, :, None]
        for number, ratio in enumerate(self.ratios):
            up, down = increments(weights, ratio)
            more = batch.canary[:, number, None] * up + batch.stable[:, number, None] * down
            self.logs[:, number] += started * more[:, None, :]
        rows = np.arange(len(self.step))
        self.srm[rows, self.step] = log_srm(weights, self.n[:, 0], self.n.sum(axis=1))
        baking = self.step == len(self.plan.stages)
        odds, kc, ks = weights / (1 - weights), batch.canary[:, 0], batch.stable[:, 0]
        more_failed = np.stack([kc - odds * ks, kc + odds**2 * ks], axis=1)
        self.newly += np.where(baking[:, None], 0.0, more_failed)
        self.baked += np.where(baking[:, None], np.stack([batch.n_canary, batch.canary[:, 0]], axis=1), 0)

    def log_e(self) -> Floats:
        per_copy = log_sum_exp(self.logs) - np.log(len(RATIOS))
        per_class = log_sum_exp(per_copy + np.log(copy_shares(self.logs.shape[2])))
        return log_sum_exp(per_class + self.shares)

    def certified(self, next_weights: Floats) -> npt.NDArray[np.bool_]:
        """Runs whose every class meets the promotion rule; a cheap necessary condition comes first."""
        risk = self.plan.risk
        half, room = risk.beta / 2, (risk.rho / next_weights)[:, None]
        n_c, n_s = np.broadcast_arrays(self.n[:, :1], self.n[:, 1:]), self.events[:, :, 1]
        mean = np.where(n_c[1] > 0, n_s / np.maximum(n_c[1], 1), 0.0)
        ceiling = np.minimum(mean + room, 1.0)
        possible = np.all(log_against_high(n_c[0], self.events[:, :, 0], ceiling) >= -np.log(half), axis=1)
        holds = np.zeros(len(possible), dtype=bool)
        rows = np.flatnonzero(possible & (self.n[:, 0] > 0))
        if len(rows):
            classes = self.events.shape[1]
            trials = np.repeat(self.n[rows, None, :], classes, axis=1)
            high = upper(trials[:, :, 0], self.events[rows, :, 0], half)
            low = lower(trials[:, :, 1], self.events[rows, :, 1], half)
            excess = next_weights[rows, None] * np.maximum(0.0, high - low)
            holds[rows] = np.all(excess <= risk.rho, axis=1)
        return holds

    def mismatched(self) -> npt.NDArray[np.bool_]:
        return np.asarray(log_sum_exp(self.srm) - np.log(self.srm.shape[1]) >= np.log(SRM_THRESHOLD))

    def guarded(self) -> npt.NDArray[np.bool_]:
        """Runs whose absolute guard fires in the bake; copies start where ``evidence.with_copy`` starts them."""
        gate = self.plan.gates.error
        baking = self.step == len(self.plan.stages)
        if gate is None or not np.any(baking):
            return np.zeros(len(self.step), dtype=bool)
        if not self.copies:
            self.copies.append((0, np.zeros_like(self.baked)))
        largest = int(self.baked[:, 0].max())
        if next_copy([n for n, _ in self.copies], largest):
            self.copies.append((largest, self.baked.copy()))
        starts = np.stack([start for _, start in self.copies], axis=1)
        since = np.maximum(self.baked[:, None, :] - starts, 0)
        levels = guard_levels(len(self.copies))
        fires = np.any(log_against_low(since[..., 0], since[..., 1], gate.slo) >= -np.log(levels), axis=1)
        return np.asarray(fires & baking)

    def over_budget(self) -> npt.NDArray[np.bool_]:
        limit = np.maximum(self.plan.risk.max_canary_errors, BUDGET_NOISE * np.sqrt(self.newly[:, 1]))
        return np.asarray((self.newly[:, 0] >= limit) & (self.step < len(self.plan.stages)))

    def climb(self, rows: npt.NDArray[np.bool_]) -> None:
        self.step = np.where(rows, self.step + 1, self.step)
        self.used, self.n = np.where(rows, 0, self.used), np.where(rows[:, None], 0, self.n)
        self.events = np.where(rows[:, None, None], 0, self.events)


def simulate(
    plan: RolloutPlan,
    truth: Truth,
    runs: int,
    seed: int,
    traffic: Traffic = Traffic(),
    observe: Callable[[Batch], None] | None = None,
) -> Outcomes:
    """Run *runs* rollouts of *plan* under *truth*.

    Args:
        observe: is given the new counts before each look, in the order of the looks.
    """
    rng = np.random.default_rng(seed)
    weights = np.array([stage.permille for stage in plan.stages] + [BAKE_WEIGHT]) / WEIGHT_SUM
    following = np.append(weights[1:-1], [1.0, 1.0])
    fleet = _Fleet.new(plan, len(truth.stable), runs)
    outcome, requests, failed = (np.zeros(runs, dtype=np.int64) for _ in range(3))
    drift = _Drift(truth, runs, rng)
    while len(fleet.runs):
        w = weights[fleet.step]
        batch = _draw(fleet, drift, w, truth, traffic.every, rng)
        if observe is not None:
            observe(batch)
        fleet.absorb(batch, w)
        requests[fleet.runs] += traffic.every
        failed[fleet.runs] += batch.canary[:, 0]
        found = _verdicts(fleet, following[fleet.step], traffic)
        over = found != RUNNING
        outcome[fleet.runs[over]] = found[over]
        if traffic.lag:
            back = found == ROLLED_BACK
            late = rng.binomial(traffic.lag, w[back] * truth.canary[0])
            failed[fleet.runs[back]] += late
        fleet.keep(~over)
    return Outcomes(outcome, requests, failed)


def at_most(count: int, runs: int, confidence: float = 0.99) -> float:
    """One-sided Clopper-Pearson upper bound of a rate seen as *count* in *runs*."""
    return 1.0 if count >= runs else float(betaincinv(count + 1, runs - count, confidence))


def _verdicts(fleet: _Fleet, following: Floats, traffic: Traffic) -> Ints:
    """Outcome per active run; runs that are certified climb and go on."""
    risk, last = fleet.plan.risk, len(fleet.plan.stages)
    baking = fleet.step == last
    found = np.zeros(len(fleet.runs), dtype=np.int64)
    certified = ~baking & fleet.certified(following)
    harm = fleet.log_e() >= -np.log(risk.alpha)
    harm |= fleet.over_budget() | fleet.guarded()
    found[~certified & ~baking & (fleet.used >= traffic.step)] = INCONCLUSIVE
    found[baking & (fleet.used >= traffic.bake) & (fleet.n[:, 0] > 0)] = PROMOTED
    found[fleet.mismatched()] = PAUSED
    found[harm & (found != PAUSED)] = ROLLED_BACK
    fleet.climb(certified & (found == RUNNING))
    return found


class _Drift:
    """Common factor of all base rates: a wave per run with its own period and phase, and bursts."""

    def __init__(self, truth: Truth, runs: int, rng: np.random.Generator) -> None:
        self._truth, self._rng = truth, rng
        self._phase, self._speed = rng.uniform(0, 2 * np.pi, runs), rng.uniform(0.0002, 0.004, runs)
        self._sent = 0

    def factors(self, rows: Ints, every: int) -> Floats:
        """Factors of the next *every* requests of the runs *rows*."""
        self._sent += every
        factor: Any = np.ones(len(rows))
        if self._truth.drift:
            factor = 1 + 0.9 * np.sin(self._phase[rows] + self._speed[rows] * self._sent)
        if self._truth.bursts:
            factor = np.where(self._rng.random(len(rows)) < 0.02, 10 * factor, factor)
        return np.asarray(factor)


def wave(truth: Truth, runs: int, looks: int, every: int, rng: np.random.Generator) -> Floats:
    """The factors of whole runs, shape (runs, looks)."""
    drift, rows = _Drift(truth, runs, rng), np.arange(runs)
    return np.stack([drift.factors(rows, every) for _ in range(looks)], axis=1)


def _draw(fleet: _Fleet, drift: _Drift, w: Floats, truth: Truth, every: int, rng: np.random.Generator) -> Batch:
    factor = drift.factors(fleet.runs, every)[:, None]
    n_canary = rng.binomial(every, w)
    n_stable = every - n_canary
    canary = rng.binomial(n_canary[:, None], np.minimum(1.0, factor * np.array(truth.canary)))
    stable = rng.binomial(n_stable[:, None], np.minimum(1.0, factor * np.array(truth.stable)))
    return Batch(fleet.runs, fleet.step, n_canary, n_stable, canary, stable)
