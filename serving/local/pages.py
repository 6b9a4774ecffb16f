"""A service's page and gauges over HTTP, on this machine: ``/`` the rollout, ``/metrics`` Prometheus text."""

import contextlib
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from serving.files import read_json, write_json
from serving.local.paths import HOST

_SHOWN = {
    "/": ("rollout.html", "text/html; charset=utf-8"),
    "/metrics": ("rollout.prom", "text/plain; version=0.0.4; charset=utf-8"),
}
CLOSES_WITHIN_S = 0.5
_NONE = b"no rollout has been started for this service; slipway rollout start VERSION\n"


@contextlib.contextmanager
def pages(service_dir: Path) -> Iterator[str]:
    """Serve them while the block runs; gives the address, which stays the same where its port is still free."""
    server = _bound(service_dir, _remembered(service_dir))
    write_json(service_dir / "pages.json", {"port": server.server_port})
    thread = threading.Thread(target=server.serve_forever, args=(CLOSES_WITHIN_S,), name="pages", daemon=True)
    thread.start()
    try:
        yield address(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def address(port: int) -> str:
    return f"http://{HOST}:{port}/"


def _bound(service_dir: Path, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, media = _SHOWN.get(self.path.partition("?")[0], ("", ""))
            path = service_dir / name
            if not name:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is / and /metrics\n")
            elif not path.exists():
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", _NONE)
            else:
                self._answer(HTTPStatus.OK, media, path.read_bytes())

        def _answer(self, status: HTTPStatus, media: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", media)
            self.send_header("content-length", str(len(body)))
            self.send_header("cache-control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError:  # the port of last time is somebody else's now
        return ThreadingHTTPServer((HOST, 0), Handler)


def _remembered(service_dir: Path) -> int:
    try:
        return int(read_json(service_dir / "pages.json")["port"])
    except (OSError, ValueError, KeyError):
        return 0
