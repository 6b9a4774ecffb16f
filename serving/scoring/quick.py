"""The arrays of QuickScorer, made from trees in preorder."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.contract import Matrix
from serving.scoring import kernels

MOST_LEAVES = 64  # one bit each
MOST_CUTS = 32_000  # codes are int16, and the two ends stand for missing values


@dataclass(frozen=True)
class QuickForm:
    """Trees of at most 64 leaves as bit masks; the arrays are explained at ``kernels.quick_score``."""

    cut_starts: npt.NDArray[np.int64]
    cuts: npt.NDArray[np.float64]
    tree_starts: npt.NDArray[np.int64]
    planes: npt.NDArray[np.int32]
    bins: npt.NDArray[np.int16]
    keep: npt.NDArray[np.unsignedinteger[Any]]
    leaves: npt.NDArray[np.float64]

    def score(self, features: Matrix, base: npt.NDArray[np.float64], out: Matrix) -> None:
        kernels.quick_score(
            features, self.cut_starts, self.cuts, self.tree_starts, self.planes, self.bins, self.keep, self.leaves,
            base, out,
        )  # fmt: skip


def quick_form(
    nodes: npt.NDArray[Any], values: npt.NDArray[np.float64], roots: npt.NDArray[np.int64]
) -> QuickForm | None:
    """The form of the trees in *nodes*, or None where it does not apply: large trees, or one value per class."""
    leaf = nodes["test"] < 0
    before = np.concatenate(
        [[0], np.cumsum(leaf)]
    )  # leaves in front of each node, which preorder numbers left to right
    counts = np.diff(before[roots])
    if values.shape[1] != 1 or counts.max() > MOST_LEAVES or leaf.all():
        return None
    inner = np.flatnonzero(~leaf)
    feature, threshold = nodes["test"][inner] >> 1, nodes["threshold"][inner]
    cuts = [np.unique(threshold[feature == one]) for one in range(int(feature.max()) + 1)]
    if max(map(len, cuts)) > MOST_CUTS:
        return None
    bins = np.empty(len(inner), np.int16)
    for one, own in enumerate(cuts):
        mine = feature == one
        bins[mine] = np.searchsorted(own, threshold[mine])
    tree = np.searchsorted(roots, inner, side="right") - 1
    low = (before[inner] - before[roots[tree]]).astype(np.uint64)
    high = (before[nodes["right"][inner]] - before[roots[tree]]).astype(np.uint64)
    bit = np.uint64(1)
    keep = ~(((bit << (high - low)) - bit) << low)  # a left subtree never holds all 64 leaves
    most = 32 if counts.max() <= 32 else MOST_LEAVES
    leaves = np.zeros((len(counts), most))
    rank = before[:-1][leaf] - np.repeat(before[roots[:-1]], counts)
    leaves[np.repeat(np.arange(len(counts)), counts), rank] = values[leaf, 0]
    return QuickForm(
        cut_starts=np.concatenate([[0], np.cumsum(list(map(len, cuts)))]).astype(np.int64),
        cuts=np.concatenate(cuts),
        tree_starts=np.searchsorted(inner, roots).astype(np.int64),
        planes=nodes["test"][inner].astype(np.int32),
        bins=bins,
        keep=keep.astype(np.uint32) if most == 32 else keep,
        leaves=leaves,
    )
