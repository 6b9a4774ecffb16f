"""Watching a rollout from outside of its controller: one line for each change, until it is over."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.rollout.controller.persistence import Grant
from serving.rollout.state import RolloutState
from serving.rollout.telling.explain import RolloutStatus, status
from serving.service.service import Service


@dataclass(frozen=True)
class End:
    """How a rollout stands when nobody needs to wait for it any more.

    Attributes:
        steps: (time of the look, status) at the end of each stretch with one weight.
    """

    rollout: str
    phase: str
    sentence: str
    steps: tuple[tuple[float, RolloutStatus], ...] = ()


def follow(
    service: Service,
    line: Callable[..., Any],
    *,
    version: int | None = None,
    timeout_s: float = 3_600.0,
) -> End:
    """Call *line* with each change of the rollout (of *version*, or the newest) until it ends, pauses or time is up."""
    deadline = time.monotonic() + timeout_s
    seen: dict[int, tuple[float, RolloutStatus]] = {}
    shown: tuple[Any, ...] = ()
    state: RolloutState | None = None
    with service.desk() as desk:
        while time.monotonic() < deadline:
            stored = desk.load()
            state = stored.state if stored else None
            if state is None or (version is not None and state.candidate.version != version):
                time.sleep(service.poll_s)
                continue
            now = look(state, service)
            if state.weight and state.pause is None and not state.terminal:
                seen[state.weight] = (time.time(), now)
            if (change := (state.id, state.phase, state.weight)) != shown:
                line("canary", _said(state, now), phase=now.phase, weight=state.weight / 10)
                shown = change
            if state.terminal or state.pause is not None:
                words = state.outcome or (state.pause.detail if state.pause else "")
                return End(state.id, state.phase.value, words, tuple(seen.values()))
            time.sleep(service.poll_s)
    phase = state.phase.value if state else "none"
    return End(state.id if state else "", phase, f"no end within {timeout_s:.0f} s", tuple(seen.values()))


def look(state: RolloutState, service: Service, lease: Grant | None = None) -> RolloutStatus:
    """The status of *state* with the split that traffic follows, and what became of somebody else's edit of it."""
    now = time.time()
    found, split = status(state, now, lease=lease), service.observed()
    changes: dict[str, Any] = {}
    if split is not None:
        changes["observed"] = {name: weight / 10 for name, weight in split.weights.items()}
    if edited := service.edited(state.started, now):
        changes["sentences"] = (*found.sentences, edited)
    return found.model_copy(update=changes)


def _said(state: RolloutState, seen: RolloutStatus) -> str:
    share = f"{state.weight / 10:g} %"
    if state.terminal:
        return f"{state.phase.value}: {state.outcome}" if state.outcome else state.phase.value
    if state.pause is not None:
        return f"{share}  paused: {state.pause.detail}"
    return f"{share}  {state.phase.value}  evidence of harm {seen.harm:.2g} of {seen.threshold:g}"
