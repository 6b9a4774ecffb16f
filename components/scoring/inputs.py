"""The partitions of a table to score, and their rows in chunks of one size.

A partition is a file; a parquet file with more than ``SPLIT_ROWS`` rows is several, cut between its row groups, so
that little is lost when scoring stops in the middle of it. CSV files cannot be cut.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from components.data.files import TableFiles, kind, suffix, table_files
from components.data.reader import Reader
from serving.contract import Contract, Frozen
from serving.errors import DataError
from serving.files import sha256_file
from serving.store.store import S3Settings

SPLIT_ROWS = 2_000_000


class Partition(Frozen):
    """Some rows of one file.

    Attributes:
        name: what its results are called: the file's path below the source without suffix, and which part of it.
        file: path below the source.
        sha256, size, modified_ns: of the whole file; unset while it lies in an object store.
        first_row, rows: which rows of the file; ``rows`` is None where only reading tells.
        groups: first and end of its row groups; None for the whole file.
    """

    name: str
    file: str
    sha256: str = ""
    size: int = 0
    modified_ns: int = 0
    first_row: int = 0
    rows: int | None = None
    groups: tuple[int, int] | None = None


def partitions(source: str, s3: S3Settings | None = None, split_rows: int = SPLIT_ROWS) -> tuple[Partition, ...]:
    """The partitions of the file or directory *source*, a path, ``file://`` or ``s3://``, in the order of their names.

    Raises:
        DataError: nothing there, several formats, or two files whose results would have one name.
    """
    files = table_files(source, s3)
    if files.store is not None:
        return _distinct(source, [Partition(name=_stem(name), file=name) for name in files.names()])
    return _distinct(source, [part for name in files.names() for part in _parts(files, name, split_rows)])


@contextlib.contextmanager
def at_hand(source: str, partition: Partition, s3: S3Settings | None = None) -> Iterator[tuple[Path, Partition]]:
    """The partition's file on this machine for the length of the block, and the partition with its file's digest.

    Raises:
        DataError: the file is another one than when the partitions were listed, or changed during the block.
    """
    files = table_files(source, s3)
    if files.store is not None:
        with tempfile.TemporaryDirectory(prefix="slipway-score-") as folder:
            path = Path(folder) / Path(partition.file).name
            files.store.download(files.at(partition.file), path)
            size = path.stat().st_size
            yield path, partition.model_copy(update={"sha256": sha256_file(path), "size": size})
        return
    path = Path(files.at(partition.file))
    _unchanged(path, partition)
    yield path, partition
    _unchanged(path, partition)


def reader(source: str, path: Path, partition: Partition, contract: Contract) -> Reader:
    """The rows of *partition* of *source* in its file *path*, each cell as every other reader of tables has it."""
    alone = Path(urlsplit(source).path).name == partition.file
    name = source if alone else f"{source.rstrip('/')}/{partition.file}"
    return Reader(path, name, contract.csv, frozenset(contract.names), partition.groups)


def _parts(files: TableFiles, name: str, split_rows: int) -> Iterator[Partition]:
    path = Path(files.at(name))
    seen = path.stat()
    file = Partition(
        name=_stem(name), file=name, sha256=sha256_file(path), size=seen.st_size, modified_ns=seen.st_mtime_ns
    )
    if kind(name) == "CSV":
        yield file
        return
    footer = Reader(path, name).footer()
    cuts = _cuts([footer.row_group(i).num_rows for i in range(footer.num_row_groups)], split_rows)
    if len(cuts) < 2:
        yield file.model_copy(update={"rows": footer.num_rows})
        return
    for number, (first, end, first_row, rows) in enumerate(cuts, start=1):
        part = f"{file.name}-{number:05d}-of-{len(cuts):05d}"
        yield file.model_copy(update={"name": part, "first_row": first_row, "rows": rows, "groups": (first, end)})


def _cuts(groups: Sequence[int], split_rows: int) -> list[tuple[int, int, int, int]]:
    """Row groups of the given sizes gathered to at least *split_rows* rows: (first group, end, first row, rows)."""
    cuts = []
    first = first_row = rows = 0
    for at, size in enumerate(groups, start=1):
        rows += size
        if rows >= split_rows or at == len(groups):
            cuts.append((first, at, first_row, rows))
            first, first_row, rows = at, first_row + rows, 0
    return cuts


def _distinct(source: str, found: list[Partition]) -> tuple[Partition, ...]:
    names = [part.name for part in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{source}: two files would give the predictions {twice[0]}.parquet; rename one")
    return tuple(found)


def _stem(name: str) -> str:
    return name[: -len(suffix(name))]


def _unchanged(path: Path, partition: Partition) -> None:
    seen = path.stat() if path.exists() else None
    if seen is None or (seen.st_size, seen.st_mtime_ns) != (partition.size, partition.modified_ns):
        raise DataError(f"{path} changed since its scoring began; run the same command again when it is whole")
