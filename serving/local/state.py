"""The two documents of a service: what is wanted, and what is there.

``desired.json`` is written by whoever decides (a rollout, the command line), whole, under a lock, each time one
generation later; ``observed.json`` is written by the supervisor alone. Neither is ever edited in place, so a reader
needs no lock.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from serving.errors import BackendRefusal, ConflictError, PlaceError
from serving.frozen import Frozen, write_model
from serving.local.paths import ServicePaths
from serving.locks import file_lock
from serving.rollout.backend import Revision, Split

State = Literal["starting", "ready", "failed", "stopping"]


@dataclass(frozen=True)
class AskedRevision(Revision):
    """A revision that should run; *replicas* is recorded, one process serves them all on one machine.

    Attributes:
        asked: generation in which it was asked for; asking again after a removal gives a failed one a new chance.
    """

    replicas: int = 1
    asked: int = 0


class WantedState(Frozen):
    """All that is wanted of one service.

    Attributes:
        generation: rises by one with every change.
        fence: the highest fencing token that has written; a writer with a lower one has lost its lease.
        stable: revision that answers metadata, health and whatever else is not a prediction.
    """

    generation: int = 0
    fence: int = 0
    stable: str | None = None
    revisions: Mapping[str, AskedRevision] = Field(default_factory=dict)
    split: Split | None = None
    epoch: str | None = None

    @property
    def models(self) -> list[str]:
        return sorted({revision.model for revision in self.revisions.values()})

    @property
    def reached(self) -> frozenset[str]:
        """The revisions that callers may be sent to; a mirror that is absent harms nobody."""
        if self.split is None:
            return frozenset()
        return frozenset(filter(None, (*self.split.arms, *self.split.header_arms, self.stable)))

    @property
    def answering(self) -> str:
        """Who answers what is not divided, once there is a split: the stable revision, else the largest arm."""
        weights = self.split.weights if self.split else {}
        return self.stable or max(weights, key=lambda name: (weights[name], name))


class Endpoint(NamedTuple):
    """The ports of a model server on this machine."""

    http: int
    grpc: int


class Running(Frozen):
    """A process as it can be found again: number and start time together name it, a number alone does not.

    Attributes:
        pid: None when the start was announced but not yet seen; the command line then finds it.
        started: seconds since 1970 as the system tells them.
    """

    command: tuple[str, ...]
    pid: int | None = None
    started: float = 0.0


class Server(Frozen):
    """One revision's model server.

    Attributes:
        wanted: the revision as it was asked for when this record began; another one under the same name starts anew.
        endpoint, grpc_endpoint: ports of the newest process that was ready, which is where Envoy sends.
        since: seconds since 1970 at which the present process was started, or became ready.
        crashes: ends in a row without having been ready in between.
        retry_at: seconds since 1970 before which no new process is started.
    """

    wanted: AskedRevision
    state: State = "starting"
    reason: str = ""
    process: Running | None = None
    http_port: int = 0
    grpc_port: int = 0
    endpoint: int = 0
    grpc_endpoint: int = 0
    since: float = 0.0
    answered_at: float = 0.0
    crashes: int = 0
    restarts: int = 0
    retry_at: float = 0.0


class Proxy(Frozen):
    """The one Envoy of the service; *epoch* and *version* are what it confirmed last.

    Attributes:
        rejected: why Envoy refused the routes of ``rejected_generation``; empty when it did not.
        reason: why it does not run; empty when it does.
    """

    process: Running | None = None
    listener_port: int = 0
    admin_port: int = 0
    retry_at: float = 0.0
    restarts: int = 0
    epoch: str | None = None
    version: str = ""
    rejected: str = ""
    rejected_generation: int = 0
    reason: str = ""

    def refusal(self, desired: WantedState) -> str:
        """Why Envoy refused what is wanted now; empty when it did not, or has not been asked yet."""
        return self.rejected if self.rejected_generation == desired.generation else ""


class ObservedState(Frozen):
    """What the supervisor knows; *heartbeat* is in seconds since 1970."""

    supervisor_pid: int = 0
    supervisor_started: float = 0.0
    heartbeat: float = 0.0
    generation: int = 0
    stopped: bool = False
    servers: Mapping[str, Server] = Field(default_factory=dict)
    proxy: Proxy = Proxy()


def read_desired(where: ServicePaths) -> WantedState:
    try:
        return WantedState.model_validate_json(where.desired.read_bytes())
    except FileNotFoundError:
        return WantedState()
    except (ValidationError, BackendRefusal) as error:
        raise PlaceError(f"{where.desired} is not readable as a service: {error}; restore it or remove it") from error


def read_observed(where: ServicePaths) -> ObservedState:
    """What the last supervisor wrote; empty when there never was one or the file is from another version."""
    try:
        return ObservedState.model_validate_json(where.observed.read_bytes())
    except (FileNotFoundError, ValidationError):
        return ObservedState()


def update_desired(
    where: ServicePaths,
    change: Callable[[WantedState], WantedState],
    *,
    fence: int = 0,
    expected_generation: int | None = None,
) -> WantedState:
    """Apply *change* to the newest document and write the result; nothing is written when nothing changed.

    Args:
        fence: the writer's fencing token, 0 for a person at the keyboard, who is never fenced off.
        expected_generation: write only if nobody wrote since this generation was read.

    Raises:
        ConflictError: a writer with a newer token was here, or the generation moved on.
    """
    with file_lock(where.directory / "desired.lock"):
        current = read_desired(where)
        if expected_generation is not None and current.generation != expected_generation:
            raise ConflictError(
                f"the service changed meanwhile: expected generation {expected_generation}, "
                f"seen {current.generation}; look again and repeat"
            )
        if fence and fence < current.fence:
            raise ConflictError(
                f"another controller took over: this one holds token {fence}, the service has seen {current.fence}; "
                "stop acting and let the newer one continue"
            )
        changed = change(current)
        if changed == current and fence <= current.fence:
            return current
        changed = changed.model_copy(
            update={"generation": current.generation + 1, "fence": max(fence, current.fence)},
        )
        write_model(where.desired, changed)
        return changed
