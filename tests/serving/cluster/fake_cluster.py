"""A cluster without a cluster: the API's objects, and what KServe and the gateway make of them while a clock moves.

It keeps to what was seen of the real ones: an InferenceService calls itself ready while its newest pods crash, a route
takes effect some time after its conditions say so, a proxy counts by position and forgets at its restart, a side
without pods gets its share of requests all the same, KServe's webhook refuses what ``kserve_admission`` says, and what
is new in an InferenceService's labels or annotations starts all its pods anew.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from serving.cluster.client import (
    DEPLOYMENT,
    FIELD_MANAGER,
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    POD,
    Kind,
    Object,
    kind_of,
)
from serving.cluster.manifest_route import read_route
from serving.cluster.two_slots import Route
from serving.errors import ConfigError, ConflictError, InfrastructureError
from serving.http_client import Reply
from serving.rollout.controller.desk import Memory
from tests.serving.cluster.kserve_admission import admit
from tests.serving.rollout.fake import Clock

GATEWAY_NS = "envoy-gateway-system"
NAMESPACE = "models"
Names: TypeAlias = list[str]  # aliases: inside the class "list" is the call of the API
Objects: TypeAlias = list[Object]
BOUNDS_MS = (5, 25, 100, 250, 1000)  # of the histograms that both the gateway and the model servers keep
_GATEWAY = {
    "gateway.envoyproxy.io/owning-gateway-name": "kserve-ingress-gateway",
    "gateway.envoyproxy.io/owning-gateway-namespace": "kserve",
}


class Notes(Memory):
    """A memory that outlives the backend that uses it."""

    def __init__(self) -> None:
        self.documents: dict[str, Mapping[str, Any]] = {}

    def get(self, name: str) -> Mapping[str, Any] | None:
        return copy.deepcopy(self.documents.get(name))

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        self.documents[name] = copy.deepcopy(document)


@dataclass
class How:
    """How the pods of a revision behave.

    Attributes:
        loads: seconds from its pods' start until they answer.
        broken: "crash", "image" or "init", empty when it loads.
        dead: its pods have stopped and do not come back.
    """

    loads: float = 0.3
    broken: str = ""
    dead: bool = False
    errors: bool = False
    ms: int = 10
    in_flight: int = 0


@dataclass
class Totals:
    """What a proxy's cluster or a model server has counted since its start."""

    classes: Counter[str] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)
    bins: Counter[str] = field(default_factory=Counter)

    def answer(self, code: int, ms: int | None) -> None:
        self.classes[str(code // 100)] += 1
        if ms is not None:
            self.buckets[next((i for i, bound in enumerate(BOUNDS_MS) if ms <= bound), len(BOUNDS_MS))] += 1
        if code == 200:
            self.bins["1.0" if sum(self.bins.values()) % 2 else "+Inf"] += 1

    def cumulative(self, unit: float) -> list[tuple[str, int]]:
        bounds = [*(f"{bound / unit:g}" for bound in BOUNDS_MS), "+Inf"]
        counts = np.cumsum([self.buckets[i] for i in range(len(bounds))]).tolist()
        return list(zip(bounds, counts, strict=True))


@dataclass(frozen=True)
class Side:
    """One predictor that KServe runs: its Deployment's name, and the revision it was made for."""

    deployment: str
    service: str
    revision: str
    version: str
    replicas: int
    template: str  # of its pods; another one starts them anew
    knative: str = ""


Sides: TypeAlias = list[Side]
Services: TypeAlias = list[tuple[str, Object]]


class FakeCluster:
    """``Cluster`` in memory. *converges*: seconds from a write of a route until traffic follows it."""

    def __init__(self, clock: Clock, *, converges: float = 0.2, seed: int = 0) -> None:
        self.clock, self.converges = clock, converges
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.how: dict[str, How] = {}
        self.gateway: dict[str, Totals] = {}
        self.lost = 0
        self.servers: dict[str, Totals] = {}
        self.writes: list[tuple[str, str, Object]] = []  # call, name, object as it then was
        self.fault: Callable[[str], None] = lambda call: None
        self.proxies = ["envoy-1"]
        self.probes = True
        self.restarted: list[str] = []  # Deployments whose pods were started anew, and templates of Knative alike
        self._born: dict[str, float] = {}  # Deployment to when its pods were started
        self._templates: dict[str, str] = {}  # by Deployment
        self._effective: list[tuple[float, Object]] = []  # routes and when traffic follows them
        self._knative: list[tuple[str, str, str]] = []  # revision of Knative, ours, version
        self._rolled_out = ""
        self._frozen: Object | None = None
        self._version = 0
        self._owed: dict[str, int] = {}  # to each side of a rota
        self._rng = np.random.default_rng(seed)

    # the protocol

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        self.fault("get")
        self._reconcile()
        found = self.objects.get((kind.plural, namespace or "", name))
        return copy.deepcopy(found)

    def apply(self, obj: Object) -> Object:
        self.fault("apply")
        return self._applied(obj, FIELD_MANAGER)

    def patch(self, kind: Kind, namespace: str | None, name: str, body: Object, *, part: str = "") -> Object:
        self.fault("patch")
        merged = merge(copy.deepcopy(self.objects[kind.plural, namespace or "", name]), body)
        if "resourceVersion" not in body.get("metadata", {}):
            merged["metadata"].pop("resourceVersion", None)
        return self._store(kind, merged, call=f"patch {part}".strip())

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        self.fault("delete")
        found = self.objects.pop((kind.plural, namespace, name), None)
        if found is not None:
            self.writes.append(("delete", name, found))
        self._reconcile()

    def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Object]:
        self.fault("list")
        self._reconcile()
        if kind == POD and namespace == GATEWAY_NS:
            return [_pod(name, _GATEWAY, ready=True) for name in self.proxies]
        return [
            copy.deepcopy(obj)
            for (plural, where, _), obj in self.objects.items()
            if plural == kind.plural
            and where == (namespace or where)
            and labels.items() <= obj["metadata"].get("labels", {}).items()
        ]

    def answer(self, namespace: str, pod: str, port: int, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        self.fault("metrics" if namespace != GATEWAY_NS else "stats" if port == 19001 else "answer")
        self._reconcile()
        if namespace == GATEWAY_NS and port == 19001:
            return Reply(200, self._gateway_text().encode())
        if namespace == GATEWAY_NS and port == 10080:
            return self._through_gateway(path, headers or {})
        server = self.servers.get(pod)
        if server is None:
            raise InfrastructureError(f"pod {pod} does not answer")
        return Reply(200, self._server_text(pod, server).encode())

    def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        return "Traceback\nGateRefusal: the signature of the bundle is nobody's that is trusted"

    def server_version(self) -> str:
        return "v1.34.4"

    # what a test does to it

    def behaves(self, revision: str) -> How:
        return self.how.setdefault(revision, How())

    def send(self, n: int, *, arm: str | None = None) -> Names:
        """*n* predictions through the gateway; the revision that answered or failed each."""
        self._reconcile()
        route = self._in_force()
        if self._knative:
            return [self._reach(self._knative_choice(), None) for _ in range(n)]
        return [] if route is None else [self._one(route, arm) for _ in range(n)]

    def restart_proxy(self, name: str | None = None) -> None:
        """The proxy starts anew, in its pod or as another pod."""
        self.gateway.clear()
        self.lost = 0
        if name is not None:
            self.proxies = [name]

    def edit(self, kind: Kind, name: str, body: Object, manager: str = "kubectl-edit") -> Object:
        """Somebody else's merge patch, as of ``kubectl edit``, which owns from then on what it changes."""
        before = self.objects.get((kind.plural, NAMESPACE, name))
        whole = copy.deepcopy(before) or {
            "apiVersion": f"{kind.group}/{kind.version}",
            "kind": kind.plural,
            "metadata": {},
        }
        named = {"metadata": {"name": name, "namespace": NAMESPACE, "uid": f"uid of {name}"}}
        own = {part: value for part, value in body.items() if part in ("metadata", "spec")}
        return self._store(kind, self._owned(merge(merge(whole, named), body), own, manager), call="edit")

    def touch_status(self, name: str, kind: Kind = HTTP_ROUTE) -> None:
        """The gateway or KServe writes conditions into the object between two calls of ours."""
        self._bump(self.objects[kind.plural, NAMESPACE, name])

    def change_in_place(self, revision: str, broken: str) -> None:
        """Somebody changes a running model to one that does not load: the old pods serve on."""
        found = self.objects[INFERENCE_SERVICE.plural, NAMESPACE, revision]
        deployment = self.objects[DEPLOYMENT.plural, NAMESPACE, f"{revision}-predictor"]
        found["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
        deployment["metadata"]["generation"] += 1
        deployment["status"] |= {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": 2,
            "updatedReplicas": 1,
            "unavailableReplicas": 1,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}],
        }
        side = next(side for side in self._sides() if side.revision == revision)
        labels = self._labels(side)
        new = _pod(f"{revision}-new", labels, ready=False, broken=broken)
        self.objects[POD.plural, NAMESPACE, f"{revision}-new"] = new
        self._frozen = deployment

    # KServe

    def _sides(self) -> Sides:
        found = []
        for (plural, _, name), service in list(self.objects.items()):
            if plural != INFERENCE_SERVICE.plural:
                continue
            if service["metadata"]["annotations"].get("serving.kserve.io/deploymentMode") == "Knative":
                continue
            for side in [service["spec"]["predictor"], *(c["predictor"] for c in service["spec"].get("canary") or ())]:
                env = {variable["name"]: variable["value"] for variable in side["model"]["env"]}
                deployment = f"{name}-{side['name']}-predictor" if "name" in side else f"{name}-predictor"
                replicas = int(side.get("minReplicas", 1))
                if side is service["spec"]["predictor"]:
                    replicas = self._left(name, service)
                template = _template(service, side)
                revision = env["SLIPWAY_REVISION"]
                found.append(Side(deployment, name, revision, env["SLIPWAY_VERSION"], replicas, template))
        return found + self._knative_sides()

    def _left(self, name: str, service: Object) -> int:
        """Replicas of the stable side: KServe moves to a canary that is ready what it has, and leaves one."""
        asked = int(service["spec"]["predictor"].get("minReplicas", 1))
        canaries = [c["predictor"] for c in service["spec"].get("canary") or ()]
        taken = [int(c["minReplicas"]) for c in canaries if self._available(f"{name}-{c['name']}-predictor")]
        return max(asked - sum(taken), 1) if taken else asked

    def _knative_sides(self) -> Sides:
        services = {name for plural, _, name in self.objects if plural == INFERENCE_SERVICE.plural}
        return [
            Side(f"{knative}-deployment", service, revision, version, 1, "", knative)
            for knative, revision, version in self._knative
            if (service := knative.rpartition("-predictor-")[0]) in services
        ]

    def _reconcile(self) -> None:
        self._make_knative_revisions()
        sides = self._sides()
        wanted = {side.deployment for side in sides}
        for key in [k for k in self.objects if k[0] in (DEPLOYMENT.plural, POD.plural)]:
            owner = self.objects[key]["metadata"]["labels"]["owner"]
            if owner not in wanted:
                del self.objects[key]
                self._born.pop(owner, None)
                self._templates.pop(owner, None)
                self.servers.pop(key[2], None)
        for side in sides:
            self._run(side)
        self._own_routes()
        self._knative_status()

    def _run(self, side: Side) -> None:
        born = self._born.setdefault(side.deployment, self.clock.now)
        if self._templates.setdefault(side.deployment, side.template) != side.template:
            self.restarted.append(side.deployment)
            self._templates[side.deployment] = side.template
        how = self.behaves(side.revision)
        up = not how.broken and not how.dead and self.clock.now >= born + how.loads
        if self._frozen is None or self._frozen["metadata"]["name"] != side.deployment:
            self.objects[DEPLOYMENT.plural, NAMESPACE, side.deployment] = self._deployment(side, up, how)
        for number in range(side.replicas):
            name = f"{side.deployment}-{number}"
            pod = _pod(name, self._labels(side), ready=up, broken=how.broken, revision=side.revision)
            self.objects[POD.plural, NAMESPACE, name] = pod
            if up:
                self.servers.setdefault(name, Totals())

    def _deployment(self, side: Side, up: bool, how: How) -> Object:
        complete = up or how.dead
        reason = "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated"
        return {
            "metadata": {"name": side.deployment, "generation": 1, "labels": {"owner": side.deployment}},
            "spec": {"replicas": side.replicas},
            "status": {
                "observedGeneration": 1,
                "replicas": side.replicas,
                "updatedReplicas": side.replicas,
                "availableReplicas": side.replicas if up else 0,
                "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
            },
        }

    def _labels(self, side: Side) -> dict[str, str]:
        return {
            "owner": side.deployment,
            "app": f"isvc.{side.deployment}",
            "serving.kserve.io/inferenceservice": side.service,
            "serving.knative.dev/revision": side.knative,
            "test/version": side.version,
            "test/revision": side.revision,
        }

    def _own_routes(self) -> None:
        """The routes that KServe makes in Standard mode for a named stable side and its ready canaries."""
        for (plural, _, name), service in list(self.objects.items()):
            if plural != INFERENCE_SERVICE.plural or "name" not in service["spec"]["predictor"]:
                continue
            entries = service["spec"].get("canary") or []
            shares = {f"{name}-{c['predictor']['name']}-predictor": c["trafficPercent"] for c in entries}
            shares = {side: share for side, share in shares.items() if self._available(side)}
            stable = f"{name}-{service['spec']['predictor']['name']}-predictor"
            refs = [{"name": stable, "weight": 100 - sum(shares.values())}]
            refs += [{"name": side, "weight": share} for side, share in shares.items()]
            route = {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "labels": service["metadata"]["labels"],
                    "ownerReferences": [{"kind": "InferenceService", "name": name}],
                },
                "spec": {"rules": [{"backendRefs": refs}, {"backendRefs": refs}]},  # calls of gRPC, and all else
            }
            known = self.objects.get((HTTP_ROUTE.plural, NAMESPACE, name))
            if known is None or known["spec"] != route["spec"]:
                self._store(HTTP_ROUTE, route, call="kserve")

    def _available(self, deployment: str) -> bool:
        found = self.objects.get((DEPLOYMENT.plural, NAMESPACE, deployment))
        return found is not None and bool(found["status"]["availableReplicas"])

    def _make_knative_revisions(self) -> None:
        for name, service in self._knative_services():
            env = {v["name"]: v["value"] for v in service["spec"]["predictor"]["model"]["env"]}
            template, before = _template(service, service["spec"]["predictor"]), self._templates.get(name)
            if template != before:
                self._templates[name] = template
                if self._knative and self._knative[-1][1] == env["SLIPWAY_REVISION"]:
                    self.restarted.append(name)
                number = f"{name}-predictor-{len(self._knative) + 1:05d}"
                self._knative.append((number, env["SLIPWAY_REVISION"], env["SLIPWAY_VERSION"]))

    def _knative_services(self) -> Services:
        return [
            (name, service)
            for (plural, _, name), service in self.objects.items()
            if plural == INFERENCE_SERVICE.plural
            and service["metadata"]["annotations"].get("serving.kserve.io/deploymentMode") == "Knative"
        ]

    def _knative_status(self) -> None:
        for _, service in self._knative_services():
            created = self._knative[-1][0]
            ready = [k for k, _, _ in self._knative if self._available(f"{k}-deployment")]
            percent = service["spec"]["predictor"].get("canaryTrafficPercent")
            if not self._rolled_out or percent in (None, 100):
                percent = 100
                self._rolled_out = created if created in ready else self._rolled_out
            latest = ready[-1] if ready else created
            traffic = [{"revisionName": latest, "latestRevision": True, "percent": percent}]
            if percent < 100:
                traffic.append({"revisionName": self._rolled_out, "percent": 100 - percent})
            status = {
                "latestCreatedRevision": created,
                "latestReadyRevision": latest if ready else None,
                "latestRolledoutRevision": self._rolled_out,
                "traffic": traffic,
            }
            service["status"] = {"components": {"predictor": status}}

    # the gateway

    def _in_force(self) -> Object | None:
        due = [route for at, route in self._effective if at <= self.clock.now]
        return due[-1] if due else None

    def _one(self, route: Object, arm: str | None) -> str:
        if "ownerReferences" in route["metadata"]:
            return self._reach(self._dealt(route["spec"]["rules"][-1]["backendRefs"]), None)
        read = read_route(route)
        if arm is not None and arm in read.header_arms:
            return self._reach(f"{arm}-predictor", None)
        return self._divided(read)

    def _divided(self, route: Route) -> str:
        share = route.b.weight / (route.a.weight + route.b.weight)
        position = int(self._rng.random() < share)
        slot, where = route.slots[position], f"httproute/{NAMESPACE}/{route.model}/rule/2"
        revision = self._reach(f"{slot.revision}-predictor", f"{where}/backend/{position}")
        if route.mirror is not None:
            self._reach(f"{route.mirror}-predictor", f"{where}-mirror-2")
        return revision

    def _dealt(self, refs: Objects) -> str:
        """References without filters of their own are dealt out in turn, by weight."""
        owed = {str(ref["name"]): self._owed.get(ref["name"], 0) + int(ref["weight"]) for ref in refs}
        chosen = max(owed, key=lambda name: owed[name])
        self._owed = owed | {chosen: owed[chosen] - sum(int(ref["weight"]) for ref in refs)}
        return chosen

    def _knative_choice(self) -> str:
        traffic = self._knative_services()[0][1]["status"]["components"]["predictor"]["traffic"]
        weights = np.array([entry["percent"] for entry in traffic], dtype=float)
        chosen = traffic[int(self._rng.choice(len(traffic), p=weights / weights.sum()))]
        return f"{chosen['revisionName']}-deployment"

    def _reach(self, deployment: str, counted_as: str | None) -> str:
        side = next((side for side in self._sides() if side.deployment == deployment), None)
        revision = side.revision if side is not None else deployment.removesuffix("-predictor")
        how, up = self.behaves(revision), side is not None and self._available(deployment)
        code = 503 if not up else 500 if how.errors else 200
        if counted_as is not None and up:
            self.gateway.setdefault(counted_as, Totals()).answer(code, how.ms)
        elif counted_as is not None:
            self.lost += 1  # no endpoint, no cluster: the proxy counts it for nobody
        if up:
            self.servers[f"{deployment}-0"].answer(code, how.ms)
        return revision

    def _through_gateway(self, path: str, headers: Mapping[str, str]) -> Reply:
        route = self._in_force()
        if not self.probes:
            raise InfrastructureError("no way to the proxy")
        if route is None or headers.get("Host") not in route["spec"].get("hostnames", ()):
            return Reply(404)
        return Reply(200, b"", {"x-epoch": read_route(route).epoch})

    def _gateway_text(self) -> str:
        lines = []
        for cluster, totals in self.gateway.items():
            for kind, count in totals.classes.items():
                labels = f'envoy_response_code_class="{kind}",envoy_cluster_name="{cluster}"'
                lines.append(f"envoy_cluster_upstream_rq_xx{{{labels}}} {count}")
            for bound, count in totals.cumulative(1):
                labels = f'envoy_cluster_name="{cluster}",le="{bound}"'
                lines.append(f"envoy_cluster_upstream_rq_time_bucket{{{labels}}} {count}")
        lines.append(f'envoy_http_no_cluster{{envoy_http_conn_manager_prefix="http-10080"}} {self.lost}')
        return "\n".join(["# TYPE envoy_cluster_upstream_rq_xx counter", *lines, ""])

    def _server_text(self, pod: str, totals: Totals) -> str:
        labels = self.objects[POD.plural, NAMESPACE, pod]["metadata"]["labels"]
        own = f'model="housing",version="{labels["test/version"]}"'
        lines = [
            f'slipway_requests_total{{{own},verb="predict",code="{kind}00"}} {n}.0'
            for kind, n in totals.classes.items()
        ]
        for bound, count in totals.cumulative(1000):
            lines.append(f'slipway_request_seconds_bucket{{{own},verb="predict",le="{bound}"}} {count}.0')
        low = totals.bins["1.0"]
        lines.append(f'slipway_prediction_value_bucket{{{own},le="1.0"}} {low}.0')
        lines.append(f'slipway_prediction_value_bucket{{{own},le="+Inf"}} {low + totals.bins["+Inf"]}.0')
        lines.append(f"slipway_in_flight{{{own}}} {self.behaves(labels['test/revision']).in_flight}.0")
        return "\n".join(lines)

    # the API

    def _applied(self, obj: Object, manager: str) -> Object:
        """Server-side apply by force: what others own and *obj* does not say stays."""
        metadata = obj["metadata"]
        before = self.objects.get((kind_of(obj).plural, metadata.get("namespace", ""), metadata["name"]), {})
        found = merge(copy.deepcopy(before), obj)
        if "resourceVersion" not in metadata:
            found["metadata"].pop("resourceVersion", None)
        return self._store(kind_of(obj), self._owned(found, obj, manager))

    def _owned(self, found: Object, said: Object, manager: str) -> Object:
        """*found* in which *manager* owns what *said* says, and nobody else does."""
        parts = {part: said[part] for part in ("metadata", "spec") if part in said}
        own, others = _fields(parts), found["metadata"].get("managedFields", [])
        kept = [entry | {"fieldsV1": _minus(entry["fieldsV1"], own)} for entry in others if entry["manager"] != manager]
        mine: Object = next((entry["fieldsV1"] for entry in others if entry["manager"] == manager), {})
        time = f"2026-01-01T00:00:{self.clock.now:020.3f}"
        entry = {"manager": manager, "time": time, "fieldsV1": merge(mine, own)}
        found["metadata"]["managedFields"] = [*kept, entry]
        return found

    def _store(self, kind: Kind, obj: Object, call: str = "apply") -> Object:
        metadata = obj["metadata"]
        key = (kind.plural, metadata.get("namespace", ""), metadata["name"])
        before = self.objects.get(key)
        if (
            before is not None
            and metadata.get("resourceVersion", before["metadata"]["resourceVersion"])
            != (before["metadata"]["resourceVersion"])
        ):
            raise ConflictError(f"{metadata['name']} has been modified")
        if kind.plural == INFERENCE_SERVICE.plural:
            admit(before, obj)
        generation = 1 if before is None else before["metadata"]["generation"] + (before.get("spec") != obj.get("spec"))
        metadata["generation"] = generation
        metadata.setdefault("uid", f"uid of {metadata['name']}")
        if before is not None and "status" in before:
            obj.setdefault("status", before["status"])
        self._bump(obj)
        self.objects[key] = obj
        self.writes.append((call, metadata["name"], copy.deepcopy(obj)))
        if kind.plural == HTTP_ROUTE.plural:
            self._accept(obj)
        self._reconcile()
        return copy.deepcopy(obj)

    def _accept(self, route: Object) -> None:
        told = {"type": "Accepted", "status": "True", "observedGeneration": route["metadata"]["generation"]}
        route["status"] = {"parents": [{"conditions": [told]}]}
        self._effective.append((self.clock.now + self.converges, copy.deepcopy(route)))

    def _bump(self, obj: Object) -> None:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)


