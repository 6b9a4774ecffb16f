"""Quoted moments of ISO 8601 in UTC to seconds, in compiled code and without the interpreter lock.

As in ``large``, a zero stands behind the last byte, and no byte is looked at behind one that does not fit.
"""

import numba as nb

from serving.columns.moments import days as _days
from serving.compiled import F8, I8

_FAIL = -1
_COLON, _MINUS, _POINT, _ZERO, _NINE, _QUOTE, _T, _Z, _BLANK = (ord(c) for c in ':-.09"TZ ')
days = nb.njit(_days, error_model="numpy")


@nb.njit(error_model="numpy")
def _count(body, at, digits):  # type: ignore[no-untyped-def]  # compiled
    """The number that so many *digits* at *at* write; or a failure."""
    value = 0
    for i in range(digits):
        if not _ZERO <= body[at + i] <= _NINE:
            return _FAIL
        value = value * 10 + I8(body[at + i] - _ZERO)
    return value


@nb.njit(error_model="numpy")
def _pair(body, at, mark):  # type: ignore[no-untyped-def]  # compiled
    """The two digits behind a *mark* that stands at *at*; or a failure."""
    return _count(body, at + 1, 2) if body[at] == mark else _FAIL


@nb.njit(error_model="numpy")
def moment(body, at):  # type: ignore[no-untyped-def]  # compiled
    """Where the quoted moment of ISO 8601 in UTC at *at* ends, and its seconds; or a failure."""
    year = _count(body, at + 1, 4) if body[at] == _QUOTE else _FAIL
    month = _pair(body, at + 5, _MINUS) if year > 0 else _FAIL
    day = _pair(body, at + 8, _MINUS) if 1 <= month <= 12 else _FAIL
    if day < 1 or day > days(year + month // 12, month % 12 + 1, 1) - days(year, month, 1):
        return _FAIL, 0.0
    at, seconds, fraction = at + 11, days(year, month, day) * 86_400, 0
    if body[at] == _T or body[at] == _BLANK:
        hour = _count(body, at + 1, 2)
        minute = _pair(body, at + 3, _COLON) if 0 <= hour < 24 else _FAIL
        if not 0 <= minute < 60:
            return _FAIL, 0.0
        at, seconds = at + 6, seconds + hour * 3_600 + minute * 60
        if body[at] == _COLON:
            second = _count(body, at + 1, 2)
            if not 0 <= second < 60:
                return _FAIL, 0.0
            at, seconds = at + 3, seconds + second
            if body[at] == _POINT:
                at, fraction = _fraction(body, at + 1)
    if body[at] == _Z:
        at += 1
    return (_FAIL if body[at] != _QUOTE or fraction == _FAIL else at + 1), F8(seconds) + F8(fraction) / 1e6


@nb.njit(error_model="numpy")
def _fraction(body, at):  # type: ignore[no-untyped-def]  # compiled
    """Where one to six digits at *at* end, and the microseconds that they write; or a failure."""
    digits, value = 0, 0
    while _ZERO <= body[at] <= _NINE and digits < 7:
        value = value * 10 + I8(body[at] - _ZERO)
        at, digits = at + 1, digits + 1
    if digits == 0 or digits == 7:
        return at, _FAIL
    for _ in range(6 - digits):
        value *= 10
    return at, value
