"""Explanations in answers: contributions beside predictions, in V1, V2 and gRPC, and by a path of their own."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from serving.bundle.bundle import Bundle, open_bundle
from serving.bundle.signing import load_public_key
from serving.contract import Contract
from serving.explaining.choice import explainer
from serving.predictor.grpc_service import Servicer, pb
from serving.predictor.route import Front
from tests.serving.predictor.support import HOUSE, PREDICT, TUMOUR, ask, front, random_rows, write_model

EXPLAIN = "/v1/models/housing:explain"
INFER = "/v2/models/housing/infer"
KINDS = {"category": "BYTES", "bool": "BOOL", "int": "INT64"}


@pytest.fixture(scope="module", params=[HOUSE, TUMOUR], ids=["numbers", "classes"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    directory, public = write_model(tmp_path_factory.mktemp("model"), request.param)
    return open_bundle(directory, [load_public_key(public)])


def app_of(bundle: Bundle, *flags: str) -> Front:
    """A server of *bundle*; its golden rows are the bundle's."""
    app = front(bundle.contract, bundle.scorer, *flags)
    app.state.model().bundle.golden = bundle.golden  # type: ignore[misc]  # a stand-in is mutable
    return app


def posted(app: Front, document: Any, path: str = PREDICT, status: int = 200) -> Any:
    told, _, answer = asyncio.run(ask(app, json.dumps(document).encode(), path))
    assert told == status, answer
    return answer


def tensors(contract: Contract, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": n, "shape": [len(rows)], "datatype": KINDS.get(c.type, "FP64"), "data": [row[n] for row in rows]}
        for n, c in contract.columns.items()
    ]


def test_v1_predictions_come_with_what_they_are_made_of(bundle: Bundle) -> None:
    """By slot, exact, in words; the same as ``:explain`` says; and without asking the answer is as it was."""
    app, rows = app_of(bundle), random_rows(bundle.contract, 3, 4)
    plain = posted(app, {"instances": rows})
    asked = posted(app, {"instances": rows, "parameters": {"explain": True}})
    own = posted(app, {"instances": rows}, EXPLAIN)
    assert own["explanations"] == asked["explanations"]
    assert own["method"] == asked["method"]
    assert asked["method"].startswith("exact Shapley values")
    assert "explanations" not in plain
    assert "explanations" not in posted(app, {"instances": rows, "parameters": {"explain": False}})
    assert plain["predictions"] == asked["predictions"]
    for row, told in enumerate(asked["explanations"]):
        assert list(told["contributions"]) == list(bundle.contract.slots)
        assert told["base"] + sum(told["contributions"].values()) == pytest.approx(told["score"], rel=1e-9)
        if bundle.contract.target.classes:
            assert (told["class"], told["of"]) == ("benign", "log-odds of benign")
            assert 1 / (1 + np.exp(-told["score"])) == pytest.approx(asked["probabilities"][row][1], rel=1e-9)
        else:
            assert told["of"] == "price"
            assert told["score"] == pytest.approx(asked["predictions"][row], rel=1e-12)


def test_v2_has_them_as_tensors(bundle: Bundle) -> None:
    """Contributions (rows, slots) and base (rows,), in JSON or raw; what they are of stands in a parameter."""
    app, rows = app_of(bundle), random_rows(bundle.contract, 3, 4)
    expected = posted(app, {"instances": rows}, EXPLAIN)
    body: dict[str, Any] = {"inputs": tensors(bundle.contract, rows), "parameters": {"explain": True}}
    answer = posted(app, body, INFER)
    found = {one["name"]: one for one in answer["outputs"]}
    width = len(bundle.contract.slots)
    assert (found["contributions"]["shape"], found["base"]["shape"]) == ([3, width], [3])
    values = [list(one["contributions"].values()) for one in expected["explanations"]]
    np.testing.assert_array_equal(np.reshape(found["contributions"]["data"], (3, width)), values)
    assert found["base"]["data"] == [one["base"] for one in expected["explanations"]]
    told = json.loads(answer["parameters"]["explained"])
    assert told == {"method": expected["method"], "of": [one["of"] for one in expected["explanations"]]}
    only = posted(app, {**body, "outputs": [{"name": "base"}]}, INFER)
    assert [one["name"] for one in only["outputs"]] == ["base"]
    refused = posted(app, {"inputs": body["inputs"], "outputs": [{"name": "base"}]}, INFER, 400)
    assert "got 'base'" in refused["error"]


