"""Files that are read on and on, each time no more than what is new.

Of those that are replaced as a whole that is known by their mark; those that grow are read from where the last reading
stopped.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")
COARSE_NS = 50_000_000
QUIET_NS = 300 * 10**9  # nobody goes on with a part of a log after so long


class Mark(NamedTuple):
    """Names the content of a file; another one under the same path has another mark."""

    inode: int
    modified_ns: int
    size: int


def mark(path: Path) -> Mark | None:
    """Of the file or folder *path*, None while there is none; a folder's changes as files come and go."""
    try:
        found = os.stat(path)  # noqa: PTH116  # asked 20 times a second, and half the price
    except FileNotFoundError:
        return None
    return Mark(found.st_ino, found.st_mtime_ns, found.st_size)


class Document(Generic[T]):
    """What *read* makes of the file *path*, also of its absence; belongs to one thread."""

    def __init__(self, path: Path, read: Callable[[], T]) -> None:
        self.path, self._read = path, read
        self._mark: Mark | Literal["unread"] | None = "unread"
        self._value: T

    def get(self) -> T:
        """The newest content; raises what *read* raises, and then reads again at the next call."""
        found, now = mark(self.path), time.time_ns()  # before reading: a file replaced meanwhile has another mark
        if found != self._mark:
            self._value = self._read()
            # The system's file times are coarse, so one that has just changed may change once more under its mark.
            young = found is not None and now - found.modified_ns < COARSE_NS
            self._mark = "unread" if young else found
        return self._value


class KeptJson(Document[Any]):
    """A JSON file that should hold one value, whoever else writes to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, self._parsed)

    def holds(self, value: Mapping[str, Any]) -> bool:
        found = self.get()
        if found is not value and found == value:
            self._value = value  # the next comparison is one of two names
        return self._value is value

    def _parsed(self) -> Any:
        try:
            return json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return None


def append(path: Path, lines: Iterable[msgspec.Struct]) -> None:
    """Add *lines* to the file *path*, each as one line of JSON."""
    data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    with path.open("ab") as file:
        file.write(data)


def read_on(path: Path, positions: Mapping[int, int]) -> tuple[dict[int, int], list[bytes]]:
    """The whole lines of *path* beyond its position, by inode number, and the position then; nothing without a file.

    The last line may still be in the writing and is left for later.
    """
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        inode = os.fstat(file.fileno()).st_ino
        start = positions.get(inode, 0)
        file.seek(start)
        data = file.read()
        whole = data.rfind(b"\n") + 1
        return {inode: start + whole}, data[:whole].splitlines()
    return {}, []


class Tail:
    """Positions in any number of files, by inode number, so that a file renamed is not read twice."""

    def __init__(self) -> None:
        self._positions: dict[int, int] = {}

    def skip(self, path: Path) -> None:
        """Take what *path* holds for read."""
        found = mark(path)
        if found is not None:
            self._positions[found.inode] = found.size

    def read(self, path: Path) -> list[bytes]:
        """The whole lines that were added since."""
        found = mark(path)
        if found is None or found.size <= self._positions.get(found.inode, 0):
            return []
        position, lines = read_on(path, self._positions)
        self._positions |= position
        return lines


class Parts:
    """The log of one folder, in parts: the newest grows, new ones come, and old ones cost nothing more."""

    def __init__(self, folder: Path, tail: Tail) -> None:
        self._folder, self._tail = folder, tail
        self._growing = Document(folder, self._list)
        self._left: set[Path] = set()

    def read(self) -> Iterator[bytes]:
        """The whole lines that were added since, part by part in the order of their names."""
        for part in self._growing.get():
            yield from self._tail.read(part)

    def _list(self) -> list[Path]:
        """All parts but those that were quiet already when the folder had another one before."""
        parts = sorted(self._folder.glob("*.jsonl"))
        growing = [part for part in parts if part not in self._left]
        self._left = {part for part in parts[:-1] if part in self._left or _quiet(part)}
        return growing


def _quiet(part: Path) -> bool:
    found = mark(part)
    return found is None or time.time_ns() - found.modified_ns > QUIET_NS
