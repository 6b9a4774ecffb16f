"""Tracking: what every run leaves in MLflow, once, and the ledger's mirror."""

import fcntl
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.modelling.search.tuning_values import Trial, Tuning
from components.recording import tracking
from components.recording.registry import mirror
from components.recording.tracking import Data, RunRecord, record
from components.steps.provenance import CodeVersion, Environment, code_version, environment
from serving.errors import ConfigError, DataError, InfrastructureError, PlaceError
from serving.ledger.ledger import Ledger, open_ledger
from tests.serving.ledger.facts import facts

STARTED = datetime(2026, 11, 24, 10, tzinfo=UTC)
ENDED = STARTED + timedelta(minutes=3)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture(scope="module")
def uri(home: Path) -> str:
    """One store for the module: making its tables takes seconds."""
    uri = f"sqlite:///{home / 'mlflow.db'}"
    with tracking.store_client(uri):
        return uri


@pytest.fixture(scope="module")
def client(uri: str) -> Any:
    return tracking._mlflow().MlflowClient(uri, registry_uri=uri)


def artifacts(home: Path) -> dict[str, Path]:
    files = {"bundle/manifest.json": "{}", "plots/error.svg": "<svg/>", "report.html": "<html/>"}
    for name, text in files.items():
        path = home / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    made = home / "made"
    return {"bundle": made / "bundle", "plots": made / "plots", "report": made / "report.html"}


def a_run(home: Path, run_id: str, **changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run_id": run_id,
        "name": "housing run 01",
        "project": "housing",
        "parameters": {"model": {"family": "hist_gradient_boosting", "max_iter": 300}, "seed": 42},
        "metrics": {"rmse": 42105.5, "rmse/region=coast": 61200.0},
        "artifacts": artifacts(home),
        "code": CodeVersion(commit="c0ffee", dirty=True),
        "data": Data(snapshot="9f3c1a" * 10 + "abcd", rows=31118, source="market://calm?months=24&seed=7"),
        "environment": Environment(python="3.11.7", libraries={"scikit-learn": "1.9.1"}, lock="ab" * 32),
        "started": STARTED,
        "ended": ENDED,
        "tags": {"approval": "auto"},
        "tuning": Tuning(
            metric="rmse",
            trials=(
                Trial(number=0, params={"lr": 0.1}, value=44.0, seconds=2.5, started=STARTED + timedelta(seconds=20)),
                Trial(number=1, params={"lr": 0.2}, value=None, failure="it broke"),
            ),
        ),
    }
    return RunRecord(**(values | changes))


