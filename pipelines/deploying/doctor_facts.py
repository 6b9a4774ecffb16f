"""Gather what ``doctor`` judges: from this machine, and from a cluster if one answers. Nothing is changed."""

import contextlib
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from components.steps.place import Place
from pipelines.checkout import MANIFESTS
from pipelines.deploying.doctor import CRDS, OBJECTS, WORKLOADS, ClusterFacts, Machine, Name
from serving.cluster.client import CONFIG_MAP, CRD, DEPLOYMENT, GATEWAY, SECRET, Cluster, Kind
from serving.cluster.installation import probe
from serving.errors import InfrastructureError, PlaceError, SlipwayError
from serving.http_client import NoAnswer, ask

VERSIONS = MANIFESTS / "versions.yaml"

TOOLS = ("kubectl", "kind")
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
BUNDLE = "gateway.networking.k8s.io/bundle-version"
# Whose image tells the version of a piece: namespace, Deployment and container.
IMAGES = {
    "envoy-gateway": ("envoy-gateway-system", "envoy-gateway", "envoy-gateway"),
    "pipelines": ("kubeflow", "ml-pipeline", "ml-pipeline-api-server"),
}


def machine(place: Place) -> Machine:
    """This machine and what lies below *place*; a place elsewhere is asked whether it answers."""
    return Machine(
        python=sys.version_info[:2],
        home=place.home,
        tools={"envoy": _envoy(), **{tool: shutil.which(tool) for tool in TOOLS}},
        faults={"home": _home(place.root), "ledger": _ledger(place.ledger), "tracking": _tracking(place.tracking)},
    )


def known_versions(versions: Path = VERSIONS) -> dict[str, tuple[str, ...]]:
    """The tested versions of each piece; empty where the manifests are not beside the code."""
    if not versions.is_file():
        return {}
    found = yaml.safe_load(versions.read_text(encoding="utf-8"))
    pieces = {"kubernetes": found["kubernetes"], **found["upstream"]}
    return {name: tuple(piece["tested"]) for name, piece in pieces.items()}


def installation(cluster: Cluster, context: str, health: Callable[[], None]) -> ClusterFacts:
    """What is on *cluster*; *health* raises unless Kubeflow Pipelines answers.

    Raises:
        InfrastructureError: the cluster's API does not answer.
    """
    cluster.server_version()
    unread: list[str] = []

    def there(kind: Kind, namespace: str | None, name: str) -> Mapping[str, Any] | None:
        try:
            return cluster.get(kind, namespace, name)
        except InfrastructureError as error:
            unread.append(str(error))
            return None

    found = probe(cluster)
    types = {name: there(CRD, None, name) for name in CRDS}
    objects = frozenset(name for name in OBJECTS if there(KINDS[name[0]], name[1], name[2]) is not None)
    workloads = {name: there(KINDS[name[0]], name[1], name[2]) for name in WORKLOADS}
    return ClusterFacts(
        context=context,
        capabilities=found,
        versions=_versions(found.kubernetes, found.kserve, types, workloads),
        crds=frozenset(name for name, crd in types.items() if crd is not None),
        objects=objects,
        workloads={name: _ready(obj) for name, obj in workloads.items() if obj is not None},
        gateway=_programmed(there(GATEWAY, "kserve", "kserve-ingress-gateway")),
        store_pods=_addresses(cluster),
        pipelines=_said(health).partition("; `slipway doctor`")[0],
        unread=(*found.unread, *dict.fromkeys(unread)),
    )


def _envoy() -> str | None:
    from serving.local.proxy import envoy_binary

    try:
        return str(envoy_binary())
    except PlaceError:
        return None


def _home(home: Path) -> str:
    """What is wrong with the home, or with the nearest directory above it that is there."""
    existing = next(path for path in (home, *home.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x" * 4096)
    except OSError as error:
        return f"{existing} cannot be written: {error.strerror}"
    return ""


def _ledger(url: str) -> str:
    """A ledger that nobody has made yet is well; it is made on first use."""
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).exists():
        return ""
    from serving.ledger.ledger import open_ledger

    return _said(lambda: open_ledger(url).models())


def _tracking(uri: str) -> str:
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///"):
        return _answers(uri)
    if not path.exists():
        return ""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
            connection.execute("select count(*) from sqlite_master")
    except sqlite3.Error as error:
        return f"{path} cannot be read: {error}"
    return ""


def _answers(uri: str) -> str:
    """What is wrong with the server at *uri*, which tells at ``/health`` that it is well."""
    try:
        reply = ask(uri, "GET", "/health", timeout_s=3)
    except NoAnswer as silence:
        return str(silence)
    return "" if reply.ok else f"{uri} answers {reply.status}"


def _said(call: Callable[[], Any]) -> str:
    """What *call* complains of, empty when it is content."""
    try:
        call()
    except SlipwayError as error:
        return str(error)
    return ""


def _versions(
    kubernetes: str,
    kserve: str | None,
    types: Mapping[str, Mapping[str, Any] | None],
    workloads: Mapping[Name, Mapping[str, Any] | None],
) -> dict[str, str]:
    found = {"kubernetes": kubernetes}
    routes = types.get("httproutes.gateway.networking.k8s.io") or {}
    if bundle := routes.get("metadata", {}).get("annotations", {}).get(BUNDLE):
        found["gateway-api"] = bundle
    if kserve:
        found["kserve"] = kserve
    for piece, (namespace, name, container) in IMAGES.items():
        if version := _tag(workloads.get(("Deployment", namespace, name)), container):
            found[piece] = version
    return found


def _tag(deployment: Mapping[str, Any] | None, container: str) -> str | None:
    for one in (deployment or {}).get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
        if one.get("name") == container and (found := re.search(r":(v?\d[\w.+-]*)", one.get("image", ""))):
            return found[1]
    return None


def _ready(obj: Mapping[str, Any]) -> tuple[int, int]:
    wanted = obj.get("spec", {}).get("replicas", 1)
    return int(obj.get("status", {}).get("readyReplicas", 0)), int(wanted)


def _programmed(gateway: Mapping[str, Any] | None) -> str | None:
    if gateway is None:
        return None
    conditions: Iterable[Mapping[str, Any]] = gateway.get("status", {}).get("conditions", ())
    for condition in conditions:
        if condition.get("type") == "Programmed":
            return "" if condition.get("status") == "True" else str(condition.get("message", "no reason given"))
    return "its controller has not looked at it"


def _addresses(cluster: Cluster) -> int | None:
    try:
        slices = cluster.list(ENDPOINTS, "slipway-system", {"kubernetes.io/service-name": "minio"})
    except InfrastructureError:
        return None
    if not slices:
        return None
    return sum(
        len(endpoint.get("addresses", ()))
        for one in slices
        for endpoint in one.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready") is not False
    )
