"""What a cell means, whoever reads it: training, score, predict, labels and requests; and what files may look like."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data import sources
from components.data.meeting import Needed, absent
from components.data.reader import Reader
from components.data.rules import meant
from components.data.tables import coded
from components.data.validation import validate
from components.scoring.rows import RowScorer
from components.watching.labels import told
from pipelines.here.asking import records_of
from serving.columns.column import MISSING_WORDS
from serving.contract import Column, Contract, Dialect, Matrix, Target
from serving.errors import DataError
from serving.predictor.rows.v1 import Decoder

NOW = datetime(2026, 1, 31, tzinfo=UTC)
COLUMNS = {
    "size": Column(type="float", nullable=True),
    "rooms": Column(type="int", nullable=True),
    "lift": Column(type="bool", nullable=True),
    "code": Column(type="category", values=("1.1", "1.10", "01", "1", "True", "NA", "a b"), nullable=True),
}
HOMES = Contract(columns=COLUMNS, target=Target(name="price"), refuse_above=1.0)
# A cell of CSV as people and systems write it, and what it means: a number in the coded matrix, None, or "wrong".
NUMBERS = {
    "1": 1.0,
    " 2.50 ": 2.5,
    "1e3": 1000.0,
    "-0.5": -0.5,
    "310,000": 310000.0,
    "1,234.5": 1234.5,
    "much": "wrong",
}
NUMBERS |= {"1,5": "wrong", "inf": "wrong", "0x10": "wrong", **dict.fromkeys(MISSING_WORDS)}
WHOLE = {name: "wrong" if isinstance(found, float) and found % 1 else found for name, found in NUMBERS.items()}
TRUTHS = {"True": 1.0, "yes": 1.0, "1": 1.0, "1.0": 1.0, "no": 0.0, "FALSE": 0.0, "perhaps": "wrong", "": None}
CODES = {name: float(place) for place, name in enumerate(COLUMNS["code"].values)} | {
    "2": "wrong",
    "": None,
    "null": None,
}
CELLS: dict[str, dict[str, Any]] = {"size": NUMBERS, "rooms": WHOLE, "lift": TRUTHS, "code": CODES}


def csv(folder: Path, rows: list[dict[str, str]], name: str = "t.csv") -> str:
    cells = "\n".join(",".join(f'"{row[column]}"' for column in rows[0]) for row in rows)
    (folder / name).write_text(f"{','.join(rows[0])}\n{cells}\n")
    return str(folder / name)


def scored(matrix: Matrix) -> Matrix:
    return np.zeros(len(matrix))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries({name: st.sampled_from(sorted(cells)) for name, cells in CELLS.items()}),
        min_size=1,
        max_size=12,
    )
)
def test_every_reader_takes_a_cell_for_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    """Training, score, predict with a request, and labels agree on each cell, as does the table above."""
    table = csv(tmp_path_factory.mktemp("cells"), [{**row, "price": "7"} for row in rows])
    wrong = [any(CELLS[name][cell] == "wrong" for name, cell in row.items()) for row in rows]
    expected = [
        [np.nan if CELLS[name][row[name]] is None else CELLS[name][row[name]] for name in COLUMNS]
        for row, bad in zip(rows, wrong, strict=True)
        if not bad
    ]
    frame = sources.read(table, None, Needed.of(HOMES))
    learned = validate(frame.with_row_index("line"), HOMES, NOW)
    assert np.flatnonzero(learned.good).tolist() == [place for place, bad in enumerate(wrong) if not bad]
    assert np.array_equal(coded(learned.accepted, HOMES), np.array(expected).reshape(-1, 4), equal_nan=True)
    batch = RowScorer(frame.select(HOMES.names).schema, HOMES, scored).score(frame.select(HOMES.names))
    assert batch.refused.tolist() == [place for place, bad in enumerate(wrong) if bad]
    asked = records_of(table, HOMES, None)
    unread = {place + 1 for place, row in enumerate(rows) if _unreadable(row)}
    assert set(asked.refused) == unread
    if records := [asked.records[place + 1] for place, bad in enumerate(wrong) if not bad]:
        request = Decoder(HOMES, 100).decode(json.dumps({"instances": records}).encode()).matrix
        assert np.array_equal(request, np.array(expected), equal_nan=True)


def _unreadable(row: dict[str, str]) -> bool:
    """A category out of the list is the server's to refuse."""
    return any(CELLS[name][cell] == "wrong" for name, cell in row.items() if name != "code")


