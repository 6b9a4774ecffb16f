"""What a person gets for a mistake: one sentence, the exit code of its family, and nothing half-written."""

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pipelines.here.interpreter import Step
from pipelines.here.steps import StepFailed, Steps
from serving.errors import PlaceError
from serving.ledger.ledger import open_ledger
from tests.pipelines.here.support import (
    AS_OF,
    contract,
    environment,
    leftovers,
    one_sentence,
    sales,
    slipway,
    write_project,
    write_table,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good project on a good table; tests put their bad ones beside it."""
    directory = tmp_path_factory.mktemp("bad")
    write_table(directory)
    write_project(directory)
    return directory


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An empty home; whatever happened, no version came into being there and no temporary file stayed."""
    made = tmp_path / "home"
    yield made
    assert leftovers(tmp_path) == []
    if (made / "ledger.db").exists():
        assert open_ledger(f"sqlite:///{made}/ledger.db").models() == ()
    assert not (made / "models").exists()


def table(change: Any, name: str = "sales.csv") -> Any:
    """A case: the good table changed by *change*, written under *name*."""
    return lambda directory: write_table(directory, change(sales().head(200)), name)


def file(name: str, content: bytes) -> Any:
    def write(directory: Path) -> Path:
        (directory / name).write_bytes(content)
        return directory / name

    return write


def with_first(column: str, rows: int, value: Any) -> Any:
    """The first *rows* of *column* become *value*, and the column text where it was not."""
    first = pl.int_range(pl.len()) < rows
    return lambda frame: frame.with_columns(pl.when(first).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))


NO_ROWS = ",".join(["property_id", "sold_at", "region", "area_m2", "distance_km", "price"]) + "\n"
TABLES = [
    pytest.param(lambda d: d / "absent.csv", ["absent.csv does not exist", "check the path"], id="missing-file"),
    pytest.param(file("sales.xlsx", b"PK"), ["no known format", ".csv", ".parquet"], id="unknown-format"),
    pytest.param(
        file("sales.csv", NO_ROWS.encode()), ["empty table", "at least one row", "got none"], id="empty-table"
    ),
    pytest.param(file("sales.csv", b""), ["is empty", "a header and rows"], id="empty-file"),
    pytest.param(file("sales.parquet", b"PAR1 not really"), ["cannot be read as parquet"], id="unreadable-parquet"),
    pytest.param(table(lambda f: f.drop("area_m2")), ["area_m2"], id="absent-column"),
    pytest.param(table(lambda f: f.drop("price")), ["price"], id="absent-target"),
    pytest.param(table(lambda f: f.with_columns(area_m2=pl.lit("big"))), ["area_m2", "200 of 200"], id="wrong-type"),
    pytest.param(
        table(lambda f: f.with_columns(area_m2=pl.col("price") > 0), "sales.parquet"),
        ["area_m2"],
        id="wrong-type-parquet",
    ),
    pytest.param(table(with_first("price", 40, None)), ["price missing", "5.0%"], id="target-with-nulls"),
    pytest.param(table(with_first("region", 40, "moon")), ["region unknown", "5.0%"], id="unknown-category"),
    pytest.param(table(with_first("area_m2", 40, -3.0)), ["area_m2 out of range"], id="out-of-range"),
]


@pytest.mark.parametrize(("make", "parts"), TABLES)
def test_a_bad_table_is_refused_in_one_sentence(place: Path, home: Path, tmp_path: Path, make: Any, parts: Any) -> None:
    """Each table that breaks its contract ends with 4 and a sentence that names what is wrong."""
    source = make(tmp_path)
    words = ["data", "check", "--project", place / "project.yaml", "--source", source, "--as-of", AS_OF]
    one_sentence(slipway(*words, home=home), 4, *parts)


def test_one_class_only_is_refused(home: Path, tmp_path: Path) -> None:
    """A classification target needs two classes in the table; the message says which one is there."""
    rows = sales().head(200).with_columns(dear=pl.lit("no"))
    write_table(tmp_path, rows)
    two = contract(target={"name": "dear", "classes": ["no", "yes"]}, event_time=None)
    project = write_project(
        tmp_path,
        contract=two,
        split={"by": "random", "holdout": 0.2},
        model={"family": "logistic_regression"},
        gates=[],
    )
    said = slipway("data", "check", "--project", project, home=home)
    one_sentence(said, 4, "'dear' has the one class no", "expected at least two of no, yes")


