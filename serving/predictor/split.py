"""Where the rows of a large JSON body begin, found without the interpreter lock.

Decoding 10,000 rows in one call holds the lock for some 10 ms, in which no other request is answered. Cut into pieces
at row boundaries the same body is decoded with the lock given back between pieces.
"""

import numba
import numpy as np
import numpy.typing as npt

QUOTE, ESCAPE, COMMA = ord('"'), ord("\\"), ord(",")
OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT = ord("["), ord("]"), ord("{"), ord("}")


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba ships no types
def _scan(body: npt.NDArray[np.uint8], every: int, cuts: npt.NDArray[np.int64]) -> tuple[int, int, int, int]:
    """Positions of the first list inside the outermost object, and of each *every*-th comma between its elements.

    Returns (begin, end, elements, cuts written): the list is body[begin:end + 1]; begin is -1 if there is none.
    """
    depth = 0
    inside = False
    begin = -1
    commas = 0
    written = 0
    i = 0
    n = body.shape[0]
    while i < n:
        c = body[i]
        if inside:
            if c == ESCAPE:
                i += 1
            elif c == QUOTE:
                inside = False
        elif c == QUOTE:
            inside = True
        elif c in (OPEN_LIST, OPEN_OBJECT):
            depth += 1
            if begin < 0 and c == OPEN_LIST:
                if depth != 2:
                    return -1, 0, 0, 0
                begin = i
        elif c in (CLOSE_LIST, CLOSE_OBJECT):
            depth -= 1
            if begin >= 0 and depth == 1:
                return begin, i, commas + 1, written
        elif c == COMMA and begin >= 0 and depth == 2:
            commas += 1
            if commas % every == 0:
                if written >= cuts.shape[0]:
                    return -1, 0, 0, 0
                cuts[written] = i
                written += 1
        i += 1
    return -1, 0, 0, 0


class Pieces:
    """A body cut at row boundaries.

    Attributes:
        head, tail: the body before and after the list.
        rows: how many elements the list has if the body is valid JSON.
        parts: JSON lists of ``every`` rows, the last one of fewer; only if they all decode was the body valid.
    """

    def __init__(self, head: bytes, tail: bytes, rows: int, parts: list[bytes]) -> None:
        self.head, self.tail, self.rows, self.parts = head, tail, rows, parts

    def envelope(self, cut: bytes) -> bytes:
        """The body with *cut* in place of the list."""
        return self.head + cut + self.tail


def pieces(body: bytes, every: int) -> Pieces | None:
    """*body* cut every *every* rows; None where its first list is not directly inside the outermost object."""
    cuts = np.empty(len(body) // (2 * every) + 1, dtype=np.int64)
    begin, end, rows, written = _scan(np.frombuffer(body, dtype=np.uint8), every, cuts)
    if begin < 0:
        return None
    starts = [begin, *cuts[:written].tolist()]
    ends = [*cuts[:written].tolist(), end]
    parts = [b"[" + body[start + 1 : stop] + b"]" for start, stop in zip(starts, ends, strict=True)]
    return Pieces(body[:begin], body[end + 1 :], rows, parts)
