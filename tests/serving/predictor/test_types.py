"""Moments, open categories, texts and ids at the door of the model server: requests in, answers and log lines out."""

import asyncio
import json
import math
from typing import Any

import numpy as np
import pytest

from serving.contract import Contract
from serving.predictor import metadata, openapi
from serving.predictor.errors import Refusal
from serving.predictor.log import AnsweredRequest, Lines
from serving.predictor.rows import v2
from serving.predictor.rows.v1 import Decoder
from serving.predictor.settings import parse
from tests.serving.predictor.support import ask, front

TRIPS = Contract.model_validate(
    {
        "target": {"name": "fare"},
        "columns": {
            "ticket": {"type": "id"},
            "at": {"type": "datetime", "format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"},
            "zone": {"type": "category", "values": ["a", "b"], "unknown": "other", "nullable": True},
            "note": {"type": "text", "features": ["words", {"hash": 2}], "nullable": True},
            "left": {"type": "datetime", "format": "epoch_s", "nullable": True},
            "miles": {"type": "float", "range": [0, 100], "null_values": [999], "nullable": True},
            "rider": {"type": "id"},
        },
    }
)
AT = 1_735_812_000.0  # 2025-01-02T10:00Z
ROW: dict[str, Any] = {
    "ticket": 7,
    "at": "02.01.2025 11:00",
    "zone": "b",
    "note": "to the station",
    "left": AT,
    "miles": 2.5,
    "rider": "R1",
}
SLOTS = ["at", "zone", "note.words", "note.hash0", "note.hash1", "left", "miles"]


def coded(**changes: Any) -> dict[str, float]:
    """The coded row of ``ROW`` with *changes*, by slot; asked alone, among others, and as tensors, which agree."""
    row = {name: cell for name, cell in {**ROW, **changes}.items() if cell is not ...}
    decoder = Decoder(TRIPS, 1_000)
    alone = decoder.decode(json.dumps({"instances": [row]}).encode())
    many = decoder.decode(json.dumps({"instances": [row] * 3}).encode())
    large = decoder.decode_large(json.dumps({"instances": [row] * 600}).encode())
    rows = np.concatenate([alone.matrix, many.matrix, large.matrix, decode_tensors(row).matrix])
    assert len({one.tobytes() for one in rows}) == 1
    assert large.ids == {name: [one[0]] * 600 for name, one in alone.ids.items()}
    return dict(zip(SLOTS, rows[0].tolist(), strict=True))


