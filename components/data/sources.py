"""Where tables come from: a URI in, rows out, in chunks or as one polars frame.

A path or ``file://`` names a CSV file, a parquet file or a directory of one kind; ``s3://`` the same in an object
store; ``sklearn://`` a table that scikit-learn brings along; any other scheme is looked up among the installed entry
points of the group ``slipway.sources``, so that a source system plugs in without a change here. An entry point is a
function from the URI to a frame.
"""

import difflib
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import polars as pl

from components.data.files import table_files
from components.data.meeting import ANY, Needed, RawTable, meeting
from components.data.reader import Reader
from serving.errors import ConfigError, PlaceError
from serving.store.store import S3Settings

GROUP = "slipway.sources"

# Tables inside the scikit-learn package, with the name their target column gets.
BUNDLED = {"breast_cancer": "diagnosis", "diabetes": "progression", "iris": "species", "wine": "cultivar"}

Load = Callable[[str], pl.DataFrame]


@contextmanager
def opened(uri: str, s3: S3Settings | None, needed: Needed = ANY) -> Iterator[RawTable]:
    """The table at *uri*; files of an object store lie on this machine for the length of the block.

    Args:
        s3: which service ``s3://`` means; without a default, so that nobody who opens a table forgets the secrets of
            the place.
        needed: the columns that are needed, and how CSV files are written.

    Raises:
        DataError: the table is missing, empty, incomplete or unreadable, or its files do not belong together.
        ConfigError: the scheme is unknown or the URI lacks a part.
        InfrastructureError: an object store does not answer.
    """
    with ExitStack() as stack:
        if _scheme(uri) not in ("file", "s3"):
            yield RawTable.of(uri, _loader(uri)(uri))
            return
        files = table_files(uri, s3)
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-table-"))) if files.store else None
        known = frozenset(needed.names)
        readers = [Reader(files.at_hand(name, here), files.told(name), needed.csv, known) for name in files.names()]
        yield meeting(uri, readers, needed, files.passed_over)


def read(uri: str, s3: S3Settings | None, needed: Needed = ANY) -> pl.DataFrame:
    """The whole table at *uri*, at least one row of it; as ``opened``."""
    with opened(uri, s3, needed) as table:
        return table.frame()


def schemes() -> tuple[str, ...]:
    """The schemes that ``read`` understands on this machine."""
    return tuple(sorted({"file", "s3", "sklearn", *(point.name for point in entry_points(group=GROUP))}))


def _scheme(uri: str) -> str:
    return urlsplit(uri).scheme.lower() if "://" in uri else "file"


def _loader(uri: str) -> Load:
    scheme = _scheme(uri)
    if scheme == "sklearn":
        return _read_bundled
    for point in entry_points(group=GROUP, name=scheme):
        try:
            return cast(Load, point.load())
        except (ImportError, AttributeError) as error:
            raise PlaceError(
                f"source scheme {scheme}:// is registered as {point.value}, which does not load: {error}; "
                "reinstall the package that provides it"
            ) from error
    close = difflib.get_close_matches(scheme, schemes(), n=1)
    hint = f" (did you mean {close[0]}://?)" if close else ""
    raise ConfigError(f"source.uri: unknown scheme {scheme}://{hint}; known are a path and {', '.join(schemes())}")


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
