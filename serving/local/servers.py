"""The model servers of a service: one process per revision, started, watched, brought back, taken down."""

import json
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from serving.errors import ConfigError, InfrastructureError, SlipwayError
from serving.http_client import NoAnswer, ask
from serving.local import processes
from serving.local.lifecycle import Limits, Look, Move, step
from serving.local.paths import HOST, ServicePaths, free_port
from serving.local.state import AskedRevision, Running, Server
from serving.rollout.backend import Revision
from serving.wire import ready_path

Fetch = Callable[[Revision], Path]
Persist = Callable[[], None]

GRACE_S = 30.0  # from SIGTERM to SIGKILL
PROBE_TIMEOUT_S = 2.0
PROBE_EVERY_S = 0.2
PROBE_READY_EVERY_S = 1.0


def predictor_command(trusted_key: Path) -> tuple[str, ...]:
    """The template that starts our own model server; ``{...}`` are filled in for each revision.

    Args:
        trusted_key: PEM file, or directory of such files, with the public keys whose bundles may be loaded.
    """
    return (
        *(sys.executable, "-m", "serving.predictor"),
        *("--model_name", "{model}", "--version", "{version}", "--revision", "{revision}", "--bundle", "{bundle}"),
        *("--http_port", "{http_port}", "--grpc_port", "{grpc_port}", "--log_dir", "{log_dir}"),
        *("--host", HOST, "--trusted_key", str(trusted_key)),
        *("--drain_s", "0"),  # Envoy has no request there any more when the process is told to end
    )


def local_bundle(wanted: Revision) -> Path:
    """The directory a bundle URI names on this machine.

    Raises:
        ConfigError: the URI is of another kind, or there is no such directory.
    """
    parts = urlsplit(wanted.bundle_uri)
    if parts.scheme not in ("", "file"):
        raise ConfigError(f"bundle {wanted.bundle_uri!r} is not on this machine: expected file:///directory or a path")
    directory = Path(unquote(parts.path)).absolute()
    if not directory.is_dir():
        raise ConfigError(f"there is no bundle at {directory}; was {wanted.name} registered here?")
    return directory


class _Asked(NamedTuple):
    """The newest probe of a server: of which port, when, and what comes back; None once that was taken note of."""

    port: int
    at: float
    answer: "Future[Probe] | None"


class Probe(NamedTuple):
    """What a readiness probe brought back; *refusal* is the server's word that it never will be ready."""

    ready: bool
    refusal: str = ""


