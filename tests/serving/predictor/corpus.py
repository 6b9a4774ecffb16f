"""Valid requests of every kind, ways to spoil them, and slow readers that say what a spoilt one still means."""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.contract import Contract
from serving.predictor.errors import Refusal
from serving.predictor.rows.validate import Checker, Rows, rows_of
from tests.serving.predictor.support import HOUSE, ROW, TUMOUR, random_rows

DATATYPES = {"float": "FP64", "int": "INT64", "bool": "BOOL", "category": "BYTES"}
FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
FIELDS = {"FP64": "fp64_contents", "INT64": "int64_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}
Call = tuple[bytes, int | None]
"""A V2 body, and how many bytes of it are said to be JSON."""

TOKENS = [
    b"",
    *(bytes([one]) for one in b' ,:"\\[]{}-.e09\x00\xff\n'),
    b"null",
    b"true",
    b"false",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0.0",
    b"1e-400",
    b"4.9406564584124654e-324",
    b"2.2250738585072011e-308",
    b"9007199254740993",
    b"18446744073709551616",
    b"9" * 400,
    b"0." + b"0" * 400 + b"1",
    b"[" * 600,
    b'{"a":' * 600,
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\\u0000",
    b"\\u0066lat",
    b'"instances":[]',
    b'"inputs":[]',
    b'"area_m2":5,',
    b'"binary_data_size":8',
    b'"shape":[99999999999]',
]


def bodies(contract: Contract) -> list[bytes]:
    """V1 bodies of every accepted shape and some layouts, of one row, a few, and more than one piece."""
    rows = random_rows(contract, 4, 7)
    row = rows[0]
    shapes: list[Any] = [
        {"instances": [row]},
        {"inputs": rows},
        {"instances": [list(row.values())]},
        {"instances": [[row], list(row.values()), dict(reversed(row.items()))]},
        {"signature_name": 'tricky ], "[{', "instances": rows},
    ]
    dumped = [json.dumps(shape).encode() for shape in shapes]
    dumped.append(json.dumps(shapes[0], indent=1).encode())
    dumped.append(json.dumps(shapes[1], separators=(",", ":"), sort_keys=True).encode())
    dumped.append(json.dumps({"instances": [list(row.values())] * 270}, separators=(",", ":")).encode())
    return dumped


def tensors(contract: Contract, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": n, "shape": [len(rows)], "datatype": DATATYPES[c.type], "data": [row[n] for row in rows]}
        for n, c in contract.columns.items()
    ]


def raw(values: list[Any], datatype: str) -> bytes:
    """*values* as KServe's binary tensor extension writes them."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)
    return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)


def with_raw(request: dict[str, Any], *which: int) -> Call:
    """*request* with those of its tensors as raw bytes; all of them if none is named."""
    inputs, parts = [], []
    for i, tensor in enumerate(request["inputs"]):
        if not which or i in which:
            parts.append(raw(tensor["data"], tensor["datatype"]))
            tensor = {k: v for k, v in tensor.items() if k != "data"}
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        inputs.append(tensor)
    head = json.dumps({**request, "inputs": inputs}).encode()
    return head + b"".join(parts), len(head)


def calls(contract: Contract) -> list[Call]:
    """V2 requests: JSON, partly and wholly raw, and one matrix where the contract allows it."""
    row = {k: v if v is not None else ROW[k] for k, v in random_rows(contract, 1, 8)[0].items()}
    one: dict[str, Any] = {"id": "a", "inputs": tensors(contract, [row])}
    three: dict[str, Any] = {
        "inputs": tensors(contract, [row] * 3)[::-1],
        "outputs": [{"name": "predict", "parameters": {"binary_data": True}}],
    }
    given: list[Call] = [(json.dumps(request).encode(), None) for request in (one, three)]
    given += [with_raw(one), with_raw(three), with_raw(three, 0)]
    if contract is TUMOUR:
        for datatype in ("FP16", "FP32", "UINT8"):
            matrix = {"name": "all", "shape": [2, 2], "datatype": datatype, "data": [1, 2, 3, 4]}
            given += [(json.dumps({"inputs": [matrix]}).encode(), None), with_raw({"inputs": [matrix]})]
    return given


def messages() -> list[bytes]:
    """gRPC requests on HOUSE as they stand on the wire: typed and raw contents."""
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # slow to load, and most who read this do without

    made = []
    for as_raw in (False, True):
        request = pb.ModelInferRequest(model_name="housing", id="g")
        for tensor in tensors(HOUSE, [ROW, ROW]):
            one = request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
            if as_raw:
                request.raw_input_contents.append(raw(tensor["data"], tensor["datatype"]))
            else:
                values = [v.encode() if isinstance(v, str) else v for v in tensor["data"]]
                getattr(one.contents, FIELDS[tensor["datatype"]]).extend(values)
        made.append(request.SerializeToString())
    return made


# Spoiling


def spoilt(chance: random.Random, body: bytes, others: list[bytes]) -> bytes:
    """*body* after one to four changes: bytes flipped, tokens put in, parts cut out, doubled or taken from *others*."""
    made = bytearray(body)
    for _ in range(chance.choice([1, 1, 1, 2, 2, 4])):
        chance.choice(_CHANGES)(chance, made, others)
    return bytes(made)


def _span(chance: random.Random, size: int, most: int = 24) -> slice:
    at = chance.randrange(size + 1)
    return slice(at, min(size, at + chance.randint(0, most)))


def _flip(chance: random.Random, made: bytearray, _others: list[bytes]) -> None:
    if made:
        made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)


def _token(chance: random.Random, made: bytearray, _others: list[bytes]) -> None:
    made[_span(chance, len(made), chance.choice([0, 1, 4]))] = chance.choice(TOKENS)


def _number(chance: random.Random, made: bytearray, _others: list[bytes]) -> None:
    """A token in place of a number, so that the body is still JSON most of the time."""
    digits = [i for i, one in enumerate(made) if 48 <= one <= 57]
    if not digits:
        return
    first = last = chance.choice(digits)
    while last < len(made) and made[last] in b"0123456789.eE+-":
        last += 1
    while first and made[first - 1] in b"0123456789.eE+-":
        first -= 1
    made[first:last] = chance.choice(TOKENS)


def _cut(chance: random.Random, made: bytearray, _others: list[bytes]) -> None:
    del made[_span(chance, len(made))]


def _end(chance: random.Random, made: bytearray, _others: list[bytes]) -> None:
    del made[chance.randrange(len(made) + 1) :]


def _double(chance: random.Random, made: bytearray, _others: list[bytes]) -> None:
    part = _span(chance, len(made), 200)
    made[part.start : part.start] = made[part] * chance.choice([1, 1, 2, 30])


def _splice(chance: random.Random, made: bytearray, others: list[bytes]) -> None:
    other = chance.choice(others)
    made[_span(chance, len(made), 60)] = other[_span(chance, len(other), 60)]


_CHANGES: list[Callable[[random.Random, bytearray, list[bytes]], None]] = [
    _flip,
    _token,
    _number,
    _number,
    _cut,
    _end,
    _double,
    _splice,
]


def spoilt_call(chance: random.Random, call: Call, others: list[bytes]) -> Call:
    """*call* with its body, or what it says of the body, spoilt."""
    body, length = call
    if length is None:
        return spoilt(chance, body, others), chance.choice([None] * 15 + [0, 10, len(body)])
    head, rest = body[:length], body[length:]
    if chance.random() < 0.6:
        head = spoilt(chance, head, others)
    if chance.random() < 0.6:
        rest = spoilt(chance, rest, others)
    return head + rest, chance.choice([len(head)] * 12 + [len(head) - 1, len(head) + 1, 0, -1, 10**9, None])


# What a request means, read slowly and by other means than the server's


class NoJson(Exception):
    """Python's own reader takes it for no JSON either, or says that its numbers are none."""


def _plain(body: bytes) -> Any:
    def refuse(word: str) -> Any:
        raise NoJson(word)

    try:
        text = body.decode(errors="replace")  # msgspec does not look at the text of fields that nobody asks for
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise NoJson(str(error)) from None


def slow_v1(checker: Checker, body: bytes) -> Rows:
    """The rows of a V1 body by Python's ``json`` and the cell-by-cell reference.

    Raises:
        NoJson: it is none.
        Refusal: a cell is not as the contract says.
    """
    request = _plain(body)
    key = "inputs" if "inputs" in request else "instances"
    return rows_of(checker, slow_rows(request[key]), 0, key)


def slow_rows(elements: list[Any]) -> list[Any]:
    """The rows of *elements*, of which some may be tables: lists of records, or lists of cells by column."""
    rows: list[Any] = []
    for element in elements:
        cells = list(element.values()) if isinstance(element, dict) else []
        if cells and all(isinstance(cell, list) and len(cell) == len(cells[0]) > 0 for cell in cells):
            rows += [{name: element[name][i] for name in element} for i in range(len(cells[0]))]
        elif isinstance(element, list) and element and isinstance(element[0], dict):
            rows += element
        else:
            rows.append(element)
    return rows


def slow_v2(checker: Checker, call: Call) -> Rows:
    """The rows of a V2 request by Python's ``json`` and ``struct`` and the cell-by-cell reference; raises as above."""
    body, length = call
    request = _plain(body if length is None else body[:length])
    rest = b"" if length is None else body[length:]
    columns: dict[str, list[Any]] = {}
    for tensor in request["inputs"]:
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            values = _flat(tensor["data"])
        else:
            values, rest = _unpacked(rest[:size], tensor["datatype"]), rest[size:]
        names = [tensor["name"]]
        if tensor["name"] not in checker.contract.columns:
            names = list(checker.names)  # one matrix
        for i, name in enumerate(names):
            columns[name] = values[i :: len(names)]
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return rows_of(checker, rows, 0, "inputs")


def _flat(value: Any) -> list[Any]:
    return [cell for part in value for cell in _flat(part)] if isinstance(value, list) else [value]


def _unpacked(part: bytes, datatype: str) -> list[Any]:
    if datatype != "BYTES":
        cells = [cell for (cell,) in struct.iter_unpack("<" + FORMATS[datatype], part)]
        return [None if cell != cell else cell for cell in cells]
    words = []
    while part:
        end = 4 + int.from_bytes(part[:4], "little")
        words.append(part[4:end].decode())
        part = part[end:]
    return words


def outcome(read: Callable[..., Rows], *arguments: Any) -> Any:
    """What a reader said, in a form that compares: codes and flagged cells, or the problems of the refusal."""
    try:
        rows = read(*arguments)
    except Refusal as refusal:
        told = refusal
    else:
        assert rows.matrix.dtype == np.float64
        return np.nan_to_num(rows.matrix, nan=-1e300).tolist(), [(f.row, f.column, f.reason) for f in rows.flags]
    assert told.status in (400, 413), told.message
    assert told.body("r")  # can be written
    return told.status, [(p.row, p.column, p.reason) for p in told.problems]
