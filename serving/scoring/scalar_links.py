"""Links of boosted trees, number by number with the C library's exponential, as their libraries compute them.

numpy's exponential may round the last place otherwise where the processor has wide registers. The ``single`` links
compute in float32, as XGBoost does (``src/common/math.h``: Sigmoid and Softmax).
"""

import math

import numba as nb
import numpy as np
import numpy.typing as npt

from serving.compiled import B1, F4, F8, OUT, loop, read_only

Sums = npt.NDArray[np.float64]
MOST = nb.float32(88.7)  # the largest exponent XGBoost's logistic takes


@nb.njit(inline="always")
def _exp(value, single):  # type: ignore[no-untyped-def]  # compiled
    return F8(math.exp(nb.float32(value))) if single else math.exp(value)


@loop(nb.void(read_only(F8, 2), B1, OUT))
def exponential_of(raw, single, out):  # type: ignore[no-untyped-def]  # compiled
    """out (n_rows, 1) = exp(raw)."""
    for row in range(raw.shape[0]):
        out[row, 0] = _exp(raw[row, 0], single)


@loop(nb.void(read_only(F8, 2), B1, OUT))
def logistic_of(raw, single, out):  # type: ignore[no-untyped-def]  # compiled
    """out (n_rows, 2): the chances of both classes; in float32 the exponent is held at ``MOST``."""
    for row in range(raw.shape[0]):
        if single:
            below = nb.float32(math.exp(min(nb.float32(-raw[row, 0]), MOST)))
            share = nb.float32(1.0) / (below + nb.float32(1.0))
            out[row, 1] = share
            out[row, 0] = nb.float32(1.0) - share
        else:
            out[row, 1] = 1.0 / (1.0 + math.exp(-raw[row, 0]))
            out[row, 0] = 1.0 - out[row, 1]


@loop(nb.void(read_only(F8, 2), B1, OUT))
def softmax_of(raw, single, out):  # type: ignore[no-untyped-def]  # compiled
    """out (n_rows, n_classes); the sum of the exponentials is a float64 in both precisions, and then rounded."""
    for row in range(raw.shape[0]):
        top = raw[row, 0]
        for one in range(1, raw.shape[1]):
            top = max(top, raw[row, one])
        total = 0.0
        for one in range(raw.shape[1]):
            part = _exp(raw[row, one] - top, single)
            out[row, one] = part
            total += part
        for one in range(raw.shape[1]):
            if single:
                out[row, one] = nb.float32(out[row, one]) / nb.float32(total)
            else:
                out[row, one] /= total


@loop(nb.void(read_only(F4), nb.float64[::1]))
def log_into(values, out):  # type: ignore[no-untyped-def]  # compiled
    """The float32 logarithm of each value."""
    for at in range(values.shape[0]):
        out[at] = F8(math.log(values[at]))


def log_of(values: npt.NDArray[np.float32]) -> Sums:
    """Logarithms in float32, as XGBoost takes them of a base score; shape (n,)."""
    out = np.empty(len(values))
    log_into(np.ascontiguousarray(values, np.float32), out)
    return out


def exponential(raw: Sums, *, single: bool = False) -> Sums:
    out = np.empty((len(raw), 1))
    exponential_of(raw, single, out)
    return out[:, 0]


def logistic(raw: Sums, *, single: bool = False) -> Sums:
    out = np.empty((len(raw), 2))
    logistic_of(raw, single, out)
    return out


def softmax(raw: Sums, *, single: bool = False) -> Sums:
    out = np.empty(raw.shape)
    softmax_of(raw, single, out)
    return out
