"""Where tables come from: a URI in, a polars frame out.

A path or ``file://`` names a CSV file, a parquet file or a directory of one kind; ``s3://`` names the same in an object
store; ``sklearn://`` a table that scikit-learn brings along; any other scheme is looked up among the installed entry
points of the group ``slipway.sources``, so that a source system plugs in without a change here. An entry point is a
function from the URI to a frame.
"""

import difflib
import gzip
import io
import re
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import polars as pl

from serving.errors import ConfigError, DataError, PlaceError
from serving.store.store import S3Settings, StoreKeyError, open_store

GROUP = "slipway.sources"
KINDS = {".csv": "CSV", ".csv.gz": "CSV", ".parquet": "parquet"}
INFER_ROWS = 10_000

# Tables inside the scikit-learn package, with the name their target column gets.
BUNDLED = {"breast_cancer": "diagnosis", "diabetes": "progression", "iris": "species", "wine": "cultivar"}

Reader = Callable[[str], pl.DataFrame]


def read(uri: str, s3: S3Settings | None) -> pl.DataFrame:
    """The table at *uri*, at least one row of it; *s3* says which service ``s3://`` means.

    Numbers of CSV files are recognised, dates stay text: what a column must hold is the contract's business. *s3* has
    no default, so that nobody who opens a table forgets the secrets of the place.

    Raises:
        DataError: the table is missing, empty, unreadable, or its files do not belong together.
        ConfigError: the scheme is unknown or the URI lacks a part.
        InfrastructureError: an object store does not answer.
    """
    frame = _read_s3(uri, s3) if _scheme(uri) == "s3" else _reader(uri)(uri)
    if not frame.width or not frame.height:
        raise DataError(f"source {uri} is an empty table: expected at least one row, got none; check the export")
    return frame


def schemes() -> tuple[str, ...]:
    """The schemes that ``read`` understands on this machine."""
    return tuple(sorted({"file", "s3", "sklearn", *(point.name for point in entry_points(group=GROUP))}))


def _scheme(uri: str) -> str:
    return urlsplit(uri).scheme.lower() if "://" in uri else "file"


def _reader(uri: str) -> Reader:
    scheme = _scheme(uri)
    builtin: dict[str, Reader] = {"file": _read_local, "sklearn": _read_bundled}
    if scheme in builtin:
        return builtin[scheme]
    for point in entry_points(group=GROUP, name=scheme):
        return _loaded(point)
    close = difflib.get_close_matches(scheme, schemes(), n=1)
    hint = f" (did you mean {close[0]}://?)" if close else ""
    raise ConfigError(f"source.uri: unknown scheme {scheme}://{hint}; known are a path and {', '.join(schemes())}")


def _loaded(point: EntryPoint) -> Reader:
    try:
        reader: Reader = point.load()
    except (ImportError, AttributeError) as error:
        raise PlaceError(
            f"source scheme {point.name}:// is registered as {point.value}, which does not load: {error}; "
            "reinstall the package that provides it"
        ) from error
    return reader


def _read_local(uri: str) -> pl.DataFrame:
    path = Path(unquote(urlsplit(uri).path)) if "://" in uri else Path(uri)
    if path.is_dir():
        names = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
        return _read_parts(uri, names, lambda name: path / name)
    if not path.exists():
        raise DataError(f"source {uri} does not exist: expected a CSV or parquet file or a directory; check the path")
    return _parse(str(path), _kind(str(path)), path)


def _read_s3(uri: str, s3: S3Settings | None) -> pl.DataFrame:
    address = urlsplit(uri)
    prefix = address.path.strip("/")
    if not address.netloc:
        raise ConfigError(f"source.uri: expected s3://bucket/prefix, got {uri!r}")
    try:
        store = open_store(f"s3://{address.netloc}", s3)
        if _suffix(prefix):
            return _parse(uri, _kind(prefix), store.get(prefix))
        inside = [key.removeprefix(prefix).lstrip("/") for key in store.list(prefix)]
        return _read_parts(uri, inside, lambda name: store.get(f"{prefix}/{name}".lstrip("/")))
    except StoreKeyError as error:
        raise DataError(f"source {uri} does not exist: the bucket has no such object; check the path") from error


