"""A load client that costs little: raw sockets, requests made beforehand, one loop over whichever answers first.

Client and server share the machine, so each microsecond spent here is missing there. An answer is read up to its
content-length and looked at for its status only; that answers are right was checked before.
"""

import json
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Load:
    """What one run measured; latencies in seconds, in the order of arrival."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def request(path: str, body: bytes, media: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection:
    """One request at a time on one kept-alive connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self._parts: list[bytes] = []
        self._left = -1

    def send(self, data: bytes) -> None:
        self._parts, self._left = [], -1
        self.began = time.perf_counter()
        self.socket.sendall(data)

    def receive(self) -> bool:
        """Take what has come; whether the answer is whole now."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server closed a connection it was asked to keep")
        self._parts.append(part)
        if self._left < 0:
            got = part if len(self._parts) == 1 else b"".join(self._parts)
            end = got.find(b"\r\n\r\n")
            if end < 0:
                return False
            if not got.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"expected 200, got {got[:600]!r}")
            head = got[:end].lower()
            at = head.index(b"content-length:") + 15
            self._left = int(head[at:].split(b"\r\n", 1)[0]) + end + 4 - len(got)
        else:
            self._left -= len(part)
        return self._left == 0

    def body(self) -> bytes:
        return b"".join(self._parts).split(b"\r\n\r\n", 1)[1]


def ask(port: int, data: bytes) -> bytes:
    """The body of the answer to one request."""
    connection = Connection(port)
    with connection.socket:
        connection.send(data)
        while not connection.receive():
            pass
        return connection.body()


def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Send *requests* in turn on each of *connections*, the next as soon as the last is answered.

    Every request is waited for, also those that are under way when the time is over: a server that is left with work in
    hand would disturb the measurement of the next one.
    """
    open_ones = [Connection(port) for _ in range(connections)]
    poll = select.epoll()
    by_number = {one.socket.fileno(): one for one in open_ones}
    latencies: list[float] = []
    turn = 0
    began = now = time.perf_counter()
    for number, one in by_number.items():
        poll.register(number, select.EPOLLIN)
        one.send(requests[turn % len(requests)])
        turn += 1
    busy = connections
    while busy:
        for number, _ in poll.poll(TIMEOUT_S):
            one = by_number[number]
            if not one.receive():
                continue
            now = time.perf_counter()
            latencies.append(now - one.began)
            if now - began < seconds:
                one.send(requests[turn % len(requests)])
                turn += 1
            else:
                busy -= 1
    poll.close()
    for one in open_ones:
        one.socket.close()
    return Load(now - began, tuple(latencies))


def paced(port: int, data: bytes, per_second: float, seconds: float) -> Load:
    """Send *data* at an even rate on as many connections as are free, each latency counted from when it was due.

    What a server delays is thereby seen by all who would have asked meanwhile, unlike where the next request waits for
    the last answer.
    """
    busy: dict[int, Connection] = {}
    free: list[Connection] = []
    latencies: list[float] = []
    began = time.perf_counter()
    due = (began + n / per_second for n in range(int(per_second * seconds)))
    following: float | None = next(due, None)
    while following is not None or busy:
        now = time.perf_counter()
        while following is not None and following <= now:
            one = free.pop() if free else Connection(port)
            one.send(data)
            one.began = following
            busy[one.socket.fileno()] = one
            following = next(due, None)
        pause = TIMEOUT_S if following is None else max(0.0, following - time.perf_counter())
        for number in select.select(list(busy), (), (), pause)[0]:  # epoll would wake up to a millisecond late
            if busy[number].receive():
                free.append(busy.pop(number))
                latencies.append(time.perf_counter() - free[-1].began)
    for one in free:
        one.socket.close()
    return Load(time.perf_counter() - began, tuple(latencies))


def main() -> None:
    """``python -m tests.bench.client PORT FILE PATH CONNECTIONS SECONDS``: as ``drive``, with the body in FILE.

    Prints an empty line when it is about to begin and the load as JSON at the end.
    """
    port, file, path, connections, seconds = sys.argv[1:]
    data = request(path, Path(file).read_bytes())
    print(flush=True)
    load = drive(int(port), [data], int(connections), float(seconds))
    print(json.dumps({"seconds": load.seconds, "latencies": load.latencies}))


if __name__ == "__main__":
    main()
