"""Reading files that grow, line by line, from where the last reading stopped."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from serving.local.documents import Document, mark

QUIET_NS = 300 * 10**9  # nobody goes on with a part after so long


class Tail:
    """Positions in any number of files, by inode number, so that a file renamed is not read twice."""

    def __init__(self) -> None:
        self._positions: dict[int, int] = {}

    def read(self, path: Path) -> Iterator[bytes]:
        """The whole lines that were added since; the last line may still be in the writing and is left for later."""
        try:
            size, inode = (stat := path.stat()).st_size, stat.st_ino
        except FileNotFoundError:
            return
        start = self._positions.get(inode, 0)
        if size <= start:
            return
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_ino != inode:
                return
            file.seek(start)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._positions[inode] = start + whole
        yield from data[:whole].splitlines()


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
