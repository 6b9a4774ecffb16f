"""Five readers of one table: training, score, predict, requests and labels, each through its own door.

Tables are generated cell by cell, in every dialect that CSV files have and as parquet, in one file or several.
"""

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.data import sources
from components.data.meeting import Needed
from components.data.tables import coded, matrix_and_target
from components.data.validation import validate
from components.scoring.batches import Job, score_partition
from components.scoring.inputs import partitions
from components.scoring.output import open_output
from components.watching.labels import needed, told
from pipelines.here.asking import records_of
from serving.bundle.judgement import Judgement
from serving.columns.coding import coder
from serving.contract import Column, Contract, Matrix, Target
from serving.predictor.errors import Refusal
from serving.predictor.rows import v2
from serving.predictor.rows.v1 import Decoder

NOW = datetime(2026, 1, 31, tzinfo=UTC)
ID = "request_id"
VALUES = ("1", "01", "1.1", "1.10", "True", "NA", "a b", "é", "a\nb", "-0", "9007199254740993", "1e3", "2.0")
CONTRACT = Contract(
    columns={
        "size": Column(type="float", nullable=True),
        "rooms": Column(type="int", nullable=True),
        "age": Column(type="float", range=(-10.0, 1e6)),
        "lift": Column(type="bool", nullable=True),
        "code": Column(type="category", values=VALUES, nullable=True),
        "at": Column(type="datetime", format=("%d.%m.%Y %H:%M", "epoch_s"), zone="Europe/Berlin", nullable=True),
        "word": Column(type="category", values=("1", "a b", "x"), unknown="other", nullable=True, null_values=("?",)),
        "note": Column(type="text", features=("length", "words", "digits", "capitals", {"hash": 3}), nullable=True),
        "ticket": Column(type="id"),
    },
    target=Target(name="price"),
    key=ID,
    refuse_above=1.0,
)
SCHEMA = dict.fromkeys((ID, *CONTRACT.columns, "price"), pl.String)
REFUSED = "refused"

WORDS = (
    *(
        "",
        " ",
        "\t",
        "NA",
        " NA ",
        "N/A",
        "NaN",
        "nan",
        "null",
        "NULL",
        "None",
        "none",
        "?",
        "-",
        "#N/A",
        "<NA>",
        "\\N",
    ),
    *("true", "TRUE", "True", " true ", "t", "yes", "Yes", "y", "on", "no", "FALSE", "false\n", "off", "T", "F"),
    *("0", "1", "01", "-0", "-0.0", "+5", "+ 5", "1.", ".5", "1.0", "1.00", "2.0", "00.5", "1e3", "1E+3", "1.e3", "1e"),
    *("9007199254740993", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1e400", "1e-400"),
    *("310,000", "1,234.5", "1,5", "1.5,5", "1,00", "1.234.567", "1.234,5", "1_000", "1 000", "1\u00a0000", "0x1F"),
    *("inf", "-Infinity", "１２", "½", "²", "5%", "(5)", "$5", "a b", "a  b", "A B", "é", "e\u0301", "a\nb", "a\r\nb"),
    *('a"b', "a,b", "a;b", "a\tb", "a|b", "'a'", "a\x00b", "a\u2028b", "\u200b1", "2025-01-01", "1.1", "1.10", "12:30"),
)
CELLS = st.one_of(
    st.sampled_from(WORDS),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False).map(repr),
    st.decimals(-(10**6), 10**6, places=2).map(lambda number: f"{number:,}"),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=4),
    st.sampled_from(VALUES),
    st.datetimes().map(lambda when: f"{when.day}.{when.month:02}.{when.year:04} {when.hour}:{when.minute:02}"),
    st.datetimes().map(str),
)
ROWS = st.lists(st.tuples(*(CELLS for _ in CONTRACT.columns)), max_size=6)


class Writing(NamedTuple):
    """How a file is written; as parquet where there is no separator."""

    separator: str = ","
    encoding: str = "utf-8"
    ending: str = "\n"
    packed: bool = False
    blank: int = 0


WRITINGS = st.builds(
    Writing,
    st.sampled_from(("", ",", ";", "\t", "|")),
    st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")),
    st.sampled_from(("\n", "\r\n", "\r")),
    st.booleans(),
    st.integers(0, 2),
)


