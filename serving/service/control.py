"""The controller of one service: while a rollout is live it decides, otherwise the ledger's slots do.

The same on one machine and on a cluster; what differs is what moves the traffic and where things are written down.
What is done follows from what is stored.
"""

import contextlib
import logging
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from serving.errors import BackendRefusal, ConflictError, SlipwayError
from serving.ledger.ledger import Ledger
from serving.ledger.values import Slot, SlotName
from serving.rollout.backend import WEIGHT_SUM, Revision, Split, TrafficBackend
from serving.rollout.controller.controller import Controller
from serving.rollout.controller.desk import Desk
from serving.rollout.decision.events import Tick
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import Phase, RolloutState
from serving.service.by_hand import say_share
from serving.service.service import kept_plan
from serving.service.slots import Following, following, revision_of, wanted_epoch, wanted_split

log = logging.getLogger(__name__)

ACTOR = "rollout controller"
TOLD = "told"  # in memory: the last rollout whose end the ledger knows


class Shows(Protocol):
    """Lets others see the rollout."""

    def after(self, tick: Tick, now: float) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Pass:
    """What one pass saw.

    Attributes:
        epoch: of the slots that were followed; empty while a rollout or another controller decides.
        following: how far traffic is with them, None where they ask for nothing.
    """

    tick: Tick
    epoch: str = ""
    following: Following | None = None

    @property
    def split(self) -> Split | None:
        """The split that traffic follows, where this pass asked."""
        if self.following is not None:
            return self.following.split
        seen = self.tick.seen
        return seen.observed.split if seen is not None and seen.observed is not None else None


def new_holder() -> str:
    """A name that no other controller has, nor this one after a restart."""
    return f"{socket.gethostname()} {secrets.token_hex(4)}"


def refusal(ledger: Ledger, revision: Revision) -> str:
    """Why *revision* may not serve, by the *ledger*; empty when it may."""
    version = ledger.version(revision.model, revision.version)
    if version.digest != revision.digest:
        return f"{revision.name} is registered as bundle {version.digest[:12]}, not {revision.digest[:12]}"
    if version.approval != "approved":
        return f"{revision.name} is {version.approval}; approve it with slipway models approve"
    return ""