def merge(before: Any, body: Any) -> Any:
    """A JSON merge patch."""
    if not isinstance(body, dict):
        return copy.deepcopy(body)
    merged = dict(before) if isinstance(before, dict) else {}
    for name, value in body.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _template(service: Object, side: Object) -> str:
    """What KServe makes pods of: the specification of a side, and labels and annotations of the whole service."""
    metadata = [service["metadata"].get(part, {}) for part in ("labels", "annotations")]
    scaling = ("minReplicas", "maxReplicas", "canaryTrafficPercent")
    return json.dumps([metadata, {k: v for k, v in side.items() if k not in scaling}], sort_keys=True)


def _fields(said: Any) -> Object:
    """The managed fields of what is said; lists are owned as a whole."""
    return {f"f:{name}": _fields(value) for name, value in said.items()} if isinstance(said, dict) else {}


def _minus(fields: Object, taken: Object) -> Object:
    """*fields* without the leaves of *taken*, nor what is empty without them."""
    left = {}
    for name, inner in fields.items():
        rest = _minus(inner, taken[name]) if name in taken else inner
        if name not in taken or (inner and rest):
            left[name] = rest
    return left


def _pod(name: str, labels: Mapping[str, str], *, ready: bool, broken: str = "", revision: str = "") -> Object:
    status: Object = {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    container: Object = {"name": "kserve-container", "ready": ready, "restartCount": 0, "state": {"running": {}}}
    crashed = {
        "restartCount": 3,
        "lastState": {"terminated": {"exitCode": 3}},
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }
    if broken == "crash":
        container |= crashed
    elif broken == "image":
        container["state"] = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    elif broken == "init":
        container["state"] = {"waiting": {"reason": "PodInitializing"}}
        status["initContainerStatuses"] = [{"name": "storage-initializer", "ready": False, **crashed}]
    elif broken:
        raise ConfigError(f"no such fault: {broken!r}")
    status["containerStatuses"] = [container]
    env = [{"name": "SLIPWAY_REVISION", "value": revision}]
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": dict(labels)},
        "spec": {"containers": [{"name": "kserve-container", "env": env}]},
        "status": status,
    }
