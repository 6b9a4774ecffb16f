"""All that lies in a home and may go, or decides about it. What nobody names here stays."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from components.steps.place import Place
from pipelines.cleaning.reach import Thing
from pipelines.cleaning.records import (
    CACHE,
    EARLIER,
    RUNS,
    STEPS,
    entry_things,
    run_things,
    size,
    step_things,
    tour_things,
)
from pipelines.cleaning.versions import (
    DOWNLOADS,
    bundle_name,
    bundle_things,
    read_versions,
    used_by_services,
    version_things,
)
from serving.locks import is_held

GONE = ".gone"  # how a name ends that was put aside to be removed
UNFINISHED_S = 86_400.0  # after which what is not whole is of a command that was killed
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}")  # as ``serving.files`` names it
_LOCK = re.compile(r"\.(\d+)\.lock")


def aside(root: Path, name: str) -> Path:
    """Where what is called *name* waits for its end: on the same disk, out of everybody's sight."""
    folder = next(folder for folder in (STEPS, RUNS, EARLIER, DOWNLOADS) if name.startswith(f"{folder}/"))
    return root / folder / f".{name.removeprefix(f'{folder}/').replace('/', '.')}{GONE}"


def read_home(place: Place, *, still: bool) -> list[Thing]:
    """The things of *place*.

    Args:
        still: no training runs here, nor begins while this is used; else all that the cache has stays.
    """
    root, found = place.root, read_versions(place)
    still = still and not any(map(is_held, (root / RUNS).glob(".*.lock")))
    live = used_by_services(place, {one.version.model for one in found})
    bundles = list(bundle_things(place, found, live, still=still))
    known = {bundle_name(one.version.model, one.version.digest) for one in found}
    strangers = frozenset(thing.name for thing in bundles if thing.kind == "bundle") - known
    steps = list(step_things(root))
    runs_of = {one.version.name: one.version.run_id for one in found}
    return [
        *version_things(found, live),
        *run_things(root, steps, runs_of),
        *(replace(tour, needs=tour.needs | strangers) for tour in tour_things(root)),  # its ledger may have them
        *steps,
        *entry_things(root, still=still),
        *bundles,
        *_remains(root, still=still),
    ]


def _remains(root: Path, *, still: bool) -> Iterator[Thing]:
    for path in _left(root, still=still):
        yield Thing("remains", path.relative_to(root).as_posix(), size(path))


def _left(root: Path, *, still: bool) -> Iterator[Path]:
    """What a killed command left: what a clean put aside, what was never finished, locks of runs that are gone."""
    for name in (RUNS, STEPS, EARLIER, DOWNLOADS):
        yield from (root / name).glob(f".*{GONE}")
    old = time.time() - UNFINISHED_S
    for folder in (root / CACHE, root / DOWNLOADS):
        hidden = (path for path in folder.glob(".*") if _UNFINISHED.fullmatch(path.name))
        yield from (path for path in hidden if path.stat().st_mtime < old)
    for lock in (root / RUNS).glob(".*.lock"):
        run = _LOCK.fullmatch(lock.name)
        if still and run and not (root / RUNS / run[1]).exists():
            yield lock
