"""The numbers that decide, in arrays over runs: a simulation asks them of thousands of rollouts, life of one.

Harm is relative and accumulates over the whole rollout; certificates for more traffic are absolute and start anew in
each step, which avoids Simpson's paradox under changing weights (Crook et al., KDD 2009). All required gates must hold
(intersection-union test, Berger, Technometrics 1982), so nothing is corrected for their number. Numbers are rounded to
twelve digits before anything is decided, so that a journal is replayed to the same verdict on another processor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from serving.rollout.backend import WEIGHT_SUM
from serving.rollout.evidence import guard
from serving.rollout.evidence.bounds import Floats, lower, upper
from serving.rollout.evidence.guard import Bools, Ints
from serving.rollout.evidence.harm import SRM_THRESHOLD, log_combined, log_harm, log_shift, log_srm
from serving.rollout.evidence.stretches import Gate, Stretches, gates_of
from serving.rollout.plan import RolloutPlan

BUDGET_NOISE = 5.0  # standard deviations: a service with many errors of its own never meets the budget by chance
_FEW = 100  # numbers below which Python's own formatting is faster than arrays
_POWERS = np.array([10.0**places for places in range(23)])  # the powers of ten that a float holds exactly


class Verdicts:
    """What follows from figures, of one rollout (numbers, booleans) or of many (arrays of shape (runs,))."""

    @property
    def harmful(self: Any) -> Any:
        return self.log_e >= self.log_threshold

    @property
    def mismatched(self: Any) -> Any:
        limit = math.log(SRM_THRESHOLD)
        return (self.srm >= limit) | (self.label_srm >= limit)

    @property
    def shifted(self: Any) -> Any:
        return self.shift >= self.log_threshold


class Certificate(NamedTuple):
    """What is certain of each gate in the present step; shape (runs, gates).

    Attributes:
        upper, lower: bounds of the canary's and of stable's rates, not rounded.
        excess: share of all users who could newly fail after the next increase, in [0, 1].
        holds: whether the gate is certified for more traffic.
    """

    upper: Floats
    lower: Floats
    excess: Floats
    holds: Bools


class Watched(NamedTuple):
    """An arm's (requests, errors), shape (runs, 2), and those at the start of its guard's copies (runs, copies, 2)."""

    now: Ints
    starts: Ints


@dataclass(frozen=True)
class Figures(Verdicts):
    """The figures of runs at one look, each computed when it is asked for; shape (runs,) or (runs, gates).

    Attributes:
        step: stage in which each run is, shape (runs,).
        candidate, steady: the candidate since the bake began, and stable, under the absolute guard.
    """

    plan: RolloutPlan
    seen: Stretches
    step: Ints
    candidate: Watched
    steady: Watched

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        return gates_of(self.plan)

    @cached_property
    def next_weight(self) -> Floats:
        """Share of users that the next increase exposes; the step after the last one is promotion to all."""
        exposed = [stage.permille for stage in self.plan.stages[1:]] + [WEIGHT_SUM] * 3  # ..., the bake, all requests
        return np.array(exposed)[self.step] / WEIGHT_SUM

    @cached_property
    def gate_log_e(self) -> Floats:
        """Evidence of harm by gate, over the whole rollout."""
        seen, planned = self.seen, len(self.plan.stages) + 1
        if not len(seen.steps):
            return np.zeros((len(self.step), len(self.gates)))
        canary, stable = (np.stack([seen.counts[gate.events][:, arm] for gate in self.gates]) for arm in (0, 1))
        ratios, steps = [[gate.ratio] for gate in self.gates], np.minimum(seen.steps, planned - 1)
        return rounded(log_harm(seen.weights, steps, canary, stable, ratios, planned)).T

    @cached_property
    def log_e(self) -> Floats:
        return rounded(log_combined(self.gate_log_e, [gate.share for gate in self.gates]))

    @cached_property
    def log_threshold(self) -> float:
        return float(rounded(-math.log(self.plan.risk.alpha)))

    @cached_property
    def trials(self) -> Ints:
        """Requests, or labels, in the present step once settled: shape (runs, gates, 2), of canary and stable."""
        return self._here([gate.trials for gate in self.gates])

    @cached_property
    def events(self) -> Ints:
        """Events among ``trials``."""
        return self._here([gate.events for gate in self.gates])

    @cached_property
    def certificate(self) -> "Certificate":
        return certificate(self.plan, self.trials, self.events, self.next_weight)

    @cached_property
    def canary_errors(self) -> Ints:
        return np.asarray(self.seen.counts["errors"][:, 0].sum(axis=1))

    @cached_property
    def newly_failed(self) -> Floats:
        """The canary's errors less those that stable's rate predicts, in the steps."""
        return rounded(self._beyond(lambda odds, canary, stable: canary - odds * stable))

    @cached_property
    def over_budget(self) -> Bools:
        noise = rounded(np.sqrt(self._beyond(lambda odds, canary, stable: canary + odds * odds * stable)))
        return np.asarray(self.newly_failed >= np.maximum(self.plan.risk.max_canary_errors, BUDGET_NOISE * noise))

    @cached_property
    def certain_excess(self) -> Floats:
        """Largest L_canary - U_stable over the gates; 0 where the plan does not ask for it."""
        if self.plan.risk.min_excess <= 0:
            return np.zeros(len(self.step))
        half, counts = self.plan.risk.beta / 2, self.seen.counts
        found = np.zeros(len(self.step))
        for gate in self.gates:
            n, events = counts[gate.trials].sum(axis=2), counts[gate.events].sum(axis=2)
            least = lower(n[:, :1], events[:, :1], half) - upper(n[:, 1:], events[:, 1:], half)
            found = np.maximum(found, least[:, 0])
        return rounded(found)

    @property
    def srm(self) -> Floats:
        return np.asarray(self._mismatches[0])

    @property
    def label_srm(self) -> Floats:
        return np.asarray(self._mismatches[1])

    @cached_property
    def shift(self) -> Floats:
        bins, output = self.seen.bins, self.plan.gates.output
        if output is None or not bins.size:
            return np.zeros(len(self.step))
        return rounded(log_shift(self.seen.weights, bins[:, 0], bins[:, 1], output.ratio))

    @cached_property
    def guard(self) -> Bools:
        return self._guarded(self.candidate)

    @cached_property
    def stable_guard(self) -> Bools:
        return self._guarded(self.steady)

    def _here(self, names: list[str]) -> Ints:
        own = (self.seen.steps == self.step[:, None]) & self.seen.settled
        return np.stack([np.einsum("rae,re->ra", self.seen.counts[name], own) for name in names], axis=1)

    def _beyond(self, term: Callable[[Floats, Ints, Ints], Floats]) -> Floats:
        early = self.seen.steps < len(self.plan.stages)
        weights, errors = self.seen.weights[early], self.seen.counts["errors"][:, :, early]
        return in_order(term(weights / (1 - weights), errors[:, 0], errors[:, 1]))

    @cached_property
    def _mismatches(self) -> Floats:
        """Average over all planned stages of the E-values of settled stretches; later ones count as 1 until they come.

        Shape (2, runs), for requests and for labels.
        """
        settled, planned = self.seen.settled, len(self.plan.stages) + 1
        counts = np.stack([self.seen.counts[field] for field in ("requests", "labelled")])[..., settled]
        known = counts.shape[-1]
        if not known:
            return np.zeros((2, len(self.step)))
        logs = np.zeros((2, len(self.step), max(planned, known)))
        logs[..., :known] = log_srm(self.seen.weights[settled], counts[:, :, 0], counts.sum(axis=2))
        return rounded(log_combined(logs, np.ones(logs.shape[-1])))

    def _guarded(self, arm: Watched) -> Bools:
        error = self.plan.gates.error
        return np.zeros(len(self.step), dtype=bool) if error is None else guard.fires(arm.now, arm.starts, error.slo)


def certificate(plan: RolloutPlan, trials: Ints, events: Ints, next_weight: Floats) -> Certificate:
    """Counts in shape (runs, gates, 2), of canary and stable; *next_weight* in (0, 1], shape (runs,)."""
    half = plan.risk.beta / 2
    high, low = upper(trials[..., 0], events[..., 0], half), lower(trials[..., 1], events[..., 1], half)
    excess = rounded(next_weight[:, None] * np.maximum(0.0, high - low))
    return Certificate(high, low, excess, excess <= plan.risk.rho)


def certified(gates: tuple[Gate, ...], found: Certificate) -> Bools:
    """Runs in which every required gate holds."""
    return np.asarray(found.holds[:, [gate.required for gate in gates]].all(axis=1))


def in_order(terms: Floats) -> Floats:
    """Sum along the last axis from the first to the last term; numpy's own order depends on their number."""
    return np.asarray(np.cumsum(terms, axis=-1)[..., -1] if terms.shape[-1] else np.zeros(terms.shape[:-1]))


def rounded(values: Any) -> Floats:
    """*values* to twelve significant digits, each as Python would print and read it."""
    array = np.asarray(values, dtype=float)
    if array.size < _FEW:
        return np.array([_rounded(value) for value in array.ravel().tolist()]).reshape(array.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        places = 11 - np.floor(np.log10(np.abs(array)))
    power = _POWERS[np.minimum(np.maximum(places, 0), 22).astype(int)]
    scaled = array * power
    whole = np.rint(scaled)
    # The product is rounded too: where it is a half it does not tell on which side of it the number lies.
    sure = (np.abs(scaled - whole) != 0.5) & (places >= 0) & (places <= 22)
    found = np.where(sure, whole / power, array)
    unsure = np.flatnonzero(~sure & (array != 0))
    found.flat[unsure] = [_rounded(value) for value in array.flat[unsure].tolist()]
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.12g}")
