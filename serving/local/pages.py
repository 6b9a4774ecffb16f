"""A service's page and gauges over HTTP, on this machine: ``/`` the rollout, ``/metrics`` Prometheus text."""

import contextlib
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path

from serving.files import read_json, write_json
from serving.http_server import PROMETHEUS, TEXT, Answer, answering
from serving.local.paths import HOST

_SHOWN = {"/": ("rollout.html", "text/html; charset=utf-8"), "/metrics": ("rollout.prom", PROMETHEUS)}
_NONE = b"no rollout has been started for this service; slipway rollout start VERSION\n"


@contextlib.contextmanager
def pages(service_dir: Path) -> Iterator[str]:
    """Serve them while the block runs; gives the address, which stays the same where its port is still free."""
    answer = partial(_answer, service_dir)
    with contextlib.ExitStack() as open_:
        try:
            port = open_.enter_context(answering(HOST, _remembered(service_dir), answer))
        except OSError:  # the port of last time is somebody else's now
            port = open_.enter_context(answering(HOST, 0, answer))
        write_json(service_dir / "pages.json", {"port": port})
        yield address(port)


def address(port: int) -> str:
    return f"http://{HOST}:{port}/"


def _answer(service_dir: Path, path: str) -> Answer:
    if path not in _SHOWN:
        return HTTPStatus.NOT_FOUND, TEXT, b"there is / and /metrics\n"
    name, media = _SHOWN[path]
    try:
        return HTTPStatus.OK, media, (service_dir / name).read_bytes()
    except FileNotFoundError:
        return HTTPStatus.NOT_FOUND, TEXT, _NONE


def _remembered(service_dir: Path) -> int:
    try:
        return int(read_json(service_dir / "pages.json")["port"])
    except (OSError, ValueError, KeyError):
        return 0
