"""Files that are replaced as a whole: what they hold is read again only after that happened."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

T = TypeVar("T")
COARSE_NS = 50_000_000


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