def test_grpc_has_them_as_tensors(bundle: Bundle) -> None:
    """The message says yes with a bool."""
    app, rows = app_of(bundle), random_rows(bundle.contract, 60, 4)
    rows = [row for row in rows if None not in row.values()][:2]
    expected = posted(app, {"instances": rows}, EXPLAIN)
    request = pb.ModelInferRequest(model_name="housing")
    request.parameters["explain"].bool_param = True
    fields = {"BYTES": "bytes_contents", "BOOL": "bool_contents", "INT64": "int64_contents", "FP64": "fp64_contents"}
    for one in tensors(bundle.contract, rows):
        made = request.inputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
        values = [cell.encode() if isinstance(cell, str) else cell for cell in one["data"]]
        getattr(made.contents, fields[one["datatype"]]).extend(values)
    servicer = Servicer(app.state, app.workers)
    response, _ = asyncio.run(servicer._infer(app.state.model(), request, "id"))
    found = {one.name: list(one.contents.fp64_contents) for one in response.outputs}
    values = [value for one in expected["explanations"] for value in one["contributions"].values()]
    assert found["contributions"] == values
    assert json.loads(response.parameters["explained"].string_param)["method"] == expected["method"]


@pytest.mark.parametrize(
    ("flags", "parameter", "status", "words"),
    [
        pytest.param((), "yes", 400, "parameters.explain: expected true or false, got 'yes'", id="a-text"),
        pytest.param((), 1, 400, "parameters.explain: expected true or false, got 1", id="a-number"),
        pytest.param(("--max_explain_rows", "2"), True, 413, "expected at most 2 rows to explain", id="many"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    bundle: Bundle, flags: tuple[str, ...], parameter: Any, status: int, words: str
) -> None:
    """Of V1 and V2 alike; the limit is that of ``:explain``."""
    app, rows = app_of(bundle, *flags), random_rows(bundle.contract, 3, 4)
    for body, path in (({"instances": rows}, PREDICT), ({"inputs": tensors(bundle.contract, rows)}, INFER)):
        assert words in posted(app, {**body, "parameters": {"explain": parameter}}, path, status)["error"]


def test_a_model_without_a_fast_form_is_sampled_in_the_unit_of_its_answers() -> None:
    """The method says so and why."""
    told = posted(front(TUMOUR, Chances()), {"instances": [[40, 1]], "parameters": {"explain": True}})
    assert told["method"].startswith("sampled Shapley values")
    assert told["method"].endswith("because of a model without a fast form")
    assert told["explanations"][0]["of"] == "probability of benign"
    assert told["explanations"][0]["score"] == pytest.approx(0.8)


class Chances:
    """Probabilities of two classes by the size of the first column."""

    form, reason = "linear", "a stand-in"

    def score(self, matrix: Any) -> Any:
        second = np.nan_to_num(matrix[:, 0]) / 50
        return np.column_stack([1 - second, second])


def test_what_is_asked_with_predictions_is_logged_as_predictions(bundle: Bundle) -> None:
    """Rows are counted on the profile once, whether or not why is asked."""
    app, rows = app_of(bundle), random_rows(bundle.contract, 3, 4)
    posted(app, {"instances": rows, "parameters": {"explain": True}})
    posted(app, {"instances": rows}, EXPLAIN)
    assert int(app.state.model().tally.counts()[1].sum()) == 3


def test_the_background_is_the_golden_rows(bundle: Bundle) -> None:
    """The base is their mean."""
    told = explainer(bundle.scorer, bundle.contract, bundle.golden)
    code = 1 if bundle.contract.target.classes else 0
    found = told.explained(bundle.golden[:32], np.full(32, code))
    np.testing.assert_allclose(found.base, found.score.mean())
    np.testing.assert_allclose(found.contributions.sum(), 0, atol=1e-6 * np.abs(found.score).max())
