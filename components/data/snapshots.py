"""Immutable versions of a table, named by their content.

A snapshot is a directory: ``parts/<sha256>.parquet`` and ``manifest.json``. Its id is the sha256 of the canonical JSON
of the manifest's *content*: columns, key and the digests of the parts. The source stands beside it, so the same rows
have the same id wherever they came from.

Rows are dealt to parts by a stable hash of their key and put in one order inside, so the id does not depend on the
order of the rows nor on the chunks in which they came, and a changed cell changes one part. The number of parts is a
power of two and a part takes a range of hashes, so a table that doubles splits each part in two and moves nothing else.
Parts are what the installed polars writes: a new polars may give the same rows a new id, never two tables one id.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, ValidationError

from components.data.dealing import PART_ROWS, Dealt, hashes, ordered, part_count, plain
from components.steps.parallel import Result, in_order
from serving.contract import Frozen
from serving.errors import DataError
from serving.files import canonical_json, read_json, sha256_bytes, write_bytes, write_json

MANIFEST = "manifest.json"
PARTS = "parts"
FORMAT = 1
Mask = npt.NDArray[np.bool_]


class Part(Frozen):
    """One parquet file, named by the sha256 of its bytes."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    rows: int

    @property
    def name(self) -> str:
        """Its path below the snapshot."""
        return f"{PARTS}/{self.sha256}.parquet"


Piece: TypeAlias = tuple[Part, bytes] | pl.DataFrame


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
    """Store *frame* in *directory* and return its snapshot; see ``SnapshotWriter``."""
    return write_chunks([frame], directory, source=source, key=key)


def select(parent: Path, chosen: Mapping[Path, Sequence[Mask]], *, source: str) -> list[Snapshot]:
    """Store rows of the snapshot in *parent* in each directory of *chosen*, those that its masks have true for.

    The bytes are those of ``write``, ``NoRows`` too, but only a part is in memory, and one that stays whole is copied.

    Args:
        chosen: in turn one mask for each part of *parent*.
    """
    whole, stored = _manifest(parent), {directory: list[Part]() for directory in chosen}
    counts = [part_count(sum(int(mask.sum()) for mask in masks)) for masks in chosen.values()]
    decisive = None if whole.key is None else [whole.key]

    def cut(member: tuple[Part, tuple[Mask, ...]]) -> tuple[int, list[Piece]]:
        data = _bytes(parent, member[0])
        first = pl.read_parquet(io.BytesIO(data), n_rows=1, columns=decisive)
        return int(hashes(first, whole.key)[0]), _pieces(data, *member)

    members = zip(whole.parts, zip(*chosen.values(), strict=True), strict=True)
    groups = _grouped(in_order(cut, members), list(chosen), counts)
    for directory, part in in_order(lambda group: (group[0], _joined(group[1], whole.key, group[0])), groups):
        stored[directory] += [part] if part else []
    types = dict(zip(whole.columns, whole.types, strict=True))
    return [_manifested(directory, parts, types, source, whole.key) for directory, parts in stored.items()]


def write_chunks(chunks: Iterable[pl.DataFrame], directory: Path, *, source: str, key: str | None = None) -> Snapshot:
    """Store the rows of all *chunks*; see ``SnapshotWriter``."""
    with SnapshotWriter(directory, source=source, key=key) as writer:
        for chunk in chunks:
            writer.add(chunk)
        return writer.finish()


