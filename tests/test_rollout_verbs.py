"""The verbs that show a rollout, tell it late truths, and compare two versions on a fixed split."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipelines.cli.main import slipway as program
from serving.errors import ConflictError, DataError, SlipwayError
from serving.local.envoy_config import SPLIT_ROUTE
from serving.local.extras import labels_file
from serving.local.place import place
from serving.local.service import rollout_file
from serving.local.state import WantedRevision, WantedSplit, update_desired
from tests.rollout_support import World

PROJECT = Path(__file__).resolve().parent.parent / "pipelines/housing/project.yaml"
Slipway = Callable[..., Any]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The service's directory below the home of the command line."""
    return tmp_path / "serving" / "housing"


@pytest.fixture
def slipway(tmp_path: Path) -> Slipway:
    """Run a verb and return its JSON; errors come as they are."""

    def run(*words: str) -> Any:
        arguments = ["--home", str(tmp_path), "rollout", *words, "--json"]
        seen = CliRunner().invoke(program, arguments, catch_exceptions=True)
        if isinstance(seen.exception, SlipwayError):
            raise seen.exception
        assert seen.exit_code == 0, seen.output
        return json.loads(seen.output)

    return run


def test_the_page_is_written_where_one_asks(slipway: Slipway, directory: Path, tmp_path: Path) -> None:
    """From the stored state alone, whether or not anything serves."""
    with pytest.raises(ConflictError, match="no rollout"):
        slipway("page", "--project", str(PROJECT))
    world = World(tmp_path / "world")
    started = world.start()
    world.run()
    world.close()
    rollout_file(directory).write_bytes((tmp_path / "world" / "housing.db").read_bytes())
    path = tmp_path / "page.html"
    assert slipway("page", "--project", str(PROJECT), "--output", str(path))["rollout"] == started.id
    assert started.id in path.read_text()


def test_labels_are_told_from_a_table(slipway: Slipway, directory: Path, tmp_path: Path) -> None:
    """Rows without a truth are none; a table without the columns is refused by name."""
    table = tmp_path / "labels.csv"
    table.write_text("request_id,price\na,100000\nb,\nc,250000.5\n")
    assert slipway("labels", str(table), "--project", str(PROJECT)) == {"labels": 2}
    lines = [json.loads(line) for line in labels_file(directory).read_text().splitlines()]
    assert lines == [{"request_id": "a", "truth": 100000.0}, {"request_id": "c", "truth": 250000.5}]
    table.write_text("id,price\na,1\n")
    with pytest.raises(DataError, match="no request_id"):
        slipway("labels", str(table), "--project", str(PROJECT))


def served(directory: Path, canary: dict[str, int], stable: dict[str, int]) -> None:
    """A service on paper whose access log has these requests, by status or duration."""
    where = place(directory)
    where.prepare()
    revisions = {
        f"housing-{n}": WantedRevision(name=f"housing-{n}", model="housing", version=n, bundle_uri="/b", digest=str(n))
        for n in (1, 2)
    }
    split = WantedSplit(weights={"housing-1": 500, "housing-2": 500})
    changes = {"revisions": revisions, "stable": "housing-1", "split": split, "epoch": "by-hand-1"}
    update_desired(where, lambda desired: desired.model_copy(update=changes))
    with where.access_log.open("a") as file:
        for name, arm in (("housing-2", canary), ("housing-1", stable)):
            for number in range(arm["n"]):
                status = 500 if number < arm.get("errors", 0) else 200
                ms = arm.get("ms", 10) + number % 3
                line = {"r": f"{SPLIT_ROUTE}by-hand-1", "c": name, "s": status, "f": "-", "d": ms}
                file.write(json.dumps(line) + "\n")


@pytest.mark.parametrize(
    ("metric", "canary", "stable", "verdict"),
    [
        pytest.param("error", {"n": 3000, "errors": 300}, {"n": 3000, "errors": 30}, "worse", id="more-errors"),
        pytest.param("error", {"n": 3000, "errors": 3}, {"n": 3000, "errors": 3}, "undecided", id="as-many-errors"),
        pytest.param("latency", {"n": 3000, "ms": 8}, {"n": 3000}, "better", id="faster"),
        pytest.param("slow", {"n": 3000, "ms": 900}, {"n": 3000}, "worse", id="slower-than-the-objective"),
        pytest.param("error", {"n": 6000}, {"n": 3000}, "invalid", id="not-split-as-planned"),
        pytest.param("loss", {"n": 10}, {"n": 10}, "undecided", id="no-labels"),
    ],
)
def test_an_experiment_compares_the_two_arms(
    slipway: Slipway, directory: Path, metric: str, canary: dict[str, int], stable: dict[str, int], verdict: str
) -> None:
    """The canary is b; counts are those of the split in force."""
    served(directory, canary, stable)
    seen = slipway("experiment", "compare", "--metric", metric, "--project", str(PROJECT))
    assert (seen["a"], seen["b"], seen["verdict"]) == ("housing-1", "housing-2", verdict)


def test_without_a_second_arm_there_is_no_experiment(slipway: Slipway) -> None:
    """And the message says how to start one."""
    with pytest.raises(ConflictError, match="experiment start"):
        slipway("experiment", "compare", "--project", str(PROJECT))


def test_power_tells_how_long_an_experiment_takes(slipway: Slipway) -> None:
    """Half the effect needs about four times as many requests."""
    wide, narrow = (slipway("experiment", "power", "--base", "0.1", "--effect", e) for e in ("0.04", "0.02"))
    assert wide["fixed"] < narrow["fixed"] < 5 * wide["fixed"]
    assert wide["sequential"] > wide["fixed"]
    assert wide["seconds"] == wide["sequential"] / 50
