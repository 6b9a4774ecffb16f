"""Results of steps, kept by what they were made from, and never served unless their files are what they were.

An artifact counts by its content and not by its address, so that a re-made but equal input hits and a changed file
misses. Every step writes into a fresh directory, and the entry is written last and whole: a killed step leaves files
without an entry, which nobody reads.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from serving.files import canonical_json, sha256_bytes, sha256_file, write_bytes

FORMAT = 1
REMOTE = ("gs://", "s3://", "minio://", "oci://", "http://", "https://")


@dataclass(frozen=True)
class Content:
    """What lies at a path: ``kind`` is file, directory, absent or remote; a file is (name, size, mtime_ns, sha256)."""

    kind: str
    files: tuple[tuple[str, int, int, str], ...] = ()

    def digest(self, uri: str = "") -> str:
        """The same for the same bytes wherever they lie; a remote address can only stand for itself."""
        names = [[name, sha256] for name, _, _, sha256 in self.files] if self.kind != "file" else self.files[0][3]
        return sha256_bytes(canonical_json([self.kind, names, uri if self.kind == "remote" else ""]))


@dataclass(frozen=True)
class CachedStep:
    """One kept result: outputs as ``value`` or ``artifacts`` (JSON-able), and the content of each artifact by URI."""

    run_id: str
    seconds: float
    summary: str | None
    outputs: Mapping[str, Any]
    contents: Mapping[str, Content]


@dataclass(frozen=True)
class StepCache:
    directory: Path

    def find(self, key: str) -> CachedStep | None:
        """The result kept under *key*; None when there is none, it cannot be read, or a file of it has changed."""
        try:
            entry = msgspec.convert(json.loads(self._path(key).read_bytes()), CachedStep)
        except (OSError, ValueError, msgspec.ValidationError):
            return None
        return entry if all(unchanged(uri, content) for uri, content in entry.contents.items()) else None

    def keep(self, key: str, entry: CachedStep) -> None:
        write_bytes(self._path(key), json.dumps(asdict(entry)).encode())  # by json, which keeps a NaN
        shutil.rmtree(self.progress(key), ignore_errors=True)

    def progress(self, key: str) -> Path:
        """Where attempts at what is kept under *key* leave what the next one can go on from; it need not be there."""
        return self.directory / f".{key}.progress"  # by its name a clean takes it for unfinished, which it is

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}.json"


def key_of(parts: Mapping[str, Any]) -> str | None:
    """The name of a result made from *parts*; None when they have no one text (a NaN), which is never served."""
    try:
        return sha256_bytes(canonical_json({"format": FORMAT, **parts}))
    except (TypeError, ValueError):
        return None


def read_content(uri: str) -> Content:
    """Read and digest what lies at *uri*, a path of a file or a directory."""
    if uri.startswith(REMOTE):
        return Content("remote")
    path = Path(uri)
    return Content(_kind(path), tuple(_described(name, file) for name, file in _files(path)))


def unchanged(uri: str, content: Content) -> bool:
    """Whether *content* still lies at *uri*. Size and time of change are believed, as git does; else bytes decide."""
    if content.kind == "remote":
        return True
    path = Path(uri)
    found = _files(path)
    if _kind(path) != content.kind or [name for name, _ in found] != [file[0] for file in content.files]:
        return False
    return all(_same(file, known) for (_, file), known in zip(found, content.files, strict=True))


def _same(file: Path, known: tuple[str, int, int, str]) -> bool:
    _, size, mtime_ns, sha256 = known
    stat = file.stat()
    return stat.st_size == size and (stat.st_mtime_ns == mtime_ns or sha256_file(file) == sha256)


def _kind(path: Path) -> str:
    if path.is_dir():
        return "directory"
    return "file" if path.is_file() else "absent"


def _files(path: Path) -> list[tuple[str, Path]]:
    if path.is_dir():
        return sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    return [("", path)] if path.is_file() else []


def _described(name: str, file: Path) -> tuple[str, int, int, str]:
    before = file.stat()  # before reading: a write in between shows as a newer time at the next look
    return name, before.st_size, before.st_mtime_ns, sha256_file(file)
