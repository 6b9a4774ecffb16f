"""The transitions of a rollout's state; each returns a whole new state and changes nothing else."""

from typing import Any

from serving.rollout.backend import WEIGHT_SUM
from serving.rollout.state import BAKE_WEIGHT, GOING_HOME, Epoch, Pause, Phase, Reason, RolloutState


def enter(state: RolloutState, phase: Phase, now: float, **changes: Any) -> RolloutState:
    """*state* at the beginning of *phase*: its clock and its finished actions start anew."""
    fresh: dict[str, Any] = {
        "phase": phase, "since": now, "deadline": None, "done": (), "pause": None, "applies": 0, "next_apply": now,
    }  # fmt: skip
    return state.model_copy(update=fresh | changes)


def prepare(state: RolloutState, now: float) -> RolloutState:
    return enter(state, Phase.PREPARE, now, deadline=now + state.plan.time.ready)


def shadow(state: RolloutState, now: float) -> RolloutState:
    return split(enter(state, Phase.SHADOW, now, deadline=now + state.plan.time.step), 0, now, mirror=True)


def step(state: RolloutState, number: int, now: float) -> RolloutState:
    """Enter stage *number*, or the bake after the last."""
    stages = state.plan.stages
    if number >= len(stages):
        return bake(state, now)
    entered = enter(state, Phase.STEP, now, step=number, deadline=now + state.plan.time.step)
    return split(entered, stages[number].permille, now)


def bake(state: RolloutState, now: float) -> RolloutState:
    times = state.plan.time
    entered = enter(state, Phase.BAKE, now, step=len(state.plan.stages), deadline=now + times.bake + times.step)
    return split(entered, BAKE_WEIGHT, now)


def promote(state: RolloutState, now: float) -> RolloutState:
    entered = enter(state, Phase.PROMOTE, now, step=len(state.plan.stages) + 1)
    return split(entered, WEIGHT_SUM, now)


def split(state: RolloutState, weight: int, now: float, *, mirror: bool = False) -> RolloutState:
    """A new epoch with *weight* per mille on the candidate."""
    epoch = Epoch(
        token=f"{state.id}.{len(state.epochs) + 1}",
        weight=weight, previous=state.weight, step=state.step, since=now, mirror=mirror,
    )  # fmt: skip
    return state.model_copy(update={"epochs": (*state.epochs, epoch), "applies": 0, "next_apply": now})


def home(state: RolloutState, outcome: str, now: float) -> RolloutState:
    """Begin to roll back; without any exposure only the candidate's removal is left."""
    if state.phase in GOING_HOME:
        return state
    told = state.model_copy(update={"outcome": outcome})
    if not state.epochs:
        return enter(told, Phase.REMOVE, now)
    return split(enter(told, Phase.ROLLBACK, now), 0, now)


def pause(state: RolloutState, reason: Reason, detail: str, now: float) -> RolloutState:
    """Hold everything as it is; a second reason replaces the first and keeps its clock."""
    since = state.pause.since if state.pause else now
    held = Pause(reason=reason, detail=detail, since=since, until=since + state.plan.time.pause, resumes=state.going_on)
    return state.model_copy(update={"phase": Phase.PAUSED, "pause": held})


def resume(state: RolloutState, now: float) -> RolloutState:
    """Go on with the interrupted phase; its deadline is extended, its evidence kept."""
    if state.pause is None:
        return state
    times = state.plan.time
    stays = {Phase.PREPARE: times.ready, Phase.BAKE: times.bake + times.step}
    deadline = now + stays.get(state.pause.resumes, times.step)
    changes: dict[str, Any] = {"phase": state.pause.resumes, "pause": None, "deadline": deadline}
    if state.silent_since is not None:
        changes["silent_since"] = now
    if not state.settled:
        restarted = [epoch.model_copy(update={"since": now}) for epoch in state.epochs[-1:]]  # to converge
        changes |= {"applies": 0, "next_apply": now, "epochs": (*state.epochs[:-1], *restarted)}
    return state.model_copy(update=changes)
