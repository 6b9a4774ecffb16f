"""Batch scoring: the endpoint's answers for every row of a table, file to file, whatever happens in between."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import minio
import msgspec
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from components.data.reader import Reader
from components.judging.answers import ask
from components.scoring import batches as batches
from components.scoring import inputs as scoring_inputs
from components.scoring.batches import Job, kept_columns, score_partition
from components.scoring.inputs import partitions
from components.scoring.manifest import Manifest, require
from components.scoring.output import open_output
from components.scoring.rows import RowScorer
from components.scoring.stages import Plan, begin
from serving.bundle.bundle import open_bundle
from serving.bundle.judgement import Judgement, Widths
from serving.bundle.signing import load_public_key
from serving.contract import Contract
from serving.errors import DataError, UsageError
from serving.explaining.choice import explainer
from serving.files import sha256_file
from serving.predictor import work
from serving.predictor.encode import Encoder
from serving.predictor.errors import Refusal
from serving.predictor.rows.v1 import Decoder
from serving.predictor.served import Served
from serving.predictor.settings import parse
from serving.store.store import S3Settings, open_store
from tests.root import ROOT
from tests.serving.predictor.support import HOUSE, PLANT, ROW, TUMOUR, random_rows, write_model

CHUNK = 64


class Bundles(dict):
    """Bundles by name, without the pages of arrays in their repr."""

    def __repr__(self) -> str:
        return "bundles"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Bundles:
    """A regression and a classification model, small and signed."""
    opened = Bundles()
    for name, contract in (("housing", HOUSE), ("tumour", TUMOUR), ("plant", PLANT)):
        directory, public = write_model(tmp_path_factory.mktemp(name), contract)
        opened[name] = open_bundle(directory, (load_public_key(public),))
    return opened


def job(bundle, source: Path, output: Path, **options) -> Job:
    given = {"keep": None, "workers": 2, "chunk_rows": CHUNK, **options}
    return Job(str(source), open_output(str(output), str(source)), bundle, "housing", "2", **given)


def table(rows: int, seed: int = 3, contract: Contract = HOUSE) -> pl.DataFrame:
    """Valid rows with an identifier and the truth beside them."""
    frame = pl.DataFrame(random_rows(contract, rows, seed), infer_schema_length=None)
    return frame.with_columns(pl.Series("sale", np.arange(rows)), pl.Series(contract.target.name, ["?"] * rows))


def run(work: Job, **options) -> Manifest:
    return Manifest.of(score_partition(work, part)[0] for part in partitions(work.source, **options))


def tree(directory: Path) -> dict[str, str]:
    return {str(p.relative_to(directory)): sha256_file(p) for p in sorted(directory.rglob("*.*")) if p.is_file()}


# --- equal to the endpoint -------------------------------------------------------------------------------------------


def online(bundle, rows: list[dict]) -> list:
    """What the predictor's own decoder, scorer and encoder give for each row sent alone; None for a refusal."""
    decoder, encoder = Decoder(bundle.contract, 10), Encoder(bundle.contract, "housing", "2", bundle.judgement)
    answers: list[Any] = []
    for row in rows:
        try:
            decoded = decoder.decode(msgspec.json.encode({"instances": [row]}))
            answers.append(encoder.answer(bundle.scorer.score(decoded.matrix), decoded))
        except Refusal:
            answers.append(None)
    return answers


def of(bundle) -> Served:
    return Served(bundle, parse(["--model_name", "housing", "--version", "2"], {}))


def body(rows: list[dict], **more: Any) -> bytes:
    return msgspec.json.encode({"instances": rows, **more})


def test_batches_have_the_ends_of_intervals_and_the_answers_of_the_threshold(bundles: Bundles, tmp_path: Path) -> None:
    """As the endpoint has them; a bundle without either has neither."""
    widths = Widths(level=90, levels=(80, 90), cuts=(), low=((-1.0, -2.0),), high=((3.0, 4.0),))
    kept = {"housing": Judgement(widths=widths), "tumour": Judgement(threshold=0.999)}
    found = {}
    for name, contract in (("housing", HOUSE), ("tumour", TUMOUR)):
        table(150, contract=contract).write_parquet(tmp_path / f"{name}.parquet")
        bundle = replace(bundles[name], judgement=kept[name])
        run(job(bundle, tmp_path / f"{name}.parquet", tmp_path / name))
        found[name] = pl.read_parquet(tmp_path / name / f"{name}.parquet")
    homes, tumours = found["housing"], found["tumour"]
    np.testing.assert_array_equal(homes["lower"], homes["prediction"] - 2)
    np.testing.assert_array_equal(homes["upper"], homes["prediction"] + 4)
    second = TUMOUR.target.classes[1]
    assert "lower" not in tumours.columns
    np.testing.assert_array_equal(tumours["prediction"] == second, tumours[f"probability_{second}"] >= 0.999)


