"""The compiled loops of exact Shapley values of trees.

Interventional values (Lundberg and others, "From local explanations to global understanding with explainable AI for
trees", Nature Machine Intelligence 2 (2020); Laberge and Pequignot, "Understanding interventional TreeSHAP", 2022): of
a row and one background row, a coalition of columns takes its cells from the row and all others from the background.
Where both go the same way at a node there is nothing to tell apart; elsewhere the walk takes both ways, and from there
on a column is the row's in one of them and the background's in the other. A leaf behind p columns of the row and q of
the background is reached by the coalitions that hold all of the p and none of the q.
"""

import numba as nb
import numpy as np

from serving.compiled import F8, I4, I8, OUT, loop, read_only
from serving.scoring.kernels import NODE

_NODES = read_only(nb.from_dtype(NODE))
_MATRIX = read_only(F8, 2)
_UNSEEN, _ROW, _BACKGROUND = 0, 1, 2  # whose cells a column has on the way to a node


@nb.njit(inline="always")
def _next(features, row, nodes, at):  # type: ignore[no-untyped-def]  # compiled
    """The child that row takes at an inner node."""
    test = nodes[at].test
    value = features[row, test >> 1]
    left = (value <= nodes[at].threshold) | ((value != value) & ((test & 1) == 1))
    return at + 1 if left else I8(nodes[at].right)


@nb.njit(nogil=True)
def _pair(rows, background, x, z, nodes, values, root, output, owners, shares, state, out):  # type: ignore[no-untyped-def]  # compiled
    """Add the values of one row, background row and tree to *out*; *state* is as ``pairs`` says, all unseen."""
    side, path, waiting, since = state
    at, n, a, b = root, 0, 0, 0
    gained, lost = 0.0, 0.0
    while True:
        while nodes[at].test >= 0:
            to_x, to_z = _next(rows, x, nodes, at), _next(background, z, nodes, at)
            if to_x == to_z:
                at = to_x
                continue
            player = owners[nodes[at].test >> 1]
            if side[player] == _UNSEEN:
                path[n], waiting[n], since[n] = player, to_z, gained
                side[player] = _ROW
                n, a = n + 1, a + 1
            at = to_z if side[player] == _BACKGROUND else to_x
        value = values[at, output]
        if a > 0:
            gained += shares[a - 1, b] * value
        if b > 0:
            lost += shares[b - 1, a] * value
        while n > 0 and side[path[n - 1]] == _BACKGROUND:
            n, b = n - 1, b - 1
            side[path[n]] = _UNSEEN
            out[x, path[n]] -= lost - since[n]
        if n == 0:
            return
        player = path[n - 1]
        out[x, player] += gained - since[n - 1]
        side[player], since[n - 1], at = _BACKGROUND, lost, waiting[n - 1]
        a, b = a - 1, b + 1


@loop(
    nb.void(
        _MATRIX, _MATRIX, _NODES, _MATRIX, read_only(I8), read_only(I4), read_only(I8), I8, _MATRIX, OUT
    )
)  # fmt: skip
def pairs(rows, background, nodes, values, roots, owners, outputs, n_outputs, shares, out):  # type: ignore[no-untyped-def]  # compiled
    """Add to *out* (n_rows, n_players) each row's values, summed over all trees and background rows.

    owners: (n_features,) the player that a feature belongs to. outputs: (n_rows,) the output that is told apart.
    shares: of ``shares_of``, for the longest path. values, roots: as ``Forest`` has them.
    """
    width, most = values.shape[1], shares.shape[0]
    side = np.zeros(out.shape[1], np.int8)
    path, waiting, since = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most)
    state = (side, path, waiting, since)
    for tree in range(roots.shape[0] - 1):
        for x in range(rows.shape[0]):
            output = outputs[x]
            if width == 1:
                if tree % n_outputs != output:
                    continue
                output = 0
            for z in range(background.shape[0]):
                _pair(rows, background, x, z, nodes, values, roots[tree], output, owners, shares, state, out)


@loop(I8(_NODES, read_only(I8)))
def longest_path(nodes, roots):  # type: ignore[no-untyped-def]  # compiled
    """The most inner nodes between a root and a leaf."""
    depths, most = np.zeros(nodes.shape[0], np.int64), 0
    for tree in range(roots.shape[0] - 1):
        for at in range(roots[tree], roots[tree + 1]):
            if nodes[at].test >= 0:
                below = depths[at] + 1
                depths[at + 1], depths[nodes[at].right] = below, below
                most = max(most, below)
    return most
