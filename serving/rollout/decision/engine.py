"""The state machine of a rollout as one pure function: state and observation in, decision and next state out.

PENDING -> PREPARE -> [SHADOW] -> STEP... -> BAKE -> PROMOTE -> ADOPT -> CLEANUP -> SUCCEEDED
before ADOPT: -> ROLLBACK -> DRAIN -> REMOVE -> ROLLED_BACK, and to PAUSED and back
"""

from collections.abc import Callable

from serving.durations import spoken
from serving.rollout.decision import rules
from serving.rollout.decision.edits import answer_edit, closed
from serving.rollout.decision.moves import enter, prepare, promote, shadow
from serving.rollout.decision.render import wanted_split
from serving.rollout.decision.rules import Decision, Look, Seen
from serving.rollout.evidence.evidence import candidate_totals, stable_totals, weigh
from serving.rollout.evidence.guard import with_copy
from serving.rollout.state import GUARDED, Epoch, Phase, Reason, RolloutState, merged, of_step

Rule = Callable[[Look], Decision | None]
_ATTENDED = 10.0  # seconds between two looks of a living controller, at most


def decide(state: RolloutState, seen: Seen, now: float) -> Decision:
    """The verdict at this look; the first rule of the phase that speaks is heard."""
    absorbed = absorb(state, seen, now)
    look = Look(absorbed, seen, weigh(absorbed), now, now - state.heartbeat)
    for rule in RULES[absorbed.phase]:
        decision = rule(look)
        if decision is not None:
            return decision
    return look.hold(_WAITING.get(absorbed.phase, "collecting evidence"))


def absorb(state: RolloutState, seen: Seen, now: float) -> RolloutState:
    """*state* with what was seen: counts, silence, and a split that traffic now follows."""
    state = state.model_copy(update={"epochs": closed(state, seen)})
    changes: dict[str, object] = {"heartbeat": now, **_patience(state, now)}
    if seen.counters is not None and seen.counters.fresh:
        edited = {epoch.token for epoch in state.epochs if epoch.edited}
        counted = {token: counts for token, counts in seen.counters.epochs.items() if token not in edited}
        changes |= {"counts": merged(state.counts, counted), "silent_since": None}
    elif state.silent_since is None:
        changes["silent_since"] = state.heartbeat
    told = state.model_copy(update=changes)
    settled = told.model_copy(update={"epochs": _settle(told, seen)})
    return settled.model_copy(update=_guards(settled))


def _patience(state: RolloutState, now: float) -> dict[str, object]:
    """Deadlines moved by the time in which no controller looked: nobody could have met them then."""
    away = now - state.heartbeat - _ATTENDED
    if away <= 0:
        return {}
    epochs = state.epochs
    if epochs and not state.settled:
        epochs = (*epochs[:-1], epochs[-1].model_copy(update={"since": epochs[-1].since + away}))
    return {"deadline": None if state.deadline is None else state.deadline + away, "epochs": epochs}


def _settle(state: RolloutState, seen: Seen) -> tuple[Epoch, ...]:
    epoch, observed = state.epoch, seen.observed
    if epoch is None or observed is None or state.settled or observed.rejected or observed.epoch != epoch.token:
        return state.epochs
    wanted = wanted_split(state)
    if wanted is None or not wanted.routes_like(observed.split):
        return state.epochs
    if state.silent_since is not None and state.going_on in (Phase.SHADOW, Phase.STEP, Phase.BAKE):
        return state.epochs  # counts of the moment are needed to tell what came before it
    known = dict(state.counts.get(epoch.token, {}))
    return (*state.epochs[:-1], epoch.model_copy(update={"settling": known, "digest": observed.digest}))


def _guards(state: RolloutState) -> dict[str, object]:
    found: dict[str, object] = {}
    if state.phase in GUARDED or state.phase is Phase.SUCCEEDED:
        found["stable_guards"] = with_copy(state.stable_guards, stable_totals(state))
        if state.step >= len(state.plan.stages):
            found["guards"] = with_copy(state.guards or ((0, 0),), candidate_totals(state))
    return found


