"""The manifest of a bundle: what it says, and whether the files beside it are those that were signed."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.bundle.files import CARD, CONTRACT, GOLDEN, JUDGED, MANIFEST, MODEL, PROFILE, SIGNATURE
from serving.bundle.own import OwnCode
from serving.bundle.signing import PublicKey, verify
from serving.errors import GateRefusal, UsageError
from serving.files import canonical_json, sha256_bytes
from serving.scoring.api import Declined
from serving.scoring.compile import Fast

BundleId = str  # sha256 hex of manifest.json
FORMAT = 1
REQUIRED = frozenset({MODEL, CONTRACT, PROFILE, GOLDEN, CARD})
LIBRARIES = ("numba", "numpy", "scikit-learn", "scipy", "skops")


def own_code_of(manifest: Mapping[str, Any]) -> tuple[OwnCode, ...]:
    """The packages whose code the model needs."""
    return tuple(OwnCode.model_validate(one) for one in manifest.get("own", ()))


def manifest_of(
    files: Mapping[str, bytes], fast: Fast | Declined, provenance: Mapping[str, Any], own: Sequence[OwnCode]
) -> bytes:
    """The manifest as the bytes that are signed; raises UsageError where *provenance* is no plain JSON."""
    try:
        return canonical_json(
            {
                "format": FORMAT,
                "files": {name: {"sha256": sha256_bytes(data), "bytes": len(data)} for name, data in files.items()},
                "libraries": installed_libraries(),
                "provenance": dict(provenance),
                "scoring": {"form": "sklearn" if isinstance(fast, Declined) else fast.form, "reason": fast.reason},
                **({"own": [one.model_dump(mode="json") for one in own]} if own else {}),
            }
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"provenance must be plain JSON: {error}") from error


def installed_libraries() -> dict[str, str]:
    """Versions of what a model's numbers depend on, by distribution name, and of Python without its patch."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {**versions, "python": ".".join(platform.python_version_tuple()[:2])}


def signed_manifest(directory: Path, trusted: Sequence[PublicKey]) -> tuple[dict[str, Any], BundleId]:
    """The manifest of the bundle in *directory* and its digest; raises GateRefusal unless a trusted key signed it."""
    try:
        manifest, envelope = (directory / MANIFEST).read_bytes(), (directory / SIGNATURE).read_bytes()
    except OSError as error:
        raise GateRefusal(
            f"{directory} is not a bundle: {error.filename} cannot be read ({error.strerror}); name a directory with "
            f"{MANIFEST} and {SIGNATURE}"
        ) from error
    verify(manifest, envelope, trusted, str(directory))
    document = json.loads(manifest)
    if document.get("format") != FORMAT:
        raise GateRefusal(f"{directory} has format {document.get('format')!r}, expected {FORMAT}; train a new bundle")
    return dict(document), sha256_bytes(manifest)


def signed_files(directory: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """The files that *manifest* lists; raises GateRefusal where one is missing, another, or too many."""
    listed = manifest["files"]
    twin = {JUDGED} if "judged" in manifest["provenance"] else set()  # signed by itself, and read by nobody here
    present = {path.name for path in directory.iterdir()} - {MANIFEST, SIGNATURE} - twin
    missing = (listed.keys() | REQUIRED) - (present & listed.keys())
    if missing:
        raise GateRefusal(f"{directory}: {min(missing)} is missing; fetch the bundle again")
    extra = present - listed.keys()
    if extra:
        raise GateRefusal(
            f"{directory}: {min(extra)} is not part of the signed bundle; remove it or fetch the bundle again"
        )
    return {name: signed_file(directory, name, entry["sha256"]) for name, entry in listed.items()}


def signed_file(directory: Path, name: str, digest: str) -> bytes:
    """The file *name* of that sha256; raises GateRefusal where it is another."""
    if name != Path(name).name:
        raise GateRefusal(f"{directory}: the manifest lists {name!r}, which is not a name in the bundle")
    data = (directory / name).read_bytes()
    if sha256_bytes(data) != digest:
        raise GateRefusal(
            f"{directory}: {name} is not the file that was signed (sha256 {sha256_bytes(data)[:12]}, signed "
            f"{digest[:12]}); fetch the bundle again"
        )
    return data


def check_libraries(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Raise GateRefusal where scikit-learn here is another minor version than where the bundle was made."""
    trained, here = manifest["libraries"]["scikit-learn"], installed_libraries()["scikit-learn"]
    if trained.split(".")[:2] != here.split(".")[:2]:
        raise GateRefusal(
            f"{directory} was trained with scikit-learn {trained}, this process has {here}: models do not carry over "
            "between minor versions; use the image of that release or train again"
        )
