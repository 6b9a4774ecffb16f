"""What a controller lets others see of its rollout: a page and Prometheus text, as files beside the service."""

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import PlaceError
from serving.files import write_text
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
    _waiting: tuple[RolloutState, Seen | None, float] | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._work, name="page", daemon=True)

    def after(self, tick: Tick, now: float) -> None:
        """Have what *tick* changed written soon."""
        if tick.state is None or not self._news(tick.state, now):
            return
        with self._changed:
            self._waiting = (tick.state, tick.seen, now)
            self._changed.notify()
        if not self._thread.is_alive():
            self._thread.start()

    def close(self) -> None:
        """Write what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                waiting, self._waiting = self._waiting, None
            if waiting is None:
                return
            self._write(*waiting)

    def _write(self, state: RolloutState, last: Seen | None, now: float) -> None:
        """A full disk costs the page, not the rollout."""
        seen = status(state, now, last, self.desk.current())
        try:
            told = rollout_page(state, seen, self.desk.records(state.id), now)
            write_text(self.directory / "rollout.html", told)
            write_text(self.directory / "rollout.prom", text(gauges(seen)))
        except PlaceError:
            log.warning("the page of the rollout could not be written", exc_info=True)

    def _news(self, state: RolloutState, now: float) -> bool:
        mark = (state.id, state.phase, state.weight, state.settled, state.pause)
        newer = state.counts != self._counts and now - self._at >= EVERY_S
        if mark == self._shown and not newer:
            return False
        self._shown, self._counts, self._at = mark, state.counts, now
        return True
