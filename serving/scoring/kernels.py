"""The compiled loops: preparing features, walking trees, QuickScorer, and dot products.

Nothing here checks an index while it runs: ``program``, ``trees`` and ``linear`` check their arrays once, when they are
made or loaded. Signatures are explicit, so that importing this module compiles each loop once and every later process
takes the machine code from numba's cache. All loops release the interpreter lock and keep the order of every addition,
so a row's result does not depend on the rows beside it.
"""

from typing import Any

import numba as nb
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

# One node of a tree in preorder. The left child of an inner node is the next node, the right one is at ``right``.
# ``test`` is feature * 2 + (1 if a missing value goes left), or -1 for a leaf.
NODE = np.dtype([("threshold", "<f8"), ("right", "<i4"), ("test", "<i4")])

FILL, SUBTRACT, DIVIDE, MULTIPLY, ADD, AT_LEAST, AT_MOST, NOT_INFINITE = range(8)
ANY, NOT_INF, FINITE = range(3)  # what an estimator accepts as a feature

ROWS, FEW_ROWS = 256, 64  # blocks of QuickScorer for many rows and for few, worked on side by side
WALK_ROWS = 8192  # a block of the blocked walk: a deep tree comes from memory once per so many rows


def _in(dtype: Any, dimensions: int) -> Any:
    """The type of a contiguous array that is only read; arrays that may be written fit it too."""
    return nb.types.Array(dtype, dimensions, "C", readonly=True)


_F8, _I4, _I8, _B1 = nb.float64, nb.int32, nb.int64, nb.boolean
_OUT = _F8[:, ::1]
_NODES = _in(nb.from_dtype(NODE), 1)
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


@nb.njit(_I8(_in(_F8, 2), _in(_I4, 2), _in(_I4, 1), _in(_F8, 1), _in(_F8, 1), _in(_B1, 1), _I8, _B1, _OUT), **_OPTIONS)
def prepare(raw, columns, codes, operands, table, refused, accepts, narrow, out):  # type: ignore[no-untyped-def]  # compiled
    """Fill *out* (n_rows, n_features) from *raw*; the first cell that is refused as row * n_features + feature, or -1.

    columns: per feature its source column, 1 for a table lookup or 0 for arithmetic, and its span of entries or steps.
    """
    n_features = columns.shape[0]
    bad = -1
    for row in range(raw.shape[0]):
        for feature in range(n_features):
            value = raw[row, columns[feature, 0]]
            start, stop = columns[feature, 2], columns[feature, 3]
            fine = True
            if columns[feature, 1] == 1:
                last = stop - start - 1  # the missing value; before it the unknown category
                entry = last - 1
                if value != value:
                    entry = last
                elif value >= 0.0 and value < last:
                    entry = int(value)
                value = table[start + entry]
                fine = not refused[start + entry]
            else:
                for step in range(start, stop):
                    code, operand = codes[step], operands[step]
                    if code == FILL:
                        if value != value:
                            value = operand
                    elif code == SUBTRACT:
                        value = value - operand
                    elif code == DIVIDE:
                        value = value / operand
                    elif code == MULTIPLY:
                        value = value * operand
                    elif code == ADD:
                        value = value + operand
                    elif code == AT_LEAST:
                        if value < operand:
                            value = operand
                    elif code == AT_MOST:
                        if value > operand:
                            value = operand
                    elif np.isinf(value):
                        fine = False
            if narrow:
                value = _F8(nb.float32(value))
            if (accepts != ANY and np.isinf(value)) or (accepts == FINITE and value != value):
                fine = False
            if not fine and bad < 0:
                bad = row * n_features + feature
            out[row, feature] = value
    return bad


@nb.njit(inline="always")
def _next(features, row, nodes, at):  # type: ignore[no-untyped-def]  # compiled
    """The child that row takes at an inner node; a leaf stays where it is."""
    test = nodes[at].test
    if test < 0:
        return at
    value = features[row, test >> 1]
    left = (value <= nodes[at].threshold) | ((value != value) & ((test & 1) == 1))
    return at + 1 if left else _I8(nodes[at].right)


