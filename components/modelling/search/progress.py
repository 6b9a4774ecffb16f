"""Trials of a search, kept while it runs, so that an attempt that is killed costs the next one next to nothing.

What a trial comes to is decided by what it tries and by what all trials of the search stand on, and the latter is the
same for every attempt at the same step. So the next attempt asks as it always would, and is answered from here.
"""

import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.data.tables import Vector
from serving.files import sha256_bytes, write_bytes

TOLD = "told"


@dataclass(frozen=True)
class Kept:
    """What was kept of a trial: *told* is JSON-able, *said* what it answered, fold by fold."""

    told: Mapping[str, Any]
    said: Sequence[Vector] = ()


class Progress:
    """The trials of all attempts at one search, below *folder*; without one nothing is kept."""

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.recalled = 0  # trials that an earlier attempt made
        self._folder, self._clock, self._begun, self._before = folder, clock, clock(), 0.0

    def now(self) -> float:
        """Seconds that the search has taken, with those of earlier attempts up to the last trial that was recalled."""
        return self._before + self._clock() - self._begun

    def recall(self, asked: str) -> Kept | None:
        """What an earlier attempt kept of the trial of *asked*; None where none did, or the file is no good."""
        kept = _read(self._folder / _name(asked)) if self._folder else None
        if kept:
            self.recalled += 1
            self._before = max(self._before, kept.told["at"] - (self._clock() - self._begun))
        return kept

    def keep(self, asked: str, kept: Kept) -> None:
        if self._folder:
            parts: dict[str, Any] = {str(place): said for place, said in enumerate(kept.said)}
            parts[TOLD] = np.array(json.dumps({**kept.told, "at": self.now()}))
            file = io.BytesIO()
            np.savez(file, **parts)
            write_bytes(self._folder / _name(asked), file.getvalue())


def _name(asked: str) -> str:
    return f"{sha256_bytes(asked.encode())}.npz"


def _read(path: Path) -> Kept | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            said = [file[str(place)] for place in range(len(file.files) - 1)]
            return Kept(json.loads(str(file[TOLD])), said)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
