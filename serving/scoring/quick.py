"""The arrays of QuickScorer, made from trees in preorder."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.contract import Matrix
from serving.scoring import quick_kernels

MOST_LEAVES = 256  # one bit each, of which a test reads the octets that it can clear; of larger trees a walk reads less
LANES = ((64, quick_kernels.FEW), (256, quick_kernels.SOME))  # of a block, up to so many rows
MOST_CUTS = 65_535  # codes are int16 at most, one more than there are cuts


@dataclass(frozen=True)
class QuickForm:
    """Trees of at most 256 leaves as bit masks; the arrays are explained at ``quick_kernels``."""

    cut_starts: npt.NDArray[np.int64]
    cuts: npt.NDArray[np.float64]
    tests: npt.NDArray[np.int64]
    planes: npt.NDArray[np.int32]
    bins: npt.NDArray[np.signedinteger[Any]]
    octets: npt.NDArray[np.int32]
    keep: npt.NDArray[np.uint8]
    leaves: npt.NDArray[np.floating[Any]]

    @cached_property
    def least_rows(self) -> int:
        """From which on a block of tests takes less time than walks: a straight line through what was measured."""
        return 6 + len(self.planes) // (13 * len(self.leaves))

    def score(self, features: Matrix, base: npt.NDArray[np.float64], out: Matrix) -> None:
        lanes = next((lanes for most, lanes in LANES if len(features) <= most), quick_kernels.MANY)
        quick_kernels.LOOPS[lanes, self.bins.dtype, self.leaves.dtype](
            features, self.cut_starts, self.cuts, self.tests, self.planes, self.bins, self.octets, self.keep,
            self.leaves, base, out,
        )  # fmt: skip


def quick_form(
    nodes: npt.NDArray[Any], values: npt.NDArray[np.float64], roots: npt.NDArray[np.int64], single: bool = False
) -> QuickForm | None:
    """The form of the trees in *nodes*, or None where it does not apply: large trees, or one value per class.

    Leaves are float32 where sums are *single*.
    """
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
    bins = np.empty(len(inner), np.int64)
    for one, own in enumerate(cuts):
        mine = feature == one
        bins[mine] = np.searchsorted(own, threshold[mine])
    code = np.int8 if max(map(len, cuts)) < 256 else np.int16
    tree = np.searchsorted(roots, inner, side="right") - 1
    most = 8 * -(-int(counts.max()) // 8)
    left, right = (before[at] - before[roots[tree]] for at in (inner, nodes["right"][inner]))
    test, octets, keep = _octets(left, right, most // 8)
    leaves = np.zeros((len(counts), most), np.float32 if single else np.float64)
    rank = before[:-1][leaf] - np.repeat(before[roots[:-1]], counts)
    leaves[np.repeat(np.arange(len(counts)), counts), rank] = values[leaf, 0]
    return QuickForm(
        cut_starts=np.concatenate([[0], np.cumsum(list(map(len, cuts)))]).astype(np.int64),
        cuts=np.concatenate(cuts),
        tests=np.searchsorted(inner[test], roots).astype(np.int64),
        planes=nodes["test"][inner[test]].astype(np.int32),
        bins=(bins[test] + np.iinfo(code).min).astype(code),
        octets=octets,
        keep=keep,
        leaves=leaves,
    )


def _octets(
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], octets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """The tests of inner nodes with the leaves *left* to *right* on their left: node, octet, and what it keeps."""
    places = np.arange(8 * octets).reshape(octets, 8)
    kept = (places < left[:, None, None]) | (places >= right[:, None, None])
    node, octet = np.nonzero(~kept.all(axis=2))
    return node, octet.astype(np.int32), np.packbits(kept, axis=2, bitorder="little")[node, octet, 0]