COST = st.sampled_from((0.0, 0.5, 1.0, 3.0, 1e6))


@settings(max_examples=12, deadline=None)
@given(off=st.lists(COST, min_size=6, max_size=6))
def test_the_answer_of_least_cost_is_the_same_to_judge_batch_and_server(
    bundles: Bundles, tmp_path_factory: pytest.TempPathFactory, off: list[float]
) -> None:
    """Whatever errors cost: of rows alone, of a body with all of them, in chunks of a file, and where it is judged."""
    costs, folder = np.zeros((3, 3)), tmp_path_factory.mktemp("costs")
    costs[~np.eye(3, dtype=bool)] = off
    judgement = Judgement(costs=tuple(map(tuple, costs.tolist())))
    bundle, rows = replace(bundles["plant"], judgement=judgement), random_rows(PLANT, 150, 4)
    pl.DataFrame(rows).with_columns(species=pl.lit("setosa")).write_parquet(folder / "plants.parquet")
    run(job(bundle, folder / "plants.parquet", folder / "out"))
    batch = pl.read_parquet(folder / "out" / "plants.parquet")["prediction"].to_list()
    alone = [answer.predictions[0] for answer in online(bundle, rows)]
    judged = ask(bundle, pl.DataFrame(rows).with_columns(species=pl.lit("setosa"))).predicted
    served = work.answer(of(bundle), "predict", work.read(of(bundle), "predict", body(rows), None, True), "id").body
    assert batch == alone == [PLANT.target.classes[k] for k in np.argmax(judged.answered, axis=1)]
    assert json.loads(served)["predictions"] == batch
    expected = judged.values @ costs
    chosen = expected[np.arange(150), [PLANT.target.classes.index(word) for word in batch]]
    np.testing.assert_allclose(chosen, expected.min(axis=1), rtol=1e-9)


def test_what_is_explained_is_the_class_that_is_answered(bundles: Bundles, tmp_path: Path) -> None:
    """Where costs answer another than the likeliest class, the reasons are of that one; in answers as in batches."""
    costs = ((0.0, 1.0, 1.0), (9.0, 0.0, 9.0), (30.0, 30.0, 0.0))
    bundle, rows = replace(bundles["plant"], judgement=Judgement(costs=costs)), random_rows(PLANT, 40, 4)
    pl.DataFrame(rows).write_parquet(tmp_path / "plants.parquet")
    run(job(bundle, tmp_path / "plants.parquet", tmp_path / "out", explain=True, top=2))
    batch = pl.read_parquet(tmp_path / "out" / "plants.parquet")
    assert all(row["prediction"] in row["explained"] for row in batch.to_dicts())
    assert (batch["prediction"] != batch["top_1"]).any()
    read = work.read(of(bundle), "predict", body(rows, parameters={"explain": True}), None, True)
    served = json.loads(work.answer(of(bundle), "predict", read, "id").body)
    assert [one["of"] for one in served["explanations"]] == batch["explained"].to_list()


def test_batches_have_the_most_probable_classes_that_the_endpoint_gives(bundles: Bundles, tmp_path: Path) -> None:
    """In their order with their probabilities; none in refused rows, and no column unasked."""
    bundle, rows = bundles["plant"], random_rows(PLANT, 150, 4)
    rows[70]["petal length"] = -1e6
    pl.DataFrame(rows).write_parquet(tmp_path / "plants.parquet")
    for explain in (False, True):
        asked = job(bundle, tmp_path / "plants.parquet", tmp_path / f"out{explain}", top=2, explain=explain)
        whole = run(asked)
        batch = pl.read_parquet(tmp_path / f"out{explain}" / "plants.parquet")
        fine = [row for place, row in enumerate(rows) if place != 70]
        read = work.read(of(bundle), "predict", body(fine, parameters={"top": 2}), None, True)
        expected = json.loads(work.answer(of(bundle), "predict", read, "id").body)["top"]
        columns = [("top_1", "top_1_probability"), ("top_2", "top_2_probability")]
        told = [[{"class": row[a], "probability": row[b]} for a, b in columns] for row in batch.to_dicts()]
        assert whole.refused == 1
        assert told[70] == [{"class": None, "probability": None}] * 2
        assert told[:70] + told[71:] == expected
    run(job(bundle, tmp_path / "plants.parquet", tmp_path / "plain"))
    assert "top_1" not in pl.read_parquet(tmp_path / "plain" / "plants.parquet").columns
    with pytest.raises(UsageError, match="column 'top_1' has the name of a result"):
        kept_columns(["top_1"], PLANT, ("top_1",), asked.results)


