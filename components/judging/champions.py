"""The version that serves now, opened so that it can be asked about the same rows as a candidate."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.steps.keys import trusted_keys
from components.steps.place import Place, s3_settings
from serving.bundle.files import JUDGED, MANIFEST
from serving.errors import GateRefusal
from serving.files import sha256_file
from serving.ledger.ledger import open_ledger
from serving.ledger.values import Version
from serving.store.store import open_store

if TYPE_CHECKING:
    from serving.bundle.bundle import Bundle


@dataclass(frozen=True)
class Champion:
    """A version and its checked bundle."""

    version: int
    bundle: "Bundle"


def serving_now(name: str, place: Place) -> int | None:
    """The number of the champion of model *name*; None before the first promotion."""
    return open_ledger(place.ledger).slot(name, "production").version


def find(name: str, place: Place, number: int | None = None) -> Champion | None:
    """The champion of model *name*, or its version *number*; None before the first promotion.

    Raises:
        GateRefusal: the bundle must not be used.
    """
    number = number or serving_now(name, place)
    return None if number is None else opened(name, place, number)


def opened(name: str, place: Place, number: int) -> Champion:
    """Version *number* of model *name*; raises as ``find``."""
    from serving.bundle.bundle import open_bundle  # brings numba, which a first run need not wait for

    version = open_ledger(place.ledger).version(name, number)
    return Champion(version.version, open_bundle(local_bundle(version, place), trusted_keys(place.key)))


def local_bundle(version: Version, place: Place) -> Path:
    """The bundle of *version* as a directory of this machine, fetched once."""
    path = place.root / "bundles" / version.digest
    if not (path / MANIFEST).exists() or sha256_file(path / MANIFEST) != version.digest:
        store = open_store(place.store, s3_settings(place))
        store.download_directory(f"{version.model}/{version.digest}", path)
    return path


def judged(bundle: "Bundle", place: Place) -> "Bundle":
    """What later candidates are compared with: *bundle*, or, of one that was fitted again on all rows, its twin.

    Raises:
        GateRefusal: the twin is gone, or another than that which was judged.
    """
    from serving.bundle.bundle import open_bundle  # as above

    digest = bundle.manifest["provenance"].get("judged")
    if digest is None:
        return bundle
    twin = open_bundle(bundle.directory / JUDGED, trusted_keys(place.key))
    if twin.digest != digest:
        raise GateRefusal(
            f"{twin.directory} is bundle {twin.digest[:12]}, and {digest[:12]} was judged; fetch it again"
        )
    return twin