def _pending(look: Look) -> Decision:
    if look.state.plan.frozen_at(look.now):
        return look.hold("a freeze window holds the start")
    return look.move(prepare(look.state, look.now), "the candidate is loading")


def _prepare(look: Look) -> Decision | None:
    state, ready = look.state, look.seen.candidate
    if ready is not None and ready.state == "failed":
        return look.rollback(f"the candidate cannot serve, no user saw it: {ready.reason or 'no reason given'}")
    if ready is not None and ready.state == "ready":
        return _expose(look)
    if state.deadline is not None and look.now >= state.deadline:
        return look.rollback(f"the candidate is not ready after {spoken(look.now - state.since)}, no user saw it")
    return None


def _expose(look: Look) -> Decision | None:
    state = look.state
    if state.stable is None or state.request.fast:
        why = "no version serves yet" if state.stable is None else "this version has served before"
        return look.move(promote(state, look.now), f"the candidate takes all requests: {why}")
    if state.plan.shadow is not None:
        return look.move(shadow(state, look.now), "the candidate receives copies of all requests")
    return rules.climb(look, 0)


def _shadow_lost(look: Look) -> Decision | None:
    ready = look.seen.candidate
    if ready is not None and ready.state != "ready":
        return look.rollback(f"the candidate stopped in the shadow step, no user saw it: {ready.reason or ready.state}")
    return None


def _shadow_enough(look: Look) -> Decision | None:
    first = look.state.plan.steps[0]
    dwell = look.state.plan.time.dwell if first.dwell is None else first.dwell
    if look.evidence.shadow[0] >= first.until and look.now - look.state.since >= dwell:
        return rules.climb(look, 0)
    return None


def baked(look: Look) -> Decision | None:
    """100 %: the bake is over, the source answers, and somebody was served meanwhile."""
    state = look.state
    if look.now - state.since < state.plan.time.bake:
        return look.hold("baking at 95 %")
    if of_step(state, state.step)[0].requests == 0:
        return None
    if state.plan.frozen_at(look.now):
        return look.hold("baked; a freeze window holds the weights")
    return rules.unchecked(look) or look.move(promote(state, look.now), "the candidate takes all requests")


def _then(phase: Phase, sentence: str, done: Callable[[Look], bool]) -> Rule:
    """A rule that enters *phase* with *sentence* once the present one is *done*."""
    return lambda look: look.move(enter(look.state, phase, look.now), sentence) if done(look) else None


def _quiet(look: Look) -> bool:
    """Whether who leaves has no request in flight, or has had the time for it."""
    return look.seen.drained or look.now - look.state.since >= look.state.plan.time.drain


_all_follow = _then(Phase.ADOPT, "the candidate becomes the stable version", lambda look: look.state.settled)
_adopted = _then(Phase.CLEANUP, "the previous version is leaving", lambda look: "adopt" in look.state.done)
_went_home = _then(Phase.DRAIN, "no request goes to the candidate any more", lambda look: look.state.settled)
_drained = _then(Phase.REMOVE, "the candidate has no request in flight", _quiet)


def _first_deployment(look: Look) -> Decision | None:
    """With no version to go back to, only convergence is waited for."""
    if look.state.stable is not None:
        return None
    return _all_follow(look) or rules.unsettled(look) or look.hold("no version to go back to")


def _clean(look: Look) -> Decision | None:
    state = look.state
    name = state.candidate.name
    wanted = state.plan.keep_previous or state.plan.watch.window > 0
    keep = state.capabilities.warm_rollback and wanted and state.stable is not None
    if state.stable is None or keep or "remove" in state.done:
        sentence = f"{name} serves all requests"
        after = enter(state, Phase.SUCCEEDED, look.now, outcome=sentence, warm=keep)
        return Decision("finish", sentence, after, look.evidence)
    if "drained" not in state.done and _quiet(look):
        after = state.model_copy(update={"done": (*state.done, "drained")})
        return look.move(after, "the previous version has no request in flight")
    return None


