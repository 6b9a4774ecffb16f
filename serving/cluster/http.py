"""What Kubernetes and Prometheus ask the rollout controller: ``/healthz``, ``/readyz``, ``/metrics``."""

import contextlib
import time
from collections.abc import Iterator
from http import HTTPStatus

from serving import http_server
from serving.cluster.control import ClusterControl
from serving.errors import ConfigError, PlaceError

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


@contextlib.contextmanager
def answering(control: ClusterControl, address: str) -> Iterator[int]:
    """Answer on *address*, ``host:port`` or ``:port``, in threads of its own; gives the port.

    Raises:
        ConfigError: *address* is none.
        PlaceError: somebody else listens there.
    """

    def page(path: str) -> http_server.Answer:
        status, text = answer(path, control, time.time(), time.monotonic())
        return status, http_server.PROMETHEUS, text.encode()

    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ConfigError(f"--health: expected HOST:PORT or :PORT, got {address!r}")
    with contextlib.ExitStack() as open_:
        try:
            bound = open_.enter_context(http_server.answering(host.strip("[]"), int(port), page))
        except OSError as error:
            raise PlaceError(f"cannot listen on {address}: {error.strerror}; choose another port") from error
        yield bound
