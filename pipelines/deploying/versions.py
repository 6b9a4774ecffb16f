"""Which versions of third parties a cluster has, and whether the cluster suite ever ran on them, alone and together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines.checkout import MANIFESTS
from pipelines.deploying.doctor import Finding
from serving.cluster.installation import CapabilitiesOfInstallation

Name = tuple[str, str, str]  # kind, namespace, name
Found = Mapping[str, Any] | None  # an object, or None where it is not there or may not be looked at

BUNDLE = "gateway.networking.k8s.io/bundle-version"
# Whose image tells the version of a piece: namespace, where it is always the same, Deployment and container.
IMAGES = {
    "envoy-gateway": ("envoy-gateway-system", "envoy-gateway", "envoy-gateway"),
    "pipelines": ("", "ml-pipeline", "ml-pipeline-api-server"),
}


class KnownVersions(NamedTuple):
    """With what the cluster suite ran.

    Attributes:
        versions: of a piece that stands for itself; a prefix such as ``1.34`` stands for all below it.
        pairs: versions of several pieces together.
    """

    versions: Mapping[str, Sequence[str]] = {}
    pairs: Sequence[Mapping[str, str]] = ()


def known_versions(versions: Path = MANIFESTS / "versions.yaml") -> KnownVersions:
    """What was tested; nothing where the manifests are not beside the code."""
    if not versions.is_file():
        return KnownVersions()
    found = yaml.safe_load(versions.read_text(encoding="utf-8"))
    pieces = {"kubernetes": found["kubernetes"], **found["upstream"]}
    return KnownVersions({name: piece["tested"] for name, piece in pieces.items() if "tested" in piece}, found["pairs"])


def versions(
    found: CapabilitiesOfInstallation, types: Mapping[str, Found], workloads: Mapping[Name, Found], runs: str
) -> dict[str, str]:
    """Of the pieces that ``manifests/versions.yaml`` names, as far as they can be seen; Pipelines in *runs*."""
    routes = types.get("httproutes.gateway.networking.k8s.io") or {}
    seen = {
        "kubernetes": found.kubernetes,
        "gateway-api": routes.get("metadata", {}).get("annotations", {}).get(BUNDLE),
        "kserve": found.kserve,
        **{
            piece: _tag(workloads.get(("Deployment", namespace or runs, name)), container)
            for piece, (namespace, name, container) in IMAGES.items()
        },
    }
    return {piece: version for piece, version in seen.items() if version}


def judged_versions(seen: Mapping[str, str], tested: KnownVersions) -> Iterator[Finding]:
    """One line for each piece; pieces that were tested together are judged together, and their pairs by name."""
    remedy = "run make test-cluster before you rely on it"
    together = {piece: seen[piece] for piece in (tested.pairs[0] if tested.pairs else ()) if piece in seen}
    for piece, version in seen.items():
        known = tested.versions.get(piece) or [pair[piece] for pair in tested.pairs if piece in pair]
        if not known or any(_within(version, one) for one in known):
            yield Finding(piece, "ok", version)
        else:
            yield Finding(piece, "note", f"{version} is outside of what was tested ({', '.join(known)})", remedy)
    if together and not any(all(_within(v, pair[piece]) for piece, v in together.items()) for pair in tested.pairs):
        ran = "; ".join(_words(pair) for pair in tested.pairs)
        yield Finding("pair", "note", f"{_words(together)} never ran together; tested: {ran}", remedy)


def _words(pair: Mapping[str, str]) -> str:
    return " with ".join(f"{piece} {version}" for piece, version in pair.items())


def _within(version: str, known: str) -> bool:
    return re.match(re.escape(known.lstrip("v")) + r"(?![0-9])", version.lstrip("v")) is not None


def _tag(deployment: Found, container: str) -> str | None:
    for one in (deployment or {}).get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
        if one.get("name") == container and (found := re.search(r":(v?\d[\w.+-]*)", one.get("image", ""))):
            return found[1]
    return None
