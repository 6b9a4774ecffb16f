"""Looking at a service and waiting for it, for the command line and for whoever else does not move traffic itself."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from serving.errors import InfrastructureError, PlaceError
from serving.local import processes
from serving.local.counting import read_counts
from serving.local.envoy_admin import Admin, InForce
from serving.local.paths import HOST, service_paths
from serving.local.state import ObservedState, Running, WantedState, read_desired, read_observed
from serving.polling import await_true
from serving.rollout.backend import Split
from serving.tally import Tally

T = TypeVar("T")
POLL_S = 0.05
_launched = processes.Children()  # so that one that ends is reaped


@dataclass(frozen=True)
class RevisionStatus:
    """One revision as it is; the shares are per mille, None where there is no split yet or Envoy does not answer."""

    name: str
    model: str
    version: int
    state: str
    reason: str
    pid: int | None
    http_port: int
    grpc_port: int
    restarts: int
    configured: int | None
    observed: int | None


@dataclass(frozen=True)
class EndpointStatus:
    """A service at one moment.

    Attributes:
        running: a supervisor is alive; traffic may flow without one.
        heartbeat_age_s: since the supervisor last wrote, None when there never was one.
        address: where callers send requests.
        epoch_configured, epoch_observed: tokens of the split wanted and of the one Envoy follows.
    """

    running: bool
    supervisor_pid: int | None
    heartbeat_age_s: float | None
    address: str
    admin_address: str
    envoy_pid: int | None
    stable: str | None
    mirror: str | None
    epoch_configured: str | None
    epoch_observed: str | None
    rejected: str
    revisions: tuple[RevisionStatus, ...]


def status(service_dir: Path) -> EndpointStatus:
    """The service in *service_dir* as wanted and as it is; never waits for more than Envoy's answer."""
    where = service_paths(service_dir)
    desired, seen = read_desired(where), read_observed(where)
    running = supervisor_alive(seen)
    proxy = seen.proxy.process if seen.proxy.process and processes.alive(seen.proxy.process) else None
    force = _in_force(seen) if proxy else None
    names = sorted({*desired.revisions, *seen.servers})
    return EndpointStatus(
        running=running,
        supervisor_pid=seen.supervisor_pid if running else None,
        heartbeat_age_s=max(0.0, time.time() - seen.heartbeat) if seen.heartbeat else None,
        address=_address(seen.proxy.listener_port),
        admin_address=_address(seen.proxy.admin_port),
        envoy_pid=proxy.pid if proxy else None,
        stable=desired.stable,
        mirror=desired.split.mirror if desired.split else None,
        epoch_configured=desired.epoch,
        epoch_observed=force.epoch if force else None,
        rejected=seen.proxy.refusal(desired),
        revisions=tuple(_revision(name, desired, seen, force) for name in names),
    )


def endpoint(service_dir: Path) -> str:
    """The address callers use, e.g. ``http://127.0.0.1:8080``.

    Raises:
        InfrastructureError: the service has never been started.
    """
    port = read_observed(service_paths(service_dir)).proxy.listener_port
    if not port:
        raise InfrastructureError(f"nothing serves in {service_dir}; start it with: slipway serve")
    return _address(port)


def traffic(service_dir: Path) -> dict[str, dict[str, Tally]]:
    """Requests, errors and durations by epoch and revision, oldest epoch first."""
    return {epoch: dict(arms) for epoch, arms in read_counts(service_paths(service_dir)).epochs.items()}


def supervisor_alive(seen: ObservedState) -> bool:
    if not seen.supervisor_pid or seen.stopped:
        return False
    return processes.alive(Running(command=(), pid=seen.supervisor_pid, started=seen.supervisor_started))


def wait_running(
    service_dir: Path, timeout_s: float = 30.0, check: Callable[[], None] = lambda: None
) -> EndpointStatus:
    """Wait until a supervisor is alive and Envoy answers; raises what *check* raises before each look.

    Raises:
        InfrastructureError: not within *timeout_s* seconds.
    """
    where = service_paths(service_dir)

    def look() -> EndpointStatus | None:
        check()
        now = status(service_dir)
        return now if now.running and now.envoy_pid and Admin(read_observed(where).proxy.admin_port).live() else None

    def late() -> str:
        return f"the service in {service_dir} did not come up: {read_observed(where).proxy.reason or 'see its logs'}"

    return wait_for(look, timeout_s, late)


def launch(service_dir: Path, command: Sequence[str], timeout_s: float = 60.0) -> EndpointStatus:
    """Start a supervisor as a process of its own and wait until the service is up; one that is alive is used.

    Raises:
        PlaceError: it ended at once; the message has its last words.
    """
    where = service_paths(service_dir)
    if supervisor_alive(read_observed(where)):
        return wait_running(service_dir, timeout_s)
    where.prepare()
    log = where.log("supervisor")
    child = _launched.start(command, log)

    def check() -> None:
        if _launched.ended(child)[0]:
            raise PlaceError(f"the service did not start: {processes.tail(log, lines=1)}")

    return wait_running(service_dir, timeout_s, check)


def stop(service_dir: Path, timeout_s: float = 60.0) -> None:
    """Have the supervisor let callers finish and end everything; nothing to do when none is alive.

    Raises:
        InfrastructureError: it is still there after *timeout_s* seconds.
    """
    seen = read_observed(service_paths(service_dir))
    if not supervisor_alive(seen):
        return
    os.kill(seen.supervisor_pid, signal.SIGTERM)
    supervisor = Running(command=(), pid=seen.supervisor_pid, started=seen.supervisor_started)
    wait_for(
        lambda: _launched.ended(supervisor)[0] or None,
        timeout_s,
        lambda: f"process {seen.supervisor_pid} does not end; look at {service_dir}/logs, then kill it",
    )


def wait_for(look: Callable[[], T | None], timeout_s: float, late: Callable[[], str]) -> T:
    """The first result of *look* that is there; ``InfrastructureError`` with the sentence of *late* otherwise."""
    found = await_true(look, timeout_s, POLL_S)
    if found is None:
        raise InfrastructureError(late())
    return found


def _revision(name: str, desired: WantedState, seen: ObservedState, force: InForce | None) -> RevisionStatus:
    server = seen.servers.get(name)
    wanted = desired.revisions.get(name) or (server.wanted if server else None)
    return RevisionStatus(
        name=name,
        model=wanted.model if wanted else "",
        version=wanted.version if wanted else 0,
        state=server.state if server else "starting",
        reason=server.reason if server else "not seen by a supervisor yet",
        pid=server.process.pid if server and server.process else None,
        http_port=server.http_port if server else 0,
        grpc_port=server.grpc_port if server else 0,
        restarts=server.restarts if server else 0,
        configured=_share(desired.split, name),
        observed=_share(force.split if force else None, name),
    )


def _share(split: Split | None, name: str) -> int | None:
    return None if split is None else split.weight(name)


def _in_force(seen: ObservedState) -> InForce | None:
    try:
        return Admin(seen.proxy.admin_port).routes()
    except InfrastructureError:
        return None


def _address(port: int) -> str:
    return f"http://{HOST}:{port}"