@nb.njit(inline="always")
def _leaf(features, row, nodes, root):  # type: ignore[no-untyped-def]  # compiled
    at = root
    while nodes[at].test >= 0:
        at = _next(features, row, nodes, at)
    return at


@nb.njit(inline="always")
def _four_leaves(features, row, nodes, root):  # type: ignore[no-untyped-def]  # compiled
    """Four rows at once: while one waits for memory the others go on."""
    a = b = c = d = root
    while nodes[a].test >= 0 or nodes[b].test >= 0 or nodes[c].test >= 0 or nodes[d].test >= 0:
        a = _next(features, row, nodes, a)
        b = _next(features, row + 1, nodes, b)
        c = _next(features, row + 2, nodes, c)
        d = _next(features, row + 3, nodes, d)
    return a, b, c, d


@nb.njit(nb.void(_in(_F8, 2), _NODES, _in(_F8, 2), _in(_I8, 1), _in(_F8, 1), _OUT), **_OPTIONS)
def walk(features, nodes, values, roots, base, out):  # type: ignore[no-untyped-def]  # compiled
    """Sum the leaves of all trees row by row: least work for one row.

    values: (n_nodes, 1), where tree t adds to output t modulo n_outputs, or (n_nodes, n_outputs), added to all.
    """
    n_trees, width, n_outputs = roots.shape[0] - 1, values.shape[1], out.shape[1]
    for row in range(features.shape[0]):
        for output in range(n_outputs):
            out[row, output] = base[output]
        output = 0
        for tree in range(n_trees):
            at = _leaf(features, row, nodes, roots[tree])
            if width == 1:
                out[row, output] += values[at, 0]
                output += 1
                if output == n_outputs:
                    output = 0
            else:
                for k in range(width):
                    out[row, k] += values[at, k]


@nb.njit(nb.void(_in(_F8, 2), _NODES, _in(_F8, 2), _in(_I8, 1), _in(_F8, 1), _OUT), **_OPTIONS)
def blocked_walk(features, nodes, values, roots, base, out):  # type: ignore[no-untyped-def]  # compiled
    """Like ``walk``, tree by tree within a block of rows, so that a deep tree is fetched once per block."""
    n_rows, n_trees, width, n_outputs = features.shape[0], roots.shape[0] - 1, values.shape[1], out.shape[1]
    for first in range(0, n_rows, WALK_ROWS):
        end = min(first + WALK_ROWS, n_rows)
        for row in range(first, end):
            for output in range(n_outputs):
                out[row, output] = base[output]
        for tree in range(n_trees):
            root, output = roots[tree], tree % n_outputs
            row = first
            while row + 4 <= end:
                a, b, c, d = _four_leaves(features, row, nodes, root)
                if width == 1:
                    out[row, output] += values[a, 0]
                    out[row + 1, output] += values[b, 0]
                    out[row + 2, output] += values[c, 0]
                    out[row + 3, output] += values[d, 0]
                else:
                    for k in range(width):
                        out[row, k] += values[a, k]
                        out[row + 1, k] += values[b, k]
                        out[row + 2, k] += values[c, k]
                        out[row + 3, k] += values[d, k]
                row += 4
            for rest in range(row, end):
                at = _leaf(features, rest, nodes, root)
                if width == 1:
                    out[rest, output] += values[at, 0]
                else:
                    for k in range(width):
                        out[rest, k] += values[at, k]


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
def _join(alive, word, lanes, bits):  # type: ignore[no-untyped-def]  # compiled
    """Octets of leaves side by side in one *word* per row."""
    for lane in range(lanes):
        bits[lane] = (
            word(alive[0, lane])
            | word(alive[1, lane]) << word(8)
            | word(alive[2, lane]) << word(16)
            | word(alive[3, lane]) << word(24)
        )
    for octet in range(4, alive.shape[0]):
        place = word(octet) << word(3)
        for lane in range(lanes):
            bits[lane] |= word(alive[octet, lane]) << place


