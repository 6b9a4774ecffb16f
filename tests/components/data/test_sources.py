"""Sources: a URI in, a frame out, and one sentence when that cannot be."""

import gzip
from datetime import date
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from components.data import files, sources
from components.data.meaning import value
from serving.contract import Column
from serving.errors import ConfigError, DataError, InfrastructureError, PlaceError
from serving.store import store

read = partial(sources.read, s3=None)
TABLE = pl.DataFrame({"id": [1, 2, 3], "kind": ["house", "flat", None], "area": [120.5, 61.0, 80.25]})

TEXT = TABLE.with_columns(pl.all().cast(pl.String).fill_null(""))  # as CSV has it

CUT_OFF = gzip.compress(("area\n" + "\n".join(map(str, range(50_000)))).encode())[:-3_000]


def put(path: Path, content: bytes | pl.DataFrame = TABLE) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.name.endswith(".parquet"):
        content.write_parquet(path)
    else:
        text = content.write_csv().encode()
        path.write_bytes(gzip.compress(text) if path.name.endswith(".gz") else text)
    return str(path)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.parquet", "T.CSV"])
def test_a_file_of_each_format_gives_its_rows(tmp_path: Path, name: str) -> None:
    """A parquet file gives values of its types, a CSV file the text of each cell."""
    assert_frame_equal(read(put(tmp_path / name)), TABLE if name.endswith("parquet") else TEXT)


def test_a_file_uri_is_the_path_it_names(tmp_path: Path) -> None:
    """file:// with an escaped space reads the file with a space in its name."""
    put(tmp_path / "my table.csv")
    assert_frame_equal(read(f"file://{tmp_path}/my%20table.csv"), TEXT)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_a_directory_is_its_files_under_one_another(tmp_path: Path, suffix: str) -> None:
    """Files are read in the order of their names, columns by name, and a folder's name=value is a column; markers and
    hidden files are no tables.
    """
    put(tmp_path / f"day=2/b.{suffix}", TABLE.select("area", "id", "kind"))
    put(tmp_path / f"day=1/a.{suffix}")
    put(tmp_path / "_SUCCESS", b"")
    put(tmp_path / f".ignored.{suffix}", b"garbage")
    table = TABLE if suffix == "parquet" else TEXT
    days = pl.Series("day", ["1"] * 3 + ["2"] * 3)
    assert_frame_equal(read(str(tmp_path)), pl.concat([table, table]).with_columns(days))