@dataclass
class Control:
    """One pass after another over one service.

    Attributes:
        controller: of its rollouts, on the desk that holds what is written down; it asks ``refusal`` at each look.
        idle_s: seconds between two looks at slots that traffic follows already, or that say what a rollout does.
    """

    model: str
    ledger: Ledger
    controller: Controller
    show: Shows
    idle_s: float = 0.0
    _settled: tuple[str, Following, float] | None = None
    _told: tuple[object, float] | None = None

    @property
    def desk(self) -> Desk:
        return self.controller.desk

    def tick(self, now: float) -> Pass:
        """Look once, and do what follows; raises ``InfrastructureError`` when traffic cannot be looked at."""
        self._begin_waiting(now)
        seen = self.controller.tick(now)
        if seen.state is not None:
            self.show.after(seen, now)
        if seen.held_by and seen.held_by != self.controller.holder:
            return Pass(seen)
        if seen.state is not None:
            self._tell_ledger(seen.state, now)
        if seen.state is None or (seen.state.terminal and seen.state.successor is None):
            return self._follow_slots(seen, now)
        self._settled = None
        return Pass(seen)

    def close(self) -> None:
        """Give the lease back, show what waits to be shown, and close the desk."""
        self.controller.release()
        self.show.close()
        self.desk.close()

    def _begin_waiting(self, now: float) -> None:
        for request in self.desk.waiting:
            try:
                self.controller.start(request, now)
            except ConflictError as error:
                log.info("a rollout waits: %s", error)
                return
            except SlipwayError as error:
                log.warning("a rollout was refused: %s", error)
            self.desk.waiting.done(request)

    def _tell_ledger(self, state: RolloutState, now: float) -> None:
        """Keep slots and deployments equal to what the rollout does; an ended rollout is told once."""
        news = (state.id, state.phase, state.weight, state.outcome)
        if self._told is None or self._told[0] != news or now - self._told[1] >= self.idle_s:
            self._tell(state)
            self._told = (news, now)

    def _tell(self, state: RolloutState) -> None:
        ended = self.desk.memory.get(TOLD)
        if ended is not None and ended["rollout"] == state.id:
            return
        version, reason = state.candidate.version, f"rollout {state.id}"
        slots, share = self.ledger.slots(self.model), state.weight / 10
        told = (slots["canary"].version, slots["canary"].percent) == ((version, share) if share else (None, 0))
        if state.phase in (Phase.CLEANUP, Phase.SUCCEEDED):
            self.ledger.promote(
                self.model, version, ACTOR, f"{reason}: {state.outcome or 'certified'}", {"rollout": state.id}
            )
        elif slots["production"].version != version and not told:
            self.ledger.canary(self.model, version, share, ACTOR, state.outcome or reason)
        if state.terminal:
            if state.phase is Phase.ROLLED_BACK and self.ledger.version(self.model, version).stage == "staging":
                self.ledger.move(self.model, version, "archived", ACTOR, f"{reason}: {state.outcome}")
            self.desk.memory.put(TOLD, {"rollout": state.id})

    def _follow_slots(self, seen: Tick, now: float) -> Pass:
        """Bring about the split that the ledger's slots say; the previous version stays warm."""
        slots = self.ledger.slots(self.model)
        split, epoch = wanted_split(self.model, slots), wanted_epoch(slots)
        if split is None:
            return Pass(seen)
        if self._settled is not None and self._settled[0] == epoch and now - self._settled[2] < self.idle_s:
            return Pass(seen, epoch, self._settled[1])
        wanted = {slot.version for slot in slots.values() if slot.version is not None}
        backend = self.controller.acting()
        for number in sorted(wanted):
            revision = revision_of(self.ledger.version(self.model, number))
            backend.ensure(revision, self._plan(number).replicas)
        if self._obeys_edit(backend, split, slots):
            return Pass(seen)
        if all(backend.readiness(name).state == "ready" for name in split.weights):
            backend.apply(split, epoch)
            backend.adopt(f"{self.model}-{slots['production'].version}")
        found = following(backend, split)
        if found.followed:
            self._remove_others(backend, wanted)
        self._settled = (epoch, found, now) if found.followed else None
        return Pass(seen, epoch, found)

    def _plan(self, version: int | None) -> RolloutPlan:
        """The one with which *version* was released; one's defaults where nobody has asked for it."""
        return kept_plan(self.desk.memory, version) or RolloutPlan()

    def _obeys_edit(self, backend: TrafficBackend, split: Split, slots: Mapping[SlotName, Slot]) -> bool:
        """Where the plan obeys edits: have the ledger say what somebody else wrote into the routing.

        False where there is nothing to obey, so that the split of the ledger is put back.
        """
        production = slots["production"].version
        if self._plan(production).edits != "obey":
            return False
        found = backend.observed()
        if not found.by or found.split is None or split.routes_like(found.split):
            return False
        numbers = {version.name: version.version for version in self.ledger.versions(self.model)}
        others = {name: weight for name, weight in found.split.arms.items() if numbers.get(name) != production}
        if len(others) > 1 or not set(others) <= set(numbers):
            return False
        name, weight = next(iter(others.items()), (f"{self.model}-{production}", WEIGHT_SUM))
        try:
            say_share(self.ledger, self.model, numbers[name], weight / 10, found.by, "edited in the routing")
        except SlipwayError as refused:
            log.warning("an edit is not obeyed", extra={"model": self.model, "by": found.by, "reason": str(refused)})
            return False
        return True

    def _remove_others(self, backend: TrafficBackend, wanted: set[int]) -> None:
        """End the versions without a slot, each after its last request."""
        for version in self.ledger.versions(self.model):
            if version.version not in wanted and backend.readiness(version.name).state != "absent":
                with contextlib.suppress(BackendRefusal):  # its requests in flight are waited for at the next pass
                    if backend.drained(version.name):
                        backend.remove(version.name)