def _read_parts(uri: str, names: Iterable[str], fetch: Callable[[str], Path | bytes]) -> pl.DataFrame:
    """The files *names* below *uri* as one table, in the order of their names."""
    files = sorted(name for name in names if _suffix(name))
    kinds = sorted({KINDS[_suffix(name)] for name in files})
    if not files:
        raise DataError(f"source {uri} holds no .csv, .csv.gz or .parquet file; check the path")
    if len(kinds) > 1:
        raise DataError(
            f"source {uri} holds files of different formats ({' and '.join(kinds)}): expected one; "
            "name one file, or move the others away"
        )
    return _joined(uri, {name: _parse(f"{uri.rstrip('/')}/{name}", kinds[0], fetch(name)) for name in files})


def _joined(uri: str, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """All *tables* under one another; a column that is text in one file is text in all."""
    first, columns = next((name, table.columns) for name, table in tables.items())
    for name, table in tables.items():
        if set(table.columns) != set(columns):
            odd = sorted(set(table.columns) ^ set(columns))
            raise DataError(f"source {uri}: {name} and {first} differ in columns {', '.join(odd)}; export them alike")
    aligned = [table.select(columns) for table in tables.values()]
    texts = [name for name in columns if any(table.schema[name] == pl.String for table in aligned)]
    return pl.concat([table.with_columns(pl.col(texts).cast(pl.String)) for table in aligned], how="vertical_relaxed")


def _suffix(name: str) -> str:
    """The suffix in ``KINDS``, or nothing for a file that is no table, such as ``_SUCCESS`` or a hidden one."""
    if any(part.startswith((".", "_")) for part in Path(name).parts):
        return ""
    return next((suffix for suffix in KINDS if name.lower().endswith(suffix)), "")


def _kind(name: str) -> str:
    suffix = next((suffix for suffix in KINDS if name.lower().endswith(suffix)), None)
    if suffix is None:
        raise DataError(f"source {name} is of no known format: expected a name ending in {', '.join(KINDS)}")
    return KINDS[suffix]


def _parse(name: str, kind: str, content: Path | bytes) -> pl.DataFrame:
    """The table in *content*, a file on disk or the bytes of one."""
    try:
        return _parse_csv(content) if kind == "CSV" else pl.read_parquet(_handle(content))
    except pl.exceptions.NoDataError as error:
        raise DataError(f"source {name} is empty: expected a header and rows, got no bytes") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, gzip.BadGzipFile, EOFError, OSError) as error:
        raise DataError(
            f"source {name} cannot be read as {kind}: {_line(error)}; write it anew, or correct its name"
        ) from error


def _parse_csv(content: Path | bytes) -> pl.DataFrame:
    """Types from the first rows; from all rows where a later one disagrees, so that no value is lost."""
    try:
        return pl.read_csv(_handle(content), infer_schema_length=INFER_ROWS)
    except pl.exceptions.ComputeError:
        return pl.read_csv(_handle(content), infer_schema_length=None)


def _handle(content: Path | bytes) -> Any:
    return io.BytesIO(content) if isinstance(content, bytes) else content


def _line(error: BaseException) -> str:
    """The first line of what a library said."""
    return str(error).strip().split("\n", 1)[0][:200]


def _read_bundled(uri: str) -> pl.DataFrame:
    """A table that comes with scikit-learn; column names in snake_case, classes by their names."""
    from sklearn import datasets

    name = urlsplit(uri).netloc
    if name not in BUNDLED:
        raise ConfigError(f"source.uri: no table {name!r} in scikit-learn; known are {', '.join(BUNDLED)}")
    bunch = getattr(datasets, f"load_{name}")()
    table: dict[str, Any] = {_snake_case(str(n)): bunch.data[:, i] for i, n in enumerate(bunch.feature_names)}
    classes = getattr(bunch, "target_names", None)
    table[BUNDLED[name]] = bunch.target if classes is None else [str(classes[code]) for code in bunch.target]
    return pl.DataFrame(table)


def _snake_case(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")
