"""From counts to the numbers that decide, for one look at a rollout.

Harm is relative and accumulates over the whole rollout; certificates for more traffic are absolute and start anew in
each step, which avoids Simpson's paradox under changing weights (Crook et al., KDD 2009). All required gates must hold
(intersection-union test, Berger, Technometrics 1982), so nothing is corrected for their number. Numbers are rounded to
twelve digits before anything is decided, so that a journal is replayed to the same verdict on another processor.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from serving.contract import Frozen
from serving.rollout.backend import WEIGHT_SUM, ArmCounts
from serving.rollout.evidence.bounds import Floats, log_against_low, lower, upper
from serving.rollout.evidence.harm import (
    log_combined,
    log_harm,
    log_shift,
    log_srm,
    population_stability,
)
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import RolloutState, arm_names, minus, of_step, weight_of

SRM_THRESHOLD = 1000.0
GUARD_LEVEL = 0.001
BUDGET_NOISE = 5.0  # standard deviations: a service with many errors of its own never meets the budget by chance
_GUARD_GAP = 300  # requests between the starts of two copies of the absolute guard
_GUARD_COPIES = 16
_FIRST_SHARE, _NEXT_SHARE = 0.7, 0.3  # geometric shares of GUARD_LEVEL


class GateEvidence(Frozen):
    """One gate's counts and bounds.

    Attributes:
        canary, stable: (requests, events) in this step.
        log_e: evidence of harm over the whole rollout.
        upper, lower: bounds of the canary's and of stable's rate in this step.
        excess: share of all users who could newly fail after the next increase, in [0, 1].
        required: whether more traffic waits for this gate; holds: whether it is certified.
    """

    name: str
    canary: tuple[int, int]
    stable: tuple[int, int]
    log_e: float
    upper: float
    lower: float
    excess: float
    required: bool
    holds: bool


class Evidence(Frozen):
    """Everything a decision looks at; logarithms are natural.

    Attributes:
        next_weight: canary's share in (0, 1] that is to be certified.
        log_e, log_threshold: combined harm and log(1 / alpha).
        canary_errors: over the whole rollout.
        newly_failed: those beyond what stable's own rate explains, in the steps; over_budget: too many of them.
        certain_excess: largest L_canary - U_stable over the gates.
        srm, label_srm: log E that requests, or labels, are not split as intended.
        shift, stability: log E of changed predictions, and their population stability index.
        guard, stable_guard: the error rate is above its SLO with certainty (at level 0.001).
        shadow: (mirrored, differences); shadow_bound: upper bound of the disagreement.
    """

    next_weight: float
    gates: tuple[GateEvidence, ...]
    log_e: float
    log_threshold: float
    canary_errors: int
    newly_failed: float
    over_budget: bool
    certain_excess: float
    srm: float
    label_srm: float
    shift: float
    stability: float
    guard: bool
    stable_guard: bool
    shadow: tuple[int, int]
    shadow_bound: float

    @property
    def harmful(self) -> bool:
        return self.log_e >= self.log_threshold

    @property
    def certified(self) -> bool:
        return all(gate.holds for gate in self.gates if gate.required)

    @property
    def mismatched(self) -> bool:
        return max(self.srm, self.label_srm) >= math.log(SRM_THRESHOLD)

    @property
    def shifted(self) -> bool:
        return self.shift >= self.log_threshold


class _Gate(NamedTuple):
    name: str
    ratio: float
    share: float
    required: bool
    read: Callable[[ArmCounts], tuple[int, int]]  # (requests, events)


class _Stretch(NamedTuple):
    """Counts under one weight: a settled epoch, or the part of one before it settled."""

    weight: float
    step: int
    canary: ArmCounts
    stable: ArmCounts
    settled: bool


def gates_of(plan: RolloutPlan) -> tuple[_Gate, ...]:
    """The gates that are on, in the order in which they are shown."""
    gates = plan.gates
    found = []
    if gates.error is not None:
        found.append(_Gate("error", gates.error.ratio, gates.error.share, True, lambda c: (c.requests, c.errors)))
    if gates.slow is not None:
        found.append(_Gate("slow", gates.slow.ratio, gates.slow.share, True, lambda c: (c.requests, c.slow)))
    if gates.quality is not None:
        block = gates.quality.labels == "block"
        found.append(
            _Gate("quality", gates.quality.ratio, gates.quality.share, block, lambda c: (c.labelled, c.mistakes))
        )
    return tuple(found)


def weigh(state: RolloutState) -> Evidence:
    """The evidence in *state*'s counts."""
    plan = state.plan
    stretches = _stretches(state)
    gates = _judged(state, stretches)
    errors = sum(s.canary.errors for s in stretches)
    shadow = _shadow(state)
    newly, noise = _newly_failed(plan, stretches)
    return Evidence(
        next_weight=next_weight(state),
        gates=gates,
        log_e=_rounded(log_combined([g.log_e for g in gates], [g.share for g in gates_of(plan)])),
        log_threshold=_rounded(-math.log(plan.risk.alpha)),
        canary_errors=errors,
        newly_failed=newly,
        over_budget=newly >= max(plan.risk.max_canary_errors, BUDGET_NOISE * noise),
        certain_excess=_certain_excess(plan, stretches),
        srm=_srm(state, stretches, lambda c: c.requests),
        label_srm=_srm(state, stretches, lambda c: c.labelled),
        shift=_shift(plan, stretches),
        stability=_stability(stretches),
        guard=_guarded(plan, candidate_totals(state), state.guards),
        stable_guard=_guarded(plan, stable_totals(state), state.stable_guards),
        shadow=shadow,
        shadow_bound=_rounded(float(upper(*shadow, plan.risk.beta))),
    )