@pytest.mark.parametrize("name", COLUMNS)
def test_labels_are_read_as_training_reads_them(name: str) -> None:
    """Each spelling of a truth; what has no meaning is counted and one is shown."""
    cells = CELLS[name]
    table = pl.DataFrame({"request_id": [f"{place:04}" for place in range(len(cells))], "truth": list(cells)})
    found = told(table, "truth", "t.csv", COLUMNS[name])
    place = {f"{number:04}": cell for number, cell in enumerate(cells)}
    values = COLUMNS[name].values
    # A category that the list lacks is a word all the same; whether a label may be it the watch decides.
    expected = {
        number: "2" if meaning == "wrong" else values[int(meaning)] if values else meaning
        for number, cell in place.items()
        if (meaning := cells[cell]) is not None and (meaning != "wrong" or values)
    }
    assert found.values == expected
    assert found.unusable == (0 if values else sum(meaning == "wrong" for meaning in cells.values()))


@pytest.mark.parametrize(
    ("held", "values", "meaning"),
    [
        pytest.param([1.0, None, 3.5], ("1", "3.5"), ["1", None, "3.5"], id="numbers-with-gaps"),
        pytest.param([1.0, 2.0], ("1.0", "2.0"), ["1.0", "2.0"], id="values-with-a-point"),
        pytest.param([True, False], ("True", "False"), ["True", "False"], id="booleans"),
        pytest.param([b"a", b"b"], ("a", "b"), ["a", "b"], id="text-as-bytes"),
        pytest.param([7, 8], ("7", "8"), ["7", "8"], id="whole-numbers"),
    ],
)
def test_a_typed_cell_is_the_category_that_spells_it(
    tmp_path: Path, held: list[Any], values: tuple[str, ...], meaning: list[str | None]
) -> None:
    """A parquet file of numbers, booleans or bytes means what its CSV export would."""
    contract = Contract(columns={"c": Column(type="category", values=values, nullable=True)}, target=Target(name="y"))
    pl.DataFrame({"c": held, "y": [1.0] * len(held)}).write_parquet(tmp_path / "t.parquet")
    frame = sources.read(str(tmp_path / "t.parquet"), None, Needed.of(contract))
    assert meant(frame, contract)["c"].to_list() == meaning


def test_keys_are_the_text_that_stands_there(tmp_path: Path) -> None:
    """1, 01 and 001 are three things."""
    contract = HOMES.model_copy(update={"columns": {"size": COLUMNS["size"]}, "key": "id"})
    path = csv(tmp_path, [{"id": name, "size": "1", "price": "2"} for name in ("1", "01", "001", "1.0")])
    found = validate(sources.read(path, None, Needed.of(contract)), contract, NOW)
    assert found.accepted["id"].to_list() == ["1", "01", "001", "1.0"]


# --- files as people and systems write them --------------------------------------------------------------------------

ROWS = [("a", 1.5, 1000.0), ("b;c", -2.0, 2500.25), ("d", 0.25, 7.0)]
SALES = Contract(
    columns={"name": Column(type="category", values=("a", "b;c", "d")), "x": Column(type="float")},
    target=Target(name="y"),
)


def written(separator: str, decimal: str, quote: str = '"', group: str = "") -> str:
    def number(value: float) -> str:
        text = f"{value:,.2f}" if group else str(value)
        return text.replace(",", "\0").replace(".", decimal).replace("\0", group)

    lines = [separator.join((f"{quote}{name}{quote}", number(x), number(y))) for name, x, y in ROWS]
    return "\n".join([separator.join(("name", " x ", "y")), *lines]) + "\n"


