"""What many rooms stand on: locks, one question over HTTP, a few pages, waiting, and a post that may fail."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from serving import webhook
from serving.errors import ConflictError
from serving.http_client import Connection, NoAnswer, ask
from serving.http_server import TEXT, Answer, answering
from serving.local.paths import free_port
from serving.locks import is_held, only_holder
from serving.polling import await_true


def test_whoever_comes_second_is_told_the_first(tmp_path: Path) -> None:
    """Not waited for; and the lock is free after its block, whatever the file says."""
    lock = tmp_path / "new" / "lock"
    assert not is_held(lock)
    with only_holder(lock, lambda who: f"taken by {who}"):
        assert is_held(lock)
        with (
            pytest.raises(ConflictError, match=f"taken by process {os.getpid()}$"),
            only_holder(lock, "taken by {}".format),
        ):
            pytest.fail("held twice")
    assert not is_held(lock)
    with lock.open("w") as file:  # of somebody who wrote no number
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="by process unknown"), only_holder(lock, "taken by {}".format):
            pytest.fail("held twice")


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that keeps connections and answers with its caller's port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])) + f" {self.client_address[1]}".encode()
            self.send_response(HTTPStatus.IM_A_TEAPOT)
            self.send_header("X-Word", "kept")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/some/path"
        server.shutdown()
        thread.join()


def test_a_connection_is_kept_and_any_status_is_an_answer(echo: str) -> None:
    """Names of headers are in small letters; after a failure the next request opens another connection."""
    with Connection(echo, 5) as connection:
        first, second = (connection.ask("POST", "/", "word") for _ in range(2))
        connection._connection.close()
        third = connection.ask("POST", "/", b"word")
    assert (first.status, first.ok, first.headers["x-word"]) == (418, False, "kept")
    assert first.text == second.text != third.text
    assert ask(echo, "POST", "/", "w", timeout_s=5).body.startswith(b"w ")


def test_no_answer_is_one_sentence() -> None:
    """With the address that was asked."""
    port = free_port()
    with pytest.raises(NoAnswer, match=rf"^http://127.0.0.1:{port}/x does not answer: .*refused") as silence:
        ask(f"http://127.0.0.1:{port}", "GET", "/x", timeout_s=5)
    assert silence.value.exit_code == 30


def test_pages_are_made_when_they_are_asked_for() -> None:
    """By path, without a query; the port is free afterwards."""

    def page(path: str) -> Answer:
        return (HTTPStatus.OK if path == "/a" else HTTPStatus.NOT_FOUND), TEXT, path.encode()

    with answering("127.0.0.1", 0, page) as port:
        with urlopen(f"http://127.0.0.1:{port}/a?b=c") as found:
            assert (found.read(), found.headers["content-type"], found.headers["cache-control"]) == (
                b"/a",
                TEXT,
                "no-store",
            )
        with pytest.raises(HTTPError) as missing:
            urlopen(f"http://127.0.0.1:{port}/b")
        assert (missing.value.code, missing.value.read()) == (404, b"/b")
        with pytest.raises(OSError, match="in use"), answering("127.0.0.1", port, page):
            pytest.fail("two servers on one port")
    with answering("127.0.0.1", port, page) as again:
        assert again == port


@pytest.mark.parametrize(
    ("looks", "limit_s", "found", "slept"),
    [
        pytest.param([0, 0, 7], 10, 7, [2, 2], id="at-the-third-look"),
        pytest.param([7], 0, 7, [], id="one-look-is-always-taken"),
        pytest.param([0, 0, 0, 0], 5, 0, [2, 2, 2], id="the-last-look-when-the-time-is-over"),
    ],
)
def test_waiting_ends_with_a_result_or_the_time(
    looks: list[int], limit_s: float, found: int, slept: list[float]
) -> None:
    """By the clock that is given."""
    said, waited = iter(looks), list[float]()
    pause: Callable[[float], None] = waited.append
    assert await_true(lambda: next(said), limit_s, 2, clock=lambda: sum(waited), sleep=pause) == found
    assert waited == slept


def test_a_webhook_says_why_it_did_not_take_it(echo: str) -> None:
    """A status, or nobody there; only addresses of the web are any."""
    assert "418" in webhook.post(echo, b"{}", 5)
    assert "refused" in webhook.post(f"http://127.0.0.1:{free_port()}", b"{}", 5)
    assert [webhook.is_address(word) for word in ("http://a", "https://a", "file:///a", "a")] == [
        True,
        True,
        False,
        False,
    ]
