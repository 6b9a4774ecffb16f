"""The compiled loops: preparing features, walking trees, and dot products.

Nothing here checks an index while it runs: ``program``, ``trees`` and ``linear`` check their arrays once, when they are
made or loaded. All loops keep the order of every addition, so a row's result does not depend on the rows beside it.
"""

import numba as nb
import numpy as np

from serving.compiled import B1, F8, I4, I8, OUT, loop, read_only

# One node of a tree in preorder. The left child of an inner node is the next node, the right one is at ``right``.
# ``test`` is feature * 2 + (1 if a missing value goes left), or -1 for a leaf.
NODE = np.dtype([("threshold", "<f8"), ("right", "<i4"), ("test", "<i4")])

FILL, SUBTRACT, DIVIDE, MULTIPLY, ADD, AT_LEAST, AT_MOST, NOT_INFINITE = range(8)
ANY, NOT_INF, FINITE = range(3)  # what an estimator accepts as a feature

WALK_ROWS = 8192  # a block of the blocked walk: a deep tree comes from memory once per so many rows

_NODES = read_only(nb.from_dtype(NODE))
_MATRIX = read_only(F8, 2)


@nb.njit(inline="always")
def _entry(value, start, stop):  # type: ignore[no-untyped-def]  # compiled
    """Where in start:stop the entry of a category stands; the last two are for an unknown and a missing one."""
    last = stop - start - 1
    if value != value:
        return start + last
    if value >= 0.0 and value < last:
        return start + int(value)
    return start + last - 1


@nb.njit(inline="always")
def stepped(value, code, operand):  # type: ignore[no-untyped-def]  # compiled
    """*value* after one step of arithmetic other than ``NOT_INFINITE``."""
    if code == FILL:
        return operand if value != value else value
    if code == SUBTRACT:
        return value - operand
    if code == DIVIDE:
        return value / operand
    if code == MULTIPLY:
        return value * operand
    if code == ADD:
        return value + operand
    if code == AT_LEAST:
        return operand if value < operand else value
    return operand if value > operand else value


@nb.njit(inline="always")
def _accepted(value, accepts):  # type: ignore[no-untyped-def]  # compiled
    return not ((accepts != ANY and np.isinf(value)) or (accepts == FINITE and value != value))


@loop(
    I8(
        _MATRIX, read_only(I4, 2), read_only(I4), read_only(F8), read_only(F8), read_only(B1), I8, B1, OUT
    )
)  # fmt: skip
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
                entry = _entry(value, start, stop)
                value, fine = table[entry], not refused[entry]
            else:
                for step in range(start, stop):
                    if codes[step] != NOT_INFINITE:
                        value = stepped(value, codes[step], operands[step])
                    elif np.isinf(value):
                        fine = False
            if narrow:
                value = F8(nb.float32(value))
            if bad < 0 and not (fine and _accepted(value, accepts)):
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
    return at + 1 if left else I8(nodes[at].right)


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


@nb.njit(inline="always")
def _plus(total, value, single):  # type: ignore[no-untyped-def]  # compiled
    """A sum in float64 or, of two float32, rounded as float32 adds: 53 bits hold what 24 and 24 need to round once."""
    return F8(nb.float32(total + value)) if single else total + value


_WALK = nb.void(_MATRIX, _NODES, _MATRIX, read_only(I8), read_only(F8), B1, OUT)


@loop(_WALK)
def walk(features, nodes, values, roots, base, single, out):  # type: ignore[no-untyped-def]  # compiled
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
                out[row, output] = _plus(out[row, output], values[at, 0], single)
                output += 1
                if output == n_outputs:
                    output = 0
            else:
                for k in range(width):
                    out[row, k] = _plus(out[row, k], values[at, k], single)


@loop(_WALK)
def blocked_walk(features, nodes, values, roots, base, single, out):  # type: ignore[no-untyped-def]  # compiled
    """Like ``walk``, tree by tree within a block of rows, so that a deep tree is fetched once per block."""
    n_rows, n_trees, width, n_outputs = features.shape[0], roots.shape[0] - 1, values.shape[1], out.shape[1]
    for first in range(0, n_rows, WALK_ROWS):
        end = min(first + WALK_ROWS, n_rows)
        for row in range(first, end):
            for output in range(n_outputs):
                out[row, output] = base[output]
        for tree in range(n_trees):
            root, output = roots[tree], tree * width % n_outputs
            row = first
            while row + 4 <= end:
                a, b, c, d = _four_leaves(features, row, nodes, root)
                for k in range(width):
                    out[row, output + k] = _plus(out[row, output + k], values[a, k], single)
                    out[row + 1, output + k] = _plus(out[row + 1, output + k], values[b, k], single)
                    out[row + 2, output + k] = _plus(out[row + 2, output + k], values[c, k], single)
                    out[row + 3, output + k] = _plus(out[row + 3, output + k], values[d, k], single)
                row += 4
            for rest in range(row, end):
                at = _leaf(features, rest, nodes, root)
                for k in range(width):
                    out[rest, output + k] = _plus(out[rest, output + k], values[at, k], single)


@loop(nb.void(_MATRIX, _MATRIX, read_only(F8), OUT))
def dot(features, coefficients, intercepts, out):  # type: ignore[no-untyped-def]  # compiled
    """features (n_rows, n_features) times coefficients (n_outputs, n_features), plus intercepts, summed in order."""
    for row in range(features.shape[0]):
        for output in range(coefficients.shape[0]):
            total = 0.0
            for feature in range(coefficients.shape[1]):
                total += features[row, feature] * coefficients[output, feature]
            out[row, output] = total + intercepts[output]


@loop(I8(_NODES, I8, I8, I8), boundscheck=True)
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