def test_batches_have_the_contributions_that_the_endpoint_gives(bundles: Bundles, tmp_path: Path) -> None:
    """To the bit, whatever the chunks, with what they explain in words; none in refused rows, and none unasked."""
    for name, contract in (("housing", HOUSE), ("tumour", TUMOUR)):
        bundle, rows = bundles[name], random_rows(contract, 150, 3)
        first = next(iter(contract.columns))
        rows[70][first] = -1e6
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(tmp_path / f"{name}.parquet")
        work = job(bundle, tmp_path / f"{name}.parquet", tmp_path / name, explain=True)
        run(work)
        found = pl.read_parquet(tmp_path / name / f"{name}.parquet")
        good = [row for place, row in enumerate(rows) if place != 70]
        told = explainer(bundle.scorer, contract, bundle.golden)
        matrix = contract.encode({column: [row[column] for row in good] for column in contract.inputs})
        code = len(contract.target.classes[1:])
        expected = told.explained(matrix, np.full(len(matrix), code))
        kept = found.filter(np.arange(150) != 70)
        np.testing.assert_array_equal(kept.select(f"because_{slot}" for slot in contract.slots), expected.contributions)
        np.testing.assert_array_equal(kept["base"], expected.base)
        assert set(kept["explained"]) == {told.of(code)}
        assert found.row(70, named=True)["prediction"] is None
        assert all(found.row(70, named=True)[one] is None for one in work.results)
        again = job(bundle, tmp_path / f"{name}.parquet", tmp_path / name)
        assert score_partition(again, partitions(again.source)[0])[1], "another question is answered anew"
        plain = pl.read_parquet(tmp_path / name / f"{name}.parquet")
        assert plain.equals(found.drop(work.results))
    with pytest.raises(UsageError, match="column 'base' has the name of a result"):
        kept_columns(["base"], HOUSE, ("base",), work.results)


def spoiled(rows: list[dict], seed: int) -> list[dict]:
    """*rows* with cells outside of the contract: refused, clipped and flagged ones."""
    random = np.random.default_rng(seed)
    bad: dict[str, list[Any]] = {
        "area_m2": [9.0, 2000.0, None],
        "age": [-5.0, 301.0, None],
        "condition": ["ruined", None],
        "distance": [-1.0, 100.5],
        "garden": [None],
        "kind": ["castle", "", None],
        "rooms": [0, 31, None],
    }
    for row in rows:
        if random.random() < 0.6:
            name = list(bad)[random.integers(len(bad))]
            row[name] = bad[name][random.integers(len(bad[name]))]
    return rows


def test_a_batch_gives_the_bits_the_endpoint_gives(bundles, tmp_path):
    """Every row gets the endpoint's number to the last bit, and no number exactly where the endpoint answers 400."""
    rows = spoiled(random_rows(HOUSE, 500, 11), 5)
    answers = online(bundles["housing"], rows)
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(tmp_path / "in.parquet")
    manifest = run(job(bundles["housing"], tmp_path / "in.parquet", tmp_path / "out"))
    seen = pl.read_parquet(tmp_path / "out" / "in.parquet")
    assert seen["prediction"].to_list() == [None if a is None else a.predictions[0] for a in answers]
    assert seen["model_version"].unique().to_list() == ["2"]
    assert manifest.refused == sum(answer is None for answer in answers) > 50
    flags = Counter((f.column, f.reason.replace("_", " ")) for a in answers if a for f in a.flags)
    assert {(c.column, c.reason): c.rows for c in manifest.flagged} == dict(flags)
    assert {reason for _, reason in flags} == {"clipped", "out of range", "unknown category"}


def test_a_chunk_is_coded_as_a_request_is():
    """The scorer is given the same matrix to the bit: codes, clipped bounds, unknown and missing values."""
    rows, decoder = spoiled(random_rows(HOUSE, 400, 21), 6), Decoder(HOUSE, 10)
    given: list[np.ndarray] = []
    for row in rows:
        with contextlib.suppress(Refusal):
            given.append(decoder.decode(msgspec.json.encode({"instances": [row]})).matrix[0])
    seen: list[np.ndarray] = []

    def score(matrix: np.ndarray) -> np.ndarray:
        seen.append(matrix)
        return np.zeros(len(matrix))

    frame = pl.DataFrame(rows, infer_schema_length=None)
    RowScorer(frame.schema, HOUSE, score).score(frame)
    assert seen[0].flags.c_contiguous
    assert seen[0].tobytes() == np.array(given).tobytes()


