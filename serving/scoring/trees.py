"""Trees and ensembles of trees as one flat array of nodes, summed exactly as their library sums them.

scikit-learn compares float32 features with float64 thresholds (forests, gradient boosting) or float64 with float64
(histogram gradient boosting), adds leaves in the order of the trees, and divides a forest's sum once at the end;
XGBoost adds in float32. The same operations in the same order give the same bits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.archive import Arrays
from serving.contract import Matrix
from serving.scoring import kernels
from serving.scoring.kernels import NODE
from serving.scoring.quick import QuickForm, quick_form
from serving.scoring.sets import BLOCK_ROWS, NO_SETS, Sets

Array = npt.NDArray[Any]
AT_ONCE = 4  # rows that a tree is walked by side by side; of fewer rows the trees are


@dataclass(frozen=True)
class Forest:
    """Trees over features.

    Attributes:
        nodes: all trees one after the other, each in preorder; see ``kernels.NODE``.
        values: (n_nodes, 1), where tree t adds to output t modulo n_outputs, or (n_nodes, n_outputs).
        roots: (n_trees + 1,) first node of each tree, and the end.
        base: (n_outputs,) where the sums start.
        divisor: what they are divided by at the end, the number of trees of a forest and else 1.
        single: each sum is rounded to float32 after each addition.
        sets: of categories, which nodes ask as features behind the others.
    """

    nodes: Array
    values: npt.NDArray[np.float64]
    roots: npt.NDArray[np.int64]
    base: npt.NDArray[np.float64]
    divisor: float
    single: bool = False
    sets: Sets = NO_SETS

    def raw(self, features: Matrix) -> Matrix:
        """Sums of shape (n_rows, n_outputs); which loop computes them changes the time and no bit."""
        out = np.empty((len(features), len(self.base)))
        if len(self.sets):
            for first in range(0, len(features), BLOCK_ROWS):
                part = slice(first, first + BLOCK_ROWS)
                self._sum(self.sets.widened(features[part]), out[part])
        else:
            self._sum(features, out)
        if self.divisor != 1.0:
            out /= self.divisor
        return out

    def _sum(self, features: Matrix, out: Matrix) -> None:
        if len(features) < AT_ONCE:
            kernels.walk(features, self.nodes, self.values, self.roots, self.base, self.single, out)
        elif self.quick is not None and len(features) >= self.quick.least_rows:
            self.quick.score(features, self.base, out)
        else:
            kernels.blocked_walk(features, self.nodes, self.values, self.roots, self.base, self.single, out)

    @cached_property
    def quick(self) -> QuickForm | None:
        return quick_form(self.nodes, self.values, self.roots, self.single)

    def fault(self, n_features: int) -> str | None:
        """What would lead a compiled loop astray, or None: checked whenever the arrays come from a file."""
        outputs = len(self.base)
        if self.nodes.dtype != NODE or self.nodes.ndim != 1 or self.base.ndim != 1 or not outputs:
            return "nodes of another layout"
        if self.values.ndim != 2 or len(self.values) != len(self.nodes) or self.values.shape[1] not in (1, outputs):
            return f"values of shape {self.values.shape} for {len(self.nodes)} nodes and {outputs} outputs"
        if self.roots.ndim != 1 or len(self.roots) < 2 or self.roots[0] != 0 or self.roots[-1] != len(self.nodes):
            return "roots that do not cover the nodes"
        if (np.diff(self.roots) < 1).any():
            return "a tree without nodes"
        if found := self.sets.fault(n_features):
            return found
        n_features += len(self.sets)
        for tree in range(len(self.roots) - 1):
            at = kernels.check_preorder(self.nodes, self.roots[tree], self.roots[tree + 1], n_features)
            if at >= 0:
                return f"tree {tree}, which leaves its order at node {at - self.roots[tree]}"
        return None

    def to_arrays(self) -> tuple[dict[str, Any], Arrays]:
        """A JSON-able head, and the arrays by name."""
        head = {"divisor": self.divisor, **({"single": True} if self.single else {})}
        own = {"nodes": self.nodes, "values": self.values, "roots": self.roots, "base": self.base}
        return head, {**own, **(self.sets.to_arrays() if len(self.sets) else {})}

    @classmethod
    def from_arrays(cls, head: Mapping[str, Any], arrays: Arrays) -> "Forest":
        nodes = arrays["nodes"]
        return cls(
            nodes=np.ascontiguousarray(nodes if nodes.dtype == NODE else nodes.astype(NODE)),
            values=np.ascontiguousarray(arrays["values"], np.float64),
            roots=np.ascontiguousarray(arrays["roots"], np.int64),
            base=np.ascontiguousarray(arrays["base"], np.float64),
            divisor=float(head["divisor"]),
            single=bool(head.get("single", False)),
            sets=Sets.from_arrays(arrays),
        )


ARRAYS = ("nodes", "values", "roots", "base", *NO_SETS.to_arrays())
"""The names of a forest's arrays with its sets."""


