"""What Kubernetes and Prometheus ask the rollout controller: ``/healthz``, ``/readyz``, ``/metrics``."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving.cluster.control import ClusterControl
from serving.errors import ConfigError, PlaceError

log = logging.getLogger(__name__)

STUCK_S = 60.0  # without a pass for longer, the process is to be replaced


def answer(path: str, control: ClusterControl, now: float, monotonic: float) -> tuple[HTTPStatus, str]:
    """Status and body for GET *path*; times in seconds, *monotonic* on the clock of ``Looked.at``."""
    last = control.last
    age = monotonic - last.at
    if path == "/healthz":
        alive = age <= STUCK_S
        return (HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE), f"last pass {age:.1f} s ago\n"
    if path == "/readyz":
        if last.trouble:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"{last.trouble}\n"
        return HTTPStatus.OK, f"{last.models} models, last pass {age:.1f} s ago\n"
    if path == "/metrics":
        return HTTPStatus.OK, control.metrics(now)
    return HTTPStatus.NOT_FOUND, "expected /healthz, /readyz or /metrics\n"


@contextmanager
def answering(control: ClusterControl, address: str) -> Iterator[int]:
    """Answer on *address*, ``host:port`` or ``:port``, in threads of its own; gives the port.

    Raises:
        ConfigError: *address* is none.
        PlaceError: somebody else listens there.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            status, body = answer(self.path.partition("?")[0], control, time.time(), time.monotonic())
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            log.debug("asked", extra={"request": format % args})

    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ConfigError(f"--health: expected HOST:PORT or :PORT, got {address!r}")
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    except OSError as error:
        raise PlaceError(f"cannot listen on {address}: {error.strerror}; choose another port") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
