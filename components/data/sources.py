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
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import polars as pl

from components.data.files import TableFiles, kind, table_files
from serving.errors import ConfigError, DataError, PlaceError
from serving.store.store import S3Settings

GROUP = "slipway.sources"
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
    frame = _read_files(table_files(uri, s3)) if _scheme(uri) in ("file", "s3") else _reader(uri)(uri)
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
    if scheme == "sklearn":
        return _read_bundled
    for point in entry_points(group=GROUP, name=scheme):
        try:
            return cast(Reader, point.load())
        except (ImportError, AttributeError) as error:
            raise PlaceError(
                f"source scheme {scheme}:// is registered as {point.value}, which does not load: {error}; "
                "reinstall the package that provides it"
            ) from error
    close = difflib.get_close_matches(scheme, schemes(), n=1)
    hint = f" (did you mean {close[0]}://?)" if close else ""
    raise ConfigError(f"source.uri: unknown scheme {scheme}://{hint}; known are a path and {', '.join(schemes())}")


def _read_files(files: TableFiles) -> pl.DataFrame:
    """All files as one table, in the order of their names."""
    return _joined(files.uri, {name: _parse(files, name) for name in files.names()})


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


def _parse(files: TableFiles, file: str) -> pl.DataFrame:
    name = files.uri if files.alone else f"{files.uri.rstrip('/')}/{file}"
    form, content = kind(file), files.content(file)
    try:
        return _parse_csv(content) if form == "CSV" else pl.read_parquet(_handle(content))
    except pl.exceptions.NoDataError as error:
        raise DataError(f"source {name} is empty: expected a header and rows, got no bytes") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, gzip.BadGzipFile, EOFError, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0][:200]
        raise DataError(
            f"source {name} cannot be read as {form}: {reason}; write it anew, or correct its name"
        ) from error


def _parse_csv(content: Path | bytes) -> pl.DataFrame:
    """Types from the first rows; from all rows where a later one disagrees, so that no value is lost."""
    try:
        return pl.read_csv(_handle(content), infer_schema_length=INFER_ROWS)
    except pl.exceptions.ComputeError:
        return pl.read_csv(_handle(content), infer_schema_length=None)


def _handle(content: Path | bytes) -> Any:
    return io.BytesIO(content) if isinstance(content, bytes) else content


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
