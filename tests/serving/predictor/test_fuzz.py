"""Bodies nobody would write by hand: no answer is a 5xx, and the process stays."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.predictor.support import HOUSE, ROW, Predictor, ask, document, front, serving

SEED = 20
DATATYPES = ["FP64", "FP32", "FP16", "INT64", "INT8", "UINT8", "BOOL", "BYTES", "FP65", "", None, 7]
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    1e308,
    2**70,
    "",
    "flat",
    "é" * 80,
    [],
    {},
    [[]],
    [ROW],
    {"a": 1},
    float("nan"),
]
HEADS: list[dict[str, str]] = [
    {},
    {},
    {},
    {"content-type": "application/octet-stream"},
    {"content-type": "application/json; charset=utf-8"},
    {"inference-header-content-length": "40"},
    {"content-type": "application/octet-stream", "inference-header-content-length": "200"},
    {"x-request-id": "x" * 300},
]


def odd_row(chance: random.Random) -> Any:
    row: Any = dict(ROW)
    for _ in range(chance.choice([0, 0, 1, 2])):
        row[chance.choice([*HOUSE.names, "extra", ""])] = chance.choice(ODD)
    if chance.random() < 0.1:
        row.pop(chance.choice(HOUSE.names), None)
    return chance.choice([row, row, row, list(row.values()), list(row.values()), [row], chance.choice(ODD)])


def odd_tensor(chance: random.Random, name: str) -> Any:
    size = chance.choice([1, 1, 1, 2, 0, -1])
    tensor = {
        "name": chance.choice([name] * 8 + ODD),
        "shape": chance.choice([[size], [size], [size, 1], [size, 7], [], [2**40, 2**40], "x", [1.5]]),
        "datatype": chance.choice([*DATATYPES, "FP64", "FP64"]),
        "data": [chance.choice([*ODD, ROW.get(name)]) for _ in range(max(0, size))],
    }
    if chance.random() < 0.3:
        tensor["parameters"] = {"binary_data_size": chance.choice([0, 8, 9, -1, 10**9, True, "8"])}
    if chance.random() < 0.1:
        tensor.pop(chance.choice(list(tensor)))
    return tensor if chance.random() < 0.15 else good_tensor(name)


def good_tensor(name: str) -> Any:
    column = HOUSE.columns.get(name)
    datatype = {"category": "BYTES", "bool": "BOOL"}.get(column.type if column else "", "FP64")
    return {"name": name, "shape": [1], "datatype": datatype, "data": [ROW.get(name, 1)]}


def odd_body(chance: random.Random) -> tuple[str, bytes]:
    """A path and a body: a request of either protocol with mistakes, sometimes cut or with a byte changed."""
    if chance.random() < 0.5:
        path = chance.choice(["/v1/models/housing:predict", "/v1/models/housing:explain"])
        rows = [odd_row(chance) for _ in range(chance.randint(0, 3))]
        request: Any = {chance.choice(["instances"] * 4 + ["inputs", "x"]): chance.choice([rows] * 9 + ODD)}
    else:
        path = "/v2/models/housing/infer"
        names = chance.choice([HOUSE.names, HOUSE.names, ["all"]])
        request = {"inputs": [odd_tensor(chance, n) for n in names], "id": chance.choice(["a"] * 20 + ODD)}
        request["outputs"] = chance.choice([None, [], [{"name": "predict"}], None, [{"name": "x"}], 5])
        request["parameters"] = chance.choice([None, {"binary_data_output": True}, [], {"content_type": "pd"}])
    body = bytearray(json.dumps(request).encode())
    if chance.random() < 0.15 and body:
        body[chance.randrange(len(body))] = chance.randrange(256)
    if chance.random() < 0.1:
        del body[chance.randrange(len(body) + 1) :]
    if chance.random() < 0.1:
        body += bytes(chance.randrange(256) for _ in range(chance.randint(0, 64)))
    return path, bytes(body)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    with serving(tmp_path_factory.mktemp("gate"), program="tests.serving.predictor.support") as running:
        yield running


def judged(status: int, told: Any, path: str, body: bytes) -> int:
    assert status < 500, (path, body, told)
    if status != 200:
        assert set(told) == {"error", "code", "problems", "request_id"}, (path, body)
    return status


def test_odd_bodies_are_refused_not_failed() -> None:
    """A few thousand at the route itself: some are valid after all, none gives a 5xx."""
    chance = random.Random(SEED)
    app = front()

    async def battery() -> Counter[int]:
        codes: Counter[int] = Counter()
        for _ in range(3000):
            path, body = odd_body(chance)
            headers = {name.replace("-", "_"): value for name, value in chance.choice(HEADS).items()}
            status, _, told = await ask(app, body, path, None, **headers)
            codes[judged(status, told, path, body)] += 1
        return codes

    codes = asyncio.run(battery())
    assert codes[200] > 100
    assert codes[400] > 1000


def battery(predictor: Predictor, requests: int) -> None:
    chance = random.Random(SEED)
    for _ in range(requests):
        path, body = odd_body(chance)
        answer = predictor.post(path, body, chance.choice(HEADS))
        judged(answer.status_code, document(answer.headers, answer.content), path, body)


def memory_kb(predictor: Predictor) -> int:
    status = Path(f"/proc/{predictor.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_thousand_odd_bodies_leave_no_trace(predictor: Predictor) -> None:
    """At the real process: no 5xx, it still answers, and its memory has not grown by more than a tenth."""
    battery(predictor, 1000)
    before = memory_kb(predictor)
    battery(predictor, 20_000)
    assert memory_kb(predictor) < before * 1.1
    assert predictor.predict({"instances": [ROW]}).status_code == 200