@dataclass(frozen=True)
class Grown:
    """One tree with the fields that the trees of all libraries have; ``values`` is (n_nodes, width)."""

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float64]
    missing_left: npt.NDArray[np.bool_]
    leaf: npt.NDArray[np.bool_]
    values: npt.NDArray[np.float64]


def grown_tree(tree: Any, missing: bool, scale: float | None = None) -> Grown:
    """A ``sklearn.tree._tree.Tree`` of one output.

    Args:
        missing: whether missing values reach it; over sparse input scikit-learn sends them right.
        scale: what its values are multiplied by, as gradient boosting does with its learning rate.
    """
    nodes = tree.__getstate__()["nodes"]
    values = np.asarray(tree.value, np.float64)[:, 0, :]
    leaf = nodes["left_child"] == -1
    return Grown(
        nodes["left_child"].astype(np.int64), nodes["right_child"].astype(np.int64),
        nodes["feature"].astype(np.int64), nodes["threshold"].astype(np.float64),
        (nodes["missing_go_to_left"] == 1) & ~leaf & missing, leaf, values if scale is None else scale * values,
    )  # fmt: skip


def grown_predictor(predictor: Any) -> Grown:
    """A tree of histogram gradient boosting."""
    nodes = predictor.nodes
    return Grown(
        nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), nodes["feature_idx"].astype(np.int64),
        nodes["num_threshold"].astype(np.float64), nodes["missing_go_to_left"] == 1, nodes["is_leaf"] == 1,
        nodes["value"].astype(np.float64)[:, None],
    )  # fmt: skip


def plant(
    trees: Iterable[Grown],
    base: Sequence[float],
    divisor: float = 1.0,
    *,
    single: bool = False,
    sets: Sets = NO_SETS,
) -> Forest:
    """One forest of *trees*, each brought into preorder."""
    nodes, values, roots = [], [], [0]
    for tree in trees:
        order = _preorder(tree)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        flat = np.zeros(len(order), NODE)
        leaf = tree.leaf[order]
        flat["threshold"] = np.where(leaf, 0.0, tree.threshold[order])
        flat["right"] = np.where(leaf, 0, roots[-1] + place[np.where(leaf, 0, tree.right[order])])
        flat["test"] = np.where(leaf, -1, tree.feature[order] * 2 + tree.missing_left[order])
        nodes.append(flat)
        values.append(tree.values[order])
        roots.append(roots[-1] + len(order))
    return Forest(
        np.concatenate(nodes),
        np.ascontiguousarray(np.concatenate(values)),
        np.array(roots, np.int64),
        np.array(base, np.float64),
        divisor,
        single,
        sets,
    )


def _preorder(tree: Grown) -> npt.NDArray[np.int64]:
    """Old node numbers in preorder; nearly always they are in it already."""
    inner = np.flatnonzero(~tree.leaf)
    if (tree.left[inner] == inner + 1).all() and _follows(tree):
        return np.arange(len(tree.leaf))
    order, waiting = [], [0]
    while waiting:
        at = waiting.pop()
        order.append(at)
        if not tree.leaf[at]:
            waiting += [int(tree.right[at]), int(tree.left[at])]
    return np.array(order, np.int64)


def _follows(tree: Grown) -> bool:
    """Whether every right child stands right behind its sibling's subtree: so do the children taken in order."""
    flat = np.zeros(len(tree.leaf), NODE)
    flat["right"] = np.where(tree.leaf, 0, tree.right)
    flat["test"] = np.where(tree.leaf, -1, 0)
    return bool(kernels.check_preorder(flat, 0, len(flat), 1) == -1)
