"""Whole training runs on this machine: released, refused, waiting, cached, killed and taken up again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from components.recording import tracking
from components.recording.catching_up import bring
from pipelines.settings import load
from serving.ledger.ledger import open_ledger
from serving.ledger.values import Version
from tests.pipelines.here.support import AS_OF, Said, leftovers, sales, slipway, states, write_project, write_table
from tests.root import ROOT

CACHEABLE = {"validate", "tune", "train", "evaluate", "refit", "verify"}
STAGES = [
    "ingest",
    "validate",
    "split",
    "tune",
    "train",
    "evaluate",
    "gate",
    "refit",
    "verify",
    "register",
    "release",
    "track",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    write_table(directory)
    write_project(directory, approval="manual")
    return directory


def go(place: Path, *words: object, home: Path | None = None, project: str = "project.yaml") -> Said:
    return slipway("run", "--project", place / project, "--as-of", AS_OF, *words, home=home or place / "home")


@pytest.fixture(scope="module")
def first(place: Path) -> Said:
    """The first run in ``place/home``: its process was killed while it registered, then the command was typed again."""
    killed_in("register", place, place / "home")
    return go(place, "--json")


@pytest.fixture(scope="module")
def approved(place: Path, first: Said) -> Said:
    """A person let the first version serve."""
    return slipway("models", "approve", "homes", 1, "--reason", "looked at it", home=place / "home")


def last_line(said: Said) -> dict[str, Any]:
    """What the run came to, as programs read it."""
    return next(line for line in said.lines if line["subject"] == "result")


def versions(home: Path, model: str = "homes") -> tuple[Version, ...]:
    """The versions of *model*, in a ledger whose history is as it was written."""
    ledger = open_ledger(f"sqlite:///{home}/ledger.db")
    checked = ledger.verify()
    assert checked.intact, checked.sentence
    return ledger.versions(model)


# --- one home --------------------------------------------------------------------------------------------------------


def test_a_killed_run_completes_and_every_stage_counts_once(place: Path, first: Said) -> None:
    """What was finished comes from the cache, the rest runs; there is one version, one run and one record of it."""
    home = place / "home"
    assert first.err == ""
    made = states(home, "01")
    assert [task for task, state in made.items() if state != "SKIPPED"] == STAGES
    assert {task for task, state in made.items() if state == "CACHED"} == CACHEABLE
    assert sorted(path.name for path in home.glob("runs/[0-9]*")) == ["01"]
    (version,) = versions(home)
    assert version.digest == last_line(first)["digest"]
    stored = Path(version.bundle_uri.removeprefix("file://"))
    assert {"manifest.json", "manifest.sig", "contract.json", "golden.json"} <= {path.name for path in stored.iterdir()}
    assert leftovers(home) == []
    with tracking.store_client(f"sqlite:///{home}/mlflow/mlflow.db") as client:
        assert len(client.search_runs([client.get_experiment_by_name("homes").experiment_id])) == 1


def test_a_manual_project_waits_for_a_person(place: Path, first: Said, approved: Said) -> None:
    """`approval: manual` ends with 20 and the command to type; that command puts the version into production."""
    assert (first.code, last_line(first)["outcome"]) == (20, "waiting")
    assert [line["text"] for line in first.lines if line["subject"] == "next"] == [
        "slipway models approve homes VERSION --reason '...'"
    ]
    assert (approved.code, approved.err) == (0, "")
    (version,) = versions(place / "home")
    assert (version.stage, version.approval) == ("production", "approved")
    kinds = [event.kind for event in open_ledger(f"sqlite:///{place}/home/ledger.db").history("homes")]
    assert kinds == ["registered", "moved", "approved", "moved", "promoted"]


@pytest.mark.parametrize("broken", ["server-away", "experiment-deleted", "artifacts-unwritable"])
def test_without_mlflow_a_run_releases_and_its_record_is_made_up(
    place: Path, tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version serves, a warning says what is missing, and catching up afterwards brings it, under the same link."""
    home, uri = tmp_path / "home", f"sqlite:///{tmp_path}/mlflow.db"
    write_table(tmp_path)
    write_project(tmp_path, approval="auto")
    monkeypatch.setenv("SLIPWAY_TRACKING", "http://127.0.0.1:9" if broken == "server-away" else uri)
    if broken == "experiment-deleted":
        with tracking.store_client(uri) as client:
            client.delete_experiment(tracking._experiment(client, "homes", uri))
    if broken == "artifacts-unwritable":
        (tmp_path / "artifacts").write_text("a file where the folder should be")
    said = go(tmp_path, "--json", home=home)
    assert (said.code, last_line(said)["outcome"]) == (0, "released"), said.err
    (warning,) = [line["text"] for line in said.lines if line.get("task") == "track"]
    assert warning.startswith("warning: run 01 is not in MLflow: ")
    assert "slipway ui" in warning
    if broken == "experiment-deleted":
        with tracking.store_client(uri) as client:
            client.restore_experiment(client.get_experiment_by_name("homes").experiment_id)
    (tmp_path / "artifacts").unlink(missing_ok=True) if broken == "artifacts-unwritable" else None
    bring(load(str(home), {"SLIPWAY_TRACKING": uri}), always=True)
    (version,) = versions(home)
    with tracking.store_client(uri) as client:
        shown = client.get_model_version_by_alias("homes", "production")
        run = client.get_run(shown.run_id)
    assert run.data.tags["slipway.run_id"] == version.provenance["mlflow"]