@dataclass
class Servers:
    """All model servers of one service.

    Attributes:
        template: command with ``{revision} {model} {version} {bundle} {http_port} {grpc_port} {log_dir}`` to fill in.
        fetch: gives the directory of a bundle; runs beside the loop, so it may download.
        persist: writes the records down; called before each start, so that no process is ever unknown.
    """

    where: ServicePaths
    template: tuple[str, ...]
    limits: Limits
    fetch: Fetch
    persist: Persist
    children: processes.Children
    records: dict[str, Server] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, thread_name_prefix="probe"))
    _probes: dict[str, "_Asked"] = field(default_factory=dict)
    _bundles: dict[str, Future[Path]] = field(default_factory=dict)

    def adopt(self, records: Mapping[str, Server], now: float) -> None:
        """Take over what an earlier supervisor left: living processes as they are, the rest to be started again."""
        for name, record in records.items():
            process = processes.found_again(record.process) if record.process else None
            # Nobody asked while there was no supervisor: silence is counted from now on.
            answered_at = now if record.answered_at else 0.0
            changes: dict[str, object] = {"process": process, "retry_at": 0.0, "since": now, "answered_at": answered_at}
            if process is None:
                changes |= {"answered_at": 0.0, "crashes": 0}
                if record.state != "stopping":
                    changes["state"] = "starting"
            self.records[name] = record.model_copy(update=changes)

    def tick(self, wanted: Mapping[str, AskedRevision], now: float) -> None:
        for name, revision in wanted.items():
            known = self.records.get(name)
            if known is None or (known.state == "failed" and known.wanted.asked != revision.asked):
                self.records[name] = Server(wanted=revision)
                self._bundles.pop(name, None)
        for name in list(self.records):
            self._look(name, now)

    def stop(self, name: str, now: float) -> None:
        """Ask the process of *name* to end; ``tick`` sees it through and then forgets the record."""
        record = self.records[name]
        if record.state != "stopping":
            self.records[name] = record.model_copy(update={"state": "stopping", "since": now, "reason": ""})
            if record.process:
                processes.terminate(record.process)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self, name: str, now: float) -> None:
        record = self.records[name]
        ended, code = self.children.ended(record.process) if record.process else (True, None)
        if record.state in ("stopping", "failed"):
            self._finish(name, record, ended=ended, now=now)
            return
        answer = None if ended else self._answer(name, record, now)
        ready, refused = answer or (None, "")
        seen = Look(ended, code, ready, lambda: processes.tail(self.where.log(name)), refused)
        self.records[name], move = step(record, seen, now, self.limits)
        if move is Move.START:
            self._start(name, now)
        elif move is Move.KILL and record.process:
            processes.terminate(record.process, force=True)

    def _finish(self, name: str, record: Server, *, ended: bool, now: float) -> None:
        if record.state == "stopping":
            if ended:
                del self.records[name]
                self._bundles.pop(name, None)
            elif record.process and now - record.since > GRACE_S:
                processes.terminate(record.process, force=True)
        elif ended and record.process:
            self.records[name] = record.model_copy(update={"process": None})

    def _start(self, name: str, now: float) -> None:
        record = self.records[name]
        try:
            bundle = self._bundle(name, record.wanted)
            if bundle is None:
                return
            ports = {"http_port": free_port(), "grpc_port": free_port()}
            command = self._command(record.wanted, bundle, ports)
            restarts = record.restarts + (1 if record.since else 0)
            announced = {"since": now, "answered_at": 0.0, "restarts": restarts, "process": Running(command=command)}
            self.records[name] = record = record.model_copy(update={**ports, **announced})
            self.persist()
            process = self.children.start(command, self.where.log(name))
            self.records[name] = record.model_copy(update={"process": process})
        except SlipwayError as error:
            failed = {"state": "failed", "reason": str(error), "process": None}
            self.records[name] = record.model_copy(update=failed)

    def _bundle(self, name: str, wanted: Revision) -> Path | None:
        if name not in self._bundles:
            self._bundles[name] = self._pool.submit(self.fetch, wanted)
        future = self._bundles[name]
        if not future.done():
            return None
        error = future.exception()
        if error is not None and not isinstance(error, SlipwayError):
            raise InfrastructureError(f"the bundle {wanted.bundle_uri} could not be fetched: {error}") from error
        return future.result()

    def _command(self, wanted: Revision, bundle: Path, ports: Mapping[str, int]) -> tuple[str, ...]:
        log_dir = self.where.predictions / wanted.name
        log_dir.mkdir(parents=True, exist_ok=True)
        values = {"revision": wanted.name, "model": wanted.model, "version": wanted.version, "bundle": bundle}
        return tuple(part.format(**values, **ports, log_dir=log_dir) for part in self.template)

    def _answer(self, name: str, record: Server, now: float) -> Probe | None:
        """What came back of the present process since the last look; the next probe begins when it is time."""
        port, at, answer = self._probes.get(name, _Asked(0, 0.0, None))
        if port == record.http_port and answer is not None:
            if not answer.done():
                return None
            self._probes[name] = _Asked(port, at, None)
            return answer.result()
        pause = PROBE_READY_EVERY_S if record.state == "ready" else PROBE_EVERY_S
        if port != record.http_port or now - at >= pause:
            submitted = self._pool.submit(probe, record.http_port, record.wanted.model)
            self._probes[name] = _Asked(record.http_port, now, submitted)
        return None


def probe(port: int, model: str) -> Probe:
    """Ask the server at *port* for *model*; not for its own readiness, which a server without any model has too."""
    try:
        reply = ask(f"http://{HOST}:{port}", "GET", ready_path(model), timeout_s=PROBE_TIMEOUT_S)
    except NoAnswer:
        return Probe(ready=False)
    return Probe(reply.ok, refusal(reply.body))


def refusal(body: bytes) -> str:
    """Why the server says that it will not load its model; empty when it says nothing of the kind."""
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    failed = isinstance(told, dict) and told.get("code") == "load_failed"
    return str(told.get("error", "the model could not be loaded")) if failed else ""
