"""The verbs that show a rollout, tell it late truths, and compare two versions on a fixed split."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipelines.cli.main import slipway as program
from serving.errors import ConflictError, DataError, SlipwayError, UsageError
from serving.local.envoy_config import SPLIT_ROUTE
from serving.local.experiment import values_file
from serving.local.extras import labels_file
from serving.local.paths import service_paths
from serving.local.service import rollout_file
from serving.local.state import AskedRevision, update_desired
from serving.rollout.backend import Split
from tests.root import HOUSING
from tests.serving.rollout.support import World

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
        slipway("page", "--project", str(HOUSING))
    world = World(tmp_path / "world")
    started = world.start()
    world.run()
    world.close()
    rollout_file(directory).write_bytes((tmp_path / "world" / "housing.db").read_bytes())
    path = tmp_path / "page.html"
    assert slipway("page", "--project", str(HOUSING), "--output", str(path))["rollout"] == started.id
    assert started.id in path.read_text()


def test_labels_are_told_from_a_table(slipway: Slipway, directory: Path, tmp_path: Path) -> None:
    """Rows without a truth are none; a table without the columns is refused by name."""
    table = tmp_path / "labels.csv"
    table.write_text("request_id,price\na,100000\nb,\nc,250000.5\n")
    assert slipway("labels", str(table), "--project", str(HOUSING)) == {"labels": 2, "unusable": 0}
    lines = [json.loads(line) for line in labels_file(directory).read_text().splitlines()]
    assert lines == [{"request_id": "a", "truth": 100000.0}, {"request_id": "c", "truth": 250000.5}]
    table.write_text("id,price\na,1\n")
    with pytest.raises(DataError, match="no request_id"):
        slipway("labels", str(table), "--project", str(HOUSING))


def served(directory: Path, canary: dict[str, int], stable: dict[str, int], header: str | None = None) -> None:
    """A service on paper whose access log has these requests, by status or duration; with *header* three to a key."""
    where = service_paths(directory)
    where.prepare()
    revisions = {
        f"housing-{n}": AskedRevision(name=f"housing-{n}", model="housing", version=n, bundle_uri="/b", digest=str(n))
        for n in (1, 2)
    }
    split = Split(weights={"housing-1": 500, "housing-2": 500}, sticky_header=header)
    changes = {"revisions": revisions, "stable": "housing-1", "split": split, "epoch": "by-hand-1"}
    update_desired(where, lambda desired: desired.model_copy(update=changes))
    with where.access_log.open("a") as file:
        for name, arm in (("housing-2", canary), ("housing-1", stable)):
            for number in range(arm["n"]):
                status = 500 if number < arm.get("errors", 0) else 200
                ms = arm.get("ms", 10) + number % 3
                key = f"{name} {number // 3}" if header else None
                line = {"r": f"{SPLIT_ROUTE}by-hand-1", "c": name, "s": status, "f": "-", "d": ms, "k": key}
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
    seen = slipway("experiment", "compare", "--metric", metric, "--project", str(HOUSING))
    assert (seen["a"], seen["b"], seen["verdict"]) == ("housing-1", "housing-2", verdict)


def told(slipway: Slipway, directory: Path, *, keyed: bool, worth: Mapping[str, tuple[float, ...]]) -> None:
    """Answers in the prediction log, three to a key, and the value of each, in turn from *worth* by revision."""
    rows = ["request_id,value"]
    for name, values in worth.items():
        folder = service_paths(directory).predictions / name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "predictions.jsonl").open("a") as file:
            for number in range(900):
                line = {"request_id": f"{name}-{number}", "row": 0, "time": "2024-01-01T00:00:00Z", "prediction": 1.0}
                unit = {"unit": f"{name} {number // 3}"} if keyed else {}
                file.write(json.dumps(line | {"epoch": "by-hand-1"} | unit) + "\n")
                rows.append(f"{name}-{number},{values[number % len(values)]}")
    table = directory / "values.csv"
    table.write_text("\n".join(rows))
    assert slipway("experiment", "value", str(table), "--project", str(HOUSING)) == {"values": len(rows) - 1}


@pytest.mark.parametrize(
    ("worth_b", "options", "verdict"),
    [
        pytest.param((1.0, 5.0), (), "better", id="worth-more"),
        pytest.param((1.0, 5.0), ("--prefer", "lower"), "worse", id="and-less-was-wanted"),
        pytest.param((0.0, 4.0), ("--margin", "1.5"), "equivalent", id="worth-the-same"),
        pytest.param((0.0, 4.0), (), "undecided", id="no-margin-no-equivalence"),
    ],
)
@pytest.mark.parametrize("header", [None, "x-user"], ids=["per-request", "per-key"])
def test_an_experiment_compares_what_requests_were_worth(
    slipway: Slipway, directory: Path, header: str | None, worth_b: tuple[float, ...], options: Any, verdict: str
) -> None:
    """Each request's value, or under a sticky split the sum over the requests of a key: three times as much here."""
    served(directory, {"n": 900}, {"n": 900}, header)
    told(slipway, directory, keyed=header is not None, worth={"housing-1": (0.0, 4.0), "housing-2": worth_b})
    seen = slipway("experiment", "compare", "--metric", "value", *options, "--project", str(HOUSING))
    assert seen["verdict"] == verdict
    assert seen["estimate"] == pytest.approx((sum(worth_b) - 4.0) / 2 * (3 if header else 1))


