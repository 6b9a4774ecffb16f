"""Many rollouts at once against traffic whose truth is known: how often is the verdict wrong, and what does it cost.

Figures and the order in which rules are heard are those of a rollout that lives. Here there are no clocks, people or
places: a step lasts until it is certified, found harmful, or has used up its requests, and a pause ends a run. Every
request gets its label at once, and predictions are not drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaincinv

from serving.rollout.backend import WEIGHT_SUM
from serving.rollout.decision import rules
from serving.rollout.decision.engine import RULES, Rule, baked
from serving.rollout.evidence.bounds import Floats, log_against_high
from serving.rollout.evidence.figures import Figures, Watched, certificate, certified
from serving.rollout.evidence.guard import COPIES, Bools, Ints, due
from serving.rollout.evidence.stretches import Stretches
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import BAKE_WEIGHT, Phase

RUNNING, PROMOTED, ROLLED_BACK, INCONCLUSIVE, PAUSED, _CLIMBS = range(6)
_NEVER = 1 << 62  # requests at which a copy of the guard begins that has not begun


@dataclass(frozen=True)
class Truth:
    """Rates of errors, slow answers and labelled mistakes of both arms, in [0, 1].

    Attributes:
        drift: the base rates of all events move between 0.1 and 1.9 times their value over each run.
        bursts: one interval in fifty has ten times the rate, for both arms.
    """

    name: str
    stable: tuple[float, float, float]
    canary: tuple[float, float, float]
    drift: bool = False
    bursts: bool = False


@dataclass(frozen=True)
class Traffic:
    """How requests arrive and how long is waited, all in requests.

    Attributes:
        every: between two looks. step: most that one step may use. bake: in the bake.
    """

    every: int = 50
    step: int = 20_000
    bake: int = 1000


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
    """New counts of the active runs between two looks.

    Attributes:
        runs, step: numbers of the runs, and the stage of each.
        canary, stable: requests, errors, slow answers and mistakes, shape (active, 4).
    """

    runs: Ints
    step: Ints
    canary: Ints
    stable: Ints


@dataclass
class _Fleet:
    """The counts of the runs that still go on, row by row."""

    plan: RolloutPlan
    runs: Ints
    weights: Floats = field(init=False)
    step: Ints = field(init=False)
    counts: Ints = field(init=False)  # (4, runs, 2, stages + 1), as in Batch: one stretch for each stage and the bake
    starts: Ints = field(init=False)  # (2, runs, copies, 2): where the guards of candidate and stable began
    begun: Ints = field(init=False)  # (2, runs)

    def __post_init__(self) -> None:
        runs, permille = len(self.runs), [*(stage.permille for stage in self.plan.stages), BAKE_WEIGHT]
        self.weights = np.array(permille) / WEIGHT_SUM
        self.step = np.zeros(runs, dtype=np.int64)
        self.counts = np.zeros((4, runs, 2, len(permille)), dtype=np.int64)
        self.starts = np.full((2, runs, COPIES, 2), _NEVER)
        self.starts[:, :, 0] = 0
        self.begun = np.ones((2, runs), dtype=np.int64)

    def keep(self, rows: Bools) -> None:
        self.runs, self.step, self.counts = self.runs[rows], self.step[rows], self.counts[:, rows]
        self.starts, self.begun = self.starts[:, rows], self.begun[:, rows]

    def absorb(self, batch: Batch) -> Figures:
        """The figures of all runs with the counts of *batch*."""
        rows, stages = np.arange(len(self.step)), int(self.step.max()) + 1  # those that some run has reached
        for arm, more in enumerate((batch.canary, batch.stable)):
            self.counts[:, rows, arm, self.step] += more.T
        requests, errors, slow, mistakes = self.counts[..., :stages]
        named = {"requests": requests, "errors": errors, "slow": slow, "labelled": requests, "mistakes": mistakes}
        none = np.zeros((len(rows), 2, 0, stages), dtype=np.int64)
        seen = Stretches(self.weights[:stages], np.arange(stages), np.ones(stages, dtype=bool), named, none)
        return Figures(self.plan, seen, self.step, *self._guards())

    def _guards(self) -> tuple[Watched, Watched]:
        failed = self.counts[:2]
        now = np.stack([failed[:, :, 0, -1], failed[:, :, 1].sum(axis=2)]).transpose(0, 2, 1)
        last = np.take_along_axis(self.starts[..., 0], self.begun[..., None] - 1, axis=2)[..., 0]
        arms, rows = np.nonzero(due(self.begun, last, now[..., 0]))
        self.starts[arms, rows, self.begun[arms, rows]] = now[arms, rows]
        self.begun[arms, rows] += 1
        most = int(self.begun.max())
        return Watched(now[0], self.starts[0, :, :most]), Watched(now[1], self.starts[1, :, :most])


class _Asked(NamedTuple):
    """One look at all runs, of which the rules speak only about those that are *free*."""

    figures: Figures
    traffic: Traffic
    free: Bools

    @property
    def baking(self) -> Bools:
        return np.asarray(self.figures.step == len(self.figures.plan.stages))

    @property
    def used(self) -> Ints:
        """Requests in the present step, shape (runs, 2), of canary and stable."""
        requests = self.figures.seen.counts["requests"]
        return np.asarray(requests[np.arange(len(requests)), :, self.figures.step])

    @property
    def late(self) -> Bools:
        """Runs whose step has used up its requests."""
        return np.asarray(self.used.sum(axis=1) >= self.traffic.step + self.baking * self.traffic.bake)

    @property
    def baked(self) -> Bools:
        return np.asarray((self.used.sum(axis=1) >= self.traffic.bake) & (self.used[:, 0] > 0))

    @property
    def certified(self) -> Bools:
        """Free runs whose required gates are certified; bounds are computed only where that is possible."""
        found = np.zeros(len(self.free), dtype=bool)
        rows = np.flatnonzero(self.free & could_be_certified(self.figures))
        of = self.figures
        found[rows] = certified(of.gates, certificate(of.plan, of.trials[rows], of.events[rows], of.next_weight[rows]))
        return found


# What an array of runs says where a rule of a rollout is asked; the other rules are about clocks, people, the place, or
# predictions.
HEARD: dict[Rule, tuple[int, Callable[[_Asked], Any]]] = {
    rules.stable_sick: (PAUSED, lambda asked: asked.figures.stable_guard),
    rules.budget_spent: (ROLLED_BACK, lambda a: rules.overspent(a.figures, a.figures.plan, a.figures.step)),
    rules.split_mismatch: (PAUSED, lambda asked: asked.figures.mismatched),
    rules.absolute_guard: (ROLLED_BACK, lambda a: rules.breaks_objective(a.figures, a.figures.plan, a.figures.step)),
    rules.harmful: (ROLLED_BACK, lambda asked: rules.does_harm(asked.figures, asked.figures.plan)),
    rules.advance: (_CLIMBS, lambda asked: asked.certified),
    baked: (PROMOTED, lambda asked: asked.baked),
    rules.inconclusive: (INCONCLUSIVE, lambda asked: asked.late),
}


def simulate(
    plan: RolloutPlan,
    truth: Truth,
    runs: int,
    seed: int,
    traffic: Traffic = Traffic(),
    observe: Callable[[Batch, Figures], None] | None = None,
) -> Outcomes:
    """Run *runs* rollouts of *plan* under *truth*.

    Args:
        observe: is given the new counts and the figures of each look, in the order of the looks.
    """
    rng = np.random.default_rng(seed)
    fleet = _Fleet(plan, np.arange(runs))
    outcome, requests, failed = (np.zeros(runs, dtype=np.int64) for _ in range(3))
    drift = _Drift(truth, runs, rng)
    while len(fleet.runs):
        batch = _draw(fleet, drift, truth, traffic.every, rng)
        figures = fleet.absorb(batch)
        if observe is not None:
            observe(batch, figures)
        requests[fleet.runs] += traffic.every
        failed[fleet.runs] += batch.canary[:, 1]
        found = _verdicts(figures, traffic)
        fleet.step = fleet.step + (found == _CLIMBS)
        over = (found != RUNNING) & (found != _CLIMBS)
        outcome[fleet.runs[over]] = found[over]
        if over.any():
            fleet.keep(~over)
    return Outcomes(outcome, requests, failed)


def at_most(count: int, runs: int, confidence: float = 0.99) -> float:
    """One-sided Clopper-Pearson upper bound of a rate seen as *count* in *runs*."""
    return 1.0 if count >= runs else float(betaincinv(count + 1, runs - count, confidence))


def could_be_certified(figures: Figures) -> Bools:
    """Runs that may be: the canary's bound is at most stable's seen rate, which its bound is below, plus the excess."""
    risk = figures.plan.risk
    required = [gate.required for gate in figures.gates]
    trials, events = figures.trials[:, required], figures.events[:, required]
    stable = events[..., 1] / np.maximum(trials[..., 1], 1)
    ceiling = stable + (risk.rho / figures.next_weight)[:, None] + 1e-9
    refuted = log_against_high(trials[..., 0], events[..., 0], np.minimum(ceiling, 1.0)) >= -np.log(risk.beta / 2)
    return np.asarray(np.all(refuted | (ceiling >= 1), axis=1))


def _verdicts(figures: Figures, traffic: Traffic) -> Ints:
    """Outcome per active run, of the first rule of its phase that speaks."""
    found = np.full(len(figures.step), RUNNING)
    asked = _Asked(figures, traffic, found == RUNNING)
    for phase, here in ((Phase.STEP, ~asked.baking), (Phase.BAKE, asked.baking)):
        for rule in RULES[phase]:
            free = here & (found == RUNNING)
            if rule in HEARD and free.any():
                outcome, says = HEARD[rule]
                found[free & says(asked._replace(free=free))] = outcome
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


def _draw(fleet: _Fleet, drift: _Drift, truth: Truth, every: int, rng: np.random.Generator) -> Batch:
    factor = drift.factors(fleet.runs, every)[:, None]
    n_canary = rng.binomial(every, fleet.weights[fleet.step])
    drawn = []
    for n, rates in ((n_canary, truth.canary), (every - n_canary, truth.stable)):
        events = rng.binomial(n[:, None], np.minimum(1.0, factor * np.array(rates)))
        drawn.append(np.column_stack([n, events]))
    return Batch(fleet.runs, fleet.step, *drawn)
