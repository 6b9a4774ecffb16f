"""Tables asked at an endpoint: what stands beside the answers, and rows that have none."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.cli.predict import _flat
from pipelines.here.asking import Records, ask, records_of
from serving import http_client
from serving.bundle.judgement import Judgement, Widths
from serving.contract import Contract
from serving.http_client import Reply
from tests.serving.predictor import support
from tests.serving.predictor.support import HOUSE, PLANT, TUMOUR


class Classes:
    """Probabilities without a model behind them, of two classes or, for *three*, of one more that is never so."""

    form, reason = "linear", "a stand-in of the tests"

    def __init__(self, three: bool = False) -> None:
        self.more = [1] if three else []

    def score(self, matrix: Any) -> Any:
        share = 1 / (1 + np.exp(-np.nan_to_num(matrix[:, 0])))
        return np.stack([share, 1 - share, *(0 * share for _ in self.more)], axis=1)


def endpoint(
    monkeypatch: pytest.MonkeyPatch, contract: Contract, scorer: Any = None, judgement: Judgement | None = None
) -> None:
    """The real predictor in the place of a process behind an address."""
    app = support.front(contract, scorer, judgement=judgement)

    def answer(_address: str, _verb: str, path: str, body: str, _headers: Mapping[str, str], **_how: Any) -> Reply:
        status, headers, document = asyncio.run(support.ask(app, body.encode(), path))
        return Reply(status, json.dumps(document).encode(), headers)

    monkeypatch.setattr(http_client, "ask", answer)


def test_what_a_table_has_beside_inputs_stands_beside_the_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A key, a remark and the target come back with prediction and probabilities, also where a row has none."""
    table = tmp_path / "cells.csv"
    table.write_text(
        "id,mean radius,mean texture,diagnosis,remark\n007,1.5,2,benign,first\n008,99,2,malignant,\n9,x,2,,late\n"
    )
    endpoint(monkeypatch, TUMOUR, Classes())
    rows = records_of(str(table), TUMOUR, None)
    answers = ask("here", "housing", rows)
    assert [answers[place]["remark"] for place in (1, 2, 3)] == ["first", "", "late"]
    assert answers[1]["probabilities"] == pytest.approx([0.8175745, 0.1824255])
    assert (answers[1]["prediction"], answers[1]["diagnosis"]) == ("malignant", "benign")
    assert "mean radius" in answers[2]["error"]
    assert "no number" in answers[3]["error"]
    flat = _flat({**rows.records[1], **answers[1]}, TUMOUR.target.classes)
    assert flat["probability_malignant"] + flat["probability_benign"] == pytest.approx(1)
    assert list(flat)[:3] == ["mean radius", "mean texture", "id"]


def test_a_flag_stands_beside_the_row_that_it_is_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And beside no other, whatever the rows are asked together with."""
    table = tmp_path / "houses.jsonl"
    known = {"area_m2": 50, "condition": "good", "distance": 3, "garden": True, "kind": "flat", "rooms": 2}
    table.write_text("".join(json.dumps({**known, "age": age}) + "\n" for age in (10, 400, 20)))
    endpoint(monkeypatch, HOUSE)
    answers = ask("here", "housing", records_of(str(table), HOUSE, None))
    assert [place for place, answer in answers.items() if "flags" in answer] == [2]
    assert answers[2]["flags"] == [{"column": "age", "reason": "clipped", "seen": 400}]


@pytest.mark.parametrize("knows", [True, False], ids=["with-intervals", "an-older-version"])
def test_predictions_have_the_ends_of_the_projects_interval(monkeypatch: pytest.MonkeyPatch, knows: bool) -> None:
    """And a version that was made before the project asked for one answers without."""
    widths = Widths(level=90, levels=(90,), cuts=(), low=((-1.0,),), high=((2.0,),))
    endpoint(monkeypatch, HOUSE, judgement=Judgement(widths=widths) if knows else None)
    rows = Records(dict(enumerate(support.random_rows(HOUSE, 3, 1), 1)), {})
    for answer in ask("here", "housing", rows, 0.9).values():
        ends = [answer["prediction"] - 1, answer["prediction"] + 2]
        assert [answer.get("lower"), answer.get("upper")] == (ends if knows else [None, None])


def test_the_most_probable_classes_stand_beside_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as were asked for, in a file as columns, and none where nobody asks."""
    endpoint(monkeypatch, PLANT, Classes(three=True))
    rows = Records(dict(enumerate(support.random_rows(PLANT, 3, 1), 1)), {})
    for answer in ask("here", "housing", rows, top=2).values():
        first, second = answer["probabilities"][:2]
        both = [{"class": "setosa", "probability": first}, {"class": "versicolor", "probability": second}]
        assert answer["top"] == sorted(both, key=lambda one: -one["probability"])
        flat = _flat(answer, PLANT.target.classes)
        assert [flat["top_1"], flat["top_1_probability"]] == list(answer["top"][0].values())
        assert [flat["top_2"], flat["top_2_probability"]] == list(answer["top"][1].values())
    assert all("top" not in answer for answer in ask("here", "housing", rows).values())
