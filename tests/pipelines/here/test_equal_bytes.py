"""Equal runs hand on equal bytes: by them caches know what changed, and two places compare their runs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.pipelines.here.support import AS_OF, CONTRACT, write_project, write_table
from tests.root import ROOT

# A bit of everything whose order or draw could be a process's own.
WIDE: dict[str, Any] = {
    "contract": CONTRACT | {"columns": CONTRACT["columns"] | {"kind": {"type": "category", "min_count": 2}}},
    "features": {
        "columns": {"per_km": "area_m2 / (1 + distance_km)", "usual": "mean(area_m2, region)"},
        "encode": {"kind": "target", "region": "frequency"},
    },
    "model": {"family": "lightgbm", "params": {"n_estimators": 20}, "target": "log", "smearing": True, "refit": "all"},
    "search": {"trials": 3, "space": {"num_leaves": {"int": [4, 8]}}},
    "interval": 0.8,
    "slices": ["area_m2"],
}


def handed_on(home: Path) -> dict[str, bytes]:
    """What the steps of the first run gave to others, as TASK/ARTIFACT/FILE; signatures are random by design."""
    found, runs = {}, home / "pipeline_root/runs/01"
    for path in filter(Path.is_file, sorted(runs.rglob("*"))):
        task, _, *rest = path.relative_to(runs).parts
        if rest and task != "track" and rest[-1] not in ("executor_output.json", "manifest.sig", "trials.json"):
            found["/".join([task, *rest])] = path.read_bytes()
    return found


def run(project: Path, seed: str) -> dict[str, bytes]:
    home = project.with_name(seed)
    command = [sys.executable, "-m", "pipelines.cli.main", "--home", str(home), "run", "--as-of", AS_OF]
    told = {**os.environ, "PYTHONHASHSEED": seed, "UNORDERED": seed, "PYTHONPATH": str(ROOT / "tests/unordered")}
    done = subprocess.run([*command, "--project", str(project)], cwd=ROOT, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return handed_on(home)


def test_another_process_hands_on_the_same_bytes(tmp_path: Path) -> None:
    """Whatever order its sets, groups and counts have: the next process draws another."""
    write_table(tmp_path)
    project = write_project(tmp_path, **WIDE)
    first, second = (run(project, seed) for seed in ("1", "2"))
    assert {name.partition("/")[0] for name in first} >= {"evaluate", "gate", "train", "refit"}
    assert [name for name in {**first, **second} if first.get(name) != second.get(name)] == []
