"""From a caller's id through the model server and its log to the figures of watch."""

import asyncio
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from components.watching import prediction_log
from components.watching.labels import join
from serving.predictor.log import open_log
from tests.components.watching.test_labels import AS_OF
from tests.serving.predictor.support import HOUSE, ROW, ask, front

LATER = AS_OF.replace(year=2100)
V2 = "/v2/models/housing/infer"


def tensors(row: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = {str: "BYTES", bool: "BOOL", int: "FP64", float: "FP64"}
    return [
        {"name": name, "shape": [1], "datatype": kinds[type(value)], "data": [value]} for name, value in row.items()
    ]


def asked(log: Path, path: str, called: list[str]) -> list[tuple[str, float]]:
    """The id and the prediction of an answer to each of the ids *called*, the rows being different."""
    app = front(HOUSE, None, "--log_dir", str(log))
    app.state.log = open_log(app.state.settings, HOUSE)
    found = []
    for i, name in enumerate(called):
        row = {**ROW, "area_m2": 40.0 + 30 * i}
        body = {"id": name, "inputs": tensors(row)} if path == V2 else {"instances": [row]}
        header = "from-a-proxy" if path == V2 else name
        status, told, answer = asyncio.run(ask(app, json.dumps(body).encode(), path, x_request_id=header))
        assert status == 200, answer
        assert answer["id"] == name if path == V2 else answer["request_id"] == told["x-request-id"]
        found.append(
            (told["x-request-id"], answer["outputs"][0]["data"][0] if path == V2 else answer["predictions"][0])
        )
    assert app.state.log is not None
    app.state.log.close(60)
    return found


@pytest.mark.parametrize("path", ["/v1/models/housing:predict", V2])
def test_one_id_for_three_calls_leaves_a_perfect_model_perfect(tmp_path: Path, path: str) -> None:
    """Each answer has an id that is its own in body, header and log; a label by the caller's id is used where it names
    one answer and is otherwise counted as ambiguous."""
    answers = asked(tmp_path, path, ["trace"] * 3 + ["once"])
    log = prediction_log.read(tmp_path, HOUSE)
    assert log["request_id"].to_list() == [name for name, _ in answers]
    assert log["correlation_id"].to_list() == ["trace"] * 3 + ["once"]
    truths = [value for _, value in answers]
    assert len(set(truths)) == 4
    for names, labelled in (([name for name, _ in answers], 4), (["trace"] * 3 + ["once"], 1)):
        met = join(log, pl.DataFrame({"request_id": names, HOUSE.target.name: truths}), HOUSE, LATER)
        assert (met.report.labelled, met.report.ambiguous) == (labelled, 4 - labelled)
        assert met.frame["truth"].to_list() == met.frame["prediction"].to_list()