def _quick(code_type: Any, mask_type: Any) -> Any:
    return nb.void(
        _in(_F8, 2), _in(_I8, 1), _in(_F8, 1), _in(_I8, 1), _in(_I4, 1), _in(code_type, 1), _in(_I4, 1),
        _in(nb.uint8, 1), _in(mask_type, 1), _in(_F8, 2), _in(_F8, 1), _OUT,
    )  # fmt: skip


def _quick_score(lanes: int) -> Any:
    """QuickScorer over bin codes, for blocks of *lanes* rows side by side, a number the compiler must know.

    Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles of regression trees",
    SIGIR 2015. Each inner node that a row fails clears the leaves of its left subtree; the lowest bit left is the leaf.
    As in Ye et al., "RapidScorer: fast tree ensemble evaluation by maximizing compactness in data level
    parallelization", KDD 2018, a node touches only the octets of leaves it can clear, so that codes and leaves are
    bytes and one instruction takes many rows.

    cut_starts, cuts: per feature its distinct thresholds, ascending; a row's code is how many of them lie below it.
    tests: per tree its first test, and the end. A test is an inner node and one octet of the leaves it clears.
    planes: per test feature * 2 + missing-goes-left: two codes per feature, which differ for missing values.
    bins: per test the highest code that goes left; codes start from the least value of their type.
    octets, keep: per test which octet of leaves, and those of them that stay when the row goes right.
    none: one zero, of the type that holds a bit for each leaf.
    """

    def quick_score(features, cut_starts, cuts, tests, planes, bins, octets, keep, none, leaves, base, out):  # type: ignore[no-untyped-def]  # compiled
        n_features, n_outputs = cut_starts.shape[0] - 1, out.shape[1]
        least = -128 if bins.itemsize == 1 else -32768
        values, low = np.zeros(lanes, np.float64), np.empty(lanes, np.int64)
        codes = np.empty((2 * n_features, lanes), bins.dtype)
        alive, bits = np.empty((leaves.shape[1] >> 3, lanes), np.uint8), np.empty(lanes, none.dtype)
        sums = np.empty((n_outputs, lanes), np.float64)
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
                _join(alive, none.dtype.type, lanes, bits)
                own, total = leaves[tree], sums[tree % n_outputs]
                for lane in range(lanes):
                    total[lane] += own[trailing_zeros(bits[lane])]
            for lane in range(rows):
                for output in range(n_outputs):
                    out[first + lane, output] = sums[output, lane]

    signatures = [_quick(code, mask) for code in (nb.int8, nb.int16) for mask in (nb.uint32, nb.uint64)]
    return nb.njit(signatures, **_OPTIONS)(quick_score)


quick_score, quick_score_few = _quick_score(ROWS), _quick_score(FEW_ROWS)


@nb.njit(nb.void(_in(_F8, 2), _in(_F8, 2), _in(_F8, 1), _OUT), **_OPTIONS)
def dot(features, coefficients, intercepts, out):  # type: ignore[no-untyped-def]  # compiled
    """features (n_rows, n_features) times coefficients (n_outputs, n_features), plus intercepts, summed in order."""
    for row in range(features.shape[0]):
        for output in range(coefficients.shape[0]):
            total = 0.0
            for feature in range(coefficients.shape[1]):
                total += features[row, feature] * coefficients[output, feature]
            out[row, output] = total + intercepts[output]


@nb.njit(_I8(_NODES, _I8, _I8, _I8), boundscheck=True, cache=True)
def check_preorder(nodes, start, end, n_features):  # type: ignore[no-untyped-def]  # compiled
    """Whether nodes[start:end] is one whole tree in preorder with features in range: -1, or the first node at fault.

    From the last node back, the size of each subtree is known before its parent needs it.
    """
    size = np.zeros(end - start, np.int64)
    for at in range(end - 1, start - 1, -1):
        test, right = nodes[at].test, nodes[at].right
        if test == -1:
            size[at - start] = 1
            continue
        if test < 0 or test >> 1 >= n_features or right <= at + 1 or right >= end:
            return at
        if right != at + 1 + size[at + 1 - start]:
            return at
        size[at - start] = 1 + size[at + 1 - start] + size[right - start]
    return -1 if end > start and size[0] == end - start else start