@pytest.mark.parametrize(
    ("content", "stated"),
    [
        pytest.param(written(",", ".").encode(), Dialect(), id="plain"),
        pytest.param(written(";", ",").encode(), Dialect(), id="semicolon-and-decimal-comma"),
        pytest.param(written(";", ",", group=".").encode(), Dialect(), id="thousands-by-point"),
        pytest.param(written("\t", ".").encode(), Dialect(), id="tabs"),
        pytest.param(written("|", ".").encode(), Dialect(), id="bars"),
        pytest.param(written(",", ".").encode("utf-8-sig"), Dialect(), id="byte-order-mark"),
        pytest.param(written(";", ".").encode("utf-16"), Dialect(), id="utf-16"),
        pytest.param(written(",", ".").replace("\n", "\r\n").encode(), Dialect(), id="windows-lines"),
        pytest.param(written(",", ".", "'").encode(), Dialect(quote="'"), id="stated-quote"),
        pytest.param(written(":", ".").encode(), Dialect(separator=":"), id="stated-separator"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_file_in_any_dialect_is_the_same_table(tmp_path: Path, content: bytes, stated: Dialect, packed: bool) -> None:
    """Separator, decimal mark and encoding are found in the file, or stated in the contract."""
    contract, path = SALES.model_copy(update={"csv": stated}), tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    frame = meant(sources.read(str(path), None, Needed.of(contract)), contract)
    assert frame.rows() == ROWS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name,x,y\na,1,2\na,1\n", r"line 3: expected 3 cells as in the header, seen 2: 'a,1'"),
        (b'name,x,y\n"a\nb",1,2\n\na,1,2,3\n', r"line 5: expected 3 cells"),
        (b"name,x,y,x\na,1,2,3\n", r"columns 2 and 4 are both called 'x'"),
        (b'name,x,y\na,1,2\n"a,1,2\na,1,2\n', r"a quote \" is opened and never closed.* from 'a,1,2"),
        (b'name,x,y\na,1,"2\na,1,2\n', r"a quote \" is opened and never closed"),
        (b"name,x,y\n" + b"a,1,2\n" * 60_000 + b"\xfc,1,2\n", r"line 60002, column 'name': bytes that are no utf-8"),
    ],
    ids=["short", "lines-of-the-file", "twice-a-name", "open-quote", "open-quote-at-the-end", "late-bytes"],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """File, line, column and cause."""
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.csv.*" + said):
        sources.read(str(tmp_path / "t.csv"), None, Needed.of(SALES))


def test_columns_that_nobody_needs_cannot_hurt(tmp_path: Path) -> None:
    """Bytes, lists, another type in each file, a second one of a name, or none in some files."""
    good = pl.DataFrame({"name": ["a"], "x": [1.0], "y": [2.0]})
    good.with_columns(blob=pl.lit(b"\xff" * 16), deep=pl.lit([1]), other=pl.lit(1)).write_parquet(
        tmp_path / "1.parquet"
    )
    good.with_columns(other=pl.lit("word")).write_parquet(tmp_path / "2.parquet")
    frame = sources.read(str(tmp_path), None, Needed.of(SALES))
    assert validate(frame, SALES, NOW).report.accepted == 2
    assert frame["other"].to_list() == ["1", "word"]
    (tmp_path / "t.csv").write_bytes(b"name,x,y,note,note\na,1,2,\xff,\xfe\n")
    found = sources.read(str(tmp_path / "t.csv"), None, Needed.of(SALES))
    assert validate(found, SALES, NOW).report.accepted == 1


def test_files_of_a_folder_meet_by_the_contract(tmp_path: Path) -> None:
    """Types that differ, a file with a header and no row, a file that lacks what may be missing, folders as columns."""
    contract = Contract(
        columns={"year": Column(type="int"), "x": Column(type="float"), "z": Column(type="float", nullable=True)},
        target=Target(name="y"),
    )
    for year in ("2024", "2025"):
        (tmp_path / f"year={year}").mkdir()
    (tmp_path / "year=2024" / "a.csv").write_text("x,y,z\n1,2,3\n")
    (tmp_path / "year=2025" / "b.csv").write_text("y,x\n4,5\n")
    (tmp_path / "year=2025" / "c.csv").write_text("x,y,z\n")
    (tmp_path / "notes.txt").write_text("by hand")
    with sources.opened(str(tmp_path), None, Needed.of(contract)) as table:
        assert meant(table.frame(), contract).rows() == [(2024.0, 1.0, 3.0, 2.0), (2025.0, 5.0, None, 4.0)]
        assert [notice.rpartition("/")[2] for notice in table.notices] == [
            "c.csv has a header and no row; it is skipped",
            "no tables, and not read: notes.txt",
            "b.csv lacks z, which may be missing; its rows have none",
        ]
    (tmp_path / "year=2025" / "b.csv").write_text("y,xx\n4,5\n")
    with pytest.raises(DataError, match=r"b\.csv lacks column 'x': is its 'xx' meant\?"):
        sources.read(str(tmp_path), None, Needed.of(contract))


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ("k,b,y\n2,5,6\n", ""),
        ("k,A,b,y\n2,4,5,6\n", r"two\.csv lacks column 'a': is its 'A' meant\?"),
        ("2,4,5,6\n", r"two\.csv has none of the columns a, b, but 2, 4, 5, 6: is its header missing"),
    ],
)
def test_a_file_that_lacks_a_column_is_told_or_refused_by_training_as_by_scoring(
    tmp_path: Path, second: str, says: str
) -> None:
    """Where all inputs may be missing, a part without a header is not a part of rows that hold nothing."""
    gaps = {name: Column(type="float", nullable=True) for name in "ab"}
    contract = Contract(columns=gaps, target=Target(name="y"), key="k")
    (tmp_path / "one.csv").write_text("k,a,b,y\n1,1,2,3\n")
    (tmp_path / "two.csv").write_text(second)
    for inputs in (False, True):
        needed = Needed.of(contract, inputs=inputs)
        reader = Reader(tmp_path / "two.csv", "two.csv", wanted=frozenset(needed.names))
        if says:
            with pytest.raises(DataError, match=says):
                sources.read(str(tmp_path), None, needed)
            with pytest.raises(DataError, match=says):
                absent(reader, needed)
        else:
            assert sources.read(str(tmp_path), None, needed)["a"].to_list() == ["1", None]
            assert absent(reader, needed) == ["a"]


