"""The REST form of the Open Inference Protocol (V2): JSON, and JSON followed by raw tensors."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from serving.contract import Contract
from serving.predictor.errors import bad_request, jsonable, shown
from serving.predictor.rows.tensors import DTYPES, Tensor, announced, rows_of_tensors, tensor
from serving.predictor.rows.v1 import explain_in, interval_in, json_value, top_in
from serving.predictor.rows.validate import Checker, Rows

OUTPUTS = ("predict", "probabilities")
INTERVALS = "intervals"  # where they are asked for
EXPLAINED = ("contributions", "base")  # as above
TOP = ("top", "top_probabilities")  # as above
ALIAS = "output-0"  # the first of them may be asked for by the name that KServe's own servers give it
MAX_ID = 256


class InputTensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: dict[str, Any] | None = None


class OutputTensor(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class InferBody(msgspec.Struct):
    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[OutputTensor] | None = None


class Wanted(msgspec.Struct, frozen=True):
    """How a V2 request is to be answered.

    Attributes:
        id: echoed; empty if the client gave none.
        outputs: names to answer with, in this order; empty: all.
        binary: of ``outputs`` (or of all), those to send as raw bytes after the JSON.
        interval: share of truths that the intervals beside the predictions are to cover; None: no intervals.
        explain: whether contributions stand beside the predictions.
        top: how many of the most probable classes stand there; None: none.
    """

    id: str = ""
    outputs: tuple[str, ...] = ()
    binary: frozenset[str] = frozenset()
    interval: float | None = None
    explain: bool = False
    top: int | None = None


PLAIN = Wanted()


class Infer(msgspec.Struct, frozen=True):
    rows: Rows
    wanted: Wanted


_WHOLE = {
    name: (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)) for name, dtype in DTYPES.items() if "INT" in name
}
_body = msgspec.json.Decoder(InferBody)
_numbers = msgspec.json.Decoder(list[float | None])
_booleans = msgspec.json.Decoder(list[bool | None])
_words = msgspec.json.Decoder(list[str | None])


def decode(checker: Checker, body: bytes, json_length: int | None, max_rows: int) -> Infer:
    """Rows and wishes of a V2 body.

    Args:
        json_length: bytes of JSON before the raw tensors, from ``Inference-Header-Content-Length``; None: all is JSON.

    Raises:
        Refusal: 400 or 413, as the error table says.
    """
    raw = memoryview(b"")
    if json_length is not None:
        if not 0 < json_length <= len(body):
            raise bad_request(
                f"inference-header-content-length: expected 1 to {len(body)}, the size of the body, got {json_length}"
            )
        body, raw = body[:json_length], memoryview(body)[json_length:]
    request = _request(body)
    limit = max_rows * len(checker.names)
    tensors = []
    for given in request.inputs:
        one, raw = _tensor(given, raw, limit)
        tensors.append(one)
    if len(raw):
        raise bad_request(f"the body: expected to end with the last tensor, got {len(raw)} more bytes")
    return Infer(rows_of_tensors(checker, tensors, max_rows), _wanted(request, checker.contract))


def _request(body: bytes) -> InferBody:
    try:
        return _body.decode(body)
    except msgspec.ValidationError as error:
        raise bad_request(f"the body is no V2 request: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = json_value(body)  # raises with the right words
        raise bad_request(f"the body: expected an object with 'inputs', got {shown(document)}") from None


def _wanted(request: InferBody, contract: Contract) -> Wanted:
    parameters = request.parameters or {}
    outputs = request.outputs or []
    beside = beside_in(parameters) if parameters else PLAIN
    known = outputs_known(contract, beside)
    names = named_outputs((output.name for output in outputs), known)
    everything = parameters.get("binary_data_output") is True
    asked = {o.name: (o.parameters or {}).get("binary_data", everything) is True for o in outputs}
    binary = frozenset(n for n in (names or known) if asked.get(n, everything))
    return Wanted((request.id or "")[:MAX_ID], names, binary, beside.interval, beside.explain, beside.top)


def beside_in(parameters: Mapping[str, Any]) -> Wanted:
    """What a request's *parameters* ask for beside the predictions; raises as each of them."""
    return Wanted(interval=interval_in(parameters), explain=explain_in(parameters), top=top_in(parameters))


