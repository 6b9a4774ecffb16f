"""The controller of one service on this machine: while a rollout is live it decides, otherwise the ledger's slots do.

It runs beside the supervisor, in the same process and with the same rule: what is done follows from what is stored.
"""

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from serving.errors import ConflictError, InfrastructureError, SlipwayError
from serving.files import read_json, write_json
from serving.ledger import Ledger
from serving.local.client import supervisor_alive
from serving.local.pages import pages
from serving.local.place import place
from serving.local.showing import Showing
from serving.local.state import read_observed
from serving.local.supervisor import ServeOptions, serve
from serving.release import revision_of, rollout_file, wanted_epoch, wanted_split
from serving.rollout.backends.envoy import EnvoyBackend
from serving.rollout.backends.protocol import Revision
from serving.rollout.controller import Controller
from serving.rollout.events import Event
from serving.rollout.sqlite import SqliteDesk
from serving.rollout.state import Phase, RolloutState
from serving.rollout.waiting import waiting_requests

log = logging.getLogger(__name__)

ACTOR = "rollout controller"
INTERVAL_S = 0.2
LEASE_S = 5.0  # the one controller of a machine that died is followed by the next after that


def _nobody(_: Event) -> None:
    return None


def serve_and_decide(control: "Control", options: ServeOptions, stop: threading.Event | None = None) -> None:
    """Supervise and control the service of *control* in one process, until SIGTERM, SIGINT or *stop*.

    Raises what ``supervisor.serve`` raises.
    """
    if supervisor_alive(read_observed(place(control.directory))):
        serve(control.directory, options, stop)  # which says who serves already
        return
    ended = threading.Event()
    loop = threading.Thread(target=control.run, args=(ended,), name="controller")
    loop.start()
    try:
        with pages(control.directory) as address:
            log.info("rollout page at %s", address)
            serve(control.directory, options, stop)
    finally:
        ended.set()
        loop.join()


@dataclass
class Control:
    """One pass after another over one service; ``run`` is the loop around it.

    Attributes:
        notify: told of each transition of a rollout.
    """

    directory: Path
    model: str
    ledger: Ledger
    backend: EnvoyBackend
    notify: Callable[[Event], None] = _nobody
    desk: SqliteDesk = field(init=False)
    controller: Controller = field(init=False)
    show: Showing = field(init=False)

    def __post_init__(self) -> None:
        self.desk = SqliteDesk(rollout_file(self.directory))
        self.show = Showing(self.directory, self.desk)
        self.controller = Controller(
            self.backend,
            self.desk,
            f"pid {os.getpid()} {secrets.token_hex(4)}",
            check=self.refusal,
            notify=self.notify,
            lease_ttl=LEASE_S,
            fenced=lambda token: replace(self.backend, fence=token),
        )

    def run(self, stopping: threading.Event) -> None:
        """Pass after pass until *stopping*; a pass that fails is logged and tried again."""
        while not stopping.wait(INTERVAL_S):
            try:
                self.tick(time.time())
            except InfrastructureError as error:
                log.info("traffic cannot be looked at yet: %s", error)
            except (SlipwayError, ValueError):
                log.warning("a pass of the controller failed; it is tried again", exc_info=True)
        self.controller.release()
        self.show.close()
        self.desk.close()

    def tick(self, now: float) -> None:
        self._begin_waiting(now)
        seen = self.controller.tick(now)
        if seen.state is not None:
            self._tell_ledger(seen.state)
            self.show.after(seen, now)
        if seen.state is None or (seen.state.terminal and seen.state.successor is None):
            self._follow_slots()

    def refusal(self, revision: Revision) -> str:
        """Why *revision* may not serve, by the ledger; empty when it may."""
        version = self.ledger.version(revision.model, revision.version)
        if version.digest != revision.digest:
            return f"{revision.name} is registered as bundle {version.digest[:12]}, not {revision.digest[:12]}"
        if version.approval != "approved":
            return f"{revision.name} is {version.approval}; approve it with slipway models approve"
        return ""

    def _begin_waiting(self, now: float) -> None:
        waiting = waiting_requests(self.directory)
        for request in waiting:
            try:
                self.controller.start(request, now, supersede_live=True)
            except ConflictError as error:
                log.info("a rollout waits: %s", error)
                return
            except SlipwayError as error:
                log.warning("a rollout was refused: %s", error)
            waiting.done(request)

    def _tell_ledger(self, state: RolloutState) -> None:
        """Keep slots and deployments equal to what the rollout does; an ended rollout is told once."""
        told = self.directory / "told.json"
        if told.exists() and read_json(told)["rollout"] == state.id:
            return
        version, reason = state.candidate.version, f"rollout {state.id}"
        production = self.ledger.slot(self.model, "production")
        if state.phase in (Phase.CLEANUP, Phase.SUCCEEDED):
            self.ledger.promote(
                self.model, version, ACTOR, f"{reason}: {state.outcome or 'certified'}", {"rollout": state.id}
            )
        elif production.version != version:
            self.ledger.canary(self.model, version, state.weight / 10, ACTOR, state.outcome or reason)
        if state.terminal:
            if state.phase is Phase.ROLLED_BACK and self.ledger.version(self.model, version).stage == "staging":
                self.ledger.move(self.model, version, "archived", ACTOR, f"{reason}: {state.outcome}")
            write_json(told, {"rollout": state.id})

    def _follow_slots(self) -> None:
        """Bring about the split that the ledger's slots say; the previous version stays warm."""
        slots = self.ledger.slots(self.model)
        split = wanted_split(self.model, slots)
        if split is None:
            return
        wanted = {slot.version for slot in slots.values() if slot.version is not None}
        for number in sorted(wanted):
            self.backend.ensure(revision_of(self.ledger.version(self.model, number)), replicas=1)
        if all(self.backend.readiness(name).state == "ready" for name in split.weights):
            self.backend.apply(split, wanted_epoch(slots))
            self.backend.adopt(f"{self.model}-{slots['production'].version}")
        seen = self.backend.observed()
        if seen.split is None or dict(seen.split.weights) != dict(split.weights):
            return
        for version in self.ledger.versions(self.model):
            if version.version not in wanted and self.backend.readiness(version.name).state != "absent":
                with contextlib.suppress(ValueError):  # its requests in flight are waited for at the next pass
                    if self.backend.drained(version.name):
                        self.backend.remove(version.name)