def test_a_refused_row_is_told_in_the_run_and_its_report_is_kept(place: Path, home: Path, tmp_path: Path) -> None:
    """In a whole run the sentence passes through the steps, and the quarantine report that it speaks of exists."""
    source = write_table(tmp_path, with_first("price", 40, None)(sales().head(200)))
    said = slipway("run", "--project", place / "project.yaml", "--source", source, "--as-of", AS_OF, home=home)
    one_sentence(said, 4, "validate: 41 of 200 rows (20.5%) break the contract", "price missing", "quarantine report")
    (report,) = (home / "pipeline_root" / "runs" / "01" / "validate").glob("*/quarantine/report.html")
    assert "price" in report.read_text()
    assert not (home / "mlflow").exists(), "nothing was tracked"


def test_an_unreachable_store_ends_with_30(place: Path, home: Path, tmp_path: Path) -> None:
    """S3 on a closed port: the run's first step says which service does not answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, text in {
        "endpoint": f"127.0.0.1:{port}",
        "access_key": "somebody",
        "secret_key": "do-not-tell",
        "secure": "false",
    }.items():
        (secrets / name).write_text(text)
    with environment(SLIPWAY_S3_SECRETS=str(secrets)):
        said = slipway(
            "run",
            "--project",
            place / "project.yaml",
            "--source",
            "s3://sales/2024.parquet",
            "--as-of",
            AS_OF,
            home=home,
        )
    one_sentence(said, 30, f"127.0.0.1:{port}")
    assert "do-not-tell" not in said.err + said.out
    written = [path.read_text(errors="replace") for path in home.rglob("*") if path.is_file()]
    assert not [text for text in written if "do-not-tell" in text], "a secret was written to the home"


PROJECTS = [
    pytest.param({"modle": {}}, ["modle: unknown key", "did you mean 'model'?"], id="unknown-section"),
    pytest.param(
        {"model": {"family": "ridge", "parms": {}}}, ["model.parms: unknown key", "'params'"], id="unknown-key"
    ),
    pytest.param({"rollout": {"steps": [-5, 50]}}, ["rollout.steps", "-5"], id="negative-canary"),
    pytest.param({"model": {"family": "crystal_ball"}}, ["crystal_ball", "ridge"], id="unknown-family"),
    pytest.param({"gates": [{"metric": "roc_auc", "at_least": 0.9}]}, ["roc_auc"], id="metric-of-another-task"),
    pytest.param({"name": "No Spaces"}, ["name:", "No Spaces"], id="impossible-name"),
    pytest.param({"seed": "many"}, ["seed:", "many"], id="wrong-type"),
]


@pytest.mark.parametrize(("changes", "parts"), PROJECTS)
def test_a_bad_project_is_refused_before_anything_runs(home: Path, tmp_path: Path, changes: Any, parts: Any) -> None:
    """A mistake in project.yaml ends with 3, names the key as typed, and leaves no home behind."""
    project = write_project(tmp_path, **changes)
    one_sentence(slipway("run", "--project", project, home=home), 3, str(project), *parts)
    assert not home.exists()


def test_a_project_that_is_not_there_is_named(home: Path, tmp_path: Path) -> None:
    """Every verb that works on a project says which file it missed; so does one on a file that is no YAML."""
    for words in (
        ["run"],
        ["data", "check"],
        ["rollout", "plan"],
        ["rollout", "set", 5],
        ["serve", "status"],
        ["predict"],
    ):
        said = slipway(*words, "--project", tmp_path / "nowhere.yaml", home=home)
        one_sentence(said, 3, "nowhere.yaml", "--project")
    (tmp_path / "bad.yaml").write_text("name: [homes\n")
    one_sentence(slipway("run", "--project", tmp_path / "bad.yaml", home=home), 3, "bad.yaml is not YAML")
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(["homes"]))
    one_sentence(slipway("run", "--project", tmp_path / "list.yaml", home=home), 3, "expected keys and values")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        pytest.param(["models", "show", "homes", 1], ["homes", "version 1", "known: none"], id="show"),
        pytest.param(["models", "promote", "homes", 3, "--reason", "r"], ["version 3"], id="promote"),
        pytest.param(["models", "archive", "homes", 3, "--reason", "r"], ["version 3"], id="archive"),
        pytest.param(["models", "approve", "nobody", 1, "--reason", "r"], ["nobody has no version 1"], id="approve"),
        pytest.param(["models", "at", "yesterday", "homes"], ["'yesterday'", "2026-11-24T10:00"], id="no-moment"),
        pytest.param(["run", "--as-of", "soon"], ["--as-of", "'soon'", "2026-01-31"], id="no-day"),
    ],
)
def test_what_is_not_known_is_a_usage_error(home: Path, place: Path, words: list[Any], parts: list[str]) -> None:
    """Unknown models, versions, moments and days end with 2."""
    project = ["--project", place / "project.yaml"] if words[0] == "run" else []
    one_sentence(slipway(*words, *project, home=home), 2, *parts)


def test_without_a_version_there_is_nothing_to_roll_back_to(home: Path, place: Path) -> None:
    """Asking for a way back that does not exist is refused, by models and by rollout."""
    one_sentence(slipway("models", "rollback", "homes", "--reason", "r", home=home), 5, "promote one")
    one_sentence(
        slipway("rollout", "rollback", "--project", place / "project.yaml", home=home), 5, "no version to roll back to"
    )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        pytest.param(["fly"], ["No such command 'fly'"], id="unknown-verb"),
        pytest.param(["models", "fly"], ["No such command 'fly'"], id="unknown-second-word"),
        pytest.param(["run", "--fast"], ["No such option", "--fast"], id="unknown-option"),
        pytest.param(["rollout", "set", "--", "-5"], ["-5", "0<=x<=100"], id="negative-canary"),
        pytest.param(["rollout", "set", "much"], ["'much'"], id="no-number"),
        pytest.param(["models", "promote", "homes", "1"], ["--reason"], id="no-reason"),
        pytest.param(["serve", "--port", "70000"], ["70000"], id="no-port"),
    ],
)
def test_a_wrong_call_shows_usage(home: Path, words: list[str], parts: list[str]) -> None:
    """What the command line does not know ends with 2, the usage of that verb and one sentence."""
    said = slipway(*words, home=home)
    assert said.code == 2, said.err
    usage, *_, sentence = said.err.strip().splitlines()
    assert usage.startswith("Usage: slipway")
    assert sentence.startswith("Error: ")
    assert all(part in sentence for part in parts), sentence
    assert not home.exists()


def test_a_taken_port_is_named(place: Path, home: Path) -> None:
    """Somebody else listens on the port: 7, and neither Envoy nor a model server is started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = slipway("serve", "--project", place / "project.yaml", "--port", port, home=home)
    one_sentence(said, 7, str(port))


