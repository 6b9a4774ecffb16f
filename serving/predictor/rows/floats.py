"""Decimal text to the nearest double, in compiled code and without the interpreter lock.

Lemire, "Number parsing at a gigabyte per second", Software: Practice and Experience 51 (2021), where the algorithm of
Eisel and Lemire is: the product of the digits with a truncated power of ten decides all but a few texts, which are left
to the caller.
"""

import numba as nb
import numpy as np
import numpy.typing as npt

SMALLEST, LARGEST = -330, 308  # decimal exponents of the table


def _powers() -> npt.NDArray[np.uint64]:
    """The leading 128 bits of each power of ten, truncated, as (high, low)."""
    table = np.empty((LARGEST - SMALLEST + 1, 2), np.uint64)
    for row, exponent in enumerate(range(SMALLEST, LARGEST + 1)):
        number = 10**exponent if exponent >= 0 else (1 << 1400) // 10**-exponent
        shift = number.bit_length() - 128
        leading = number >> shift if shift >= 0 else number << -shift
        table[row] = leading >> 64, leading & (2**64 - 1)
    return table


POWERS = _powers()
EXACT = np.array([float(10**n) for n in range(23)])  # powers of ten that are doubles
TWOS = np.ldexp(1.0, np.arange(-1075, 972))  # by exponent bits, for a mantissa that is a whole number
_LOW32, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_0, _1, _3, _9, _53, _63 = (np.uint64(n) for n in (0, 1, 3, 9, 53, 63))
_NINE_ONES = np.uint64(0x1FF)
_MOST_EXACT = np.uint64(1 << 53)


@nb.njit(error_model="numpy")
def _product(a, b):  # type: ignore[no-untyped-def]  # compiled
    """The 128 bits of a * b as (high, low)."""
    a_low, a_high, b_low, b_high = a & _LOW32, a >> _32, b & _LOW32, b >> _32
    low = a_low * b_low
    middle = a_high * b_low + (low >> _32)
    other = a_low * b_high + (middle & _LOW32)
    return a_high * b_high + (middle >> _32) + (other >> _32), (other << _32) | (low & _LOW32)


@nb.njit(error_model="numpy")
def nearest(digits, exponent):  # type: ignore[no-untyped-def]  # compiled
    """The double nearest to digits * 10**exponent, and whether it is certain; subnormal numbers never are."""
    if digits == _0:
        return 0.0, True
    if digits <= _MOST_EXACT and -22 <= exponent <= 22:
        exact = nb.float64(digits)
        return (exact / EXACT[-exponent] if exponent < 0 else exact * EXACT[exponent]), True
    if exponent < SMALLEST or exponent > LARGEST:
        return 0.0, False
    zeros = 0
    while digits >> _63 == _0:
        digits <<= _1
        zeros += 1
    power = POWERS[exponent - SMALLEST]
    high, low = _product(digits, power[0])
    if high & _NINE_ONES == _NINE_ONES and low + digits < digits:  # the truncated half of the power may carry
        more, rest = _product(digits, power[1])
        merged = low + more
        if merged < low:
            high += _1
        low = merged
        if high & _NINE_ONES == _NINE_ONES and low + _1 == _0 and rest + digits < digits:
            return 0.0, False
    top = high >> _63
    mantissa = high >> (top + _9)
    if low == _0 and high & _NINE_ONES == _0 and mantissa & _3 == _1:
        return 0.0, False  # halfway between two doubles, as far as the table tells
    mantissa = (mantissa + (mantissa & _1)) >> _1
    binary = ((217706 * exponent) >> 16) + 64 + 1023 - zeros - (1 - nb.int64(top))
    if mantissa >> _53 > _0:
        mantissa >>= _1
        binary += 1
    if binary < 1 or binary > 2046:
        return 0.0, False
    return nb.float64(mantissa) * TWOS[binary], True
