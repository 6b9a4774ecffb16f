"""Simulated buyers: rows of a table sent to the endpoint one by one, as KServe v1 requests over kept connections."""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.contract import Contract
from serving.http_client import Connection, NoAnswer
from serving.wire import REQUEST_ID_HEADER, REVISION_HEADER, predict_path

TIMEOUT_S = 30.0
Request = tuple[str, bytes]


@dataclass(frozen=True)
class Reply:
    """What one buyer got; ``status`` 0 when the connection failed. ``seconds`` is the caller's wall time.

    Attributes:
        version: by the answer's body; empty without a prediction.
        revision: the arm by the answer's header, which an error has too; empty where nobody names one.
    """

    request_id: str
    status: int
    version: str
    seconds: float
    prediction: float | str | None
    revision: str = ""


@dataclass
class Replies:
    """Replies so far, in the order in which they came."""

    replies: list[Reply] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.replies)

    @property
    def lost(self) -> int:
        """Requests that were not answered with 200."""
        return sum(reply.status != 200 for reply in self.replies)

    @property
    def by_version(self) -> dict[str, int]:
        return dict(sorted(Counter(reply.version for reply in self.replies if reply.status == 200).items()))

    def p99_ms(self) -> float:
        seconds = sorted(reply.seconds for reply in self.replies)
        return 1_000 * seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))] if seconds else 0.0


def requests_of(rows: Sequence[dict[str, Any]], contract: Contract, prefix: str = "") -> list[Request]:
    """Request id and body per row; the id is *prefix* and the row's ``sale_id``."""
    bodies = [{"instances": [{name: row[name] for name in contract.names}]} for row in rows]
    return [(f"{prefix}{row['sale_id']}", json.dumps(body).encode()) for row, body in zip(rows, bodies, strict=True)]


def send(address: str, model: str, requests: Sequence[Request], *, clients: int = 4) -> Replies:
    """Send every request once from *clients* connections; returns when all are answered."""
    with Crowd(address, model, requests, clients=clients, turns=1) as crowd:
        return crowd.replies


class Crowd:
    """Buyers who send requests without a retry, each over a connection of its own; a context manager."""

    def __init__(
        self,
        address: str,
        model: str,
        requests: Sequence[Request],
        *,
        clients: int = 2,
        pace_s: float = 0.0,
        turns: int | None = None,
    ) -> None:
        """Ask *model* at *address*.

        Args:
            pace_s: pause of each buyer between two requests, so that other processes get their share of two cores.
            turns: how often all requests are sent, before the block ends; None: until it ends.
        """
        self.replies = Replies()
        self._address, self._path = address, predict_path(model)
        self._pace_s, self._turns = pace_s, turns
        self._requests, self._lock, self._stop = _again(requests, turns), threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._buy) for _ in range(clients)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._turns is None:
            self._stop.set()
        for thread in self._threads:
            thread.join()

    def _buy(self) -> None:
        with Connection(self._address, TIMEOUT_S) as connection:
            while not self._stop.wait(self._pace_s) and (request := self._next()) is not None:
                self.replies.replies.append(self._ask(connection, *request))

    def _next(self) -> Request | None:
        with self._lock:
            return next(self._requests, None)

    def _ask(self, connection: Connection, request_id: str, body: bytes) -> Reply:
        begun = time.perf_counter()
        headers = {"Content-Type": "application/json", REQUEST_ID_HEADER: request_id}
        try:
            answer = connection.ask("POST", self._path, body, headers)
        except NoAnswer:
            return Reply(request_id, 0, "", time.perf_counter() - begun, None)
        seconds, revision = time.perf_counter() - begun, answer.headers.get(REVISION_HEADER, "")
        if not answer.ok:
            return Reply(request_id, answer.status, "", seconds, None, revision)
        value = json.loads(answer.body)
        return Reply(request_id, 200, str(value["model_version"]), seconds, value["predictions"][0], revision)


def _again(requests: Sequence[Request], turns: int | None) -> Iterator[Request]:
    """*requests* over and over; those of later turns have ids of their own."""
    for turn in itertools.count() if turns is None else range(turns):
        yield from ((f"{request_id}-{turn}" if turn else request_id, body) for request_id, body in requests)
