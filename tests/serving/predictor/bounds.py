"""``python -m tests.serving.predictor.bounds MODE COUNT``: compiled readers, where a stray read shows.

``guard`` puts each body and its closing zero at the end of a page; the page behind it may not be read, so that one byte
too many ends the process. ``checked`` is for a process in which numba checks every index (NUMBA_BOUNDSCHECK=1).
Prints how many bodies were read.
"""

import ctypes
import mmap
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.predictor.rows import large
from tests.serving.predictor.corpus import bodies, spoilt
from tests.serving.predictor.support import HOUSE, TUMOUR

PAGES = 64
Place = Callable[[bytes], Any]


def guarded() -> Place:
    """A function that copies bytes to the end of the readable pages."""
    size = PAGES * mmap.PAGESIZE
    area = mmap.mmap(-1, size + mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address + size), ctypes.c_size_t(mmap.PAGESIZE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")

    def place(body: bytes) -> Any:
        at = size - len(body)
        area[at:size] = body
        array = np.frombuffer(area, np.uint8, len(body), at)
        array.flags.writeable = False
        return array

    return place


def plain(body: bytes) -> Any:
    return np.frombuffer(body, np.uint8)


def read(reader: large.PlainRows, body: bytes, place: Place) -> bool:
    head = large._HEAD.match(body)
    if head is None:
        return False
    large._scan(place(body), head.end(), 2, np.empty(len(body) // 2 + 1, dtype=np.int64))
    matrix = np.empty((min(400, len(body) // (2 * reader._width + 1) + 1), reader._width))
    rows, end = large._rows(place(body + b"\0"), head.end(), *reader._arrays, matrix)
    assert end <= len(body)
    assert rows <= len(matrix)
    return bool(rows != large._FAIL)


def main(mode: str, count: int) -> int:
    place = guarded() if mode == "guard" else plain
    chance = random.Random(5)
    readers = [(large.PlainRows(contract, 400), bodies(contract)) for contract in (HOUSE, TUMOUR)]
    done = 0
    for _ in range(count):
        reader, known = chance.choice(readers)
        body = spoilt(chance, chance.choice(known), known)
        if chance.random() < 0.2:
            body = body[: chance.randrange(len(body) + 1)]
        done += read(reader, body[: (PAGES - 1) * mmap.PAGESIZE], place)
    print(done)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
