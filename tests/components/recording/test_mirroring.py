"""MLflow follows the ledger at each change, and no change depends on it."""

import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from components.recording import catching_up, registry, run_records, tracking
from components.recording.run_records import REFUSED, WAITING
from components.steps import mirroring
from components.steps.mirroring import Mirrored
from pipelines import settings
from serving.files import write_text
from serving.ledger.ledger import Ledger, open_ledger
from tests.components.recording.test_tracking import a_run
from tests.pipelines.here.support import slipway
from tests.serving.ledger.facts import facts

MODEL = "housing"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no trouble of MLflow."""
    monkeypatch.setattr(mirroring, "PATIENCE_S", 400.0)


def three_versions(home: Path) -> Ledger:
    ledger = open_ledger(f"sqlite:///{home}/ledger.db")
    for digest in "abc":
        ledger.register(MODEL, facts(digest * 64, f"file:///models/{digest}"), "ci")
    return ledger


def shown(home: Path) -> tuple[dict[str, int], dict[int, str]]:
    """The aliases of the registry, as versions of the ledger, and what became of each version."""
    uri = f"sqlite:///{home}/mlflow/mlflow.db"
    client = tracking._mlflow().MlflowClient(uri, registry_uri=uri)
    found = client.search_model_versions(f"name = '{MODEL}'")
    ours = {str(one.version): int(one.tags["slipway.version"]) for one in found}
    stages = {
        ours[str(one.version)]: f"{one.tags['lifecycle.stage']} {one.tags['lifecycle.approval']}" for one in found
    }
    return {name: ours[str(one)] for name, one in client.get_registered_model(MODEL).aliases.items()}, stages


def test_each_verb_that_changes_the_ledger_is_seen_in_the_registry(tmp_path: Path) -> None:
    """Aliases and stages when the command has ended, without `slipway ui`."""
    three_versions(tmp_path)

    def done(*words: object) -> tuple[dict[str, int], dict[int, str]]:
        said = slipway("models", *words, "--reason", "why", home=tmp_path)
        assert (said.code, said.err) == (0, "")
        return shown(tmp_path)

    assert done("approve", MODEL, 1) == (
        {"production": 1}, {1: "production approved", 2: "staging pending", 3: "staging pending"}
    )  # fmt: skip
    assert done("reject", MODEL, 3)[1][3] == "staging rejected"
    open_ledger(f"sqlite:///{tmp_path}/ledger.db").approve(MODEL, 2, "ann", "seen by the next who looks")
    assert done("promote", MODEL, 2) == (
        {"production": 2, "previous": 1}, {1: "archived approved", 2: "production approved", 3: "staging rejected"}
    )  # fmt: skip
    assert done("rollback", MODEL)[0] == {"production": 1, "previous": 2}
    assert done("archive", MODEL, 3)[1][3] == "archived rejected"


@contextmanager
def silent() -> Iterator[str]:
    """A server that accepts, and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def absent() -> Iterator[str]:
    with silent() as address:
        pass
    yield address