def test_a_column_that_is_text_in_one_file_is_text_in_all(tmp_path: Path) -> None:
    """One file with a word among its numbers neither fails nor loses the word."""
    put(tmp_path / "a.csv", b"id,area\n1,20\n")
    put(tmp_path / "b.csv", b"id,area\n2,big\n")
    assert read(str(tmp_path))["area"].to_list() == ["20", "big"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("t.csv", b"", "is empty", id="no-bytes"),
        pytest.param("t.csv", b"a,b\n", "empty table", id="header-only"),
        pytest.param("t.parquet", TABLE.clear(), "empty table", id="no-rows"),
        pytest.param("t.parquet", b"PAR1 but not really", "cannot be read as parquet", id="unreadable-parquet"),
        pytest.param("t.parquet", b"", "cannot be read as parquet", id="parquet-without-bytes"),
        pytest.param("t.csv", b"a,b\n1,2,3\n", "line 2: expected 2 cells as in the header, seen 3", id="ragged"),
        pytest.param("t.csv.gz", CUT_OFF, "cannot be read as CSV", id="cut-off-gzip"),
        pytest.param("t.xlsx", b"PK", "no known format: .*save its sheet as CSV", id="workbook"),
        pytest.param("t.jsonl", b"{}", "no known format: .*write it as parquet", id="json-lines"),
        pytest.param("t.pdf", b"PK", r"no known format: .*\.parquet$", id="unknown-suffix"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes | pl.DataFrame, said: str
) -> None:
    """Bad files end in DataError that names the file and what is wrong, on one line."""
    path = put(tmp_path / name, content)
    with pytest.raises(DataError, match=said) as caught:
        read(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_off_parquet_file_is_refused(tmp_path: Path) -> None:
    """Half of a parquet file is an error, never half of its rows."""
    path = tmp_path / "t.parquet"
    put(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read(str(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        read(str(tmp_path / "nowhere.csv"))


def test_directories_that_are_no_one_table_are_refused(tmp_path: Path) -> None:
    """Nothing to read, and two formats."""
    with pytest.raises(DataError, match=r"holds no \.csv"):
        read(str(tmp_path))
    put(tmp_path / "a.csv")
    put(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="different formats"):
        read(str(tmp_path))


def test_an_unknown_scheme_names_the_known_ones() -> None:
    """A slip of the pen is met with the nearest scheme and the whole list."""
    with pytest.raises(ConfigError, match="did you mean market://") as caught:
        read("markt://calm")
    for scheme in ("file", "market", "s3", "sklearn"):
        assert scheme in str(caught.value)


def test_an_installed_source_is_found_by_its_scheme() -> None:
    """market:// comes from an entry point of the group slipway.sources."""
    assert read("market://calm?month=0&rows_per_month=20&dirty=0").height > 0


def test_a_source_that_does_not_load_is_a_fault_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point to a module that is not there names itself."""

    def load() -> None:
        raise ImportError("No module named 'gone'")

    broken = SimpleNamespace(name="gone", value="gone:read", load=load)
    monkeypatch.setattr(sources, "entry_points", lambda **_: [broken])
    with pytest.raises(PlaceError, match="gone:read, which does not load"):
        read("gone://x")


@pytest.mark.parametrize(("name", "target"), sources.BUNDLED.items())
def test_bundled_tables_have_plain_names_and_no_gaps(name: str, target: str) -> None:
    """Column names of scikit-learn's tables are usable in a project file; classes are words."""
    frame = read(f"sklearn://{name}")
    assert frame.columns[-1] == target
    assert all(column.replace("_", "").isalnum() and column == column.lower() for column in frame.columns)
    assert frame.null_count().sum_horizontal()[0] == 0
    assert (frame.schema[target] == pl.String) == (name != "diabetes")


def test_an_unknown_bundled_table_names_the_known_ones() -> None:
    """sklearn://titanic is not in the package."""
    with pytest.raises(ConfigError, match="breast_cancer, diabetes, iris, wine"):
        read("sklearn://titanic")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that answers as the bucket ``s3://data``."""
    monkeypatch.setattr(files, "open_store", lambda uri, s3=None: store.DirectoryStore(tmp_path / uri[5:]))
    return tmp_path / "data"


def test_s3_gives_an_object_or_all_below_a_prefix(bucket: Path) -> None:
    """One object by its key, many by their prefix, all by the bucket."""
    put(bucket / "sales/2025/a.parquet")
    put(bucket / "sales/2025/b.parquet")
    put(bucket / "sales-old/c.parquet")
    assert_frame_equal(read("s3://data/sales/2025/a.parquet"), TABLE)
    assert read("s3://data/sales").height == 2 * TABLE.height
    assert read("s3://data").height == 3 * TABLE.height


def test_s3_objects_that_are_absent_are_bad_data(bucket: Path) -> None:
    """A key that is not there, and a prefix with nothing below, are refused by name."""
    put(bucket / "other.csv")
    with pytest.raises(DataError, match=r"s3://data/gone\.csv does not exist"):
        read("s3://data/gone.csv")
    with pytest.raises(DataError, match="s3://data/gone holds no"):
        read("s3://data/gone")


def test_s3_that_does_not_answer_is_infrastructure() -> None:
    """A closed port is reported as an endpoint that is down, not as bad data."""
    closed = store.S3Settings(endpoint="127.0.0.1:9", access_key="a", secret_key="b", secure=False)
    with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:9"):
        sources.read("s3://data/sales.csv", closed)


def test_s3_without_a_bucket_is_refused() -> None:
    """The message shows the form that is expected."""
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        read("s3:///sales.csv")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-(2**40), 2**40),
            st.floats(-1e9, 1e9, allow_nan=False),
            st.dates(date(1900, 1, 1), date(2100, 1, 1)),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_csv_and_parquet_agree_on_numbers(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, ...]]
) -> None:
    """What a column of numbers means is bit for bit the same in both files; dates stay text."""
    folder = tmp_path_factory.mktemp("formats")
    frame = pl.DataFrame(rows, schema={"n": pl.Int64, "x": pl.Float64, "day": pl.Date}, orient="row")
    left = read(put(folder / "t.csv", frame))
    right = read(put(folder / "t.parquet", frame))
    number = Column(type="float")
    meaning = [[value(name, number, table.schema[name]) for name in ("n", "x")] for table in (left, right)]
    assert_frame_equal(left.select(meaning[0]), right.select(meaning[1]), check_exact=True)
    assert left.schema["day"] == pl.String
