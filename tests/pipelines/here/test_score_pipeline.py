"""The scoring pipeline and ``slipway score``: the same files either way, and a run that takes up where it stopped."""

import json
from pathlib import Path

import joblib
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from components.scoring import stages as stages_score
from components.scoring.manifest import Manifest
from components.scoring.stages import collect, make_plan, score_all
from components.scoring.stages import plan as plan_stage
from components.scoring.stages import score as score_stage
from components.steps.place import Place
from pipelines import settings
from pipelines.cli.main import slipway
from pipelines.compiling.compiling import graphs, is_current
from pipelines.here import runner
from serving.bundle.signing import SigningKey
from serving.errors import ConfigError, ConflictError, DataError, GateRefusal, UsageError
from serving.files import sha256_bytes, sha256_file
from serving.ledger.ledger import open_ledger
from serving.store.store import open_store
from tests.root import ROOT
from tests.serving.ledger.facts import facts
from tests.serving.predictor.support import HOUSE, random_rows, write_model

PROJECT = str(ROOT / "pipelines" / "housing" / "project.yaml")
PACKAGE = ROOT / "pipelines" / "score.yaml"
DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    """A home where version 1 of housing serves and version 2 is registered."""
    home = tmp_path_factory.mktemp("home")
    where = settings.load(str(home), {}, key=str(home / "public.pem"), actor="ann")
    ledger, store = open_ledger(where.ledger), open_store(where.store)
    directory, public = write_model(tmp_path_factory.mktemp("model"), HOUSE)
    (home / "public.pem").write_bytes(public.read_bytes())
    digest = sha256_file(directory / "manifest.json")
    store.upload_directory(directory, f"housing/{digest}")
    ledger.register("housing", facts(digest, store.uri(f"housing/{digest}"), snapshot=""), "ann")
    ledger.approve("housing", 1, "ann", "a test")
    ledger.promote("housing", 1, "ann", "a test")
    return where


@pytest.fixture
def source(tmp_path) -> Path:
    """Three days of rows, one of them outside of the contract."""
    for seed, day in enumerate(DAYS):
        rows = random_rows(HOUSE, 120, seed)
        rows[7]["rooms"] = 99 if seed == 1 else rows[7]["rooms"]
        folder = tmp_path / "in" / f"day={day}"
        folder.mkdir(parents=True)
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "part.parquet")
    return tmp_path / "in"


def tree(directory: Path) -> dict[str, str]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(directory).as_posix(): sha256_file(path) for path in files}


def invoke(place: Place, *words: str) -> tuple[int, list[dict]]:
    result = CliRunner().invoke(
        slipway, ["--home", place.home, "--json", "score", *words, "--project", PROJECT],
        env={"SLIPWAY_KEY": place.key}, catch_exceptions=False,
    )  # fmt: skip
    return result.exit_code, [json.loads(line) for line in result.output.splitlines()]


def test_the_command_scores_partition_by_partition(place, source, tmp_path):
    """One line and one file per partition, then what was scored with which version; a repeat computes nothing."""
    code, lines = invoke(place, str(source), str(tmp_path / "out"))
    assert code == 0
    assert [(line["partition"], line["rows"], line["refused"], line["fresh"]) for line in lines[:-1]] == [
        (f"day={day}/part", 120, int(day == DAYS[1]), True) for day in DAYS
    ]
    assert (lines[-1]["model"], lines[-1]["version"], lines[-1]["scored"]) == ("housing", "1", 359)
    assert "1 rooms out of range" in lines[-1]["text"]
    before = tree(tmp_path / "out")
    code, lines = invoke(place, str(source), str(tmp_path / "out"))
    assert (code, [line["fresh"] for line in lines[:-1]]) == (0, [False] * 3)
    assert tree(tmp_path / "out") == before
    manifest = Manifest.model_validate_json((tmp_path / "out" / "manifest.json").read_text())
    for part in manifest.partitions:
        assert sha256_file(tmp_path / "out" / part.predictions.key) == part.predictions.sha256
    assert sum(len(pl.read_parquet(tmp_path / "out" / p.predictions.key)) for p in manifest.partitions) == 360


