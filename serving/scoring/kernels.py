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
def _next(row, nodes, at):  # type: ignore[no-untyped-def]  # compiled
    """The child that a row takes at an inner node; a leaf stays where it is."""
    test = nodes[at].test
    if test < 0:
        return at
    value = row[nb.uint64(test >> 1)]  # never negative, which saves a case
    left = (value <= nodes[at].threshold) | ((value != value) & ((test & 1) == 1))
    return at + 1 if left else I8(nodes[at].right)


@nb.njit(inline="always")
def _leaf(row, nodes, at):  # type: ignore[no-untyped-def]  # compiled
    """The leaf below *at* that a row comes to; with branches, which a processor runs ahead of."""
    while nodes[at].test >= 0:
        value = row[nb.uint64(nodes[at].test >> 1)]
        if value <= nodes[at].threshold or (value != value and (nodes[at].test & 1) == 1):
            at = at + 1
        else:
            at = I8(nodes[at].right)
    return at


@nb.njit(inline="always")
def _four_leaves(k, m, n, o, nodes, a, b, c, d):  # type: ignore[no-untyped-def]  # compiled
    """Four walks of rows *k* to *o* from *a* to *d*: while one waits for memory the others go on."""
    while (nodes[a].test & nodes[b].test & nodes[c].test & nodes[d].test) >= 0:
        a = _next(k, nodes, a)
        b = _next(m, nodes, b)
        c = _next(n, nodes, c)
        d = _next(o, nodes, d)
    return a, b, c, d


@nb.njit(inline="always")
def _plus(total, value, single):  # type: ignore[no-untyped-def]  # compiled
    """A sum in float64 or, of two float32, rounded as float32 adds: 53 bits hold what 24 and 24 need to round once."""
    return F8(nb.float32(total + value)) if single else total + value


_WALK = nb.void(_MATRIX, _NODES, _MATRIX, read_only(I8), read_only(F8), B1, OUT)


@nb.njit(inline="always")
def _add(row, values, at, tree, single):  # type: ignore[no-untyped-def]  # compiled
    """What leaf *at* of a tree says, to the outputs of one row."""
    n_outputs, width = row.shape[0], values.shape[1]
    first = 0 if width == n_outputs else tree % n_outputs
    for k in range(width):
        row[first + k] = _plus(row[first + k], values[at, k], single)


@nb.njit(inline="always")
def _walk_row(row, nodes, values, roots, first, end, base, single, sums):  # type: ignore[no-untyped-def]  # compiled
    """The leaves of trees first:end, four at a time; their outputs are counted from *first*."""
    sums[:] = base
    for tree in range(first, end - 3, 4):
        a, b, c, d = roots[tree], roots[tree + 1], roots[tree + 2], roots[tree + 3]
        a, b, c, d = _four_leaves(row, row, row, row, nodes, a, b, c, d)
        _add(sums, values, a, tree - first, single)
        _add(sums, values, b, tree - first + 1, single)
        _add(sums, values, c, tree - first + 2, single)
        _add(sums, values, d, tree - first + 3, single)
    for tree in range(end - (end - first) % 4, end):
        _add(sums, values, _leaf(row, nodes, roots[tree]), tree - first, single)


@loop(_WALK)
def walk(features, nodes, values, roots, base, single, out):  # type: ignore[no-untyped-def]  # compiled
    """Sum the leaves of all trees row by row, four trees at a time: least work for one row.

    values: (n_nodes, 1), where tree t adds to output t modulo n_outputs, or (n_nodes, n_outputs), added to all.
    """
    for at in range(features.shape[0]):
        _walk_row(features[at], nodes, values, roots, 0, roots.shape[0] - 1, base, single, out[at])


@loop(
    nb.void(
        _MATRIX, _NODES, _MATRIX, read_only(I8), read_only(I8), read_only(I8), read_only(F8), read_only(B1), OUT
    )
)  # fmt: skip
def walk_each(features, nodes, values, roots, trees, outputs, base, single, out):  # type: ignore[no-untyped-def]  # compiled
    """Like ``walk`` for several forests, of which each has its own of the *trees* and *outputs* between two bounds."""
    for at in range(features.shape[0]):
        for one in range(single.shape[0]):
            low, high = outputs[one], outputs[one + 1]
            _walk_row(
                features[at], nodes, values, roots, trees[one], trees[one + 1], base[low:high], single[one],
                out[at, low:high],
            )  # fmt: skip


@loop(_WALK)
def blocked_walk(features, nodes, values, roots, base, single, out):  # type: ignore[no-untyped-def]  # compiled
    """Like ``walk``, tree by tree within a block of rows, four at a time, so that a deep tree is fetched once."""
    n_rows, n_trees = features.shape[0], roots.shape[0] - 1
    for first in range(0, n_rows, WALK_ROWS):
        end = min(first + WALK_ROWS, n_rows)
        out[first:end] = base
        for tree in range(n_trees):
            root = roots[tree]
            for at in range(first, end - 3, 4):
                k, m, n, o = features[at], features[at + 1], features[at + 2], features[at + 3]
                a, b, c, d = _four_leaves(k, m, n, o, nodes, root, root, root, root)
                _add(out[at], values, a, tree, single)
                _add(out[at + 1], values, b, tree, single)
                _add(out[at + 2], values, c, tree, single)
                _add(out[at + 3], values, d, tree, single)
            for at in range(end - (end - first) % 4, end):
                _add(out[at], values, _leaf(features[at], nodes, root), tree, single)


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
