"""Drives one service's rollout: at each tick it takes the lease, looks, decides, writes down, and acts.

Level-triggered: what is done depends on the stored state and on what is there, never on what an earlier tick of this
process remembers, so another process can go on at any point. What a tick writes it writes in this order: the decision
with its evidence, the state that follows, an intent before each call to the backend, and what was done after it.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from serving.errors import ConflictError, GateRefusal, SlipwayError
from serving.rollout.backend import Revision, TrafficBackend
from serving.rollout.controller.acting import Hands, look
from serving.rollout.controller.commands import obey, supersede
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.persistence import Command, Ordered, Stored
from serving.rollout.controller.replay import decision_record
from serving.rollout.controller.turn import Turn
from serving.rollout.decision.engine import decide
from serving.rollout.decision.events import Notice, Tick
from serving.rollout.decision.rules import Decision, Seen
from serving.rollout.state import GOING_HOME, Phase, Request, RolloutState, begin

log = logging.getLogger(__name__)

_RECORD_EVERY_S = 10.0  # least time between two records that only say "hold"
_ALERT_AFTER = 4  # failed tries of an action before somebody is called


class Controller:
    """One process's hand on one service.

    Args:
        holder: unique per process and start, e.g. host, process id and a random part.
        check: why a revision may not serve (no approval, digest changed), empty when it may; asked at each look.
        notify: told of each transition and alert; its failures are logged and change nothing.
        fenced: the backend that acts under a given fencing token, where a backend can refuse an old one itself.
        lease_ttl: seconds after which another controller may take over.
    """

    def __init__(
        self,
        backend: TrafficBackend,
        desk: Desk,
        holder: str,
        *,
        check: Callable[[Revision], str] = lambda _: "",
        notify: Callable[[Notice], None] = lambda _: None,
        fenced: Callable[[int], TrafficBackend] | None = None,
        lease_ttl: float = 30.0,
    ) -> None:
        self._backend, self.desk, self.holder = backend, desk, holder
        self._check, self._notify = check, notify
        self._fenced = fenced or (lambda _token: backend)
        self._ttl, self._recorded = lease_ttl, -math.inf

    def start(self, request: Request, now: float) -> RolloutState:
        """Begin *request*, or join it when it runs or has ended already; another that is live goes home first.

        Raises:
            ConflictError: another rollout is being adopted, or another controller holds the lease.
            GateRefusal: the candidate may not serve.
            ConfigError: the plan cannot run on this backend.
        """
        stored = self.desk.load()
        known = [stored.state] if stored else []
        for state in [*known, *self.desk.past()]:
            if state.id == request.id or (state.successor and state.successor.id == request.id):
                return state
        refused = self._check(request.candidate)
        if refused:
            raise GateRefusal(refused)
        turn = self._turn(now)
        if stored is None or stored.state.terminal:
            return self._begin(request, stored, turn)
        begin(request, self._backend.capabilities(), now)  # refused now rather than after the other has gone home
        after = supersede(stored.state, request, now)
        turn.note("command", after.id, Ordered(command="supersede", by=request.candidate.name))
        turn.save(after, stored.revision)
        return after

    def tick(self, now: float) -> Tick:
        """One look and what follows from it; safe to call at any time and from any number of processes.

        Raises nothing for a backend that fails or a lease that is lost: the tick then says so.
        """
        grant = self.desk.acquire(self.holder, now, self._ttl)
        if grant is None:
            return self._bystander()
        try:
            return self._tick(Turn(self.desk, grant, now))
        except ConflictError as lost:
            return replace(self._bystander(), trouble=str(lost))

    def acting(self) -> TrafficBackend:
        """The backend under the lease that this process holds, so that one that lost it is refused.

        Raises:
            ConflictError: somebody else has the lease.
        """
        held = self.desk.current()
        if held is None or held.holder != self.holder:
            raise ConflictError(f"the lease went to {held.holder if held else 'nobody'}; stopping at once")
        return self._fenced(held.token)

    def release(self) -> None:
        """Give the lease back, so that the next controller need not wait for its end."""
        grant = self.desk.current()
        if grant is not None and grant.holder == self.holder:
            self.desk.release(grant)

    def _tick(self, turn: Turn) -> Tick:
        stored = self._answer_inbox(turn)
        if stored is None:
            return Tick(None)
        state = stored.state
        if state.terminal and state.successor is not None:
            return Tick(self._begin(state.successor, stored, turn))
        if state.terminal and not _watched(state):
            return Tick(state)
        seen = look(self._backend, state, self._check)
        decision = decide(state, seen, turn.now)
        self._record(state, seen, decision, turn)
        unchanged = decision.state == state  # as without any request
        revision = stored.revision if unchanged else turn.save(decision.state, stored.revision)
        self._tell(state, decision, turn.now)
        if decision.verdict == "reverse":
            return self._after_success(decision, seen, revision, turn)
        after, trouble = self._act(decision.state, seen, turn)
        if after is not decision.state:
            turn.save(after, revision)
        return Tick(after, decision, seen, trouble=trouble)

    def _act(self, state: RolloutState, seen: Seen, turn: Turn) -> tuple[RolloutState, str]:
        hands = Hands(self._fenced(turn.grant.token), turn, state.id)
        after = hands.bring(state, seen)
        tries = after.applies
        if hands.trouble and tries >= _ALERT_AFTER and tries.bit_count() == 1:  # ever rarer while it lasts
            self._alert(after, hands.trouble, turn)
        return after, hands.trouble

    def _alert(self, state: RolloutState, trouble: str, turn: Turn) -> None:
        sentence = f"{state.phase} tried {state.applies} times: {trouble}; it is tried again"
        critical = state.phase in GOING_HOME or state.phase is Phase.ADOPT
        turn.note("alert", state.id, {"sentence": sentence, "critical": critical})
        self._send(turn.now, state, state, "alert", sentence, critical=critical)

    def _after_success(self, decision: Decision, seen: Seen, revision: int, turn: Turn) -> Tick:
        state = decision.state
        if state.plan.watch.on_harm == "reverse" and state.stable is not None:
            state = self._begin(_reverse(state, state.stable, self.desk.past()), Stored(state, revision), turn)
        return Tick(state, decision, seen)

    def _begin(self, request: Request, stored: Stored | None, turn: Turn) -> RolloutState:
        state = begin(_following(request, stored.state if stored else None), self._backend.capabilities(), turn.now)
        turn.note("start", state.id, {"state": state.model_dump(mode="json")})
        turn.save(state, stored.revision if stored else 0)
        return state

    def _answer_inbox(self, turn: Turn) -> Stored | None:
        for number, command in self.desk.asked():
            try:
                self._obey(self._started(), command, turn)
                answer = f"done: {command.name}"
            except SlipwayError as refused:
                turn.still_mine()
                answer = str(refused)
            self.desk.answer(number, answer)
        return self.desk.load()

    def _started(self) -> Stored:
        stored = self.desk.load()
        if stored is None:
            raise ConflictError("no rollout has been started for this service; nothing to change or to roll back")
        return stored

    def _obey(self, stored: Stored, command: Command, turn: Turn) -> RolloutState:
        after = obey(stored.state, command, turn.now)
        said = asdict(command)
        turn.note("command", after.id, {"command": said.pop("name"), **said, "phase": after.phase.value})
        turn.save(after, stored.revision)
        sentence = f"{command.name} by {command.who}: {command.reason or 'no reason given'}"
        self._send(turn.now, stored.state, after, command.name, sentence)
        return after

    def _record(self, state: RolloutState, seen: Seen, decision: Decision, turn: Turn) -> None:
        turn.note_settled(state, decision.state)
        if decision.verdict == "hold" and turn.now - self._recorded < _RECORD_EVERY_S:
            return
        turn.note("decide", state.id, decision_record(state, seen, decision))
        self._recorded = turn.now

    def _tell(self, before: RolloutState, decision: Decision, now: float) -> None:
        after = decision.state
        if decision.verdict == "hold" and before.phase is after.phase:
            return
        self._send(now, before, after, decision.verdict, decision.sentence, critical=bool(decision.alert))

    def _send(
        self, now: float, before: RolloutState, after: RolloutState, what: str, sentence: str, *, critical: bool = False
    ) -> None:
        event = Notice(now, after.plan.service, after.id, before.phase, after.phase, what, sentence, critical)
        log.info("rollout moved", extra={"rollout": event.rollout, "phase": event.after, "sentence": event.sentence})
        try:
            self._notify(event)
        except Exception:  # a webhook that fails must not hold traffic where it is
            log.warning("rollout event not delivered", exc_info=True, extra={"rollout": event.rollout})

    def _turn(self, now: float) -> Turn:
        grant = self.desk.acquire(self.holder, now, self._ttl)
        if grant is None:
            held = self.desk.current()
            raise ConflictError(f"controller {held.holder if held else 'unknown'} holds this service; ask it or wait")
        return Turn(self.desk, grant, now)

    def _bystander(self) -> Tick:
        stored, holder = self.desk.load(), self.desk.current()
        return Tick(stored.state if stored else None, held_by=holder.holder if holder else "")


def _following(request: Request, before: RolloutState | None) -> Request:
    """*request* as it begins after *before*, whose previous version may still run and then has to go."""
    if before is None or not before.warm or before.stable is None or "remove" in before.done:
        return request
    kept = {request.candidate.name, request.stable.name if request.stable else ""}
    return request.model_copy(update={"leftovers": tuple({before.stable.name} - kept)})


def _reverse(state: RolloutState, target: Revision, past: Sequence[RolloutState]) -> Request:
    """From *state*'s candidate straight back to *target*, its stable version, which needs no steps."""
    attempt = 1 + sum(before.candidate.digest == target.digest for before in [*past, state])
    return Request(plan=state.plan, candidate=target, stable=state.candidate, attempt=attempt, fast=True)


def _watched(state: RolloutState) -> bool:
    """A finished rollout that still has something to look after: a watch window, or a warm version to remove."""
    if state.phase is not Phase.SUCCEEDED or state.plan.watch.window <= 0:
        return False
    leaves = state.warm and not state.plan.keep_previous
    return "watched" not in state.done or (leaves and "remove" not in state.done)
