"""QuickScorer as compiled loops: the leaves of many rows in one tree as bits, and a test of a node as one mask.

Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles of regression trees",
SIGIR 2015. Each inner node that a row fails clears the leaves of its left subtree; the lowest bit left is the leaf.
As in Ye et al., "RapidScorer: fast tree ensemble evaluation by maximizing compactness in data level
parallelization", KDD 2018, a node touches only the octets of leaves it can clear, so that codes and leaves are
bytes and one instruction takes many rows.

Nothing here checks an index while it runs; ``quick`` makes the arrays.
"""

from typing import Any

import numba as nb
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from serving.compiled import F8, I4, I8, OUT, U1, Loop, loop, read_only

FEW, SOME, MANY = 64, 128, 512  # rows of a block, worked on side by side


@nb.njit(inline="always")
def _code(values, cuts, start, end, least, lanes, low, right, left):  # type: ignore[no-untyped-def]  # compiled
    """The codes of one feature's values: *least* and how many of cuts[start:end] lie below.

    A missing value is above all cuts in *right* and below all in *left*. The search takes as many steps for every
    value and has no branch that depends on one, so that searches wait for memory side by side.
    """
    for lane in range(lanes):
        low[lane] = start
    rest = end - start
    while rest > 0:
        half = (rest + 1) >> 1
        for lane in range(lanes):
            at = low[lane]
            low[lane] = at + half if cuts[nb.uint64(at + half - 1)] < values[lane] else at
        rest = rest - half if rest > 1 else 0
    for lane in range(lanes):
        missing = values[lane] != values[lane]
        right[lane] = least + (end if missing else low[lane]) - start
        left[lane] = least + (start if missing else low[lane]) - start


@nb.njit(inline="always")
def _clear(codes, bound, kept, lanes, alive):  # type: ignore[no-untyped-def]  # compiled
    """One test of one tree; the cast keeps a row in a byte, without it numba widens to 64 bits."""
    for lane in range(lanes):
        alive[lane] = nb.uint8(alive[lane] & (nb.uint8(255) if codes[lane] <= bound else kept))


@nb.njit(inline="always")
def _lowest(alive, lanes, octet_of, octet_bits):  # type: ignore[no-untyped-def]  # compiled
    """Of each row the first octet with a leaf that is left."""
    last = alive.shape[0] - 1
    for lane in range(lanes):
        octet_of[lane] = last
        octet_bits[lane] = alive[last, lane]
    for back in range(last):
        octet = nb.uint8(last - 1 - back)
        for lane in range(lanes):
            bits = alive[octet, lane]
            octet_of[lane] = octet if bits != 0 else octet_of[lane]
            octet_bits[lane] = bits if bits != 0 else octet_bits[lane]


@nb.njit(inline="always")
def _add(leaves, octet_of, octet_bits, lanes, sums):  # type: ignore[no-untyped-def]  # compiled
    """To each row's sum the leaf that is its lowest bit."""
    for lane in range(lanes):
        sums[lane] += leaves[(nb.uint64(octet_of[lane]) << nb.uint64(3)) + trailing_zeros(nb.uint64(octet_bits[lane]))]


def _quick_score(lanes: int, code: Any, leaf: Any) -> Loop:
    """The loop for blocks of *lanes* rows side by side, a number the compiler must know.

    cut_starts, cuts: per feature its distinct thresholds, ascending; a row's code is how many of them lie below it.
    tests: per tree its first test, and the end. A test is an inner node and one octet of the leaves it clears.
    planes: per test feature * 2 + missing-goes-left: two codes per feature, which differ for missing values.
    bins: per test the highest code that goes left; codes start from the least value of their type.
    octets, keep: per test which octet of leaves, and those of them that stay when the row goes right.
    leaves: per tree the values of its leaves; in their type they are added up.
    """

    @loop(
        nb.void(
            read_only(F8, 2), read_only(I8), read_only(F8), read_only(I8), read_only(I4), read_only(code),
            read_only(I4), read_only(U1), read_only(leaf, 2), read_only(F8), OUT,
        )
    )  # fmt: skip
    def quick_score(features, cut_starts, cuts, tests, planes, bins, octets, keep, leaves, base, out):  # type: ignore[no-untyped-def]  # compiled
        n_features, n_outputs = cut_starts.shape[0] - 1, out.shape[1]
        least = -128 if bins.itemsize == 1 else -32768
        values, low = np.zeros(lanes, np.float64), np.empty(lanes, np.int64)
        codes = np.empty((2 * n_features, lanes), bins.dtype)
        alive = np.empty((leaves.shape[1] >> 3, lanes), np.uint8)
        octet_of, octet_bits = np.empty(lanes, np.uint8), np.empty(lanes, np.uint8)
        sums = np.empty((n_outputs, lanes), leaves.dtype)
        for first in range(0, features.shape[0], lanes):
            rows = min(lanes, features.shape[0] - first)
            for feature in range(n_features):
                for lane in range(rows):
                    values[lane] = features[first + lane, feature]
                start, end = cut_starts[feature], cut_starts[feature + 1]
                _code(values, cuts, start, end, least, lanes, low, codes[2 * feature], codes[2 * feature + 1])
            for output in range(n_outputs):
                sums[output] = base[output]
            for tree in range(tests.shape[0] - 1):
                alive[:] = nb.uint8(255)
                for test in range(tests[tree], tests[tree + 1]):
                    _clear(codes[planes[test]], bins[test], keep[test], lanes, alive[octets[test]])
                _lowest(alive, lanes, octet_of, octet_bits)
                _add(leaves[tree], octet_of, octet_bits, lanes, sums[tree % n_outputs])
            for lane in range(rows):
                for output in range(n_outputs):
                    out[first + lane, output] = sums[output, lane]

    return quick_score


LOOPS = {
    (lanes, np.dtype(str(code)), np.dtype(str(leaf))): _quick_score(lanes, code, leaf)
    for lanes in (FEW, SOME, MANY)
    for code in (nb.int8, nb.int16)
    for leaf in (nb.float64, nb.float32)
}
"""By rows of a block, type of the codes, and type of the sums."""
