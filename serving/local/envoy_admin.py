"""Envoy's administration interface, as far as a supervisor and a rollout need it, and the split read back from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import BackendRefusal, InfrastructureError
from serving.files import canonical_json, sha256_bytes
from serving.http_client import NoAnswer, ask
from serving.local.envoy_config import GRPC, ROUTES, SPLIT_ROUTE, STAT_PREFIX
from serving.local.paths import HOST
from serving.rollout.backend import Split
from serving.wire import MIRROR_HEADER


@dataclass(frozen=True)
class InForce:
    """What Envoy has taken on: the version text, and the split read back from its routes.

    Attributes:
        digest: of the routes that divide traffic, epoch included.
        clusters: names that any route leads to.
    """

    version: str
    epoch: str | None
    split: Split | None
    digest: str
    clusters: frozenset[str]


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
        return str(self._stat("cluster_manager.cds.version_text", "TextReadouts") or "")

    def rejections(self) -> int:
        """How many route configurations this Envoy has refused since it started."""
        return int(self._stat(f"http.{STAT_PREFIX}.rds.{ROUTES}.update_rejected", "Counters") or 0)

    def in_flight(self, revision: str) -> int:
        """Requests at *revision* that have not been answered; 0 when Envoy does not know it."""
        return int(self._stat(f"cluster.{revision}.upstream_rq_active", "Gauges") or 0)

    def downstream_in_flight(self) -> int:
        return int(self._stat(f"http.{STAT_PREFIX}.downstream_rq_active", "Gauges") or 0)

    def reopen_logs(self) -> None:
        self._call("POST", "/reopen_logs")

    def drain_listeners(self) -> None:
        """Tell callers to close their connections and, when the drain time is over, stop listening."""
        self._call("POST", "/drain_listeners?graceful")

    def _stat(self, name: str, kind: str) -> Any:
        """The value called *name*; None while Envoy has none."""
        pattern = name.replace(".", "[.]")
        answer = json.loads(self._call("GET", f"/stats?format=json&type={kind}&filter=^{pattern}$"))
        return next((entry["value"] for entry in answer["stats"] if entry.get("name") == name), None)

    def _call(self, method: str, path: str) -> bytes:
        try:
            reply = ask(f"http://{HOST}:{self.port}", method, path, timeout_s=self.timeout_s)
        except NoAnswer as error:
            raise InfrastructureError(f"Envoy: {error}; is 'slipway serve' running?") from error
        if not reply.ok and path != "/ready":
            raise InfrastructureError(f"Envoy refused {method} {path}: {reply.status} {reply.text[:200]!r}")
        return reply.body


def in_force(dump: Mapping[str, Any]) -> InForce:
    """Read the answer of ``/config_dump?resource=dynamic_route_configs``."""
    for entry in dump.get("configs", ()):
        table = entry.get("route_config", {})
        if table.get("name") == ROUTES:
            return _read_table(entry.get("version_info", ""), table)
    return InForce("", None, None, "", frozenset())


def _read_table(version: str, table: Mapping[str, Any]) -> InForce:
    found = table["virtual_hosts"][0]["routes"]
    split_routes = [route for route in found if route.get("name", "").startswith(SPLIT_ROUTE)]
    # Not the rest: which revision answers metadata may change without a change of the split.
    drawn = [route for route in found if route.get("name") == "arm" or route in split_routes]
    digest = sha256_bytes(canonical_json(drawn))
    names = frozenset(_sent_to(found))
    if not split_routes:
        return InForce(version, None, None, digest, names)
    arms = tuple(route["route"]["cluster"] for route in drawn if route["name"] == "arm" and "route" in route)
    epoch = split_routes[0]["name"].removeprefix(SPLIT_ROUTE)
    return InForce(version, epoch, _read_split(split_routes[0], arms), digest, names)


def _read_split(route: Mapping[str, Any], arms: tuple[str, ...]) -> Split | None:
    """The split of *route*; None where somebody has made one of it that cannot be asked for."""
    action = route["route"]
    added = {entry["header"]["key"]: entry["header"]["value"] for entry in route["request_headers_to_add"]}
    hashes = action.get("hash_policy", ())
    try:
        return Split(
            weights={arm["name"]: int(arm.get("weight", 0)) for arm in action["weighted_clusters"]["clusters"]},
            mirror=added.get(MIRROR_HEADER),
            sticky_header=hashes[0]["header"]["header_name"] if hashes else None,
            header_arms=arms,
        )
    except BackendRefusal:
        return None


def _sent_to(found: list[Mapping[str, Any]]) -> set[str]:
    names: set[str] = set()
    for route in found:
        action = route.get("route", {})
        names.update(arm["name"] for arm in action.get("weighted_clusters", {}).get("clusters", ()))
        added = (entry["header"] for entry in route.get("request_headers_to_add", ()))
        names.update(header["value"] for header in added if header["key"] == MIRROR_HEADER)
        if "cluster" in action:
            names.add(action["cluster"])
    return {name.removesuffix(GRPC) for name in names}