def write(folder: Path, files: Sequence[Sequence[Sequence[str]]], how: Writing) -> list[tuple[str, ...]]:
    """Put *files* into *folder*; their rows with an id before and a target behind, in the order of reading."""
    every = []
    for place, rows in enumerate(files):
        cells = [[cell.encode(how.encoding, "ignore").decode(how.encoding) for cell in row] for row in rows]
        whole = [(f"{place:02}.{number}", *row, "7") for number, row in enumerate(cells)]
        every += whole
        if not how.separator:
            pl.DataFrame(whole, SCHEMA, orient="row").write_parquet(folder / f"{place:02}.parquet")
            continue
        text = io.StringIO(newline="")
        lines = csv.writer(text, delimiter=how.separator, quoting=csv.QUOTE_ALL, lineterminator=how.ending)
        lines.writerows([tuple(SCHEMA), *whole])
        data = (how.ending * how.blank + text.getvalue()).encode(how.encoding)
        name = f"{place:02}.csv.gz" if how.packed else f"{place:02}.csv"
        (folder / name).write_bytes(gzip.compress(data, 1) if how.packed else data)
    return every


def plain(row: Any) -> tuple[float | None, ...]:
    """A row of the coded matrix with None where it has no value; negative zero is zero."""
    return tuple(None if value != value else float(value) + 0.0 for value in row)


def numbers(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_decimal(kind):
        return st.decimals(-(10**6), 10**6, places=kind.scale)
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width) | st.integers(-5, 5).map(float)
    low = 0 if pa.types.is_unsigned_integer(kind) else -(2 ** (kind.bit_width - 1))
    return st.integers(low, low + 2**kind.bit_width - 1) | st.integers(0, 2)


KINDS = {
    **{kind: numbers(kind) for kind in (pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64())},
    **{kind: numbers(kind) for kind in (pa.decimal128(9, 2), pa.decimal128(38, 10), pa.decimal256(60, 2))},
    **{pa.dictionary(pa.int8(), pa.int64()): st.integers(0, 2), pa.dictionary(pa.int32(), pa.string()): CELLS},
    **{pa.string(): CELLS, pa.large_string(): CELLS, pa.string_view(): CELLS},
    **{pa.binary(): st.binary(max_size=3), pa.binary(2): st.binary(min_size=2, max_size=2)},
}
TRUTHS = {pa.bool_(): st.booleans()}
TIMES = {
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("ms", "Asia/Tokyo"): st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 30), timezones=st.just(UTC)),
    pa.date32(): st.dates(),
}


@st.composite
def typed(draw: st.DrawFn) -> pa.Table:
    """A table of one file whose columns are of any type that may hold what the contract wants."""
    rows = draw(st.integers(1, 5))
    columns = {ID: [f"{row:02}" for row in range(rows)], "price": [7.0] * rows}
    for name, column in CONTRACT.columns.items():
        known = KINDS if column.numeric else KINDS | (TIMES if column.type == "datetime" else TRUTHS)
        kind = draw(st.sampled_from(list(known)))
        cells = draw(st.lists(st.none() | known[kind], min_size=rows, max_size=rows))
        if pa.types.is_dictionary(kind):
            columns[name] = pa.array(cells, kind.value_type).dictionary_encode()
        else:
            columns[name] = pa.array(cells, kind)
    return pa.table(columns)


# The five doors; each gives what it makes of every row, in the order of reading.


def trained(uri: str) -> tuple[list[Any], list[str]]:
    with sources.opened(uri, None, Needed.of(CONTRACT)) as table:
        frame, notices = pl.concat(table.chunks(3)), list(table.notices)
    found = validate(frame, CONTRACT, NOW)
    rows = iter(coded(found.accepted, CONTRACT))
    kept = frame.filter(pl.Series(found.good))
    seen = sorted(map(repr, [*kept.rows(), *found.quarantined.select(frame.columns).rows()]))  # as NaN is not NaN
    assert seen == sorted(map(repr, frame.rows())), "a row is neither accepted nor quarantined"
    assert found.quarantined["reasons"].str.len_chars().min() != 0
    return [plain(next(rows)) if good else REFUSED for good in found.good], notices


