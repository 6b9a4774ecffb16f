"""The controller of one service on this machine; it runs beside the supervisor, in the same process."""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from serving.errors import InfrastructureError, SlipwayError
from serving.ledger.ledger import Ledger
from serving.local.backend import EnvoyBackend
from serving.local.pages import Showing, pages
from serving.local.reading import mark
from serving.local.service import rollout_file, serves
from serving.local.supervisor import ServeOptions, serve
from serving.rollout.controller.controller import Controller
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.tables import open_rollout_file
from serving.rollout.decision.events import Notice
from serving.rollout.state import Phase
from serving.service.control import Control, Pass, refusal

log = logging.getLogger(__name__)

INTERVAL_S = 0.2
CALM_S = 2.0  # between two looks when none is called for sooner
IDLE_S = 5.0
LEASE_S = 5.0  # the one controller of a machine that died is followed by the next after that


_WAITING = frozenset({Phase.PENDING, Phase.SHADOW, Phase.STEP, Phase.BAKE, Phase.PAUSED})  # for evidence or a person

Listener = Callable[[Notice], None]


def local_control(
    directory: Path,
    model: str,
    ledger: Ledger,
    backend: EnvoyBackend,
    notify: Callable[[Notice], None] = lambda _: None,
) -> Control:
    """The control of the service in *directory*, which holds all that it writes down."""
    desk = Desk(open_rollout_file(rollout_file(directory), model, keep=True), model)
    controller = Controller(
        backend,
        desk,
        f"pid {os.getpid()} {secrets.token_hex(4)}",
        check=partial(refusal, ledger),
        notify=notify,
        fenced=lambda token: replace(backend, fence=token),
        lease_ttl=LEASE_S,
    )
    return Control(model, ledger, controller, Showing(directory, desk), IDLE_S)


def serve_and_decide(
    directory: Path,
    control: Control,
    backend: EnvoyBackend,
    options: ServeOptions,
    stop: threading.Event | None = None,
) -> None:
    """Supervise the service in *directory* and run its *control* in one process, until SIGTERM, SIGINT or *stop*.

    *backend* is the control's.

    Raises what ``supervisor.serve`` raises.
    """
    if serves(directory):
        serve(directory, options, stop)  # which says who serves already
        return
    ended = threading.Event()
    attention = Attention(control, backend, _written(directory))
    loop = threading.Thread(target=run, args=(attention, ended), name="controller")
    loop.start()
    try:
        with pages(directory) as address:
            log.info("rollout page at %s", address)
            serve(directory, options, stop, backend.reading.changed)
    finally:
        ended.set()
        loop.join()


def _written(directory: Path) -> tuple[Path, ...]:
    database = rollout_file(directory)
    return database, database.with_name(f"{database.name}-wal")


@dataclass
class Attention:
    """Has *control* look as often as there is reason to: what a look costs is paid where something happens.

    While a rollout waits for evidence, good answers wait up to two seconds for their look; answers that speak against
    an arm, what the supervisor tells and what people ask for are seen at once.

    Attributes:
        backend: the control's own, whose readings its looks go on from.
        written: files by which other processes ask for something.
    """

    control: Control
    backend: EnvoyBackend
    written: tuple[Path, ...]
    _calm: bool = False
    _deciding: bool = False
    _looked_at: float = 0.0
    _known: object = None

    def turn(self, now: float) -> None:
        """Look if that is called for; raises what ``Control.tick`` raises, and then looks again at the next turn."""
        told = (self.backend.told(), self.backend.harmed() if self._deciding else 0)
        if self._calm and now - self._looked_at < CALM_S and (told, self._marks()) == self._known:
            return
        self._calm, self._looked_at = False, now
        done = self.control.tick(now)
        self._calm, self._deciding = _calm(done), done.tick.decision is not None
        self._known = (told, self._marks())  # marks as the look left them, since it writes as well

    def _marks(self) -> object:
        return [mark(path) for path in self.written]


def _calm(done: Pass) -> bool:
    """Whether *done* left nothing that goes on by itself."""
    state, decision = done.tick.state, done.tick.decision
    if done.following is not None:
        return done.following.followed
    if state is None or decision is None:
        return state is None and not done.tick.held_by
    waits = state.phase in _WAITING and (state.settled or state.phase is Phase.PENDING)
    return waits and decision.verdict == "hold" and not done.tick.trouble


def run(attention: Attention, stopping: threading.Event) -> None:
    """Turn after turn until *stopping*; a pass that fails is logged and tried again."""
    while not stopping.wait(INTERVAL_S):
        try:
            attention.turn(time.time())
        except InfrastructureError as error:
            log.info("traffic cannot be looked at yet: %s", error)
        except (SlipwayError, ValueError):
            log.warning("a pass of the controller failed; it is tried again", exc_info=True)
    attention.control.close()
