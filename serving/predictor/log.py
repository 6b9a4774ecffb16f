"""The prediction log: what was asked and answered, as lines of JSON that a reader may follow while they are written.

Requests put a record in a bounded queue and go on. One thread turns records into lines and appends whole lines to an
open part, ``predictions-<time>-<instance>-<number>.jsonl``; a part that is large or old enough is closed and, if the
log lives in S3, uploaded. Whatever the disk or the store does, a request never waits: a full queue drops rows and
counts them.
"""

import logging
import random
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import numpy.typing as npt

from serving.contract import Contract
from serving.predictor.rows.validate import Flag, code_to_word
from serving.predictor.settings import Settings
from serving.store.store import S3Settings, open_store

LOG = logging.getLogger("slipway.predictor")
PAUSE_S = 0.2
_encode = msgspec.json.Encoder().encode


class AnsweredRequest(msgspec.Struct, frozen=True):
    """One answered request.

    Attributes:
        time: seconds since the epoch, when the answer was made.
        matrix: coded, of shape (n_rows, n_columns).
        epoch: token of the split under which the request was routed here; empty without a router, and then not logged.
        unit: hash of the key that the split was sticky for, in hex; empty without one, and then not logged.
        correlation_id: what the caller calls the request; it may repeat, and where it is empty it is not logged.
        header_id: the same of the headers, which a mirror's copy shares; logged where it is another.
        ids: as ``Rows`` has them.
    """

    request_id: str
    time: float
    matrix: npt.NDArray[np.float64]
    predictions: Sequence[Any]
    probabilities: npt.NDArray[np.float64] | None
    flags: tuple[Flag, ...]
    latency_s: float
    epoch: str = ""
    unit: str = ""
    correlation_id: str = ""
    header_id: str = ""
    ids: Mapping[str, Sequence[Any]] = {}


