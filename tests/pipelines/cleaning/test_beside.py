"""`slipway clean` beside what goes on in a home, and where bundles lie elsewhere."""

import math
import os
import shutil
from pathlib import Path

import minio
import pytest
from moto.server import ThreadedMotoServer

from pipelines.cleaning import sweep
from pipelines.cleaning.home import read_home
from pipelines.cleaning.reach import Keep
from pipelines.cleaning.sweep import clean, look
from pipelines.here.training import lock_of
from pipelines.settings import load
from serving.errors import ConflictError, GateRefusal
from serving.files import write_json, write_text
from serving.frozen import write_model
from serving.local.paths import service_paths
from serving.local.state import AskedRevision, WantedState
from serving.locks import only_holder
from serving.places import open_service
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import Request
from serving.service.slots import revision_of
from serving.store.store import S3Settings, open_store
from tests.pipelines.cleaning.support import MadeHome, Run, made, tree
from tests.pipelines.here.support import one_sentence, slipway, write_project

ONE = Keep(1, math.inf)


@pytest.fixture
def home(tmp_path: Path) -> MadeHome:
    """Five runs, each with a version that was promoted: 5 serves, 4 is the one before, 1 to 3 are put away."""
    return made(tmp_path / "home", [Run() for _ in range(5)])


def bundle(home: MadeHome, version: int) -> Path:
    return home.root / "models/homes" / home.ledger.version("homes", version).digest


def gone(home: MadeHome) -> set[int]:
    """The versions without their bundle."""
    return {version.version for version in home.ledger.versions("homes") if not bundle(home, version.version).exists()}


def test_beside_a_run_its_cache_stays_whole(home: MadeHome) -> None:
    """A run may take anything from the cache; what nothing points to goes all the same, and the rest afterwards."""
    stray = home.root / "pipeline_root/runs/02/train/try-killed"
    write_text(stray / "half", "x")
    os.utime(stray, (0, 0))
    entries = set((home.root / "pipeline_root/cache").glob("*.json"))
    steps = set(home.root.glob("pipeline_root/runs/*/*/try-*"))
    with only_holder(lock_of(home.place), str):
        clean(home.place, ONE)
        assert set((home.root / "pipeline_root/cache").glob("*.json")) == entries
        assert steps - set(home.root.glob("pipeline_root/runs/*/*/try-*")) == {stray}
    clean(home.place, ONE)
    assert len(list((home.root / "pipeline_root/cache").glob("*.json"))) == 8, "of runs 4 and 5"


