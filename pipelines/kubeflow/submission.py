"""A compiled pipeline as a cluster gets it: the committed graph, the real image, and what its steps mount.

The first document stays the committed one apart from the image's name and defaults, and ``ir_digest`` shows it. What
only Kubernetes knows is in a second document, which the local runner ignores. Secrets and the place are mounted as
files: servers before 2.15 refuse the form in which kfp-kubernetes writes them for the environment.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from components.steps.place import MOUNTED
from pipelines.compiling.compiling import IMAGE, dump_package, read_package, with_image
from pipelines.deploying.installed import PLACE
from serving.errors import ConfigError
from serving.files import canonical_json, sha256_bytes

SECRETS = "/run/secrets/slipway"
OBJECT_STORE, LEDGER, SIGNING_KEY = "slipway-object-store", "slipway-ledger", "slipway-signing-key"

NOTHING: Mapping[str, str] = MappingProxyType({})
# Which parameter of a step says what it has to reach. A step that is given none of them mounts nothing.
_NEEDS = {"place": (OBJECT_STORE, LEDGER), "key": (SIGNING_KEY,)}
# These steps open the bundle that serves now, whose signature they check; they find the key in their place.
_OPENS_CHAMPION = ("gate", "plan-scores", "score")
# This one starts a model server, whose place says which packages' code it may load.
_SERVES = ("verify",)
_TAGGED = re.compile(r"(@sha256:[0-9a-f]{64}|:(?!latest$)[\w][\w.-]{0,127})$")


def prepare(package: bytes, image: str, *, defaults: Mapping[str, str] = NOTHING, cache: bool = True) -> bytes:
    """*package* with its steps in *image*, each with the place and the secrets that it needs.

    Args:
        defaults: of parameters, for whoever submits the package without naming them.
        cache: False lets every step run again; the first document then differs from the committed one in this as well.

    Raises:
        ConfigError: *image* has no tag or digest of its own; a server caches results by the image's name.
    """
    if not _TAGGED.search(image) or image == IMAGE:
        raise ConfigError(
            f"image {image!r}: expected a tag that is its content's, or a digest; push one with make images"
        )
    graph = read_package(with_image(package, image))[0]
    for name, value in defaults.items():
        graph["root"]["inputDefinitions"]["parameters"][name] |= {"defaultValue": value, "isOptional": True}
    if not cache:
        for task in _tasks(graph):
            task["cachingOptions"] = {}
    return dump_package([graph, _platform(graph)])


def ir_digest(package: bytes) -> str:
    """sha256 of the graph in *package*, whatever image it names and whether or not secrets come with it.

    A run here and a run on a cluster with the same digest ran the same graph.
    """
    graph = read_package(package)[0]
    for container in _containers(graph).values():
        container["image"] = IMAGE
    return sha256_bytes(canonical_json(graph))


def version_name(package: bytes) -> str:
    """The name of a pipeline's version on a server: equal bytes, equal name, so that they are uploaded once."""
    return f"sha256-{sha256_bytes(package)[:16]}"


def secrets_of(component: str, parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The secrets that a step needs, from its name and its input parameters."""
    needed = [secret for parameter, secrets in _NEEDS.items() if parameter in parameters for secret in secrets]
    if component in _OPENS_CHAMPION and SIGNING_KEY not in needed:
        needed.append(SIGNING_KEY)
    return tuple(needed)


def _platform(graph: Mapping[str, Any]) -> dict[str, Any]:
    executors = {}
    for name, component in graph["components"].items():
        if (label := component.get("executorLabel")) is None:
            continue
        parameters = component.get("inputDefinitions", {}).get("parameters", {})
        step = name.removeprefix("comp-")
        secrets = [_secret(secret) for secret in secrets_of(step, parameters)]
        placed = "place" in parameters or step in _SERVES
        mounts = {"secretAsVolume": secrets, "configMapAsVolume": [_place()] if placed else []}
        executors[label] = {"imagePullPolicy": "IfNotPresent", **{kind: some for kind, some in mounts.items() if some}}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _place() -> dict[str, Any]:
    """The cluster's place, for a step that is told none; where there is no ConfigMap the step says so."""
    return {
        "configMapName": PLACE,
        "configMapNameParameter": {"runtimeValue": {"constant": PLACE}},
        "mountPath": str(MOUNTED),
        "optional": True,
    }


def _secret(secret: str) -> dict[str, Any]:
    """As kfp-kubernetes writes it; with the name twice, for servers that know only one of the two fields."""
    return {
        "mountPath": f"{SECRETS}/{secret.removeprefix('slipway-')}",
        "optional": False,
        "secretName": secret,
        "secretNameParameter": {"runtimeValue": {"constant": secret}},
    }


def _containers(graph: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    executors = graph["deploymentSpec"]["executors"]
    return {label: executor["container"] for label, executor in executors.items() if "container" in executor}


def _tasks(graph: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every task of the graph and of the groups in it; those of the outermost graph first."""
    yield from graph["root"]["dag"]["tasks"].values()
    for component in graph["components"].values():
        yield from component.get("dag", {}).get("tasks", {}).values()
