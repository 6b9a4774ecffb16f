"""``model: auto`` beside AutoGluon and FLAML, which get the same rows and the same wall time, as a table.

    python -m tests.bench.automl --peers autogluon=PYTHON flaml=PYTHON [--seconds 120] [--tables TABLE ...]

Six tables of ``tests.tables.made``, of which three are split by time, or files of one's own as ``FILE:TARGET``. Ours
begins with the draft that ``slipway init`` writes, without a line edited, and searches as long as the others may. All
are judged on the rows that the draft's split holds out. Each tool has a process of its own, in the environment that is
named for it. One row costs what its scoring takes, and what a whole server of ours takes for it, asked by V1 over HTTP.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
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
from components.modelling.profiles import profile
from components.modelling.search.auto import tune_families
from components.modelling.search.tuning import Search
from components.modelling.training import predict
from components.projects import project as projects
from components.projects.project import Project
from pipelines.here.asking import records_of
from serving.bundle.bundle import write_bundle
from serving.bundle.signing import SigningKey
from serving.durations import parse
from tests.bench import servers
from tests.bench.auto import figure, one_row
from tests.tables.made import made

TABLES = ("rentals", "sales", "rides", "homes", "campaign", "incomes")
TOOLS = ("autogluon-best", "autogluon-good", "flaml")
OURS = "slipway"
MODEL = "/v1/models/housing:predict"
CONNECTIONS, SECONDS = 8, 3.0  # of the load on a server
LATEST = 10  # times the seconds given, after which a tool is not waited for


@dataclass(frozen=True)
class Result:
    """Of one contestant on one table: the leading loss, seconds, and milliseconds of CPU for one row.

    Attributes:
        served_ms: of a server, its HTTP and JSON included; NaN of a tool that brings none.
    """

    loss: float
    seconds: float
    row_ms: float
    served_ms: float = float("nan")

    def against(self, best: float) -> str:
        served = "" if np.isnan(self.served_ms) else f" (served {self.served_ms:,.3g})"
        return f"{self.loss:,.4g} ({self.loss / best - 1:+.1%}), {self.row_ms:,.3g} ms{served}"


def drafted(name: str, folder: Path) -> tuple[Project, pl.DataFrame, pl.DataFrame]:
    """The project as ``slipway init`` drafts it, its training rows and those held out, in the order of time."""
    now, place = datetime.now(UTC), folder / "project.yaml"
    own, _, target = name.rpartition(":")
    file = Path(own).resolve() if own else made(name).write(folder)
    with sources.opened(str(file), None) as known:
        wishes = Wishes(target if own else made(name).target)
        place.write_text(draft(look(known), wishes, place, now).text, encoding="utf-8")
    project = projects.load(place)
    rows = sources.read(project.source.uri, None, Needed.of(project.contract))
    accepted = validate(rows, project.contract, now).accepted
    if project.contract.event_time:
        accepted = accepted.sort(project.contract.event_time, maintain_order=True)
    train, held = masks(accepted, project.split, project.contract, project.seed)
    return project, accepted.filter(pl.Series(train)), accepted.filter(pl.Series(held))


def ours(project: Project, train: pl.DataFrame, held: pl.DataFrame, seconds: float, folder: Path) -> Result:
    contract, begun = learned_contract(train, project.contract), time.monotonic()
    asked = Search(timeout=parse(f"{seconds:g}s"))
    found = tune_families(train, contract, project.features, project.model, asked, project.split, project.seed)
    x, y = matrix_and_target(train, contract)
    pipeline = fit_recipe(x, y, contract, project.features, project.model, project.seed, found.best_params)
    took = time.monotonic() - begun
    new, truth = matrix_and_target(held, contract)
    said = predict(pipeline, contract, new)
    key = SigningKey.generate()
    write_bundle(
        folder / "bundle", pipeline=pipeline, contract=contract, golden=new[:100], card="", provenance={}, key=key,
        profile=profile(new, contract, said, truth, {}),
    )  # fmt: skip
    (folder / "public.pem").write_bytes(key.public.pem)
    held.write_parquet(folder / "held.parquet")
    row_ms = one_row(pipeline, contract, new)
    return Result(figure(contract, truth, said), took, row_ms, served(folder, project))


def served(folder: Path, project: Project) -> float:
    """Milliseconds of CPU that a server of the bundle takes for a request of one row; the load is a process of its own,
    since this one has models and tables to look after."""
    (row,) = records_of(str(folder / "held.parquet"), project.contract, None).first(1).records.values()
    (folder / "body.json").write_text(json.dumps({"instances": [row]}))
    port = servers.free_port()
    load = [sys.executable, "-m", "tests.bench.client", str(port), str(folder / "body.json"), MODEL, str(CONNECTIONS)]
    with servers.running(servers.ours(folder, port), port) as server:
        subprocess.run([*load, "1"], check=True, stdout=subprocess.DEVNULL)
        with subprocess.Popen([*load, f"{SECONDS:g}"], stdout=subprocess.PIPE) as loading:
            assert loading.stdout is not None
            loading.stdout.readline()  # it begins
            before = server.cpu_s()
            told = json.loads(loading.stdout.read())
            return 1e3 * (server.cpu_s() - before) / len(told["latencies"])


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


def measure(name: str, tools: Sequence[str], pythons: Mapping[str, str], seconds: float) -> dict[str, Result]:
    """Prints one line of the table."""
    with tempfile.TemporaryDirectory(prefix="slipway-automl-") as place:
        project, train, held = drafted(name, Path(place))
        found = {OURS: ours(project, train, held, seconds, Path(place))}
        for tool in tools:
            found[tool] = theirs(tool, pythons[tool.partition("-")[0]], project, (train, held), seconds)
    best = min(one.loss for one in found.values())
    cells = [one.against(best) for one in found.values()]
    took = ", ".join(f"{one.seconds:.0f}" for one in found.values())
    metric = metrics.leading(project.contract.task).label
    name = Path(name.rpartition(":")[0]).stem or name
    print(f"| {name}, by {project.split.by} | {metric} | {' | '.join(cells)} | {took} |", flush=True)
    return found


def ranks(found: dict[str, Result]) -> dict[str, int]:
    return {name: 1 + sum(other.loss < one.loss for other in found.values()) for name, one in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", nargs="*", default=TOOLS, help="the others; none for ours alone")
    parser.add_argument("--peers", nargs="+", default=(), metavar="TOOL=PYTHON", help="interpreters of the tools")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--tables", nargs="+", default=TABLES, metavar="TABLE | FILE:TARGET")
    asked = parser.parse_args()
    pythons = dict(one.split("=", 1) for one in asked.peers)
    if unknown := {tool.partition("-")[0] for tool in asked.tools} - pythons.keys():
        parser.error(f"no interpreter for {', '.join(sorted(unknown))}: give --peers TOOL=PYTHON, or others as --tools")
    print(f"{asked.seconds:g} s each; loss (beside the best), CPU of one row:\n")
    print(f"| {' | '.join(('table', 'figure', OURS, *asked.tools, 'seconds'))} |")
    print(f"|---|---|{'---:|' * (2 + len(asked.tools))}")
    placed: list[dict[str, int]] = []
    for name in asked.tables:
        placed.append(ranks(measure(name, asked.tools, pythons, asked.seconds)))
    means: dict[str, Any] = {name: statistics.mean(one[name] for one in placed) for name in (OURS, *asked.tools)}
    print(f"| mean rank | | {' | '.join(f'{one:.2f}' for one in means.values())} | |")


if __name__ == "__main__":
    main()
