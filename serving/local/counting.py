"""Counts of requests per epoch and revision, and per hour and revision, from Envoy's access log.

The log is read on from where the last reading stopped. Position and counts are one document, replaced as a whole, so a
crash between two readings neither loses nor doubles a line. Durations are kept to the millisecond, not compared
with a threshold, so that every reader can use its own.

In a sticky split the unit is the key, not the request: of each key only the first request in an epoch is counted, as it
ended. A request without a key is drawn at random by Envoy and is a unit of its own. Copies are counted one by one.
"""

import json
import logging
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from serving.frozen import Frozen, write_model
from serving.local.envoy_config import MIRROR_ROUTE, SPLIT_ROUTE
from serving.local.paths import ServicePaths
from serving.local.reading import Document, read_on
from serving.locks import file_lock
from serving.tally import Tally
from serving.wire import GRPC_AS_HTTP, UNIT_BYTES, unit

log = logging.getLogger(__name__)

ROTATE_AT = 64 << 20  # bytes
KEEP_EPOCHS = 500
KEEP_HOURS = 744  # 31 days
HOUR_S = 3_600
KEEP_KEYS = 100_000  # in one epoch
KEEP_KEY_EPOCHS = 4
STORE_EVERY_S = 15.0  # a document with many hours takes some 40 ms to write
SLOWEST_MS = 120_000  # longer durations are counted as this one
COARSE_FROM_MS = 2_000  # from here on durations are rounded down to a tenth of a second

# Envoy's own words for an arm that gave no proper answer: no connection, reset, timeout, overflow, no such arm.
FAILURE_FLAGS = frozenset({"UF", "UC", "UR", "UT", "UH", "UO", "NC", "LR", "UPE", "SI", "DPE", "URX"})


Epochs = Mapping[str, Mapping[str, Tally]]
Hours = Mapping[int, Mapping[str, Tally]]

_Arm = tuple[str, int, str]  # epoch, hour, revision
_Key = TypeVar("_Key", str, int)


class Counts(Frozen):
    """Everything read so far.

    Attributes:
        positions: bytes read of each log file, by inode number.
        epochs: epoch token -> revision -> counts, oldest epoch first.
        hours: hour since 1970 in which a request began -> revision -> the same, durations coarser; the newest
            ``KEEP_HOURS`` hours, without lines that tell no time.
        units: epoch token -> hashes of the sticky keys that are counted, as ``Units`` writes them.
    """

    positions: Mapping[int, int] = Field(default_factory=dict)
    epochs: Epochs = Field(default_factory=dict)
    hours: Hours = Field(default_factory=dict)
    units: Mapping[str, str] = Field(default_factory=dict)

    def between(self, revision: str, since: datetime, until: datetime) -> list[Tally]:
        """Counts of *revision* in the hours that lie between two moments with a zone; the hour of either is whole."""
        first, last = int(since.timestamp()) // HOUR_S, int(until.timestamp()) // HOUR_S
        return [arms[revision] for hour, arms in self.hours.items() if first <= hour <= last and revision in arms]


def read_counts(where: ServicePaths) -> Counts:
    """The counts up to the present end of the log; safe to be called by several processes."""
    return CountsReader(where, store_every_s=0.0).read()


class CountsReader:
    """Reads the log on and on; belongs to one thread.

    What it knows is what is stored and what came after, so it need not store at each reading: whoever starts from what
    is stored comes to the same counts. Where somebody else has stored more, this reader starts from that.
    """

    def __init__(self, where: ServicePaths, store_every_s: float = STORE_EVERY_S) -> None:
        self._where, self._every = where, store_every_s
        self._stored = Document(where.counts, lambda: _stored(where))
        self._base: Counts | None = None
        self._stored_at = 0.0

    def read(self) -> Counts:
        """The counts up to the present end of the log; ``units`` are those that are stored."""
        with file_lock(self._where.directory / "counts.lock"):
            return self.unlocked()

    def unlocked(self) -> Counts:
        """As ``read``, for who holds the lock."""
        base = self._stored.get()
        if base is not self._base:
            self._base = self._counts = base
            self._units = Units(base.units)
        self._counts = _read_on(self._where, self._counts, self._units)
        if self._counts is not base and time.monotonic() - self._stored_at >= self._every:
            self._stored_at = time.monotonic()
            self._counts = _store(self._where, self._counts, self._units)
        return self._counts


