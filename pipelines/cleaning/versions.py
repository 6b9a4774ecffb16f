"""The versions of the ledger, who uses them, and where their bundles lie.

A bundle that the ledger does not know goes only from the home's own store, and only where the ledger knows its model:
what is elsewhere may be somebody else's.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from components.steps.place import Place, s3_settings
from pipelines.cleaning.reach import Thing
from pipelines.cleaning.records import RUNS, folders, size
from serving.bundle.files import MANIFEST
from serving.ledger.bundles import GONE
from serving.ledger.details import BundleGone
from serving.ledger.ledger import Ledger, open_ledger
from serving.ledger.values import Event, Slot, SlotName, Version
from serving.local.paths import service_paths
from serving.local.state import read_desired, read_observed
from serving.places import open_service
from serving.rollout.backend import Revision
from serving.service.service import Service
from serving.store.store import DirectoryStore, Store, StoreKeyError, open_store

STORE, DOWNLOADS = "models", "bundles"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class VersionUse:
    """What the ledger says of one version.

    Attributes:
        held: why it stays whatever is asked for; empty: it was put away and has no slot.
        rank: how many versions of its model are newer.
        used: when anything happened to it, in seconds since 1970.
        bare: its bundle was removed.
    """

    version: Version
    held: str
    rank: int
    used: float
    bare: bool


def read_versions(place: Place) -> list[VersionUse]:
    """All versions of the ledger of *place*; a file that is not there has none, and is not made."""
    file = place.ledger.removeprefix("sqlite:///")
    if file != place.ledger and not Path(file).exists():
        return []
    ledger = open_ledger(place.ledger)
    return [one for model in ledger.models() for one in _registered(ledger, model)]


def _registered(ledger: Ledger, model: str) -> Iterator[VersionUse]:
    last, bundles = dict[int, Event](), dict[int, str]()
    for event in ledger.history(model):
        last[event.version] = event
        if event.kind in BundleGone.kinds:
            bundles[event.version] = event.kind
    slots = ledger.slots(model)
    for rank, version in enumerate(reversed(ledger.versions(model))):
        number = version.version
        used, bare = last[number].at.timestamp(), bundles.get(number) == GONE
        yield VersionUse(version, _held(version, slots), rank, used, bare)


def _held(version: Version, slots: Mapping[SlotName, Slot]) -> str:
    if version.stage != "archived":
        return f"{version.name} is in {version.stage}"
    names = [name for name, slot in slots.items() if slot.version == version.version]
    return f"{version.name} is {names[0]}" if names else ""


def version_things(found: Iterable[VersionUse], live: Mapping[str, str]) -> Iterator[Thing]:
    """The versions that have their bundle; *live* says why a version stays, by its name, where somebody uses it."""
    for one in found:
        version = one.version
        needs = frozenset([*_files(version.model, version.digest), f"{RUNS}/{version.run_id}"])
        held = one.held or live.get(version.name, "")
        if not one.bare:
            yield Thing("version", version.name, 0, needs, held, used=one.used, rank=one.rank)


def used_by_services(place: Place, models: Iterable[str]) -> dict[str, str]:
    """Why versions, bundles and downloads stay, by name: what services run, and what rollouts may still need."""
    why = dict[str, str]()
    for service in _services(place, models):
        for revision, reason in _revisions(place, service):
            why = dict.fromkeys((revision.name, *_files(revision.model, revision.digest)), reason) | why
    return why


def _files(model: str, digest: str) -> tuple[str, str]:
    return bundle_name(model, digest), f"{DOWNLOADS}/{digest}"


def _services(place: Place, models: Iterable[str]) -> Iterator[Service]:
    here = urlsplit(place.serving)
    names = set(models) if here.scheme == "kserve" else {folder.name for folder in folders(Path(here.path))}
    for name in sorted(names):
        yield open_service(place.serving, name, place.ledger)


def _revisions(place: Place, service: Service) -> Iterator[tuple[Revision, str]]:
    if urlsplit(place.serving).scheme != "kserve":
        where = service_paths(Path(urlsplit(place.serving).path) / service.model)
        for revision in read_desired(where).revisions.values():
            yield revision, f"{service.model} serves it or keeps it warm"
        for server in read_observed(where).servers.values():
            yield server.wanted, f"{service.model} serves it"
    open_ = [state for state in service.rollouts() if not state.terminal or state.successor]
    requests = [request for state in open_ for request in (state.request, state.successor) if request]
    for request in [*requests, *(service.waiting if service.written else ())]:
        for revision in filter(None, (request.candidate, request.stable)):
            yield revision, f"rollout {request.id} may need it"


def bundle_things(
    place: Place, found: Iterable[VersionUse], live: Mapping[str, str], *, still: bool
) -> Iterator[Thing]:
    """Bundles of the store, and what was brought here of them."""
    versions = {bundle_name(one.version.model, one.version.digest): one for one in found}
    store = open_store(place.store, s3_settings(place))
    if isinstance(store, DirectoryStore) and store.root.resolve() == (place.root / STORE).resolve():
        yield from _here(place.root, versions, live, still=still)
    else:
        yield from _elsewhere(store, versions, live)
    for path in folders(place.root / DOWNLOADS):
        if _DIGEST.fullmatch(path.name):
            name = f"{DOWNLOADS}/{path.name}"
            yield Thing("download", name, size(path), held=live.get(name, ""))


def _here(root: Path, versions: Mapping[str, VersionUse], live: Mapping[str, str], *, still: bool) -> Iterator[Thing]:
    models = {one.version.model for one in versions.values()}
    for path in (bundle for model in folders(root / STORE) for bundle in folders(model)):
        name, model = bundle_name(path.parent.name, path.name), path.parent.name
        held = live.get(name, "") or ("" if still else "a run is under way")
        if name not in versions and model not in models:
            held = f"this ledger knows no version of {model}"
        if _DIGEST.fullmatch(path.name):
            yield Thing("bundle", name, size(path), held=held)


def _elsewhere(store: Store, versions: Mapping[str, VersionUse], live: Mapping[str, str]) -> Iterator[Thing]:
    """The bundles in *store* of versions that may go; of others it is not asked."""
    for name, one in versions.items():
        if not one.held and store.list(key_of(name)):
            yield Thing("bundle", name, _size(store, key_of(name)), held=live.get(name, ""))


def _size(store: Store, key: str) -> int:
    """In bytes by its manifest, which is all that tells it everywhere; 0 without one."""
    with contextlib.suppress(StoreKeyError, ValueError, KeyError, TypeError):
        manifest = store.get(f"{key}/{MANIFEST}")
        return len(manifest) + sum(int(file["bytes"]) for file in json.loads(manifest)["files"].values())
    return 0


def bundle_name(model: str, digest: str) -> str:
    """What a bundle is called here, wherever its store is now: homes are moved."""
    return f"{STORE}/{model}/{digest}"


def key_of(name: str) -> str:
    """The key in the store of the bundle called *name*."""
    return name.removeprefix(f"{STORE}/")
