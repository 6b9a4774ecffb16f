"""How long a long table takes to be ingested, validated and split: ``python -m tests.bench.data [--rows 10000000]``.

CSV files of a million rows with a key, a moment, six numbers, a category, a count and a target, read as text. Each
stage is a process of its own, as it is in a run; time and memory are what the system accounts to that process.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from components.steps.place import Place
from serving.contract import Column, Contract, Target

FILE_ROWS = 1_000_000
STAGES = ("ingest", "validate", "split by time", "split at random")
CONTRACT = Contract(
    columns={
        **{f"x{i}": Column(type="float") for i in range(6)},
        "kind": Column(type="category", values=("a", "b", "c")),
        "rooms": Column(type="int", range=(0, 9)),
    },
    target=Target(name="y"),
    key="id",
    event_time="at",
).model_dump_json()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--folder", type=Path, help="where the table is made and kept, to be used again")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", dir=given.folder) as made:
        table = _prepared(given.folder or Path(made), given.rows)
        print("| rows | stage | seconds | CPU seconds | peak memory MB |")
        print("|---|---|---|---|---|")
        for stage in STAGES:
            seconds, cpu, memory = _measured(stage, table, Path(made))
            print(f"| {given.rows:,} | {stage} | {seconds:.1f} | {cpu:.1f} | {memory:.0f} |", flush=True)
    return 0


def _prepared(folder: Path, rows: int) -> Path:
    """The folder with the table; what is there already is used."""
    import numpy as np
    import polars as pl

    done, part = folder / f"table-{rows}", folder / "part"
    if done.exists():
        return done
    part.mkdir(parents=True)
    for first in range(0, rows, FILE_ROWS):
        random, count = np.random.default_rng(first), min(FILE_ROWS, rows - first)
        late = random.integers(0, 60_000_000, count).astype("timedelta64[s]")
        columns = {
            "id": np.arange(first, first + count),
            "at": (np.datetime64("2024-01-01") + late).astype("datetime64[us]"),
            **{f"x{i}": random.normal(size=count).round(4) for i in range(6)},
            "kind": random.choice(list("abc"), count),
            "rooms": random.integers(0, 10, count),
            "y": random.normal(size=count).round(3),
        }
        pl.DataFrame(columns).write_csv(part / f"{first:09}.csv")
    part.rename(done)
    return done


def _measured(stage: str, table: Path, folder: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak memory in MB of a process that is *stage*."""
    started = time.monotonic()
    words = [sys.executable, "-m", "tests.bench.data", stage, str(table), str(folder)]
    _, status, usage = os.wait4(os.posix_spawn(sys.executable, words, os.environ), 0)
    if status:
        raise SystemExit(f"the process of {stage} failed")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _place(folder: Path) -> str:
    names = ("ledger", "tracking", "store", "serving", "key")
    return Place(home=str(folder), **dict.fromkeys(names, folder.as_uri())).model_dump_json()


def _stage(stage: str, table: str, folder: Path) -> None:
    from components.data import stages

    os.dup2(2, 1)  # what a stage tells is no row of the table
    raw, good, now = str(folder / "raw"), str(folder / "accepted"), "2026-01-01"
    sides = [str(folder / side) for side in ("train", "holdout")]
    folder.mkdir(parents=True, exist_ok=True)
    rules = str(folder / "contract.json")
    Path(rules).write_text(CONTRACT)
    match stage:
        case "ingest":
            stages.ingest(table, now, "", Place.model_validate_json(_place(folder)), rules, raw)
        case "validate":
            stages.validate(rules, now, raw, good, str(folder / "quarantine"))
        case "split by time":
            stages.split("bench", _place(folder), '{"by": "time", "holdout": 0.2}', rules, 1, good, *sides)
        case "split at random":
            stages.split("bench", _place(folder), '{"by": "random", "holdout": 0.2}', rules, 1, good, *sides)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in STAGES:
        _stage(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        raise SystemExit(main())
