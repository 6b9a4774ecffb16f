"""``model: auto`` beside AutoGluon and FLAML, which get the same rows and the same wall time, as a table.

    python -m tests.bench.automl --peers PYTHON [--seconds 120] [TABLE ...]

Six tables of ``tests.tables.made``, of which three are split by time. Ours begins with the draft that ``slipway init``
writes, without a line edited, and searches as long as the others may. All are judged on the rows that the draft's split
holds out. PYTHON is of an environment with autogluon.tabular and flaml; each tool has a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from components.data import sources
from components.data.meeting import Needed
from components.data.split import masks
from components.data.tables import learned_contract, matrix_and_target
from components.data.validation import validate
from components.drafting.draft import Wishes, draft
from components.drafting.look import look
from components.judging import metrics
from components.modelling.mixtures import fit_recipe
from components.modelling.search.auto import tune_families
from components.modelling.search.tuning import Search
from components.modelling.training import predict
from components.projects import project as projects
from components.projects.project import Project
from serving.durations import parse
from tests.bench.auto import figure, one_row
from tests.tables.made import made

TABLES = ("rentals", "sales", "rides", "homes", "campaign", "incomes")
TOOLS = ("autogluon-best", "autogluon-good", "flaml")
OURS = "slipway"
LATEST = 10  # times the seconds given, after which a tool is not waited for


@dataclass(frozen=True)
class Result:
    """Of one contestant on one table: the leading loss, seconds, and milliseconds of CPU for one row."""

    loss: float
    seconds: float
    row_ms: float


def drafted(name: str, folder: Path) -> tuple[Project, pl.DataFrame, pl.DataFrame]:
    """The project as ``slipway init`` drafts it, its training rows and those held out, in the order of time."""
    table, now = made(name), datetime.now(UTC)
    file, place = table.write(folder), folder / "project.yaml"
    with sources.opened(str(file), None) as known:
        place.write_text(draft(look(known), Wishes(table.target), place, now).text, encoding="utf-8")
    project = projects.load(place)
    rows = sources.read(project.source.uri, None, Needed.of(project.contract))
    accepted = validate(rows, project.contract, now).accepted
    if project.contract.event_time:
        accepted = accepted.sort(project.contract.event_time, maintain_order=True)
    train, held = masks(accepted, project.split, project.contract, project.seed)
    return project, accepted.filter(pl.Series(train)), accepted.filter(pl.Series(held))


def ours(project: Project, train: pl.DataFrame, held: pl.DataFrame, seconds: float) -> Result:
    contract, begun = learned_contract(train, project.contract), time.monotonic()
    asked = Search(timeout=parse(f"{seconds:g}s"))
    found = tune_families(train, contract, project.features, project.model, asked, project.split, project.seed)
    x, y = matrix_and_target(train, contract)
    pipeline = fit_recipe(x, y, contract, project.features, project.model, project.seed, found.best_params)
    took = time.monotonic() - begun
    new, truth = matrix_and_target(held, contract)
    return Result(figure(contract, truth, predict(pipeline, contract, new)), took, one_row(pipeline, contract, new))


def theirs(
    tool: str, python: str, project: Project, parts: tuple[pl.DataFrame, pl.DataFrame], seconds: float
) -> Result:
    """What *tool* makes of the same rows; raw columns, but for the key."""
    contract = project.contract
    task = {
        "target": contract.target.name, "classes": list(contract.target.classes),
        "by_time": project.split.by == "time", "cores": os.cpu_count(),
    }  # fmt: skip
    moment = [contract.event_time] if contract.event_time else []
    names = list(dict.fromkeys([*contract.inputs, *moment]))
    with tempfile.TemporaryDirectory(prefix="slipway-automl-") as name:
        folder = Path(name)
        for word, part in zip(("train", "asked"), parts, strict=True):
            part.select([*names, *([contract.target.name] if word == "train" else [])]).write_parquet(
                folder / f"{word}.parquet"
            )
        (folder / "task.json").write_text(json.dumps(task))
        script = str(Path(__file__).with_name("automl_peers.py"))
        command = [python, script, str(folder), tool, f"{seconds:g}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=LATEST * seconds)
        if done.returncode:
            print(f"{tool}: {done.stderr[-2000:]}", file=sys.stderr)
            return Result(float("inf"), float("nan"), float("nan"))
        told = json.loads(done.stdout.strip().splitlines()[-1])
        said = np.load(folder / "said.npy")
    truth = matrix_and_target(parts[1], learned_contract(parts[0], contract))[1]
    return Result(figure(contract, truth, said), told["seconds"], told["row_ms"])


def measure(name: str, python: str, seconds: float) -> dict[str, Result]:
    """Prints one line of the table."""
    with tempfile.TemporaryDirectory(prefix="slipway-automl-") as place:
        project, train, held = drafted(name, Path(place))
        found = {OURS: ours(project, train, held, seconds)}
        for tool in TOOLS:
            found[tool] = theirs(tool, python, project, (train, held), seconds)
    best = min(one.loss for one in found.values())
    cells = [f"{one.loss:,.4g} ({one.loss / best - 1:+.1%}), {one.row_ms:,.3g} ms" for one in found.values()]
    took = ", ".join(f"{one.seconds:.0f}" for one in found.values())
    metric = metrics.leading(project.contract.task).label
    print(f"| {name}, by {project.split.by} | {metric} | {' | '.join(cells)} | {took} |", flush=True)
    return found


def ranks(found: dict[str, Result]) -> dict[str, int]:
    return {name: 1 + sum(other.loss < one.loss for other in found.values()) for name, one in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", required=True, help="interpreter of an environment with the other tools")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("tables", nargs="*")
    asked = parser.parse_args()
    print(f"{asked.seconds:g} s each; loss (beside the best), CPU of one row:\n")
    print(f"| table | figure | {OURS} | {' | '.join(TOOLS)} | seconds |\n|---|---|{'---:|' * 5}")
    placed: list[dict[str, int]] = []
    for name in asked.tables or TABLES:
        placed.append(ranks(measure(name, asked.peers, asked.seconds)))
    means: dict[str, Any] = {name: statistics.mean(one[name] for one in placed) for name in (OURS, *TOOLS)}
    print(f"| mean rank | | {' | '.join(f'{one:.2f}' for one in means.values())} | |")


if __name__ == "__main__":
    main()
