"""A rollout's state in figures and in words: what ``status`` and ``explain`` print."""

import math

from serving.contract import Frozen
from serving.durations import spoken
from serving.rollout.backend import WEIGHT_SUM
from serving.rollout.controller.persistence import Grant
from serving.rollout.decision.rules import Seen
from serving.rollout.evidence.bounds import requests_needed
from serving.rollout.evidence.evidence import Evidence, GateEvidence, weigh
from serving.rollout.evidence.harm import SRM_THRESHOLD
from serving.rollout.state import Phase, RolloutState, arm_names

_LARGEST = 1e12


class RolloutStatus(Frozen):
    """Everything about a rollout at one moment; weights and splits are percent of requests by revision name.

    Attributes:
        configured, observed, realized: asked for; in force in the data plane; as the requests of this step fell.
        harm, threshold: E and 1 / alpha; E is cut at 1e12.
        excess, rho: share of users who could newly fail after the next increase, the worst required gate's.
        newly_failed: errors on the candidate beyond what stable's rate explains, against error_budget.
        requests_needed: to both arms until the next increase, None when unknown or not awaited.
        deadline, heartbeat_age: seconds from now, and since a controller last looked.
        sentences: the same in words, most important first.
    """

    id: str
    service: str
    candidate: str
    stable: str
    phase: str
    step: int
    steps: int
    pause: str
    configured: dict[str, float]
    observed: dict[str, float] | None
    realized: dict[str, float]
    harm: float
    threshold: float
    excess: float
    rho: float
    requests_needed: int | None
    canary_errors: int
    newly_failed: float
    error_budget: int
    deadline: float | None
    holder: str
    heartbeat_age: float
    outcome: str
    sentences: tuple[str, ...]
    evidence: Evidence


def status(state: RolloutState, now: float, seen: Seen | None = None, lease: Grant | None = None) -> RolloutStatus:
    """*state* as people read it; pure."""
    evidence = weigh(state)
    required = [gate for gate in evidence.gates if gate.required]
    needed = _needed(state, evidence)
    candidate, stable = arm_names(state)
    return RolloutStatus(
        id=state.id,
        service=state.plan.service,
        candidate=candidate,
        stable=stable,
        phase=state.phase.value,
        step=state.step,
        steps=len(state.plan.stages),
        pause=state.pause.reason.value if state.pause else "",
        configured=_configured(state),
        observed=_observed(seen),
        realized=_realized(state, evidence),
        harm=_value(evidence.log_e),
        threshold=1 / state.plan.risk.alpha,
        excess=max((gate.excess for gate in required), default=0.0),
        rho=state.plan.risk.rho,
        requests_needed=needed,
        canary_errors=evidence.canary_errors,
        newly_failed=evidence.newly_failed,
        error_budget=state.plan.risk.max_canary_errors,
        deadline=None if state.deadline is None else state.deadline - now,
        holder=lease.holder if lease else "",
        heartbeat_age=max(0.0, now - state.heartbeat),
        outcome=state.outcome,
        sentences=tuple(_sentences(state, evidence, needed, now)),
        evidence=evidence,
    )


def explain(state: RolloutState, evidence: Evidence | None = None) -> list[str]:
    """Each gate's counts, the inputs of its formulas, and what follows, one line each; *evidence* if it is known."""
    evidence, risk = evidence or weigh(state), state.plan.risk
    lines = [_gate_line(gate, evidence.next_weight, risk.rho, risk.beta) for gate in evidence.gates]
    lines.append(
        f"harm: E = {_value(evidence.log_e):.3g}, roll back at {1 / risk.alpha:g} (alpha {risk.alpha:g}); "
        f"{evidence.canary_errors} errors on the candidate, {evidence.newly_failed:.1f} beyond stable's rate, "
        f"at most {risk.max_canary_errors} may be"
    )
    lines.append(f"split: E = {_value(evidence.srm):.3g}, no verdict is trusted at {SRM_THRESHOLD:g}")
    if state.plan.gates.output is not None:
        lines.append(
            f"output: E = {_value(evidence.shift):.3g} for a changed distribution, asked about at {1 / risk.alpha:g}; "
            f"population stability index {evidence.stability:.3f}"
        )
    if evidence.shadow[0]:
        lines.append(
            f"shadow: {evidence.shadow[1]} of {evidence.shadow[0]} mirrored answers differ, "
            f"so at most {evidence.shadow_bound:.2%} of answers do (level {risk.beta:g})"
        )
    return lines


