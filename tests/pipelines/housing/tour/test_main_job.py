"""The main job as a newcomer types it: real processes from rows to traffic, and the endpoint it leaves running."""

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from components.projects import project as projects
from pipelines.housing import market
from pipelines.housing.tour.buyers import Crowd, requests_of
from pipelines.housing.tour.tour import SEED
from serving.ledger.ledger import open_ledger
from serving.local import client
from tests.root import ROOT

PROJECT = ROOT / "pipelines/housing/project.yaml"
REQUESTS = 5_000
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]


def slipway(home: Path, *words: str, code: int = 0) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "pipelines.cli.main", "--home", str(home), "--json", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]


def of(lines: list[dict[str, Any]], subject: str) -> list[str]:
    return [line["text"] for line in lines if line["subject"] == subject]


@dataclass(frozen=True)
class Played:
    home: Path
    lines: list[dict[str, Any]]

    @property
    def address(self) -> str:
        return client.endpoint(self.home / "serving" / "housing")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    home = tmp_path_factory.mktemp("home")
    yield Played(home, slipway(home, "tour", "--keep"))
    slipway(home, "serve", "stop")


def post(address: str, path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    request = urllib.request.Request(
        f"{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["x-revision"], json.load(answer)


def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = market.sales("recession", range(27, 28), SEED, turn=24, dirty=0.0).to_dicts()
    return found


def test_the_market_turns_and_the_second_version_takes_over(played: Played) -> None:
    """Healthy, degraded, retrained, canaried without a lost request, better than before, back and forward again."""
    watched = [line.split(":")[0] for line in of(played.lines, "watch")]
    assert watched[:2] == ["housing 1 is healthy", "housing 1 is degraded"]
    assert of(played.lines, "loop")[0].startswith("retrain, performance")
    assert of(played.lines, "canary")[-1] == "succeeded: housing-2 serves all requests"
    assert {line["lost"] for line in played.lines if "lost" in line} == {0}
    errors = [float(line.split("RMSE ")[1].split(" ")[0].replace(",", "")) for line in of(played.lines, "watch")]
    assert errors[2] < errors[1] / 2
    assert (played.home / "report.html").stat().st_size > 20_000


def test_an_unchanged_tour_stands(played: Played) -> None:
    """The same command again says the same, says so, and makes no version."""
    again = slipway(played.home, "tour", "--keep")
    said = [(line["subject"], line["text"]) for line in played.lines]
    assert [(line["subject"], line["text"]) for line in again][: len(said) - 8] == said[:-8]
    assert of(again, "unchanged")
    assert len(open_ledger(f"sqlite:///{played.home}/ledger.db").versions("housing")) == 2


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_a_request_says_which_version_answered_and_the_split_is_as_set(played: Played, protocol: str) -> None:
    """At 20 % by hand the share of the canary lies in the binomial 99.9 % interval, in both of KServe's protocols."""
    slipway(played.home, "rollout", "set", "20", "--version", "1")
    contract = projects.load(PROJECT).contract
    row = {name: rows()[0][name] for name in contract.names}
    kinds = {"float": "FP64", "int": "INT64", "category": "BYTES", "bool": "BOOL"}
    tensors = [
        {"name": name, "shape": [1], "datatype": kinds[contract.columns[name].type], "data": [value]}
        for name, value in row.items()
    ]
    path, body = {
        "v1": ("/v1/models/housing:predict", {"instances": [row]}),
        "v2": ("/v2/models/housing/infer", {"inputs": tensors}),
    }[protocol]
    seen: Counter[tuple[str, str]] = Counter()
    for _ in range(REQUESTS):
        revision, answer = post(played.address, path, body)
        seen[revision, answer["model_version"]] += 1
    assert set(seen) == {("housing-1", "1"), ("housing-2", "2")}
    low, high = binom.interval(0.999, REQUESTS, 0.2)
    print(protocol, dict(seen), low, high)
    assert low <= seen["housing-1", "1"] <= high
    slipway(played.home, "rollout", "set", "0")


def test_no_request_is_lost_through_promote_and_rollback(played: Played) -> None:
    """Under load by hand: a canary, all traffic to it, and back."""
    contract = projects.load(PROJECT).contract
    with Crowd(played.address, "housing", requests_of(rows(), contract, prefix="hand-"), clients=3) as crowd:
        slipway(played.home, "rollout", "set", "20", "--version", "1")
        slipway(played.home, "rollout", "promote", "--reason", "seen enough")
        slipway(played.home, "rollout", "rollback", "--reason", "not so sure")
    assert set(crowd.replies.by_version) == {"1", "2"}
    assert crowd.replies.lost == 0
    print(len(crowd.replies), crowd.replies.by_version)
    assert open_ledger(f"sqlite:///{played.home}/ledger.db").slot("housing", "production").version == 2


@pytest.mark.parametrize("world", ["calm", "season"])
def test_where_nothing_is_wrong_nothing_is_trained(tmp_path: Path, world: str) -> None:
    """The same story in a quiet market, and in one with its usual seasons, ends with the first version."""
    lines = slipway(tmp_path, "tour", "--world", world)
    print(of(lines, "watch"), of(lines, "loop"))
    assert [text.split(":")[0] for text in of(lines, "watch")] == ["housing 1 is healthy"] * 2
    assert of(lines, "loop")[0].startswith("no run")
    assert len(open_ledger(f"sqlite:///{tmp_path}/ledger.db").versions("housing")) == 1
