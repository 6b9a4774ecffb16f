"""A few pages over HTTP, each made by a function when it is asked for."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TEXT = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
CLOSES_WITHIN_S = 0.5  # the end is looked for so often, and no more: idle costs CPU
log = logging.getLogger(__name__)

Answer = tuple[HTTPStatus, str, bytes]  # status, media type, body


@contextlib.contextmanager
def answering(host: str, port: int, answer: Callable[[str], Answer]) -> Iterator[int]:
    """Answer GET requests while the block runs, in threads of their own; gives the port.

    Args:
        port: 0 for any that is free.
        answer: from the path, without a query.

    Raises:
        OSError: the port is somebody else's.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # of a caller that connects and says nothing

        def do_GET(self) -> None:
            status, media, body = answer(self.path.partition("?")[0])
            self.send_response(status)
            for name, value in (("type", media), ("length", str(len(body)))):
                self.send_header(f"content-{name}", value)
            self.send_header("cache-control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            log.debug("asked", extra={"request": format % args})

    with ThreadingHTTPServer((host, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(CLOSES_WITHIN_S,), name="pages", daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
