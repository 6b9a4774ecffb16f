"""Watching a rollout from outside of its controller: one line for each change, until it is over."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components.core.place import Place
from serving.release import rollout_file, service_directory
from serving.rollout.explain import status
from serving.rollout.sqlite import SqliteDesk

POLL_S = 0.1


@dataclass(frozen=True)
class End:
    """How a rollout stands when nobody needs to wait for it any more."""

    rollout: str
    phase: str
    sentence: str


def follow(
    place: Place,
    model: str,
    line: Callable[..., Any],
    *,
    version: int | None = None,
    timeout_s: float = 3_600.0,
    going_on: Callable[[], bool] = lambda: True,
) -> End:
    """Call *line* with each change of the rollout (of *version*, or the newest) until it ends, pauses or time is up."""
    shown: tuple[Any, ...] = ()
    deadline = time.monotonic() + timeout_s
    with SqliteDesk(rollout_file(service_directory(place.serving, model))) as desk:
        while time.monotonic() < deadline and going_on():
            stored = desk.load()
            state = stored.state if stored else None
            if state is None or (version is not None and state.candidate.version != version):
                time.sleep(POLL_S)
                continue
            now = (state.id, state.phase, state.weight)
            if now != shown:
                seen = status(state, time.time())
                line("canary", f"{state.weight / 10:g} %  {state.phase.value}: {seen.sentences[-1]}", phase=seen.phase)
                shown = now
            if state.terminal or state.pause is not None:
                words = state.outcome or (state.pause.detail if state.pause else "")
                return End(state.id, state.phase.value, words)
            time.sleep(POLL_S)
    return End(state.id if state else "", state.phase.value if state else "none", f"no end within {timeout_s:.0f} s")
