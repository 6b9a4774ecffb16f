"""Ten tables from their files to served models, beside ten lines of scikit-learn on the same rows, as a table.

    python -m tests.tables.served [TABLE ...]

``make tables``. Each takes ``slipway init`` and ``slipway run`` with no line of the draft edited, ``slipway serve`` and
a first answer. The ten lines see the rows that the run trained on, with moments taken apart by hand, and are judged, as
our model is, on those that it held out; theirs is the better of trees and a straight line by those very rows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from components.data import snapshots
from components.data.tables import matrix_and_target
from components.judging import metrics
from components.projects import project as projects
from tests.bench.auto import ten_lines
from tests.tables.made import TABLES, Made, made

SECONDS = 60  # that a service may take to its first answer
MANY = 255  # words that scikit-learn's trees take in one column


REFUSED = 5


class RefusedModel(Exception):
    """A gate has refused the model, which is a result like any other."""


def slipway(folder: Path, *words: str) -> str:
    """What the command says; it ends the measurement where it fails."""
    command = [sys.executable, "-m", "pipelines.cli.main", "--home", str(folder / "home"), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode == REFUSED:
        raise RefusedModel
    if done.returncode:
        raise SystemExit(f"slipway {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def served(table: Made, folder: Path) -> tuple[float, str]:
    """Seconds from the file to the first answer, and that answer."""
    file, begun = table.write(folder), time.monotonic()
    slipway(folder, "init", file.name, "--target", table.target)
    slipway(folder, "run", "--project", "project.yaml")
    command = [sys.executable, "-m", "pipelines.cli.main", "--home", str(folder / "home"), "serve", "--port", "0"]
    with (folder / "serve.log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log):
        answer = first_answer(folder, file)
        took = time.monotonic() - begun
        slipway(folder, "serve", "stop")
    return took, answer


def first_answer(folder: Path, file: Path) -> str:
    """What the service says of the first row, asked for until it does."""
    for _ in range(SECONDS):
        try:
            return slipway(folder, "predict", file.name, "--limit", "1", "--project", "project.yaml").strip()
        except SystemExit as error:
            last = error
            time.sleep(1)
    raise SystemExit(f"{last}\n{(folder / 'serve.log').read_text()}")


def by_hand(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers, moments as hour, weekday, month and days, words as words; what never repeats is left out."""
    done: dict[str, Any] = {}
    for name, cells in frame.items():
        numbers = pd.to_numeric(cells, errors="coerce")
        if numbers.notna().sum() > 0.5 * cells.notna().sum():
            done[str(name)] = numbers
            continue
        by_day = bool(cells.astype(str).str.contains(r"\d\.\d\d?\.\d").any())
        moments = pd.to_datetime(cells, errors="coerce", format="mixed", dayfirst=by_day)
        if moments.notna().mean() > 0.9:
            parts = {"hour": moments.dt.hour, "weekday": moments.dt.weekday, "month": moments.dt.month}
            done |= {f"{name} {part}": value.astype(float) for part, value in parts.items()}
            done[f"{name} days"] = (moments - pd.Timestamp("2000-01-01")).dt.days.astype(float)
        elif cells.nunique() <= MANY:
            done[str(name)] = cells.astype(object).where(cells.notna(), "")
    return pd.DataFrame(done)


def measure(name: str) -> str:
    """One line of the table."""
    table = made(name)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            took = f"{served(table, folder)[0]:.0f}"
        except RefusedModel:
            took = "refused by a gate"
        project = projects.load(folder / "project.yaml")
        tasks = json.loads((folder / "home/runs/01/outputs.json").read_text())["tasks"]
        metric = metrics.leading(project.contract.task)
        ours = tasks["evaluate"]["metrics"]["artifact"]["metadata"][metric.name]
        parts = [snapshots.read(Path(tasks["split"][side]["artifact"]["uri"])) for side in ("train", "holdout")]
    y, truth = (matrix_and_target(part, project.contract)[1] for part in parts)
    frames = pd.concat([part.to_pandas() for part in parts], ignore_index=True)
    plain = by_hand(frames.drop(columns=[table.target, *([project.contract.key] if project.contract.key else [])]))
    shown, asked = plain.iloc[: len(y)], plain.iloc[len(y) :]
    told = ten_lines(shown, y, asked, bool(project.contract.target.classes))
    found = {word: metrics.compute(project.contract.task, truth, said)[metric.name] for word, said in told.items()}
    theirs = min(found.values())  # what leads is a loss
    return f"| {name} | {metric.label} | {ours:,.4g} | {theirs:,.4g} | {ours / theirs - 1:+.1%} | {took} |"


def lines(names: list[str]) -> Iterator[str]:
    yield "| table | figure | `init` and `run` | ten lines | beside them | seconds from file to first answer |"
    yield "|---|---|---:|---:|---:|---:|"
    for name in names:
        yield measure(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=[])
    for line in lines(parser.parse_args().tables or list(TABLES)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
