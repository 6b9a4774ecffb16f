"""Envoy's administration interface, as far as a supervisor and a rollout need it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import InfrastructureError
from serving.http_client import NoAnswer, ask
from serving.local.envoy_config import ROUTES, STAT_PREFIX
from serving.local.in_force import InForce, in_force
from serving.local.paths import HOST

RDS = f"http.{STAT_PREFIX}.rds.{ROUTES}"


@dataclass(frozen=True)
class Admin:
    """The administration interface at *port*; every method raises ``InfrastructureError`` when it does not answer."""

    port: int
    timeout_s: float = 2.0

    def live(self) -> bool:
        try:
            return self._call("GET", "/ready").strip() == b"LIVE"
        except InfrastructureError:
            return False

    def routes(self) -> InForce:
        return in_force(json.loads(self._call("GET", "/config_dump?resource=dynamic_route_configs")))

    def clusters_version(self) -> str:
        return str(
            self._stats(r"^cluster_manager\.cds\.version_text$", "TextReadouts").get(
                "cluster_manager.cds.version_text", ""
            )
        )

    def rejections(self) -> int:
        """How many route configurations this Envoy has refused since it started."""
        name = f"{RDS}.update_rejected"
        return int(self._stats(f"^{name.replace('.', '[.]')}$", "Counters").get(name, 0))

    def in_flight(self, revision: str) -> int:
        """Requests at *revision* that have not been answered; 0 when Envoy does not know it."""
        name = f"cluster.{revision}.upstream_rq_active"
        return int(self._stats(f"^{name.replace('.', '[.]')}$", "Gauges").get(name, 0))

    def downstream_in_flight(self) -> int:
        name = f"http.{STAT_PREFIX}.downstream_rq_active"
        return int(self._stats(f"^{name.replace('.', '[.]')}$", "Gauges").get(name, 0))

    def reopen_logs(self) -> None:
        self._call("POST", "/reopen_logs")

    def drain_listeners(self) -> None:
        """Tell callers to close their connections and, when the drain time is over, stop listening."""
        self._call("POST", "/drain_listeners?graceful")

    def _stats(self, pattern: str, kind: str) -> Mapping[str, Any]:
        answer = json.loads(self._call("GET", f"/stats?format=json&type={kind}&filter={pattern}"))
        return {entry["name"]: entry["value"] for entry in answer["stats"] if "name" in entry}

    def _call(self, method: str, path: str) -> bytes:
        try:
            reply = ask(f"http://{HOST}:{self.port}", method, path, timeout_s=self.timeout_s)
        except NoAnswer as error:
            raise InfrastructureError(f"Envoy: {error}; is 'slipway serve' running?") from error
        if not reply.ok and path != "/ready":
            raise InfrastructureError(f"Envoy refused {method} {path}: {reply.status} {reply.text[:200]!r}")
        return reply.body