def scored(uri: str, folder: Path) -> list[Any]:
    seen = dict[float, Any]()

    def score(matrix: Matrix) -> Any:
        start = len(seen)
        seen.update({float(start + place): plain(row) for place, row in enumerate(matrix)})
        return np.arange(start, start + len(matrix), dtype=np.float64)

    bundle: Any = SimpleNamespace(
        contract=CONTRACT, digest="d", scorer=SimpleNamespace(score=score), judgement=Judgement()
    )
    job = Job(uri, open_output(str(folder), uri), bundle, "m", "1", workers=1, chunk_rows=4)
    answers = list[Any]()
    for part in partitions(uri):
        manifest, _ = score_partition(job, part)
        predictions = pl.read_parquet(folder / f"{part.name}.parquet")["prediction"].to_list()
        assert manifest.rows == len(predictions) == manifest.scored + manifest.refused
        answers += [REFUSED if value is None else seen[value] for value in predictions]
    return answers


def asked(uri: str) -> list[Any]:
    """What ``predict`` sends, as a server reads the request."""
    found, decoder, answers = records_of(uri, CONTRACT, None), Decoder(CONTRACT, 10), list[Any]()
    for place in range(1, len(found.records) + len(found.refused) + 1):
        answers.append(REFUSED)
        if place in found.records:
            record = found.records[place]
            with suppress(Refusal):
                answers[-1] = plain(decoder.decode(json.dumps({"instances": [record]}).encode()).matrix[0])
            assert tensors_of(decoder, record) == answers[-1], "V1 and V2 disagree"
            assert decoder_of_pieces(decoder, record) == answers[-1], "one row and many disagree"
    return answers


def tensors_of(decoder: Decoder, record: Mapping[str, Any]) -> Any:
    """What a server reads in a V2 request of *record*."""
    kinds = {"bool": "BOOL", **dict.fromkeys(("category", "datetime", "text", "id"), "BYTES")}
    inputs = [
        {"name": name, "shape": [1], "datatype": kinds.get(CONTRACT.columns[name].type, "FP64"), "data": [cell]}
        for name, cell in record.items()
    ]
    with suppress(Refusal):
        return plain(v2.decode(decoder.checker, json.dumps({"inputs": inputs}).encode(), None, 9).rows.matrix[0])
    return REFUSED


def decoder_of_pieces(decoder: Decoder, record: Mapping[str, Any]) -> Any:
    """What it reads in a body of several rows; the ids of each go along."""
    with suppress(Refusal):
        found = decoder.decode_large(json.dumps({"inputs": [record] * 3}).encode())
        assert found.ids == ({} if record.get("ticket") is None else {"ticket": [record["ticket"]] * 3})
        assert len({row.tobytes() for row in found.matrix}) == 1
        return plain(found.matrix[2])
    return REFUSED


def labelled(uri: str, name: str) -> Mapping[str, Any]:
    """What *uri* tells of requests if *name* is the truth of them, as in the coded matrix."""
    column = CONTRACT.columns[name]
    found = told(sources.read(uri, None, needed(name, column)), name, uri, column)
    code = coder(column)
    cells = {key: cell.isoformat() + "Z" if isinstance(cell, datetime) else cell for key, cell in found.values.items()}
    return {key: code(cell)[0] + 0.0 for key, cell in cells.items()}


def agree(folder: Path, ids: Sequence[str], empty: int = 0) -> None:
    """The table below *folder*, whose rows have these *ids* in the order of reading, in *empty* files without a row."""
    uri = str(folder / "in")
    learned, notices = trained(uri)
    assert len(learned) == len(ids), "a row of a file is lost"
    assert len(notices) == empty, "a file without rows is told"
    assert scored(uri, folder / "out") == learned
    assert asked(uri) == learned
    for name, column in CONTRACT.inputs.items():
        place = list(CONTRACT.slots).index(next(iter(column.slots(name))))
        truths = labelled(uri, name)
        known = {key: meaning[place] for key, meaning in zip(ids, learned, strict=True) if meaning != REFUSED}
        assert {key: truths.get(key) for key in known} == known


def agree_on_text(folder: Path, files: Sequence[Sequence[Sequence[str]]], how: Writing) -> None:
    (folder / "in").mkdir()
    rows = write(folder / "in", files, how)
    agree(folder, [row[0] for row in rows], sum(not rows for rows in files))
    agree_by_hand(str(folder / "in"), rows)


def agree_by_hand(uri: str, rows: Sequence[tuple[str, ...]]) -> None:
    """A request that copies the cells of moments, open categories and texts as they stand there is read alike."""
    found, decoder, (learned, _) = records_of(uri, CONTRACT, None), Decoder(CONTRACT, 10), trained(uri)
    for place, (row, meaning) in enumerate(zip(rows, learned, strict=True), 1):
        cells = dict(zip(SCHEMA, row, strict=True))
        if place in found.records and meaning != REFUSED:
            copied = {name: cells[name] for name in ("at", "word", "note", "ticket")}
            body = json.dumps({"instances": [{**found.records[place], **copied}]}).encode()
            assert plain(decoder.decode(body).matrix[0]) == meaning


