"""The route in one process, with stand-in models that hang, fail or overflow when they are told to."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serving.contract import Contract, Target
from serving.errors import DataError
from serving.predictor.encode import raw_bytes
from serving.predictor.metadata import tensors_out
from serving.predictor.route import Front
from serving.predictor.settings import parse
from serving.predictor.state import PredictorState, load
from serving.predictor.work import Workers
from tests.serving.predictor.support import HOUSE, ROW, TUMOUR, Linear, ask, front, stand_in

ONE = json.dumps({"instances": [ROW]}).encode()
MANY = json.dumps({"instances": [list(ROW.values())] * 2000}).encode()


class Scorer(Linear):
    """Linear, after *before* was called with the matrix."""

    def __init__(self, form: str = "linear", before: Callable[[Any], Any] = lambda matrix: None) -> None:
        self.form = form
        self.before = before

    def score(self, matrix: Any) -> Any:
        self.before(matrix)
        return super().score(matrix)


def test_single_rows_are_answered_while_a_batch_is_stuck() -> None:
    """A large request occupies a worker thread, never the event loop."""
    stuck, go = threading.Event(), threading.Event()

    def hang(matrix: Any) -> None:
        if len(matrix) > 100:
            stuck.set()
            assert go.wait(60)

    app = front(HOUSE, Scorer(before=hang))

    async def both() -> tuple[Any, Any, int]:
        batch = asyncio.create_task(ask(app, MANY))
        await asyncio.to_thread(stuck.wait, 60)
        single = await ask(app, ONE)
        in_flight = app.state.metrics.in_flight
        go.set()
        return single, await batch, in_flight

    single, batch, in_flight = asyncio.run(both())
    assert (single[0], batch[0], in_flight) == (200, 200, 1)
    assert len(batch[2]["predictions"]) == 2000
    assert app.state.metrics.in_flight == app.state.metrics.buffered == 0


def test_429_when_the_queue_is_full() -> None:
    """One works, one waits, the third is sent away with Retry-After and counted."""
    go = threading.Event()
    app = front(HOUSE, Scorer("sklearn", lambda matrix: go.wait(60)), "--workers", "1", "--queue", "1")

    async def three() -> list[Any]:
        taken = [asyncio.create_task(ask(app, ONE)) for _ in range(2)]
        await asyncio.sleep(0)
        queued = app.state.metrics.queued
        refused = await ask(app, ONE)
        go.set()
        return [queued, refused, *await asyncio.gather(*taken)]

    queued, refused, first, second = asyncio.run(three())
    assert queued == 1
    assert (refused[0], refused[1]["retry-after"], refused[2]["code"]) == (429, "1", "overloaded")
    assert first[0] == second[0] == 200
    assert app.state.metrics.requests["predict", 429] == 1


def test_429_when_large_bodies_fill_the_memory_they_may() -> None:
    """Bodies in hand are bounded by their bytes, whatever their number."""
    go = threading.Event()
    app = front(HOUSE, Scorer(before=lambda matrix: go.wait(60)), "--buffered_bytes", str(len(MANY) + 1000))

    async def two() -> tuple[Any, Any]:
        first = asyncio.create_task(ask(app, MANY))
        await asyncio.sleep(0)
        refused = await ask(app, MANY)
        go.set()
        return refused, await first

    refused, first = asyncio.run(two())
    assert (refused[0], first[0], app.state.metrics.buffered) == (429, 200, 0)


def test_408_when_the_body_does_not_arrive() -> None:
    """A client that stops in the middle of its body is sent away and holds nothing."""
    app = front(HOUSE, None, "--body_timeout_s", "0.01")
    parts = iter([{"type": "http.request", "body": b"x" * 100_000, "more_body": True}])

    async def stops() -> Any:
        for part in parts:
            return part
        return await asyncio.Event().wait()

    status, headers, document = asyncio.run(ask(app, b"", receive=stops))
    assert (status, headers["connection"], document["code"]) == (408, "close", "body_timeout")
    assert app.state.metrics.buffered == 0


def test_a_client_that_leaves_is_forgotten() -> None:
    """Nobody is answered, and nothing is held."""
    app = front()
    parts = iter([{"type": "http.request", "body": b"x" * 100_000, "more_body": True}, {"type": "http.disconnect"}])

    async def leaves() -> Any:
        return next(parts)

    assert asyncio.run(ask(app, b"", receive=leaves)) == (0, {}, None)
    assert app.state.metrics.buffered == 0


def test_400_when_the_model_cannot_take_a_valid_row() -> None:
    """The caller is told about the row, and a router that the model is to blame: the contract allows this value."""

    def refuse(matrix: Any) -> None:
        raise DataError("the model cannot take these rows: Input X contains NaN")

    status, headers, document = asyncio.run(ask(front(HOUSE, Scorer(before=refuse)), ONE))
    assert (status, document["error"]) == (400, "the model cannot take these rows: Input X contains NaN")
    assert headers["x-model-fault"] == "prediction"


@pytest.mark.parametrize("value", [np.inf, np.nan], ids=str)
@pytest.mark.parametrize("contract", [HOUSE, TUMOUR], ids=["regression", "classification"])
def test_400_when_a_prediction_is_no_number(contract: Contract, value: float) -> None:
    """An overflow is told, not sent as null."""

    class Overflowing(Linear):
        def score(self, matrix: Any) -> Any:
            return np.full((len(matrix), 2) if contract.target.classes else len(matrix), value)

    row = ROW if contract is HOUSE else {"mean radius": 1, "mean texture": 1}
    status, _, document = asyncio.run(
        ask(front(contract, Overflowing()), json.dumps({"instances": [row, row]}).encode())
    )
    assert status == 400
    assert "row 0: the prediction is not a finite number" in document["error"]


def test_a_fault_of_ours_is_told_without_details(caplog: pytest.LogCaptureFixture) -> None:
    """A bug gives the one shape with a request id, and its reason goes to the server's log."""

    def fail(matrix: Any) -> None:
        raise RuntimeError("/secret/path")

    status, _, document = asyncio.run(ask(front(HOUSE, Scorer(before=fail)), ONE))
    assert (status, document["code"], len(document["request_id"])) == (500, "internal", 32)
    assert "secret" not in document["error"]
    assert "/secret/path" in caplog.text


