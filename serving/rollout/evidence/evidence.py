"""The evidence of one look at a rollout, as its journal keeps it."""

import numpy as np

from serving.contract import Frozen
from serving.profile import population_stability
from serving.rollout.backend import ArmCounts
from serving.rollout.evidence.bounds import upper
from serving.rollout.evidence.figures import Figures, Verdicts, Watched, rounded
from serving.rollout.evidence.stretches import stretches_of
from serving.rollout.state import RolloutState, arm_names


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


class Evidence(Frozen, Verdicts):
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
    def certified(self) -> bool:
        return all(gate.holds for gate in self.gates if gate.required)


_OF_FIGURES = Evidence.model_fields.keys() - {"gates", "log_threshold", "stability", "shadow", "shadow_bound"}


def weigh(state: RolloutState) -> Evidence:
    """The evidence in *state*'s counts."""
    step = np.array([state.step])
    candidate = _watched(candidate_totals(state), state.guards)
    stable = _watched(stable_totals(state), state.stable_guards)
    return evidence_of(Figures(state.plan, stretches_of(state), step, candidate, stable), 0, _shadow(state))


def evidence_of(figures: Figures, run: int, shadow: tuple[int, int] = (0, 0)) -> Evidence:
    """The figures of one run; *shadow* is its (mirrored, differences)."""
    of_run = {name: getattr(figures, name)[run].item() for name in _OF_FIGURES}
    return Evidence(
        gates=_gates(figures, run),
        log_threshold=figures.log_threshold,
        stability=float(rounded(population_stability(*figures.seen.bins[run].sum(axis=2)))),
        shadow=shadow,
        shadow_bound=float(rounded(upper(*shadow, figures.plan.risk.beta))),
        **of_run,
    )


def candidate_totals(state: RolloutState) -> tuple[int, int]:
    """(requests, errors) of the candidate since the bake began."""
    return _sum_errors(state, 0, len(state.plan.stages))


def stable_totals(state: RolloutState) -> tuple[int, int]:
    """(requests, errors) of stable since the rollout began."""
    return _sum_errors(state, 1, 0)


def _gates(figures: Figures, run: int) -> tuple[GateEvidence, ...]:
    trials, events, log_e = (of[run].tolist() for of in (figures.trials, figures.events, figures.gate_log_e))
    found = figures.certificate
    high, low = rounded(found.upper[run]).tolist(), rounded(found.lower[run]).tolist()
    excess, holds = found.excess[run].tolist(), found.holds[run].tolist()
    return tuple(
        GateEvidence(
            name=gate.name, canary=(trials[i][0], events[i][0]), stable=(trials[i][1], events[i][1]), log_e=log_e[i],
            upper=high[i], lower=low[i], excess=excess[i], required=gate.required, holds=holds[i],
        )
        for i, gate in enumerate(figures.gates)
    )  # fmt: skip


def _watched(now: tuple[int, int], copies: tuple[tuple[int, int], ...]) -> Watched:
    return Watched(np.array([now]), np.array([copies], dtype=np.int64).reshape(1, -1, 2))


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
