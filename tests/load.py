"""The load generator of tests and benchmarks: raw sockets, requests made beforehand, one loop over whoever answers.

Client and server share the machine, so each microsecond spent here is missing there: an answer is read up to its
content-length, and its head is looked into only by who asks.
"""

import contextlib
import math
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Self

TIMEOUT_S = 60.0  # without a byte from anybody: what is under way counts as lost


class Answer(NamedTuple):
    """One request's fate, known *at* that monotonic time, *seconds* after it was due.

    Attributes:
        status: 0 where the connection ended without an answer.
        first: whether it was the first request of its connection.
    """

    at: float
    seconds: float
    status: int
    head: bytes = b""
    body: bytes = b""
    first: bool = False

    def header(self, name: str) -> str:
        """The value of a header; empty where there is none."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return ""

    @property
    def revision(self) -> str:
        return self.header("x-revision")

    @property
    def epoch(self) -> str:
        return self.header("x-epoch")


def request(path: str, body: bytes, headers: str = "", *, host: str = "127.0.0.1") -> bytes:
    """A POST of JSON unless *headers*, lines that each end with CRLF, say another content type."""
    media = "" if "content-type" in headers.lower() else "content-type: application/json\r\n"
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\n{media}{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection:
    """One request at a time on one connection that is kept."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0
        self.due, self.closing = 0.0, False
        self._parts: list[bytes] = []
        self._end, self._missing = -1, 0

    def send(self, data: bytes, due: float) -> None:
        self._parts, self._end, self.due = [], -1, due
        self.sent += 1
        self.socket.sendall(data)

    def receive(self) -> bool:
        """Take what has come; whether the answer is whole now.

        Raises:
            OSError: the connection ended before.
        """
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server closed the connection")
        self._parts.append(part)
        if self._end >= 0:
            self._missing -= len(part)
        else:
            got = b"".join(self._parts)
            self._parts, self._end = [got], got.find(b"\r\n\r\n")
            if self._end < 0:
                return False
            head = got[: self._end].lower()
            self.closing = b"\r\nconnection: close" in head
            at = head.index(b"content-length:") + 15
            self._missing = int(head[at:].split(b"\r\n", 1)[0]) + self._end + 4 - len(got)
        return self._missing == 0

    def answer(self, now: float, *, body: bool) -> Answer:
        """What came; the body only if asked for, since a benchmark's would fill the memory."""
        got = b"".join(self._parts) if body else self._parts[0]
        told = got[self._end + 4 :] if body else b""
        return Answer(now, now - self.due, int(got[9:12]), got[: self._end], told, self.sent == 1)


def ask(port: int, data: bytes, *, host: str = "127.0.0.1") -> Answer:
    """One request on a connection of its own."""
    load = Load(port, lambda _: data, host=host, connections=1, keep_bodies=True)
    return load.run(total=1).answers[0]


class Load:
    """Requests until a number, a time or ``stop``; nothing is ever sent a second time, and what is lost is told.

    Args:
        data: the bytes of the request of that number, from 0.
        connections: how many requests may be under way.
        rate: requests per second at even distances, each answer's seconds counted from when it was due: what a server
            delays is seen by all who would have asked meanwhile. Without it the next follows when one is answered.
        keep_bodies: whether to keep the bodies of answers.
    """

    def __init__(
        self,
        port: int,
        data: Callable[[int], bytes],
        *,
        host: str = "127.0.0.1",
        connections: int = 4,
        rate: float | None = None,
        keep_bodies: bool = False,
    ) -> None:
        self.answers: list[Answer] = []
        self.seconds = 0.0
        self._to, self._data = (host, port), data
        self._connections, self._rate, self._bodies = connections, rate, keep_bodies
        self._sent, self._limit, self._began, self._end = 0, math.inf, 0.0, math.inf
        self._free: list[Connection] = []
        self._busy: dict[int, Connection] = {}
        self._poll = select.epoll()
        self._thread: threading.Thread | None = None

    def run(self, total: float = math.inf, seconds: float = math.inf) -> Self:
        """Send *total* requests, or for that long, and wait for all that were sent: no work is left behind."""
        self._limit, self._began = total, time.monotonic()
        self._end = self._began + seconds
        self._fill()
        while self._busy or self._due() is not None:
            for number in self._wait():
                self._take(number)
            self._fill()
        self.seconds = time.monotonic() - self._began
        for connection in self._free:
            connection.socket.close()
        self._poll.close()
        return self

    def stop(self) -> None:
        """Send no more."""
        self._limit = 0

    def __enter__(self) -> Self:
        """Send in a thread until the block ends."""
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert self._thread is not None
        self._thread.join()

    @property
    def lost(self) -> list[Answer]:
        """Requests that were not answered with 200."""
        return [answer for answer in self.answers if answer.status != 200]

    def by_revision(self) -> Counter[str]:
        return Counter(answer.revision for answer in self.answers)

    def await_answers(self, count: int, limit_s: float = 300.0) -> None:
        """Wait until that many more have come."""
        wanted, end = len(self.answers) + count, time.monotonic() + limit_s
        while len(self.answers) < wanted:
            assert time.monotonic() < end, f"not within {limit_s:g} s: {count} answers"
            time.sleep(0.02)

    def _due(self) -> float | None:
        """When the next request is to be sent; None where there is no next."""
        due = self._began + self._sent / self._rate if self._rate else time.monotonic()
        return due if self._sent < self._limit and (due < self._end or not self._sent) else None

    def _fill(self) -> None:
        while len(self._busy) < self._connections and (due := self._due()) is not None and due <= time.monotonic():
            number, self._sent = self._sent, self._sent + 1
            connection = None
            try:
                connection = self._free.pop() if self._free else self._opened()
                self._busy[connection.socket.fileno()] = connection
                connection.send(self._data(number), due)
            except OSError:
                if connection is not None:
                    self._lose([connection.socket.fileno()])
                else:  # nobody listens: another attempt at once would be refused as well
                    self.answers.append(Answer(time.monotonic(), 0.0, 0, first=True))
                    time.sleep(0.01)
                    return

    def _opened(self) -> Connection:
        connection = Connection(*self._to)
        self._poll.register(connection.socket, select.EPOLLIN)
        return connection

    def _wait(self) -> list[int]:
        """The connections on which something came, or none when the next request is due."""
        due = self._due() if self._rate and len(self._busy) < self._connections else None
        if due is not None:
            pause = max(0.0, due - time.monotonic())
            return select.select(list(self._busy), (), (), pause)[0]  # epoll would wake up to a millisecond late
        ready = [number for number, _ in self._poll.poll(TIMEOUT_S)] if self._busy else []
        if not ready:
            self._lose(list(self._busy))
        return ready

    def _take(self, number: int) -> None:
        connection = self._busy.get(number)
        if connection is None:  # one that waited for work was closed by the server
            for gone in [one for one in self._free if one.socket.fileno() == number]:
                self._free.remove(gone)
                gone.socket.close()
            return
        try:
            if not connection.receive():
                return
        except OSError:
            self._lose([number])
            return
        answer = connection.answer(time.monotonic(), body=self._bodies)
        self.answers.append(answer)
        del self._busy[number]
        if connection.closing:
            connection.socket.close()
        else:
            self._free.append(connection)
        self._fill()

    def _lose(self, numbers: list[int]) -> None:
        for number in numbers:
            connection = self._busy.pop(number)
            now = time.monotonic()
            self.answers.append(Answer(now, now - connection.due, 0, first=connection.sent == 1))
            with contextlib.suppress(OSError):
                connection.socket.close()