def test_501_when_there_is_nothing_to_explain_with() -> None:
    """Without rows to compare with an explanation is refused with the reason."""
    app = front()
    app.state.model().bundle.golden = np.empty((0, len(HOUSE.names)))  # type: ignore[misc]  # a stand-in is mutable
    status, _, document = asyncio.run(ask(app, ONE, "/v1/models/housing:explain"))
    assert (status, document["code"]) == (501, "not_implemented")
    assert "golden rows" in document["error"]


def test_503_while_the_model_loads() -> None:
    """The reason and a time to come again, before anything of the body is read."""
    state = PredictorState(parse(["--model_name", "housing"], {}))
    app = Front(state, Workers(state.settings, state.metrics))
    status, headers, document = asyncio.run(ask(app, ONE))
    assert (status, headers["retry-after"], document["code"]) == (503, "2", "loading")


def test_a_model_that_cannot_warm_up_is_not_ready() -> None:
    """Ready means that the model has answered once."""
    state = PredictorState(parse(["--model_name", "housing"], {}))

    def fail(matrix: Any) -> None:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        load(state, lambda: stand_in(HOUSE, Scorer(before=fail)))
    assert (state.phase, state.reason, state.ready) == ("load_failed", "boom", False)


class Classifier(Linear):
    """Probabilities of two classes by the size of the first column."""

    def score(self, matrix: Any) -> Any:
        second = matrix[:, 0] / 50
        return np.column_stack([1 - second, second])


def test_classes_come_with_probabilities() -> None:
    """Of a classifier predictions are labels, as scikit-learn's are, and probabilities stand beside them."""
    app = front(TUMOUR, Classifier())
    rows = [{"mean radius": 10, "mean texture": 1}, {"mean radius": 40, "mean texture": 1}]
    _, _, v1 = asyncio.run(ask(app, json.dumps({"instances": rows}).encode()))
    assert v1["predictions"] == ["malignant", "benign"]
    np.testing.assert_allclose(v1["probabilities"], [[0.8, 0.2], [0.2, 0.8]])
    inputs = [{"name": "all", "shape": [2, 2], "datatype": "FP32", "data": [[10, 1], [40, 1]]}]
    _, _, v2 = asyncio.run(ask(app, json.dumps({"inputs": inputs}).encode(), "/v2/models/housing/infer"))
    assert [(o["name"], o["datatype"], o["shape"]) for o in v2["outputs"]] == [
        ("predict", "BYTES", [2]),
        ("probabilities", "FP64", [2, 2]),
    ]
    assert v2["outputs"][0]["data"] == ["malignant", "benign"]
    only = {"inputs": inputs, "outputs": [{"name": "probabilities"}]}
    _, _, one = asyncio.run(ask(app, json.dumps(only).encode(), "/v2/models/housing/infer"))
    assert [o["name"] for o in one["outputs"]] == ["probabilities"]


