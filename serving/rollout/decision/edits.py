"""What becomes of a split that somebody else wrote: the plan says, and nothing is undone or obeyed without a word."""

from serving.rollout.backend import Split
from serving.rollout.decision import moves
from serving.rollout.decision.render import wanted_split
from serving.rollout.decision.rules import Decision, Look, Seen
from serving.rollout.state import BAKE_WEIGHT, Epoch, Phase, Reason, RolloutState, arm_names

_LOOKED_AT = frozenset({Phase.SHADOW, Phase.STEP, Phase.BAKE, Phase.PAUSED})


def is_edited(state: RolloutState, seen: Seen) -> bool:
    """Whether somebody else has changed what this rollout wrote."""
    found, epoch = seen.observed, state.epoch
    if found is None or epoch is None or state.phase not in _LOOKED_AT:
        return False
    if state.pause is not None and state.pause.reason is Reason.CONVERGE:
        return False  # nothing is applied until a person says so
    if found.by:
        return state.settled or found.epoch == epoch.token  # else ours was not written yet
    wanted = wanted_split(state)
    same = wanted is not None and wanted.routes_like(found.split)
    return state.settled and not (same and (found.digest == epoch.digest or found.epoch != epoch.token))


def closed(state: RolloutState, seen: Seen) -> tuple[Epoch, ...]:
    """The epochs, of which an edited one counts no further: what came since was drawn by another split."""
    if not is_edited(state, seen):
        return state.epochs
    return (*state.epochs[:-1], state.epochs[-1].model_copy(update={"edited": True}))


def answer_edit(look: Look) -> Decision | None:
    """Obey the edit, or put our split back."""
    state, found = look.state, look.seen.observed
    if found is None or state.epoch is None or not is_edited(state, look.seen):
        return None
    who, share = found.by or "somebody else", theirs(state, found.split)
    why = _against(state, share)
    if not why and share is not None:
        sentence = f"{who} gave {state.candidate.name} {share / 10:g} % of requests, and the plan obeys edits"
        return look.move(obeyed(state, share, sentence, look.now), sentence)
    seen = "nothing that can be read" if found.split is None else dict(found.split.weights)
    sentence = f"{who} changed the split to {seen}; {state.weight / 10:g} % is put back, {why}"
    return look.move(moves.split(state, state.weight, look.now, mirror=state.epoch.mirror), sentence)


def theirs(state: RolloutState, found: Split | None) -> int | None:
    """Candidate's per mille in a split that divides between this rollout's versions; None in any other."""
    return None if found is None or set(found.arms) - set(arm_names(state)) else found.weight(state.candidate.name)


def _against(state: RolloutState, share: int | None) -> str:
    if state.plan.edits == "put-back":
        return "as the plan says (edits: put-back)"
    if share is None:
        return "as theirs is none between the versions of this rollout"
    if share == state.weight:
        return "as theirs gives the candidate nothing else"
    return "as more comes by evidence, or by slipway rollout promote" if share > BAKE_WEIGHT else ""


def obeyed(state: RolloutState, share: int, why: str, now: float) -> RolloutState:
    """*share* per mille, at most those of the bake, because somebody said so; the steps below it are done with it.

    0 sends the candidate home with *why* as outcome; a pause stays one.
    """
    if share <= 0:
        return moves.home(state, why, now)
    step = max((n for n, stage in enumerate(state.plan.stages) if stage.permille <= share), default=0)
    entered = moves.enter(state, Phase.STEP, now, step=step, deadline=now + state.plan.time.step)
    if state.pause is not None:
        held = state.pause.model_copy(update={"resumes": Phase.STEP})
        entered = entered.model_copy(update={"phase": Phase.PAUSED, "pause": held})
    return moves.split(entered, share, now)
