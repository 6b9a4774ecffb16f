"""What runs left in a home, and what points where.

A run needs the steps that were made while it ran, and what its records mention of ``pipeline_root``: steps of earlier
runs that the cache served. With a run that never came to its end all steps under its number stay.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.recording.run_records import WAITING
from pipelines.cleaning.reach import Thing
from pipelines.here.runner import model_of
from pipelines.here.training import FINISHED
from serving.locks import is_held

RUNS, STEPS, CACHE, EARLIER = "runs", "pipeline_root/runs", "pipeline_root/cache", "earlier"
_MENTIONED = re.compile(rb"pipeline_root/runs/[^\"\s<>]+?/try-\w+")
_TRY = re.compile(r"try-\w+")
_TOUR = re.compile(r"\d{8}T\d{6}")


@dataclass(frozen=True)
class RunFolder:
    """One folder of ``runs``.

    Attributes:
        project: the model's name; empty where the run did not come so far as to say it.
        mentions: names of steps.
        versions: that the run registered, such as ``housing-2``.
        told: its outputs are written down.
        began: and when it was written to last, ``used``, in seconds since 1970; 0 for one that never came to its end.
    """

    number: str
    project: str
    mentions: frozenset[str]
    versions: frozenset[str]
    told: bool
    running: bool
    size: int
    began: float
    used: float


def run_things(root: Path, steps: Collection[Thing], known: Mapping[str, str]) -> Iterator[Thing]:
    """The runs of the home *root*; *known* are the versions of its ledger, by name, and the run of each."""
    records = sorted(_records(root / RUNS), key=lambda record: -int(record.number))
    evidence = {run: f"the record of {version}" for version, run in known.items()}
    for place, record in enumerate(records):
        newer = [other for other in records[:place] if other.project == record.project]
        own = (step for step in steps if step.name.startswith(f"{STEPS}/{record.number}/"))
        needs = record.mentions | record.versions | {step.name for step in own if step.used >= record.began}
        yield Thing(
            "run", f"{RUNS}/{record.number}", record.size, needs,
            held="the newest run" if place == 0 else _held(record, newer, known),
            evidence=evidence.get(record.number, ""), used=record.used, rank=len(newer),
        )  # fmt: skip


def _held(record: RunFolder, newer: Collection[RunFolder], known: Mapping[str, str]) -> str:
    """Why the run of *record*, which is not the newest, stays whatever is asked for; empty when it may go."""
    if record.running:
        return "under way"
    if record.told and not any(other.told for other in newer):
        return f"the newest of {record.project or 'its project'} that came so far, from which a loop goes on"
    strange = sorted(record.versions - known.keys())
    return f"it registered {strange[0]}, which this ledger does not know" if strange else ""


def _records(runs: Path) -> Iterator[RunFolder]:
    for directory in folders(runs):
        if directory.name.isdigit():
            outputs, spec = _json(directory / "outputs.json"), _json(directory / "spec.json")
            project = model_of(spec)
            ended, times = (directory / FINISHED).exists(), [file.stat().st_mtime for file in _files(directory)]
            yield RunFolder(
                number=directory.name,
                project=project,
                mentions=mentioned(directory),
                versions=_versions(outputs, project),
                told=bool(outputs),
                running=is_held(runs / f".{directory.name}.lock"),
                size=size(directory),
                began=(directory / "spec.json").stat().st_mtime if ended and spec else 0.0,
                used=max(times, default=0.0),
            )


def _versions(outputs: Mapping[str, Any], project: str) -> frozenset[str]:
    tasks = outputs.get("tasks", {}).items()
    made = (task.get("Output", {}).get("value") for name, task in tasks if name.rpartition("/")[2] == "register")
    return frozenset(f"{project}-{version}" for version in made if version)


def step_things(root: Path) -> Iterator[Thing]:
    """What each attempt at a step left; one whose record MLflow has not got yet waits for it."""
    for path in _attempts(root / STEPS):
        name, waits = path.relative_to(root).as_posix(), (path / WAITING).exists()
        needs = mentioned(path / WAITING) if waits else frozenset()
        held = "MLflow has not got its record yet" if waits else ""
        yield Thing("step", name, size(path), needs, held, used=path.stat().st_mtime)


def _attempts(folder: Path) -> Iterator[Path]:
    for path in folders(folder):
        if _TRY.fullmatch(path.name):
            yield path
        else:
            yield from _attempts(path)


def entry_things(root: Path, *, still: bool) -> Iterator[Thing]:
    """The cache; an entry without files is there for as long as the run that made it."""
    for path in sorted((root / CACHE).glob("*.json")):
        entry = _json(path)
        needs = mentioned(path) or frozenset([f"{RUNS}/{entry.get('run_id')}"])
        held = "" if still else "a run is under way and may take it"
        yield Thing("cache entry", f"{CACHE}/{path.name}", size(path), needs, held)


def tour_things(root: Path) -> Iterator[Thing]:
    """What tours put aside, which is a home of its own but for its steps and bundles."""
    tours = [path for path in folders(root / EARLIER) if _TOUR.fullmatch(path.name)]
    for rank, path in enumerate(sorted(tours, reverse=True)):
        needs = frozenset[str]().union(*(mentioned(run) for run in folders(path / RUNS)))
        yield Thing("earlier tour", f"{EARLIER}/{path.name}", size(path), needs, used=path.stat().st_mtime, rank=rank)


def mentioned(path: Path) -> frozenset[str]:
    """The steps that the file *path*, or a file in the folder *path*, names, wherever the home was at that time."""
    texts = []
    for file in [path] if path.is_file() else [found for found in _children(path) if found.is_file()]:
        with contextlib.suppress(FileNotFoundError):  # a run that begins replaces its record
            texts.append(file.read_bytes())
    return frozenset(found.decode() for text in texts for found in _MENTIONED.findall(text))


def size(path: Path) -> int:
    """Bytes of the files of *path*, as they are long; what is gone meanwhile counts nothing."""
    return path.lstat().st_size if path.is_file() else sum(file.lstat().st_size for file in _files(path))


def _files(folder: Path) -> Iterator[Path]:
    for path, _folders_of, names in os.walk(folder):
        yield from (file for name in names if (file := Path(path, name)).exists())


def folders(folder: Path) -> list[Path]:
    """The folders of *folder* that are seen; what a link leads to is somebody else's."""
    return [path for path in _children(folder) if path.is_dir() and not path.is_symlink() and path.name[0] != "."]


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _json(path: Path) -> dict[str, Any]:
    """The object in *path*; empty for one that is not there, or not whole."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else {}
    return {}
