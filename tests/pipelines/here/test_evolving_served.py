"""A contract that changes four times under traffic: each version is released by a canary, and its bar is a sum by hand.

Which rows are compared is counted here from the table and the rule of the split alone: a row is held out where the hash
of what its cells mean, in the columns of the first contract by name, lies in the lowest quarter of its range.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pytest
import yaml

from pipelines.here.serving import launch
from pipelines.settings import load
from serving.local import client
from serving.local.paths import service_directory
from serving.local.service import LocalService
from serving.rollout.state import Phase, RolloutState
from tests.load import Answer, Load, ask, request
from tests.pipelines.here.support import slipway

ROWS, HOLDOUT = 3_000, 0.25
Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
PATH = "/v1/models/evo:predict"
SHORT = {
    "steps": [10, 50],
    "time": {"dwell": "0s", "bake": "1s", "drain": "5s"},
    "gates": {"output": None, "quality": None, "slow": None},  # versions differ, and the machine may be slow
    "risk": {"rho": 0.05},
}


@dataclass(frozen=True)
class Stage:
    """A contract and what else is new; each model is fitted closer than the one before, so that it is better."""

    low: float
    high: float
    kinds: str
    z: bool
    seed: int
    alpha: float

    @property
    def project(self) -> dict[str, Any]:
        columns: dict[str, Any] = {
            "x": {"type": "float", "range": [self.low, self.high]},
            "kind": {"type": "category", "values": list(self.kinds)},
        }
        if self.z:
            columns["z"] = {"type": "float", "nullable": True}
        return {
            "name": "evo",
            "source": {"uri": "t.csv"},
            "contract": {"target": {"name": "y"}, "columns": columns, "refuse_above": 0.5},
            "split": {"by": "random", "holdout": HOLDOUT},
            "model": {"family": "ridge", "params": {"alpha": self.alpha}},
            "gates": [{"metric": "rmse", "against": "champion"}],
            "rollout": SHORT,
            "seed": self.seed,
        }

    def takes(self, table: pl.DataFrame) -> Mask:
        x, kind = table["x"].to_numpy(), table["kind"].to_list()
        inside: Mask = (x >= self.low) & (x <= self.high) & np.array([one in self.kinds for one in kind])
        return inside

    def held(self, table: pl.DataFrame) -> Mask:
        share: Mask = row_hashes(table, self.seed) < HOLDOUT * 2.0**64
        return share

    @property
    def asked(self) -> bytes:
        """A request that each contract with these columns takes; the server takes no column more and none less."""
        return request(PATH, json.dumps({"instances": self.cells(A_ROW)}).encode())

    def cells(self, table: pl.DataFrame) -> list[dict[str, Any]]:
        """Rows as a caller would send them."""
        return list(table.select("x", "kind", *(["z"] if self.z else [])).iter_rows(named=True))


A_ROW = pl.DataFrame({"x": [4.2], "kind": ["b"], "z": [None]})
FIRST = Stage(0, 8, "abc", z=False, seed=1, alpha=20_000)
CHANGES = {
    "a column more": Stage(0, 8, "abc", z=True, seed=2, alpha=6_000),
    "one less": Stage(0, 8, "abc", z=False, seed=3, alpha=2_000),
    "categories reordered, and one more": Stage(0, 8, "dbac", z=False, seed=4, alpha=600),
    "a range widened": Stage(-1, 10, "dbac", z=False, seed=5, alpha=1),
}

NARROWED = {"a column more": ["z is needed now"], "one less": ["z is not taken any more"]}


def mixed(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64, as it was published."""
    with np.errstate(over="ignore"):
        words = words + np.uint64(0x9E3779B97F4A7C15)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return words ^ (words >> np.uint64(31))


def row_hashes(table: pl.DataFrame, seed: int) -> npt.NDArray[np.uint64]:
    """Of kind, x and y: a text by pandas, a number by its bits."""
    found, zero = np.full(table.height, seed, np.uint64), mixed(np.zeros(1, np.uint64))
    for words in (
        pd.util.hash_array(np.array(table["kind"].to_list(), object), categorize=False),
        table["x"].to_numpy().view(np.uint64),
        table["y"].to_numpy().view(np.uint64),
    ):
        found = mixed(found) ^ mixed(mixed(words) ^ zero)
    return mixed(found)


def rows_of_the_source() -> pl.DataFrame:
    """Some of x, of kind and of z are what the first contract does not take."""
    random = np.random.default_rng(5)
    x, z = random.uniform(-1, 10, ROWS).round(4), random.normal(0, 1, ROWS).round(4)
    kind = random.choice(list("abcd"), ROWS, p=[0.4, 0.3, 0.2, 0.1])
    level = {"a": 0.0, "b": 2.0, "c": 5.0, "d": 9.0}
    y = (3 * x + [level[one] for one in kind] + 0.5 * z + random.normal(0, 0.3, ROWS)).round(4)
    gaps = [None if place % 10 == 0 else float(one) for place, one in enumerate(z)]
    return pl.DataFrame({"y": y, "kind": kind.tolist(), "z": gaps, "x": x})


