"""From a state to the whole of what is wanted from the backend: no step of it is relative to what is there."""

from dataclasses import dataclass

from serving.rollout.backend import WEIGHT_SUM, Revision, Split
from serving.rollout.state import GOING_HOME, Phase, Reason, RolloutState


@dataclass(frozen=True)
class Desired:
    """What should be true.

    Attributes:
        running: revisions that must run. replicas: copies of each.
        split, epoch: routing, None while nothing is asked of it.
        adopt: revision to make the service's stable one.
        remove: revisions that should be gone.
    """

    running: tuple[Revision, ...] = ()
    replicas: int = 1
    split: Split | None = None
    epoch: str | None = None
    adopt: str | None = None
    remove: tuple[str, ...] = ()


def render(state: RolloutState) -> Desired:
    """The desired state; equal states give equal answers, however often and by whomever they are asked for."""
    hands_off = state.pause is not None and state.pause.reason is Reason.CONVERGE  # a person decides
    split = None if hands_off or state.terminal else wanted_split(state)
    return Desired(
        running=_running(state),
        replicas=state.plan.replicas,
        split=split,
        epoch=state.epochs[-1].token if split is not None else None,
        adopt=state.candidate.name if state.phase is Phase.ADOPT and "adopt" not in state.done else None,
        remove=_remove(state),
    )


def wanted_split(state: RolloutState) -> Split | None:
    """The split of the newest epoch, whether or not it is being applied."""
    epoch = state.epoch
    if epoch is None:
        return None
    candidate = state.candidate.name
    if state.stable is None:
        return Split(weights={candidate: WEIGHT_SUM}, sticky_header=state.plan.sticky_header)
    stable = state.stable.name
    shown = state.going_on in (Phase.SHADOW, Phase.STEP, Phase.BAKE)
    reachable = (stable, candidate) if shown and state.capabilities.header else ()
    weights = {stable: WEIGHT_SUM - epoch.weight, candidate: epoch.weight}
    return Split(
        weights={name: weight for name, weight in weights.items() if weight > 0},
        mirror=candidate if epoch.mirror else None,
        sticky_header=state.plan.sticky_header,
        header_arms=reachable,
    )


def _running(state: RolloutState) -> tuple[Revision, ...]:
    stable = () if state.stable is None else (state.stable,)
    if state.phase in (Phase.PENDING, Phase.DRAIN, Phase.REMOVE, Phase.ROLLED_BACK):
        return stable
    if state.phase in (Phase.CLEANUP, Phase.SUCCEEDED):
        return (state.candidate,)
    return (*stable, state.candidate)


def _remove(state: RolloutState) -> tuple[str, ...]:
    if "remove" in state.done:
        return ()
    if state.phase is Phase.REMOVE:
        return (state.candidate.name,)
    if state.phase is Phase.PREPARE:
        return state.request.leftovers
    cleaned = state.phase is Phase.CLEANUP and "drained" in state.done
    watched = state.phase is Phase.SUCCEEDED and "watched" in state.done and state.warm and not state.plan.keep_previous
    return (state.stable.name,) if state.stable and (cleaned or watched) else ()


def leaving(state: RolloutState) -> str | None:
    """The revision whose requests in flight are waited for."""
    if state.phase in GOING_HOME:
        return state.candidate.name
    return state.stable.name if state.phase is Phase.CLEANUP and state.stable else None
