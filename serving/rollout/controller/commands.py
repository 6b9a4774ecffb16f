"""What people may do to a live rollout, as pure functions of its state."""

from collections.abc import Callable

from serving.errors import ConflictError, GateRefusal, UsageError
from serving.rollout.backend import WEIGHT_SUM
from serving.rollout.controller.persistence import Command
from serving.rollout.decision import moves
from serving.rollout.decision.edits import obeyed
from serving.rollout.evidence.evidence import weigh
from serving.rollout.state import BAKE_WEIGHT, Phase, Reason, Request, RolloutState, of_step

_HELD = frozenset({Phase.PENDING, Phase.PREPARE, Phase.SHADOW, Phase.STEP, Phase.BAKE})
_POINT_OF_NO_RETURN = frozenset({Phase.ADOPT, Phase.CLEANUP})


def obey(state: RolloutState, command: Command, now: float) -> RolloutState:
    """The state after *command*.

    Raises:
        ConflictError: the rollout is in no phase that allows it.
        GateRefusal: a verdict stands against it.
        UsageError: the command lacks a reason or an option.
    """
    if state.terminal:
        raise ConflictError(f"rollout {state.id} is over ({state.phase}): {state.outcome or 'nothing to change'}")
    return _OBEYED[command.name](state, command, now)


def supersede(state: RolloutState, successor: Request, now: float) -> RolloutState:
    """Go home for *successor*, which starts when the candidate is gone.

    Raises:
        ConflictError: the candidate is already being adopted.
    """
    _before_adoption(state)
    outcome = f"superseded by {successor.candidate.name}"
    return moves.home(state, outcome, now).model_copy(update={"successor": successor})


def _pause(state: RolloutState, command: Command, now: float) -> RolloutState:
    if command.percent is not None:
        return _hold(state, command, command.percent, now)
    if state.phase not in _HELD:
        raise ConflictError(f"rollout {state.id} cannot be paused in phase {state.phase}")
    return moves.pause(state, Reason.MANUAL, _who_and_why(command), now)


def _hold(state: RolloutState, command: Command, percent: float, now: float) -> RolloutState:
    share, least = round(percent * WEIGHT_SUM / 100), state.capabilities.resolution
    if state.going_on not in (Phase.SHADOW, Phase.STEP, Phase.BAKE):
        raise ConflictError(f"rollout {state.id} can hold no share in phase {state.going_on}")
    if not 0 < share <= BAKE_WEIGHT or share % least:
        raise UsageError(
            f"a live rollout holds {least * 100 / WEIGHT_SUM:g} to {BAKE_WEIGHT * 100 / WEIGHT_SUM:g} % in steps of "
            f"{least * 100 / WEIGHT_SUM:g} %, seen {percent:g} %; promote gives more, abort nothing"
        )
    after = obeyed(state, share, "", now)
    return moves.pause(after, Reason.MANUAL, f"held at {percent:g} % by {_who_and_why(command)}", now)


def _resume(state: RolloutState, _: Command, now: float) -> RolloutState:
    if state.pause is None:
        raise ConflictError(f"rollout {state.id} is not paused (phase {state.phase}); nothing to resume")
    resumed = moves.resume(state, now)
    return resumed.model_copy(update={"shift_accepted": True}) if state.pause.reason is Reason.OUTPUT else resumed


def _approve(state: RolloutState, _: Command, now: float) -> RolloutState:
    going_on = state.going_on
    number = state.step + 1 if going_on is Phase.STEP else 0
    approved = state.model_copy(update={"approved": (*state.approved, number)})
    waits = state.pause is not None and state.pause.reason in (Reason.APPROVAL, Reason.UNRANDOM)
    return moves.resume(approved, now) if waits else approved


def _promote(state: RolloutState, command: Command, now: float) -> RolloutState:
    if state.going_on not in (Phase.STEP, Phase.BAKE):
        raise ConflictError(f"rollout {state.id} cannot be promoted in phase {state.phase}")
    evidence = weigh(state)
    if evidence.harmful or evidence.guard:
        raise GateRefusal("the evidence says the candidate does harm; no force promotes over that")
    if evidence.mismatched:
        raise GateRefusal("requests do not arrive as they are split, so nothing is known; no force promotes over that")
    if command.force:
        if not command.reason:
            raise UsageError("--force needs --reason: it is written to the journal")
        return _skip(state, now)
    if state.plan.frozen_at(now):
        raise GateRefusal("a freeze window holds the weights; wait, or use --force with a reason")
    excess = max((g.excess / evidence.next_weight for g in evidence.gates if g.required), default=1.0)
    served = state.going_on is not Phase.BAKE or of_step(state, state.step)[0].requests > 0
    if (state.going_on is Phase.STEP and excess > state.plan.risk.rho) or not served:
        raise GateRefusal(
            f"not certified for all users: up to {excess:.2%} could newly fail, at most {state.plan.risk.rho:.2%} is "
            "allowed; wait for more requests, or use --force with a reason"
        )
    return _skip(state, now)


def _skip(state: RolloutState, now: float) -> RolloutState:
    return moves.promote(state, now) if state.going_on is Phase.BAKE else moves.bake(state, now)


def _abort(state: RolloutState, command: Command, now: float) -> RolloutState:
    _before_adoption(state)
    return moves.home(state, f"aborted by {_who_and_why(command)}", now)


def _before_adoption(state: RolloutState) -> None:
    if state.phase in _POINT_OF_NO_RETURN or state.terminal:
        raise ConflictError(f"rollout {state.id} is already adopted; use rollback, which starts one in reverse")
    if state.stable is None and state.epochs:
        raise ConflictError(f"{state.candidate.name} is the first version: there is none to go back to")


def _who_and_why(command: Command) -> str:
    return f"{command.who}: {command.reason or 'no reason given'}"


_OBEYED: dict[str, Callable[[RolloutState, Command, float], RolloutState]] = {
    "pause": _pause,
    "resume": _resume,
    "approve": _approve,
    "promote": _promote,
    "abort": _abort,
}
