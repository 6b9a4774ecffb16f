"""One HTTPRoute that divides the traffic of one model between two revisions.

The route has four rules and never more or fewer, and its split has two references, A and B, that never change places,
lose their weight or go away. Envoy names its clusters and statistics by these positions, and drops requests for the
moment in which a weighted reference comes or goes. What may change is what a slot points at, which only changes the
endpoints of a cluster, and its weight, which stays at least 1 of 1,000,000.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from serving.cluster.manifest import FENCE, Installation, Object, check_name, host, labels_of, service_name
from serving.errors import ConfigError
from serving.rollout.backend import WEIGHT_SUM, Split

SlotName = Literal["A", "B"]

WEIGHT_TOTAL = 1_000_000
RESTING = 1  # of WEIGHT_TOTAL: a slot without share keeps its cluster in Envoy
ARM_A, ARM_B, SPLIT, OTHER = range(4)  # positions of the route's rules
PORT = 80  # of the Services that KServe makes
TIMEOUT = "60s"

EPOCH, STABLE_SLOT = "slipway.dev/epoch", "slipway.dev/stable-slot"
ARM_HEADER, EPOCH_HEADER, REVISION_HEADER = "x-model-arm", "x-epoch", "x-revision"
UNREACHABLE = "-"  # value of the arm header while an arm cannot be chosen by header; no revision is called so

_TOKEN = re.compile(r"[A-Za-z0-9._:@+/=-]{1,200}")


@dataclass(frozen=True)
class BackendRef:
    """One of the two references of a split: the revision it points at, and its weight of ``WEIGHT_TOTAL``."""

    revision: str
    weight: int


@dataclass(frozen=True)
class Route:
    """All that the traffic of one model depends on.

    Attributes:
        stable: slot that answers what is no prediction (metadata, readiness).
        epoch: token of this write; it comes back in the header ``x-epoch`` of every divided answer.
        mirror: revision that gets a copy of each divided request.
        header_arms: revisions that ``x-model-arm`` may choose; others are not reachable by header.
    """

    model: str
    a: BackendRef
    b: BackendRef
    epoch: str
    stable: SlotName = "A"
    mirror: str | None = None
    header_arms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.a.weight + self.b.weight != WEIGHT_TOTAL or min(self.a.weight, self.b.weight) < RESTING:
            raise ValueError(
                f"weights must be at least {RESTING} and sum to {WEIGHT_TOTAL}, "
                f"seen A={self.a.weight} and B={self.b.weight}"
            )
        if not _TOKEN.fullmatch(self.epoch):
            raise ValueError(
                f"an epoch token is sent as a header: expected letters, digits, ._:@+/=-, got {self.epoch!r}"
            )

    @property
    def slots(self) -> tuple[BackendRef, BackendRef]:
        return self.a, self.b

    def weights(self) -> dict[str, int]:
        """Revision to weight; a revision in both slots has all of it."""
        sums: dict[str, int] = {}
        for slot in self.slots:
            sums[slot.revision] = sums.get(slot.revision, 0) + slot.weight
        return sums

    def split(self) -> Split:
        """The split in per mille; resting weights count as none."""
        shares = {name: round(weight * WEIGHT_SUM / WEIGHT_TOTAL) for name, weight in self.weights().items()}
        weights = {name: share for name, share in shares.items() if share > 0}
        return Split(weights=weights, mirror=self.mirror, header_arms=self.header_arms)


def resting(model: str, revision: str, epoch: str, stable: SlotName = "A") -> Route:
    """Both slots at one revision: the state between rollouts."""
    a, b = _weights(stable, 0)
    return Route(model, BackendRef(revision, a), BackendRef(revision, b), epoch, stable)


def divided(route: Route, split: Split, epoch: str) -> Route:
    """*route* with *split* in its slots: each revision stays in the slot it has, and a new one takes the slot that is
    not the stable one.

    Raises:
        ValueError: *split* needs more than two revisions, a hash of a header, or the slot of the stable revision while
            that still has weight.
    """
    if split.sticky_header is not None:
        raise ValueError("the Gateway API's weights are drawn for each request; a sticky header needs another backend")
    if sum(split.weights.values()) != WEIGHT_SUM or min(split.weights.values(), default=0) < 0:
        raise ValueError(f"weights must be per mille and sum to {WEIGHT_SUM}, seen {dict(split.weights)}")
    stable, other = (route.a, route.b) if route.stable == "A" else (route.b, route.a)
    wanted = [name for name in split.weights if name != stable.revision]
    also = filter(None, (split.mirror, *split.header_arms))
    wanted += sorted({name for name in also if name not in (stable.revision, *wanted)})
    if len(wanted) > 1:
        raise ValueError(f"a route divides between {stable.revision} and one other revision, asked for {wanted}")
    share = split.weights.get(wanted[0], 0) if wanted else 0
    named = wanted[0] if wanted else other.revision  # at weight 0 the candidate keeps its slot until it is removed
    a, b = _weights(route.stable, share)
    revisions = (stable.revision, named) if route.stable == "A" else (named, stable.revision)
    return Route(
        route.model,
        BackendRef(revisions[0], a),
        BackendRef(revisions[1], b),
        epoch,
        route.stable,
        split.mirror,
        tuple(sorted(set(split.header_arms))),
    )


def adopted(route: Route, revision: str, epoch: str) -> Route:
    """*revision* in both slots, weights as they are: nobody's traffic moves that was not its already.

    Raises:
        ValueError: another revision still has more than a resting weight.
    """
    if any(slot.weight > RESTING and slot.revision != revision for slot in route.slots):
        raise ValueError(f"{revision} can be adopted once it has all of the traffic, seen {route.weights()}")
    stable: SlotName = "A" if route.a.weight > route.b.weight else "B"
    return Route(route.model, BackendRef(revision, route.a.weight), BackendRef(revision, route.b.weight), epoch, stable)


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
            "hostnames": [host(route.model, at)],
            "rules": [_arm_rule(route, slot) for slot in route.slots] + [_split_rule(route), _other_rule(route)],
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
        if (len(rules), len(refs)) != (OTHER + 1, 2):
            raise ConfigError(_changed(found, "rules or references were added or removed"))
        a, b = (BackendRef(_revision_of(ref["name"]), int(ref["weight"])) for ref in refs)
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
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(_changed(found, str(error))) from error


def backend_position(slot: SlotName) -> str:
    """How Envoy's statistics name a slot of the split: ``httproute/NAMESPACE/MODEL/`` goes before it."""
    return f"rule/{SPLIT}/backend/{0 if slot == 'A' else 1}"


