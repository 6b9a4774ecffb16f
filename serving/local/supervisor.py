"""The process that keeps a service as it should be: model servers, Envoy, and the record of both.

It looks at what is wanted and at what is there, many times a second, and does the next thing that is missing; it
remembers nothing that is not written down. So it can be ended at any moment: servers and Envoy go on without it, and
the next supervisor takes them over.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import InfrastructureError, PlaceError
from serving.files import read_json, write_json
from serving.frozen import write_model
from serving.local import processes
from serving.local.counting import rotate
from serving.local.lifecycle import Limits
from serving.local.paths import ServicePaths, free_port, service_paths, sole_supervisor
from serving.local.proxy import Keeper, end
from serving.local.reading import Document
from serving.local.servers import Fetch, Servers, local_bundle
from serving.local.state import Endpoint, ObservedState, WantedState, read_desired, read_observed

log = logging.getLogger(__name__)

TICK_S = 0.05  # while something is under way
SETTLED_TICK_S = 0.15  # otherwise; other processes' changes are seen at this pace
HEARTBEAT_S = 1.0
ROTATE_EVERY_S = 60.0
STOP_GRACE_S = 20.0


@dataclass(frozen=True)
class ServeOptions:
    """How to serve.

    Attributes:
        command: template of the model server's command line; see ``servers.Servers``.
        port: where callers connect, on this machine only; 0 chooses a free port once and keeps it.
        timeout_s: after which a request is answered with 504.
        fetch: gives the directory of a revision's bundle.
    """

    command: tuple[str, ...]
    port: int = 8080
    timeout_s: float = 60.0
    limits: Limits = field(default_factory=Limits)
    fetch: Fetch = local_bundle


def serve(
    service_dir: Path,
    options: ServeOptions,
    stop: threading.Event | None = None,
    changed: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or *stop*; then let callers finish and end everything.

    Args:
        changed: set by this process when it has changed what is wanted, which is then seen at once.

    Raises:
        ConflictError: the service has a living supervisor already.
        PlaceError: the port is taken, Envoy is missing, or the disk is full.
    """
    where = service_paths(service_dir)
    where.prepare()
    changed = changed or threading.Event()
    with sole_supervisor(where), _signals(stop or threading.Event()) as stopping:
        supervisor = Supervisor(where, options)
        supervisor.adopt()
        while not stopping.is_set():
            changed.wait(_pass(supervisor, changed))
        supervisor.stop()


def _pass(supervisor: "Supervisor", changed: threading.Event) -> float:
    """One tick, and the pause in seconds after it; traffic goes on as it is while the disk is full."""
    changed.clear()  # before looking: a change that comes meanwhile has a pass of its own
    try:
        return SETTLED_TICK_S if supervisor.tick(time.time()) else TICK_S
    except (PlaceError, InfrastructureError):
        log.exception("the service could not be looked after; trying again")
        return HEARTBEAT_S