def test_the_command_keeps_the_columns_it_is_told(place, source, tmp_path):
    """--keep names input columns that stand beside the predictions."""
    code, _ = invoke(place, str(source), str(tmp_path / "out"), "--version", "1", "--keep", "kind, rooms")
    assert code == 0
    seen = pl.read_parquet(tmp_path / "out" / f"day={DAYS[0]}" / "part.parquet", hive_partitioning=False)
    assert seen.columns == ["kind", "rooms", "prediction", "model_version"]


def test_the_command_explains_where_it_is_told(place, source, tmp_path):
    """--explain puts contributions beside the predictions."""
    code, _ = invoke(place, str(source), str(tmp_path / "out"), "--version", "1", "--keep", "kind", "--explain")
    assert code == 0
    seen = pl.read_parquet(tmp_path / "out" / f"day={DAYS[0]}" / "part.parquet", hive_partitioning=False)
    slots = stages_score._chosen("housing", 1, place).bundle.contract.slots
    numbers = ["base", *(f"because_{slot}" for slot in slots)]
    assert seen.columns == ["kind", "prediction", "explained", *numbers, "model_version"]
    sums = seen.select(pl.sum_horizontal(numbers)).to_series()
    np.testing.assert_allclose(sums, seen["prediction"], rtol=1e-9)


