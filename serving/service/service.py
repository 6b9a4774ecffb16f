"""One model's service, wherever it runs: who asks for traffic, or follows it, needs no more than this.

On one machine a supervisor beside the service's directory looks after it, on a cluster the rollout controller does. In
both places asking means writing down: the ledger says what should serve, the desk how a rollout stands.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from serving.durations import spoken
from serving.errors import InfrastructureError
from serving.ledger.values import Slot, SlotName
from serving.rollout.backend import Split
from serving.rollout.controller.desk import Desk, Memory, Waiting
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import Request, RolloutState
from serving.service.slots import Following, wanted_split

if TYPE_CHECKING:
    from serving.ledger.database import Database
    from serving.ledger.ledger import Ledger  # who only looks at a rollout does not pay for the database's library

POLL_S = 0.05
EDITED = "edited"  # in a service's memory: the last word on what somebody else wrote into its routing


class Service(ABC):
    """The service of *model*.

    Attributes:
        keeper: what must run for anything to happen, as a sentence names it.
        follow_s: how long a change may take to reach traffic before it counts as failed.
        grace_s: for how long nobody may look after it before that counts; one that is replaced is away for a moment.
        where_to_look: the command that shows what is wrong.
        poll_s: between two looks while somebody waits.
    """

    keeper: ClassVar[str]
    where_to_look: ClassVar[str]
    follow_s: ClassVar[float]
    grace_s: ClassVar[float] = 0.0
    poll_s: ClassVar[float] = POLL_S

    def __init__(self, model: str) -> None:
        self.model = model
        self.monotonic = time.monotonic
        self.sleep: Callable[[float], object] = time.sleep

    @property
    @abstractmethod
    def database(self) -> "Database":
        """Where the desk is; made when it is new."""

    @property
    def written(self) -> bool:
        """Whether anything can have been written down yet; looking makes nothing."""
        return True

    @abstractmethod
    def serves(self) -> bool:
        """Whether somebody looks after the service now."""

    @abstractmethod
    def following(self, slots: dict[SlotName, Slot], split: Split) -> Following:
        """How far traffic is with *split*, which is what *slots* amount to."""

    @abstractmethod
    def observed(self) -> Split | None:
        """The split that traffic follows; None where nobody knows."""

    def edited(self, since: float, now: float) -> str:
        """What was said last of somebody else's edit of the routing, if after *since*; empty when nothing was."""
        said = self._memory.get(EDITED) if self.written else None
        return f"{spoken(now - said['at'])} ago {said['sentence']}." if said and said["at"] >= since else ""

    @property
    def page(self) -> Path | None:
        """The file of the service's own page, None where it has none."""
        return None

    def desk(self) -> Desk:
        """State, journal, lease and inbox."""
        return Desk(self.database, self.model)

    @property
    def waiting(self) -> Waiting:
        """Rollouts that were asked for and not begun."""
        return Waiting(self.database, self.model)

    def rollouts(self) -> list[RolloutState]:
        """All of this service, oldest first."""
        if not self.written:
            return []
        desk = self.desk()
        stored = desk.load()
        return [*desk.past(), *([stored.state] if stored else [])]

    def keep_plan(self, version: int, plan: RolloutPlan) -> None:
        """Remember with which *plan* the release of *version* was asked for, as it may have to wait for a person."""
        self._memory.put(_plan_of(version), plan.model_dump(mode="json"))

    def kept_plan(self, version: int) -> RolloutPlan | None:
        """The plan with which the release of *version* was asked for last; None when nobody has asked."""
        return kept_plan(self._memory, version) if self.written else None

    @property
    def _memory(self) -> Memory:
        return Memory(self.database, self.model)

    def ask(self, request: Request) -> None:
        """Leave *request* for whoever looks after the service; asking again changes nothing."""
        self.waiting.put(request)

    def live(self) -> RolloutState | None:
        """The rollout that decides about this service's traffic now."""
        states = self.rollouts()
        return states[-1] if states and not states[-1].terminal else None

    def await_traffic(self, ledger: "Ledger", timeout_s: float | None = None) -> bool:
        """Wait until traffic follows what the slots say; False when nobody looks after the service.

        Raises:
            InfrastructureError: a revision failed, or traffic did not follow in time; the message says which.
        """
        allowed = self.follow_s if timeout_s is None else timeout_s
        began, reason, attended = self.monotonic(), "no answer yet", False
        while (waited := self.monotonic() - began) < allowed:
            attended = attended or self.serves()
            if not attended and waited >= self.grace_s:
                return False
            slots = ledger.slots(self.model)
            split = wanted_split(self.model, slots)
            if split is None:
                return True
            found = self.following(slots, split)
            if found.followed:
                return True
            if found.failed:
                raise InfrastructureError(found.reason)
            reason = found.reason or reason
            self.sleep(self.poll_s)
        raise InfrastructureError(f"traffic did not follow within {allowed:.0f} s: {reason}; see {self.where_to_look}")


def kept_plan(memory: Memory, version: int | None) -> RolloutPlan | None:
    """The plan in a service's *memory* with which *version* was to be released; None when nobody has asked."""
    found = memory.get(_plan_of(version))
    return None if found is None else RolloutPlan.model_validate(found)


def _plan_of(version: int | None) -> str:
    return f"plan {version}"
