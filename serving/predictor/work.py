"""From a body to an answer: the plain functions both the event loop and the worker threads call, and those threads."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from serving.predictor.encode import Answer
from serving.predictor.errors import Refusal
from serving.predictor.metrics import Metrics
from serving.predictor.rows import v1, v2
from serving.predictor.rows.v2 import PLAIN, Infer
from serving.predictor.rows.validate import Rows
from serving.predictor.served import Served
from serving.predictor.settings import Settings

T = TypeVar("T")
LOWER = 10  # steps of nice, of 19 that there are; the processor is still theirs whenever nobody else wants it


class Done(msgspec.Struct, frozen=True):
    """A body to send, and what went into it.

    Attributes:
        json_length: bytes of JSON before raw tensors; None: all is JSON.
        answer: None for an explanation, which is neither counted on the profile nor logged.
        id: the caller's own, of a V2 request; it may repeat.
    """

    body: bytes
    rows: Rows
    answer: Answer | None
    json_length: int | None = None
    id: str = ""


def read(served: Served, verb: str, body: bytes, json_length: int | None, large: bool) -> Infer:
    """Rows and wishes of a body: V1 to ``predict``, V2 to ``infer``."""
    if verb == "infer":
        return v2.decode(served.checker, body, json_length, served.decoder.max_rows)
    wanted = v2.beside_in(v1.parameters(body)) if b'"parameters"' in body else PLAIN
    return Infer(served.decoder.decode_large(body) if large else served.decoder.decode(body), wanted)


def answer(served: Served, verb: str, infer: Infer, request_id: str) -> Done:
    """The answer to what ``read`` gave."""
    found = served.answer(infer.rows, infer.wanted)
    if verb == "infer":
        body, json_length = served.encoder.v2(found, request_id, infer.wanted)
        return Done(body, infer.rows, found, json_length, infer.wanted.id)
    return Done(served.encoder.v1(found, request_id), infer.rows, found)


def explain_v1(served: Served, body: bytes, request_id: str) -> Done:
    rows = served.decoder.decode(body)
    return Done(served.explain(rows, request_id), rows, None)


def give_way() -> None:
    """Let the scheduler prefer all other threads to this one, where the system has priorities of threads (Linux)."""
    this = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, this, os.getpriority(os.PRIO_PROCESS, this) + LOWER)


class Workers:
    """A few threads with a bounded queue, which give way to the event loop: a single row does not wait for a batch."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="predict", initializer=give_way)
        self._threads = settings.workers
        self._room = settings.workers + settings.queue
        self._pending = 0
        self._metrics = metrics

    async def run(self, call: Callable[[], T]) -> T:
        """The result of *call* from a worker thread.

        Raises:
            Refusal: 429 if the queue is full.
        """
        if self._pending >= self._room:
            raise Refusal("overloaded", f"{self._room} large requests are already in hand; wait and send it again")
        self._moved(1)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        finally:
            self._moved(-1)

    def _moved(self, by: int) -> None:
        self._pending += by
        self._metrics.queued = max(0, self._pending - self._threads)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