def _removed(look: Look) -> Decision | None:
    if "remove" in look.state.done:
        return Decision("finish", look.state.outcome, enter(look.state, Phase.ROLLED_BACK, look.now), look.evidence)
    return None


def _paused_too_long(look: Look) -> Decision | None:
    held = look.state.pause
    if held is None or look.now < held.until or look.state.plan.on_pause_timeout == "hold":
        return None
    return look.rollback(f"paused for {spoken(look.now - held.since)} ({held.reason})")


def _still_paused(look: Look) -> Decision | None:
    held = look.state.pause
    return look.hold(f"paused: {held.detail}") if held else None


def _recovered(look: Look) -> Decision | None:
    """A silent source that answers again ends the pause that its silence began."""
    held = look.state.pause
    if held is not None and held.reason is Reason.METRICS and look.state.silent_since is None:
        from_pause = look.state.model_copy(update={"phase": held.resumes, "pause": None})
        return look.move(from_pause, "the metrics source answers again")
    return None


def _late_harm(look: Look) -> Decision | None:
    """After success: late labels and the absolute guard still speak while the watch window is open."""
    state, window = look.state, look.state.plan.watch.window
    if window <= 0 or "watched" in state.done or state.stable is None:
        return None
    if look.now - state.since >= window:
        done = state.model_copy(update={"done": (*state.done, "watched")})
        return look.move(done, "the watch window is over")
    if look.evidence.guard or (look.evidence.harmful and not look.evidence.mismatched):
        sentence = "evidence that came after success says the new version does harm"
        done = state.model_copy(update={"done": (*state.done, "watched"), "outcome": sentence})
        return Decision("reverse", sentence, done, look.evidence, alert=sentence)
    return None


_SAFETY: tuple[Rule, ...] = (
    rules.candidate_refused,
    rules.stable_sick,
    rules.unattended,
    rules.budget_spent,
    rules.endpoints_lost,
    rules.split_mismatch,
    rules.absolute_guard,
    rules.harmful,
)

RULES: dict[Phase, tuple[Rule, ...]] = {
    Phase.PENDING: (rules.candidate_refused, _pending),
    Phase.PREPARE: (rules.candidate_refused, _prepare),
    Phase.SHADOW: (
        rules.candidate_refused, rules.stable_sick, _shadow_lost, answer_edit, rules.metrics_silent,
        rules.unsettled, _shadow_enough, rules.inconclusive,
    ),
    Phase.STEP: (
        *_SAFETY, answer_edit, rules.metrics_silent, rules.shifted, rules.unsettled, rules.advance,
        rules.inconclusive,
    ),
    Phase.BAKE: (
        *_SAFETY, answer_edit, rules.metrics_silent, rules.shifted, rules.unsettled, baked, rules.inconclusive,
    ),
    Phase.PAUSED: (*_SAFETY, answer_edit, _recovered, _paused_too_long, _still_paused),
    Phase.PROMOTE: (_first_deployment, *_SAFETY, _all_follow, rules.unsettled),
    Phase.ADOPT: (_adopted,),
    Phase.CLEANUP: (_clean,),
    Phase.SUCCEEDED: (_late_harm,),
    Phase.ROLLBACK: (_went_home,),
    Phase.DRAIN: (_drained,),
    Phase.REMOVE: (_removed,),
    Phase.ROLLED_BACK: (),
}  # fmt: skip

_WAITING = {
    Phase.PREPARE: "the candidate is loading",
    Phase.SHADOW: "collecting mirrored answers",
    Phase.BAKE: "no user request reached the candidate in the bake yet",
    Phase.ADOPT: "the candidate becomes the stable version",
    Phase.CLEANUP: "the previous version finishes its requests",
    Phase.ROLLBACK: "weight 0 is on its way",
    Phase.DRAIN: "the candidate finishes its requests",
    Phase.REMOVE: "the candidate is being removed",
    Phase.SUCCEEDED: "done",
    Phase.ROLLED_BACK: "done",
}
