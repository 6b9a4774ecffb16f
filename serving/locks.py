"""One process at a time: locks on files of this machine, which the system releases when their holder dies."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from serving.errors import ConflictError


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold *path* exclusively, waiting for whoever holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back


@contextlib.contextmanager
def only_holder(path: Path, taken: Callable[[str], str]) -> Iterator[None]:
    """Hold *path* exclusively, or not at all.

    Args:
        taken: the sentence for whoever comes second, from a name of the first, e.g. "process 4711".

    Raises:
        ConflictError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConflictError(taken(f"process {file.read().strip() or 'unknown'}")) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def is_held(path: Path) -> bool:
    """Whether a process holds *path*; asking leaves it free."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
