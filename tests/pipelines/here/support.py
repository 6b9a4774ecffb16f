"""Tiny projects, the command line in this process, and a service on a fake place, for tests of whole runs."""

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
import yaml

from components.steps.provenance import CodeVersion
from pipelines.cli.main import main
from pipelines.housing import market
from serving.cluster.control import ClusterControl, Notes
from serving.cluster.service import ClusterService
from serving.ledger.ledger import Ledger, open_ledger
from serving.local.control import local_control
from serving.local.paths import service_directory
from serving.places import open_service
from serving.rollout.controller.tables import open_rollouts
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import RolloutState
from serving.service.control import Control
from serving.service.release import Release, release_version
from tests.serving.ledger.facts import facts
from tests.serving.rollout.fake import Clock, FakeBackend
from tests.serving.rollout.support import plan

AS_OF = "2024-06-01"  # a month after the newest sale
CONTRACT: dict[str, Any] = {
    "key": "property_id",
    "event_time": "sold_at",
    "target": {"name": "price", "unit": "EUR", "range": [20_000, 10_000_000]},
    "columns": {
        "region": {"type": "category", "values": ["city", "suburb", "coast", "country"]},
        "area_m2": {"type": "float", "unit": "m2", "range": [15, 600]},
        "distance_km": {"type": "float", "unit": "km", "range": [0, 150]},
    },
    "refuse_above": 0.05,
}