def test_the_report_is_one_readable_file(place: Path, first: Said) -> None:
    """It stands alone, and says what was refused, what was decided, what became of it, and how to make it again."""
    page = Path(last_line(first)["report"]).read_text()
    assert page.lower().startswith("<!doctype html>")
    assert not [word for word in ("<script src", "<link", "http://", "https://") if word in page]
    for part in ("Why rows were set aside", "RMSE", "slipway models approve homes 1", last_line(first)["digest"][:6]):
        assert part in page
    assert f"slipway run --project {place}/project.yaml --source {place}/" in page, "the command that made it"


def test_mlflow_has_everything_about_the_run(place: Path, first: Said) -> None:
    """Parameters, metrics, artifacts, code, data, environment, times and tags, under the ledger's own link."""
    (version,) = versions(place / "home")
    uri = f"sqlite:///{place}/home/mlflow/mlflow.db"
    with tracking.store_client(uri) as client:
        experiment = client.get_experiment_by_name("homes").experiment_id
        (run,) = client.search_runs([experiment], f"tags.`slipway.run_id` = '{version.provenance['mlflow']}'")
        artifacts = {found.path for found in client.list_artifacts(run.info.run_id)}
        inputs = run.inputs.dataset_inputs
    tags = run.data.tags
    assert run.info.status == "FINISHED"
    assert run.data.metrics == pytest.approx(version.metrics)
    assert tags["time.started"] < tags["time.ended"]
    assert run.data.params["seed"] == "42"
    assert any("ridge" in value for value in run.data.params.values())
    assert {"bundle", "plots", "report", "decision", "validation"} <= artifacts
    assert [one.dataset.digest for one in inputs]
    assert tags["data.snapshot"] == version.snapshot
    assert len(tags["environment.lock_sha256"]) == 64
    for name in (
        "code.git_commit",
        "code.git_dirty",
        "environment.python",
        "environment.library.scikit-learn",
        "time.started",
        "time.ended",
        "slipway.run_id",
        "slipway.project",
    ):
        assert tags[name], name


def test_an_unchanged_run_comes_from_the_cache(place: Path, approved: Said) -> None:
    """The same command again: every step without effects is served, the version is the same, nothing is added."""
    before = versions(place / "home")
    said = go(place)
    assert (said.code, said.err) == (0, "")
    assert "homes 1 has all traffic already" in said.out
    made = states(place / "home", "02")
    assert {task for task, state in made.items() if state == "CACHED"} == CACHEABLE
    assert [v.digest for v in versions(place / "home")] == [v.digest for v in before]


@pytest.mark.slow
def test_one_changed_cell_runs_again_what_depends_on_it(place: Path, first: Said, approved: Said) -> None:
    """One price in the training rows: all that read the rows runs; and a candidate that is no better is refused.

    The candidate is judged against the version that serves on the same rows: exit code 5, and nothing is registered.
    """
    changed = sales().with_columns(
        price=pl.when(pl.int_range(pl.len()) == 0).then(9_000_000.0).otherwise(pl.col("price").cast(pl.Float64))
    )
    write_table(place, changed, "changed.csv")
    write_project(place, "challenger.yaml", gates=[{"metric": "rmse", "against": "champion", "margin": 0.0}])
    said = go(place, "--json", "--source", place / "changed.csv", project="challenger.yaml")
    end = last_line(said)
    assert (said.code, end["outcome"], said.err) == (5, "refused", "")
    made = states(place / "home", end["run_id"])
    assert {task for task, state in made.items() if state == "CACHED"} == set()
    assert {task for task, state in made.items() if state == "SKIPPED"} == {"refit", "verify", "register", "release"}
    assert end["digest"] != last_line(first)["digest"]
    assert [v.version for v in versions(place / "home")] == [1]
    assert "refused" in Path(end["report"]).read_text()


# --- kill -9 ---------------------------------------------------------------------------------------------------------


def killed_in(stage: str, place: Path, home: Path, project: str = "project.yaml") -> None:
    """Start the run as a process of its own and end it with SIGKILL as soon as *stage* runs."""
    words = ["--home", home, "run", "--project", place / project, "--as-of", AS_OF]
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.pipelines.here.support", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        await_true(lambda: process.poll() is not None or running(home, started) == stage)
        assert process.poll() is None, f"it ended with {process.returncode} before it came to {stage}"
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    await_true(lambda: not children(home))


def running(home: Path, since: str) -> str:
    """The task that runs now, if it was started after the moment *since*."""
    for path in home.glob("runs/*/events.jsonl"):
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, IndexError):
            event = json.loads(path.read_text().splitlines()[-1])
            if event["state"] == "RUNNING" and event["time"] >= since:
                return str(event["task"])
    return ""


def children(home: Path) -> list[int]:
    """Processes with the home on their command line: steps, the run's own, model servers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(home).encode() in command and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def await_true(true: Callable[[], bool], limit_s: float = 900) -> None:
    """The limit is for hangs; on a busy machine a run takes minutes."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_equal_seeds_give_equal_models_in_two_homes(place: Path, first: Said, tmp_path: Path) -> None:
    """Snapshot, bundle and metrics are those of the first home to the last bit, however often the run was killed."""
    for stage in ("train", "track"):
        killed_in(stage, place, tmp_path)
    said = go(place, home=tmp_path)
    assert (said.code, said.err) == (20, "")
    (version,), one = versions(tmp_path), versions(place / "home")[0]
    assert (version.snapshot, version.digest, version.metrics) == (one.snapshot, one.digest, one.metrics)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_in_any_stage_completes(place: Path, tmp_path: Path, stage: str) -> None:
    """Whatever stage it was in: the same command again releases exactly one version."""
    write_project(place, "auto.yaml", approval="auto")
    killed_in(stage, place, tmp_path, "auto.yaml")
    said = go(place, home=tmp_path, project="auto.yaml")
    assert (said.code, said.err) == (0, "")
    (version,) = versions(tmp_path)
    assert (version.stage, version.approval) == ("production", "approved")
