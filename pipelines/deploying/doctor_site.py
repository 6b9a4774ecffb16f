"""Whether a site's file can be meant on a cluster, before anything is deployed. Nothing is changed."""

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pipelines.deploying.dist import PIECES
from pipelines.deploying.doctor import Finding
from pipelines.deploying.site import Object, Site, rendered
from serving.cluster.client import GATEWAY, SERVICE, Cluster, Kind

NAMESPACE = Kind("", "v1", "namespaces")
STORAGE_CLASS = Kind("storage.k8s.io", "v1", "storageclasses")
PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "priorityclasses")
USUAL_CLASS = "storageclass.kubernetes.io/is-default-class"
OURS = {"object_store": "minio", "database": "ledger", "tracking": "mlflow"}  # what we bring, and under which name
IN_CLUSTER = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)(\.svc(\.cluster\.local)?)?")
TOLD = 3  # objects that are named

Refused = Callable[[Sequence[Object]], str]


def overlay_of(values: Path) -> str:
    """The overlay that a site's file belongs to: the folder it lies in, or else the one for existing clusters."""
    return values.parent.name if values.parent.name in PIECES else "production"


def findings(cluster: Cluster, site: Site, objects: Sequence[Object], refused: Refused) -> Iterator[Finding]:
    """Every check of *site* against *cluster*.

    Args:
        objects: of the overlay, as kustomize renders it.
        refused: what the API server says against objects without keeping them; empty where it takes them.
    """
    yield _gateway(cluster, site)
    yield _storage(cluster, site)
    yield from _priority(cluster, site)
    if site.own_packages:
        text = f"models may hold code of {site.own_packages}; whether the images have it is not asked from here"
        yield Finding("own code", "note", text)
    for value in OURS:
        yield _address(cluster, site, value)
    yield _taken(cluster, rendered(objects, site), refused)


def dry_run(context: str | None) -> Refused:
    """Asks the API server by ``kubectl apply --dry-run=server``."""
    where = ["--context", context] if context else []

    def ask(objects: Sequence[Object]) -> str:
        command = ["kubectl", *where, "apply", "--dry-run=server", "--server-side", "--force-conflicts", "-f", "-"]
        given = yaml.dump_all(objects, Dumper=yaml.CSafeDumper)
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - words of ours
        return done.stderr if done.returncode else ""

    return ask


def _gateway(cluster: Cluster, site: Site) -> Finding:
    namespace, _, name = site.gateway.partition("/")
    found = cluster.get(GATEWAY, namespace, name)
    if found is not None:
        return _listens(found, site)
    if site.gateway == Site().gateway:
        return Finding("gateway", "note", f"{site.gateway} is not there yet; make deploy brings it")
    remedy = "name one that is there: kubectl get gateways -A"
    return Finding("gateway", "fails", f"GATEWAY: there is no Gateway {site.gateway}", remedy)


def _listens(gateway: Object, site: Site) -> Finding:
    """Whether a listener takes the hosts of models, and routes from their namespace."""
    listeners = gateway.get("spec", {}).get("listeners", ())
    hosts = [one.get("hostname", "") for one in listeners if one.get("protocol") in ("HTTP", "HTTPS")]
    if not any(not host or f"x.{site.host}".endswith(host.removeprefix("*")) for host in hosts):
        text = f"HOST: no listener of {site.gateway} takes NAME.{site.host}, they take {', '.join(hosts)}"
        return Finding("gateway", "fails", text, "name a domain below one of theirs")
    if all(_from(one) == "Same" for one in listeners):
        text = f"GATEWAY: {site.gateway} takes routes of its own namespace alone"
        return Finding(
            "gateway", "fails", text, "let a listener take routes from namespaces with slipway.dev/models=true"
        )
    return Finding("gateway", "ok", f"{site.gateway} takes NAME.{site.host}")


def _from(listener: Any) -> str:
    return str(listener.get("allowedRoutes", {}).get("namespaces", {}).get("from", "Same"))


def _storage(cluster: Cluster, site: Site) -> Finding:
    classes = cluster.list(STORAGE_CLASS, None, {})
    names = [one["metadata"]["name"] for one in classes]
    usual = [one for one in classes if one["metadata"].get("annotations", {}).get(USUAL_CLASS) == "true"]
    if site.storage_class and site.storage_class not in names:
        text = f"STORAGE_CLASS: there is no {site.storage_class}, there are {', '.join(names) or 'none'}"
        return Finding("storage", "fails", text, "name one of them")
    if not site.storage_class and not usual:
        text = f"STORAGE_CLASS is empty, and none of {', '.join(names) or 'no classes'} is the cluster's default"
        return Finding("storage", "fails", text, "name one, or volumes wait for ever")
    return Finding("storage", "ok", site.storage_class or f"the cluster's default, {usual[0]['metadata']['name']}")


def _priority(cluster: Cluster, site: Site) -> Iterator[Finding]:
    """A line where a class is named: of one that is not there no pod is ever made."""
    wanted = site.priority_class
    if wanted and cluster.get(PRIORITY_CLASS, None, wanted) is None:
        text = f"PRIORITY_CLASS: there is no {wanted}"
        yield Finding("priority", "fails", text, "name one that is there: kubectl get priorityclasses")
    elif wanted:
        yield Finding("priority", "ok", wanted)


def _address(cluster: Cluster, site: Site, value: str) -> Finding:
    """A host within the cluster is a Service that is there, or one that a deployment brings."""
    said, subject = str(getattr(site, value)), value.replace("_", " ")
    host = urlsplit(said).hostname or ""
    inside = IN_CLUSTER.fullmatch(host)
    if inside is None:
        return Finding(subject, "note", f"{host} is outside of the cluster, which is not asked from here")
    name, namespace = inside[1], inside[2]
    if cluster.get(SERVICE, namespace, name) is not None:
        return Finding(subject, "ok", f"Service {namespace}/{name}")
    if (name, namespace) == (OURS[value], site.system_namespace):
        return Finding(subject, "note", f"{namespace}/{name} is not there yet; make deploy brings it")
    text = f"{value.upper()}: there is no Service {name} in {namespace}"
    return Finding(subject, "fails", text, f"correct {said}, or leave it at what make deploy brings")


def _taken(cluster: Cluster, objects: Sequence[Object], refused: Refused) -> Finding:
    """What the API server says to all of it; objects of a namespace that is not there yet are tried in another."""
    names = {one["metadata"].get("namespace") for one in objects} - {None}
    absent = {name for name in names if cluster.get(NAMESPACE, None, str(name)) is None}
    tried = [_elsewhere(one, absent) for one in objects if one["kind"] != "Namespace"]
    said = refused(tried)
    if not said:
        return Finding("objects", "ok", f"the API server takes all {len(tried)}")
    lines = [line for line in said.splitlines() if line.strip()]
    more = f"; and {len(lines) - TOLD} more" if len(lines) > TOLD else ""
    return Finding(
        "objects", "fails", "; ".join(lines[:TOLD]) + more, "correct the value that is named, or: make upstream deploy"
    )


def _elsewhere(found: Object, absent: set[Any]) -> Object:
    if found["metadata"].get("namespace") not in absent:
        return found
    return {**found, "metadata": {**found["metadata"], "namespace": "default"}}