class Lines:
    """Records of one model version as lines of JSON."""

    def __init__(self, contract: Contract, model: str, version: str, without: Sequence[str]) -> None:
        self._model, self._version = model, version
        words = code_to_word(contract)
        self._columns = [(name, i, words[i]) for i, name in enumerate(contract.slots) if not _left_out(name, without)]
        self._without = frozenset(without)

    def of(self, record: AnsweredRequest) -> bytes:
        moment = datetime.fromtimestamp(record.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        chances = record.probabilities.tolist() if record.probabilities is not None else None
        lines = []
        for row, coded in enumerate(record.matrix):
            codes = coded.tolist()
            line: dict[str, Any] = {
                "request_id": record.request_id,
                "row": row,
                "time": moment,
                "model": self._model,
                "version": self._version,
                "features": {name: word(codes[i]) for name, i, word in self._columns},
                "prediction": record.predictions[row],
            }
            if ids := {name: cells[row] for name, cells in record.ids.items() if name not in self._without}:
                line["ids"] = ids
            if chances is not None:
                line["probabilities"] = chances[row]
            line["flags"] = [f for f in record.flags if f.row == row and f.column not in self._without]
            line["latency_ms"] = round(record.latency_s * 1000, 3)
            if record.epoch:
                line["epoch"] = record.epoch
            if record.unit:
                line["unit"] = record.unit
            if record.correlation_id:
                line["correlation_id"] = record.correlation_id
            if record.header_id != record.correlation_id:
                line["header_id"] = record.header_id
            lines.append(_encode(line))
        return b"\n".join(lines) + b"\n"


def _left_out(slot: str, without: Sequence[str]) -> bool:
    """Whether the column that a *slot* is of is one of those that are not logged."""
    return slot in without or any(slot.startswith(f"{name}.") for name in without)


class Parts:
    """Lines in part files of *directory*, each given to *finished* once it is closed.

    Called by the writer thread only, and free to hang or fail.
    """

    def __init__(
        self,
        directory: Path,
        instance: str,
        part_bytes: int,
        part_s: float,
        finished: Callable[[Path], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._directory, self._instance = directory, instance
        self._part_bytes, self._part_s = part_bytes, part_s
        self._finished, self._now = finished, now
        self._file: IO[bytes] | None = None
        self._path = directory
        self._size = 0
        self._opened = 0.0
        self._number = 0
        self._waiting: deque[Path] = deque()

    def append(self, lines: bytes) -> None:
        """Append whole *lines*; empty ones only close a part that is old enough and retry what waits for upload."""
        if lines:
            file = self._file or self._open()
            file.write(lines)
            file.flush()
            self._size += len(lines)
        if self._file and (self._size >= self._part_bytes or self._now() - self._opened >= self._part_s):
            self._rotate()
        self._hand_over()

    def close(self) -> None:
        if self._file:
            self._rotate()
        self._hand_over()

    def _open(self) -> IO[bytes]:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._opened = self._now()
        self._number += 1
        stamp = datetime.fromtimestamp(self._opened, UTC).strftime("%Y%m%dT%H%M%S")
        self._path = self._directory / f"predictions-{stamp}-{self._instance}-{self._number:05d}.jsonl"
        self._file = self._path.open("ab")
        self._size = 0
        return self._file

    def _rotate(self) -> None:
        file, self._file = self._file, None
        if file:
            file.close()
            self._waiting.append(self._path)

    def _hand_over(self) -> None:
        while self._waiting:
            if self._finished is not None:
                self._finished(self._waiting[0])
            self._waiting.popleft()


class PredictionLog:
    """A bounded queue of records in front of a sink that may be slow, full or dead.

    Attributes:
        written: rows that reached the sink.
        dropped: rows lost to a full queue or a failing sink.
    """

    def __init__(self, lines: Lines, sink: Parts, queue_rows: int, share: float) -> None:
        self.written = 0
        self.lost = 0
        self.overflowed = 0
        self._lines, self._sink = lines, sink
        self._queue: deque[AnsweredRequest] = deque()
        self._limit, self._share = queue_rows, share
        self._offered = 0
        self._taken = 0
        self._closing = threading.Event()
        self._random = random.Random()  # noqa: S311  # sampling, not secrets
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        return self.overflowed + self.lost

    @property
    def waiting(self) -> int:
        return self._offered - self._taken

    def offer(self, record: AnsweredRequest) -> None:
        """Queue *record*, or count its rows as dropped; never waits. For one thread, the event loop's."""
        if self._share < 1.0 and self._random.random() >= self._share:
            return
        rows = len(record.matrix)
        if self._offered - self._taken + rows > self._limit:
            self.overflowed += rows
            return
        self._offered += rows
        self._queue.append(record)

    def close(self, timeout_s: float) -> None:
        """Write what is queued, for at most *timeout_s*; a sink that hangs keeps what it has."""
        self._closing.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            LOG.warning("prediction log not flushed in time", extra={"rows": self.waiting})

    def _run(self) -> None:
        while not self._closing.wait(PAUSE_S):
            self._write()
        self._write()
        try:
            self._sink.close()
        except Exception:
            LOG.exception("prediction log part not closed")

    def _write(self) -> None:
        while True:
            records = [self._queue.popleft() for _ in range(min(len(self._queue), 256))]
            rows = sum(len(record.matrix) for record in records)
            try:
                self._sink.append(b"".join(self._lines.of(record) for record in records))
            except Exception as error:  # noqa: BLE001  # whatever a sink raises, requests go on and the rows are counted
                self.lost += rows
                LOG.warning("prediction log not written", extra={"rows": rows, "reason": str(error)})
            else:
                self.written += rows
            self._taken += rows
            if not records or (self._closing.is_set() and not self._queue):
                return


def open_log(settings: Settings, contract: Contract) -> PredictionLog | None:
    """The log that *settings* ask for; None without a place."""
    if not settings.log_dir:
        return None
    lines = Lines(contract, settings.model_name, settings.version, settings.log_without)
    return PredictionLog(lines, open_sink(settings), settings.log_queue_rows, settings.log_share)


def open_sink(settings: Settings) -> Parts:
    """Parts in a directory; or, for a store, in a temporary directory and uploaded when they are closed."""
    bounds = (settings.instance, settings.log_part_bytes, settings.log_part_s)
    if "://" not in settings.log_dir:
        return Parts(Path(settings.log_dir), *bounds)
    store = open_store(settings.log_dir, S3Settings.from_files(settings.log_s3) if settings.log_s3 else None)

    def upload(part: Path) -> None:
        store.put(part.name, part.read_bytes())
        part.unlink()

    return Parts(Path(tempfile.mkdtemp(prefix="slipway-log-")), *bounds, finished=upload)
