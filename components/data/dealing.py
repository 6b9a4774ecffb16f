"""Rows dealt to parts by their hashes in bounded memory: what does not fit waits on disk, each chunk in hash order."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from components.data.stable_hash import Hashes, hash_rows, hash_values
from components.data.words import spelled
from serving.errors import DataError

HELD_ROWS = 1_000_000  # in memory, before all go to disk
BITS = 12  # a chunk's rows are found again by so many leading bits of their hash
MOST_PARTS = 1 << BITS
MIN_PARTS = 16
PART_ROWS = 65_536
STRIDE = 16  # buckets that are written and read back together


class NoRows(DataError):
    """There is nothing to store."""


class Dealt:
    """Rows and their hashes; those that wait on disk do so in a folder of their own below *directory*.

    Attributes:
        rows: how many were added.
        schema: of all of them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self.rows, self.schema = directory, 0, pl.Schema()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._held: list[tuple[pl.DataFrame, npt.NDArray[np.intp]]] = []
        self._waiting: list[tuple[Path, npt.NDArray[np.intp]]] = []
        self._in_memory = 0

    def close(self) -> None:
        """Forget all rows."""
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, chunk: pl.DataFrame, hashes: Hashes) -> None:
        """Take the rows of *chunk*, one of *hashes* for each."""
        buckets = (hashes >> np.uint64(64 - BITS)).astype(np.uint16)
        ends = np.cumsum(np.bincount(buckets, minlength=1 << BITS))
        order = pl.Series(np.argsort(buckets, kind="stable").astype(np.uint32))
        self._held.append((chunk[order], np.concatenate([[0], ends])))
        self.schema = chunk.schema
        self.rows += chunk.height
        self._in_memory += chunk.height
        if self._in_memory > HELD_ROWS:
            self._put_down()

    def parts(self, count: int) -> Iterator[pl.DataFrame]:
        """The rows of each of *count* ranges of hashes that has any; *count* is a power of two up to ``MOST_PARTS``."""
        width = (1 << BITS) // count
        with ExitStack() as stack:
            waiting = [PutDown(stack.enter_context(pa.OSFile(str(path))), cuts) for path, cuts in self._waiting]
            for first in range(0, 1 << BITS, width):
                found = [chunk.rows(first, first + width) for chunk in waiting]
                found += [chunk[cuts[first] : cuts[first + width]] for chunk, cuts in self._held]
                if any(rows.height for rows in found):
                    yield pl.concat(found, rechunk=True).cast(self.schema)

    def _put_down(self) -> None:
        if self._folder is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.TemporaryDirectory(prefix=".dealing-", dir=self._directory)
        for chunk, cuts in self._held:
            path = Path(self._folder.name) / f"{len(self._waiting)}.arrow"
            table = chunk.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                for first in range(0, 1 << BITS, STRIDE):
                    writer.write_batch(_batch(table, cuts[first], cuts[first + STRIDE]))
            self._waiting.append((path, cuts))
        self._held.clear()
        self._in_memory = 0


def key_cells(frame: pl.DataFrame, key: str) -> pl.Series:
    """The keys of *frame* as the text that stands there, whatever type they were written in."""
    return frame.select(spelled(pl.col(key), frame.schema[key])).to_series()


def hashes(rows: pl.DataFrame, key: str | None) -> Hashes:
    """By which *rows* are dealt to parts."""
    return hash_rows(rows) if key is None else hash_values(key_cells(rows, key))


def part_count(rows: int) -> int:
    """Into how many parts *rows* rows are dealt; ``NoRows`` where that is none."""
    if not rows:
        raise NoRows("cannot store a snapshot of an empty table: expected at least one row, got none")
    count = MIN_PARTS
    while count * PART_ROWS < rows and count < MOST_PARTS:
        count *= 2
    return count


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Equal values as equal bytes: dictionary columns as text, and one zero instead of -0.0 and 0.0."""
    return frame.with_columns(
        pl.col(pl.Categorical).cast(pl.String),
        pl.selectors.enum().cast(pl.String),
        *(
            pl.when(pl.col(name) == 0).then(pl.lit(0.0, dtype)).otherwise(pl.col(name)).alias(name)
            for name, dtype in frame.schema.items()
            if dtype.is_float()
        ),
    )


def ordered(rows: pl.DataFrame, key: str | None) -> pl.DataFrame:
    """The rows of a part in canonical order; keys that occur once settle it alone, the other columns break ties."""
    unique = key is not None and rows[key].n_unique() == rows.height
    order = [key] if key else []
    order += [] if unique else [name for name in rows.columns if name != key]
    return rows.sort(order, nulls_last=True)


class PutDown:
    """A chunk on disk, of which no more than a stride of buckets is in memory."""

    def __init__(self, file: pa.NativeFile, cuts: npt.NDArray[np.intp]) -> None:
        self._reader, self._cuts = pa.ipc.open_file(file), cuts
        self._last: tuple[int, pl.DataFrame] | None = None

    def rows(self, first: int, end: int) -> pl.DataFrame:
        """The rows of the buckets from *first* to before *end*, which lie in one stride or are whole ones."""
        if end - first >= STRIDE:
            return pl.concat([self._stride(place) for place in range(first // STRIDE, end // STRIDE)])
        begin = self._cuts[first // STRIDE * STRIDE]
        return self._stride(first // STRIDE)[self._cuts[first] - begin : self._cuts[end] - begin]

    def _stride(self, place: int) -> pl.DataFrame:
        if self._last is None or self._last[0] != place:
            self._last = place, pl.DataFrame(self._reader.get_batch(place))
        return self._last[1]


def _batch(table: pa.Table, start: int, end: int) -> pa.RecordBatch:
    """Rows *start* to before *end* of *table* as one batch, also where there are none."""
    batches = table.slice(start, end - start).to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)