class Service:
    """A home whose model is served; its project and its table are written anew for each stage."""

    def __init__(self, root: Path) -> None:
        self.root, self.home, self.table = root, root / "home", rows_of_the_source()
        self.place = load(str(self.home))
        self.directory = service_directory(self.place.serving, "evo")
        self.port = 0

    def run(self, stage: Stage) -> Path:
        """Train and release; where the results of the run's steps are."""
        (self.root / "project.yaml").write_text(yaml.safe_dump(stage.project))
        (self.table if stage is not FIRST else self.table.drop("z")).write_csv(self.root / "t.csv")
        said = slipway("run", "--project", self.root / "project.yaml", "--json", home=self.home)
        assert said.code == 0, (said.out, said.err)
        result = next(line for line in said.lines if line["subject"] == "result")
        return self.home / "pipeline_root" / "runs" / str(result["run_id"])

    def ended(self, version: int) -> RolloutState:
        """The rollout of *version* once it is over or waits for a person."""
        with LocalService(self.place.serving, "evo").desk() as desk:

            def look() -> RolloutState | None:
                state = stored.state if (stored := desk.load()) else None
                if state is None or state.candidate.version != version:
                    return None
                return state if state.terminal or state.phase is Phase.PAUSED else None

            return client.wait_for(look, 300, lambda: f"no end: {desk.load()}")

    def predictions(self, rows: list[dict[str, Any]], version: int) -> Numbers:
        """What the endpoint says of *rows*, all of it from *version*."""
        answer: Answer = ask(self.port, request(PATH, json.dumps({"instances": rows}).encode()))
        assert (answer.status, answer.revision) == (200, f"evo-{version}"), answer
        return np.array(json.loads(answer.body)["predictions"], float)


@contextmanager
def served(root: Path) -> Iterator[tuple[Service, Path]]:
    """The service with its first version, and the run that made it."""
    service = Service(root)
    made = service.run(FIRST)
    service.port = urlsplit(launch(root / "project.yaml", service.place, 0)).port or 0
    try:
        client.wait_for(lambda: ask(service.port, FIRST.asked).status == 200 or None, 120, lambda: "nobody answers")
        yield service, made
    finally:
        client.stop(service.directory)


def one_file(run: Path, pattern: str) -> Path:
    (found,) = run.glob(pattern)
    return found


def pairs(table: pl.DataFrame) -> set[tuple[float, ...]]:
    """Rows as x and y, which no two of them share."""
    return set(table.select(pl.col("x", "y").cast(float)).iter_rows())


def trained_on(run: Path) -> set[tuple[float, ...]]:
    """The rows that the step ``split`` gave to the step ``train``."""
    return pairs(pl.concat([pl.read_parquet(one) for one in run.glob("split/*/train/parts/*.parquet")]))


def rmse(seen: Numbers, table: pl.DataFrame) -> float:
    return float(np.sqrt(np.mean((seen - table["y"].to_numpy()) ** 2)))


@pytest.mark.slow
def test_four_contracts_go_through_a_canary_and_each_champion_scores_what_it_scores_by_hand(tmp_path: Path) -> None:
    """No request is lost; the gate's bar is the champion's error on the held-out rows that it was not trained on."""
    with served(tmp_path) as (service, run):
        champion, table = FIRST, service.table
        for version, (change, stage) in enumerate(CHANGES.items(), 2):
            taken = table.filter(champion.takes(table))
            assert trained_on(run) == pairs(taken.filter(~champion.held(taken))), "the rule of the split is another"
            held = table.filter(stage.takes(table) & stage.held(table))
            common = held.filter(champion.takes(held) & champion.held(held))
            bar = rmse(service.predictions(champion.cells(common), version - 1), common)
            run = released(service, champion, stage, version)
            decision = json.loads(one_file(run, "gate/*/decision/decision.json").read_text())
            assert decision["narrowed"] == NARROWED.get(change, [])
            assert f"on {common.height:,} of {held.height:,} rows" in decision["compared"], change
            own = rmse(service.predictions(stage.cells(common), version), common)
            (check,) = decision["checks"]
            assert (check["bar"], check["seen"]) == (pytest.approx(bar, rel=1e-9), pytest.approx(own, rel=1e-9)), change
            champion = stage


def released(service: Service, champion: Stage, stage: Stage, version: int) -> Path:
    """The run of *stage*, which its rollout promotes while callers ask as either contract says.

    Each version answers its own callers; the others are refused where it says so, and by nothing else.
    """
    bodies = champion.asked, stage.asked
    with Load(service.port, lambda number: bodies[number % 2], rate=200) as traffic:
        run = service.run(stage)
        state = service.ended(version)
    assert state.phase is Phase.SUCCEEDED, state
    answered = {200} if champion.z == stage.z else {200, 400}
    for arm in (version - 1, version):
        assert {one.status for one in traffic.answers if one.revision == f"evo-{arm}"} == answered
    assert {one.status for one in traffic.answers} == answered, traffic.lost[0]
    return run
