"""One HTTPRoute that divides the traffic of one model between two revisions, and the way back from it.

The route has eight rules and never more or fewer: four for HTTP and the same four for gRPC, for which KServe's Services
have another port. The references of both splits are the slots of ``two_slots``, with the same weights. Calls of gRPC
are in the HTTPRoute too, as in those that KServe makes itself: a GRPCRoute may not have the host of an HTTPRoute.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from serving.cluster.manifest import (
    FENCE,
    GRPC_PORT,
    HTTP_PORT,
    Installation,
    Object,
    check_name,
    host,
    labels_of,
    service_name,
    status_host,
)
from serving.cluster.two_slots import BackendRef, Route, RouteSlot, in_total
from serving.errors import BackendRefusal, ConfigError
from serving.wire import (
    ARM_HEADER,
    EPOCH_HEADER,
    GRPC_INFER,
    GRPC_SERVICES,
    REVISION_HEADER,
    ROUTES,
    path_expression,
)

ARM_A, ARM_B, SPLIT, OTHER = range(4)  # positions of the route's rules
GRPC = OTHER + 1  # where those of gRPC begin, in the same order
SPLITS = (SPLIT, GRPC + SPLIT)  # whose requests are counted
TIMEOUT = "60s"

EPOCH, STABLE_SLOT = "slipway.dev/epoch", "slipway.dev/stable-slot"
UNREACHABLE = "-"  # value of the arm header while an arm cannot be chosen by header; no revision is called so


def http_route(route: Route, at: Installation, *, fence: int = 0) -> Object:
    """The HTTPRoute of *route*; *fence* is the token of the lease under which it is written."""
    for slot in route.slots:
        check_name(slot.revision, at.namespace)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": check_name(route.model, at.namespace),
            "namespace": at.namespace,
            "labels": labels_of(route.model),
            "annotations": {EPOCH: route.epoch, FENCE: str(fence), STABLE_SLOT: route.stable},
        },
        "spec": {
            "parentRefs": [
                {
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "name": at.gateway,
                    "namespace": at.gateway_namespace,
                }
            ],
            # Who takes a revision's own address from its InferenceService is divided and counted as everybody is.
            "hostnames": [host(route.model, at), *dict.fromkeys(status_host(s.revision, at) for s in route.slots)],
            "rules": [rule for protocol in (_http(route.model), _grpc()) for rule in _rules(route, protocol)],
        },
    }


def read_route(found: Mapping[str, Any]) -> Route:
    """The way back from an HTTPRoute in the cluster.

    Raises:
        ConfigError: it has not the shape that ``http_route`` gives; somebody else changed it.
    """
    try:
        annotations, rules = found["metadata"]["annotations"], found["spec"]["rules"]
        arms = (_header_value(rule) for rule in rules[:SPLIT])
        refs = rules[SPLIT]["backendRefs"]
        if len(refs) != 2 or len(rules) not in (GRPC, 2 * GRPC):  # an earlier version wrote those of HTTP alone
            raise ConfigError(_changed(found, "rules or references were added or removed"))
        weights = in_total([int(ref.get("weight", 1)) for ref in refs])
        a, b = (BackendRef(_revision_of(ref["name"]), weight) for ref, weight in zip(refs, weights, strict=True))
        mirrors = [f["requestMirror"]["backendRef"]["name"] for f in rules[SPLIT]["filters"] if "requestMirror" in f]
        return Route(
            found["metadata"]["name"],
            a,
            b,
            _set_header(rules[SPLIT]["filters"], EPOCH_HEADER),
            "B" if annotations.get(STABLE_SLOT) == "B" else "A",
            _revision_of(mirrors[0]) if mirrors else None,
            tuple(sorted({arm for arm in arms if arm != UNREACHABLE})),
        )
    except (KeyError, IndexError, TypeError, ValueError, BackendRefusal) as error:
        raise ConfigError(_changed(found, str(error))) from error


def backend_positions(slot: RouteSlot) -> tuple[str, ...]:
    """How Envoy's statistics name a slot of the splits: ``httproute/NAMESPACE/MODEL/`` goes before each."""
    return tuple(f"rule/{rule}/backend/{0 if slot == 'A' else 1}" for rule in SPLITS)


class _Protocol(NamedTuple):
    """What tells the requests of one protocol from others.

    Attributes:
        port: of the Services.
        predictions: match of what is divided and counted.
        readings: matches of what anybody may ask, which the stable revision answers.
        pins: whether a path may name a version.
    """

    port: int
    predictions: Object
    readings: list[Object]
    pins: bool


def _http(model: str) -> _Protocol:
    predictions = {"path": _expression(path_expression(model, kind="prediction")), "method": "POST"}
    return _Protocol(HTTP_PORT, predictions, _metadata(), pins=True)


