"""Homes as runs leave them, made in a moment: records, steps, cache, bundles, a ledger and what a service wants."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from components.steps.place import Place
from pipelines.settings import load
from serving.files import sha256_bytes, write_json, write_text
from serving.ledger.ledger import Ledger, open_ledger
from tests.serving.ledger.facts import facts

STAGES = ("ingest", "validate", "train", "track")
OPAQUE = ("notes.txt", "mlflow/artifacts/x", "serving/homes/predictions/homes-1/part.jsonl", "pipeline_root/readme",
          "runs/by-hand/spec.json", "models/README", "bundles/not-a-digest/x", "watch/homes/report.json")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """How one run went.

    Attributes:
        reuses: stages that the cache served, from the first run that made them.
        ended: as ``killed`` before it had outputs, ``failed``, ``refused`` or ``released``.
        promoted: the version took all traffic.
        waits: MLflow was away.
    """

    project: str = "homes"
    reuses: frozenset[str] = frozenset()
    ended: str = "released"
    promoted: bool = True
    waits: bool = False


runs = st.lists(
    st.builds(
        Run,
        project=st.sampled_from(["homes", "homes", "boats"]),
        reuses=st.frozensets(st.sampled_from(["validate", "train"])),
        ended=st.sampled_from(["released", "released", "refused", "failed", "killed"]),
        promoted=st.booleans(),
        waits=st.sampled_from([False, False, True]),
    ),
    min_size=1,
    max_size=7,
)


@dataclass
class MadeHome:
    """A home below *root*, and who made what."""

    root: Path
    first: dict[tuple[str, str], Path] = field(default_factory=dict)  # made, by project and stage
    count: int = 0

    @property
    def place(self) -> Place:
        return load(str(self.root), {"USER": "ann"})

    @property
    def ledger(self) -> Ledger:
        return open_ledger(self.place.ledger)

    def add(self, run: Run) -> None:
        """What *run* leaves, as the next one."""
        self.count += 1
        number = f"{self.count:02d}"
        record = self.root / "runs" / number
        write_json(record / "spec.json", {"model": run.project, "arguments": {"as_of": "2026-01-01"}})
        (self.root / "runs" / f".{number}.lock").write_text("1\n")
        tasks = {stage: self._stage(run, number, stage) for stage in STAGES}
        if run.ended == "released":
            tasks["accepted/register"] = {"Output": {"value": self._register(run, number, tasks["train"])}}
        if run.ended != "killed":
            write_json(record / "outputs.json", {"outputs": {}, "tasks": tasks})
            write_json(record / "result.json", {"outcome": run.ended})
            write_text(record / "report.html", f"<p>run {number}</p>")

    def _stage(self, run: Run, number: str, stage: str) -> dict[str, Any]:
        made = self.first.get((run.project, stage))
        if made is None or stage not in run.reuses or not made.exists():
            made = self.root / f"pipeline_root/runs/{number}/{stage}/try-{number}{stage[:6]}"
            write_text(made / "data", f"{stage} of {number}")
            write_json(made / "executor_output.json", {})
            self.first.setdefault((run.project, stage), made)
            key = sha256_bytes(str(made.relative_to(self.root)).encode())
            contents = {str(made / "data"): {"kind": "file"}}
            write_json(self.root / f"pipeline_root/cache/{key}.json", {"run_id": number, "contents": contents})
            if stage == "track" and run.waits:
                bundle = self.first.get((run.project, "train"), made)
                write_json(made / "record.json", {"artifacts": {"bundle": str(bundle / "data")}})
        return {stage: {"artifact": {"uri": str(made / "data"), "name": stage}}}

    def _register(self, run: Run, number: str, trained: dict[str, Any]) -> int:
        digest = sha256_bytes(Path(trained["train"]["artifact"]["uri"]).read_bytes())
        bundle = self.root / "models" / run.project / digest
        write_text(bundle / "manifest.json", "{}")
        write_text(bundle / "model.skops", "x" * 100)
        write_text(self.root / "bundles" / digest / "manifest.json", "{}")
        ledger = self.ledger
        version = ledger.register(run.project, facts(digest, bundle.as_uri(), run_id=number), "ann").version
        ledger.approve(run.project, version, "ann", "good")
        if run.promoted:
            ledger.promote(run.project, version, "ann", "better")
        elif version % 2 and ledger.version(run.project, version).stage == "staging":
            ledger.move(run.project, version, "archived", "ann", "worse")
        return version


def made(root: Path, wanted: list[Run]) -> MadeHome:
    """A home after *wanted*, with things in it that nobody knows."""
    home = MadeHome(root)
    for run in wanted:
        home.add(run)
    for name in OPAQUE:
        write_text(root / name, "kept")
    return home


def tree(root: Path) -> dict[str, bytes]:
    """All files by name, but for databases and locks; empty folders with a slash."""
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    empty = {f"{path.relative_to(root)}/": b"" for path in root.rglob("*") if path.is_dir() and not any(path.iterdir())}
    kept = {path.relative_to(root).as_posix(): data for path, data in files.items()}
    return empty | {name: data for name, data in kept.items() if not re.search(r"ledger\.db|rollout\.db|\.lock$", name)}


def mentioned(record: Path) -> set[Path]:
    """The steps that a run's outputs name: the folders above their files."""
    tasks = json.loads((record / "outputs.json").read_text())["tasks"]
    uris = [out["artifact"]["uri"] for task in tasks.values() for out in task.values() if "artifact" in out]
    return {Path(uri).parent for uri in uris}
