"""Scores into answers: V1 JSON, V2 JSON, V2 with raw tensors."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from serving.bundle.judgement import Judgement, likeliest, percent, top_mistake
from serving.contract import Contract
from serving.explaining.api import Codes, Explained
from serving.predictor.errors import Refusal, bad_request
from serving.predictor.metadata import label_datatype
from serving.predictor.rows.v2 import ALIAS, EXPLAINED, INTERVALS, OUTPUTS, PLAIN, TOP, Wanted
from serving.predictor.rows.validate import Flag, Rows
from serving.wire import NO_INTERVALS

_encode = msgspec.json.Encoder().encode
MODEL_FAULT = (b"x-model-fault", b"prediction")  # tells a router that the model is to blame, not the request


class Because(msgspec.Struct, frozen=True):
    """Why rows have the numbers that they have.

    Attributes:
        method: a phrase; which of the ways of ``serving.explaining``.
        of: per row in words what its numbers are numbers of.
        classes: per row the position of the class that is explained.
    """

    method: str
    of: list[str]
    classes: Codes
    explained: Explained


class Answer(msgspec.Struct, frozen=True):
    """What the model said.

    Attributes:
        predictions: numbers (regression) or class names, one per row; ``Encoder.said`` is how answers say them.
        probabilities: of shape (n_rows, n_classes) in the order of the contract's classes; None for regression.
        intervals: of shape (n_rows, 2), lower and upper ends; None where none were asked for.
        tracked: of shape (n_rows,), what the prediction histogram counts: the number, or the last class's probability.
        ids: as ``Rows`` has them.
        because: None where no explanations were asked for.
        top: of shape (n_rows, k), positions of the most probable classes; None where they were not asked for.
    """

    predictions: list[Any]
    probabilities: npt.NDArray[np.float64] | None
    tracked: npt.NDArray[np.float64]
    flags: tuple[Flag, ...] = ()
    ids: Mapping[str, Sequence[Any]] = {}
    intervals: npt.NDArray[np.float64] | None = None
    because: Because | None = None
    top: Codes | None = None


class Encoder:
    """Writes answers of one model version."""

    def __init__(self, contract: Contract, model: str, version: str, judgement: Judgement | None = None) -> None:
        self.classes, self.carried, self._slots = contract.target.classes, contract.ids, tuple(contract.slots)
        self._labels = contract.target.labels
        self._judgement = judgement or Judgement()
        self.datatype = label_datatype(contract)
        self._whole = self.datatype == "INT64"
        self.model, self.version = model, version

    def answer(
        self,
        scores: npt.NDArray[np.float64],
        rows: Rows | None = None,
        wanted: Wanted = PLAIN,
        because: Because | None = None,
    ) -> Answer:
        """*scores* as a person reads them, with what goes along with their *rows*, what is *wanted* beside and why.

        Raises:
            Refusal: 400 naming the first row whose score is not finite; numbers that large are no answer.
        """
        flags, ids = ((), {}) if rows is None else (rows.flags, rows.ids)
        if wanted.top is not None and (mistake := top_mistake(wanted.top, len(self.classes))):
            raise bad_request(f"parameters.top: {mistake}")
        if not self.classes:
            numbers = scores.tolist()
            if len(numbers) > 1 or not isfinite(numbers[0]):
                _all_finite(scores)
            ends = None if wanted.interval is None else self._ends(scores, wanted.interval)
            return Answer(numbers, None, scores, flags, ids, ends, because)
        if wanted.interval is not None:
            raise bad_request("parameters.interval: is for predicted numbers; classes have probabilities")
        _all_finite(scores)
        names = [self.classes[i] for i in self._judgement.decided(scores).tolist()]
        top = None if wanted.top is None else likeliest(scores, wanted.top)
        return Answer(names, scores, scores[:, -1], flags, ids, None, because, top)

    def _ends(self, scores: npt.NDArray[np.float64], interval: float) -> npt.NDArray[np.float64]:
        widths, level = self._judgement.widths, percent(interval)
        if widths is None:
            raise bad_request(f"parameters.interval: {NO_INTERVALS}; set interval in its project")
        if level not in widths.levels:
            known = f"0.{widths.levels[0]} to 0.{widths.levels[-1]}"
            raise bad_request(f"parameters.interval: expected a share in whole percent, {known}, got {interval:g}")
        return widths.bounds(scores, level)

    def said(self, answer: Answer) -> list[Any]:
        """The predictions, classes in their form of ``Target.labels``."""
        return [int(name) for name in answer.predictions] if self._whole else answer.predictions

    def v1(self, answer: Answer, request_id: str) -> bytes:
        document: dict[str, Any] = {"predictions": self.said(answer)}
        if answer.probabilities is not None:
            document["probabilities"] = answer.probabilities.tolist()
        if answer.intervals is not None:
            document["intervals"] = answer.intervals.tolist()
        if answer.top is not None:
            document["top"] = self._best(answer.top, answer.probabilities)
        if self.carried:
            document["ids"] = self.ids(answer)
        if answer.because is not None:
            document |= self._why(answer.because)
        document["model_name"] = self.model
        document["model_version"] = self.version
        document["request_id"] = request_id
        if answer.flags:
            document["flags"] = answer.flags
        return _encode(document)

    def explanations(self, answer: Answer, request_id: str) -> bytes:
        """The V1 answer to ``:explain``."""
        why = {} if answer.because is None else self._why(answer.because)
        ids = {"ids": self.ids(answer)} if self.carried else {}
        named = {"model_name": self.model, "model_version": self.version, "request_id": request_id}
        return _encode({**why, "predictions": self.said(answer), **ids, **named})

    def _best(self, top: Codes, probabilities: Any) -> list[list[dict[str, Any]]]:
        return [
            [{"class": self._labels[code], "probability": float(chances[code])} for code in codes]
            for codes, chances in zip(top.tolist(), probabilities, strict=True)
        ]

    def _why(self, because: Because) -> dict[str, Any]:
        found, told = because.explained, []
        for row, of in enumerate(because.of):
            contributions = dict(zip(self._slots, found.contributions[row].tolist(), strict=True))
            numbers = {"score": float(found.score[row]), "base": float(found.base[row])}
            about = {"class": self._labels[int(because.classes[row])]} if self.classes else {}
            told.append({**about, "of": of, **numbers, "contributions": contributions})
        return {"explanations": told, "method": because.method}

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
        if answer.intervals is not None:
            tensors.append((INTERVALS, "FP64", [rows, 2], answer.intervals.ravel()))
        if answer.because is not None:
            tensors += _why_tensors(answer.because.explained)
        if answer.top is not None and answer.probabilities is not None:
            chances = np.take_along_axis(answer.probabilities, answer.top, axis=1).ravel()
            names = [self._labels[code] for code in answer.top.ravel().tolist()]
            shape = list(answer.top.shape)
            tensors += [(TOP[0], self.datatype, shape, names), (TOP[1], "FP64", shape, chances)]
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
        if beside := told_beside(answer):
            document["parameters"] = beside
        head = _encode(document)
        return (head + b"".join(raw), len(head)) if raw else (head, None)


def _id_tensor(name: str, cells: Sequence[Any]) -> tuple[str, str, list[int], Any]:
    """Ids as the numbers that they are, or else as text."""
    if all(type(cell) is int and abs(cell) < 1 << 63 for cell in cells):
        return name, "INT64", [len(cells)], list(cells)
    return name, "BYTES", [len(cells)], ["" if cell is None else str(cell) for cell in cells]


def _why_tensors(found: Explained) -> list[tuple[str, str, list[int], Any]]:
    shape = list(found.contributions.shape)
    return [(EXPLAINED[0], "FP64", shape, found.contributions.ravel()), (EXPLAINED[1], "FP64", shape[:1], found.base)]


def _all_finite(scores: npt.NDArray[np.float64]) -> None:
    finite = np.isfinite(scores)
    if not finite.all():
        row = int(np.argwhere(~finite)[0, 0])
        message = f"row {row}: the prediction is not a finite number; its values are too extreme to score"
        raise Refusal("bad_request", message, (), MODEL_FAULT)


def told_beside(answer: Answer) -> dict[str, str]:
    """Parameters of a V2 answer, each as JSON text, since one holds one plain value."""
    told = {"flags": msgspec.to_builtins(list(answer.flags))} if answer.flags else {}
    if answer.because is not None:
        told["explained"] = {"method": answer.because.method, "of": answer.because.of}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in told.items()}


def raw_bytes(datatype: str, values: Any) -> bytes:
    if datatype != "BYTES":
        return np.asarray(values, dtype="<i8" if datatype == "INT64" else "<f8").tobytes()
    encoded = [word.encode() for word in values]
    return b"".join(len(word).to_bytes(4, "little") + word for word in encoded)
