"""Asking the endpoint for predictions, as any KServe client would."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from components.data import sources
from components.data.meeting import Needed
from components.data.rules import forms, input_rules, told
from components.data.words import MOMENT
from serving import http_client
from serving.contract import Contract
from serving.errors import DataError, InfrastructureError
from serving.http_client import NoAnswer
from serving.store.settings import S3Settings
from serving.wire import NO_INTERVALS, predict_path

Record = dict[str, Any]
Answer = dict[str, Any]
JSON = {"Content-Type": "application/json"}
BATCH = 1_000
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Records:
    """What is to be asked.

    Attributes:
        records: by their place in the input, counted from 1, as JSON objects.
        refused: why other places are none.
        carried: by their place, what the table has beside a model's inputs, such as keys: it is not asked about, and
            stands beside the answers.
    """

    records: Mapping[int, Record]
    refused: Mapping[int, str]
    carried: Mapping[int, Record] = field(default_factory=dict)

    def first(self, limit: int | None) -> "Records":
        """The first *limit* of them, or all."""
        kept = sorted({*self.records, *self.refused})[:limit]
        records = {place: self.records[place] for place in kept if place in self.records}
        return Records(records, {place: self.refused[place] for place in kept if place in self.refused}, self.carried)


def records_of(uri: str, contract: Contract, s3: S3Settings | None) -> Records:
    """The rows at *uri*, a table or a file of JSON lines; of a table the contract's columns, each as it means there."""
    if uri.endswith((".jsonl", ".ndjson")):
        return json_rows(Path(uri).read_text(encoding="utf-8").splitlines())
    frame = sources.read(uri, s3, Needed.of(contract, inputs=True))
    missing = [name for name in contract.inputs if name not in frame.columns]
    if missing:
        raise DataError(f"{uri} lacks the columns {', '.join(missing)}; expected {', '.join(contract.inputs)}")
    ids = {name: contract.columns[name] for name in contract.ids if name in frame.columns}
    meaning = frame.select(forms(frame.schema, {**contract.inputs, **ids}))
    unread = [rule for rule in input_rules(frame.schema, contract) if rule.reason == "wrong type"]
    reasons = meaning.select(told(unread)).to_series() if unread else [""] * meaning.height
    moments = [name for name, column in contract.inputs.items() if column.type == "datetime"]
    records = meaning.with_columns(pl.col(moments).dt.to_string(MOMENT + "Z")).select(*contract.inputs, *ids).to_dicts()
    refused = {place: reason for place, reason in enumerate(reasons, 1) if reason}
    beside = [name for name in frame.columns if name not in contract.inputs]  # ids too, for rows that are refused
    carried = frame.select(beside).to_dicts() if beside else ()
    known = {place: row for place, row in enumerate(records, 1) if place not in refused}
    return Records(known, refused, dict(enumerate(carried, 1)))


def json_rows(lines: Iterable[str]) -> Records:
    """One JSON object per line; empty lines are none."""
    records, refused = dict[int, Record](), dict[int, str]()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError as error:
            refused[number] = f"no JSON: {error}; expected one object per line"
            continue
        if isinstance(row, dict):
            records[number] = row
        elif line.strip():
            refused[number] = f"expected an object of the contract's columns, got {type(row).__name__}"
    return Records(records, refused)


def ask(
    address: str, model: str, rows: Records, interval: float | None = None, top: int | None = None
) -> dict[int, Answer]:
    """By place what is carried beside prediction, version and request id, of classes their probabilities, and flags.

    A row that is none, or that the server refuses, has its ``error`` instead.

    Args:
        interval: share of truths that ``lower`` and ``upper`` beside a prediction cover; left out of the answers of a
            version that has no intervals.
        top: how many of the most probable classes stand there.

    Raises:
        InfrastructureError: nothing answers at *address*.
    """
    answers: dict[int, Answer] = {place: {"error": reason} for place, reason in rows.refused.items()}
    asked = {name: value for name, value in (("interval", interval), ("top", top)) if value is not None}
    places = list(rows.records)
    for start in range(0, len(places), BATCH):
        answers |= _ask(address, model, rows.records, places[start : start + BATCH], asked)
    return {place: {**rows.carried.get(place, {}), **answer} for place, answer in sorted(answers.items())}


def _ask(
    address: str, model: str, records: Mapping[int, Record], places: Sequence[int], asked: Mapping[str, float]
) -> dict[int, Answer]:
    """The answers to the rows at *places*; a batch that is refused is asked for by halves, down to the row at fault."""
    parameters = {"parameters": asked} if asked else {}
    body = json.dumps({"instances": [records[place] for place in places], **parameters})
    try:
        reply = http_client.ask(address, "POST", predict_path(model), body, JSON, timeout_s=TIMEOUT_S)
    except NoAnswer as error:
        raise InfrastructureError(f"{error}; start it with slipway serve") from error
    if reply.status == 400 and "interval" in asked and NO_INTERVALS in reply.text:
        return _ask(address, model, records, places, {k: v for k, v in asked.items() if k != "interval"})
    if reply.status == 400 and len(places) == 1:
        return {places[0]: {"error": _sentence(reply.text)}}
    if reply.status == 400:
        middle = len(places) // 2
        halves = places[:middle], places[middle:]
        return {
            place: answer for half in halves for place, answer in _ask(address, model, records, half, asked).items()
        }
    if not reply.ok:
        raise InfrastructureError(f"the model server answers {reply.status}: {reply.text[:300]}")
    value = json.loads(reply.body)
    common = {"model_version": value.get("model_version"), "request_id": value.get("request_id")}
    answers: dict[int, Answer] = {}
    for row, (place, prediction) in enumerate(zip(places, value["predictions"], strict=True)):
        flags = [
            {key: flag[key] for key in flag if key != "row"} for flag in value.get("flags", ()) if flag["row"] == row
        ]
        told = {name: value[name][row] for name in ("probabilities", "top") if name in value}
        told |= dict(zip(("lower", "upper"), value["intervals"][row], strict=True)) if "intervals" in value else {}
        ids = value["ids"][row] if "ids" in value else {}
        answers[place] = {**ids, "prediction": prediction, **told, **({"flags": flags} if flags else {}), **common}
    return answers


def _sentence(text: str) -> str:
    """What the server says is wrong with its one row."""
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:300]
