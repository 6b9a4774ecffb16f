"""Which requests of a sticky split count: the first of each key in each epoch.

What is known is a short text per epoch that is written with the counts, so that a crash loses or doubles no key. Keys
are kept of the newest epochs only, which are those that can still receive a request: a line that comes for an older
one says nothing. An epoch with 100,000 keys takes no more of them, on any arm; its evidence stays what it is.
"""

import logging
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping

from serving.unit import BYTES

log = logging.getLogger(__name__)

KEEP_KEYS = 100_000  # in one epoch
KEEP_KEY_EPOCHS = 4


class Units:
    """The units counted so far; *stored* is what ``texts`` gave after the reading before."""

    def __init__(self, stored: Mapping[str, str], limit: int = KEEP_KEYS) -> None:
        self._stored, self._limit = stored, limit
        self._known: dict[str, dict[bytes, None]] = {}  # in the order in which they came

    def first(self, epoch: str, unit: bytes) -> bool:
        """Whether *unit* is new in *epoch*, which it then is no longer; False where no more keys are taken."""
        known = self._known.get(epoch)
        if known is None:
            known = self._known[epoch] = _read(self._stored.get(epoch, ""))
        if unit in known or len(known) >= self._limit:
            return False
        known[unit] = None
        if len(known) == self._limit:
            log.warning("an epoch has its maximum of keys; later ones are not counted", extra={"epoch": epoch})
        return True

    def texts(self, epochs: Collection[str]) -> dict[str, str]:
        """What is to be stored of *epochs*."""
        fresh = {epoch: b64encode(b"".join(known)).decode() for epoch, known in self._known.items()}
        return {epoch: text for epoch, text in {**self._stored, **fresh}.items() if epoch in epochs}


def _read(text: str) -> dict[bytes, None]:
    data = b64decode(text)
    return dict.fromkeys(data[at : at + BYTES] for at in range(0, len(data), BYTES))