def test_a_question_without_an_endpoint_says_how_to_get_one(place: Path, home: Path) -> None:
    """`slipway predict` while nothing serves: the next move is `slipway serve`."""
    said = slipway("predict", place / "sales.csv", "--project", place / "project.yaml", home=home)
    assert said.code in (7, 30)
    one_sentence(said, said.code, "slipway serve")


# --- a full disk -----------------------------------------------------------------------------------------------------


def test_a_report_is_whole_or_as_it_was(
    place: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while a report is written: 7, the old one is untouched and no temporary file is left."""
    report = tmp_path / "reports" / "check.html"
    report.parent.mkdir()
    report.write_text("the one before")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("serving.files.os.fsync", full)
    words = ["data", "check", "--project", place / "project.yaml", "--as-of", AS_OF, "--report", report]
    one_sentence(slipway(*words, home=home), 7, f"cannot write {report}", "the disk is full", "free some space")
    assert report.read_text() == "the one before"
    assert [path.name for path in report.parent.iterdir()] == ["check.html"]


@pytest.fixture
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A home on a file system of a few kilobytes, where the machine lets us mount one."""
    made = tmp_path / "small"
    made.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", made], capture_output=True
    ).returncode:
        pytest.skip("this machine lets nobody here mount a small file system")
    yield made
    assert leftovers(made) == []
    subprocess.run(["umount", made], check=True)


@pytest.mark.parametrize(
    "small",
    [
        pytest.param(8, id="8k-before-the-first-step"),
        pytest.param(28, id="28k-while-rows-are-written"),
        pytest.param(256, id="256k-some-steps-later", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_a_run_on_a_full_disk_says_so(place: Path, small: Path) -> None:
    """A file system that is really full ends a run with 7 and the next move, wherever it happens."""
    said = slipway("run", "--project", place / "project.yaml", "--as-of", AS_OF, home=small)
    one_sentence(said, 7, "the disk is full; free some space and run the same command again")
    assert not (small / "ledger.db").exists()


def test_an_error_between_the_steps_keeps_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runner itself cannot do, such as keeping a result, is told like a step's own error."""
    told: list[dict[str, Any]] = []

    def full(*_: Any, **__: Any) -> Any:
        raise PlaceError("cannot write cache/entry.json: the disk is full")

    steps = Steps(tmp_path, tmp_path, None, lambda **event: told.append(event))
    monkeypatch.setattr(steps, "_outcome", full)
    with pytest.raises(StepFailed) as failed:
        steps.execute(Step("train", {}, {}, {}, cached=False))
    assert told[-1]["message"] == "cannot write cache/entry.json: the disk is full"
    assert failed.value.cause.exit_code == PlaceError.exit_code