NUMBERED = Contract.model_validate(
    {
        "target": {"name": "digit", "classes": ["-1", "10"]},
        "columns": {"mean radius": {"type": "float", "range": [0, 50]}, "mean texture": {"type": "float"}},
    }
)


def test_classes_that_are_whole_numbers_are_numbers_in_every_answer() -> None:
    """V1, V2 in JSON and raw, explanations and metadata say INT64, as KServe's own server does."""
    app = front(NUMBERED, Classifier())
    rows = [[10, 1], [40, 1]]
    _, _, v1 = asyncio.run(ask(app, json.dumps({"instances": rows}).encode()))
    assert v1["predictions"] == [-1, 10]
    inputs = [{"name": "all", "shape": [2, 2], "datatype": "FP32", "data": rows}]
    asked = {"inputs": inputs, "outputs": [{"name": "output-0"}, {"name": "predict"}]}
    _, _, v2 = asyncio.run(ask(app, json.dumps(asked).encode(), "/v2/models/housing/infer"))
    told = [(tensor["name"], tensor["datatype"], tensor["data"]) for tensor in v2["outputs"]]
    assert told == [("output-0", "INT64", [-1, 10]), ("predict", "INT64", [-1, 10])]
    assert tensors_out(NUMBERED)[0]["datatype"] == "INT64"
    assert raw_bytes("INT64", [-1, 10]) == np.array([-1, 10], dtype="<i8").tobytes()
    explained = {"instances": rows[1:]}
    _, _, document = asyncio.run(ask(app, json.dumps(explained).encode(), "/v1/models/housing:explain"))
    assert (document["predictions"], document["explanations"][0]["class"]) == ([10], 10)


@pytest.mark.parametrize(
    "classes", [["1", "02"], ["1", "2.0"], ["yes", "1"], ["-0", "1"], ["1", str(1 << 63)]], ids=str
)
def test_classes_that_are_no_whole_numbers_stay_text(classes: list[str]) -> None:
    """One that a number would not give back letter by letter keeps all of them text."""
    assert Target(name="t", classes=tuple(classes)).labels == tuple(classes)


def test_explanations_of_classes_are_about_the_positive_one() -> None:
    """Of two classes the second is explained."""
    app = front(TUMOUR, Classifier())
    body = json.dumps({"instances": [[40, 1]]}).encode()
    _, _, document = asyncio.run(ask(app, body, "/v1/models/housing:explain"))
    (found,) = document["explanations"]
    assert (found["class"], document["predictions"]) == ("benign", ["benign"])
    assert found["score"] == pytest.approx(0.8)
    assert found["contributions"]["mean texture"] == pytest.approx(0.0)


def test_values_are_counted_on_the_profiles_bins() -> None:
    """One row at a time or together, the histograms are the same."""
    rows = [list({**ROW, "age": age}.values()) for age in (None, 0, 10, 10.5, 250)]
    single, together = front(), front()
    for row in rows:
        asyncio.run(ask(single, json.dumps({"instances": [row]}).encode()))
    asyncio.run(ask(together, json.dumps({"instances": rows}).encode()))
    for app in (single, together):
        inputs, prediction, total = app.state.model().tally.counts()
        assert inputs[HOUSE.names.index("age")].tolist() == [1, 1, 1, 1, 1]  # edges 0, 10, 100, and missing
        assert inputs[HOUSE.names.index("kind")].tolist() == [0, 5, 0, 0]
        assert prediction.tolist() == [0, 5, 0, 0, 0]
        assert total == pytest.approx(5 * 84_000, rel=0.01)