def test_a_run_that_would_begin_meanwhile_waits(home: MadeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """While things go the lock of runs is held, and afterwards it is free."""
    seen = []
    remove = sweep._remove

    def removing(place: object, thing: object) -> None:
        with pytest.raises(ConflictError), only_holder(lock_of(home.place), str):
            pass
        seen.append(thing)
        remove(place, thing)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(sweep, "_remove", removing)
    clean(home.place, ONE)
    assert seen
    with only_holder(lock_of(home.place), str):
        pass


def test_a_second_clean_is_refused(home: MadeHome) -> None:
    """With exit code 6 and the process that was first; a look is not."""
    with only_holder(home.root / "clean.lock", str):
        one_sentence(slipway("clean", "--yes", home=home.root), 6, "another clean is under way", "process")
        assert slipway("clean", home=home.root).code == 0


def test_what_a_service_runs_or_a_rollout_may_need_stays(home: MadeHome) -> None:
    """A revision that is wanted, though its version was put away; candidate and stable of a rollout that waits."""
    ledger = home.ledger
    first, second = (revision_of(ledger.version("homes", number)) for number in (1, 2))
    where = service_paths(home.root / "serving/homes")
    where.prepare()
    write_model(where.desired, WantedState(revisions={first.name: AskedRevision(**vars(first))}))
    service = open_service(home.place.serving, "homes", home.place.ledger)
    service.ask(Request(plan=RolloutPlan(service="homes"), candidate=second, stable=first))
    clean(home.place, ONE)
    assert gone(home) == {3}
    shown = look(home.place, ONE).stays
    assert shown["homes-1"].startswith("homes serves it")
    assert shown["homes-2"].startswith("rollout ")


def test_a_version_that_comes_back_meanwhile_keeps_its_bundle(home: MadeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger decides in one transaction who was first: the promotion, or the clean."""

    def reading(*args: object, **more: object) -> object:
        found = read_home(*args, **more)  # type: ignore[arg-type]  # handed on
        home.ledger.promote("homes", 1, "bob", "was better")
        return found

    monkeypatch.setattr(sweep, "read_home", reading)
    before = tree(home.root)
    with pytest.raises(ConflictError, match="homes version 1 is production and keeps its bundle"):
        clean(home.place, ONE)
    assert tree(home.root).keys() >= before.keys()
    monkeypatch.undo()
    clean(home.place, ONE)
    assert gone(home) == {2, 3, 4}, "1 serves, 5 is the one before"


def test_a_version_without_bundle_is_refused_with_the_way_back(home: MadeHome) -> None:
    """By every verb that would give it traffic; the history says who removed it, and its run's page is still there."""
    said = slipway("clean", "--keep", 1, "--yes", home=home.root)
    assert (said.code, said.err) == (0, "")
    assert "were removed" in said.out
    project = write_project(home.root)
    for words in (("models", "promote", "homes", 1, "--reason", "x"), ("rollout", "start", 1, "--project", project)):
        one_sentence(slipway(*words, home=home.root), 5, "has no bundle any more", "the page of its run 01 says")
    assert (home.root / "runs/01/report.html").exists()
    assert "bundle removed" in slipway("models", "history", "homes", home=home.root).out


def test_a_home_that_was_moved_is_read_the_same(home: MadeHome, tmp_path: Path) -> None:
    """Records name places by the home's old path; what they mean is below the new one."""
    before = look(home.place, ONE)
    home.root.rename(tmp_path / "moved")
    home.root = tmp_path / "moved"
    after = look(home.place, ONE)
    assert {thing.name for thing in after.goes} == {thing.name for thing in before.goes}


@pytest.mark.parametrize("absent", ["lost", "another"])
def test_with_another_ledger_nothing_of_its_versions_goes(home: MadeHome, absent: str, tmp_path: Path) -> None:
    """A variable that is not set this time must not cost what another ledger knows."""
    for file in home.root.glob("ledger.db*"):
        file.unlink()
    if absent == "another":
        write = made(tmp_path / "other", [Run(project="boats")])
        shutil.copy(write.root / "ledger.db", home.root / "ledger.db")
    found = look(home.place, ONE)
    assert {thing.kind for thing in found.goes} <= {"download"}
    assert "homes-1, which this ledger does not know" in found.stays["runs/01"]
    assert (home.root / "ledger.db").exists() == (absent == "another"), "a look makes no ledger"


def test_what_an_earlier_tour_left_stays_with_what_it_mentions(home: MadeHome) -> None:
    """As many of them as runs; a newer home's runs have the same numbers."""
    for stamp in ("20260101T000000", "20260102T000000"):
        shutil.copytree(home.root / "runs", home.root / "earlier" / stamp / "runs")
    shutil.rmtree(home.root / "runs")
    steps = set(home.root.glob("pipeline_root/runs/*/*/try-*"))
    clean(home.place, ONE)
    assert [path.name for path in (home.root / "earlier").iterdir()] == ["20260102T000000"]
    assert set(home.root.glob("pipeline_root/runs/*/*/try-*")) == steps


def test_age_protects_what_is_new(home: MadeHome) -> None:
    """With --older-than what was of use lately stays, however many runs there are."""
    said = slipway("clean", "--keep", 1, "--older-than", "1d", home=home.root)
    assert (
        said.out
        == f"nothing to remove; {len(look(home.place, ONE).stays) + len(look(home.place, ONE).goes)} things stay\n"
    )
    one_sentence(slipway("clean", "--older-than", "soon", home=home.root), 2, "--older-than", "soon")


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Nothing to remove, and no folder."""
    said = slipway("clean", home=tmp_path / "none")
    assert (said.code, said.out) == (0, "nothing to remove; 0 things stay\n")
    assert not (tmp_path / "none").exists()


def test_links_and_what_they_lead_to_stay(home: MadeHome, tmp_path: Path) -> None:
    """A folder that is a link is somebody else's; a whole tree behind one is a disk of its own, and cleaned."""
    (home.root / "pipeline_root").rename(tmp_path / "disk")
    (home.root / "pipeline_root").symlink_to(tmp_path / "disk")
    write_text(tmp_path / "mine/try-mine/x", "x")
    (tmp_path / "disk/runs/mine").symlink_to(tmp_path / "mine")
    clean(home.place, ONE)
    assert (tmp_path / "mine/try-mine/x").exists()
    assert {path.parts[-3] for path in tmp_path.glob("disk/runs/0*/*/try-*")} == {"04", "05"}


# --- bundles in a bucket ---------------------------------------------------------------------------------------------


def test_bundles_in_a_bucket_go_as_those_of_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of versions that were put away and of nobody else's; a clean that stopped after the ledger is taken up."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3 = S3Settings(f"{host}:{port}", "key", "secret", secure=False)
    minio.Minio(s3.endpoint, "key", "secret", secure=False, region=s3.region).make_bucket("models")
    for name, value in {
        "endpoint": s3.endpoint,
        "access_key": "key",
        "secret_key": "secret",
        "secure": "false",
    }.items():
        write_text(tmp_path / "secret" / name, value)
    home = made(tmp_path / "home", [Run() for _ in range(5)])
    store = open_store("s3://models/prod", s3)
    digests = [version.digest for version in home.ledger.versions("homes")]
    for digest in digests:
        write_json(bundle_file := home.root / "models/homes" / digest / "manifest.json", {"files": {"a": {"bytes": 7}}})
        store.upload_directory(bundle_file.parent, f"homes/{digest}")
    store.put("homes/unknown/manifest.json", b"{}")
    shutil.rmtree(home.root / "models")
    values = {"USER": "ann", "SLIPWAY_STORE": "s3://models/prod", "SLIPWAY_S3_SECRETS": str(tmp_path / "secret")}
    place = load(str(home.root), values)
    home.ledger.drop_bundle("homes", 2, "ann", "a clean that stopped here")
    found = clean(place, ONE)
    assert {key.split("/")[1] for key in store.list()} == {*digests[3:], "unknown"}
    sizes = {thing.size for thing in found.goes if thing.kind == "bundle"}
    assert all(size > 7 for size in sizes)
    assert look(place, ONE).goes == ()
    with pytest.raises(GateRefusal):
        home.ledger.require_bundle("homes", 1)
    server.stop()
