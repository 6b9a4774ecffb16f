"""`slipway clean` on generated homes: what is reachable stays, the rest goes, and any interruption can be taken up."""

import itertools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.cleaning import sweep
from pipelines.cleaning.reach import Keep
from pipelines.cleaning.sweep import clean, look
from serving.errors import GateRefusal
from serving.files import read_json
from serving.ledger.values import Version
from tests.pipelines.cleaning.support import OPAQUE, MadeHome, Run, made, mentioned, runs, tree

generated = settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


RICH = [
    Run(),
    Run(project="boats"),
    Run(reuses=frozenset(["validate"]), waits=True),
    Run(ended="refused"),
    Run(reuses=frozenset(["validate", "train"])),
    Run(promoted=False),
    Run(ended="killed"),
    Run(),
    Run(reuses=frozenset(["train"]), promoted=False),
]


@contextmanager
def home_of(wanted: list[Run]) -> Iterator[MadeHome]:
    memory = "/dev/shm"  # a ledger waits for the disk at each write
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield made(Path(folder) / "home", wanted)


def versions(home: MadeHome) -> list[Version]:
    ledger = home.ledger
    return [version for model in ledger.models() for version in ledger.versions(model)]


def needed(home: MadeHome, keep: int) -> tuple[set[str], list[Version], set[Path]]:
    """Runs that stay whole, versions that stay, and steps that stay: said again without the product's graph."""
    records = sorted((home.root / "runs").glob("[0-9]*"), reverse=True)
    project = {record: read_json(record / "spec.json")["model"] for record in records}
    whole = {record for name in project.values() for record in [r for r in records if project[r] == name][:keep]}
    whole.add(records[0])
    for name in project.values():
        whole |= set([r for r in records if project[r] == name and (r / "outputs.json").exists()][:1])
    every, slots = versions(home), {name: home.ledger.slots(name).values() for name in home.ledger.models()}
    kept = [
        version
        for version in every
        if version.stage != "archived"
        or version.version in [slot.version for slot in slots[version.model]]
        or sum(other.model == version.model and other.version > version.version for other in every) < keep
    ]
    while True:
        made_by = {
            f"{project[record]}-{task['Output']['value']}"
            for record in whole
            if (record / "outputs.json").exists()
            for name, task in read_json(record / "outputs.json")["tasks"].items()
            if name.endswith("register")
        }
        more = [version for version in every if version.name in made_by and version not in kept]
        runs_too = {home.root / "runs" / version.run_id for version in [*kept, *more]} - whole
        if not more and not runs_too:
            break
        kept, whole = [*kept, *more], whole | runs_too
    steps = {step for record in whole if (record / "outputs.json").exists() for step in mentioned(record)}
    steps |= {step for r in whole for step in home.root.glob(f"pipeline_root/runs/{r.name}/*/try-*")}
    for waiting in home.root.glob("pipeline_root/runs/*/track/*/record.json"):
        steps |= {waiting.parent, Path(read_json(waiting)["artifacts"]["bundle"]).parent}
    return {record.name for record in whole}, kept, steps


@generated
@example(RICH, 1)
@given(runs, st.integers(1, 3))
def test_nothing_that_is_reachable_goes_and_the_rest_does(wanted: list[Run], keep: int) -> None:
    """Runs, versions, steps, bundles, downloads and cache; what nobody knows stays, and the history verifies."""
    with home_of(wanted) as home:
        whole, kept, steps = needed(home, keep)
        records = whole | {version.run_id for version in versions(home)}
        clean(home.place, Keep(keep, math.inf))
        root = home.root
        assert {path.name for path in (root / "runs").glob("[0-9]*")} == records
        assert set(root.glob("pipeline_root/runs/*/*/try-*")) == steps
        bundles = {f"{version.model}/{version.digest}" for version in kept}
        assert {str(path.relative_to(root / "models")) for path in (root / "models").glob("*/*")} == bundles
        assert {path.name for path in (root / "bundles").glob("[0-9a-f]*")} == {version.digest for version in kept}
        for entry in (root / "pipeline_root/cache").glob("*.json"):
            assert all(Path(uri).exists() for uri in json.loads(entry.read_bytes())["contents"])
        assert [name for name in OPAQUE if not (root / name).exists()] == []
        assert not list(root.rglob(".*.gone"))
        assert home.ledger.verify().intact
        for version in versions(home):
            if version.name in {one.name for one in kept}:
                home.ledger.require_bundle(version.model, version.version)
            else:
                with pytest.raises(GateRefusal):
                    home.ledger.promote(version.model, version.version, "ann", "back")
        assert look(home.place, Keep(keep, math.inf)).goes == ()


@settings(generated, max_examples=5)
@given(runs, st.integers(1, 3))
def test_a_look_changes_nothing(wanted: list[Run], keep: int) -> None:
    """Without --yes the home is as before, to the byte, and what is shown is what goes."""
    with home_of(wanted) as home:
        before, history = tree(home.root), home.ledger.history()
        shown = look(home.place, Keep(keep, math.inf))
        assert tree(home.root) == before
        assert home.ledger.history() == history
        gone = clean(home.place, Keep(keep, math.inf))
        assert {thing.name for thing in gone.goes} == {thing.name for thing in shown.goes}


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_after(steps: int) -> Iterator[list[int]]:
    """Every change of the disk and the ledger by a clean counts, and the one after *steps* does not happen."""
    left = [steps]

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return act(*args, **more)

        return acting

    with (
        patch.object(sweep, "_remove", counted(sweep._remove)),
        patch.object(Path, "rename", counted(Path.rename)),
        patch.object(Path, "unlink", counted(Path.unlink)),
        patch.object(shutil, "rmtree", counted(shutil.rmtree)),
    ):
        yield left


@settings(generated, max_examples=2)
@example(RICH)
@given(runs)
def test_a_clean_that_is_killed_leaves_a_home_that_works_and_is_taken_up(wanted: list[Run]) -> None:
    """Wherever it stops: no entry of the cache points to nothing, every version with traffic or a promise of it has its
    bundle, records are whole; and the next clean comes to what an undisturbed one comes to."""
    keep = Keep(1, math.inf)
    with home_of(wanted) as home:
        shutil.copytree(home.root, home.root.with_name("before"))
        clean(home.place, keep)
        whole = tree(home.root)
        for steps in itertools.count():
            shutil.rmtree(home.root)
            shutil.copytree(home.root.with_name("before"), home.root)
            try:
                with killed_after(steps):
                    clean(home.place, keep)
                break
            except Killed:
                works(home)
            clean(home.place, keep)
            assert tree(home.root) == whole
            assert home.ledger.verify().intact


def works(home: MadeHome) -> None:
    for entry in (home.root / "pipeline_root/cache").glob("*.json"):
        assert all(Path(uri).exists() for uri in json.loads(entry.read_bytes())["contents"])
    for version in versions(home):
        bundle = home.root / "models" / version.model / version.digest / "manifest.json"
        try:
            home.ledger.require_bundle(version.model, version.version)
        except GateRefusal:
            continue
        assert bundle.exists(), f"{version.name} may be promoted"
    for record in (home.root / "runs").glob("[0-9]*"):
        assert (record / "spec.json").exists()