def test_classes_come_with_their_probabilities(bundles, tmp_path):
    """Label and one probability per class, equal to the endpoint's; null together."""
    rows = random_rows(TUMOUR, 200, 7)
    rows[3]["mean radius"] = 51.0
    pl.DataFrame(rows).write_parquet(tmp_path / "in.parquet")
    run(job(bundles["tumour"], tmp_path / "in.parquet", tmp_path / "out"))
    seen = pl.read_parquet(tmp_path / "out" / "in.parquet")
    assert seen.columns == ["prediction", "probability_malignant", "probability_benign", "model_version"]
    for answer, row in zip(online(bundles["tumour"], rows), seen.iter_rows(), strict=True):
        expected = (None,) * 3 if answer is None else (answer.predictions[0], *answer.probabilities[0].tolist())
        assert row[:-1] == expected
    assert seen["prediction"].null_count() == 1


def test_csv_and_parquet_give_the_same_predictions(bundles, tmp_path):
    """Text is read by the contract, not guessed from its first rows; quoted line breaks and gzip are no obstacle."""
    frame = table(300).with_columns(pl.lit("two\nlines, one cell").alias("note"))
    (tmp_path / "csv").mkdir()
    frame.write_parquet(tmp_path / "in.parquet")
    frame.write_csv(tmp_path / "csv" / "plain.csv")
    import gzip

    (tmp_path / "csv" / "small.csv.gz").write_bytes(gzip.compress((tmp_path / "csv" / "plain.csv").read_bytes()))
    run(job(bundles["housing"], tmp_path / "in.parquet", tmp_path / "one"))
    run(job(bundles["housing"], tmp_path / "csv", tmp_path / "two"))
    expected = pl.read_parquet(tmp_path / "one" / "in.parquet")["prediction"]
    assert expected.null_count() == 0
    for name in ("plain", "small"):
        seen = pl.read_parquet(tmp_path / "two" / f"{name}.parquet")
        assert seen["prediction"].equals(expected)
        assert seen["note"][0] == "two\nlines, one cell"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 200), chunk=st.integers(1, 90), groups=st.integers(1, 90))
def test_neither_chunks_nor_row_groups_show(bundles, tmp_path_factory, seed, rows, chunk, groups):
    """Predictions do not depend on the layout of the input or on where it is cut."""
    folder = tmp_path_factory.mktemp("cut")
    frame = pl.DataFrame(spoiled(random_rows(HOUSE, rows, seed), seed), infer_schema_length=None)
    typed = {"area_m2": pl.Float64, "garden": pl.Boolean, "rooms": pl.Int64, "age": pl.Float64, "distance": pl.Float64}
    frame = frame.with_columns(pl.col(name).cast(kind) for name, kind in typed.items())
    frame = frame.with_columns(pl.col(name).cast(pl.String) for name in ("kind", "condition"))
    frame.write_parquet(folder / "in.parquet", row_group_size=groups)
    whole = RowScorer(frame.schema, HOUSE, bundles["housing"].scorer.score).score(frame)
    reader = Reader(folder / "in.parquet", "in.parquet")
    pieces = list(reader.chunks(HOUSE.names, chunk))
    assert [piece.num_rows for piece in pieces[:-1]] == [chunk] * (len(pieces) - 1)
    scorer = RowScorer(frame.schema, HOUSE, bundles["housing"].scorer.score)
    parts = [scorer.score(pl.from_arrow(piece)) for piece in pieces]
    assert np.array_equal(np.concatenate([part.values for part in parts]), whole.values, equal_nan=True)
    assert [text for part in parts for text in part.reasons] == list(whole.reasons)
    assert sum((part.reasons_by for part in parts), Counter()) == whole.reasons_by


# --- rows without a prediction ---------------------------------------------------------------------------------------


def test_a_refused_row_is_found_again_with_its_reasons(bundles, tmp_path):
    """It keeps its place among the predictions, null, and stands with row number, cells and sentences aside."""
    frame = table(200).with_columns(
        pl.when(pl.col("sale") == 150).then(9000.0).otherwise("area_m2").alias("area_m2"),
        pl.when(pl.col("sale") == 150).then(pl.lit("castle")).otherwise("kind").alias("kind"),
    )
    frame.write_parquet(tmp_path / "in.parquet", row_group_size=50)
    manifest = run(job(bundles["housing"], tmp_path / "in.parquet", tmp_path / "out"), split_rows=100)
    assert [part.rows for part in manifest.partitions] == [100, 100]
    assert (manifest.rows, manifest.scored, manifest.refused) == (200, 199, 1)
    assert not (tmp_path / "out" / "_refused" / "in-00001-of-00002.parquet").exists()
    refused = pl.read_parquet(tmp_path / "out" / "_refused" / "in-00002-of-00002.parquet").row(0, named=True)
    assert (refused["row"], refused["sale"], refused["area_m2"], refused["kind"]) == (150, 150, 9000.0, "castle")
    assert refused["reasons"] == ("area_m2: 9000 out of [10, 1500] m2; kind: 'castle' is none of house, flat")
    predictions = pl.read_parquet(tmp_path / "out" / "in-00002-of-00002.parquet")
    assert predictions.filter(pl.col("prediction").is_null())["sale"].to_list() == [150]
    assert {(c.column, c.reason): c.rows for c in manifest.reasons} == {
        ("area_m2", "out of range"): 1,
        ("kind", "unknown category"): 1,
    }


