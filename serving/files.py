"""Files that are either whole or absent, and the digests that name them."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from serving.errors import PlaceError

CHUNK = 1 << 20


def canonical_json(value: Any) -> bytes:
    """The one JSON text of *value*: sorted keys, no spaces, UTF-8, no NaN; what digests are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_files(root: Path, files: Iterable[Path]) -> str:
    """Of *files* in any order, each with its name relative to *root*."""
    known = [[file.relative_to(root).as_posix(), sha256_file(file)] for file in files]
    return sha256_bytes(canonical_json(sorted(known)))


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside *path*, moved onto it when the block ends well and removed when it does not.

    Raises:
        PlaceError: the disk is full or the folder cannot be written; *path* is then as it was.
    """
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    temporary = Path(name)
    try:
        with _told(path):
            yield temporary
            _flush(temporary)
            temporary.chmod(0o644)  # mkstemp's 0600 would hide it from other users of the same volume
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Like ``whole_file`` for a directory; an existing *path* is replaced, never merged into."""
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with _told(path):
            yield temporary
            temporary.chmod(0o755)
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Readable JSON for people and programs; digests are taken of ``canonical_json``, not of this."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def last_lines(path: Path, size: int) -> list[str]:
    """Of the last *size* bytes of a file that may be long; none when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the two failures a person can mend into a sentence."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _rust_errno(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise PlaceError(
                f"cannot write {path}: the disk is full; free some space and run the same command again"
            ) from error
        if number in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise PlaceError(f"cannot write {path}: permission denied; choose another place with --home") from error
        raise


def _rust_errno(error: Exception) -> int | None:
    """The system's number in the text of an error of a library written in Rust, such as polars."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None