def _gate_line(gate: GateEvidence, share: float, rho: float, beta: float) -> str:
    (n_c, k_c), (n_s, k_s) = gate.canary, gate.stable
    verdict = "certified" if gate.holds else "not certified"
    if not gate.required:
        verdict = "watched, nothing waits for it"
    return (
        f"{gate.name}: candidate {k_c} of {n_c}, stable {k_s} of {n_s} in this step; rates at most {gate.upper:.3%} "
        f"and at least {gate.lower:.3%} (level {beta / 2:g} each); {share:.0%} x difference = {gate.excess:.3%} "
        f"against rho {rho:.2%}: {verdict}; harm E = {_value(gate.log_e):.3g}"
    )


def _sentences(state: RolloutState, evidence: Evidence, needed: int | None, now: float) -> list[str]:
    share = state.weight / 10
    lines = [f"{state.candidate.name} is in phase {state.phase.value} with {share:g} % of requests."]
    if state.terminal:
        return [f"{state.outcome}."]
    if state.outcome:
        lines.append(f"It goes home: {state.outcome}.")
    if state.pause is not None:
        lines.append(f"Paused for {spoken(now - state.pause.since)}: {state.pause.detail}.")
        if state.plan.on_pause_timeout == "rollback":
            lines.append(f"Without an answer it rolls back in {spoken(max(0.0, state.pause.until - now))}.")
    if state.going_on is Phase.STEP:
        goal = f"{evidence.next_weight:.0%} of requests"
        if evidence.certified:
            lines.append(f"Certified for {goal}.")
        elif needed is not None:
            lines.append(f"About {needed} more requests certify {goal} if rates stay as they are.")
        else:
            lines.append(f"At the rates seen so far {goal} will not be certified.")
    lines.append(f"Evidence of harm is {_value(evidence.log_e):.3g}; at {1 / state.plan.risk.alpha:g} it rolls back.")
    return lines


def _needed(state: RolloutState, evidence: Evidence) -> int | None:
    if state.going_on is not Phase.STEP:
        return None
    risk, weight = state.plan.risk, state.weight / WEIGHT_SUM
    counts = [
        requests_needed(gate.canary, gate.stable, weight, evidence.next_weight, risk.rho, risk.beta)
        for gate in evidence.gates
        if gate.required
    ]
    known = [count for count in counts if count is not None]
    return max(known, default=0) if len(known) == len(counts) else None


def _configured(state: RolloutState) -> dict[str, float]:
    candidate, stable = arm_names(state)
    if state.phase is Phase.SUCCEEDED:
        return {candidate: 100.0}
    shares = {candidate: state.weight / 10}
    return shares | {stable: 100 - state.weight / 10} if stable else shares


def _observed(seen: Seen | None) -> dict[str, float] | None:
    if seen is None or seen.observed is None or seen.observed.split is None:
        return None
    return {name: weight / 10 for name, weight in seen.observed.split.weights.items()}


def _realized(state: RolloutState, evidence: Evidence) -> dict[str, float]:
    gate = next((gate for gate in evidence.gates if gate.required), None)
    n = gate.canary[0] + gate.stable[0] if gate else 0
    if gate is None or n == 0:
        return {}
    candidate, stable = arm_names(state)
    share = 100 * gate.canary[0] / n
    return {candidate: share} | ({stable: 100 - share} if stable else {})


def _value(log_e: float) -> float:
    return min(math.exp(min(log_e, 700.0)), _LARGEST)
