"""What Envoy says it has: the split read back from its routes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import BackendRefusal
from serving.files import canonical_json, sha256_bytes
from serving.local.envoy_config import ROUTES, SPLIT_ROUTE
from serving.rollout.backend import MIRROR_HEADER, Split


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
    return names
