"""The most probable classes in answers: asked for, or refused with what is expected."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from serving.bundle.judgement import Judgement
from serving.contract import Contract
from serving.predictor.grpc_service import Servicer, pb
from serving.predictor.openapi import document
from serving.predictor.route import Front
from tests.serving.predictor.support import HOUSE, PLANT, PREDICT, TUMOUR, ask, front, random_rows
from tests.serving.predictor.test_openapi import SETTINGS, conforms

INFER = "/v2/models/housing/infer"
ROWS = [{"petal length": length, "petal width": width} for length, width in ((1.0, 2.0), (2.0, 1.0), (0.5, 0.5))]
DIGITS = PLANT.model_copy(update={"target": PLANT.target.model_copy(update={"classes": ("1", "2", "3")})})


class Chances:
    """Scores as a matrix says them: the first class 0.2, the others by the columns, ties among them."""

    form, reason = "trees", "exact"

    def score(self, matrix: Any) -> Any:
        rest = matrix[:, :2] / matrix[:, :2].sum(axis=1, keepdims=True)
        return np.column_stack([np.full(len(matrix), 0.2), 0.8 * rest])


def posted(body: Any, path: str = PREDICT, contract: Contract = PLANT, status: int = 200, app: Any = None) -> Any:
    served = app or front(contract, Chances())
    told, _, answer = asyncio.run(ask(served, json.dumps(body).encode(), path))
    assert told == status, answer
    return answer


def tensors() -> list[dict[str, Any]]:
    return [{"name": name, "shape": [3], "datatype": "FP64", "data": [row[name] for row in ROWS]} for name in ROWS[0]]


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 3, 900], ids=["alone", "a-few", "many"])
def test_v1_has_the_most_probable_classes(most: int, rows: int) -> None:
    """By probability, ties in the contract's order, as the answer's own probabilities have them; unasked as it was."""
    body = {"instances": (ROWS * 300)[:rows]}
    plain, found = posted(body), posted({**body, "parameters": {"top": most}})
    assert "top" not in plain
    for told, chances in zip(found["top"], plain["probabilities"], strict=True):
        order = sorted(range(3), key=lambda code: (-chances[code], code))[:most]
        assert told == [{"class": PLANT.target.classes[code], "probability": chances[code]} for code in order]
    del found["top"]
    assert {**found, "request_id": ""} == {**plain, "request_id": ""}


def test_ties_are_in_the_contracts_order() -> None:
    """The last row of three has two classes of 0.4."""
    (best,) = posted({"instances": [ROWS[2]], "parameters": {"top": 3}})["top"]
    assert [one["class"] for one in best] == ["versicolor", "virginica", "setosa"]


def test_the_best_are_by_probability_also_where_costs_answer_another() -> None:
    """What is answered and what is most probable are two things."""
    dear = Judgement(costs=((0.0, 99.0, 99.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)))
    answer = posted({"instances": ROWS, "parameters": {"top": 1}}, app=front(PLANT, Chances(), judgement=dear))
    assert answer["predictions"] == ["setosa"] * 3
    assert [best[0]["class"] for best in answer["top"]] == ["virginica", "versicolor", "versicolor"]


@pytest.mark.parametrize("contract", [PLANT, DIGITS], ids=["words", "numbers"])
def test_v2_and_grpc_have_them_as_tensors(contract: Contract) -> None:
    """Of shape (rows, k), in JSON, raw or a message; alone by name, and refused by name where nobody asks."""
    app: Front = front(contract, Chances())
    expected = posted({"instances": ROWS, "parameters": {"top": 2}}, app=app)["top"]
    classes = [one["class"] for best in expected for one in best]
    chances = [one["probability"] for best in expected for one in best]
    body: dict[str, Any] = {"inputs": tensors(), "parameters": {"top": 2}}
    found = {one["name"]: one for one in posted(body, INFER, app=app)["outputs"]}
    kind = "INT64" if contract is DIGITS else "BYTES"
    assert found["top"] == {"name": "top", "shape": [3, 2], "datatype": kind, "data": classes}
    assert (found["top_probabilities"]["shape"], found["top_probabilities"]["data"]) == ([3, 2], chances)
    only = posted({**body, "outputs": [{"name": "top"}]}, INFER, app=app)
    assert [one["name"] for one in only["outputs"]] == ["top"]
    assert "top" in posted({"inputs": tensors(), "outputs": [{"name": "top"}]}, INFER, status=400, app=app)["error"]
    request = pb.ModelInferRequest(model_name="housing")
    request.parameters["top"].int64_param = 2
    for one in tensors():
        made = request.inputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
        made.contents.fp64_contents.extend(one["data"])
    response, _ = asyncio.run(Servicer(app.state, app.workers)._infer(app.state.model(), request, "id"))
    by_name = {one.name: one.contents for one in response.outputs}
    told = by_name["top"].int64_contents if contract is DIGITS else [w.decode() for w in by_name["top"].bytes_contents]
    assert (list(told), list(by_name["top_probabilities"].fp64_contents)) == (classes, chances)


@pytest.mark.parametrize(
    ("top", "words"),
    [
        pytest.param(0, "expected 1 to 3, as many as there are classes, got 0", id="none"),
        pytest.param(4, "expected 1 to 3, as many as there are classes, got 4", id="more-than-there-are"),
        pytest.param(-1, "expected 1 to 3, as many as there are classes, got -1", id="negative"),
        pytest.param(1.5, "expected a whole number of classes such as 3, got 1.5", id="a-fraction"),
        pytest.param("all", "expected a whole number of classes such as 3, got 'all'", id="a-text"),
        pytest.param(True, "expected a whole number of classes such as 3, got true", id="true"),
    ],
)
def test_what_cannot_be_the_best_is_refused(top: Any, words: str) -> None:
    """In both forms of the protocol, by the parameter that asks."""
    for path, body in ((PREDICT, {"instances": ROWS}), (INFER, {"inputs": tensors()})):
        answer = posted({**body, "parameters": {"top": top}}, path, status=400)
        assert f"parameters.top: {words}" in answer["error"]


@pytest.mark.parametrize("contract", [HOUSE, TUMOUR], ids=["numbers", "two-classes"])
def test_fewer_than_three_classes_have_no_best(contract: Contract) -> None:
    """Two have both probabilities in every answer, and numbers none."""
    body = {"instances": random_rows(contract, 2, 1), "parameters": {"top": 1}}
    scorer = None if contract is HOUSE else Chances()
    answer = posted(body, contract=contract, status=400, app=front(contract, scorer))
    assert "parameters.top: is for a target of three or more classes" in answer["error"]


def test_the_served_document_has_them() -> None:
    """Of three classes as properties and tensors; of two there is nothing to ask for."""
    whole = document(PLANT, SETTINGS)
    for path, body in ((PREDICT, {"instances": ROWS}), (INFER, {"inputs": tensors()})):
        asked = {**body, "parameters": {"top": 2}}
        operation = whole["paths"][path]["post"]
        conforms(asked, operation["requestBody"]["content"]["application/json"]["schema"], whole)
        answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
        conforms(posted(asked, path), answered, whole)
    assert "top" not in document(TUMOUR, SETTINGS)["components"]["schemas"]["Predictions"]["properties"]
