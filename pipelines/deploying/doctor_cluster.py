"""What an installation on a cluster needs, what it has, and what to do about the difference. Nothing is changed.

Names of secrets are looked at, what is in them is not.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from pipelines.deploying.doctor import Finding, complaint
from pipelines.deploying.installed import USUAL, Installed
from pipelines.deploying.versions import Found, KnownVersions, Name, judged_versions, versions
from serving.cluster.client import CONFIG_MAP, CRD, DEPLOYMENT, GATEWAY, SECRET, Cluster, Kind
from serving.cluster.installation import CapabilitiesOfInstallation, choose, probe
from serving.errors import ConfigError, InfrastructureError

_T = TypeVar("_T")
DEPLOY, UP = "make deploy", "make kind-up deploy"
KINDS: Mapping[str, Kind] = {
    "Secret": SECRET,
    "ConfigMap": CONFIG_MAP,
    "ServiceAccount": Kind("", "v1", "serviceaccounts"),
    "RoleBinding": Kind("rbac.authorization.k8s.io", "v1", "rolebindings"),
    "ServingRuntime": Kind("serving.kserve.io", "v1alpha1", "servingruntimes"),
    "Deployment": DEPLOYMENT,
    "StatefulSet": Kind("apps", "v1", "statefulsets"),
}
ENDPOINTS = Kind("discovery.k8s.io", "v1", "endpointslices")
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
    ("StatefulSet", "slipway-system", "mlflow"): False,
    ("Deployment", "slipway-system", "prometheus"): False,
    ("Deployment", "slipway-system", "grafana"): False,
}


def installation(
    cluster: Cluster, context: str, health: Callable[[], None], tested: KnownVersions, at: Installed = USUAL
) -> list[Finding]:
    """Every check of *cluster*, in the order in which things depend on each other.

    Args:
        context: how people call the cluster.
        health: raises unless Kubeflow Pipelines answers.
        at: the installation that is meant.

    Raises:
        InfrastructureError: the cluster's API does not answer.
    """
    cluster.server_version()
    unread: dict[str, None] = {}

    def there(kind: Kind, namespace: str | None, name: str) -> Found:
        try:
            return cluster.get(kind, namespace, name)
        except InfrastructureError as error:
            unread[str(error)] = None
            return None

    found = probe(cluster)
    types = {name: there(CRD, None, name) for name in CRDS}
    objects, wanted = _named(OBJECTS, at.namespaces), _named(WORKLOADS, at.namespaces)
    workloads = {name: there(KINDS[name[0]], name[1], name[2]) for name in wanted}
    findings = [
        Finding("cluster", "ok", f"{context}, Kubernetes {found.kubernetes}"),
        *judged_versions(versions(found, types, workloads, at.runs), tested),
        _types(types),
        _way(found),
        _gateway(there(GATEWAY, *at.gateway.split("/", 1)), at.gateway),
        *_objects(objects, {name for name in objects if there(KINDS[name[0]], name[1], name[2]) is not None}),
        *_workloads(wanted, workloads),
        *_store(cluster, at.system),
        _pipelines(complaint(health).partition("; `slipway doctor`")[0], at.runs),
    ]
    return findings + [Finding("rights", "note", f"not looked at: {why}") for why in (*found.unread, *unread)]


def _types(types: Mapping[str, Found]) -> Finding:
    absent = [name for name, found in types.items() if found is None]
    if absent:
        return Finding("types", "fails", f"missing: {', '.join(absent)}", f"make upstream, then {DEPLOY}")
    return Finding("types", "ok", f"{len(types)} of {len(types)} that we use")


def _way(found: CapabilitiesOfInstallation) -> Finding:
    try:
        way = choose(found)
    except ConfigError as error:
        return Finding("traffic", "fails", str(error), UP)
    return Finding("traffic", "ok", f"moves by '{way}', KServe {found.kserve} in mode {found.default_mode}")


def _gateway(gateway: Found, called: str) -> Finding:
    if gateway is None:
        return Finding("gateway", "fails", f"there is no Gateway {called}", DEPLOY)
    conditions = gateway.get("status", {}).get("conditions", ())
    programmed = next((one for one in conditions if one.get("type") == "Programmed"), None)
    if programmed and programmed.get("status") == "True":
        return Finding("gateway", "ok", f"{called} is Programmed")
    why = programmed.get("message", "no reason given") if programmed else "its controller has not looked at it"
    namespace, _, name = called.partition("/")
    remedy = f"kubectl -n {namespace} describe gateway {name}"
    return Finding("gateway", "fails", f"is not Programmed: {why}", remedy)


def _named(usual: Mapping[Name, _T], namespaces: Mapping[str, str]) -> dict[Name, _T]:
    """*usual* with each namespace as it is called here."""
    return {(kind, namespaces.get(place, place), name): told for (kind, place, name), told in usual.items()}


def _objects(objects: Mapping[Name, str], there: Iterable[Name]) -> Iterator[Finding]:
    """One line for each kind."""
    for kind in dict.fromkeys(name[0] for name in objects):
        wanted = [name for name in objects if name[0] == kind]
        missing = [f"{name[1]}/{name[2]} ({objects[name]})" for name in wanted if name not in there]
        subject = re.sub(r"(?<!^)(?=[A-Z])", " ", kind).lower() + "s"  # ServingRuntime: serving runtimes
        if missing:
            yield Finding(subject, "fails", f"missing: {', '.join(missing)}", DEPLOY)
        else:
            yield Finding(subject, "ok", ", ".join(f"{name[1]}/{name[2]}" for name in wanted))


def _workloads(needed: Mapping[Name, bool], workloads: Mapping[Name, Found]) -> Iterator[Finding]:
    """One line for each namespace in which all is well, and one for each piece that is not ready or not there."""
    for namespace in dict.fromkeys(name[1] for name in workloads):
        well, own = [], []
        for name in (one for one in workloads if one[1] == namespace):
            (kind, _, called), found = name, workloads[name]
            if found is None and needed[name]:
                yield Finding(namespace, "fails", f"there is no {kind} {called}", DEPLOY)
            elif found is None:
                own.append(called)
            else:
                wanted = int(found.get("spec", {}).get("replicas", 1))
                ready = int(found.get("status", {}).get("readyReplicas", 0))
                if ready < max(wanted, 1):
                    remedy = f"kubectl -n {namespace} describe {kind.lower()} {called}"
                    yield Finding(namespace, "fails", f"{called}: {ready} of {wanted} pods are ready", remedy)
                else:
                    well.append(called)
        if well:
            yield Finding(namespace, "ok", f"{', '.join(well)} ready")
        if own:
            yield Finding(namespace, "note", f"no {', '.join(own)}: yours are used, or none")


def _store(cluster: Cluster, namespace: str) -> Iterator[Finding]:
    """A line when the Service of the object store is there, and nobody behind it."""
    try:
        slices = cluster.list(ENDPOINTS, namespace, {"kubernetes.io/service-name": "minio"})
    except InfrastructureError:
        return
    endpoints = [endpoint for one in slices for endpoint in one.get("endpoints") or ()]
    ready = [endpoint for endpoint in endpoints if endpoint.get("conditions", {}).get("ready") is not False]
    if slices and not any(endpoint.get("addresses") for endpoint in ready):
        remedy = f"kubectl -n {namespace} describe statefulset minio"
        yield Finding("object store", "fails", f"no pod answers behind Service {namespace}/minio", remedy)


def _pipelines(fault: str, namespace: str) -> Finding:
    if fault:
        return Finding("pipelines", "fails", fault, f"kubectl -n {namespace} logs deployment/ml-pipeline")
    return Finding("pipelines", "ok", "the API answers")