@dataclass(frozen=True)
class Said:
    """What a command did: exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Of a command with ``--json`` that prints one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def value(self) -> Any:
        """Of a command with ``--json`` that prints one answer."""
        return json.loads(self.out)


def slipway(*words: object, home: Path | None = None) -> Said:
    """The command line in this process; runs take the code for the same whatever happens to the checkout meanwhile."""
    out, err = io.StringIO(), io.StringIO()
    arguments = [*(() if home is None else ("--home", str(home))), *map(str, words)]
    with (
        patch("pipelines.here.training.code_digest", lambda: "c" * 64),
        patch("pipelines.here.training.code_version", lambda _path: CodeVersion(commit="abc", dirty=False)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int)
    return Said(code, out.getvalue(), err.getvalue())


@cache
def sales() -> pl.DataFrame:
    """About 400 sales of four months, three of them dirty."""
    return market.read("market://calm?months=4&rows_per_month=100&seed=7").drop("label_at")


def write_table(directory: Path, frame: pl.DataFrame | None = None, name: str = "sales.csv") -> Path:
    path = directory / name
    table = sales() if frame is None else frame
    if path.suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)
    return path


def write_project(directory: Path, file: str = "project.yaml", **changes: Any) -> Path:
    """A project on ``sales.csv`` beside it: ridge, no search, a lenient gate; *changes* replace whole sections."""
    usual = {
        "name": "homes",
        "source": {"uri": "sales.csv"},
        "contract": CONTRACT,
        "split": {"by": "time", "holdout": "30d"},
        "features": {"transforms": {"area_m2": "log"}},
        "model": {"family": "ridge", "params": {"alpha": 1.0}},
        "gates": [{"metric": "rmse", "at_most": 200_000}],
        "seed": 42,
    }
    path = directory / file
    path.write_text(yaml.safe_dump(usual | changes, sort_keys=False))
    return path


def contract(**changes: Any) -> dict[str, Any]:
    return CONTRACT | changes


def states(home: Path, run_id: str) -> dict[str, str]:
    """The last state of each task of a run."""
    lines = (home / "runs" / run_id / "events.jsonl").read_text().splitlines()
    return {event["task"]: event["state"] for event in map(json.loads, lines)}


def one_sentence(said: Said, code: int, *parts: str) -> None:
    """The command ended with *code* and one line on standard error that holds *parts*; nobody sees a traceback."""
    assert said.code == code, (said.code, said.err, said.out)
    assert "Traceback" not in said.err + said.out
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("slipway: "), said.err
    for part in parts:
        assert part in said.err, said.err


def leftovers(home: Path) -> list[str]:
    """Temporary files that a finished command must not leave below *home*."""
    unfinished = re.compile(r"^\..*\.[a-z0-9_]{8}$")
    return [str(path) for path in home.rglob("*") if unfinished.match(path.name)]


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    with patch.dict("os.environ", values):
        yield


# --- a service under its controller ----------------------------------------------------------------------------------

MODEL = "housing"
QUICK = plan(steps=[10, 50], time={"dwell": "1s", "bake": "3s", "drain": "5s"}, keep_previous=True)


@dataclass(frozen=True)
class Fenced:
    """The fake place as the controller takes the Envoy backend: a value with a fencing token."""

    backend: FakeBackend
    fence: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


class Scene:
    """A home with a real ledger, a fake place with 400 requests a second, and the controller of one service.

    Args:
        serving: where the service is: below *home*, or in a namespace, whose controller is a ``ClusterControl``.
    """

    def __init__(self, home: Path, serving: str = "") -> None:
        self.home, self.clock = home, Clock()
        self.serving = serving or f"file://{home}/serving"
        self.url = f"sqlite:///{home}/ledger.db"
        self.service = open_service(self.serving, MODEL, self.url)
        self.service.monotonic, self.service.sleep = self.clock, self.clock.sleep
        if isinstance(self.service, ClusterService):
            self.service.clock = self.clock
        self.backend = FakeBackend(self.clock, rate=400, seed=2)
        self.ledger: Ledger = open_ledger(self.url, now=lambda: datetime.fromtimestamp(self.clock(), UTC))
        self.another()

    def another(self) -> None:
        """A controller that knows only what is stored."""
        self.cluster: ClusterControl | None = None
        if isinstance(self.service, ClusterService):
            engine = open_rollouts(self.url)
            self.cluster = ClusterControl("models", self.ledger, engine, lambda *_: self.backend, lambda: None)
            return
        directory = service_directory(self.serving, MODEL)
        self._local = local_control(directory, MODEL, self.ledger, Fenced(self.backend))  # type: ignore[arg-type]  # the fake

    def register(self, *numbers: int) -> None:
        for number in numbers:
            made = self.ledger.register(MODEL, facts(f"{number:064d}", f"file:///b/{number}"), "ada")
            self.ledger.approve(MODEL, made.version, "ada", "good")

    def release(self, version: int, rollout: RolloutPlan = QUICK, **options: Any) -> Release:
        return release_version(self.ledger, self.service, version, rollout, "ada", **options)

    @property
    def control(self) -> Control:
        if self.cluster is None:
            return self._local
        notes = self.cluster._notes.setdefault(MODEL, Notes(self.service.desk().memory))
        return self.cluster._control(MODEL, notes)

    def tick(self, seconds: float = 1.0) -> RolloutState | None:
        if self.cluster is not None:
            self.cluster.look(self.clock())
        else:
            self.control.tick(self.clock())
        self.clock.sleep(seconds)
        return self.state

    def until(self, true: Callable[[], object], limit: int = 300) -> None:
        for _ in range(limit):
            if true():
                return
            self.tick()
        pytest.fail(f"not so after {limit} passes: {self.state}, {self.backend.serving()}, {self.ledger.slots(MODEL)}")

    @property
    def state(self) -> RolloutState | None:
        stored = self.control.desk.load()
        return stored.state if stored else None

    @property
    def over(self) -> bool:
        return self.state is not None and self.state.terminal and self.state.successor is None

    def live_at(self, percent: float) -> None:
        self.until(lambda: self.slots["canary"][1] == percent)

    @property
    def slots(self) -> dict[str, tuple[int | None, float]]:
        return {name: (slot.version, slot.percent) for name, slot in self.ledger.slots(MODEL).items()}

    def stages(self) -> dict[int, str]:
        return {version.version: version.stage for version in self.ledger.versions(MODEL)}


if __name__ == "__main__":
    import sys

    ended = slipway(*sys.argv[1:])
    print(ended.out, ended.err)
    sys.exit(ended.code)
