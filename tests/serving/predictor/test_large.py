"""Large bodies read without the interpreter lock: what is read is what the careful decoder reads, or nothing is."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.predictor.errors import Refusal
from serving.predictor.rows.floats import nearest
from serving.predictor.rows.large import PlainRows
from serving.predictor.rows.v1 import Decoder
from serving.predictor.rows.validate import Rows
from tests.serving.predictor.support import HOUSE, ROW, random_rows

MAX_ROWS = 400
READER = PlainRows(HOUSE, MAX_ROWS)
DECODER = Decoder(HOUSE, MAX_ROWS)
TABLE = random_rows(HOUSE, 30, 5)


def body(rows: list[Any], **layout: Any) -> bytes:
    return json.dumps({"instances": rows}, **layout).encode()


def outcome(call: Callable[[], Rows]) -> Any:
    try:
        rows = call()
    except Refusal as refusal:
        return refusal.status, refusal.message
    return np.nan_to_num(rows.matrix, nan=-1.0).tolist(), rows.flags


def same(read: Any, text: bytes) -> bool:
    """Whether the careful decoder, which raises for anything wrong, reads the same from *text*."""
    return np.array_equal(read, DECODER.decode(text).matrix, equal_nan=True)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**19 - 1), st.integers(-350, 320))
@example(9007199254740993, 0)  # halfway between two doubles
@example(10**19 - 1, -330)
@example(22250738585072011, -324)  # just below the smallest normal number
@example(17976931348623158, 292)  # the largest double
def test_a_certain_number_is_the_nearest_double(digits: int, exponent: int) -> None:
    """Digits and exponent become what Python reads from the same text, whenever the answer is called certain."""
    value, certain = nearest(np.uint64(digits), exponent)
    assert not certain or value == float(f"{digits}e{exponent}")


@pytest.mark.parametrize(
    "layout",
    [{}, {"indent": 1}, {"separators": (",", ":")}, {"sort_keys": True}],
    ids=["plain", "lines", "dense", "sorted"],
)
def test_usual_bodies_are_read_whatever_their_layout(layout: dict[str, Any]) -> None:
    """Records, arrays and both mixed, with columns in any order, give the careful decoder's matrix."""
    arrays = [list(row.values()) for row in TABLE]
    turned = [dict(reversed(row.items())) for row in TABLE]
    for rows in (TABLE, arrays, turned, [*TABLE, *arrays, *turned]):
        text = body(rows, **layout)
        read = READER.read(text)
        assert read is not None
        assert same(read, text)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_body_is_never_misread(data: st.DataObject) -> None:
    """After any change of a few bytes a body is left alone, or still means what the careful decoder makes of it."""
    text = bytearray(body(TABLE[:3]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(_PIECES))
    read = READER.read(bytes(text))
    assert read is None or same(read, bytes(text))


_PIECES = [
    b"",
    b" ",
    b",",
    b"0",
    b"9",
    b"-",
    b".",
    b"e",
    b"E+",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"null",
    b"\x00",
    b"\xff",
    b"1e5",
]


def test_a_body_cut_anywhere_is_left_alone() -> None:
    """No beginning of a body is taken for a whole one, nor is anything read behind its end."""
    text = body(TABLE[:2])
    assert all(READER.read(text[:end]) is None for end in range(len(text)))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(body([]), id="no-rows"),
        pytest.param(body([ROW] * (MAX_ROWS + 1)), id="too-many-rows"),
        pytest.param(body([{**ROW, "area_m2": 5}]), id="below-the-range"),
        pytest.param(body([{**ROW, "distance": 500}]), id="outside-of-a-range-that-flags"),
        pytest.param(body([{**ROW, "condition": "new"}]), id="a-category-that-is-flagged"),
        pytest.param(body([{**ROW, "rooms": 2.5}]), id="half-a-room"),
        pytest.param(body([{**ROW, "kind": None}]), id="null"),
        pytest.param(body([{**ROW, "garden": 1}]), id="a-number-for-a-boolean"),
        pytest.param(body([{**ROW, "extra": 1}]), id="one-column-more"),
        pytest.param(body([{k: v for k, v in ROW.items() if k != "rooms"}]), id="one-column-less"),
        pytest.param(body([[ROW]]), id="a-record-in-a-list"),
        pytest.param(body([ROW])[:-1] + b', "instances": []}', id="the-key-twice"),
        pytest.param(b'{"other": [1], ' + body([ROW])[1:], id="another-list-first"),
        pytest.param(body([ROW]) + b"x", id="text-behind"),
        pytest.param(body([ROW]).replace(b'"rooms"', b'"age"'), id="a-column-twice"),
        pytest.param(body([ROW]).replace(b'"rooms"', b'"r\\u006foms"'), id="an-escaped-name"),
        pytest.param(body([ROW]).replace(b"12.5", b"-0.0"), id="minus-zero"),
        pytest.param(body([ROW]).replace(b"12.5", b"1e999"), id="infinite"),
        pytest.param(body([ROW]).replace(b"12.5", b"012.5"), id="a-leading-zero"),
        pytest.param(body([ROW]).replace(b"12.5", b"12."), id="a-point-without-digits"),
        pytest.param(body([ROW]).replace(b"12.5", b"12.50000000000000000001"), id="more-digits-than-fit"),
    ],
)
def test_anything_unusual_is_left_to_the_careful_decoder(text: bytes) -> None:
    """A body that is not plainly right is not read here, and gets its answer or its words from the other decoder."""
    assert READER.read(text) is None
    assert outcome(lambda: DECODER.decode_large(text)) == outcome(lambda: DECODER.decode(text))