@settings(max_examples=30, deadline=None)
@given(files=st.lists(ROWS, min_size=1, max_size=3).filter(any), how=WRITINGS)
@example(files=[[("1", "2", "3", word, word, "", word, word, word) for word in WORDS]], how=Writing())
@example(
    files=[
        [(word, word, "1", "", "", word, "", "", "") for word in WORDS],
        [("", "", word, "", "", "", "", "", "") for word in WORDS],
    ],
    how=Writing(";"),
)
def test_five_readers_agree_on_every_cell(tmp_path_factory: pytest.TempPathFactory, files: Any, how: Writing) -> None:
    """Each row means the same to all of them or is refused by all, and none is lost on the way."""
    agree_on_text(tmp_path_factory.mktemp("readers"), files, how)


@settings(max_examples=40, deadline=None)
@given(tables=st.lists(typed(), min_size=1, max_size=2))
def test_five_readers_agree_on_every_type(tmp_path_factory: pytest.TempPathFactory, tables: list[pa.Table]) -> None:
    """Integers of any width, decimals, dictionaries and bytes; also where two files have a column in two types."""
    folder, ids = tmp_path_factory.mktemp("types"), list[str]()
    (folder / "in").mkdir()
    for place, table in enumerate(tables):
        names = [f"{place}.{row:02}" for row in range(len(table))]
        pq.write_table(table.set_column(0, ID, pa.array(names)), folder / "in" / f"{place}.parquet")
        ids += names
    agree(folder, ids)


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(files=st.lists(ROWS, min_size=1, max_size=4).filter(any), how=WRITINGS)
def test_five_readers_agree_on_a_thousand_tables(
    tmp_path_factory: pytest.TempPathFactory, files: Any, how: Writing
) -> None:
    """The same for 1,000 tables."""
    agree_on_text(tmp_path_factory.mktemp("readers"), files, how)


def test_keys_of_files_with_other_types_keep_every_digit(tmp_path: Path) -> None:
    """A gap in one file makes its ids decimal numbers: those of the other are no rounded ones for that."""
    pl.DataFrame({ID: [2**53 + 1, 2**53], "price": [1, 2]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({ID: [3.0, None], "price": [1, 2]}).write_parquet(tmp_path / "b.parquet")
    pl.DataFrame({ID: [2**64 - 1], "price": [1]}, {ID: pl.UInt64, "price": pl.Int64}).write_parquet(
        tmp_path / "c.parquet"
    )
    frame = sources.read(str(tmp_path), None, Needed((ID, "price"), numbers=frozenset({"price"})))
    assert frame[ID].to_list() == ["9007199254740993", "9007199254740992", "3", None, "18446744073709551615"]
    assert frame["price"].sum() == 7


@pytest.mark.parametrize("separator", [",", ";"])
def test_labels_have_decimal_commas_as_training_has(tmp_path: Path, separator: str) -> None:
    """Between semicolons 1,5 is a number with a comma, in a table of labels too; ids stay text."""
    decimal = "," if separator == ";" else "."
    (tmp_path / "t.csv").write_text(f"{ID}{separator}price\n007{separator}1{decimal}5\n8{separator}2{decimal}25\n")
    column = Column(type="float")
    found = told(sources.read(str(tmp_path), None, needed("price", column)), "price", "t.csv", column)
    assert found.values == {"007": 1.5, "8": 2.25}


def test_a_moment_with_its_zone_keeps_it_beside_a_file_that_has_numbers(tmp_path: Path) -> None:
    """Two files that hold a column in two types meet as text; the zone of the contract is for what states none."""
    noon = datetime(2025, 1, 2, 12, tzinfo=UTC)
    pl.DataFrame({"at": [noon], "y": [1.0]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"at": [int(noon.timestamp())], "y": [1.0]}).write_parquet(tmp_path / "b.parquet")
    rules = CONTRACT.model_copy(
        update={"columns": {"at": CONTRACT.columns["at"]}, "key": None, "target": Target(name="y")}
    )
    frame = sources.read(str(tmp_path), None, Needed.of(rules))
    assert [row[0] for row in matrix_and_target(frame, rules)[0].tolist()] == [noon.timestamp()] * 2
