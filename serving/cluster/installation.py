"""What an installation of KServe can do, and which way of moving traffic follows from it.

A field that the controller of an installation does not know is dropped without a word, and one that it knows but does
not act on is kept without effect. Both end with all traffic on a version that should have had a little, so a way is
refused here unless what it needs was found.
"""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from serving.cluster.client import CONFIG_MAP, CRD, DEPLOYMENT, Cluster, Object
from serving.errors import ConfigError, InfrastructureError
from serving.frozen import Frozen

Way = Literal["route", "standard", "knative"]
UNKNOWN = "unknown"
SPLITS_FROM = (0, 21)  # 0.20 has the field spec.canary and gives it pods, but no traffic


class CapabilitiesOfInstallation(Frozen):
    """What was found.

    Attributes:
        kserve: version of the controller such as ``0.20.0``; ``unknown`` where it cannot be read, None without KServe.
        canary, canary_percent: whether an InferenceService has ``spec.canary`` and ``canaryTrafficPercent``.
        routes: versions of HTTPRoute that are served, empty without the Gateway API.
        knative: Knative Serving is there.
        default_mode: deployment mode of an InferenceService that names none.
        makes_routes: whether KServe makes HTTPRoutes in Standard mode, and not Ingresses or nothing; None unread.
        unread: what could not be looked at, and why.
    """

    kserve: str | None = None
    canary: bool = False
    canary_percent: bool = False
    routes: tuple[str, ...] = ()
    knative: bool = False
    default_mode: str = UNKNOWN
    makes_routes: bool | None = None
    kubernetes: str = UNKNOWN
    unread: tuple[str, ...] = ()


def probe(cluster: Cluster, *, kserve_namespace: str = "kserve") -> CapabilitiesOfInstallation:
    """Look at *cluster*; parts that this account may not read are ``unknown`` and named.

    Raises:
        InfrastructureError: the API does not answer, or the types that are installed cannot be read.
    """
    services = cluster.get(CRD, None, "inferenceservices.serving.kserve.io")
    routes = cluster.get(CRD, None, "httproutes.gateway.networking.k8s.io")
    knative = cluster.get(CRD, None, "services.serving.knative.dev")
    unread: list[str] = []
    spec, configured = _spec(services), _configuration(cluster, kserve_namespace, unread)
    return CapabilitiesOfInstallation(
        kserve=None if services is None else _version(cluster, services, kserve_namespace, unread),
        canary="canary" in spec,
        canary_percent="canaryTrafficPercent" in spec.get("predictor", {}).get("properties", {}),
        routes=_served(routes),
        knative=knative is not None,
        default_mode=str((configured or {}).get("deploy", {}).get("defaultDeploymentMode", UNKNOWN)),
        makes_routes=None if configured is None else _makes_routes(configured.get("ingress", {})),
        kubernetes=_kubernetes(cluster),
        unread=tuple(unread),
    )


def choose(found: CapabilitiesOfInstallation, wanted: str | None = None) -> Way:
    """The way to move traffic: *wanted* if the installation does it, else the first that it does.

    Raises:
        ConfigError: the installation would ignore what *wanted* writes, or does none of the ways.
    """
    ways: tuple[Way, ...] = ("route", "standard", "knative")
    reasons = {way: reason_against(found, way) for way in ways if wanted in (None, way)}
    if not reasons:
        raise ConfigError(f"no way to move traffic is called {wanted!r}: expected one of {', '.join(ways)}")
    for way, reason in reasons.items():
        if not reason:
            return way
    told = "; ".join(dict.fromkeys(reasons.values()))
    if wanted is None:
        raise ConfigError(f"no traffic can be moved in this cluster: {told}")
    raise ConfigError(f"traffic cannot be moved by '{wanted}': {told}")


def reason_against(found: CapabilitiesOfInstallation, way: Way) -> str:
    """Why *way* would have no effect here; empty when it works."""
    if found.kserve is None:
        return "KServe is not installed (no InferenceService type); install it with: make deploy"
    if way == "route":
        return "" if "v1" in found.routes else "the Gateway API is not installed (no HTTPRoute of version v1)"
    if way == "standard":
        return _against_standard(found)
    if not found.knative:
        return "Knative Serving is not installed, and without it KServe keeps canaryTrafficPercent and ignores it"
    return "" if found.canary_percent else "this InferenceService has no canaryTrafficPercent"


def _against_standard(found: CapabilitiesOfInstallation) -> str:
    if not found.canary:
        return f"KServe {found.kserve} has no spec.canary and would drop it; use the way 'route'"
    number = _number(found.kserve or "")
    if number is None:
        return "the version of KServe cannot be read, and before 0.21 spec.canary divides nothing; use the way 'route'"
    if number < SPLITS_FROM:
        return f"KServe {found.kserve} takes spec.canary but divides no traffic before 0.21; use the way 'route'"
    if "v1" not in found.routes:
        return "KServe divides traffic by HTTPRoutes only, and the Gateway API is missing"
    if not found.makes_routes:
        why = "says otherwise" if found.makes_routes is False else "cannot be read"
        return (
            "KServe divides traffic by HTTPRoutes only, which it makes with ingress.enableGatewayApi and without "
            f"ingress.disableIngressCreation, and its configuration inferenceservice-config {why}; use the way 'route'"
        )
    return ""


def _number(version: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def _spec(crd: Object | None) -> Mapping[str, Any]:
    for version in (crd or {}).get("spec", {}).get("versions", ()):
        if version.get("name") == "v1beta1":
            schema = version.get("schema", {}).get("openAPIV3Schema", {})
            properties: Mapping[str, Any] = schema.get("properties", {}).get("spec", {}).get("properties", {})
            return properties
    return {}


def _served(crd: Object | None) -> tuple[str, ...]:
    versions = (crd or {}).get("spec", {}).get("versions", ())
    return tuple(version["name"] for version in versions if version.get("served"))


def _version(cluster: Cluster, crd: Object, namespace: str, unread: list[str]) -> str:
    labelled = crd["metadata"].get("labels", {}).get("app.kubernetes.io/version")
    try:
        manager = cluster.get(DEPLOYMENT, namespace, "kserve-controller-manager")
    except InfrastructureError as error:
        unread.append(f"KServe's version: {error}")
        return str(labelled or UNKNOWN)
    for container in (manager or {}).get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
        tagged = re.search(r":v?(\d+\.\d+[\w.+-]*)", container.get("image", ""))
        if container.get("name") == "manager" and tagged:
            return tagged[1]
    return str(labelled or UNKNOWN)


def _configuration(cluster: Cluster, namespace: str, unread: list[str]) -> dict[str, Mapping[str, Any]] | None:
    """KServe's own, by part; None where it cannot be read."""
    try:
        found = cluster.get(CONFIG_MAP, namespace, "inferenceservice-config")
    except InfrastructureError as error:
        unread.append(f"KServe's configuration: {error}")
        return None
    parts: dict[str, Mapping[str, Any]] = {}
    for name, text in (found or {}).get("data", {}).items():
        with contextlib.suppress(ValueError):
            part = json.loads(text)
            parts[name] = part if isinstance(part, dict) else {}
    return parts


def _makes_routes(ingress: Mapping[str, Any]) -> bool:
    return bool(ingress.get("enableGatewayApi")) and not ingress.get("disableIngressCreation")


def _kubernetes(cluster: Cluster) -> str:
    with contextlib.suppress(InfrastructureError):
        return cluster.server_version()
    return UNKNOWN
