"""Envoy's configuration as a pure function of what is wanted; ``in_force`` is the way back.

Predictions of the service's model are drawn over the arms; a path that names a version goes to that version or is a
404; everything else (metadata, health) goes to the stable revision. Only the first are counted; ``serving.wire`` says
which path is which. The route's name carries the epoch into the access log, so each line knows the split it was drawn
under. There are no retries: a retry hides the failure of the arm that is being judged.

A sticky split hashes a header's value into an arm. The value goes on to the model server and into the access log under
a name of ours, because whoever counts needs it; without a sticky split nobody's keys are written anywhere. A request
without that header, or with an empty one, is drawn at random like any other.

A model server speaks gRPC at a port of its own, so each revision has two clusters. Statistics and access log know both
under the name of the revision.

Copies for a mirrored revision make one more turn through Envoy itself, over a listener of their own: that is the only
way to have them in the access log, one line each, with their epoch.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from serving import wire
from serving.files import canonical_json, sha256_bytes
from serving.local.paths import HOST
from serving.local.state import Endpoint, WantedState
from serving.rollout.backend import Split

STAT_PREFIX = "slipway"
ROUTES = "slipway"
SPLIT_ROUTE = "split|"
MIRROR_ROUTE = "mirror"
MIRROR_CLUSTER = "slipway:mirror"  # no revision can be called so
GRPC = ":grpc"  # what the cluster of a revision's other port has behind its name
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
    "k": f"%REQ({wire.KEY_HEADER.upper()})%",
    "g": "%GRPC_STATUS_NUMBER%",
    "n": "%TRAILER(X-MODEL-FAULT)%",
}


def bootstrap(envoy_dir: Path, *, listener_port: int, mirror_port: int, admin_port: int) -> dict[str, Any]:
    """The part that never changes while Envoy runs: listeners, access log, and where the moving parts are read from."""
    moving = {"rds": {"route_config_name": ROUTES, "config_source": _file(envoy_dir / "routes.json")}}
    copies = {"route_config": {"virtual_hosts": [{"name": "copies", "domains": ["*"], "routes": [_copy_route()]}]}}
    return {
        "node": {"id": "slipway", "cluster": "slipway"},
        "admin": {"address": _address(admin_port)},
        # The size of an expression is that of its text; of a long model name Envoy would refuse it.
        "layered_runtime": {"layers": [{"name": "own", "static_layer": {"re2.max_program_size.error_level": 4096}}]},
        "dynamic_resources": {"cds_config": _file(envoy_dir / "clusters.json")},
        "static_resources": {
            "clusters": _clusters(MIRROR_CLUSTER, Endpoint(mirror_port, mirror_port)),
            "listeners": [
                _listener("service", listener_port, _http(envoy_dir, STAT_PREFIX, moving)),
                _listener("mirror", mirror_port, _http(envoy_dir, "mirror", copies)),
            ],
        },
    }


def clusters(endpoints: Mapping[str, Endpoint]) -> dict[str, Any]:
    """The clusters of each revision name."""
    kind = {"@type": TYPES + "envoy.config.cluster.v3.Cluster"}
    return _versioned([kind | made for name, at in sorted(endpoints.items()) for made in _clusters(name, at)])


def routes(desired: WantedState, *, timeout_s: float = 60.0) -> dict[str, Any]:
    """The routes for *desired*; without a split every request is told that no model serves yet."""
    return _versioned([_route_table(desired, timeout_s)], label=desired.epoch or "")


def _route_table(desired: WantedState, timeout_s: float) -> dict[str, Any]:
    # What a caller says in our names reaches no model server, whose log would take it for ours.
    host = {
        "name": "service",
        "domains": ["*"],
        "routes": _routes(desired, timeout_s),
        "request_headers_to_remove": [wire.EPOCH_HEADER, wire.KEY_HEADER, wire.MIRROR_HEADER],
    }
    return {
        "@type": TYPES + "envoy.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [host],
        "most_specific_header_mutations_wins": True,  # first the removal above, then what a route adds
    }


def _routes(desired: WantedState, timeout_s: float) -> list[dict[str, Any]]:
    split, epoch = desired.split, desired.epoch
    if split is None or epoch is None:
        return [_answer("none", {"prefix": "/"}, 503, "no model serves yet; see: slipway models list")]
    timeout = f"{timeout_s:g}s"
    predictions = [
        {"safe_regex": {"regex": wire.path_expression(model, kind="prediction")}} for model in desired.models
    ]
    return [
        # Which model a revision holds is decided by the rollout; a load or unload request would go around it.
        _answer("closed", {"prefix": "/v2/repository"}, 404, "models are changed with slipway, not over the endpoint"),
        *_pinned_routes(desired, timeout),
        *(route for name in sorted(split.header_arms) for route in _arm_routes(name, timeout)),
        _answer(
            "arm",
            {"prefix": "/", "headers": [{"name": wire.ARM_HEADER, "present_match": True}]},
            404,
            f"no revision of that name can be chosen with {wire.ARM_HEADER}",
        ),
        *(_split_route(path, split, epoch, timeout, key) for path in predictions for key in _keys(split)),
        *(
            _split_route({"path": wire.GRPC_INFER, "grpc": {}}, split, epoch, timeout, key, GRPC)
            for key in _keys(split)
        ),
        _plain_route("other", {"prefix": "/", "grpc": {}}, desired.answering, timeout, GRPC),
        _plain_route("other", {"prefix": "/"}, desired.answering, timeout),
    ]


def _pinned_routes(desired: WantedState, timeout: str) -> Iterable[dict[str, Any]]:
    """A version that no request can reach otherwise may be on its way out, and is no longer there for these either."""
    for name in sorted(desired.reached & desired.revisions.keys()):
        revision = desired.revisions[name]
        named = wire.path_expression(revision.model, pinned=re.escape(str(revision.version)))
        yield _plain_route("pinned", {"safe_regex": {"regex": named}}, name, timeout)
    for model in desired.models:
        named = wire.path_expression(model, pinned=wire.ANY_VERSION)
        yield _answer("pinned", {"safe_regex": {"regex": named}}, 404, f"no such version of {model} takes requests now")


def _keys(split: Split) -> tuple[str | None, ...]:
    """First the requests that have a key; Envoy would send all with an empty one to the same arm."""
    return (None,) if split.sticky_header is None else (split.sticky_header, None)


def _split_route(
    path: Mapping[str, Any], split: Split, epoch: str, timeout: str, key_header: str | None, port: str = ""
) -> dict[str, Any]:
    # In the order of names, whatever order the weights came in: a sticky hash then keeps a user on the canary as the
    # canary's share grows.
    arms = [
        {"name": name + port, "weight": weight, "response_headers_to_add": [_revision(name)]}
        for name, weight in sorted(split.weights.items())
    ]
    weighted: dict[str, Any] = {"clusters": arms}
    action: dict[str, Any] = {"timeout": timeout, "weighted_clusters": weighted}
    matched: list[dict[str, Any]] = [{"name": ":method", "string_match": {"exact": "POST"}}]
    added = [_header(wire.EPOCH_HEADER, epoch)]
    if key_header is not None:
        weighted["use_hash_policy"] = True
        action["hash_policy"] = [{"header": {"header_name": key_header}}]
        matched += [
            {"name": key_header, "present_match": True},
            {"name": key_header, "string_match": {"exact": ""}, "invert_match": True},
        ]
        added.append(_formatted(wire.KEY_HEADER, f"%REQ({key_header})%"))
    if split.mirror is not None:
        action["request_mirror_policies"] = [{"cluster": MIRROR_CLUSTER + port}]
        added.append(_header(wire.MIRROR_HEADER, split.mirror + port))
    return {
        "name": SPLIT_ROUTE + epoch,
        "match": {**path, "headers": matched},
        "route": action,
        "request_headers_to_add": added,
        "response_headers_to_add": [_header(wire.EPOCH_HEADER, epoch)],
    }


def _copy_route() -> dict[str, Any]:
    return {"name": MIRROR_ROUTE, "match": {"prefix": "/"}, "route": {"cluster_header": wire.MIRROR_HEADER}}


def _arm_routes(name: str, timeout: str) -> list[dict[str, Any]]:
    chosen = {"prefix": "/", "headers": [{"name": wire.ARM_HEADER, "string_match": {"exact": name}}]}
    return [
        _plain_route("arm" + GRPC, {**chosen, "grpc": {}}, name, timeout, GRPC),
        _plain_route("arm", chosen, name, timeout),
    ]


def _plain_route(name: str, match: Mapping[str, Any], revision: str, timeout: str, port: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "match": match,
        "route": {"cluster": revision + port, "timeout": timeout},
        "response_headers_to_add": [_revision(revision)],
    }


def _answer(name: str, match: Mapping[str, Any], status: int, sentence: str) -> dict[str, Any]:
    direct = {"status": status, "body": {"inline_string": sentence}}
    return {"name": name, "match": match, "direct_response": direct}


def _revision(name: str) -> dict[str, Any]:
    return _header(wire.REVISION_HEADER, name)


def _header(name: str, value: str) -> dict[str, Any]:
    return _formatted(name, value.replace("%", "%%"))


def _formatted(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _clusters(name: str, at: Endpoint) -> list[dict[str, Any]]:
    grpc = _cluster(name + GRPC, at.grpc, "http2_protocol_options")
    return [_cluster(name, at.http, "http_protocol_options"), {**grpc, "alt_stat_name": name}]


def _cluster(name: str, port: int, protocol: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            options: {
                "@type": TYPES + options,
                "common_http_protocol_options": {"idle_timeout": IDLE_TIMEOUT},
                "explicit_http_config": {protocol: {}},
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
            # As ``serving.wire.normal_path``; what is forwarded is what was matched.
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
            # Benchmark tools, and other proxies unless they are told otherwise, speak HTTP/1.0.
            "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "slipway"},
            "use_remote_address": True,
            "preserve_external_request_id": True,  # a caller's id joins its answer with its labels
            "always_set_request_id_in_response": False,  # it would replace the id that the model server made
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