def outputs_known(contract: Contract, beside: Wanted) -> tuple[str, ...]:
    """What an answer may have: the predictions, the columns that go along where a request brings them, and what is
    asked for."""
    told = OUTPUTS if contract.target.classes else OUTPUTS[:1]
    ends, why = () if beside.interval is None else (INTERVALS,), EXPLAINED if beside.explain else ()
    return (*told, *contract.ids, *ends, *why, *(() if beside.top is None else TOP))


def named_outputs(names: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """*names* once each.

    Raises:
        Refusal: 400 for one that is not *known*.
    """
    asked = tuple(dict.fromkeys(names))
    for name in asked:
        if name not in (*known, ALIAS):
            raise bad_request(f"outputs: expected {' or '.join(known)}, got {shown(jsonable(name))}")
    return asked


def _tensor(given: InputTensor, raw: memoryview, limit: int) -> tuple[Tensor, memoryview]:
    """*given* with its values, and what is left of *raw*."""
    name = str(jsonable(given.name))
    datatype, count = announced(name, given.datatype, given.shape, limit)
    binary = (given.parameters or {}).get("binary_data_size")
    if binary is None:
        values = _json_values(name, datatype, bytes(given.data))
        rest = raw
    else:
        if isinstance(binary, bool) or not isinstance(binary, int) or not 0 <= binary <= len(raw):
            raise bad_request(
                f"inputs.{name}: expected binary_data_size of 0 to {len(raw)}, the bytes left, got {shown(binary)}"
            )
        values, rest = raw_values(name, datatype, raw[:binary], count), raw[binary:]
    return tensor(name, datatype, given.shape, values), rest


def _json_values(name: str, datatype: str, data: bytes) -> Any:
    """Flat values of a tensor's JSON ``data``, which may be nested as its shape is."""
    if not data:
        raise bad_request(f"inputs.{name}: expected 'data', or 'binary_data_size' with raw bytes, got neither")
    decoder: Any = _words if datatype == "BYTES" else _booleans if datatype == "BOOL" else _numbers
    try:
        values = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        values = _nested(name, datatype, decoder, data)
    return values if datatype == "BYTES" else _floats(name, datatype, values)


def _nested(name: str, datatype: str, decoder: Any, data: bytes) -> Any:
    flat: list[Any] = []
    stack = [json_value(data)]
    if not isinstance(stack[0], list):
        raise bad_request(f"inputs.{name}.data: expected a list, got {shown(stack[0])}")
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(reversed(value))
        else:
            flat.append(value)
    try:
        return msgspec.convert(flat, decoder.type)
    except msgspec.ValidationError as error:
        place = re.search(r"\[(\d+)\]", str(error))  # it ends: at `$[3]`
        wrong = int(place[1]) if place else 0
        raise bad_request(
            f"inputs.{name}.data[{wrong}]: expected a value of {datatype}, got {shown(flat[wrong])}"
        ) from None


def _floats(name: str, datatype: str, values: list[Any]) -> Any:
    numbers = np.array(values, dtype=np.float64)
    if datatype.startswith(("INT", "UINT")):
        low, high = _WHOLE[datatype]
        wrong = (np.floor(numbers) < numbers) | (numbers < low) | (numbers > high)  # of NaN none is true
        if wrong.any():
            first = int(np.argmax(wrong))
            raise bad_request(
                f"inputs.{name}.data[{first}]: expected a value of {datatype}, got {shown(values[first])}"
            )
    return numbers


def raw_values(name: str, datatype: str, raw: memoryview, count: int) -> Any:
    """Flat values of the raw bytes of *count* elements, little-endian; BYTES have their length before them."""
    if datatype == "BYTES":
        return _raw_words(name, raw)
    dtype = np.dtype(DTYPES[datatype])
    if len(raw) != count * dtype.itemsize:
        raise bad_request(f"inputs.{name}: expected {count * dtype.itemsize} bytes of {datatype}, got {len(raw)}")
    if datatype == "BOOL":
        return (np.frombuffer(raw, dtype=np.uint8) != 0).astype(np.float64)
    return np.frombuffer(raw, dtype=dtype).astype(np.float64)


def _raw_words(name: str, raw: memoryview) -> list[str]:
    words = []
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        at += 4
        if at + length > len(raw):
            raise bad_request(f"inputs.{name}: expected {length} bytes of text, got {max(0, len(raw) - at)}")
        words.append(text(name, bytes(raw[at : at + length])))
        at += length
    return words


def text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise bad_request(f"inputs.{name}: expected text in UTF-8, got other bytes") from None
