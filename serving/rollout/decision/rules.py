"""What can be decided at one look, as small questions; ``engine`` puts them in order.

A rule returns None when it has nothing to say. Absence of data is never a reason to go forward.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from serving.durations import spoken
from serving.rollout.backend import Counters, Observed, Readiness
from serving.rollout.decision.moves import home, pause, step
from serving.rollout.evidence.evidence import Evidence
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import Phase, Reason, RolloutState, of_step

Verdict = Literal["hold", "move", "pause", "rollback", "finish", "reverse"]


@dataclass(frozen=True)
class Seen:
    """What one look at the backend gave; None where it did not answer.

    Attributes:
        drained: True when the revision that leaves has no request in flight.
        refused: why the candidate may not serve (approval withdrawn, digest changed); empty when it may, None when
            that cannot be asked now, and then no weight grows.
    """

    candidate: Readiness | None = None
    stable: Readiness | None = None
    observed: Observed | None = None
    counters: Counters | None = None
    drained: bool = False
    refused: str | None = ""


@dataclass(frozen=True)
class Decision:
    """A verdict, the sentence that explains it, the evidence it rests on, and the state that follows."""

    verdict: Verdict
    sentence: str
    state: RolloutState
    evidence: Evidence
    alert: str = ""


@dataclass(frozen=True)
class Look:
    """Everything a rule may ask about. *gap*: seconds since a controller last looked."""

    state: RolloutState
    seen: Seen
    evidence: Evidence
    now: float
    gap: float

    def hold(self, sentence: str) -> Decision:
        return Decision("hold", sentence, self.state, self.evidence)

    def move(self, state: RolloutState, sentence: str) -> Decision:
        return Decision("move", sentence, state, self.evidence)

    def rollback(self, sentence: str) -> Decision:
        return Decision("rollback", sentence, home(self.state, sentence, self.now), self.evidence, alert=sentence)

    def pause(self, reason: Reason, sentence: str) -> Decision | None:
        """A pause for *reason*; None when it is already paused for it, so that other rules are heard."""
        held = self.state.pause
        if held is not None and held.reason is reason:
            return None
        return Decision("pause", sentence, pause(self.state, reason, sentence, self.now), self.evidence, alert=sentence)

    @property
    def exposed(self) -> bool:
        return self.state.weight > 0

    @property
    def stable_sick(self) -> str:
        """Why stable is no place to go back to; empty when it is."""
        stable = self.seen.stable
        if self.state.stable is None:
            return ""
        if stable is not None and stable.state != "ready":
            return f"stable is {stable.state}{': ' + stable.reason if stable.reason else ''}"
        if self.evidence.stable_guard:
            return "stable breaks its own error objective"
        return ""


# What figures alone say of a rollout in stage *step*: of its evidence, or of the figures and stages of many at once.


def overspent(found: Any, plan: RolloutPlan, step: Any) -> Any:
    return found.over_budget & (step < len(plan.stages))


def breaks_objective(found: Any, plan: RolloutPlan, step: Any) -> Any:
    return found.guard & (step >= len(plan.stages))


def does_harm(found: Any, plan: RolloutPlan) -> Any:
    return found.harmful & np.logical_not(found.mismatched) & (found.certain_excess >= plan.risk.min_excess)


def candidate_refused(look: Look) -> Decision | None:
    return look.rollback(look.seen.refused) if look.seen.refused else None


def unattended(look: Look) -> Decision | None:
    limit = look.state.plan.time.unattended
    if look.exposed and look.gap > limit:
        return look.rollback(f"no controller looked for {spoken(look.gap)}, at most {spoken(limit)} is allowed")
    return None


def stable_sick(look: Look) -> Decision | None:
    """Hold the weights and call somebody: never roll back onto a dead stable by itself."""
    why = look.stable_sick
    if not why:
        return None
    return look.pause(Reason.STABLE_SICK, f"{why}; weights are held") or look.hold(f"{why}; weights are held")


def endpoints_lost(look: Look) -> Decision | None:
    ready = look.seen.candidate
    if look.exposed and ready is not None and ready.state != "ready":
        return look.rollback(f"the candidate lost its endpoints: {ready.state} {ready.reason}".rstrip())
    return None


def budget_spent(look: Look) -> Decision | None:
    if overspent(look.evidence, look.state.plan, look.state.step):
        limit, newly = look.state.plan.risk.max_canary_errors, round(look.evidence.newly_failed)
        return look.rollback(f"{newly} requests failed on the candidate beyond stable's rate, at most {limit} may")
    return None


def split_mismatch(look: Look) -> Decision | None:
    """Requests do not arrive as they are split: no figure is trusted, so nothing is decided from figures."""
    evidence = look.evidence
    if not look.state.capabilities.per_request_random or not evidence.mismatched:
        return None
    what = "requests" if evidence.srm >= evidence.label_srm else "labels"
    return look.pause(Reason.SRM, f"{what} do not arrive in the intended split, so no verdict is trusted")


def absolute_guard(look: Look) -> Decision | None:
    if breaks_objective(look.evidence, look.state.plan, look.state.step):
        return look.rollback("the candidate breaks the service's error objective, with certainty 99.9 %")
    return None


def harmful(look: Look) -> Decision | None:
    evidence, risk = look.evidence, look.state.plan.risk
    if not look.state.capabilities.per_request_random or not does_harm(evidence, look.state.plan):
        return None
    worst = max(evidence.gates, key=lambda gate: gate.log_e)
    value = math.exp(min(evidence.log_e, 300.0))
    return look.rollback(
        f"the candidate does harm: evidence {value:.3g} is above {1 / risk.alpha:.3g}, mostly from {worst.name}"
    )


def metrics_silent(look: Look) -> Decision | None:
    silent = look.state.silent_since
    if silent is None:
        return None
    age, limit = look.now - silent, look.state.plan.time.metrics
    if age < limit:
        return look.hold(f"the metrics source is silent for {spoken(age)}")
    sentence = f"the metrics source is silent for {spoken(age)}, at most {spoken(limit)} is borne"
    early = look.state.phase in (Phase.SHADOW, Phase.STEP)
    if early and look.state.plan.on_silence == "rollback":
        return look.rollback(sentence)
    return look.pause(Reason.METRICS, sentence)


def shifted(look: Look) -> Decision | None:
    gate, evidence = look.state.plan.gates.output, look.evidence
    if gate is None or gate.on_shift == "ignore" or look.state.shift_accepted or not evidence.shifted:
        return None
    if evidence.mismatched or not look.state.capabilities.per_request_random:
        return None
    sentence = f"predictions are distributed differently (population stability index {evidence.stability:.2f})"
    return look.rollback(sentence) if gate.on_shift == "rollback" else look.pause(Reason.OUTPUT, sentence)


def unsettled(look: Look) -> Decision | None:
    epoch = look.state.epoch
    if look.state.settled or epoch is None:
        return None
    rejected = look.seen.observed.rejected if look.seen.observed else ""
    why = f": {rejected}" if rejected else ""
    if look.now - epoch.since >= look.state.plan.time.converge:
        limit = spoken(look.state.plan.time.converge)
        return look.pause(Reason.CONVERGE, f"traffic does not follow the new split within {limit}{why}")
    return look.hold(f"waiting for traffic to follow the new split{why}")


def advance(look: Look) -> Decision | None:
    """More traffic: only with every required gate certified, the dwell over, and nobody asked to agree first."""
    state, plan = look.state, look.state.plan
    stage, following = plan.stages[state.step], state.step + 1
    dwell = plan.time.dwell if stage.dwell is None else stage.dwell
    if not state.capabilities.per_request_random and following not in state.approved:
        if look.now - state.since < dwell:
            return look.hold("waiting for the dwell to pass")
        return look.pause(Reason.UNRANDOM, "arms are not drawn per request here, so a person decides: approve or abort")
    if state.capabilities.per_request_random and not look.evidence.certified:
        return None
    if look.now - state.since < dwell:
        return look.hold("certified; waiting for the dwell to pass")
    return climb(look, following)


def inconclusive(look: Look) -> Decision | None:
    state = look.state
    if state.deadline is None or look.now < state.deadline:
        return None
    waited = spoken(look.now - state.since)
    sentence = f"no verdict after {waited}: {_missing(look)}"
    if state.plan.on_inconclusive == "rollback":
        return look.rollback(sentence)
    return look.pause(Reason.INCONCLUSIVE, sentence)


def unchecked(look: Look) -> Decision | None:
    if look.seen.refused is None:
        return look.hold("certified; whether the candidate may serve cannot be asked now")
    return None


def climb(look: Look, following: int) -> Decision | None:
    """Enter stage *following*, unless somebody or something has to agree first."""
    state, stages = look.state, look.state.plan.stages
    if held := unchecked(look):
        return held
    if state.plan.frozen_at(look.now):
        return look.hold("certified; a freeze window holds the weights")
    needs = following < len(stages) and stages[following].approve == "required"
    if needs and following not in state.approved:
        return look.pause(Reason.APPROVAL, f"stage {following + 1} waits for somebody to approve it")
    after = step(state, following, look.now)
    share = after.weight / 10
    return look.move(after, f"the candidate takes {share:g} % of requests")


def _missing(look: Look) -> str:
    if look.state.phase is Phase.SHADOW:
        return f"{look.evidence.shadow[0]} of {look.state.plan.steps[0].until} mirrored answers"
    n = sum(arm.requests for arm in of_step(look.state, look.state.step))
    open_gates = [gate.name for gate in look.evidence.gates if gate.required and not gate.holds]
    return f"{n} requests do not certify {', '.join(open_gates) or 'the split'}"
