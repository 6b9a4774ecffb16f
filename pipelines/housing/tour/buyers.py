"""Simulated buyers: rows of a table sent to the endpoint one by one, as KServe v1 requests over kept connections."""

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.contract import Contract
from serving.http_client import Connection, NoAnswer
from serving.wire import REQUEST_ID_HEADER, REVISION_HEADER, predict_path

TIMEOUT_S = 30.0


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
    """Replies so far; safe to add to from several threads."""

    replies: list[Reply] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, reply: Reply) -> None:
        with self._lock:
            self.replies.append(reply)

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


Request = tuple[str, bytes]


def requests_of(rows: Sequence[dict[str, Any]], contract: Contract, prefix: str = "") -> list[Request]:
    """Request id and body per row; the id is *prefix* and the row's ``sale_id`` or number."""
    made = []
    for number, row in enumerate(rows):
        body = json.dumps({"instances": [{name: _plain(row[name], name, contract) for name in contract.names}]})
        made.append((f"{prefix}{row.get('sale_id', number)}", body.encode()))
    return made


def _plain(value: Any, name: str, contract: Contract) -> Any:
    whole = contract.columns[name].type == "int" and value is not None
    return int(value) if whole else value


def send(address: str, model: str, requests: Iterable[Request], *, clients: int = 4) -> Replies:
    """Send every request once, without a retry, from *clients* connections; returns when all are answered."""
    waiting: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
    for request in requests:
        waiting.put(request)
    for _ in range(clients):
        waiting.put(None)
    replies = Replies()
    _work([lambda: _serve_queue(address, model, waiting.get, replies) for _ in range(clients)])
    return replies


class Crowd:
    """Buyers who go on asking, the same requests again and again, until told to stop; a context manager.

    Attributes:
        pace_s: pause of each buyer between two requests, so that other processes get their share of two cores.
    """

    def __init__(self, address: str, model: str, requests: Sequence[Request], *, clients: int = 2, pace_s: float = 0.0):
        self.replies = Replies()
        self._stop = threading.Event()
        self._requests, self._pace = requests, pace_s
        self._threads = [
            threading.Thread(target=_serve_queue, args=(address, model, self._source(number, clients), self.replies))
            for number in range(clients)
        ]

    def _source(self, first: int, step: int) -> Callable[[], Request | None]:
        position = first

        def following() -> Request | None:
            nonlocal position
            if self._stop.wait(self._pace) if self._pace else self._stop.is_set():
                return None
            request_id, body = self._requests[position % len(self._requests)]
            turn = position // len(self._requests)
            position += step
            return (f"{request_id}-{turn}" if turn else request_id, body)

        return following

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _work(tasks: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _serve_queue(address: str, model: str, following: Callable[[], Request | None], replies: Replies) -> None:
    with Connection(address, TIMEOUT_S) as connection:
        while (request := following()) is not None:
            replies.add(_ask(connection, model, *request))


def _ask(connection: Connection, model: str, request_id: str, body: bytes) -> Reply:
    begun = time.perf_counter()
    headers = {"Content-Type": "application/json", REQUEST_ID_HEADER: request_id}
    try:
        answer = connection.ask("POST", predict_path(model), body, headers)
    except NoAnswer:
        return Reply(request_id, 0, "", time.perf_counter() - begun, None)
    seconds, revision = time.perf_counter() - begun, answer.headers.get(REVISION_HEADER, "")
    if not answer.ok:
        return Reply(request_id, answer.status, "", seconds, None, revision)
    value = json.loads(answer.body)
    return Reply(request_id, 200, str(value["model_version"]), seconds, value["predictions"][0], revision)