def link(folder: Path) -> None:
    (folder / "b.csv").symlink_to(folder / "gone.csv")


def no_bytes(folder: Path) -> None:
    (folder / "b.csv").touch()


def part_is_gone(folder: Path) -> None:
    (folder / "part-0-of-3.csv").write_text("x,y\n1,2\n")
    (folder / "part-2-of-3.csv").write_text("x,y\n1,2\n")


def in_the_writing(folder: Path) -> None:
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "attempt.csv").write_text("x")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (link, r"b\.csv is a link to nothing"),
        (no_bytes, r"b\.csv is empty: expected a header and rows, got no bytes"),
        (part_is_gone, r"1 of 3 parts are missing, the first is number 1"),
        (in_the_writing, r"is still being written: it holds _temporary"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(tmp_path: Path, spoil: Any, said: str) -> None:
    """Never half of it in silence."""
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    spoil(tmp_path)
    with pytest.raises(DataError, match=said):
        sources.read(str(tmp_path), None)


def test_a_linked_folder_is_read(tmp_path: Path) -> None:
    """As its files stood here."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.csv").write_text("x\n1\n")
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "linked").symlink_to(tmp_path / "elsewhere")
    assert sources.read(str(tmp_path / "table"), None)["x"].to_list() == ["1"]


LINES = st.lists(st.tuples(st.text(max_size=6), st.text("0123456789.,-e ", max_size=6)), max_size=5)


@settings(max_examples=40, deadline=None)
@given(files=st.lists(LINES, min_size=1, max_size=4), chunk=st.integers(1, 7))
def test_nothing_is_lost_between_a_file_and_its_validation(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[str, str]]], chunk: int
) -> None:
    """Each row of each file is accepted or quarantined, with the text that stood there, and empty files are told."""
    folder = tmp_path_factory.mktemp("lost")
    contract = Contract(columns={"x": Column(type="float")}, target=Target(name="y"), refuse_above=1.0)
    schema, rows = dict.fromkeys(("id", "x", "y"), pl.String), list[Any]()
    for place, lines in enumerate(files):
        cells = [(f"{place}.{number}", x, y) for number, (x, y) in enumerate(lines)]
        pl.DataFrame(cells, schema=schema, orient="row").write_csv(folder / f"{place}.csv", quote_style="always")
        rows += cells
    if not rows:
        return
    with sources.opened(str(folder), None, Needed.of(contract)) as table:
        frame = pl.concat(table.chunks(chunk))
        assert sum("no row" in notice for notice in table.notices) == sum(not lines for lines in files)
    found = validate(frame, contract, NOW)
    seen = [*frame.filter(pl.Series(found.good)).rows(), *found.quarantined.select(frame.columns).rows()]
    assert sorted(seen) == sorted(rows)
