"""One model's service, wherever it runs: who asks for traffic, or follows it, needs no more than this.

On one machine a supervisor beside the service's directory looks after it, on a cluster the rollout controller does. In
both places asking means writing down: the ledger says what should serve, the desk how a rollout stands.
"""

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from serving.errors import ConfigError, InfrastructureError
from serving.ledger import Ledger
from serving.ledger_values import Slot, SlotName
from serving.rollout.backends.protocol import Split
from serving.rollout.persistence import OpenDesk
from serving.rollout.state import Request, RolloutState
from serving.rollout.waiting import Waiting
from serving.slots import Following, wanted_split

POLL_S = 0.05


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
        self.monotonic, self.sleep = time.monotonic, time.sleep

    @abstractmethod
    def desk(self) -> OpenDesk:
        """State, journal, lease and inbox; to be closed."""

    @property
    @abstractmethod
    def waiting(self) -> Waiting:
        """Rollouts that were asked for and not begun."""

    @abstractmethod
    def rollouts(self) -> list[RolloutState]:
        """All of this service, oldest first; looking makes nothing."""

    @abstractmethod
    def serves(self) -> bool:
        """Whether somebody looks after the service now."""

    @abstractmethod
    def following(self, slots: dict[SlotName, Slot], split: Split) -> Following:
        """How far traffic is with *split*, which is what *slots* amount to."""

    @abstractmethod
    def observed(self) -> Split | None:
        """The split that traffic follows; None where nobody knows."""

    @property
    def page(self) -> Path | None:
        """The file of the service's own page, None where it has none."""
        return None

    def ask(self, request: Request) -> None:
        """Leave *request* for whoever looks after the service; asking again changes nothing."""
        self.waiting.put(request)

    def live(self) -> RolloutState | None:
        """The rollout that decides about this service's traffic now."""
        states = self.rollouts()
        return states[-1] if states and not states[-1].terminal else None

    def await_traffic(self, ledger: Ledger, timeout_s: float | None = None) -> bool:
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


def open_service(serving: str, model: str, ledger_url: str) -> Service:
    """The service of *model* at the place's serving URI: ``file:///directory`` or ``kserve://namespace``.

    Args:
        ledger_url: of the database that holds a cluster's rollouts; not touched for a local service.

    Raises:
        ConfigError: the URI is neither.
    """
    from serving.cluster_service import ClusterService  # each knows this module
    from serving.local.service import LocalService

    scheme = urlsplit(serving).scheme
    if scheme == "kserve":
        return ClusterService(serving, model, ledger_url)
    if scheme not in ("", "file"):
        raise ConfigError(f"serving: expected file:///directory or kserve://namespace, got {serving!r}")
    return LocalService(serving, model)