def test_a_row_the_model_cannot_take_does_not_stop_the_others():
    """Rows that the model itself refuses, or answers with infinity, are told apart and named; the rest is scored."""

    def score(matrix):
        if np.isnan(matrix).any():
            raise DataError("row 0: the model cannot take this value of 'x'")
        return np.where(matrix[:, 0] > 900, np.inf, matrix[:, 0] * 2)

    contract = Contract.model_validate(
        {"target": "y", "columns": {"x": {"type": "float", "nullable": True, "range": [0, 1000]}}}
    )
    frame = pl.DataFrame({"x": [1.0, None, 3.0, 950.0, -4.0, None, 7.0]})
    seen = RowScorer(frame.schema, contract, score).score(frame)
    assert seen.values[[0, 2, 6]].tolist() == [2.0, 6.0, 14.0]
    assert seen.refused.tolist() == [1, 3, 4, 5]
    assert seen.reasons[0] == "the model cannot take this value of 'x'"
    assert seen.reasons[1].startswith("the prediction is not a finite number")
    assert seen.reasons[2] == "x: -4 out of [0, 1000]"
    assert seen.reasons_by == {("", "no prediction"): 3, ("x", "out of range"): 1}


def test_a_chunk_without_one_good_row_is_written_all_the_same(bundles, tmp_path):
    """No row scored, for numbers and for classes: nulls, and a limit that speaks up."""
    for name, contract, column in (("housing", HOUSE, "area_m2"), ("tumour", TUMOUR, "mean radius")):
        frame = table(90, contract=contract).with_columns(pl.lit(-1.0).alias(column))
        frame.write_parquet(tmp_path / f"{name}.parquet")
        manifest = run(job(bundles[name], tmp_path / f"{name}.parquet", tmp_path / f"{name}-out"))
        assert pl.read_parquet(tmp_path / f"{name}-out" / f"{name}.parquet")["prediction"].null_count() == 90
        with pytest.raises(DataError, match=r"100\.0% of the rows have no prediction.*refuse_above"):
            require(manifest, contract.refuse_above)


# --- interrupted, repeated, changed ----------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(bundles, tmp_path, monkeypatch):
    """A repeated command computes nothing and changes no byte; a damaged or newer file is the exception."""
    (tmp_path / "in").mkdir()
    for day in ("a", "b"):
        table(150, seed=ord(day)).write_parquet(tmp_path / "in" / f"{day}.parquet")
    work = job(bundles["housing"], tmp_path / "in", tmp_path / "out")
    fresh = [score_partition(work, part)[1] for part in partitions(work.source)]
    before = tree(tmp_path / "out")
    again = [score_partition(work, part)[1] for part in partitions(work.source)]
    assert (fresh, again) == ([True, True], [False, False])
    assert tree(tmp_path / "out") == before
    with (tmp_path / "out" / "a.parquet").open("r+b") as file:
        file.write(b"damaged")
    table(150, seed=9).write_parquet(tmp_path / "in" / "b.parquet")
    assert [score_partition(work, part)[1] for part in partitions(work.source)] == [True, True]
    after = tree(tmp_path / "out")
    assert after["a.parquet"] == before["a.parquet"]
    assert after["b.parquet"] != before["b.parquet"]


def test_corrected_rows_are_no_longer_among_the_refused(bundles, tmp_path):
    """Yesterday's refusals do not stand beside the predictions of the corrected file."""
    work = job(bundles["housing"], tmp_path / "in.parquet", tmp_path / "out")
    table(70).with_columns(pl.lit(-1.0).alias("area_m2")).write_parquet(tmp_path / "in.parquet")
    run(work)
    assert (tmp_path / "out" / "_refused" / "in.parquet").exists()
    table(70).write_parquet(tmp_path / "in.parquet")
    run(work)
    assert not (tmp_path / "out" / "_refused" / "in.parquet").exists()


