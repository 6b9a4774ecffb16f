"""Where a service lives on disk, and the ports and locks it holds on this machine.

Everything of one service is under one directory, so that a second look, after any crash, finds all there is to know.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]  # ships no annotations

from serving.errors import ConfigError, PlaceError
from serving.locks import only_holder

HOST = "127.0.0.1"  # nothing here is meant to be reached from another machine


class ServicePaths:
    """The files of one service; *directory* is absolute."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.desired, self.observed = directory / "desired.json", directory / "observed.json"
        self.ports, self.counts = directory / "ports.json", directory / "counts.json"
        self.envoy, self.logs, self.predictions = (directory / name for name in ("envoy", "logs", "predictions"))
        self.bootstrap, self.clusters = self.envoy / "bootstrap.json", self.envoy / "clusters.json"
        self.routes, self.access_log = self.envoy / "routes.json", self.envoy / "access.log"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def prepare(self) -> None:
        for directory in (self.envoy, self.logs, self.predictions):
            directory.mkdir(parents=True, exist_ok=True)


def service_directory(serving: str, model: str) -> Path:
    """The directory of *model*'s service, given the place's serving URI.

    Raises:
        ConfigError: the URI is not ``file://``; a cluster's service has no directory.
    """
    parts = urlsplit(serving)
    if parts.scheme == "kserve":
        raise ConfigError(
            f"{model} is served by the cluster ({serving}), and this works beside a service on this machine only; "
            "look at it with slipway rollout status, or name a directory: SLIPWAY_SERVING=file:///directory"
        )
    if parts.scheme not in ("", "file"):
        raise ConfigError(f"serving: expected file:///directory, got {serving!r}")
    return Path(parts.path) / model


def service_paths(service_dir: Path) -> ServicePaths:
    return ServicePaths(service_dir.resolve())


@contextlib.contextmanager
def sole_supervisor(where: ServicePaths) -> Iterator[None]:
    """Be the one supervisor of *where*; the lock goes with the process, however it ends.

    Raises:
        ConflictError: another supervisor is alive; the message has its process id.
    """
    told = f"{where.directory} is already served by"
    lock = where.directory / "supervisor.lock"
    with only_holder(lock, lambda who: f"{told} {who}; use its endpoint, or stop that process first"):
        yield


def free_port() -> int:
    """A port that was free a moment ago; whoever binds it must cope with having lost it."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_port(port: int) -> None:
    """Make sure that *port* can be bound.

    Raises:
        PlaceError: something else listens there; the message names it where the system tells.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PlaceError(
                    f"port {port} on {HOST} is taken{_holder(port)}; stop that process, or choose another port with "
                    "--port (0 picks a free one)"
                ) from None
            if error.errno == errno.EACCES:
                raise PlaceError(f"port {port} needs more rights than this user has; choose one above 1023") from None
            raise


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