@contextmanager
def locked(home: Path) -> Iterator[str]:
    """A store whose tables are there and whose file somebody else holds."""
    uri = f"sqlite:///{home}/locked.db"
    tracking.check(uri)
    with closing(sqlite3.connect(home / "locked.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield uri


@contextmanager
def nowhere(home: Path) -> Iterator[str]:
    """A store where nothing can be written."""
    (home / "file").write_text("")
    yield f"sqlite:///{home}/file/mlflow.db"


@pytest.mark.parametrize("trouble", ["silent", "absent", "locked", "nowhere", "damaged"])
def test_no_trouble_of_mlflow_is_trouble_of_a_change(
    tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is made, one warning says what is missing, a second change says nothing more, and all is made up."""
    ledger = three_versions(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    (tmp_path / "damaged.db").write_bytes(b"no database" * 1_000)
    ways: dict[str, Any] = {"silent": silent, "absent": absent}
    ways |= {"locked": lambda: locked(tmp_path), "nowhere": lambda: nowhere(tmp_path)}
    way = ways.get(trouble, lambda: contextmanager(lambda: iter([f"sqlite:///{tmp_path}/damaged.db"]))())
    with way() as uri:
        monkeypatch.setenv("SLIPWAY_TRACKING", uri)
        first = slipway("models", "approve", MODEL, 1, "--reason", "why", home=tmp_path)
        second = slipway("models", "promote", MODEL, 1, "--reason", "why", home=tmp_path)
        third = slipway("models", "reject", MODEL, 2, "--reason", "why", home=tmp_path)
    assert (first.code, second.code, third.code) == (0, 0, 0)
    assert first.err.count("\n") == 1
    assert "MLflow" in first.err
    assert "Traceback" not in first.err
    assert (second.err, third.err) == ("", "")
    monkeypatch.delenv("SLIPWAY_TRACKING")
    last = slipway("models", "reject", MODEL, 3, "--reason", "why", home=tmp_path)
    assert (last.code, last.err) == (0, "")
    assert shown(tmp_path)[0] == {"production": 1}
    note = mirroring.read(tmp_path)
    assert (note.head, note.trouble) == (ledger.head(), "")


def test_nobody_waits_longer_than_patience_and_a_killed_process_is_made_up(tmp_path: Path) -> None:
    """Who asked says that it is not there yet; the process is killed in the middle, and the next one brings all."""
    three_versions(tmp_path)
    with silent() as uri:
        place = settings.values(str(tmp_path), {"SLIPWAY_TRACKING": uri})
        child = mirroring.start(place)
        assert "within 0.2 s" in mirroring.settle(child, tmp_path, 0.2)
        child.kill()
        child.wait()
    catching_up.bring(settings.load(str(tmp_path), {}), always=False)
    assert shown(tmp_path)[1].keys() == {1, 2, 3}


def test_what_changes_meanwhile_is_shown_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that read the ledger before a promotion and writes after it leaves MLflow as the ledger is."""
    ledger = three_versions(tmp_path)
    for version in (1, 2):
        ledger.approve(MODEL, version, "ann", "fine")
    ledger.promote(MODEL, 1, "ann", "first")
    place, real, late = settings.load(str(tmp_path), {}), ledger.slots, iter([True])

    def slots_read_before(model: str) -> Any:
        found = real(model)
        if next(late, False):
            ledger.register(MODEL, facts("d" * 64, "file:///models/d"), "ci")
            ledger.promote(MODEL, 2, "ann", "meanwhile")
        return found

    monkeypatch.setattr(ledger, "slots", slots_read_before)
    assert registry.mirror(ledger, place.tracking) == ledger.head()
    assert shown(tmp_path)[0] == {"production": 2, "previous": 1}
    assert 4 in shown(tmp_path)[1]


def test_a_record_that_cannot_be_taken_holds_up_no_other(tmp_path: Path) -> None:
    """Each waiting run by itself: two that MLflow never takes keep their reason, the rest is there."""
    place = settings.load(str(tmp_path), {})
    three_versions(tmp_path)
    good, gone = a_run(tmp_path, "good"), a_run(tmp_path, "gone", artifacts={"bundle": tmp_path / "cleaned"})
    texts = {"01": "{half a rec", "02": gone.model_dump_json(), "03": good.model_dump_json()}
    waiting = {run: tmp_path / f"pipeline_root/runs/{run}/track/1/{WAITING}" for run in texts}
    for run, path in waiting.items():
        path.parent.mkdir(parents=True)
        path.write_text(texts[run])
    catching_up.bring(place, always=False)
    assert [run for run, path in waiting.items() if path.exists()] == ["01", "02"]
    assert "cleaned" in waiting["02"].with_name(REFUSED).read_text()
    note = mirroring.read(tmp_path)
    assert str(waiting["01"]) in note.trouble
    assert str(waiting["02"]) in note.trouble
    assert note.head == open_ledger(place.ledger).head()
    (tmp_path / "cleaned").mkdir()
    assert len(run_records.catch_up(place)) == 1
    assert [run for run, path in waiting.items() if path.exists()] == ["01"]


def test_who_looks_after_the_ledger_follows_it_without_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of `slipway serve` and of the cluster's controller sees what others have changed."""
    ledger, asked, stopping = three_versions(tmp_path), threading.Event(), threading.Event()
    monkeypatch.setattr(mirroring, "LOOK_S", 0.01)
    monkeypatch.setattr(mirroring, "start", lambda place: asked.set())
    monkeypatch.setattr(mirroring, "settle", lambda *_: "")
    thread = mirroring.follow(settings.values(str(tmp_path), {}), ledger.head, stopping)
    assert asked.wait(60)
    stopping.set()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("state", "head", "now", "due"),
    [
        pytest.param(Mirrored(), "a", 0, True, id="never-shown"),
        pytest.param(Mirrored("a"), "a", 9e9, False, id="nothing-new"),
        pytest.param(Mirrored("a", tried=100), "b", 100, True, id="a-change-is-shown-at-once"),
        pytest.param(Mirrored("a", "away", since=100, tried=100), "b", 159, False, id="a-trouble-is-left-a-minute"),
        pytest.param(Mirrored("a", "away", since=100, tried=100), "b", 160, True, id="and-then-tried-again"),
        pytest.param(Mirrored("a", "away", since=0, tried=600), "b", 1_199, False, id="less-often-the-longer-it-lasts"),
        pytest.param(Mirrored("a", "away", since=0, tried=9e5), "b", 9e5 + 900, True, id="but-every-quarter-hour"),
    ],
)
def test_when_it_is_tried_again(state: Mirrored, head: str, now: float, due: bool) -> None:
    """At once for what is new, and with growing pauses while MLflow does not take it."""
    assert state.due(head, now) is due


def test_the_record_of_a_step_that_left_it_outside_of_a_home_arrives(tmp_path: Path) -> None:
    """In a pod the report lies where the server mounts artifacts, and the home is empty: it is brought all the same."""
    three_versions(tmp_path / "home")
    waiting = tmp_path / "minio/track/report/record.json"
    write_text(waiting, a_run(tmp_path, "a-run-of-a-pod", artifacts={}, project=MODEL).model_dump_json())
    place = settings.values(str(tmp_path / "home"), {})
    assert mirroring.settle(mirroring.start(place, always=True, record=waiting), tmp_path / "home", 60) == ""
    assert not waiting.exists()
    with tracking.store_client(place["tracking"]) as mlflow:
        experiment = mlflow.get_experiment_by_name(MODEL).experiment_id
        assert 42105.5 in [run.data.metrics.get("rmse") for run in mlflow.search_runs([experiment])]


def test_a_record_that_another_has_brought_already_is_no_trouble(tmp_path: Path) -> None:
    """Two processes wait for one lock; whoever comes second is asked for a record that is there no more."""
    place = settings.load(str(tmp_path), {})
    three_versions(tmp_path)
    waiting = tmp_path / f"pipeline_root/runs/01/track/1/{WAITING}"
    waiting.parent.mkdir(parents=True)
    waiting.write_text(a_run(tmp_path, "good").model_dump_json())
    other_spelling = tmp_path / "pipeline_root/../pipeline_root/runs/01/track/1" / WAITING
    for _ in range(2):
        catching_up.bring(place, always=True, record=other_spelling)
        assert mirroring.read(tmp_path).trouble == ""
    assert not waiting.exists()
    assert not waiting.with_name(REFUSED).exists()
