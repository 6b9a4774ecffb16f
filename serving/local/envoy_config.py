"""Envoy's configuration as a pure function of what is wanted; ``in_force`` is the way back.

Predictions of the service's model are drawn over the arms; everything else (metadata, health) goes to the stable
revision and is kept out of all counts. The route's name carries the epoch into the access log, so each line knows the
split it was drawn under. There are no retries: a retry hides the failure of the arm that is being judged.

A sticky split hashes a header's value into an arm. The value goes on to the model server and into the access log under
a name of ours, because whoever counts needs it; without a sticky split nobody's keys are written anywhere. A request
without that header, or with an empty one, is drawn at random like any other.

Copies for a mirrored revision make one more turn through Envoy itself, over a listener of their own: that is the only
way to have them in the access log, one line each, with their epoch.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.files import canonical_json, sha256_bytes
from serving.local.paths import HOST
from serving.local.state import WantedState
from serving.rollout.backend import Split, prediction_path
from serving.wire import ARM_HEADER, EPOCH_HEADER, KEY_HEADER, MIRROR_HEADER, REVISION_HEADER

STAT_PREFIX = "slipway"
ROUTES = "slipway"
SPLIT_ROUTE = "split|"
MIRROR_ROUTE = "mirror"
MIRROR_CLUSTER = "slipway:mirror"  # no revision can be called so
TYPES = "type.googleapis.com/"
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?")

# Below the five seconds after which common Python servers close an idle connection: a request sent on a connection
# that the server is just closing would be lost, and would be counted against its arm.
IDLE_TIMEOUT = "3s"

ACCESS_LINE = {
    "t": "%START_TIME(%s.%3f)%",
    "r": "%ROUTE_NAME%",
    "e": "%REQ(X-EPOCH)%",
    "c": "%UPSTREAM_CLUSTER%",
    "s": "%RESPONSE_CODE%",
    "f": "%RESPONSE_FLAGS%",
    "d": "%DURATION%",
    "i": "%REQ(X-REQUEST-ID)%",
    "p": "%REQ(:PATH)%",
    "m": "%RESP(X-MODEL-FAULT)%",
    "k": f"%REQ({KEY_HEADER.upper()})%",
}


def bootstrap(envoy_dir: Path, *, listener_port: int, mirror_port: int, admin_port: int) -> dict[str, Any]:
    """The part that never changes while Envoy runs: listeners, access log, and where the moving parts are read from."""
    moving = {"rds": {"route_config_name": ROUTES, "config_source": _file(envoy_dir / "routes.json")}}
    copies = {"route_config": {"virtual_hosts": [{"name": "copies", "domains": ["*"], "routes": [_copy_route()]}]}}
    return {
        "node": {"id": "slipway", "cluster": "slipway"},
        "admin": {"address": _address(admin_port)},
        "dynamic_resources": {"cds_config": _file(envoy_dir / "clusters.json")},
        "static_resources": {
            "clusters": [_cluster(MIRROR_CLUSTER, mirror_port)],
            "listeners": [
                _listener("service", listener_port, _http(envoy_dir, STAT_PREFIX, moving)),
                _listener("mirror", mirror_port, _http(envoy_dir, "mirror", copies)),
            ],
        },
    }


def clusters(endpoints: Mapping[str, int]) -> dict[str, Any]:
    """One cluster per revision name, at its port on this machine."""
    kind = {"@type": TYPES + "envoy.config.cluster.v3.Cluster"}
    return _versioned([kind | _cluster(name, port) for name, port in sorted(endpoints.items())])


def routes(desired: WantedState, *, timeout_s: float = 60.0) -> dict[str, Any]:
    """The routes for *desired*; without a split every request is told that no model serves yet."""
    return _versioned([_route_table(desired, timeout_s)], label=desired.epoch or "")


def referenced(split: Split | None, stable: str | None) -> frozenset[str]:
    """The revisions that routes for *split* may send a caller to; a mirror that is absent harms nobody."""
    if split is None:
        return frozenset()
    return frozenset(filter(None, (*split.arms, *split.header_arms, stable)))


def _route_table(desired: WantedState, timeout_s: float) -> dict[str, Any]:
    return {
        "@type": TYPES + "envoy.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [{"name": "service", "domains": ["*"], "routes": _routes(desired, timeout_s)}],
    }


def _routes(desired: WantedState, timeout_s: float) -> list[dict[str, Any]]:
    split, epoch = desired.split, desired.epoch
    if split is None or epoch is None:
        return [_answer("none", {"prefix": "/"}, 503, "no model serves yet; see: slipway models list")]
    timeout = f"{timeout_s:g}s"
    models = sorted({revision.model for revision in desired.revisions.values()})
    stable = desired.stable or max(split.weights, key=lambda name: (split.weights[name], name))
    rest = {"cluster": stable, "timeout": timeout}
    return [
        # Which model a revision holds is decided by the rollout; a load or unload request would go around it.
        _answer("closed", {"prefix": "/v2/repository"}, 403, "models are changed with slipway, not over the endpoint"),
        *(_arm_route(name, timeout) for name in sorted(split.header_arms)),
        _answer(
            "arm",
            {"prefix": "/", "headers": [{"name": ARM_HEADER, "present_match": True}]},
            404,
            f"no revision of that name can be chosen with {ARM_HEADER}",
        ),
        *(route for model in models for route in _split_routes(model, split, epoch, timeout)),
        {"name": "other", "match": {"prefix": "/"}, "route": rest, "response_headers_to_add": [_revision(stable)]},
    ]


def _split_routes(model: str, split: Split, epoch: str, timeout: str) -> list[dict[str, Any]]:
    """First the requests that have a key, where that matters, then the others."""
    if split.sticky_header is None:
        return [_split_route(model, split, epoch, timeout)]
    # Envoy draws a request without the header at random, and would send all with an empty one to the same arm.
    return [_split_route(model, split, epoch, timeout, key) for key in (split.sticky_header, None)]


def _split_route(model: str, split: Split, epoch: str, timeout: str, key_header: str | None = None) -> dict[str, Any]:
    # In the order of names, whatever order the weights came in: a sticky hash then keeps a user on the canary as the
    # canary's share grows.
    arms = [
        {"name": name, "weight": weight, "response_headers_to_add": [_revision(name)]}
        for name, weight in sorted(split.weights.items())
    ]
    weighted: dict[str, Any] = {"clusters": arms}
    action: dict[str, Any] = {"timeout": timeout, "weighted_clusters": weighted}
    matched: list[dict[str, Any]] = [{"name": ":method", "string_match": {"exact": "POST"}}]
    added = [_header(EPOCH_HEADER, epoch)]
    if key_header is not None:
        weighted["use_hash_policy"] = True
        action["hash_policy"] = [{"header": {"header_name": key_header}}]
        matched += [
            {"name": key_header, "present_match": True},
            {"name": key_header, "string_match": {"exact": ""}, "invert_match": True},
        ]
        added.append(_formatted(KEY_HEADER, f"%REQ({key_header})%"))
    if split.mirror is not None:
        action["request_mirror_policies"] = [{"cluster": MIRROR_CLUSTER}]
        added.append(_header(MIRROR_HEADER, split.mirror))
    return {
        "name": SPLIT_ROUTE + epoch,
        "match": {"safe_regex": {"regex": prediction_path(model)}, "headers": matched},
        "route": action,
        "request_headers_to_remove": [KEY_HEADER],  # a caller's own; this comes before ours is added
        "request_headers_to_add": added,
        "response_headers_to_add": [_header(EPOCH_HEADER, epoch)],
    }


def _copy_route() -> dict[str, Any]:
    return {"name": MIRROR_ROUTE, "match": {"prefix": "/"}, "route": {"cluster_header": MIRROR_HEADER}}


def _arm_route(name: str, timeout: str) -> dict[str, Any]:
    return {
        "name": "arm",
        "match": {"prefix": "/", "headers": [{"name": ARM_HEADER, "string_match": {"exact": name}}]},
        "route": {"cluster": name, "timeout": timeout},
        "response_headers_to_add": [_revision(name)],
    }


def _answer(name: str, match: Mapping[str, Any], status: int, sentence: str) -> dict[str, Any]:
    direct = {"status": status, "body": {"inline_string": sentence}}
    return {"name": name, "match": match, "direct_response": direct}


def _revision(name: str) -> dict[str, Any]:
    return _header(REVISION_HEADER, name)


def _header(name: str, value: str) -> dict[str, Any]:
    return _formatted(name, value.replace("%", "%%"))


def _formatted(name: str, value: str) -> dict[str, Any]:
    header = {"key": name, "value": value}
    return {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    protocol = TYPES + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": protocol,
                "common_http_protocol_options": {"idle_timeout": IDLE_TIMEOUT},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _listener(name: str, port: int, manager: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "address": _address(port),
        "enable_reuse_port": False,  # otherwise a second Envoy could share the port without an error
        "filter_chains": [{"filters": [manager]}],
    }


def _http(envoy_dir: Path, stat_prefix: str, routing: Mapping[str, Any]) -> dict[str, Any]:
    manager = TYPES + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = TYPES + "envoy.extensions.filters.http.router.v3.Router"
    log = {
        "@type": TYPES + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(envoy_dir / "access.log"),
        "log_format": {"json_format": ACCESS_LINE},
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": manager,
            "stat_prefix": stat_prefix,
            **routing,
            "access_log": [{"name": "envoy.access_loggers.file", "typed_config": log}],
            # The shape of the model server's own errors, so that a caller reads one form whoever answers.
            "local_reply_config": {"body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}}},
            "use_remote_address": True,
            "preserve_external_request_id": True,  # a caller's id joins its answer with its labels
            "always_set_request_id_in_response": True,
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": router, "suppress_envoy_headers": True}}
            ],
        },
    }


def _versioned(resources: list[dict[str, Any]], label: str = "") -> dict[str, Any]:
    """A discovery answer whose version says what it holds: two with equal text are equal."""
    digest = sha256_bytes(canonical_json(resources))[:16]
    return {"version_info": f"{label}@{digest}", "resources": resources}


def _file(path: Path) -> dict[str, Any]:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}
