"""The compiled loop that computes derived columns, row after row: in training, in batches and in the server.

A program is a list of instructions over registers: first the columns of a row, then constants, then one result for each
instruction. Nothing here checks an index while it runs: ``program`` checks its arrays once, when they are made or read.
Arithmetic is numpy's, bit for bit; a division by zero gives an infinity or a missing value.
"""

import math

import numba as nb
import numpy as np

from serving.compiled import F8, I4, I8, OUT, loop, read_only

(
    ADD, SUBTRACT, MULTIPLY, DIVIDE, FLOOR_DIVIDE, REMAINDER, POWER, MINIMUM, MAXIMUM, NEGATIVE, ABSOLUTE, FLOOR, CEIL,
    ROUND, SQRT, LOG, LOG1P, EXP, SIN, COS, LESS, AT_MOST, EQUAL, DIFFERENT, AND, OR, NOT, TRUE, IS_NULL, FILL, CHOOSE,
    DISTANCE, LOCAL, YEAR, MONTH, DAY, DATE, CLOCK, BIN, LOOK_UP,
) = range(40)  # fmt: skip
_UNARY = (NEGATIVE, ABSOLUTE, FLOOR, CEIL, ROUND, SQRT, LOG, LOG1P, EXP, SIN, COS, NOT, TRUE, IS_NULL, LOCAL, YEAR,
          MONTH, DAY, BIN, LOOK_UP)  # fmt: skip
OPERANDS = np.array([{CHOOSE: 3, DATE: 3, DISTANCE: 4, CLOCK: 4}.get(op, 1 if op in _UNARY else 2) for op in range(40)])
"""By instruction how many registers it reads; one of ``SPANNED`` has its part of the table behind them."""
SPANNED = (LOCAL, BIN, LOOK_UP)

EARTH_KM = 6371.0088  # mean radius, of the International Union of Geodesy and Geophysics (Moritz 1980)
DAY_S = 86_400
CYCLE_S = 146_097 * DAY_S  # 400 years, after which the calendar repeats with its weekdays
KNOWN_S = 16_725_225_600.0  # 2500-01-01: so far a zone's table goes; rules of its own the database has until 2087
FAR_S = 1e12  # of a moment, beyond which no calendar is asked

_pure = nb.njit(error_model="numpy")


@_pure
def _floor_divide(x, y):  # type: ignore[no-untyped-def]  # compiled
    """As numpy's ``npy_divmod``."""
    if y == 0.0:
        return x / y
    rest = np.fmod(x, y)
    quotient = (x - rest) / y
    if rest != 0.0 and (y < 0.0) != (rest < 0.0):
        quotient -= 1.0
    if quotient == 0.0:
        return math.copysign(0.0, x / y)
    whole = math.floor(quotient) * 1.0 if abs(quotient) < 4503599627370496.0 else quotient
    return whole + 1.0 if quotient - whole > 0.5 else whole


@_pure
def _remainder(x, y):  # type: ignore[no-untyped-def]  # compiled
    """As numpy's ``npy_remainder``: of the sign of *y*."""
    if y == 0.0:
        return np.nan
    rest = np.fmod(x, y)
    if rest == 0.0:
        return math.copysign(0.0, y)
    return rest + y if (y < 0.0) != (rest < 0.0) else rest


@_pure
def _distance(north, east, other_north, other_east):  # type: ignore[no-untyped-def]  # compiled
    """Kilometres between two places in degrees, on a sphere: the haversine formula (Sinnott 1984)."""
    degree = math.pi / 180.0
    up = math.sin((other_north - north) * degree / 2.0)
    over = math.sin((other_east - east) * degree / 2.0)
    part = up * up + math.cos(north * degree) * math.cos(other_north * degree) * over * over
    return 2.0 * EARTH_KM * math.asin(math.sqrt(min(part, 1.0))) if part == part else part


@_pure
def _days(year, month, day):  # type: ignore[no-untyped-def]  # compiled
    """Whole days from 1970-01-01 to a date (Hinnant, "chrono-Compatible Low-Level Date Algorithms")."""
    since = year - 1 if month <= 2 else year
    era = since // 400
    of_era = since - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@_pure
def _civil(days):  # type: ignore[no-untyped-def]  # compiled
    """Year, month and day of whole days since 1970-01-01; the way back of ``_days``."""
    shifted = days + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    years = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * years + years // 4 - years // 100)
    turn = (5 * of_year + 2) // 153
    month = turn + 3 if turn < 10 else turn - 9
    year = years + era * 400 + (1 if month <= 2 else 0)
    return year, month, of_year - (153 * turn + 2) // 5 + 1


@_pure
def _calendar(code, moment):  # type: ignore[no-untyped-def]  # compiled
    if not abs(moment) < FAR_S:
        return np.nan
    year, month, day = _civil(I8(math.floor(moment / DAY_S)))
    return F8(year if code == YEAR else month if code == MONTH else day)


@_pure
def _date(year, month, day):  # type: ignore[no-untyped-def]  # compiled
    """Seconds from 1970 to a date; missing if there is none."""
    if not (1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31):
        return np.nan
    y, m, d = I8(year), I8(month), I8(day)
    days = _days(y, m, d)
    back, _, same = _civil(days)
    if y != year or m != month or d != day or same != d or back != y:
        return np.nan
    return F8(days * DAY_S)


