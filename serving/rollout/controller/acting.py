"""The edge between a rollout and its backend: one look at it, and the calls that bring it to the desired state."""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from serving.errors import BackendRefusal, InfrastructureError
from serving.rollout.backend import Counters, Revision, TrafficBackend
from serving.rollout.controller.persistence import Action
from serving.rollout.controller.turn import Turn
from serving.rollout.decision.render import Desired, leaving, render
from serving.rollout.decision.rules import Seen
from serving.rollout.state import GOING_HOME, RolloutState

T = TypeVar("T")
_LONGEST_WAIT = 60.0
_LONGEST_WAIT_HOME = 8.0  # users are exposed while it waits


def look(backend: TrafficBackend, state: RolloutState, check: Callable[[Revision], str]) -> Seen:
    """What *backend* and *check* answer now; a part that does not answer is None, and nothing is made of it.

    The split is read before the counts, so that counts which settle an epoch are never too small.
    """
    candidate = ask(lambda: backend.readiness(state.candidate.name))
    stable = ask(functools.partial(backend.readiness, state.stable.name)) if state.stable else None
    observed = ask(backend.observed)
    counters = ask(lambda: _own(backend.counters(_slow_ms(state)), state))
    name = leaving(state)
    drained = bool(ask(lambda: backend.drained(name))) if name is not None else False
    refused = ask(functools.partial(check, state.candidate))
    return Seen(candidate, stable, observed, counters, drained, refused)


def _slow_ms(state: RolloutState) -> float | None:
    """From how many milliseconds on the plan calls an answer slow; None: never."""
    gate = state.plan.gates.slow
    return None if gate is None else gate.slo * 1_000


def _own(counters: Counters, state: RolloutState) -> Counters:
    """The epochs of this rollout: a service that has seen many rollouts has many others."""
    tokens = [epoch.token for epoch in state.epochs if epoch.token in counters.epochs]
    return replace(counters, epochs={token: counters.epochs[token] for token in tokens})


class Hands:
    """Performs what ``render`` asks for; an intent is written before each call and a done after each that ended.

    Before each call *turn* is asked for the lease, and raises ``ConflictError`` when it is gone.
    """

    def __init__(self, backend: TrafficBackend, turn: Turn, rollout: str) -> None:
        self._backend, self._turn, self._rollout = backend, turn, rollout
        self.trouble = ""

    def bring(self, state: RolloutState, seen: Seen) -> RolloutState:
        """Do what is missing and return the state with what was done; a call that fails is tried again later."""
        now = self._turn.now
        if now < state.next_apply:
            return state
        desired = render(state)
        try:
            self._ensure(state, desired, seen)
            done = self._finish(desired)
        except (InfrastructureError, BackendRefusal) as error:
            after = self._route(state, desired, seen, now)  # what stands in the way may be a split that is not ours
            self.trouble = str(error)
            return _later(state, now) if after is state else after
        if done:
            return state.model_copy(update={"done": (*state.done, *done), "applies": 0, "next_apply": now})
        return self._route(state, desired, seen, now)

    def _ensure(self, state: RolloutState, desired: Desired, seen: Seen) -> None:
        for revision in desired.running:
            ready = seen.candidate if revision.name == state.candidate.name else seen.stable
            if ready is not None and ready.state == "absent":
                call = functools.partial(self._backend.ensure, revision, desired.replicas)
                self._do("ensure", revision.name, call)

    def _finish(self, desired: Desired) -> list[str]:
        done = []
        if desired.adopt is not None:
            name = desired.adopt
            self._do("adopt", name, functools.partial(self._backend.adopt, name))
            done.append("adopt")
        for name in desired.remove:
            self._do("remove", name, functools.partial(self._backend.remove, name))
        return [*done, "remove"] if desired.remove else done

    def _route(self, state: RolloutState, desired: Desired, seen: Seen, now: float) -> RolloutState:
        if desired.split is None or desired.epoch is None or not _differs(desired, seen):
            return state
        split, epoch = desired.split, desired.epoch
        try:
            self._turn.still_mine()
            if state.applies == 0 or state.phase not in GOING_HOME:
                meant = Action(action="apply", weights=dict(split.weights), mirror=split.mirror, epoch=epoch)
                self._turn.note("intent", self._rollout, meant)
            self._backend.apply(split, epoch)
        except (InfrastructureError, BackendRefusal) as error:
            self.trouble = str(error)
        return _later(state, now)

    def _do(self, action: str, revision: str, call: Callable[[], None]) -> None:
        self._turn.still_mine()
        self._turn.note("intent", self._rollout, Action(action=action, revision=revision))
        call()
        self._turn.note("done", self._rollout, Action(action=action, revision=revision))


def _differs(desired: Desired, seen: Seen) -> bool:
    """Something is wanted that is not known to be there; not knowing counts as different, applying is idempotent."""
    there = seen.observed
    return (
        there is None
        or there.epoch != desired.epoch
        or bool(there.rejected)
        or (desired.split is not None and not desired.split.routes_like(there.split))
    )


def _later(state: RolloutState, now: float) -> RolloutState:
    longest = _LONGEST_WAIT_HOME if state.phase in GOING_HOME else _LONGEST_WAIT
    wait = min(longest, 2.0 ** min(state.applies, 6))
    return state.model_copy(update={"applies": state.applies + 1, "next_apply": now + wait})


def ask(call: Callable[[], T]) -> T | None:
    """What *call* answers; None when it does not, or refuses."""
    with contextlib.suppress(InfrastructureError, BackendRefusal):
        return call()
    return None
