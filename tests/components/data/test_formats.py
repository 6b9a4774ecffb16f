"""Files of other systems: parquet types, line ends, encodings, and what only bears the name of a table."""

import gzip
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import sources
from components.data.meeting import Needed
from components.data.tables import coded
from components.data.validation import validate
from serving.contract import Column, Contract, Target
from serving.errors import DataError

NOW = datetime(2026, 1, 31, tzinfo=UTC)
CODES = ("1", "2.5", "1.50", "x", "9007199254740993", "True", "2025-01-01")
KINDS = {
    "float": Column(type="float", nullable=True),
    "int": Column(type="int", nullable=True),
    "bool": Column(type="bool", nullable=True),
    "category": Column(type="category", values=CODES, nullable=True),
}
X = "refused"
DAY = date(2025, 1, 1)


def read(folder: Path, cells: Any, kind: str) -> list[Any]:
    """What each cell of a parquet column means where the contract has a column of *kind*."""
    pq.write_table(pa.table({"c": cells, "y": [float(place) for place in range(len(cells))]}), folder / "t.parquet")
    contract = Contract(columns={"c": KINDS[kind]}, target=Target(name="y"), refuse_above=1.0)
    frame = sources.read(str(folder / "t.parquet"), None, Needed.of(contract))
    found = validate(frame, contract, NOW)
    meaning = dict(zip(np.flatnonzero(found.good), coded(found.accepted, contract)[:, 0].tolist(), strict=True))
    codes = [CODES[int(value)] if kind == "category" and value == value else value for value in meaning.values()]
    told = dict(zip(meaning, (value if value == value else None for value in codes), strict=True))
    return [told.get(place, X) for place in range(len(cells))]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param(
            pa.array([Decimal("1.00"), Decimal("2.50"), Decimal("1.50"), None], pa.decimal128(20, 2)),
            {
                "float": [1.0, 2.5, 1.5, None],
                "int": [1.0, X, X, None],
                "bool": [1.0, X, X, None],
                "category": ["1", "2.5", "1.50", None],
            },
            id="decimals",
        ),
        pytest.param(
            pa.array([Decimal("1"), Decimal("2.5"), None], pa.decimal256(60, 1)),
            {"float": [1.0, 2.5, None], "int": [1.0, X, None], "category": ["1", "2.5", None]},
            id="wide-decimals",
        ),
        pytest.param(
            pa.array([1, 2**53 + 1, 2**63 - 1, None], pa.int64()),
            {"int": [1.0, 2.0**53, 2.0**63, None], "category": ["1", "9007199254740993", X, None]},
            id="wide-integers",
        ),
        pytest.param(
            pa.array([1, 2**64 - 1], pa.uint64()),
            {"int": [1.0, 2.0**64], "category": ["1", X]},
            id="integers-without-sign",
        ),
        pytest.param(
            pa.array([1.0, 2.5, None, float("nan"), float("inf")], pa.float32()).cast(pa.float16()),
            {"float": [1.0, 2.5, None, None, X], "category": ["1", "2.5", None, None, X]},
            id="half-floats",
        ),
        pytest.param(
            pa.array([b"1", b"x", b"\xff", None], pa.binary(1)),
            {"float": [1.0, X, X, None], "category": ["1", "x", X, None]},
            id="bytes-of-one-width",
        ),
        pytest.param(
            pa.array([b"1", b"x", b"\xff", None], pa.large_binary()),
            {"float": [1.0, X, X, None], "category": ["1", "x", X, None]},
            id="bytes-that-are-no-text",
        ),
        pytest.param(
            pa.array(["1", "x", None, "1"], pa.large_string()).dictionary_encode(),
            {"float": [1.0, X, None, 1.0], "bool": [1.0, X, None, 1.0], "category": ["1", "x", None, "1"]},
            id="dictionary",
        ),
        pytest.param(
            pa.array([1.0, 2.5, None]).dictionary_encode(),
            {"int": [1.0, X, None], "category": ["1", "2.5", None]},
            id="dictionary-of-numbers",
        ),
        pytest.param(
            pa.array(["1", "", "NA", None], pa.string_view()),
            {"float": [1.0, None, None, None], "category": ["1", None, None, None]},
            id="text-view",
        ),
        pytest.param(pa.array([DAY, None]), {"category": ["2025-01-01", None]}, id="dates"),
        pytest.param(pa.array([timedelta(1), None]), {"category": [X, None]}, id="durations"),
        pytest.param(pa.array([time(1, 2), None]), {"category": [X, None]}, id="times"),
        pytest.param(pa.nulls(2), {kind: [None, None] for kind in KINDS}, id="nothing"),
    ],
)
def test_a_cell_of_any_parquet_type_is_what_its_text_would_be(
    tmp_path: Path, cells: Any, expected: dict[str, list[Any]]
) -> None:
    """Nothing that has no meaning becomes a missing value, and no type ends in a traceback."""
    assert {kind: read(tmp_path, cells, kind) for kind in expected} == expected


@pytest.mark.parametrize("cells", [[1], [timedelta(1)], [DAY], [True], [2.5]], ids=str)
def test_a_cell_that_can_never_be_a_number_is_refused_by_its_column(tmp_path: Path, cells: list[Any]) -> None:
    """A duration is no number of microseconds, a truth is no 1."""
    if isinstance(cells[0], (int, float)) and not isinstance(cells[0], bool):
        assert read(tmp_path, cells, "float") == cells
        return
    with pytest.raises(DataError, match=r"column 'c' has type .*: expected numbers"):
        read(tmp_path, pa.array(cells), "float")


