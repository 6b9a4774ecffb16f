"""`slipway clean` on homes that real runs and a real endpoint made."""

import json
from pathlib import Path

import pytest

from components.recording import tracking
from pipelines.here.serving import launch
from pipelines.settings import load
from serving.local import client
from serving.local.paths import service_directory
from tests.bench.clean import Played, measure, play
from tests.pipelines.cleaning.support import mentioned
from tests.pipelines.here.support import slipway, states

ROW = {"region": "city", "area_m2": 84, "distance_km": 3.2}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Three released runs with their rollouts, of which a clean with `--keep 1` left what it must."""
    home = play(tmp_path_factory.mktemp("clean"), runs=3, rollouts=2)
    said = slipway("clean", "--keep", 1, "--yes", home=home.home)
    assert (said.code, said.err) == (0, ""), said
    return home


def test_the_version_before_can_be_rolled_back_to(played: Played) -> None:
    """A real endpoint starts with what stayed, answers, and gives traffic back to the version before and forth."""
    place = load(str(played.home))
    directory = service_directory(place.serving, "homes")
    address = launch(played.root / "project.yaml", place, 0)
    try:
        for version in (2, 3):
            said = slipway("models", "rollback", "--reason", "try", "--json", home=played.home)
            assert (said.code, said.value["in_force"]) == (0, True), said
            rows = played.root / "rows.jsonl"
            rows.write_text(json.dumps(ROW) + "\n")
            asked = slipway("predict", "--project", played.root / "project.yaml", rows, home=played.home)
            assert asked.code == 0, (asked, address)
            assert asked.lines[0]["model_version"] == str(version)
    finally:
        client.stop(directory)


def test_what_stayed_is_whole_and_what_went_is_told(played: Played) -> None:
    """The pages of all versions' runs are there; the first version has no bundle; the history and MLflow are whole."""
    assert [(run / "report.html").exists() for run in sorted(played.home.glob("runs/[0-9]*"))] == [True] * 3
    assert not list(played.home.glob("pipeline_root/runs/01/*/try-*"))
    assert len(list(played.home.glob("models/homes/*/manifest.json"))) == 2
    assert played.ledger.verify().intact
    told = slipway("models", "history", "homes", "--json", home=played.home).value["events"]
    assert [event["version"] for event in told if event["kind"] == "bundle removed"] == [1]
    with tracking.store_client(f"sqlite:///{played.home}/mlflow/mlflow.db") as mlflow:
        experiment = mlflow.get_experiment_by_name("homes").experiment_id
        runs = mlflow.search_runs([experiment])
        assert len(runs) == 3
        assert all(mlflow.list_artifacts(run.info.run_id, "bundle") for run in runs)


def test_a_run_goes_on_from_what_stayed(played: Played) -> None:
    """On the newest table the cache serves; on the first one, whose steps went, all is made again and registered."""
    assert played.run(2) in (0, 20)
    made = states(played.home, "04")
    assert {task for task, state in made.items() if state == "CACHED"} >= {"validate", "tune", "train"}
    assert played.run(0) == 20, "a version that was put away waits for a person"
    served = {task for task, state in states(played.home, "05").items() if state == "CACHED"}
    assert served <= {"verify"}, "of which nothing but a word is kept"
    played.ledger.require_bundle("homes", 1)


@pytest.mark.slow
def test_of_fifty_runs_and_twenty_rollouts_what_is_reachable_stays(tmp_path: Path) -> None:
    """Each version that stays has its bundle and its whole run, and the home is a fraction of what it was."""
    home = play(tmp_path, runs=50, rollouts=20)
    before = home.counts()
    gone, lines = measure(home, keep=10)
    print("\n".join(lines))
    after = home.counts()
    names = {thing.name for thing in gone.goes}
    kept = [version for version in home.ledger.versions("homes") if version.name not in names]
    assert [version.version for version in kept] == list(range(12, 22))
    for version in kept:
        assert Path(version.bundle_uri.removeprefix("file://"), "manifest.json").exists()
        assert [step for step in mentioned(home.home / "runs" / version.run_id) if not step.exists()] == []
    assert after["bytes"] < 0.7 * before["bytes"]
    assert after["bundles"] == 10
    assert home.ledger.verify().intact
