"""A table with a column of every type, from the file to the answers of a server: one meaning on the whole way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.data.tables import matrix_and_target
from components.judging import champions
from pipelines.settings import load
from serving.bundle.bundle import Bundle
from serving.predictor.rows.v1 import Decoder
from tests.pipelines.here.support import Said, slipway, write_project

ROWS = 600
CONTRACT: dict[str, Any] = {
    "columns": {
        "at": {"type": "datetime", "format": "%m/%d/%Y %H:%M", "zone": "Europe/Berlin"},
        "street": {"type": "category", "min_count": 20, "nullable": True},
        "note": {"type": "text", "features": ["length", "words", {"hash": 4}]},
        "area": {"type": "float", "range": [1, 500], "null_values": ["?", -1], "nullable": True},
        "ticket": {"type": "id"},
    },
    "target": {"name": "price", "unit": "EUR"},
    "event_time": "at",
    "refuse_above": 0.02,
}


def table(rows: int = ROWS, seed: int = 3) -> pl.DataFrame:
    """Prices by area, street and the length of a note; a hundred streets, of which four are frequent."""
    draw = np.random.default_rng(seed)
    street = [
        f"street {n}" if n < 4 else f"lane {n}"
        for n in draw.choice([0, 1, 2, 3, *range(10, 110)], rows, p=[0.2] * 4 + [0.002] * 100)
    ]
    area = draw.integers(20, 200, rows)
    words = draw.integers(1, 9, rows)
    start = np.datetime64("2025-01-01T00:00")
    at = [str(start + np.timedelta64(int(n), "h")) for n in np.arange(rows) * 3]
    frame = pl.DataFrame(
        {
            "at": pl.Series(at).str.to_datetime("%Y-%m-%dT%H:%M").dt.to_string("%m/%d/%Y %H:%M"),
            "street": [" " + word if n % 7 == 0 else word for n, word in enumerate(street)],
            "note": [" ".join(["Nice"] * int(n)) for n in words],
            "area": ["?" if n % 50 == 3 else "-1" if n % 50 == 4 else str(one) for n, one in enumerate(area)],
            "ticket": [f"T{n:05}" for n in range(rows)],
            "price": area * 1000.0 + words * 500 + [20_000 * (word == "street 1") for word in street],
        }
    )
    return frame.with_columns(
        pl.when(pl.int_range(rows) % 40 == 9).then(pl.lit("NA")).otherwise("street").alias("street")
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("types")
    table().write_csv(directory / "sales.csv")
    write_project(
        directory,
        contract=CONTRACT,
        features={},
        model={"family": "hist_gradient_boosting", "params": {"max_iter": 30}},
    )
    return directory


@pytest.fixture(scope="module")
def run(place: Path) -> Said:
    return slipway("run", "--project", place / "project.yaml", "--as-of", "2025-12-31", home=place / "home")


@pytest.fixture(scope="module")
def bundle(place: Path, run: Said) -> Bundle:
    assert run.code == 0, run.err + run.out
    return champions.opened("homes", load(home=str(place / "home")), 1).bundle


def test_a_run_learns_the_frequent_words_and_asks_a_real_server(run: Said, bundle: Bundle) -> None:
    """Training, judging, verification in a server process and release; the project stays open, the bundle is not."""
    assert "answers 200 golden rows exactly" in " ".join(run.out.split())
    street = bundle.contract.columns["street"]
    assert (street.values, street.unknown) == (("street 0", "street 1", "street 2", "street 3"), "other")
    slots = ["at", "street", "note.length", "note.words", *(f"note.hash{n}" for n in range(4)), "area"]
    assert list(bundle.contract.slots) == slots


def test_a_table_and_requests_of_its_cells_are_answered_alike(place: Path, run: Said, bundle: Bundle) -> None:
    """``score`` gives each row the bits that a request with the cells of its line gets, and keeps its ticket."""
    rows = table(100, seed=4)
    rows.write_csv(place / "new.csv")
    said = slipway("score", place / "new.csv", place / "out", "--project", place / "project.yaml", home=place / "home")
    assert said.code == 0, said.err
    found = pl.read_parquet(place / "out" / "new.parquet")
    assert found["ticket"].to_list() == rows["ticket"].to_list()
    cells = rows.drop("price").to_dicts()
    requests = [{**row, "area": None if row["area"] == "?" else float(row["area"])} for row in cells]
    read = Decoder(bundle.contract, 100).decode(json.dumps({"instances": requests}).encode())
    assert bundle.scorer.score(read.matrix).tolist() == found["prediction"].to_list()
    assert read.ids == {"ticket": rows["ticket"].to_list()}
    assert read.matrix.tobytes() == matrix_and_target(rows, bundle.contract)[0].tobytes()


def test_a_word_that_nobody_knows_is_answered(bundle: Bundle) -> None:
    """It is one of the others, as rare words of the training rows are; no refusal and no flag."""
    row = {"at": "01/05/2025 10:00", "note": "ok", "area": 80, "ticket": 7}
    read = Decoder(bundle.contract, 9).decode(
        json.dumps(
            {"instances": [{**row, "street": word} for word in ("boulevard 1", "lane 10", " street 1 ", "NA", None)]}
        ).encode()
    )
    assert read.matrix[:, 1].tolist()[:3] == [4, 4, 1]
    assert np.isnan(read.matrix[3:, 1]).all()
    assert read.flags == ()
    assert np.isfinite(bundle.scorer.score(read.matrix)).all()
