"""Scores into answers: V1 JSON, V2 JSON, V2 with raw tensors."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from serving.contract import Contract
from serving.predictor.errors import Refusal
from serving.predictor.metadata import label_datatype
from serving.predictor.rows.v2 import ALIAS, OUTPUTS, Wanted
from serving.predictor.rows.validate import Flag, Rows

_encode = msgspec.json.Encoder().encode
MODEL_FAULT = (b"x-model-fault", b"prediction")  # tells a router that the model is to blame, not the request


class Answer(msgspec.Struct, frozen=True):
    """What the model said.

    Attributes:
        predictions: numbers (regression) or class names, one per row; ``Encoder.said`` is how answers say them.
        probabilities: of shape (n_rows, n_classes) in the order of the contract's classes; None for regression.
        tracked: of shape (n_rows,), what the prediction histogram counts: the number, or the last class's probability.
        ids: as ``Rows`` has them.
    """

    predictions: list[Any]
    probabilities: npt.NDArray[np.float64] | None
    tracked: npt.NDArray[np.float64]
    flags: tuple[Flag, ...] = ()
    ids: Mapping[str, Sequence[Any]] = {}


class Encoder:
    """Writes answers of one model version."""

    def __init__(self, contract: Contract, model: str, version: str) -> None:
        self.classes, self.carried = contract.target.classes, contract.ids
        self.datatype = label_datatype(contract)
        self._whole = self.datatype == "INT64"
        self.model, self.version = model, version

    def answer(self, scores: npt.NDArray[np.float64], rows: Rows | None = None) -> Answer:
        """*scores* as a person reads them, with what goes along with their *rows*.

        Raises:
            Refusal: 400 naming the first row whose score is not finite; numbers that large are no answer.
        """
        flags, ids = ((), {}) if rows is None else (rows.flags, rows.ids)
        if not self.classes:
            numbers = scores.tolist()
            if len(numbers) > 1 or not isfinite(numbers[0]):
                _all_finite(scores)
            return Answer(numbers, None, scores, flags, ids)
        _all_finite(scores)
        names = [self.classes[i] for i in np.argmax(scores, axis=1).tolist()]
        return Answer(names, scores, scores[:, -1], flags, ids)

    def said(self, answer: Answer) -> list[Any]:
        """The predictions, classes in their form of ``Target.labels``."""
        return [int(name) for name in answer.predictions] if self._whole else answer.predictions

    def v1(self, answer: Answer, request_id: str) -> bytes:
        document: dict[str, Any] = {"predictions": self.said(answer)}
        if answer.probabilities is not None:
            document["probabilities"] = answer.probabilities.tolist()
        if self.carried:
            document["ids"] = self.ids(answer)
        document["model_name"] = self.model
        document["model_version"] = self.version
        document["request_id"] = request_id
        if answer.flags:
            document["flags"] = answer.flags
        return _encode(document)

    def ids(self, answer: Answer) -> list[dict[str, Any]]:
        """By row the cells of all columns of type id; None where the request brought none."""
        nothing = [None] * len(answer.predictions)
        columns = [answer.ids.get(name, nothing) for name in self.carried]
        return [dict(zip(self.carried, row, strict=True)) for row in zip(*columns, strict=True)]

    def outputs(self, answer: Answer, wanted: Sequence[str]) -> list[tuple[str, str, list[int], Any]]:
        """Name, datatype, shape and flat values of the output tensors, all or those *wanted*."""
        rows = len(answer.predictions)
        tensors: list[tuple[str, str, list[int], Any]] = [(OUTPUTS[0], self.datatype, [rows], self.said(answer))]
        if answer.probabilities is not None:
            tensors.append((OUTPUTS[1], "FP64", [rows, len(self.classes)], answer.probabilities.ravel()))
        tensors += [_id_tensor(name, cells) for name, cells in answer.ids.items()]
        by_name = {tensor[0]: tensor for tensor in reversed(tensors)} | {ALIAS: (ALIAS, *tensors[0][1:])}
        return [by_name[name] for name in wanted if name in by_name] if wanted else tensors

    def v2(self, answer: Answer, request_id: str, wanted: Wanted) -> tuple[bytes, int | None]:
        """The body, and how many bytes of it are JSON if raw tensors follow."""
        outputs, raw = [], []
        for name, datatype, shape, values in self.outputs(answer, wanted.outputs):
            output: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
            if name in wanted.binary:
                data = raw_bytes(datatype, values)
                output["parameters"] = {"binary_data_size": len(data)}
                raw.append(data)
            else:
                output["data"] = values if isinstance(values, list) else values.tolist()
            outputs.append(output)
        document: dict[str, Any] = {
            "model_name": self.model,
            "model_version": self.version,
            "id": wanted.id or request_id,
            "outputs": outputs,
        }
        if answer.flags:
            document["parameters"] = {"flags": flags_text(answer.flags)}
        head = _encode(document)
        return (head + b"".join(raw), len(head)) if raw else (head, None)


def _id_tensor(name: str, cells: Sequence[Any]) -> tuple[str, str, list[int], Any]:
    """Ids as the numbers that they are, or else as text."""
    if all(type(cell) is int and abs(cell) < 1 << 63 for cell in cells):
        return name, "INT64", [len(cells)], list(cells)
    return name, "BYTES", [len(cells)], ["" if cell is None else str(cell) for cell in cells]


def _all_finite(scores: npt.NDArray[np.float64]) -> None:
    finite = np.isfinite(scores)
    if not finite.all():
        row = int(np.argwhere(~finite)[0, 0])
        message = f"row {row}: the prediction is not a finite number; its values are too extreme to score"
        raise Refusal("bad_request", message, (), MODEL_FAULT)


def flags_text(flags: Sequence[Flag]) -> str:
    """Flags as JSON text, since a V2 parameter holds one plain value."""
    return json.dumps(msgspec.to_builtins(list(flags)), ensure_ascii=False)


def raw_bytes(datatype: str, values: Any) -> bytes:
    if datatype != "BYTES":
        return np.asarray(values, dtype="<i8" if datatype == "INT64" else "<f8").tobytes()
    encoded = [word.encode() for word in values]
    return b"".join(len(word).to_bytes(4, "little") + word for word in encoded)