def tensors(row: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = {int: "INT64", float: "FP64", type(None): "BYTES", str: "BYTES"}
    return [{"name": name, "shape": [1], "datatype": kinds[type(cell)], "data": [cell]} for name, cell in row.items()]


def decode_tensors(row: dict[str, Any]) -> Any:
    decoder = Decoder(TRIPS, 9)
    return v2.decode(decoder.checker, json.dumps({"inputs": tensors(row)}).encode(), None, 9).rows


def test_a_row_of_all_types_becomes_its_slots() -> None:
    """Moments are seconds, a text its counts, an id nothing."""
    found = coded()
    assert list(TRIPS.slots) == SLOTS
    assert (found["at"], found["zone"], found["left"], found["miles"]) == (AT, 1.0, AT, 2.5)
    assert found["note.words"] == found["note.hash0"] + found["note.hash1"] == 3.0


@pytest.mark.parametrize(
    ("changes", "slot", "code"),
    [
        pytest.param({"at": "2025-01-02T10:00:00Z"}, "at", AT, id="iso"),
        pytest.param({"at": "2025-01-02 11:00"}, "at", AT, id="iso-in-the-zone"),
        pytest.param({"at": "2025-01-02T12:00+02:00"}, "at", AT, id="offset"),
        pytest.param({"left": "2025-01-02T10:00:00"}, "left", AT, id="iso-for-a-count"),
        pytest.param({"left": None}, "left", math.nan, id="no-moment"),
        pytest.param({"zone": " a "}, "zone", 0.0, id="blanks-around"),
        pytest.param({"zone": "A"}, "zone", 2.0, id="another-word"),
        pytest.param({"zone": "NA"}, "zone", math.nan, id="a-word-for-nothing"),
        pytest.param({"zone": None}, "zone", math.nan, id="null"),
        pytest.param({"note": None}, "note.words", math.nan, id="no-text"),
        pytest.param({"note": " "}, "note.hash1", math.nan, id="a-blank-text"),
        pytest.param({"miles": 999}, "miles", math.nan, id="a-number-for-nothing"),
        pytest.param({"ticket": ..., "rider": ...}, "zone", 1.0, id="no-ids"),
    ],
)
def test_what_a_cell_means(changes: dict[str, Any], slot: str, code: float) -> None:
    """ISO is always read; words and numbers for nothing are nothing; a word that nobody knows is one of the others."""
    assert coded(**changes)[slot] == pytest.approx(code, nan_ok=True, rel=0, abs=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(
            {"at": "2/1/2025"},
            ".at: expected a date or time such as 25.03.2014 14:05 (%d.%m.%Y %H:%M), got '2/1/2025'",
            id="another-format",
        ),
        pytest.param({"at": 1_735_812_000}, ".at: expected a date or time such as", id="a-number"),
        pytest.param({"at": None}, ".at: expected a date or time such as", id="null"),
        pytest.param(
            {"left": "soon"}, ".left: expected a date or time such as 1395756309 (epoch_s), got 'soon'", id="word"
        ),
        pytest.param({"left": True}, ".left: expected a date or time", id="truth"),
        pytest.param({"zone": 3}, ".zone: expected a text such as a, b, got 3", id="no-text"),
        pytest.param({"note": 3}, ".note: expected a text, got 3", id="number-for-text"),
        pytest.param({"miles": 101}, ".miles: expected a number in [0, 100], got 101", id="range"),
        pytest.param({"ticket": [1]}, ".ticket: expected a text or a number, got an array", id="no-id"),
        pytest.param({"note": ...}, ".note: expected a text, got nothing", id="absent"),
        pytest.param({"tickets": 1}, "tickets: no such column; did you mean 'ticket'?", id="misspelt"),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(changes: dict[str, Any], said: str) -> None:
    """In V1 as for every other column."""
    row = {name: cell for name, cell in {**ROW, **changes}.items() if cell is not ...}
    with pytest.raises(Refusal) as caught:
        Decoder(TRIPS, 9).decode(json.dumps({"instances": [row]}).encode())
    assert said in str(caught.value)


def asked(body: Any, path: str = "/v1/models/housing:predict") -> Any:
    status, _, document = asyncio.run(ask(front(TRIPS), json.dumps(body).encode(), path))
    assert status == 200, document
    return document


def test_ids_come_back_in_answers() -> None:
    """V1 has an object per row, null where a row brought none; arrays may leave all ids out."""
    cells = list(ROW.values())
    bare = {name: cell for name, cell in ROW.items() if name not in TRIPS.ids}
    answer = asked({"instances": [ROW, {**bare, "ticket": "7a"}, cells, cells[1:-1]]})
    none = {"ticket": None, "rider": None}
    ids = {"ticket": 7, "rider": "R1"}
    assert answer["ids"] == [ids, {**none, "ticket": "7a"}, ids, none]
    assert len(set(answer["predictions"])) == 1, "ids reach no model"
    explained = asked({"instances": [ROW]}, "/v1/models/housing:explain")
    assert explained["ids"] == [ids]
    assert list(explained["explanations"][0]["contributions"]) == SLOTS


def test_ids_come_back_as_tensors() -> None:
    """V2 has one for each that the request brought, numbers as numbers; they may be asked for by name."""
    path = "/v2/models/housing/infer"
    told = asked({"inputs": tensors(ROW)}, path)["outputs"]
    assert [(one["name"], one["datatype"], one["data"]) for one in told[1:]] == [
        ("ticket", "INT64", [7]),
        ("rider", "BYTES", ["R1"]),
    ]
    chosen = asked({"inputs": tensors(ROW), "outputs": [{"name": "rider"}, {"name": "predict"}]}, path)["outputs"]
    assert [one["name"] for one in chosen] == ["rider", "predict"]
    bare = {name: cell for name, cell in ROW.items() if name not in TRIPS.ids}
    assert [one["name"] for one in asked({"inputs": tensors(bare)}, path)["outputs"]] == ["predict"]


def test_metadata_and_openapi_say_what_a_request_brings() -> None:
    """Tensors of ids are inputs too; a row needs all columns but these."""
    named = {one["name"]: one["datatype"] for one in metadata.tensors_in(TRIPS)}
    assert named == {**dict.fromkeys(ROW, "BYTES"), "left": "FP64", "miles": "FP64"}
    row = openapi.document(TRIPS, parse(["--model_name", "m", "--version", "1"], {}))["components"]["schemas"]["Row"]
    assert (set(row["properties"]), row["required"]) == (set(ROW), ["at", "zone", "note", "left", "miles"])
    assert row["properties"]["at"]["enum"] == ["25.03.2014 14:05"]


def test_the_log_says_slots_and_ids() -> None:
    """Moments as ISO, a text as its numbers and not as it was, and which ids the row had."""
    found = Decoder(TRIPS, 9).decode(json.dumps({"instances": [ROW]}).encode())
    record = AnsweredRequest("r", 0.0, found.matrix, [1.0], None, (), 0.0, ids=found.ids)
    line = json.loads(Lines(TRIPS, "m", "1", ()).of(record))
    assert line["features"]["at"] == "2025-01-02T10:00:00Z"
    assert line["features"]["note.words"] == 3
    assert line["ids"] == {"ticket": 7, "rider": "R1"}
    assert "station" not in json.dumps(line)
    without = json.loads(Lines(TRIPS, "m", "1", ("note", "rider")).of(record))
    assert list(without["features"]) == ["at", "zone", "left", "miles"]
    assert without["ids"] == {"ticket": 7}
