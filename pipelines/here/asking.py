"""Asking the endpoint for predictions, as any KServe client would."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from components.data import sources
from serving import http_client
from serving.contract import Contract
from serving.errors import DataError, InfrastructureError
from serving.http_client import NoAnswer
from serving.store.settings import S3Settings
from serving.wire import predict_path

BATCH = 1_000
TIMEOUT_S = 60.0


def records_of(uri: str, contract: Contract, s3: S3Settings | None) -> list[dict[str, Any]]:
    """The rows at *uri*, a table or a file of JSON lines, as JSON objects with the contract's columns."""
    if uri.endswith((".jsonl", ".ndjson")):
        return json_rows(Path(uri).read_text(encoding="utf-8").splitlines())
    frame = sources.read(uri, s3)
    missing = [name for name in contract.names if name not in frame.columns]
    if missing:
        raise DataError(f"{uri} lacks the columns {', '.join(missing)}; expected {', '.join(contract.names)}")
    rows: list[dict[str, Any]] = frame.select(contract.names).to_dicts()
    return rows


def json_rows(lines: Iterable[str]) -> list[dict[str, Any]]:
    """One JSON object per line, empty lines left out; ``DataError`` names the first line that is none."""
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise DataError(f"line {number} of the rows is no JSON: {error}; expected one object per line") from error
    return rows


def ask(address: str, model: str, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prediction, version and request id per record, in batches of 1,000.

    Raises:
        DataError: the server refuses a row; the sentence is the server's.
        InfrastructureError: nothing answers at *address*.
    """
    starts = range(0, len(records), BATCH)
    return [answer for start in starts for answer in _ask(address, model, records[start : start + BATCH])]


def _ask(address: str, model: str, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    body, headers = json.dumps({"instances": list(records)}), {"Content-Type": "application/json"}
    try:
        reply = http_client.ask(address, "POST", predict_path(model), body, headers, timeout_s=TIMEOUT_S)
    except NoAnswer as error:
        raise InfrastructureError(f"{error}; start it with slipway serve") from error
    if reply.status == 400:
        raise DataError(f"the model server refuses the rows: {reply.text}")
    if not reply.ok:
        raise InfrastructureError(f"the model server answers {reply.status}: {reply.text[:300]}")
    value = json.loads(reply.body)
    common = {"model_version": value.get("model_version"), "request_id": value.get("request_id")}
    return [{"prediction": prediction, **common} for prediction in value["predictions"]]