def next_weight(state: RolloutState) -> float:
    """Share of users that the next increase exposes; the step after the last one is promotion to all."""
    following = state.step + 1
    return weight_of(state, following) / WEIGHT_SUM if following < len(state.plan.stages) else 1.0


def candidate_totals(state: RolloutState) -> tuple[int, int]:
    """(requests, errors) of the candidate since the bake began."""
    return _sum_errors(state, 0, len(state.plan.stages))


def stable_totals(state: RolloutState) -> tuple[int, int]:
    """(requests, errors) of stable since the rollout began."""
    return _sum_errors(state, 1, 0)


def with_copy(copies: tuple[tuple[int, int], ...], now: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """*copies* of a guard, and one more when enough requests have passed since the last began."""
    return (*copies, now) if next_copy([n for n, _ in copies], now[0]) else copies


def next_copy(starts: Sequence[int], n: int) -> bool:
    """Whether a copy of the guard begins at *n* requests, given where the others began."""
    if not starts:
        return True
    return len(starts) < _GUARD_COPIES and n >= starts[-1] + _GUARD_GAP + starts[-1] // 2


def guard_levels(copies: int) -> Floats:
    """Levels of that many copies; they sum to less than 0.001."""
    return np.asarray(GUARD_LEVEL * _FIRST_SHARE * _NEXT_SHARE ** np.arange(copies))


def guard_fires(now: tuple[int, int], copies: tuple[tuple[int, int], ...], slo: float) -> bool:
    """True when some copy is certain that the error rate since its start is above *slo*.

    The copies share a level of 0.001 geometrically, so that is the chance of a false alarm over all looks; fresh
    copies see a late failure that a long clean history would hide.
    """
    if not copies:
        return False
    starts = np.asarray(copies, dtype=float)
    levels = guard_levels(len(copies))
    n, events = np.maximum(now[0] - starts[:, 0], 0), np.maximum(now[1] - starts[:, 1], 0)
    return bool(np.any(log_against_low(n, events, slo) >= -np.log(levels)))


def _judged(state: RolloutState, stretches: list[_Stretch]) -> tuple[GateEvidence, ...]:
    plan, gates = state.plan, gates_of(state.plan)
    canary, stable = of_step(state, state.step)
    pairs = [(gate.read(canary), gate.read(stable)) for gate in gates]
    half = plan.risk.beta / 2
    highs = upper([c[0] for c, _ in pairs], [c[1] for c, _ in pairs], half)
    lows = lower([s[0] for _, s in pairs], [s[1] for _, s in pairs], half)
    share = next_weight(state)
    found = []
    for gate, (c, s), high, low in zip(gates, pairs, highs, lows, strict=True):
        excess = _rounded(share * max(0.0, float(high - low)))
        found.append(
            GateEvidence(
                name=gate.name, canary=c, stable=s, log_e=_harm(gate, stretches, len(plan.stages) + 1),
                upper=_rounded(float(high)), lower=_rounded(float(low)), excess=excess,
                required=gate.required, holds=excess <= plan.risk.rho,
            )
        )  # fmt: skip
    return tuple(found)


def _harm(gate: _Gate, stretches: list[_Stretch], planned: int) -> float:
    if not stretches:
        return 0.0
    weights, steps = [s.weight for s in stretches], [min(s.step, planned - 1) for s in stretches]
    canary, stable = ([gate.read(arm)[1] for arm in arms] for arms in _arms(stretches))
    return _rounded(float(log_harm(weights, steps, canary, stable, gate.ratio, planned)))


def _stretches(state: RolloutState) -> list[_Stretch]:
    found = []
    for epoch in state.epochs:
        if epoch.mirror:
            continue
        canary, stable = (state.counts.get(epoch.token, {}).get(name, ArmCounts()) for name in arm_names(state))
        early = epoch.settling
        larger = max(epoch.weight, epoch.previous) / WEIGHT_SUM
        if early is None:
            found.append(_Stretch(larger, epoch.step, canary, stable, False))
            continue
        c, s = (early.get(name, ArmCounts()) for name in arm_names(state))
        found.append(_Stretch(larger, epoch.step, c, s, False))
        found.append(_Stretch(epoch.weight / WEIGHT_SUM, epoch.step, minus(canary, c), minus(stable, s), True))
    return found


def _srm(state: RolloutState, stretches: list[_Stretch], read: Callable[[ArmCounts], int]) -> float:
    """Average over all planned stages of the E-values of settled stretches; later stages count as 1 until they come."""
    settled = [s for s in stretches if s.settled]
    if not settled:
        return 0.0
    canary = np.array([read(s.canary) for s in settled])
    both = canary + np.array([read(s.stable) for s in settled])
    logs = log_srm([s.weight for s in settled], canary, both).tolist()
    logs += [0.0] * max(0, len(state.plan.stages) + 1 - len(logs))
    return _rounded(log_combined(logs, [1.0] * len(logs)))


def _shift(plan: RolloutPlan, stretches: list[_Stretch]) -> float:
    if plan.gates.output is None or not stretches:
        return 0.0
    names = sorted({name for s in stretches for name in [*s.canary.bins, *s.stable.bins]})
    canary, stable = ([[arm.bins.get(name, 0) for arm in arms] for name in names] for arms in _arms(stretches))
    return _rounded(log_shift([s.weight for s in stretches], canary, stable, plan.gates.output.ratio))


def _stability(stretches: list[_Stretch]) -> float:
    names = sorted({name for s in stretches for name in [*s.canary.bins, *s.stable.bins]})
    canary, stable = ([sum(arm.bins.get(name, 0) for arm in arms) for name in names] for arms in _arms(stretches))
    return _rounded(population_stability(canary, stable))


def _newly_failed(plan: RolloutPlan, stretches: list[_Stretch]) -> tuple[float, float]:
    """The candidate's errors less those that stable's rate predicts, in the steps, and the noise of that difference."""
    early = [s for s in stretches if s.step < len(plan.stages)]
    odds = [s.weight / (1 - s.weight) for s in early]
    pairs = [(s.canary.errors, s.stable.errors) for s in early]
    newly = sum(c - o * k for o, (c, k) in zip(odds, pairs, strict=True))
    return _rounded(newly), _rounded(math.sqrt(sum(c + o * o * k for o, (c, k) in zip(odds, pairs, strict=True))))


def _certain_excess(plan: RolloutPlan, stretches: list[_Stretch]) -> float:
    if plan.risk.min_excess <= 0:
        return 0.0
    half, found = plan.risk.beta / 2, [0.0]
    for gate in gates_of(plan):
        (nc, kc), (ns, ks) = (np.sum([gate.read(arm) for arm in arms], axis=0) for arms in _arms(stretches))
        found.append(float(lower(nc, kc, half) - upper(ns, ks, half)))
    return _rounded(max(found))


def _guarded(plan: RolloutPlan, now: tuple[int, int], copies: tuple[tuple[int, int], ...]) -> bool:
    return plan.gates.error is not None and guard_fires(now, copies, plan.gates.error.slo)


def _shadow(state: RolloutState) -> tuple[int, int]:
    name = state.candidate.name
    arms = [state.counts.get(epoch.token, {}).get(name, ArmCounts()) for epoch in state.epochs if epoch.mirror]
    return sum(arm.mirrored for arm in arms), sum(arm.mirrored_differences for arm in arms)


def _sum_errors(state: RolloutState, arm: int, from_step: int) -> tuple[int, int]:
    name = arm_names(state)[arm]
    arms = [
        state.counts.get(epoch.token, {}).get(name, ArmCounts()) for epoch in state.epochs if epoch.step >= from_step
    ]
    return sum(arm.requests for arm in arms), sum(arm.errors for arm in arms)


def _arms(stretches: list[_Stretch]) -> tuple[list[ArmCounts], list[ArmCounts]]:
    return [s.canary for s in stretches], [s.stable for s in stretches]


def _rounded(value: Any) -> float:
    """*value* to twelve significant digits."""
    return float(f"{float(value):.12g}")
