"""The controller of one service on this machine; it runs beside the supervisor, in the same process."""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from serving.errors import InfrastructureError, SlipwayError
from serving.ledger.ledger import Ledger
from serving.local.backend import EnvoyBackend
from serving.local.pages import pages
from serving.local.service import rollout_file, serves
from serving.local.showing import Showing
from serving.local.supervisor import ServeOptions, serve
from serving.rollout.controller.controller import Controller
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.tables import open_rollout_file
from serving.rollout.decision.events import Notice
from serving.service.control import Control, refusal

log = logging.getLogger(__name__)

INTERVAL_S = 0.2
LEASE_S = 5.0  # the one controller of a machine that died is followed by the next after that


def _nobody(_: Notice) -> None:
    return None


def local_control(
    directory: Path, model: str, ledger: Ledger, backend: EnvoyBackend, notify: Callable[[Notice], None] = _nobody
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
    return Control(model, ledger, controller, Showing(directory, desk))


def serve_and_decide(
    directory: Path, control: Control, options: ServeOptions, stop: threading.Event | None = None
) -> None:
    """Supervise the service in *directory* and run its *control* in one process, until SIGTERM, SIGINT or *stop*.

    Raises what ``supervisor.serve`` raises.
    """
    if serves(directory):
        serve(directory, options, stop)  # which says who serves already
        return
    ended = threading.Event()
    loop = threading.Thread(target=run, args=(control, ended), name="controller")
    loop.start()
    try:
        with pages(directory) as address:
            log.info("rollout page at %s", address)
            serve(directory, options, stop)
    finally:
        ended.set()
        loop.join()


def run(control: Control, stopping: threading.Event) -> None:
    """Pass after pass until *stopping*; a pass that fails is logged and tried again."""
    while not stopping.wait(INTERVAL_S):
        try:
            control.tick(time.time())
        except InfrastructureError as error:
            log.info("traffic cannot be looked at yet: %s", error)
        except (SlipwayError, ValueError):
            log.warning("a pass of the controller failed; it is tried again", exc_info=True)
    control.close()