def files_of(client: Any, run_id: str, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for item in client.list_artifacts(run_id, folder):
        found |= files_of(client, run_id, item.path) if item.is_dir else {item.path}
    return found


def tag(name: str, value: str) -> Callable[[Any, set[str]], bool]:
    return lambda run, files: run.data.tags.get(name) == value


# What must be readable from the MLflow run, by aspect.
RECORDED: dict[str, Callable[[Any, set[str]], bool]] = {
    "parameters": lambda run, files: (
        run.data.params == {"model.family": "hist_gradient_boosting", "model.max_iter": "300", "seed": "42"}
    ),
    "metrics": lambda run, files: run.data.metrics == {"rmse": 42105.5, "rmse/region_coast": 61200.0},
    "model artifact": lambda run, files: "bundle/manifest.json" in files,
    "plots": lambda run, files: "plots/error.svg" in files,
    "report": lambda run, files: "report/report.html" in files,
    "whole record": lambda run, files: "run.json" in files,
    "commit": tag("mlflow.source.git.commit", "c0ffee"),
    "dirty flag": tag("code.git_dirty", "true"),
    "data version": tag("data.snapshot", "9f3c1a" * 10 + "abcd"),
    "data rows": tag("data.rows", "31118"),
    "data source": tag("data.source", "market://calm?months=24&seed=7"),
    "data set": lambda run, files: [item.dataset.digest for item in run.inputs.dataset_inputs] == ["9f3c1a" * 6],
    "python": tag("environment.python", "3.11.7"),
    "libraries": tag("environment.library.scikit-learn", "1.9.1"),
    "lock digest": tag("environment.lock_sha256", "ab" * 32),
    "timestamps": lambda run, files: (
        (run.info.start_time, run.info.end_time) == (STARTED.timestamp() * 1000, ENDED.timestamp() * 1000)
    ),
    "tags": tag("approval", "auto"),
    "project": tag("slipway.project", "housing"),
    "own run id": tag("slipway.run_id", "complete"),
}


@pytest.fixture(scope="module")
def complete(home: Path, uri: str, client: Any) -> tuple[Any, set[str]]:
    run_id = record(a_run(home, "complete"), uri)
    return client.get_run(run_id), files_of(client, run_id)


@pytest.mark.parametrize("aspect", RECORDED)
def test_every_aspect_is_recorded(complete: tuple[Any, set[str]], aspect: str) -> None:
    """A run has parameters, metrics, artifacts, code, data, environment, timestamps and tags, readable in MLflow."""
    run, files = complete
    assert RECORDED[aspect](run, files), (run.data, run.inputs, run.info, files)


def test_trials_are_child_runs(client: Any, complete: tuple[Any, set[str]]) -> None:
    """Each trial of a search is a run below its run, with parameters, score, status and its own times."""
    run, _ = complete
    children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    seen = {child.info.run_name: (child.data.params, child.data.metrics, child.info.status) for child in children}
    assert seen == {
        "trial 0": ({"lr": "0.1"}, {"rmse": 44.0}, "FINISHED"),
        "trial 1": ({"lr": "0.2"}, {}, "FAILED"),
    }
    (first,) = (child.info for child in children if child.info.run_name == "trial 0")
    assert (first.start_time, first.end_time - first.start_time) == (tracking._ms(STARTED) + 20_000, 2_500)


def test_recording_again_changes_nothing(home: Path, uri: str, client: Any, complete: tuple[Any, set[str]]) -> None:
    """A run that is recorded is found again by Slipway's id, whatever is said of it now."""
    run, _ = complete
    count = len(client.search_runs([run.info.experiment_id]))
    assert record(a_run(home, "complete", metrics={"rmse": 1.0}), uri) == run.info.run_id
    assert len(client.search_runs([run.info.experiment_id])) == count
    assert client.get_run(run.info.run_id).data.metrics["rmse"] == 42105.5


@pytest.mark.parametrize("breaks_in", ["_log_data", "_log_artifacts", "_log_trial"])
def test_a_half_written_run_is_replaced(
    home: Path, uri: str, client: Any, monkeypatch: pytest.MonkeyPatch, breaks_in: str
) -> None:
    """What an interrupted recording left is replaced by the next one: one run, complete, with its trials."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    run = a_run(home, f"interrupted.{breaks_in}")
    with monkeypatch.context() as patch:
        patch.setattr(tracking, breaks_in, interrupted)
        with pytest.raises(KeyboardInterrupt):
            record(run, uri)
    run_id = record(run, uri)
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_runs([experiment], f"tags.`slipway.run_id` = '{run.run_id}'")
    assert [one.info.run_id for one in found] == [run_id]
    assert len(client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")) == 2


def test_many_and_long_values_are_recorded(home: Path, uri: str, client: Any) -> None:
    """More values than one call takes, and longer ones than MLflow keeps, arrive; run.json has them whole."""
    many = a_run(
        home,
        "many",
        parameters={f"p{number}": number for number in range(250)} | {"long": "x" * 9000, "odd=key": [1, 2]},
        metrics={f"m{number}": float(number) for number in range(130)},
        tuning=Tuning(),
    )
    run_id = record(many, uri)
    run = client.get_run(run_id)
    assert len(run.data.params) == 252
    assert run.data.params["odd_key"] == "[1, 2]"
    assert len(run.data.metrics) == 130
    whole = json.loads(Path(client.download_artifacts(run_id, "run.json", str(home))).read_text())
    assert whole["parameters"]["long"] == "x" * 9000
    assert RunRecord(**whole) == many


def test_artifacts_lie_beside_the_store(home: Path, complete: tuple[Any, set[str]]) -> None:
    """Artifacts of an SQLite store are in one folder with it, wherever the process runs."""
    run, _ = complete
    assert run.info.artifact_uri.startswith((home / "artifacts").as_uri())


def test_a_missing_artifact_is_named(home: Path, uri: str) -> None:
    """A run whose artifact is not there is an error and leaves no run behind."""
    with pytest.raises(DataError, match="artifact 'plots' of run r is not at"):
        record(a_run(home, "r", artifacts={"plots": home / "never-made"}), uri)


def test_an_sqlite_store_has_one_user_at_a_time(uri: str, home: Path) -> None:
    """While one process uses the store, another one waits at its lock instead of making tables beside it."""
    with tracking.store_client(uri), (home / "mlflow.db.lock").open("ab") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (home / "mlflow.db.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.slow
def test_fresh_store_used_by_several_processes(tmp_path: Path) -> None:
    """Processes that meet at a store nobody has made yet all record, and one run recorded by all of them is one."""
    script = (
        "import sys, pathlib\n"
        "from datetime import UTC, datetime\n"
        "from components.steps.provenance import CodeVersion, Environment\n"
        "from components.recording.tracking import Data, RunRecord, record\n"
        "now = datetime(2026, 11, 24, tzinfo=UTC)\n"
        "run = RunRecord(run_id='shared', name='n', project='p', parameters={'a': 1}, metrics={},\n"
        "    artifacts={}, code=CodeVersion(), data=Data(snapshot='s', rows=1, source='u'),\n"
        "    environment=Environment(python='3', libraries={}),\n"
        "    started=now, ended=now)\n"
        "print(record(run, sys.argv[1]))\n"
    )
    arguments = [sys.executable, "-c", script, f"sqlite:///{tmp_path / 'mlflow.db'}"]
    workers = [subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [worker.communicate(timeout=170) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], answers
    assert len({output for output, _ in answers}) == 1


def test_addresses_and_failures_are_sentences(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address, a broken store and an absent MLflow are each told in one sentence."""
    with pytest.raises(ConfigError, match="no tracking store at 'mlruns'"):
        record(a_run(home, "x"), "mlruns")
    broken = tmp_path / "broken.db"
    broken.write_text("not a database " * 100)
    with pytest.raises(InfrastructureError, match=r"the tracking store sqlite:.*broken.db failed"):
        record(a_run(home, "x"), f"sqlite:///{broken}")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(PlaceError, match="MLflow is not installed"):
        record(a_run(home, "x"), f"sqlite:///{tmp_path / 'x.db'}")


def test_telemetry_is_off(client: Any) -> None:
    """MLflow reports to nobody: it has no telemetry client."""
    from mlflow.telemetry import get_telemetry_client

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert get_telemetry_client() is None


# The mirror


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    for digest in "ab":
        provenance = {"git_commit": "c0ffee"}
        made = facts(digest * 64, f"s3://models/{digest}", run_id="complete", snapshot="9f3c1a", provenance=provenance)
        ledger.register("housing", made, "ci")
    ledger.approve("housing", 1, "ann", "fine")
    ledger.approve("housing", 2, "ann", "fine")
    ledger.promote("housing", 1, "ann", "first")
    ledger.canary("housing", 2, 5, "ann", "step")
    return ledger


def test_the_mirror_shows_the_ledger(ledger: Ledger, uri: str, client: Any, complete: tuple[Any, set[str]]) -> None:
    """Versions, stages and slots appear as model versions, tags and aliases; running it again writes nothing."""

    def shown() -> tuple[dict[str, str], dict[str, str]]:
        aliases = client.get_registered_model("housing").aliases
        versions = client.search_model_versions("name = 'housing'")
        stages = {found.tags["slipway.version"]: found.tags["lifecycle.stage"] for found in versions}
        return {name: str(version) for name, version in aliases.items()}, stages

    assert mirror(ledger, uri) == ledger.head()
    assert shown() == ({"production": "1", "canary": "2"}, {"1": "production", "2": "staging"})
    ledger.promote("housing", 2, "ann", "good")
    mirror(ledger, uri)
    assert shown() == ({"production": "2", "previous": "1"}, {"1": "archived", "2": "production"})
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as watching:
        before = watching.execute("PRAGMA data_version").fetchone()
        mirror(ledger, uri)
        assert watching.execute("PRAGMA data_version").fetchone() == before
    version = client.get_model_version("housing", "1")
    assert (version.source, version.run_id) == ("s3://models/a", complete[0].info.run_id)
    assert version.tags["artifact.sha256"] == "a" * 64
    assert client.get_registered_model("housing").tags["ledger.head"] == ledger.verify().head


# Provenance


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(directory), *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_code_version_tells_commit_and_changes(tmp_path: Path) -> None:
    """The commit, and whether files differ from it; unknown where there is nothing to know."""
    assert code_version(tmp_path) == CodeVersion(commit="unknown", dirty=None)
    git(tmp_path, "init", "-q")
    assert code_version(tmp_path).commit == "unknown"
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    assert code_version(tmp_path) == CodeVersion(commit=git(tmp_path, "rev-parse", "HEAD"), dirty=False)
    (tmp_path / "b.py").write_text("2")
    assert code_version(tmp_path).dirty is True
    assert code_version(tmp_path / "absent") == CodeVersion()


def test_code_version_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git knows no commit and does not fail."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version(Path.cwd()) == CodeVersion()


def test_environment_tells_versions(tmp_path: Path) -> None:
    """Python, the installed ones of the named libraries, and the digest of the lock."""
    lock = tmp_path / "lock"
    lock.write_bytes(b"abc")
    seen = environment(["numpy", "no-such-library", "SQLAlchemy"], lock)
    assert seen.python == ".".join(str(part) for part in sys.version_info[:3])
    assert sorted(seen.libraries) == ["SQLAlchemy", "numpy"]
    assert seen.lock == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert environment([], None).lock == environment([], tmp_path / "absent").lock == "unknown"