@_pure
def _clock(start, hour, minute, second):  # type: ignore[no-untyped-def]  # compiled
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return np.nan
    return start + hour * 3600.0 + minute * 60.0 + second


@_pure
def _at_most(value, table, start, stop):  # type: ignore[no-untyped-def]  # compiled
    """How many of the ascending table[start:stop] are at most *value*."""
    low, high = start, stop
    while low < high:
        middle = (low + high) // 2
        if table[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low - start


@_pure
def _entry(code, table, start, stop):  # type: ignore[no-untyped-def]  # compiled
    """Of a category its entry in table[start:stop]; the last two are for an unknown and for a missing one."""
    if code != code:
        return table[stop - 1]
    return table[start + I8(code)] if 0.0 <= code < stop - start - 2 else table[stop - 2]


@_pure
def _local(moment, table, start, stop):  # type: ignore[no-untyped-def]  # compiled
    """*moment* by the clocks of a zone: table[start:stop] is n moments of change, then n + 1 offsets in seconds."""
    if not abs(moment) < FAR_S:
        return np.nan
    asked = moment
    if asked >= KNOWN_S:
        asked -= math.floor((asked - KNOWN_S) / CYCLE_S + 1.0) * CYCLE_S
    changes = (stop - start) // 2
    return moment + table[start + changes + _at_most(asked, table, start, start + changes)]


@_pure
def _arithmetic(code, x, y):  # type: ignore[no-untyped-def]  # compiled
    if code == ADD:
        return x + y
    if code == SUBTRACT:
        return x - y
    if code == MULTIPLY:
        return x * y
    if code == DIVIDE:
        return x / y
    if code == FLOOR_DIVIDE:
        return _floor_divide(x, y)
    if code == REMAINDER:
        return _remainder(x, y)
    if code == POWER:
        return x**y
    if code == MINIMUM:
        return x if x < y or x != x else y
    return x if x > y or x != x else y


@_pure
def _function(code, x):  # type: ignore[no-untyped-def]  # compiled
    if code == NEGATIVE:
        return -x
    if code == ABSOLUTE:
        return abs(x)
    if code == FLOOR:
        return np.floor(x)
    if code == CEIL:
        return np.ceil(x)
    if code == ROUND:
        return np.rint(x)
    if code == SQRT:
        return np.sqrt(x)
    if code == LOG:
        return np.log(x)
    if code == LOG1P:
        return np.log1p(x)
    if code == EXP:
        return np.exp(x)
    return np.sin(x) if code == SIN else np.cos(x)


@_pure
def _truth(code, x, y):  # type: ignore[no-untyped-def]  # compiled
    """Of truths 1 is true, and 0 and missing are not."""
    if code == LESS:
        return x < y
    if code == AT_MOST:
        return x <= y
    if code == EQUAL:
        return x == y
    if code == DIFFERENT:
        return x != y
    if code == AND:
        return x == 1.0 and y == 1.0
    if code == OR:
        return x == 1.0 or y == 1.0
    if code == NOT:
        return x != 1.0
    return x == 1.0 if code == TRUE else x != x


@_pure
def _step(code, r, a, b, c, d, table):  # type: ignore[no-untyped-def]  # compiled
    """The result of one instruction."""
    if code <= MAXIMUM:
        return _arithmetic(code, r[a], r[b])
    if code <= COS:
        return _function(code, r[a])
    if code <= IS_NULL:
        return 1.0 if _truth(code, r[a], r[b]) else 0.0
    if code == FILL:
        return r[b] if r[a] != r[a] else r[a]
    if code == CHOOSE:
        return r[b] if r[a] == 1.0 else r[c]
    if code == LOOK_UP:
        return _entry(r[a], table, c, d)
    if code == LOCAL:
        return _local(r[a], table, c, d)
    if code <= DAY and code >= YEAR:
        return _calendar(code, r[a])
    if code == DATE:
        return _date(r[a], r[b], r[c])
    if code == CLOCK:
        return _clock(r[a], r[b], r[c], r[d])
    if code == BIN:
        return F8(_at_most(r[a], table, c, d)) if r[a] == r[a] else r[a]
    return _distance(r[a], r[b], r[c], r[d])


@loop(nb.void(read_only(F8, 2), read_only(I4, 2), read_only(F8), read_only(F8), read_only(I4), OUT))
def derive(raw, code, constants, table, results, out):  # type: ignore[no-untyped-def]  # compiled
    """Fill *out* (n_rows, n_columns + n_results) with *raw* and the results behind it, infinite ones as missing.

    code: per instruction what it does and four operands, registers or ends of its span of *table*; results: registers.
    """
    n_columns = raw.shape[1]
    first = n_columns + constants.shape[0]
    r = np.empty(first + code.shape[0])
    r[n_columns:first] = constants
    for row in range(raw.shape[0]):
        for column in range(n_columns):
            r[column] = out[row, column] = raw[row, column]
        for at in range(code.shape[0]):
            r[first + at] = _step(
                I8(code[at, 0]), r, I8(code[at, 1]), I8(code[at, 2]), I8(code[at, 3]), I8(code[at, 4]), table
            )
        for place in range(results.shape[0]):
            value = r[results[place]]
            out[row, n_columns + place] = np.nan if np.isinf(value) else value
