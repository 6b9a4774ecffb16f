"""Immutable versions of a table, named by their content.

A snapshot is a directory: ``parts/<sha256>.parquet`` and ``manifest.json``. Its id is the sha256 of the canonical JSON
of the manifest's *content*: columns, key and the digests of the parts. The source stands beside it, so the same rows
have the same id wherever they came from.

Rows are dealt to parts by a stable hash of their key and put in one order inside, so the id does not depend on the
order of the rows, and a changed cell changes one part. Parts are what the installed polars writes: a new polars may
give the same rows a new id, never two tables one id.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field, ValidationError

from components.data.stable_hash import hash_rows, hash_values
from serving.contract import Frozen
from serving.errors import DataError
from serving.files import canonical_json, read_json, sha256_bytes, write_bytes, write_json

MANIFEST = "manifest.json"
PARTS = "parts"
PART_ROWS = 65_536
MIN_PARTS = 16
FORMAT = 1

_PART = "__part"


class Part(Frozen):
    """One parquet file, named by the sha256 of its bytes."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    rows: int

    @property
    def name(self) -> str:
        """Its path below the snapshot."""
        return f"{PARTS}/{self.sha256}.parquet"


class Snapshot(Frozen):
    """What a manifest says.

    Attributes:
        id: sha256 (hex) of the content: everything below except ``source``.
        columns: names, in their order; ``types`` are the polars types beside them.
        key: the column whose hash deals rows to parts; None: the whole row's.
        source: URI the rows were read from, for people.
    """

    id: str
    rows: int
    columns: tuple[str, ...]
    types: tuple[str, ...]
    parts: tuple[Part, ...]
    key: str | None = None
    source: str = ""

    @property
    def short(self) -> str:
        """As much of the id as people read."""
        return self.id[:6]


def write(frame: pl.DataFrame, directory: Path, *, source: str, key: str | None = None) -> Snapshot:
    """Store *frame* in *directory* and return its snapshot.

    Parts that are there already are kept; a directory that holds this very snapshot is left as it is. The manifest is
    written last, so an interrupted write is completed by the same call. Parts of an earlier snapshot in the directory
    are removed at the end.

    Raises:
        DataError: the frame is empty or lacks the key.
        PlaceError: the disk is full; the snapshot that was there still is.
    """
    _check(frame, key)
    plain = _plain(frame)
    parts = tuple(_store(rows, directory) for rows in _deal(plain, key))
    content = {
        "format": FORMAT,
        "rows": plain.height,
        "columns": plain.columns,
        "types": [str(dtype) for dtype in plain.dtypes],
        "parts": [part.model_dump() for part in parts],
        "key": key,
    }
    identity = sha256_bytes(canonical_json(content))
    if _stored_id(directory) != identity:
        write_json(directory / MANIFEST, {"id": identity, "source": source, "content": content})
    _forget_others(directory, parts)
    return _manifest(directory)


def open_snapshot(directory: Path) -> Snapshot:
    """The snapshot in *directory*, after every part was checked against its digest.

    Raises:
        DataError: no manifest, or a changed, missing or added byte; the message names the part.
    """
    snapshot = _manifest(directory)
    for part in snapshot.parts:
        _bytes(directory, part)
    return snapshot


def read(directory: Path) -> pl.DataFrame:
    """All rows of the snapshot in *directory*, verified, in the snapshot's own order."""
    parts = [pl.read_parquet(io.BytesIO(_bytes(directory, part))) for part in _manifest(directory).parts]
    return pl.concat(parts, rechunk=True)


def _check(frame: pl.DataFrame, key: str | None) -> None:
    if not frame.height:
        raise DataError("cannot store a snapshot of an empty table: expected at least one row, got none")
    if key is not None and key not in frame.columns:
        raise DataError(f"no key column {key!r} in the table: its columns are {', '.join(frame.columns)}")


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Equal values as equal bytes: dictionary columns as text, and one zero instead of -0.0 and 0.0."""
    return frame.with_columns(
        pl.col(pl.Categorical).cast(pl.String),
        pl.selectors.enum().cast(pl.String),
        pl.selectors.float() + 0.0,
    )


def _deal(frame: pl.DataFrame, key: str | None) -> Iterator[pl.DataFrame]:
    """The rows of each part in canonical order.

    The number of parts is a power of two and a part takes a range of hashes, so a table that doubles splits each part
    in two and moves nothing else.
    """
    count = MIN_PARTS
    while count * PART_ROWS < frame.height:
        count *= 2
    hashes = hash_rows(frame) if key is None else hash_values(frame[key])
    part = hashes >> np.uint64(64 - (count.bit_length() - 1))
    dealt = frame.with_columns(pl.Series(_PART, part.astype(np.uint16)))
    # Keys that occur once settle the order alone; the other columns only have to break ties.
    unique = key is not None and frame[key].n_unique() == frame.height
    order = [_PART, *([key] if key else [])]
    order += [] if unique else [name for name in frame.columns if name != key]
    for rows in dealt.sort(order, nulls_last=True).partition_by(_PART, maintain_order=True):
        yield rows.drop(_PART)


def _store(rows: pl.DataFrame, directory: Path) -> Part:
    """Write one part unless its bytes are there already."""
    buffer = io.BytesIO()
    rows.rechunk().write_parquet(buffer, compression="zstd", statistics=True, row_group_size=PART_ROWS)
    data = buffer.getvalue()
    part = Part(sha256=sha256_bytes(data), rows=rows.height)
    path = directory / part.name
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)
    return part


def _stored_id(directory: Path) -> str | None:
    try:
        return _manifest(directory).id
    except DataError:
        return None


def _manifest(directory: Path) -> Snapshot:
    """The manifest of *directory*, its id recomputed; parts are not looked at."""
    path = directory / MANIFEST
    if not path.is_file():
        raise DataError(f"no snapshot in {directory}: expected {MANIFEST} and {PARTS}/; run ingest again")
    try:
        value = read_json(path)
        content = {name: item for name, item in value["content"].items() if name != "format"}
        snapshot = Snapshot(id=value["id"], source=value["source"], **content)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise DataError(f"{path} is no snapshot manifest: {type(error).__name__}; run ingest again") from error
    if sha256_bytes(canonical_json(value["content"])) != snapshot.id:
        raise DataError(f"{path} was changed after it was written: its content is not what id {snapshot.short} names")
    return snapshot


def _bytes(directory: Path, part: Part) -> bytes:
    path = directory / part.name
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"snapshot part {path} is missing; run ingest again") from error
    if (seen := sha256_bytes(data)) != part.sha256:
        raise DataError(
            f"snapshot part {path} was changed: expected sha256 {part.sha256[:12]}, got {seen[:12]}; run ingest again"
        )
    return data


def _forget_others(directory: Path, parts: tuple[Part, ...]) -> None:
    named = {directory / part.name for part in parts}
    for path in (directory / PARTS).glob("*.parquet"):
        if path not in named:
            path.unlink(missing_ok=True)