def rotate(where: ServicePaths, reopen_logs: Callable[[], None], *, above: int = ROTATE_AT) -> None:
    """Put a log longer than *above* bytes aside, have Envoy open a new one, and drop what is read and quiet.

    A file put aside is dropped one rotation later, when Envoy has long let go of it. It is first renamed out of the
    sight of readers, then forgotten, then deleted: a crash in between leaves a file too many, never a wrong count.
    """
    with file_lock(where.directory / "counts.lock"):
        if not where.access_log.exists() or where.access_log.stat().st_size <= above:
            return
        older, reader = _put_aside_logs(where), CountsReader(where, store_every_s=0.0)
        reader.unlocked()
        for path in older:
            path.replace(path.with_suffix(".done"))
        reader.unlocked()
        for path in where.envoy.glob("access-*.done"):
            path.unlink()
        number = 1 + max((int(path.stem.split("-")[1]) for path in older), default=0)
        where.access_log.replace(where.envoy / f"access-{number:06d}.log")
    reopen_logs()


class Units:
    """The units counted so far, each once in each epoch; *stored* is what ``texts`` gave after the reading before.

    Keys are kept of the newest epochs only, which are those that can still receive a request: a line that comes for an
    older one says nothing. An epoch with ``KEEP_KEYS`` takes no more of them, on any arm; its evidence stays.
    """

    def __init__(self, stored: Mapping[str, str], limit: int = KEEP_KEYS) -> None:
        self._stored, self._limit = stored, limit
        self._known: dict[str, dict[bytes, None]] = {}  # in the order in which they came

    def first(self, epoch: str, key: bytes) -> bool:
        """Whether *key* is new in *epoch*, which it then is no longer; False where no more keys are taken."""
        known = self._known.get(epoch)
        if known is None:
            known = self._known[epoch] = _keys(self._stored.get(epoch, ""))
        if key in known or len(known) >= self._limit:
            return False
        known[key] = None
        if len(known) == self._limit:
            log.warning("an epoch has its maximum of keys; later ones are not counted", extra={"epoch": epoch})
        return True

    def texts(self, epochs: Collection[str]) -> dict[str, str]:
        """What is to be stored of *epochs*."""
        fresh = {epoch: b64encode(b"".join(known)).decode() for epoch, known in self._known.items()}
        return {epoch: text for epoch, text in {**self._stored, **fresh}.items() if epoch in epochs}


def _keys(text: str) -> dict[bytes, None]:
    data = b64decode(text)
    return dict.fromkeys(data[at : at + UNIT_BYTES] for at in range(0, len(data), UNIT_BYTES))


class AccessLine(NamedTuple):
    """One line of the access log that counts: a user's prediction, or the copy of one.

    Attributes:
        unit: hash of the request's sticky key; empty without one.
        hour: since 1970, in which the request began; 0 for a line that does not tell.
    """

    epoch: str
    revision: str
    failed: bool
    refused: bool
    duration_ms: int
    copy: bool
    unit: bytes = b""
    hour: int = 0


def parse(lines: Iterable[bytes]) -> Iterator[AccessLine]:
    """The lines that count; metadata, health and header-chosen arms do not."""
    for line in lines:
        try:
            found = json.loads(line)
            route, revision = found["r"] or "", found["c"]
            copy = route == MIRROR_ROUTE
            epoch = found["e"] if copy else route.removeprefix(SPLIT_ROUTE)
            if not revision or not epoch or not (copy or route.startswith(SPLIT_ROUTE)):
                continue
            told = bool(found.get("m") or found.get("n"))  # the model server says that its model failed
            status = found["s"] if not found.get("g") else GRPC_AS_HTTP.get(int(found["g"]), 500)
            failed = status >= 500 or told or bool(set((found["f"] or "").split(",")) & FAILURE_FLAGS)
            refused = 400 <= status < 500 and not failed
            key = "" if copy else found.get("k") or ""
            hashed = unit(epoch.encode(), key.encode()) if key else b""
            yield AccessLine(
                epoch, revision, failed, refused, int(found["d"] or 0), copy, hashed, _hour(found.get("t"))
            )
        except (ValueError, KeyError, TypeError, AttributeError):  # a line cut short when the disk was full
            continue


