"""Files that are replaced as a whole: what they hold is read again only after that happened."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def mark(path: Path) -> object:
    """Equal as long as *path* is the same file with the same content; None while there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class Document(Generic[T]):
    """What *read* makes of the file *path*, also of its absence; belongs to one thread."""

    def __init__(self, path: Path, read: Callable[[], T]) -> None:
        self.path, self._read = path, read
        self._mark: object = ()
        self._value: T

    def get(self) -> T:
        """The newest content; raises what *read* raises, and then reads again at the next call."""
        found = mark(self.path)  # before reading: a file replaced meanwhile has another one
        if found != self._mark:
            self._value = self._read()
            self._mark = found
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