@pytest.mark.parametrize("change", [{"version": "3"}, {"keep": ("sale", "kind")}, {"model": "other"}])
def test_another_question_is_answered_anew(bundles, tmp_path, change):
    """Version, model and kept columns are part of what was asked."""
    table(80).write_parquet(tmp_path / "in.parquet")
    work = job(bundles["housing"], tmp_path / "in.parquet", tmp_path / "out")
    part = partitions(work.source)[0]
    score_partition(work, part)
    from dataclasses import replace

    assert score_partition(replace(work, **change), part)[1]


def test_threads_do_not_show_in_the_bytes(bundles, tmp_path):
    """One thread or four, in the place of the predictions or elsewhere: the same files."""
    table(1000).write_parquet(tmp_path / "in.parquet")
    for workers, place in ((1, "one"), (4, "elsewhere")):
        run(job(bundles["housing"], tmp_path / "in.parquet", tmp_path / place, workers=workers))
    assert tree(tmp_path / "one") == tree(tmp_path / "elsewhere")


KILLED = f"""
import os, signal, sys
from pathlib import Path
from components.scoring import batches
from components.scoring.inputs import partitions
from components.scoring.output import open_output
from serving.bundle.bundle import open_bundle
from serving.bundle.judgement import Judgement, Widths
from serving.bundle.signing import load_public_key

bundle, public, source, output, after = sys.argv[1:]
write, written = batches.Writer.write, []
def counted(self, chunk, scores):
    write(self, chunk, scores)
    written.append(chunk)
    if len(written) == int(after):
        os.kill(os.getpid(), signal.SIGKILL)
batches.Writer.write = counted
opened = open_bundle(Path(bundle), (load_public_key(Path(public)),))
job = batches.Job(source, open_output(output, source), opened, "housing", "2", chunk_rows={CHUNK})
for part in partitions(source, split_rows=200):
    batches.score_partition(job, part)
"""


def test_killed_in_the_middle_and_resumed_the_bytes_are_the_same(bundles, tmp_path):
    """kill -9 leaves whole partitions and no half ones; the same command makes the rest, byte for byte."""
    bundle = bundles["housing"]
    frame = pl.DataFrame(spoiled(random_rows(HOUSE, 600, 2), 8), infer_schema_length=None)
    frame.write_parquet(tmp_path / "in.parquet", row_group_size=200)
    run(job(bundle, tmp_path / "in.parquet", tmp_path / "straight"), split_rows=200)
    public = bundle.directory.parent / "public.pem"
    # Four chunks a partition: the fifth is the first of the second partition.
    arguments = [bundle.directory, public, tmp_path / "in.parquet", tmp_path / "killed", 5]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)], env=environment, capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    whole = tree(tmp_path / "straight")
    left = {name: digest for name, digest in tree(tmp_path / "killed").items() if not name.startswith(".")}
    assert [name for name in left if name.startswith("_manifests")] == ["_manifests/in-00001-of-00003.json"]
    assert left.items() <= whole.items()
    assert any(name.startswith(".work-") for name in tree(tmp_path / "killed"))
    run(job(bundle, tmp_path / "in.parquet", tmp_path / "killed"), split_rows=200)
    assert tree(tmp_path / "killed") == whole


def test_a_file_that_changes_while_it_is_scored_is_told(bundles, tmp_path, monkeypatch):
    """No manifest vouches for predictions of a file that was replaced underneath."""
    path = tmp_path / "in.parquet"
    table(100).write_parquet(path)
    work = job(bundles["housing"], path, tmp_path / "out")
    part = partitions(work.source)[0]
    write = batches.Writer.write

    def meanwhile(self, chunk, scores):
        write(self, chunk, scores)
        os.utime(path, ns=(1, 1))

    monkeypatch.setattr(batches.Writer, "write", meanwhile)
    with pytest.raises(DataError, match="changed since its scoring began"):
        score_partition(work, part)
    assert work.output.read_manifest("in") is None


def test_results_of_a_file_that_is_gone_go_too(bundles, tmp_path):
    """A later run over fewer files does not leave yesterday's predictions among today's."""
    (tmp_path / "in").mkdir()
    for day in ("a", "b"):
        table(70).with_columns(pl.lit(-1.0).alias("area_m2")).write_parquet(tmp_path / "in" / f"{day}.parquet")
    work = job(bundles["housing"], tmp_path / "in", tmp_path / "out")
    run(work)
    (tmp_path / "in" / "b.parquet").unlink()
    left = partitions(work.source)
    begin(
        work.output,
        Plan(model="m", version=1, bundle="", source="", output="", keep=None, refuse_above=1.0, partitions=left),
    )
    assert sorted(tree(tmp_path / "out")) == ["_manifests/a.json", "_refused/a.parquet", "a.parquet"]


