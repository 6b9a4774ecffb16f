"""Large V1 bodies of the usual form, ``{"instances": [...]}`` alone, read without the interpreter lock.

Decoding 10,000 rows in one call holds the lock for some 5 ms, in which no other request is answered.

``PlainRows`` is one compiled loop over records or arrays, names and categories without escapes, every cell as the
contract says. At the first thing that is anything else it gives up, and ``v1`` reads the body again from its beginning,
finds what is wrong, and has the words for it: a body that is read here means the same there. For that ``pieces`` cuts
the body at row boundaries, so that the lock is given back in between.

No index is checked against the length: behind the last byte of ``bytes`` stands a zero, and no loop goes past that.
"""

import json
import re
from collections.abc import Iterator

import numba as nb
import numpy as np

from serving.compiled import B1, F8, I8, U1, loop, read_only
from serving.contract import Contract, Matrix
from serving.predictor.rows.floats import nearest

_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(?:instances|inputs)"[ \t\r\n]*:[ \t\r\n]*\[')
_TAIL = re.compile(rb"[ \t\r\n]*\}[ \t\r\n]*")
NUMBER, WHOLE, BOOL, WORD = range(4)
_KINDS = {"float": NUMBER, "int": WHOLE, "bool": BOOL, "category": WORD}
_COMMA, _COLON, _MINUS, _PLUS, _POINT, _ZERO, _NINE, _QUOTE, _ESCAPE = (ord(c) for c in ',:-+.09"\\')
_OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT, _E = (ord(c) for c in "[]{}e")
_NULL, _TRUE, _FALSE = (np.frombuffer(word, np.uint8) for word in (b"null", b"true", b"false"))
_FAIL = -1
_MOST_DIGITS = 19  # of any 19 digits a uint64 holds the number

_BYTES = read_only(U1)


@nb.njit(inline="always")
def _space(body, at):  # type: ignore[no-untyped-def]  # compiled
    while body[at] == 32 or (body[at] <= 13 and (body[at] == 10 or body[at] == 13 or body[at] == 9)):
        at += 1
    return at


@nb.njit(inline="always")
def _is(body, at, words, first, end):  # type: ignore[no-untyped-def]  # compiled
    """Where words[first:end] ends if it stands at *at*; or a failure."""
    for i in range(first, end):
        if body[at] != words[i]:
            return _FAIL
        at += 1
    return at


@nb.njit(error_model="numpy")
def _digits(body, at, digits, used):  # type: ignore[no-untyped-def]  # compiled
    """Where the digits at *at* end, *digits* with them behind, and how many count, leading zeros not among them."""
    while _ZERO <= body[at] <= _NINE:
        digits = digits * np.uint64(10) + np.uint64(body[at] - _ZERO)
        used += used > 0 or digits != np.uint64(0)  # also where the digits wrap around to zero
        at += 1
    return at, digits, used


@nb.njit(error_model="numpy")
def _exponent(body, at):  # type: ignore[no-untyped-def]  # compiled
    """Where the exponent behind an ``e`` ends, and its value; of five digits or more, or of none, a failure."""
    down = body[at] == _MINUS
    if down or body[at] == _PLUS:
        at += 1
    start, power = at, 0
    while _ZERO <= body[at] <= _NINE and at - start < 5:
        power = power * 10 + I8(body[at] - _ZERO)
        at += 1
    if at == start or at - start == 5:
        return _FAIL, 0
    return at, -power if down else power


@nb.njit(error_model="numpy")
def _number(body, at):  # type: ignore[no-untyped-def]  # compiled
    """Where the JSON number at *at* ends, and its value; or a failure."""
    negative = body[at] == _MINUS
    if negative:
        at += 1
    start = at
    at, digits, used = _digits(body, at, np.uint64(0), 0)
    if at == start or (at - start > 1 and body[start] == _ZERO):
        return _FAIL, 0.0
    shift = 0
    if body[at] == _POINT:
        point = at + 1
        at, digits, used = _digits(body, point, digits, used)
        shift = point - at
        if shift == 0:
            return _FAIL, 0.0
    if used > _MOST_DIGITS or (negative and digits == np.uint64(0)):
        return _FAIL, 0.0
    if body[at] | 32 == _E:
        at, power = _exponent(body, at + 1)
        if at == _FAIL:
            return _FAIL, 0.0
        shift += power
    value, certain = nearest(digits, shift)
    if not certain:
        return _FAIL, 0.0
    return at, -value if negative else value


@nb.njit(error_model="numpy")
def _word(body, at, words, starts, first, end, guess):  # type: ignore[no-untyped-def]  # compiled
    """Which of the quoted words first..end stands at *at*, tried from *guess* on; or a failure."""
    count = end - first
    for turn in range(count):
        one = first + (guess + turn) % count
        if _is(body, at, words, starts[one], starts[one + 1]) != _FAIL:
            return one
    return _FAIL


@nb.njit(error_model="numpy")
def _cell(body, at, kind, nullable, low, high, words, starts, first, end):  # type: ignore[no-untyped-def]  # compiled
    """Where the cell at *at* ends, and its code; or a failure."""
    if body[at] == _NULL[0]:
        return (_is(body, at, _NULL, 0, 4) if nullable else _FAIL), np.nan
    if kind == WORD:
        one = _word(body, at, words, starts, first, end, 0)
        return (_FAIL, 0.0) if one == _FAIL else (at + starts[one + 1] - starts[one], F8(one - first))
    if kind == BOOL:
        true = body[at] == _TRUE[0]
        return (_is(body, at, _TRUE, 0, 4), 1.0) if true else (_is(body, at, _FALSE, 0, 5), 0.0)
    at, value = _number(body, at)
    if at == _FAIL or not low <= value <= high or (kind == WHOLE and np.floor(value) != value):
        return _FAIL, 0.0
    return at, value


