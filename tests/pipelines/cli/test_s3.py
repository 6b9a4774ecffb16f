"""Every verb that takes a table reads it from S3 as well as from a file, by the secrets of the place."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minio
import polars as pl
import pytest
from moto.server import ThreadedMotoServer

from tests.pipelines.here.support import AS_OF, Said, environment, one_sentence, sales, slipway, write_project

BUCKET = "sales"
AFTER = "2024-07-01"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory with the secrets of a service whose bucket holds sales, labels and what requests were worth."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    directory = tmp_path_factory.mktemp("secrets")
    named = {"endpoint": f"{host}:{port}", "access_key": "key", "secret_key": "secret", "secure": "false"}
    for name, value in named.items():
        (directory / name).write_text(value)
    client = minio.Minio(named["endpoint"], "key", "secret", secure=False, region="us-east-1")
    client.make_bucket(BUCKET)
    told = {"request_id": ["r1"], "price": [250_000.0], "value": [1.5], "label_at": ["2024-06-02T00:00:00"]}
    for name, table in {"sales": sales(), "told": pl.DataFrame(told)}.items():
        file = directory.parent / f"{name}.parquet"
        table.write_parquet(file)
        client.fput_object(BUCKET, file.name, str(file))
    yield directory
    server.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project whose table is in the bucket."""
    directory = tmp_path_factory.mktemp("place")
    write_project(directory, source={"uri": "s3://sales/sales.parquet"}, retrain={"on": ["data"], "cooldown": "1d"})
    return directory


def ask(place: Path, secrets: Path | None, *words: object) -> Said:
    with environment(**({} if secrets is None else {"SLIPWAY_S3_SECRETS": str(secrets)})):
        return slipway(*words, "--project", place / "project.yaml", home=place / "home")


TOLD = "s3://sales/told.parquet"
VERBS = [
    pytest.param(("data", "show"), "397 rows", id="data-show"),
    pytest.param(("data", "show", "--source", TOLD), "1 rows", id="data-show-source"),
    pytest.param(("data", "check", "--as-of", AS_OF), "394 accepted", id="data-check"),
    pytest.param(("rollout", "labels", TOLD), "1 labels for homes", id="labels"),
    pytest.param(("rollout", "experiment", "value", TOLD), "1 values for homes", id="values"),
]


@pytest.mark.parametrize(("words", "part"), VERBS)
def test_a_verb_reads_a_table_from_s3(place: Path, secrets: Path, words: tuple[str, ...], part: str) -> None:
    """With the secrets set it ends with 0; without them it says what is missing."""
    said = ask(place, secrets, *words)
    assert (said.code, part in said.out) == (0, True), said
    one_sentence(ask(place, None, *words), 3, "S3 endpoint and key")


@pytest.mark.slow
def test_runs_and_what_follows_them_read_from_s3(place: Path, secrets: Path) -> None:
    """A run on the project's table, then scoring, watching and the loop with tables of the bucket."""
    said = ask(place, secrets, "run", "--as-of", AS_OF)
    assert (said.code, said.err) == (0, ""), said
    scored = ask(place, secrets, "score", "s3://sales/sales.parquet", place / "scores")
    assert (scored.code, "397 rows" in scored.out) == (0, True), scored
    watched = ask(place, secrets, "watch", "--labels", TOLD, "--as-of", AFTER, "--json")
    assert watched.code == 0, watched
    assert next(x for x in watched.lines if x["subject"] == "watch")["report"]["labels"]["orphans"] == 1
    turned = ask(place, secrets, "loop", "--labels", TOLD, "--source", "s3://sales/sales.parquet", "--as-of", AFTER)
    assert (turned.code, "no run" in turned.out) == (0, True), turned
    again = ask(place, secrets, "run", "--source", "s3://sales/sales.parquet", "--as-of", AS_OF)
    assert again.code in (0, 5), again
    for words in (("run",), ("score", "s3://sales/sales.parquet", place / "other"), ("watch", "--labels", TOLD)):
        assert ask(place, None, *words).code == 3, words


def _echo(_address: str, _model: str, rows: Any, _interval: float | None, _top: int | None) -> dict[int, Any]:
    return {number: {"asked": row} for number, row in rows.records.items()}


def test_rows_to_predict_come_from_s3(place: Path, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint is asked about each row of the table."""
    monkeypatch.setattr("serving.local.client.endpoint", lambda _directory: "http://127.0.0.1:1")
    monkeypatch.setattr("pipelines.here.asking.ask", _echo)
    said = ask(place, secrets, "predict", "s3://sales/sales.parquet", "--limit", 2)
    assert said.code == 0, said
    asked = [set(json.loads(line)["asked"]) for line in said.out.splitlines()]
    assert asked == [{"region", "area_m2", "distance_km"}] * 2
    one_sentence(ask(place, None, "predict", "s3://sales/sales.parquet"), 3, "S3 endpoint and key")
