"""How others see a rollout on this machine: a page and Prometheus text as files beside the service, and over HTTP."""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

from serving.errors import SlipwayError
from serving.files import read_json, write_json, write_text
from serving.http_server import PROMETHEUS, TEXT, Answer, answering
from serving.local.paths import HOST
from serving.rollout.controller.desk import Desk
from serving.rollout.decision.events import Tick
from serving.rollout.decision.rules import Seen
from serving.rollout.state import RolloutState
from serving.rollout.telling.explain import status
from serving.rollout.telling.gauges import gauges, text
from serving.rollout.telling.page import rollout_page

log = logging.getLogger(__name__)

EVERY_S = 10.0  # between two writings that only bring newer counts


@dataclass
class Showing:
    """Rewrites ``rollout.html`` and ``rollout.prom`` after each transition, and while counts grow.

    It writes in a thread of its own, the newest state only: a slow disk must not delay the next look at traffic.
    """

    directory: Path
    desk: Desk
    _shown: object = None
    _counts: object = None
    _at: float = 0.0
    _newest: tuple[RolloutState, Seen | None, float] | None = None

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="page")

    def after(self, tick: Tick, now: float) -> None:
        """Have what *tick* changed written soon."""
        if tick.state is not None and self._news(tick.state, now):
            self._newest = (tick.state, tick.seen, now)
            self._pool.submit(self._write, self._newest)

    def close(self) -> None:
        """Write what waits, and end."""
        self._pool.shutdown()

    def _write(self, what: tuple[RolloutState, Seen | None, float]) -> None:
        """A full disk or a desk that does not answer costs the page, not the rollout."""
        if what is not self._newest:
            return  # a newer one is next
        state, last, now = what
        try:
            seen = status(state, now, last, self.desk.current())
            told = rollout_page(state, seen, self.desk.records(state.id), now)
            write_text(self.directory / "rollout.html", told)
            write_text(self.directory / "rollout.prom", text(gauges(seen)))
        except SlipwayError:
            log.warning("the page of the rollout could not be written", exc_info=True)

    def _news(self, state: RolloutState, now: float) -> bool:
        mark = (state.id, state.phase, state.weight, state.settled, state.pause)
        newer = state.counts != self._counts and now - self._at >= EVERY_S
        if mark == self._shown and not newer:
            return False
        self._shown, self._counts, self._at = mark, state.counts, now
        return True


_SHOWN = {"/": ("rollout.html", "text/html; charset=utf-8"), "/metrics": ("rollout.prom", PROMETHEUS)}
_NONE = b"no rollout has been started for this service; slipway rollout start VERSION\n"


@contextlib.contextmanager
def pages(service_dir: Path) -> Iterator[str]:
    """Serve them while the block runs; gives the address, which stays the same where its port is still free."""
    answer = partial(_answer, service_dir)
    with contextlib.ExitStack() as open_:
        try:
            port = open_.enter_context(answering(HOST, _remembered(service_dir), answer))
        except OSError:  # the port of last time is somebody else's now
            port = open_.enter_context(answering(HOST, 0, answer))
        write_json(service_dir / "pages.json", {"port": port})
        yield address(port)


def address(port: int) -> str:
    return f"http://{HOST}:{port}/"


def _answer(service_dir: Path, path: str) -> Answer:
    if path not in _SHOWN:
        return HTTPStatus.NOT_FOUND, TEXT, b"there is / and /metrics\n"
    name, media = _SHOWN[path]
    try:
        return HTTPStatus.OK, media, (service_dir / name).read_bytes()
    except FileNotFoundError:
        return HTTPStatus.NOT_FOUND, TEXT, _NONE


def _remembered(service_dir: Path) -> int:
    try:
        return int(read_json(service_dir / "pages.json")["port"])
    except (OSError, ValueError, KeyError):
        return 0
