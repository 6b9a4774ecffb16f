"""Rendering, and what may be said of an object without a cluster."""

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.root import ROOT

MANIFESTS = ROOT / "manifests"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders kustomizations")
UPSTREAM = sorted(
    MANIFESTS / release["into"]
    for release in yaml.safe_load((MANIFESTS / "versions.yaml").read_text())["upstream"].values()
)
needs_upstream = pytest.mark.skipif(
    not all(path.is_file() for path in UPSTREAM), reason="third parties' manifests are not here; first: make upstream"
)


@functools.cache
def rendered(directory: str) -> tuple[dict[str, Any], ...]:
    """The objects of a kustomization; nothing is fetched."""
    command = ["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(MANIFESTS / directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(found for found in yaml.load_all(done.stdout, LOADER) if found)


def name_of(found: dict[str, Any]) -> str:
    metadata = found["metadata"]
    return f"{found['kind']} {metadata.get('namespace', '-')}/{metadata['name']}"


def pod_specs(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod templates in an object, with the place they were found at."""
    kind, spec = found["kind"], found.get("spec", {})
    if kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        yield name_of(found), spec["template"]["spec"]
    elif kind == "CronJob":
        yield name_of(found), spec["jobTemplate"]["spec"]["template"]["spec"]
    elif kind == "ServingRuntime":
        yield name_of(found), spec


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", ()), *spec["containers"]]


def containers_of(directory: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Place, pod and container of every container that a kustomization brings; at least one."""
    pods = [found for one in rendered(directory) for found in pod_specs(one)]
    listed = [(place, spec, container) for place, spec in pods for container in containers(spec)]
    assert listed, f"{directory} has no container"
    return listed


def builtin_faults(found: dict[str, Any]) -> list[str]:
    """Fields that Kubernetes' own kinds do not have, or that have another type, by the client's models."""
    group, _, version = found["apiVersion"].rpartition("/")
    assert group in ("", "apps", "batch", "policy") or group.endswith(".k8s.io"), group
    return list(_walk(found, f"{version.capitalize()}{found['kind']}", name_of(found)))


def is_builtin(found: dict[str, Any]) -> bool:
    version = found["apiVersion"].rpartition("/")[2]
    return hasattr(client, f"{version.capitalize()}{found['kind']}") and found["kind"] != "CustomResourceDefinition"


def _walk(value: Any, kind: str, place: str) -> Iterator[str]:
    if item := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{place}: expected a list, got {value!r}"
            return
        for i, one in enumerate(value):
            yield from _walk(one, item[1], f"{place}[{i}]")
    elif item := re.fullmatch(r"dict\([^,]+, (.+)\)", kind):
        if not isinstance(value, dict):
            yield f"{place}: expected a mapping, got {value!r}"
            return
        for key, one in value.items():
            yield from _walk(one, item[1], f"{place}.{key}")
    elif hasattr(client, kind):
        yield from _fields(value, getattr(client, kind), place)
    elif kind in _PLAIN and not isinstance(value, _PLAIN[kind]):
        yield f"{place}: expected {kind}, got {value!r}"


_PLAIN: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}


def _fields(value: Any, model: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: expected a mapping, got {value!r}"
        return
    known = {theirs: model.openapi_types[ours] for ours, theirs in model.attribute_map.items()}
    for key, one in value.items():
        if key not in known:
            yield f"{place}.{key}: unknown field"
        elif one is not None:
            yield from _walk(one, known[key], f"{place}.{key}")