@loop(
    nb.types.UniTuple(I8, 2)(
        _BYTES, I8, _BYTES, read_only(I8), read_only(I8), read_only(I8), read_only(B1), read_only(F8), read_only(F8),
        F8[:, ::1],
    )
)  # fmt: skip
def _rows(body, at, words, starts, firsts, kinds, nullable, low, high, out):  # type: ignore[no-untyped-def]  # compiled
    """Fill *out* from the rows after the opening bracket; how many there are and where they end, or a failure.

    words, starts: all quoted words, one behind the other, and where each begins; the first ones are the columns' names,
    then come the categories, those of a column from ``firsts`` of it to ``firsts`` of the next.
    """
    columns = kinds.shape[0]
    order, seen = np.arange(columns), np.full(columns, -1)
    row = 0
    while True:
        at = _space(body, at)
        record = body[at] == _OPEN_OBJECT
        if row == out.shape[0] or not (record or body[at] == _OPEN_LIST):
            return _FAIL, at
        for place in range(columns):
            at = _space(body, at + 1)
            column = place
            if record:
                column = _word(body, at, words, starts, 0, columns, order[place])
                if column == _FAIL or seen[column] == row:
                    return _FAIL, at
                order[place], seen[column] = column, row
                at = _space(body, at + starts[column + 1] - starts[column])
                if body[at] != _COLON:
                    return _FAIL, at
                at = _space(body, at + 1)
            at, value = _cell(
                body, at, kinds[column], nullable[column], low[column], high[column], words, starts,
                firsts[column], firsts[column + 1],
            )  # fmt: skip
            if at == _FAIL:
                return _FAIL, at
            out[row, column] = value
            at = _space(body, at)
            last = _CLOSE_OBJECT if record else _CLOSE_LIST
            if body[at] != (last if place == columns - 1 else _COMMA):
                return _FAIL, at
        row += 1
        at = _space(body, at + 1)
        if body[at] == _CLOSE_LIST:
            return row, at + 1
        if body[at] != _COMMA:
            return _FAIL, at
        at += 1


class PlainRows:
    """Reads bodies of one contract; holds no state between calls."""

    def __init__(self, contract: Contract, max_rows: int) -> None:
        columns = tuple(contract.columns.values())
        # Of another type the loop knows nothing, and of numbers that mean an empty cell neither.
        self._able = all(column.type in _KINDS and not column.null_numbers for column in columns)
        words = [json.dumps(word, ensure_ascii=False).encode() for word in contract.names]
        firsts = []
        for column in columns:
            firsts.append(len(words))
            words += [json.dumps(word, ensure_ascii=False).encode() for word in column.values]
        self._max_rows, self._width = max_rows, len(columns)
        self._arrays = (
            np.frombuffer(b"".join(words), np.uint8),
            np.cumsum([0, *map(len, words)]).astype(np.int64),
            np.array([*firsts, len(words)], np.int64),
            np.array([_KINDS.get(column.type, NUMBER) for column in columns], np.int64),
            np.array([column.nullable for column in columns], np.bool_),
            *np.array([column.span for column in columns]).T.copy(),
        )

    def read(self, body: bytes) -> Matrix | None:
        """The coded matrix of *body*, or None if ``decode`` has to look at it."""
        head = _HEAD.match(body) if self._able else None
        if head is None:
            return None
        most = min(self._max_rows, len(body) // (2 * self._width + 1) + 1)
        matrix: Matrix = np.empty((most, self._width))
        rows, end = _rows(np.frombuffer(body, np.uint8), head.end(), *self._arrays, matrix)
        return matrix[:rows] if rows != _FAIL and _TAIL.fullmatch(body, end) else None


@loop(nb.types.UniTuple(I8, 3)(_BYTES, I8, I8, I8[::1]))
def _scan(body, at, every, cuts):  # type: ignore[no-untyped-def]  # compiled
    """Where the list ends whose first element stands at *at*, its elements, and how many *cuts*; or a failure.

    cuts: filled with the places of each *every*-th comma between elements.
    """
    depth, inside, commas, written = 1, False, 0, 0
    while at < body.shape[0]:
        one = body[at]
        if one == _ESCAPE and inside:
            at += 1
        elif one == _QUOTE:
            inside = not inside
        elif not inside:
            if one in (_OPEN_LIST, _OPEN_OBJECT):
                depth += 1
            elif one in (_CLOSE_LIST, _CLOSE_OBJECT):
                depth -= 1
                if depth == 0:
                    return at, commas + 1, written
            elif one == _COMMA and depth == 1:
                commas += 1
                if commas % every == 0:
                    cuts[written] = at
                    written += 1
        at += 1
    return _FAIL, 0, 0


def pieces(body: bytes, every: int) -> tuple[int, Iterator[bytes]] | None:
    """The number of rows of *body*, and bodies of *every* rows each that are together the same; None for other forms.

    Only if each of them is a body of rows was the whole one valid JSON.
    """
    head = _HEAD.match(body)
    if head is None:
        return None
    begin = head.end()
    cuts = np.empty(len(body) // every + 1, np.int64)
    end, rows, written = _scan(np.frombuffer(body, np.uint8), begin, every, cuts)
    if end == _FAIL or not _TAIL.fullmatch(body, end + 1):
        return None
    places = cuts[:written].tolist()
    spans = zip([begin, *(place + 1 for place in places)], [*places, end], strict=True)
    return rows, (body[:begin] + body[start:stop] + b"]}" for start, stop in spans)