def test_an_object_store_holds_the_bytes_a_directory_holds(bundles, tmp_path):
    """Input and output may be s3:// addresses; what is done there is known from manifests there, not from this disk."""
    (tmp_path / "in").mkdir()
    for day in ("a", "b"):
        table(90, seed=ord(day)).write_parquet(tmp_path / "in" / f"{day}.parquet")
    run(job(bundles["housing"], tmp_path / "in", tmp_path / "out"))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        s3 = S3Settings(f"{host}:{port}", "key", "secret", secure=False)
        minio.Minio(s3.endpoint, "key", "secret", secure=False, region=s3.region).make_bucket("tables")
        store = open_store("s3://tables", s3)
        store.upload_directory(tmp_path / "in", "in")
        output = open_output("s3://tables/out", "s3://tables/in", s3)
        work = Job("s3://tables/in", output, bundles["housing"], "housing", "2", s3=s3, chunk_rows=CHUNK)
        fresh = [[score_partition(work, part)[1] for part in partitions("s3://tables/in", s3)] for _ in range(2)]
        assert fresh == [[True, True], [False, False]]
        assert store.list("out") == ("out/_manifests/a.json", "out/_manifests/b.json", "out/a.parquet", "out/b.parquet")
        for day in ("a", "b"):
            assert store.get(f"out/{day}.parquet") == (tmp_path / "out" / f"{day}.parquet").read_bytes()
        assert [part.name for part in partitions("s3://tables/in/b.parquet", s3)] == ["b"]
        with pytest.raises(UsageError, match="lies within the table"):
            open_output("s3://tables/in/out", "s3://tables/in", s3)
    finally:
        server.stop()


# --- the edges of a command ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "words"),
    [
        pytest.param("in", "lies within the table", id="onto-itself"),
        pytest.param("in/out", "lies within the table", id="into-the-input"),
        pytest.param("other", "holds other files", id="among-foreign-files"),
    ],
)
def test_predictions_never_land_on_other_files(tmp_path, place, words):
    """A mistyped OUTPUT is refused before anything is written."""
    for folder in ("in", "other"):
        (tmp_path / folder).mkdir()
        table(5).write_parquet(tmp_path / folder / "a.parquet")
    with pytest.raises(UsageError, match=words):
        open_output(str(tmp_path / place), str(tmp_path / "in"))
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["a.parquet"]