class SnapshotWriter:
    """Stores rows that come in chunks of one schema as the snapshot in *directory*; the chunks do not show in it.

    Parts that are there already are kept; a directory that holds this very snapshot is left as it is. The manifest is
    written last, so an interrupted write is completed by the same rows. Parts of an earlier snapshot in the directory
    are removed at the end.
    """

    def __init__(self, directory: Path, *, source: str, key: str | None = None) -> None:
        self._directory, self._source, self._key = directory, source, key
        self._dealt = Dealt(directory)

    def add(self, chunk: pl.DataFrame) -> None:
        """Take the rows of *chunk*; ``DataError`` where it has no key column."""
        if self._key is not None and self._key not in chunk.columns:
            raise DataError(f"no key column {self._key!r} in the table: its columns are {', '.join(chunk.columns)}")
        rows = plain(chunk)
        self._dealt.add(rows, hashes(rows, self._key))

    def finish(self) -> Snapshot:
        """Write what was added.

        Raises:
            NoRows: that was nothing.
            PlaceError: the disk is full; the snapshot that was there still is.
        """
        dealt = self._dealt.parts(part_count(self._dealt.rows))
        stored = list(in_order(lambda rows: _store(rows, self._key, self._directory), dealt))
        types = {name: str(dtype) for name, dtype in self._dealt.schema.items()}
        return _manifested(self._directory, stored, types, self._source, self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dealt.close()


def size(directory: Path) -> int:
    """How many rows the snapshot in *directory* has."""
    return _manifest(directory).rows


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
    return pl.concat(parts(directory), rechunk=True)


def parts(directory: Path) -> Iterator[pl.DataFrame]:
    """The rows of each part in turn, verified; all rows of one key, or equal rows without a key, are in one part."""
    return each(directory, lambda rows: rows)


def each(
    directory: Path, function: Callable[[pl.DataFrame], Result], columns: Sequence[str] | None = None
) -> Iterator[Result]:
    """What *function* makes of each of ``parts`` in turn, by threads.

    Of *columns* come those that the snapshot has; None means all.
    """
    snapshot = _manifest(directory)
    asked = None if columns is None else [name for name in snapshot.columns if name in columns]

    def work(part: Part) -> Result:
        return function(pl.read_parquet(io.BytesIO(_bytes(directory, part)), columns=asked))

    return in_order(work, snapshot.parts)


def _pieces(data: bytes, part: Part, masks: Sequence[Mask]) -> list[Piece]:
    """The rows of *part* that each mask leaves; where that is all of them, the part as it is."""
    stays = [bool(mask.all()) for mask in masks]
    rows = pl.DataFrame() if all(stays) else pl.read_parquet(io.BytesIO(data))
    return [(part, data) if all_ else rows.filter(pl.Series(mask)) for mask, all_ in zip(masks, stays, strict=True)]


def _grouped(
    cut: Iterable[tuple[int, list[Piece]]], directories: Sequence[Path], counts: Sequence[int]
) -> Iterator[tuple[Path, list[Piece]]]:
    """The pieces of each part to be: those whose first hash lies in one of the *counts* ranges of their directory."""
    held: list[tuple[int, list[Piece]]] = [(0, []) for _ in directories]
    for first, pieces in cut:
        for which, piece in enumerate(pieces):
            place, before = first >> (65 - counts[which].bit_length()), held[which]
            if before[1] and before[0] != place:
                yield directories[which], before[1]
            held[which] = place, [*(before[1] if before[0] == place else []), piece]
    yield from ((directory, rest) for directory, (_, rest) in zip(directories, held, strict=True) if rest)


def _joined(pieces: Sequence[Piece], key: str | None, directory: Path) -> Part | None:
    """One part of *pieces*, unless they are empty."""
    if len(pieces) == 1 and isinstance(pieces[0], tuple):
        return _stored(pieces[0][1], pieces[0][0].rows, directory)
    rows = pl.concat(pl.read_parquet(io.BytesIO(one[1])) if isinstance(one, tuple) else one for one in pieces)
    return _store(rows, key, directory) if rows.height else None


def _store(rows: pl.DataFrame, key: str | None, directory: Path) -> Part:
    buffer = io.BytesIO()
    ordered(rows, key).rechunk().write_parquet(
        buffer, compression="zstd", compression_level=1, row_group_size=PART_ROWS
    )
    return _stored(buffer.getvalue(), rows.height, directory)


def _stored(data: bytes, rows: int, directory: Path) -> Part:
    part = Part(sha256=sha256_bytes(data), rows=rows)
    path = directory / part.name
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)
    return part


def _manifested(
    directory: Path, stored: Sequence[Part], types: Mapping[str, str], source: str, key: str | None
) -> Snapshot:
    """Write the manifest over the *stored* parts, whose columns have these polars *types*, and forget other parts."""
    content = {
        "format": FORMAT,
        "rows": sum(part.rows for part in stored),
        "columns": list(types),
        "types": list(types.values()),
        "parts": [part.model_dump() for part in stored],
        "key": key,
    }
    identity = sha256_bytes(canonical_json(content))
    if _stored_id(directory) != identity:
        write_json(directory / MANIFEST, {"id": identity, "source": source, "content": content})
    _forget_others(directory, stored)
    return _manifest(directory)


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


def _forget_others(directory: Path, parts: Sequence[Part]) -> None:
    named = {directory / part.name for part in parts}
    for path in (directory / PARTS).glob("*.parquet"):
        if path not in named:
            path.unlink(missing_ok=True)