@pytest.mark.parametrize(
    "other",
    [
        pa.array([Decimal("1")], pa.decimal256(60, 1)),
        pa.array([b"\xff" * 16], pa.binary(16)),
        pa.array([timedelta(1)]),
        pa.array([[1]]),
        pa.array([{"a": b"\xff"}]),
        pa.array([b"\xff" * 16], pa.binary(16)).cast(pa.uuid()),
        pa.array([b"\xff"]).dictionary_encode(),
    ],
    ids=lambda cells: str(cells.type),
)
def test_a_column_of_any_type_that_nobody_needs_cannot_hurt(tmp_path: Path, other: Any) -> None:
    """Decimals of 256 bits, identifiers of 16 bytes, durations, lists and structures beside what the contract names."""
    pq.write_table(pa.table({"c": [1.0], "other": other, "y": [2.0]}), tmp_path / "t.parquet")
    contract = Contract(columns={"c": KINDS["float"]}, target=Target(name="y"))
    frame = sources.read(str(tmp_path / "t.parquet"), None, Needed.of(contract))
    assert validate(frame, contract, NOW).report.accepted == 1


TABLE = Contract(
    columns={"n": Column(type="category", values=("a", "é", "a\nb")), "x": Column(type="float")},
    target=Target(name="y"),
)
LINES = 'n,x,y\na,1,2\né,1.5,3\n"a\nb",2,4\n'


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(LINES.replace("\n", "\r").replace("a\rb", "a\nb").encode(), id="old-apple-lines"),
        pytest.param(LINES.replace("\n", "\r\n").replace("a\r\nb", "a\nb").encode(), id="windows-lines"),
        pytest.param(f"\n\r\n{LINES}\n\n".encode(), id="blank-lines-around"),
        pytest.param(LINES.rstrip().encode(), id="no-line-end-at-the-end"),
        pytest.param(LINES.encode("utf-16-le"), id="utf-16-without-mark"),
        pytest.param(LINES.encode("utf-16-be"), id="utf-16-the-other-way"),
        pytest.param(LINES.encode("utf-32"), id="utf-32"),
        pytest.param(LINES.encode("latin-1"), id="latin-1"),
        pytest.param(LINES.replace("n,x,y", '"n","x","y"').encode("utf-8-sig"), id="mark-before-a-quote"),
    ],
)
def test_line_ends_and_encodings_change_no_cell(tmp_path: Path, content: bytes) -> None:
    """The same three rows, and the header is never one of them."""
    (tmp_path / "t.csv").write_bytes(content)
    frame = sources.read(str(tmp_path / "t.csv"), None, Needed.of(TABLE))
    assert frame.rows() == [("a", "1", "2"), ("é", "1.5", "3"), ("a\nb", "2", "4")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"PAR1 and more", "is a parquet file and no CSV file", id="parquet"),
        pytest.param(b"PK\x03\x04" + bytes(range(256)), "is an Excel workbook or a zip archive", id="workbook"),
        pytest.param(gzip.compress(b"n,x,y\na,1,2\n"), "is packed by gzip", id="packed"),
        pytest.param(b"\x28\xb5\x2f\xfd and more", "is packed by zstd", id="packed-otherwise"),
        pytest.param(b"\xef\xbb\xbf", "is empty: expected a header and rows", id="mark-alone"),
        pytest.param(b"n\0o,x,y\na,1,2\n", "a column's name holds NUL bytes", id="zero-bytes"),
        pytest.param(b'n,x,y\n"a,1,2\n' + b"a,1,2\n" * 900_000, 'a quote " is opened and never', id="open-quote"),
    ],
)
def test_what_only_bears_the_name_of_a_table_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    """Beside good files it is no part without rows that one may skip."""
    (tmp_path / "a.csv").write_text("n,x,y\na,1,2\n")
    (tmp_path / "b.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"b\.csv") as caught:
        sources.read(str(tmp_path), None, Needed.of(TABLE))
    assert said in str(caught.value)


def test_a_table_of_thousands_of_columns_is_read_column_by_column(tmp_path: Path) -> None:
    """What a chunk holds is asked once and not once for each column, which took half a minute for 5,000."""
    wide = pl.DataFrame({f"c{place}": ["1"] for place in range(3_000)} | {"n": ["a"], "x": ["1"], "y": ["2"]})
    wide.write_csv(tmp_path / "t.csv")
    assert sources.read(str(tmp_path / "t.csv"), None, Needed.of(TABLE)).width == 3_003


@pytest.mark.parametrize(
    "stated",
    [
        *({"separator": mark} for mark in ("", "::", "\n", "\r", "é", "\0", '"')),
        *({"quote": mark} for mark in ("", "é", "\n")),
        *({"encoding": name} for name in ("base64", "rot13", "idna", "no-such")),
    ],
    ids=repr,
)
def test_a_dialect_that_no_file_can_have_is_refused_with_the_contract(stated: dict[str, str]) -> None:
    """A separator or a quote is one character of ASCII that ends no line, and an encoding is one of text."""
    with pytest.raises(ValueError, match=next(iter(stated))):
        Contract.model_validate({"columns": {"x": {"type": "float"}}, "target": "y", "csv": stated})