def _hour(told: Any) -> int:
    """Of the seconds since 1970 that *told* says; 0 where it says nothing: the line counts all the same."""
    try:
        return max(0, int(float(told)) // HOUR_S)
    except (ValueError, TypeError, OverflowError):
        return 0


def _store(where: ServicePaths, counts: Counts, units: Units) -> Counts:
    whole = counts.model_copy(update={"units": units.texts(list(counts.epochs)[-KEEP_KEY_EPOCHS:])})
    write_model(where.counts, whole)
    return whole


def _read_on(where: ServicePaths, before: Counts, units: Units) -> Counts:
    """What *before* becomes by the lines that came since, whose keys *units* then knows; *before* where none came."""
    fresh: list[AccessLine] = []
    positions: dict[int, int] = {}
    for path in [*_put_aside_logs(where), where.access_log]:
        position, lines = read_on(path, before.positions)
        positions |= position
        fresh += parse(lines)
    if positions == before.positions:
        return before
    return before.model_copy(update={"positions": positions} | _added(before, units, fresh))


def _added(before: Counts, units: Units, fresh: Iterable[AccessLine]) -> dict[str, Any]:
    """Epochs and hours after *fresh*, which is in the order of the log: any cut of it gives the same.

    The hours count what the epochs count: of a sticky key the request that counts in its epoch.
    """
    epochs, hours = dict(before.epochs), dict(before.hours)
    counted, repeated = dict[_Arm, list[AccessLine]](), Counter[_Arm]()
    opened = list(epochs)[-KEEP_KEY_EPOCHS:]
    for entry in fresh:
        if entry.epoch not in epochs:
            epochs[entry.epoch] = {}
            opened = list(epochs)[-KEEP_KEY_EPOCHS:]
        arm = (entry.epoch, entry.hour, entry.revision)
        if entry.unit and not (entry.epoch in opened and units.first(entry.epoch, entry.unit)):
            repeated[arm] += 1
        else:
            counted.setdefault(arm, []).append(entry)
    for arm in {**counted, **repeated}:
        epoch, hour, revision = arm
        more = _tally(counted.get(arm, []), repeated[arm])
        _add(epochs, epoch, revision, more)
        if hour:
            _add(hours, hour, revision, more.coarse)
    return {"epochs": dict(list(epochs.items())[-KEEP_EPOCHS:]), "hours": dict(sorted(hours.items())[-KEEP_HOURS:])}


def _add(table: dict[_Key, Mapping[str, Tally]], key: _Key, revision: str, more: Tally) -> None:
    arms = table.get(key, {})
    table[key] = {**arms, revision: arms.get(revision, Tally()) + more}


def _tally(seen: list[AccessLine], repeated: int) -> Tally:
    users = [entry for entry in seen if not entry.copy]
    return Tally(
        requests=len(users),
        errors=sum(entry.failed for entry in users),
        refused=sum(entry.refused for entry in users),
        mirrored=len(seen) - len(users),
        mirrored_errors=sum(entry.failed for entry in seen if entry.copy),
        keys=sum(bool(entry.unit) for entry in users),
        repeated=repeated,
        durations=Counter(_rounded(entry.duration_ms) for entry in users),
    )


def _rounded(duration_ms: int) -> int:
    if duration_ms < COARSE_FROM_MS:
        return duration_ms
    return min(duration_ms - duration_ms % 100, SLOWEST_MS)


def _stored(where: ServicePaths) -> Counts:
    try:
        return Counts.model_validate_json(where.counts.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Counts()


def _put_aside_logs(where: ServicePaths) -> list[Path]:
    return sorted(where.envoy.glob("access-*.log"))
