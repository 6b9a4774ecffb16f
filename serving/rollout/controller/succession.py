"""What comes after a rollout: a watch over its success, the way back, and what the next one finds still running."""

from collections.abc import Sequence

from serving.rollout.backend import Revision
from serving.rollout.state import Phase, Request, RolloutState


def following(request: Request, before: RolloutState | None) -> Request:
    """*request* as it begins after *before*, whose previous version may still run and then has to go."""
    if before is None or not before.warm or before.stable is None or "remove" in before.done:
        return request
    kept = {request.candidate.name, request.stable.name if request.stable else ""}
    return request.model_copy(update={"leftovers": tuple({before.stable.name} - kept)})


def reverse(state: RolloutState, target: Revision, past: Sequence[RolloutState]) -> Request:
    """From *state*'s candidate straight back to *target*, its stable version, which needs no steps."""
    attempt = 1 + sum(before.candidate.digest == target.digest for before in [*past, state])
    return Request(plan=state.plan, candidate=target, stable=state.candidate, attempt=attempt, fast=True)


def watched(state: RolloutState) -> bool:
    """A finished rollout that still has something to look after: a watch window, or a warm version to remove."""
    if state.phase is not Phase.SUCCEEDED or state.plan.watch.window <= 0:
        return False
    leaves = state.warm and not state.plan.keep_previous
    return "watched" not in state.done or (leaves and "remove" not in state.done)