def test_a_sticky_experiment_counts_keys(slipway: Slipway, directory: Path) -> None:
    """Requests of the same few keys are no more evidence than the few keys are."""
    served(directory, {"n": 600, "errors": 300}, {"n": 600}, "x-user")
    seen = slipway("experiment", "compare", "--project", str(HOUSING))
    assert (seen["estimate"], seen["verdict"]) == (0.5, "worse")
    lines = [json.loads(text) for text in service_paths(directory).access_log.read_text().splitlines()]
    few = "".join(json.dumps(line | {"k": f"{line['c']} {number % 3}"}) + "\n" for number, line in enumerate(lines))
    service_paths(directory).counts.unlink()
    service_paths(directory).access_log.write_text(few)
    assert slipway("experiment", "compare", "--project", str(HOUSING))["verdict"] == "undecided"


def test_values_that_cannot_be_joined_or_summed_are_refused(slipway: Slipway, directory: Path, tmp_path: Path) -> None:
    """A key that no log names, an arm that is told more often, a request told twice, what is no number."""
    served(directory, {"n": 900}, {"n": 900}, "x-user")
    worth = {"housing-1": (1.0,), "housing-2": (2.0,)}
    told(slipway, directory, keyed=False, worth=worth)
    with pytest.raises(ConflictError, match="housing-1 has answered 300 keys and its prediction log names none"):
        slipway("experiment", "compare", "--metric", "value", "--project", str(HOUSING))
    with pytest.raises(UsageError, match="better when lower"):
        slipway("experiment", "compare", "--prefer", "higher", "--project", str(HOUSING))
    with pytest.raises(UsageError, match="header's name"):
        slipway("experiment", "start", "2", "--sticky", "x user", "--project", str(HOUSING))
    table = tmp_path / "values.csv"
    for text, reason in (
        ("id,value\na,1\n", "no request_id"),
        ("request_id,value\na,1\na,2\n", "one row per request_id"),
        ("request_id,value\na,much\n", "finite numbers"),
        ("request_id,value\na,inf\n", "finite numbers"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=reason):
            slipway("experiment", "value", str(table), "--project", str(HOUSING))


def test_values_that_come_for_one_arm_alone_are_no_evidence(slipway: Slipway, directory: Path) -> None:
    """Only successes were told, of which b has more: their mean says nothing, and that is said."""
    served(directory, {"n": 900}, {"n": 900})
    told(slipway, directory, keyed=False, worth={"housing-1": (2.0,), "housing-2": (2.0,)})
    lines = values_file(directory).read_text().splitlines(keepends=True)
    values_file(directory).write_text("".join(lines[:450] + lines[900:]))
    seen = slipway("experiment", "compare", "--metric", "value", "--project", str(HOUSING))
    assert seen["verdict"] == "invalid"


def test_without_a_second_arm_there_is_no_experiment(slipway: Slipway) -> None:
    """And the message says how to start one."""
    with pytest.raises(ConflictError, match="experiment start"):
        slipway("experiment", "compare", "--project", str(HOUSING))


def test_power_tells_how_long_an_experiment_takes(slipway: Slipway) -> None:
    """Half the effect needs about four times as many requests."""
    wide, narrow = (slipway("experiment", "power", "--base", "0.1", "--effect", e) for e in ("0.04", "0.02"))
    assert wide["fixed"] < narrow["fixed"] < 5 * wide["fixed"]
    worth = slipway("experiment", "power", "--metric", "value", "--base", "3", "--effect", "0.2", "--deviation", "1.5")
    assert 1700 < worth["fixed"] < 1800
    assert wide["sequential"] > wide["fixed"]
    assert wide["seconds"] == wide["sequential"] / 50