def test_the_key_goes_along_and_without_one_what_the_model_does_not_read():
    """Kept are the contract's key, else all columns that are neither inputs nor target, else what was asked for."""
    keyed = HOUSE.model_copy(update={"key": "sale"})
    names = (*HOUSE.names, "price", "sale", "street")
    assert kept_columns(names, keyed, None) == ("sale",)
    assert kept_columns(names, HOUSE, None) == ("sale", "street")
    assert kept_columns(HOUSE.names, keyed, None) == ()
    assert kept_columns(names, keyed, ("street", "kind")) == ("street", "kind")
    with pytest.raises(UsageError, match="no column 'road' to keep"):
        kept_columns(names, keyed, ("road",))
    with pytest.raises(UsageError, match="has the name of a result"):
        kept_columns((*names, "prediction"), HOUSE, None)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({}, "holds no .csv", id="nothing-there"),
        pytest.param({"a.csv": b"x\n1\n", "b.parquet": b""}, "different formats", id="two-formats"),
        pytest.param({"a.csv": b"x\n1\n", "a.csv.gz": b""}, "two files would give", id="one-name-for-two"),
        pytest.param({"a.parquet": b"no parquet at all"}, "cannot be read as parquet", id="no-parquet"),
    ],
)
def test_a_table_that_cannot_be_scored_is_named(tmp_path, files, words):
    """Each way of being no table has its sentence, before anything is scored."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        partitions(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("a,b\n1,2\n", "lacks area_m2", id="other-columns"),
        pytest.param("", "in.csv is empty", id="empty-file"),
        pytest.param(",".join(ROW) + "\n1,2\n", "in.csv, line 2: expected 7 cells", id="short-line"),
        pytest.param("rooms,rooms\n1,2\n", "1 and 2 are both called 'rooms'", id="twice-a-name"),
    ],
)
def test_a_bad_csv_is_named(bundles, tmp_path, content, words):
    """What is wrong with the file, not a library's exception."""
    (tmp_path / "in.csv").write_text(content)
    with pytest.raises(DataError, match=words):
        run(job(bundles["housing"], tmp_path / "in.csv", tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_an_empty_partition_gives_an_empty_file_and_an_empty_table_an_error(bundles, tmp_path):
    """Consumers find a file of the usual columns; a table without a single row is a broken export."""
    (tmp_path / "in.csv").write_text(",".join(ROW) + "\n")
    manifest = run(job(bundles["housing"], tmp_path / "in.csv", tmp_path / "out"))
    assert pl.read_parquet(tmp_path / "out" / "in.parquet").columns == ["prediction", "model_version"]
    with pytest.raises(DataError, match="is empty"):
        require(manifest, HOUSE.refuse_above)


def test_manifests_hold_no_time_and_no_place(bundles, tmp_path):
    """Copies of the same files scored elsewhere have the same manifests, which name input, version and digests."""
    for place in ("one", "two"):
        (tmp_path / place / "in").mkdir(parents=True)
        table(100).write_parquet(tmp_path / place / "in" / "a.parquet")
        os.utime(tmp_path / place / "in" / "a.parquet", ns=(10**9 * len(place), 10**9 * ord(place[0])))
        run(job(bundles["housing"], tmp_path / place / "in", tmp_path / place / "out"))
    assert tree(tmp_path / "one" / "out") == tree(tmp_path / "two" / "out")
    seen = json.loads((tmp_path / "one" / "out" / "_manifests" / "a.json").read_text())
    assert seen["asked"]["bundle"] == bundles["housing"].digest
    assert seen["asked"]["version"] == "2"
    assert seen["asked"]["input"]["sha256"] == sha256_file(tmp_path / "one" / "in" / "a.parquet")
    assert seen["predictions"]["sha256"] == sha256_file(tmp_path / "one" / "out" / "a.parquet")


def test_large_files_are_cut_between_row_groups(tmp_path):
    """Every row is in exactly one part, and the parts are numbered."""
    table(100).write_parquet(tmp_path / "big.parquet", row_group_size=30)
    parts = partitions(str(tmp_path / "big.parquet"), split_rows=50)
    assert [(part.name, part.first_row, part.rows, part.groups) for part in parts] == [
        ("big-00001-of-00002", 0, 60, (0, 2)),
        ("big-00002-of-00002", 60, 40, (2, 4)),
    ]
    assert scoring_inputs.partitions(str(tmp_path / "big.parquet"))[0].name == "big"
    assert pq.read_metadata(tmp_path / "big.parquet").num_rows == 100


def test_folders_are_columns_for_scoring_as_for_training(bundles, tmp_path):
    """A table that Hive wrote in partitions gives the predictions of the same rows in one file."""
    whole = table(60).with_columns(pl.col("rooms").cast(pl.Int64))
    whole.write_parquet(tmp_path / "whole.parquet")
    for (rooms,), rows in whole.partition_by("rooms", as_dict=True, maintain_order=True).items():
        folder = tmp_path / "parts" / f"rooms={rooms}"
        folder.mkdir(parents=True)
        rows.drop("rooms").write_csv(folder / "a.csv")
    run(job(bundles["housing"], tmp_path / "whole.parquet", tmp_path / "one", keep=("sale",)))
    run(job(bundles["housing"], tmp_path / "parts", tmp_path / "many", keep=("sale",)))
    one = pl.read_parquet(tmp_path / "one" / "whole.parquet").sort("sale")
    many = pl.concat(
        pl.read_parquet(path, hive_partitioning=False) for path in (tmp_path / "many").rglob("rooms=*/*.parquet")
    )
    many = many.with_columns(pl.col("sale").cast(one.schema["sale"])).sort("sale")
    assert one["prediction"].equals(many["prediction"])


def test_a_column_that_one_of_several_files_lacks_is_told_and_missing_there(bundles, tmp_path):
    """What may be missing is, as in training; what may not, or a part without a header, is refused by its name."""
    folder = tmp_path / "in"
    folder.mkdir()
    rows = table(20).with_columns(pl.lit(None, pl.Float64).alias("age"))
    rows.write_csv(folder / "a.csv")
    rows.drop("age").write_csv(folder / "b.csv")
    done = run(job(bundles["housing"], folder, tmp_path / "out", keep=("sale",)))
    assert done.sentence.endswith("; b.csv lacks age, which may be missing")
    one, two = (pl.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in "ab")
    assert one["prediction"].equals(two["prediction"])
    for text, says in (
        (rows.drop("age").write_csv(include_header=False), "b.csv has none of the columns"),
        (rows.rename({"age": "AGE"}).write_csv(), "lacks column 'age': is its 'AGE' meant?"),
        (rows.drop("area_m2").write_csv(), "lacks column 'area_m2'"),
    ):
        (folder / "b.csv").write_text(text)
        with pytest.raises(DataError, match=re.escape(says)):
            run(job(bundles["housing"], folder, tmp_path / "out", keep=()))
