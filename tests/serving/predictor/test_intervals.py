"""Intervals and thresholds in answers: asked for, or refused with the next move."""

import json
from typing import Any

import numpy as np
import pytest

from serving.bundle.judgement import Judgement, Widths
from serving.predictor.errors import Refusal
from serving.predictor.served import Served
from serving.predictor.settings import parse
from serving.predictor.work import answer, read
from tests.serving.predictor.support import HOUSE, random_rows, stand_in

LEVELS = tuple(range(50, 96))
WIDTHS = Widths(
    level=90,
    levels=LEVELS,
    cuts=(100.0,),
    low=(tuple(-float(one) for one in LEVELS), tuple(-2.0 * one for one in LEVELS)),
    high=(tuple(float(one) for one in LEVELS), tuple(3.0 * one for one in LEVELS)),
)


def served(judgement: Judgement | None) -> Served:
    return Served(stand_in(HOUSE, judgement=judgement), parse(["--model_name", "housing", "--version", "2"], {}))


def asked(judgement: Judgement | None, large: bool = False, rows: int = 3, **body: Any) -> Any:
    """The V1 answer to *rows* rows with more in the *body*."""
    model = served(judgement)
    data = json.dumps({"instances": random_rows(HOUSE, rows, 3), **body}).encode()
    return json.loads(answer(model, "predict", read(model, "predict", data, None, large), "id").body)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_v1_has_the_interval_that_was_asked_for(level: float, large: bool) -> None:
    """Around each prediction, by the bin it is in; and without asking the answer is as it was."""
    found = asked(Judgement(widths=WIDTHS), large, parameters={"interval": level})
    for value, (low, high) in zip(found["predictions"], found["intervals"], strict=True):
        wide = 1 if value >= 100 else 0
        assert (low, high) == (value - (1 + wide) * 100 * level, value + (1 + 2 * wide) * 100 * level)
    plain = asked(Judgement(widths=WIDTHS), large)
    assert {**found, "intervals": None} == {**plain, "intervals": None}
    assert "intervals" not in plain


@pytest.mark.parametrize(
    ("judgement", "level", "words"),
    [
        pytest.param(None, 0.9, "this version has no intervals; set interval in its project", id="none"),
        pytest.param(Judgement(widths=WIDTHS), 0.99, "0.50 to 0.95, got 0.99", id="beyond-what-there-were-rows-for"),
        pytest.param(Judgement(widths=WIDTHS), 0.905, "in whole percent", id="half-a-percent"),
        pytest.param(Judgement(widths=WIDTHS), "wide", "expected a share such as 0.9", id="a-text"),
        pytest.param(Judgement(widths=WIDTHS), True, "expected a share such as 0.9", id="true"),
    ],
)
def test_an_interval_that_is_not_there_is_refused(judgement: Any, level: Any, words: str) -> None:
    """By the key that asks for it."""
    with pytest.raises(Refusal, match=r"parameters\.interval") as refusal:
        asked(judgement, parameters={"interval": level})
    assert words in refusal.value.message


def test_v2_has_it_as_a_tensor() -> None:
    """Of shape (rows, 2), beside the predictions or alone, where the parameter asks for it."""
    model = served(Judgement(widths=WIDTHS))
    rows = random_rows(HOUSE, 2, 3)
    kinds = {"category": "BYTES", "bool": "BOOL"}
    inputs = [
        {"name": name, "shape": [2], "datatype": kinds.get(column.type, "FP64"), "data": [row[name] for row in rows]}
        for name, column in HOUSE.columns.items()
    ]
    body: dict[str, Any] = {"inputs": inputs, "parameters": {"interval": 0.8}}

    def ask(body: Any) -> Any:
        found = answer(model, "infer", read(model, "infer", json.dumps(body).encode(), None, False), "id")
        return {one["name"]: one for one in json.loads(found.body)["outputs"]}

    both = ask(body)
    assert (both["intervals"]["shape"], both["intervals"]["datatype"]) == ([2, 2], "FP64")
    expected = WIDTHS.bounds(np.array(both["predict"]["data"]), 80)
    np.testing.assert_array_equal(np.reshape(both["intervals"]["data"], (2, 2)), expected)
    assert list(ask({**body, "outputs": [{"name": "intervals"}]})) == ["intervals"]
    with pytest.raises(Refusal, match="outputs"):
        ask({"inputs": inputs, "outputs": [{"name": "intervals"}]})