def test_a_version_is_exported_for_a_server_that_reads_joblib(place, tmp_path):
    """The pipeline of the bundle, after the bundle was checked; none whose key is not trusted."""
    words = ["--home", place.home, "models", "export", "1", "--joblib", str(tmp_path / "out" / "model.joblib")]
    result = CliRunner().invoke(slipway, words, env={"SLIPWAY_KEY": place.key}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    bundle = stages_score._chosen("housing", 1, place).bundle
    rows = HOUSE.frame(bundle.golden)
    expected = bundle.pipeline.predict(rows)
    assert joblib.load(tmp_path / "out" / "model.joblib").predict(rows).tolist() == expected.tolist()
    (tmp_path / "other.pem").write_bytes(SigningKey.generate().public.pem)
    words[-1] = str(tmp_path / "none.joblib")
    refused = CliRunner().invoke(slipway, words, env={"SLIPWAY_KEY": str(tmp_path / "other.pem")})
    assert isinstance(refused.exception, GateRefusal)
    assert not (tmp_path / "none.joblib").exists()


def test_the_pipeline_writes_the_files_the_command_writes(place, source, tmp_path):
    """Two shares of steps on the local runner leave byte for byte what one process leaves."""
    arguments = {
        "name": "housing",
        "source": str(source),
        "output": str(tmp_path / "piped"),
        "place": place.model_dump_json(),
        "shares": 2,
        "workers": 1,
        "explain": True,
    }
    result = runner.run(PACKAGE, arguments, tmp_path / "root", run_id="01", timeout_s=150, on_event=lambda event: None)
    assert result.error is None
    assert invoke(place, str(source), str(tmp_path / "out"), "--explain")[0] == 0
    assert tree(tmp_path / "piped") == tree(tmp_path / "out")
    assert result.outputs["digest"] == sha256_file(tmp_path / "out" / "manifest.json")
    messages = [task.message for task in result.tasks]
    assert "3 partitions for housing 1, in 2 shares" in messages
    assert any("359 of 360 rows scored with housing 1" in (message or "") for message in messages)


def test_the_committed_package_is_what_its_source_compiles_to():
    """The reviewer sees what runs."""
    package = next((f, path) for f, path in graphs().items() if path == PACKAGE)
    assert is_current(*package)


def stages(place: Place, source: Path, output: Path, plan: Path, shares: int = 2) -> list[str]:
    return plan_stage("housing", 0, str(source), str(output), "", False, 0, shares, place.model_dump_json(), str(plan))


def test_a_share_that_failed_leaves_no_complete_result(place, source, tmp_path):
    """Without all partitions there is no manifest, and the error says to run again; then only the rest is made."""
    out, plan, where = tmp_path / "out", tmp_path / "plan", place.model_dump_json()
    items = stages(place, source, out, plan)
    assert items == ["0/2", "1/2"]
    digests = [score_stage(items[0], where, 1, str(plan))]
    with pytest.raises(DataError, match="1 of 3 partitions have no predictions"):
        collect(digests, where, str(plan), str(tmp_path / "manifest"))
    assert not (out / "manifest.json").exists()
    items = stages(place, source, out, plan)
    digests = [score_stage(item, where, 1, str(plan)) for item in items]
    digest = collect(digests, where, str(plan), str(tmp_path / "manifest"))
    assert digest == sha256_bytes((tmp_path / "manifest").read_bytes()) == sha256_file(out / "manifest.json")


def test_a_new_plan_takes_the_word_back_that_all_is_done(place, source, tmp_path):
    """While a new run works there is no manifest; a file that came since is part of the next one."""
    plan = make_plan("housing", 0, str(source), str(tmp_path / "out"), None, place)
    score_all(plan, place, workers=1)
    seen: list[bool] = []
    (source / "late.parquet").write_bytes((source / f"day={DAYS[0]}" / "part.parquet").read_bytes())
    later = make_plan("housing", 0, str(source), str(tmp_path / "out"), None, place)
    whole = score_all(
        later, place, 1, lambda part, fresh: seen.append(fresh or (tmp_path / "out" / "manifest.json").exists())
    )
    assert seen == [False, False, False, True]
    assert whole.rows == 480


def test_more_shares_than_partitions_are_not_asked_for(place, source, tmp_path):
    """Each pod has something to do."""
    assert stages(place, source, tmp_path / "out", tmp_path / "plan", shares=50) == ["0/3", "1/3", "2/3"]


def test_the_most_probable_of_no_classes_are_not_scored(place, source, tmp_path):
    """Whoever asks is told before the first file is read."""
    with pytest.raises(UsageError, match="--top: is for a target of three or more classes"):
        make_plan("housing", 0, str(source), str(tmp_path / "out"), None, place, top=2)


def test_two_commands_do_not_write_to_one_place(place, source, tmp_path):
    """The second one is told about the first."""
    plan = make_plan("housing", 0, str(source), str(tmp_path / "out"), None, place)

    def second(_manifest, _fresh):
        with pytest.raises(ConflictError, match="another command writes predictions"):
            score_all(plan, place, workers=1)

    score_all(plan, place, 1, second)


def test_too_many_refused_rows_end_with_the_exit_code_of_data(place, tmp_path):
    """Predictions are written and the command fails: nobody takes a column of nulls for a result."""
    rows = pl.DataFrame(random_rows(HOUSE, 50, 1), infer_schema_length=None).with_columns(pl.lit(0.0).alias("area_m2"))
    rows.write_csv(tmp_path / "in.csv")
    result = CliRunner().invoke(
        slipway, ["--home", place.home, "score", str(tmp_path / "in.csv"), str(tmp_path / "out"), "--project", PROJECT],
        env={"SLIPWAY_KEY": place.key},
    )  # fmt: skip
    assert isinstance(result.exception, DataError)
    assert "50 area_m2 out of range" in str(result.exception)
    assert len(pl.read_parquet(tmp_path / "out" / "_refused" / "in.parquet")) == 50


def test_without_a_serving_version_the_next_move_is_told(tmp_path):
    """A fresh home has nothing to score with."""
    fresh = settings.load(str(tmp_path / "home"), {})
    with pytest.raises(ConfigError, match=r"no version of housing serves yet.*slipway run"):
        stages_score.make_plan("housing", 0, str(tmp_path), str(tmp_path / "out"), None, fresh)
