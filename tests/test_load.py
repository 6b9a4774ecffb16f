"""What is said of a load is what happened to it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.load import Load, ask, request

GOOD = b"HTTP/1.1 200 OK\r\nX-Revision: m-1\r\ncontent-length: 2\r\n\r\n{}"
LAST = GOOD.replace(b"{}", b"[]").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
BAD = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
DATA = request("/x", b"1")


@contextmanager
def server(answer: Callable[[int], bytes]) -> Iterator[tuple[int, list[int]]]:
    """Answers its nth request with ``answer(n)``, and with nothing by ending the connection; counts the connections."""
    opened, asked = [0], [0]

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            opened[0] += 1
            with connection:
                while connection.recv(1 << 16):
                    said = answer(asked[0])
                    asked[0] += 1
                    connection.sendall(said)
                    if said in (b"", LAST):
                        break

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1], opened
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def load(port: int, **how: float) -> Load:
    return Load(port, lambda _: DATA, connections=1, rate=how.pop("rate", None)).run(**how)


def test_a_connection_is_kept_and_each_answer_told() -> None:
    """Status, revision and time of each, one connection for all."""
    with server(lambda n: BAD if n == 2 else GOOD) as (port, opened):
        done = load(port, total=5)
    assert [answer.status for answer in done.answers] == [200, 200, 503, 200, 200]
    assert [answer.first for answer in done.answers] == [True, False, False, False, False]
    assert done.lost == [done.answers[2]]
    assert done.by_revision() == {"m-1": 4, "": 1}
    assert opened == [1]
    assert 0 < sum(answer.seconds for answer in done.answers) <= done.seconds


def test_what_is_cut_off_is_lost_and_not_sent_again() -> None:
    """The next request goes over a new connection."""
    with server(lambda n: b"" if n == 1 else GOOD) as (port, opened):
        done = load(port, total=4)
    assert [answer.status for answer in done.answers] == [200, 0, 200, 200]
    assert opened == [2]


def test_a_server_that_closes_is_left() -> None:
    """``connection: close`` loses nothing."""
    with server(lambda n: LAST if n == 0 else GOOD) as (port, opened):
        done = load(port, total=3)
    assert done.lost == []
    assert opened == [2]


def test_nobody_there_is_a_loss() -> None:
    """A refused connection is told as one, and does not end the load."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = load(port, total=2)
    assert [(answer.status, answer.first) for answer in done.answers] == [(0, True), (0, True)]


def test_an_even_rate_sends_what_is_due() -> None:
    """As many as the rate and the time say, each counted from when it was due: a stall is seen by all behind it."""

    def stalls(n: int) -> bytes:
        if n == 5:
            threading.Event().wait(0.5)
        return GOOD

    with server(stalls) as (port, _):
        done = load(port, rate=100, seconds=0.4)
    assert len(done.answers) == 40
    assert done.lost == []
    assert min(answer.seconds for answer in done.answers[5:]) > 0.05


def test_one_question_has_its_body() -> None:
    """``ask`` keeps what a load throws away."""
    with server(lambda n: GOOD) as (port, _):
        assert ask(port, DATA).body == b"{}"
        assert load(port, total=1).answers[0].body == b""


def test_a_block_ends_its_load() -> None:
    """Requests go on beside what a test does, until it is done."""
    with server(lambda n: GOOD) as (port, _):
        with Load(port, lambda _: DATA, connections=1) as beside:
            beside.await_answers(20)
        told = len(beside.answers)
        assert told >= 20
        assert beside.lost == []
    assert len(beside.answers) == told
