"""Fifty runs and twenty rollouts of one home, and what ``slipway clean`` takes of it.

Runs, steps, ledger and controller are the product's own; traffic is a fake place's, whose clock is a number, so that a
rollout takes a second. Run it from the repository: ``python -m tests.bench.clean``; ``--help`` for fewer.
"""

import argparse
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines.cleaning.reach import Keep, Sorted
from pipelines.cleaning.records import size
from pipelines.cleaning.sweep import clean, look
from pipelines.housing import market
from pipelines.settings import load
from serving.ledger.ledger import Ledger, open_ledger
from serving.local.control import local_control
from serving.local.paths import service_directory
from tests.pipelines.here.support import AS_OF, Fenced, slipway, write_project, write_table
from tests.serving.rollout.fake import Clock, FakeBackend

MODEL = "homes"
STEPS = {"steps": [10, 50], "time": {"dwell": "1s", "bake": "3s", "drain": "5s"}, "keep_previous": True}
COUNTED = {
    "runs": "runs/[0-9]*",
    "results of steps": "pipeline_root/runs/*/**/try-*",
    "entries of the cache": "pipeline_root/cache/*.json",
    "bundles": "models/*/*",
}


@dataclass
class Played:
    """A home with runs; each released one had its rollout."""

    root: Path
    runs: int = 0
    rollouts: int = 0

    def __post_init__(self) -> None:
        self.home = self.root / "home"
        write_project(self.root, approval="auto", rollout=STEPS)
        write_project(self.root, "strict.yaml", rollout=STEPS, gates=[{"metric": "rmse", "at_most": 1}])
        self.backend = FakeBackend(Clock(), rate=400, seed=2)

    @property
    def ledger(self) -> Ledger:
        return open_ledger(f"sqlite:///{self.home}/ledger.db")

    def run(self, number: int, project: str = "project.yaml") -> int:
        """One run on the *number*-th table; its exit code."""
        table = market.read(f"market://calm?months=4&rows_per_month=100&seed={number}").drop("label_at")
        source = write_table(self.root, table, f"sales-{number}.csv")
        self.runs += 1
        words = ("run", "--project", self.root / project, "--source", source, "--as-of", AS_OF)
        return slipway(*words, home=self.home).code

    def roll_out(self) -> None:
        """Have a controller follow the ledger, and see the newest version's rollout through."""
        newest = self.ledger.versions(MODEL)[-1].version
        directory = service_directory(f"file://{self.home}/serving", MODEL)
        control = local_control(directory, MODEL, self.ledger, Fenced(self.backend))  # type: ignore[arg-type]  # the fake
        for _ in range(400):
            done = control.tick(self.backend.clock())
            self.backend.clock.sleep(1.0)
            if self.ledger.slot(MODEL).version == newest and done.following is not None and done.following.followed:
                break
        else:
            raise SystemExit(f"version {newest} did not get all traffic: {self.ledger.slots(MODEL)}")
        self.rollouts += newest > 1
        control.close()

    def counts(self) -> dict[str, int]:
        """How many of each kind the home holds, and its bytes."""
        found = {name: len(list(self.home.glob(pattern))) for name, pattern in COUNTED.items()}
        return {**found, "bytes": size(self.home)}


def play(root: Path, runs: int, rollouts: int) -> Played:
    """A home of *runs* runs, of which 1 + *rollouts* are released and the others refused by a gate."""
    played, refused = Played(root), runs - rollouts - 1
    for number in range(rollouts + 1):
        if code := played.run(number):
            raise SystemExit(f"run {played.runs} ended with {code}")
        played.roll_out()
        for _ in range(refused * (number + 1) // (rollouts + 1) - refused * number // (rollouts + 1)):
            played.run(number, "strict.yaml")
    return played


def table(before: dict[str, int], after: dict[str, int]) -> list[str]:
    rows = {name: (f"{before[name]:,}", f"{after[name]:,}") for name in COUNTED}
    rows["MB in the home"] = (f"{before['bytes'] / 1e6:,.1f}", f"{after['bytes'] / 1e6:,.1f}")
    return ["| | before | after |", "|---|---:|---:|", *(f"| {name} | {a} | {b} |" for name, (a, b) in rows.items())]


def measure(played: Played, keep: int) -> tuple[Sorted, list[str]]:
    """Look, clean, and the lines that tell of it."""
    place, wanted, before = load(str(played.home)), Keep(keep, math.inf), played.counts()
    began = time.perf_counter()
    look(place, wanted)
    looked = time.perf_counter()
    gone = clean(place, wanted)
    ended = time.perf_counter()
    intro = (
        f"{played.runs} runs, {played.rollouts} rollouts, `slipway clean --keep {keep} --yes`: {looked - began:.2f} s "
        f"to look, {ended - looked:.2f} s to remove {len(gone.goes):,} things with {gone.size / 1e6:,.1f} MB"
    )
    return gone, [intro, "", *table(before, played.counts())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--keep", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(measure(play(Path(folder), asked.runs, asked.rollouts), asked.keep)[1]))


if __name__ == "__main__":
    main()
