"""Removing what nothing needs, so that it may be killed at any moment.

First the ledger says which versions lose their bundles, which it refuses for one that got traffic meanwhile; then goes
what points to others, then what was pointed to. Each goes by one renaming out of everybody's sight, and is deleted when
runs may begin again. Whatever is left by a kill is unreachable as before, and goes with the next call.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.steps.place import Place, s3_settings
from pipelines.cleaning.home import aside, read_home
from pipelines.cleaning.reach import Keep, Kind, Sorted, Thing, plan
from pipelines.cleaning.records import STEPS
from pipelines.cleaning.versions import key_of
from pipelines.here.training import lock_of
from serving.errors import ConflictError
from serving.ledger.ledger import open_ledger
from serving.locks import is_held, only_holder
from serving.store.store import open_store

LOCK = "clean.lock"
ORDER: tuple[Kind, ...] = ("version", "cache entry", "run", "earlier tour", "step", "bundle", "download")
ASIDE: tuple[Kind, ...] = ("run", "earlier tour", "step", "download")


def look(place: Place, keep: Keep) -> Sorted:
    """What would go now; nothing is changed."""
    return plan(read_home(place, still=not is_held(lock_of(place))), keep)


def clean(place: Place, keep: Keep) -> Sorted:
    """Remove what nothing needs from *place*, and say what that was.

    Beside a run that is under way its cache stays whole; one that would begin in the same moment is refused.

    Raises:
        ConflictError: another clean is under way, or a version that was put away came back meanwhile.
    """
    told = f"another clean is under way in {place.home}"
    with only_holder(place.root / LOCK, lambda who: f"{told}, {who}; wait for it"):
        with _no_run(place) as still:
            made = plan(read_home(place, still=still), keep)
            _delete(place.root / thing.name for thing in made.goes if thing.kind == "remains")
            for thing in sorted((one for one in made.goes if one.kind in ORDER), key=lambda one: ORDER.index(one.kind)):
                _remove(place, thing)
            if still:
                _prune(place.root / STEPS)
        _delete(aside(place.root, thing.name) for thing in made.goes if thing.kind in ASIDE)
    return made


@contextlib.contextmanager
def _no_run(place: Place) -> Iterator[bool]:
    """Keep runs from beginning; gives whether none is under way."""
    with contextlib.ExitStack() as held:
        still = True
        try:
            held.enter_context(only_holder(lock_of(place), str))
        except ConflictError:
            still = False
        yield still


def _remove(place: Place, thing: Thing) -> None:
    path = place.root / thing.name
    if thing.kind == "version":
        model, _, number = thing.name.rpartition("-")
        open_ledger(place.ledger).drop_bundle(model, int(number), place.actor, "slipway clean")
    elif thing.kind == "bundle":
        open_store(place.store, s3_settings(place)).delete_directory(key_of(thing.name))
    elif thing.kind in ASIDE:
        with contextlib.suppress(FileNotFoundError):  # a tour that begins puts runs aside itself
            path.rename(aside(place.root, thing.name))
    else:
        path.unlink(missing_ok=True)
    if thing.kind == "run":
        path.with_name(f".{path.name}.lock").unlink(missing_ok=True)


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _prune(folder: Path) -> None:
    """Remove the folders of *folder* in which nothing is left."""
    for path, _, _ in os.walk(folder, topdown=False):
        if Path(path) != folder:
            with contextlib.suppress(OSError):
                Path(path).rmdir()