def _grpc() -> _Protocol:
    """A call names its model in the message, and a host has one model: the server says whether it is that one."""
    grpc = {"headers": [{**_expression("application/grpc.*"), "name": "content-type"}]}
    predictions = {"path": {"type": "Exact", "value": GRPC_INFER}, "method": "POST", **grpc}
    readings = [{"path": {"type": "PathPrefix", "value": f"/{service}"}, **grpc} for service in GRPC_SERVICES]
    return _Protocol(GRPC_PORT, predictions, readings, pins=False)


def _pinned(model: str, revision: str) -> Object:
    """Requests that name the version of *revision*: they reach it, whatever the split is, and are in no count."""
    version = revision.removeprefix(f"{model}-")
    return {"path": _expression(path_expression(model, pinned=re.escape(version)))}


def _expression(text: str) -> Object:
    return {"type": "RegularExpression", "value": text}


def _metadata() -> list[Object]:
    """What anybody may ask, which the stable revision answers; a version that is no slot's it answers with a 404.

    Not ``/v2/repository``: which revision holds which model is decided by the rollout. Not ``/metrics``.
    """
    asked = [route.path for route in ROUTES if route.kind == "reading" and "{" not in route.path]
    under = [{"path": {"type": "PathPrefix", "value": path}} for path in ("/v1/models", "/v2/models")]
    return [*under, *({"path": {"type": "Exact", "value": path}} for path in asked)]


def _rules(route: Route, protocol: _Protocol) -> list[Object]:
    arms = [_arm_rule(route, slot, protocol) for slot in route.slots]
    return [*arms, _split_rule(route, protocol), _other_rule(route, protocol)]


def _arm_rule(route: Route, slot: BackendRef, protocol: _Protocol) -> Object:
    value = slot.revision if slot.revision in route.header_arms else UNREACHABLE
    chosen = {"type": "Exact", "name": ARM_HEADER, "value": value}
    asked = [protocol.predictions, *protocol.readings]
    return {
        "matches": [
            *({**match, "headers": [chosen, *match.get("headers", ())]} for match in asked),
            *([_pinned(route.model, slot.revision)] if protocol.pins else ()),
        ],
        "backendRefs": [_ref(slot.revision, protocol.port)],
        "timeouts": {"request": TIMEOUT},
    }


def _epoch(route: Route) -> Object:
    return {"set": [{"name": EPOCH_HEADER, "value": route.epoch}]}


def _split_rule(route: Route, protocol: _Protocol) -> Object:
    # In the answer for whoever waits for this write to be in force, in the request for the predictor's own log.
    epoch = _epoch(route)
    filters: list[Object] = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": epoch},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": epoch},
    ]
    if route.mirror is not None:
        backend = {"kind": "Service", "name": service_name(route.mirror), "port": protocol.port}
        filters.append({"type": "RequestMirror", "requestMirror": {"backendRef": backend, "percent": 100}})
    return {
        "matches": [protocol.predictions],
        "filters": filters,
        "backendRefs": [_ref(slot.revision, protocol.port, slot.weight) for slot in route.slots],
        "timeouts": {"request": TIMEOUT},
    }


def _other_rule(route: Route, protocol: _Protocol) -> Object:
    stable, _ = route.sides
    return {
        "matches": protocol.readings,
        # The proxy takes all rules of a route at once: whether this write is in force can be asked here, uncounted.
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": _epoch(route)}],
        "backendRefs": [_ref(stable.revision, protocol.port)],
        "timeouts": {"request": TIMEOUT},
    }


def _ref(revision: str, port: int, weight: int = 1) -> Object:
    # The filter is what makes Envoy draw each request at random and count per reference; plain references are dealt
    # out in turn, and no statistic tells them apart.
    named = {"set": [{"name": REVISION_HEADER, "value": revision}]}
    return {
        "group": "",
        "kind": "Service",
        "name": service_name(revision),
        "port": port,
        "weight": weight,
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": named}],
    }


def _header_value(rule: Mapping[str, Any]) -> str:
    return str(rule["matches"][0]["headers"][0]["value"])


def _set_header(filters: list[Mapping[str, Any]], name: str) -> str:
    for found in filters:
        for header in found.get("responseHeaderModifier", {}).get("set", ()):
            if header["name"] == name:
                return str(header["value"])
    raise KeyError(name)


def _revision_of(service: str) -> str:
    return service.removesuffix("-predictor")


def _changed(found: Mapping[str, Any], how: str) -> str:
    name = found.get("metadata", {}).get("name", "?")
    return f"HTTPRoute {name!r} is not as it was written ({how}); delete it to have it made again, or restore it"