class Supervisor:
    """One pass after another over one service; ``serve`` is the loop around it."""

    def __init__(self, where: ServicePaths, options: ServeOptions) -> None:
        self.where = where
        self._started = processes.own_start()
        children = processes.Children()
        port = _listener_port(where, options.port)
        self.servers = Servers(where, options.command, options.limits, options.fetch, self._persist, children)
        self.proxy = Keeper(where, port, options.timeout_s, children, self._persist)
        self._children = children
        self._wanted = WantedState()
        self._desired = Document(where.desired, self._read_desired)
        self._written = ObservedState()
        self._records: list[object] = []
        self._rotated_at = time.time()

    def adopt(self) -> None:
        """Continue from what the last supervisor wrote."""
        before = read_observed(self.where)
        self.proxy.adopt(before.proxy)
        self.servers.adopt(before.servers, time.time())
        self._persist()

    def tick(self, now: float) -> bool:
        """One pass; every part of it may be repeated or be the last one before a crash.

        Returns:
            Whether all is as it is wanted, so that the next pass has time.
        """
        desired = self._wanted = self._desired.get()
        self.servers.tick(desired.revisions, now)
        leaving = [name for name in self.servers.records if name not in desired.revisions]
        gone = {name for name in leaving if self.proxy.out_of_use(name, now)}
        endpoints = self._endpoints(gone)
        self.proxy.tick(desired, endpoints, now)
        if gone and self.proxy.knows(endpoints):
            for name in gone:
                self.servers.stop(name, now)
        self._write(now)
        self._rotate(now)
        states = {server.state for server in self.servers.records.values()}
        return not leaving and states <= {"ready", "failed"} and self.proxy.settled

    def stop(self) -> None:
        """End Envoy after its callers, then the model servers."""
        self.proxy.stop()
        now = time.time()
        for name in self.servers.records:
            self.servers.stop(name, now)
        for record in self.servers.records.values():
            if record.process:
                end(record.process, self._children, STOP_GRACE_S)
        self.servers.close()
        self.servers.records.clear()
        write_model(self.where.observed, self._state(now, stopped=True))

    def _endpoints(self, gone: set[str]) -> dict[str, Endpoint]:
        found = self.servers.records.items()
        staying = {name: server for name, server in found if server.state != "stopping" and name not in gone}
        return {name: Endpoint(s.endpoint, s.grpc_endpoint or 1) for name, s in staying.items() if s.endpoint}

    def _read_desired(self) -> WantedState:
        try:
            return read_desired(self.where) if self.where.desired.exists() else self._wanted
        except PlaceError:
            log.exception("what is wanted cannot be read; the service stays as it is")
            return self._wanted

    def _state(self, now: float, *, stopped: bool = False) -> ObservedState:
        return ObservedState(
            supervisor_pid=0 if stopped else os.getpid(),
            supervisor_started=self._started,
            heartbeat=now,
            generation=self._wanted.generation,
            stopped=stopped,
            servers=dict(self.servers.records),
            proxy=self.proxy.record,
        )

    def _persist(self) -> None:
        self._written = self._state(time.time())
        write_model(self.where.observed, self._written)

    def _write(self, now: float) -> None:
        """Write what changed at once, and every second that somebody is here."""
        if now - self._written.heartbeat >= HEARTBEAT_S or (self._touched() and self._news(now)):
            self._persist()

    def _touched(self) -> bool:
        """Whether any record is another object than before, which says little, at little cost."""
        before, self._records = self._records, [self._wanted, self.proxy.record, *self.servers.records.values()]
        return len(before) != len(self._records) or any(a is not b for a, b in zip(before, self._records, strict=True))

    def _news(self, now: float) -> bool:
        return _timeless(self._state(now)) != _timeless(self._written)

    def _rotate(self, now: float) -> None:
        if now - self._rotated_at >= ROTATE_EVERY_S and self.proxy.running:
            self._rotated_at = now
            try:
                rotate(self.where, self.proxy.admin.reopen_logs)
            except InfrastructureError:
                log.warning("envoy did not reopen its log; the next rotation asks again")


def _timeless(state: ObservedState) -> object:
    """*state* without the times that change at every look."""
    servers = {name: server.model_copy(update={"answered_at": 0.0}) for name, server in state.servers.items()}
    return state.model_copy(update={"heartbeat": 0.0, "servers": servers})


def _listener_port(where: ServicePaths, asked: int) -> int:
    remembered = read_json(where.ports)["listener"] if where.ports.exists() else 0
    port = asked or remembered or free_port()
    if port != remembered:
        write_json(where.ports, {"listener": port})
    return int(port)


@contextmanager
def _signals(stopping: threading.Event) -> Iterator[threading.Event]:
    """Set *stopping* on SIGTERM and SIGINT; a supervisor in a thread is stopped by its event alone."""
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stopping.set()) for number in numbers]
    try:
        yield stopping
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