def _weights(stable: SlotName, share: int) -> tuple[int, int]:
    """Weights of A and B when the slot that is not *stable* has *share* per mille."""
    other = min(max(share * WEIGHT_TOTAL // WEIGHT_SUM, RESTING), WEIGHT_TOTAL - RESTING)
    return (WEIGHT_TOTAL - other, other) if stable == "A" else (other, WEIGHT_TOTAL - other)


def _predictions(model: str) -> Object:
    """Requests that are divided and counted; all else of a model goes to its stable revision."""
    path = rf"/v[12]/models/{re.escape(model)}(/versions/[^/:]+)?(:predict|:explain|/infer)"
    return {"path": {"type": "RegularExpression", "value": path}, "method": "POST"}


def _metadata() -> list[Object]:
    """Not ``/v2/repository``: which revision holds which model is decided by the rollout. Not ``/metrics``."""
    return [{"path": {"type": "PathPrefix", "value": path}} for path in ("/v1/models", "/v2/models", "/v2/health")]


def _arm_rule(route: Route, slot: BackendRef) -> Object:
    value = slot.revision if slot.revision in route.header_arms else UNREACHABLE
    chosen = {"headers": [{"type": "Exact", "name": ARM_HEADER, "value": value}]}
    return {
        "matches": [{**match, **chosen} for match in (_predictions(route.model), *_metadata())],
        "backendRefs": [_ref(slot.revision)],
        "timeouts": {"request": TIMEOUT},
    }


def _epoch(route: Route) -> Object:
    return {"set": [{"name": EPOCH_HEADER, "value": route.epoch}]}


def _split_rule(route: Route) -> Object:
    # In the answer for whoever waits for this write to be in force, in the request for the predictor's own log.
    epoch = _epoch(route)
    filters: list[Object] = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": epoch},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": epoch},
    ]
    if route.mirror is not None:
        backend = {"kind": "Service", "name": service_name(route.mirror), "port": PORT}
        filters.append({"type": "RequestMirror", "requestMirror": {"backendRef": backend, "percent": 100}})
    return {
        "matches": [_predictions(route.model)],
        "filters": filters,
        "backendRefs": [_ref(slot.revision, slot.weight) for slot in route.slots],
        "timeouts": {"request": TIMEOUT},
    }


def _other_rule(route: Route) -> Object:
    stable = route.a if route.stable == "A" else route.b
    return {
        "matches": _metadata(),
        # The proxy takes all rules of a route at once: whether this write is in force can be asked here, uncounted.
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": _epoch(route)}],
        "backendRefs": [_ref(stable.revision)],
        "timeouts": {"request": TIMEOUT},
    }


def _ref(revision: str, weight: int = 1) -> Object:
    # The filter is what makes Envoy draw each request at random and count per reference; plain references are dealt
    # out in turn, and no statistic tells them apart.
    named = {"set": [{"name": REVISION_HEADER, "value": revision}]}
    return {
        "group": "",
        "kind": "Service",
        "name": service_name(revision),
        "port": PORT,
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
