"""V1 bodies: the fast decoder says what the cell-by-cell reference says, in one go or in pieces."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data.meaning import value
from serving.contract import Contract
from serving.predictor.errors import Refusal
from serving.predictor.rows.large import pieces
from serving.predictor.rows.v1 import PIECE_ROWS, Decoder
from serving.predictor.rows.validate import Rows, rows_of
from tests.serving.predictor.corpus import slow_rows
from tests.serving.predictor.support import HOUSE, ROW, TUMOUR, random_rows

DECODER = Decoder(HOUSE, max_rows=5000)

_cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 400),
    st.floats(-10, 400, allow_nan=False),
    st.sampled_from(["house", "flat", "good", "poor", "new", "", "84"]),
    st.just([]),
    st.just({}),
)


def _mostly_valid() -> st.SearchStrategy[dict[str, Any]]:
    changes = st.dictionaries(st.sampled_from([*HOUSE.names, "extra"]), _cells, max_size=2)
    removed = st.sets(st.sampled_from(HOUSE.names), max_size=1)
    return st.builds(lambda c, r: {k: v for k, v in {**ROW, **c}.items() if k not in r or k in c}, changes, removed)


_row = st.one_of(
    _mostly_valid(),
    _mostly_valid(),
    _mostly_valid().map(lambda row: list(row.values())),
    st.lists(_mostly_valid(), min_size=1, max_size=3),
    st.integers(0, 3).flatmap(lambda count: _mostly_valid().map(lambda row: {k: [v] * count for k, v in row.items()})),
    _cells,
)


def outcome(call: Any) -> Any:
    """What a decoder said, in a form that compares: cells and flags, or the words of the refusal."""
    try:
        rows: Rows = call()
    except Refusal as refusal:
        return refusal.status, refusal.message, refusal.problems
    return np.nan_to_num(rows.matrix, nan=-1.0).tolist(), rows.flags


@settings(max_examples=200, deadline=None)
@given(st.lists(_row, min_size=1, max_size=4))
def test_the_fast_decoder_agrees_with_the_reference(rows: list[Any]) -> None:
    """Cells, flags and the words of refusals are the same whichever path read the body."""
    body = json.dumps({"instances": rows}).encode()
    plain = slow_rows(json.loads(body)["instances"])
    assert outcome(lambda: DECODER.decode(body)) == outcome(lambda: rows_of(DECODER.checker, plain, 0, "instances"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_body_read_in_pieces_says_what_it_says_in_one_go(data: st.DataObject) -> None:
    """Wherever the odd rows stand, and whatever text they hold, cutting changes nothing."""
    count = data.draw(st.integers(PIECE_ROWS - 2, PIECE_ROWS * 2 + 3))
    rows: list[Any] = [ROW] * count
    for _ in range(data.draw(st.integers(0, 3))):
        rows[data.draw(st.integers(0, count - 1))] = data.draw(_row)
    key = data.draw(st.sampled_from(["instances", "inputs"]))
    more = data.draw(st.sampled_from([{}, {}, {"signature_name": 'tricky ], "[{'}]))
    body = json.dumps({**more, key: rows}).encode()
    assert outcome(lambda: DECODER.decode_large(body)) == outcome(lambda: DECODER.decode(body))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"about": [ROW] * (2 * PIECE_ROWS), "instances": []}, id="another-list-first-no-rows"),
        pytest.param({"about": [ROW] * (2 * PIECE_ROWS), "instances": [{**ROW, "rooms": 2}]}, id="another-list-first"),
        pytest.param({"instances": [ROW] * (2 * PIECE_ROWS), "about": []}, id="another-list-after"),
        pytest.param({"instances": [ROW] * (2 * PIECE_ROWS), "inputs": [ROW]}, id="both-names"),
        pytest.param({"about": [ROW] * (2 * PIECE_ROWS)}, id="only-another-list"),
    ],
)
def test_only_the_list_of_rows_is_answered(body: dict[str, Any]) -> None:
    """A large list under another name is never taken for the rows, wherever it stands."""
    text = json.dumps(body).encode()
    assert outcome(lambda: DECODER.decode_large(text)) == outcome(lambda: DECODER.decode(text))


def test_tables_are_rows_as_they_are_to_kserves_servers() -> None:
    """Cells by column, lists of records and plain rows may stand side by side; of both names ``inputs`` is read."""
    table = {name: [value, value] for name, value in ROW.items()}
    plain = DECODER.decode(json.dumps({"instances": [ROW] * 5}).encode()).matrix
    for body in (
        {"inputs": [table, [ROW, ROW], list(ROW.values())]},
        {"instances": [{**ROW, "rooms": "x"}], "inputs": [table, table, ROW]},
    ):
        np.testing.assert_array_equal(DECODER.decode(json.dumps(body).encode()).matrix, plain)


def test_rows_of_tables_are_counted_however_large_the_body() -> None:
    """The limit is one of rows, not of the elements that they come in."""
    body = json.dumps({"instances": [[ROW] * 20] * (PIECE_ROWS + 1)}).encode()
    with pytest.raises(Refusal) as refused:
        DECODER.decode_large(body)
    assert refused.value.status == 413


def test_of_two_lists_of_one_name_the_last_counts() -> None:
    """As in every JSON reader; cutting the first one must not change that."""
    rows = json.dumps([ROW] * (2 * PIECE_ROWS)).encode()
    text = b'{"instances":' + rows + b',"instances":' + json.dumps([{**ROW, "rooms": 2}]).encode() + b"}"
    assert len(DECODER.decode_large(text).matrix) == 1


@pytest.mark.parametrize("end", [b",]}", b",,1]}", b"]", b"]}}", b"]} x", b"", b',"x"'], ids=repr)
def test_a_large_body_that_is_no_json_is_refused(end: bytes) -> None:
    """No place where a body is cut lets a mistake of syntax through."""
    row = json.dumps(ROW).encode()
    body = b'{"instances":[' + b",".join([row] * (2 * PIECE_ROWS)) + end
    with pytest.raises(Refusal) as refused:
        DECODER.decode_large(body)
    assert refused.value.status == 400


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text('{}[]",:\\ n1ai', max_size=60).map(str.encode))
def test_any_bytes_are_answered(body: bytes) -> None:
    """Bytes that are no request give a refusal, never another exception."""
    for read in (DECODER.decode, DECODER.decode_large):
        with pytest.raises(Refusal):
            read(body)
    pieces(body, 2)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([ROW], 1, id="records"),
        pytest.param([list(ROW.values())], 1, id="arrays"),
        pytest.param([[ROW], [ROW]], 2, id="stock-shape-one-object-in-an-array-per-row"),
        pytest.param([dict(reversed(ROW.items()))], 1, id="columns-in-another-order"),
        pytest.param([{**ROW, "rooms": 3.0}], 1, id="whole-number-written-as-float"),
        pytest.param([ROW, list(ROW.values())], 2, id="records-and-arrays-mixed"),
    ],
)
def test_every_accepted_shape_gives_the_same_codes(rows: list[Any], expected: int) -> None:
    """Shape and order of a request do not change what is scored."""
    matrix = DECODER.decode(json.dumps({"instances": rows}).encode()).matrix
    assert matrix.tolist() == HOUSE.encode({k: [v] * expected for k, v in ROW.items()}).tolist()


def test_clipped_and_flagged_cells_go_on_and_are_told() -> None:
    """A lenient column is clipped or passed on as its contract says, and the flag keeps what the client sent."""
    row = {**ROW, "age": 400, "distance": 1000, "condition": "new"}
    rows = DECODER.decode(json.dumps({"instances": [ROW, row]}).encode())
    alone = DECODER.decode(json.dumps({"instances": [row]}).encode())
    by_name = dict(zip(HOUSE.names, rows.matrix[1].tolist(), strict=True))
    assert (by_name["age"], by_name["distance"], by_name["condition"]) == (300.0, 1000.0, 2.0)
    assert {(f.row, f.column, f.reason, f.seen) for f in rows.flags} == {
        (1, "age", "clipped", 400),
        (1, "distance", "out_of_range", 1000),
        (1, "condition", "unknown_category", "new"),
    }
    assert alone.matrix.tolist() == rows.matrix[1:].tolist()
    assert [(f.column, f.reason) for f in alone.flags] == [(f.column, f.reason) for f in rows.flags]


@pytest.mark.parametrize("rows", [1, 2, PIECE_ROWS + 1], ids=["alone", "two", "in-pieces"])
@pytest.mark.parametrize(
    ("column", "sent", "used", "reason"),
    [
        ("age", 400, 300.0, "clipped"),
        ("age", -1, 0.0, "clipped"),
        ("distance", 1000, 1000.0, "out_of_range"),
        ("condition", "new", 2.0, "unknown_category"),
    ],
)
def test_one_lenient_cell_is_seen_however_many_rows_there_are(
    rows: int, column: str, sent: Any, used: float, reason: str
) -> None:
    """A single odd cell in the last row is found by each of the ways a body is read."""
    body = json.dumps({"instances": [ROW] * (rows - 1) + [{**ROW, column: sent}]}).encode()
    for read in (DECODER.decode, DECODER.decode_large):
        got = read(body)
        assert got.matrix[-1, HOUSE.names.index(column)] == used
        assert [(f.row, f.column, f.reason, f.seen) for f in got.flags] == [(rows - 1, column, reason, sent)]


def test_names_with_spaces_are_columns_like_others() -> None:
    """A column name need not be an identifier."""
    rows = random_rows(TUMOUR, 3, 0)
    matrix = Decoder(TUMOUR, 10).decode(json.dumps({"instances": rows}).encode()).matrix
    assert matrix.tolist() == [list(row.values()) for row in rows]


def test_a_codes_matrix_equals_the_contracts_own() -> None:
    """What requests become is what training saw: ``Contract.encode`` of the same rows."""
    rows = random_rows(HOUSE, 700, 3)
    table = {name: [row[name] for row in rows] for name in HOUSE.names}
    matrix = DECODER.decode_large(json.dumps({"instances": rows}).encode()).matrix
    np.testing.assert_array_equal(matrix, HOUSE.encode(table))


def test_a_column_of_one_category_is_no_trap() -> None:
    """A category with a single value, and a contract with a single column, decode."""
    contract = Contract.model_validate({"target": "y", "columns": {"a": {"type": "category", "values": ["x"]}}})
    assert Decoder(contract, 5).decode(b'{"instances": [{"a": "x"}, ["x"]]}').matrix.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("unknown", ["refuse", "flag"])
def test_a_request_spells_a_category_as_a_table_may(unknown: str) -> None:
    """1.0 is the category 1, since pandas exports a column with gaps so, unless 1.0 is one of its own; 01 is none."""
    values = ["1", "2", "2.0", "-3", "a"]
    column = {"type": "category", "values": values, "unknown": unknown}
    contract = Contract.model_validate({"target": "y", "columns": {"c": column}})
    words = [*values, "1.0", "-3.0", "2.0"]
    decoder, body = Decoder(contract, 5_000), json.dumps({"instances": [{"c": word} for word in words]}).encode()
    for read in (decoder.decode, decoder.decode_large):
        rows = read(body)
        assert (rows.matrix[:, 0].tolist(), rows.flags) == ([0, 1, 2, 3, 4, 0, 3, 2], ())
    frame = pl.DataFrame({"c": words}).select(value("c", contract.columns["c"], pl.String()))
    assert frame["c"].to_list() == [values[int(code)] for code in rows.matrix[:, 0]]
    if unknown == "refuse":
        with pytest.raises(Refusal):
            decoder.decode(b'{"instances": [{"c": "01"}]}')
