"""Telling others of a rollout's transitions: one JSON line per event in a file, and the same JSON to a webhook.

Delivery has its own thread and a bounded queue, so a webhook that hangs or fails never holds traffic where it is.
"""

import json
import logging
import queue
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving import webhook
from serving.errors import ConfigError
from serving.rollout.decision.events import Notice

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
WAITING = 100  # events that wait for the webhook; further ones are in the file only


def document(event: Notice) -> dict[str, Any]:
    """What a notice says; ``at`` is ISO 8601 in UTC, and ``text`` is what chat services show."""
    moved = event.after.value if event.before is event.after else f"{event.before.value} -> {event.after.value}"
    at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
    return {**vars(event), "at": at, "text": f"{event.service}: {moved}: {event.sentence}"}


class Notices:
    """A ``notify`` for the controller; it returns at once.

    Args:
        file: gets every event. address: of a webhook, http(s); empty for none.
        timeout_s: of one delivery, as a whole.

    Raises:
        ConfigError: *address* is no http(s) address.
    """

    def __init__(self, file: Path, address: str = "", timeout_s: float = TIMEOUT_S) -> None:
        if address and not webhook.is_address(address):
            raise ConfigError(f"rollout webhook {address!r}: expected an http:// or https:// address")
        self._file, self._webhook, self._timeout = file, address, timeout_s
        self._waiting: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._deliver, name="notices", daemon=True)
        if address:
            self._thread.start()

    def __call__(self, event: Notice) -> None:
        line = json.dumps(document(event), ensure_ascii=False).encode()
        if self._webhook:
            try:
                self._waiting.put_nowait(line)
            except queue.Full:
                log.warning("a notice is not delivered: too many wait", extra={"rollout": event.rollout})
        with self._file.open("ab") as file:
            file.write(line + b"\n")

    def close(self, timeout_s: float = TIMEOUT_S) -> None:
        """Deliver what waits, for at most *timeout_s*."""
        if self._thread.is_alive():
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                return
            self._thread.join(timeout_s)

    def _deliver(self) -> None:
        while (body := self._waiting.get()) is not None:
            if failure := webhook.post(self._webhook, body, self._timeout):
                told = {"webhook": urlsplit(self._webhook).hostname, "reason": failure}
                log.warning("a notice is not delivered", extra=told)
