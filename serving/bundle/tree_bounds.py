"""Whether the trees of a ``model.skops`` can be walked safely, read off its JSON and arrays before any is constructed.

scikit-learn's compiled loops follow child and feature indices without checking them. A tree passes when its children
are both absent, or both lie behind their parent and before the end (so every walk moves forward and ends), and its
features lie in [0, n_features) of the estimator around it; array types must be exactly scikit-learn's, so that no later
conversion can wrap a number around.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle.model_types import FLAT, TREE_ESTIMATORS
from serving.errors import GateRefusal
from serving.scoring.links import outputs_of
from serving.scoring.trees import ARRAYS, Forest

Node = dict[str, Any]
Array = np.ndarray[Any, np.dtype[Any]]
Reader = Callable[[str], Array]

TREE_FIELDS = {
    "left_child": "<i8", "right_child": "<i8", "feature": "<i8", "threshold": "<f8", "impurity": "<f8",
    "n_node_samples": "<i8", "weighted_n_node_samples": "<f8", "missing_go_to_left": "|u1",
}  # fmt: skip
PREDICTOR_FIELDS = {
    "value": "<f8", "count": "<u4", "feature_idx": "<i8", "num_threshold": "<f8", "missing_go_to_left": "|u1",
    "left": "<u4", "right": "<u4", "gain": "<f8", "depth": "<u4", "is_leaf": "|u1", "bin_threshold": "|u1",
    "is_categorical": "|u1", "bitset_idx": "<u4",
}  # fmt: skip


def check_trees(schema: Node, read: Reader) -> None:
    """Refuse the first tree of *schema* that leads astray; *read* gives the array of a member.

    Raises:
        GateRefusal: with the tree's number in order of appearance and what is wrong with it.
    """
    _Walk(read).visit(schema, None, None)


class _Walk:
    def __init__(self, read: Reader) -> None:
        self.read = read
        self.trees = 0

    def visit(self, value: Any, width: int | None, outputs: int | None) -> None:
        """Go through *value*, carrying the feature count and the boosted outputs of the estimator around it."""
        if isinstance(value, dict):
            name = f"{value.get('__module__')}.{value.get('__class__')}"
            if name in TREE_ESTIMATORS:
                width, outputs = self._estimator(value, name, width, outputs)
            elif value.get("__loader__") == "TreeNode":
                self._tree(value, width, outputs)
            elif name.endswith(".TreePredictor"):
                self._predictor(value, width)
            elif name in FLAT:
                self._flat(value, name, width)
            elif name.endswith("._BinMapper"):
                self._bin_mapper(value)
            for child in value.values():
                self.visit(child, width, outputs)
        elif isinstance(value, list):
            for child in value:
                self.visit(child, width, outputs)

    def _estimator(
        self, node: Node, name: str, around: int | None, outputs: int | None
    ) -> tuple[int | None, int | None]:
        state = node["content"]["content"]
        if "n_features_in_" not in state:
            if any(part in state for part in ("tree_", "estimators_", "_predictors")):
                raise GateRefusal(f"model.skops: {name} does not say how many features it takes; train a new bundle")
            return around, outputs  # an unfitted parameter, which holds no trees
        width = _integer(state["n_features_in_"])
        if around is not None and width != around:
            raise GateRefusal(
                f"model.skops: {name} takes {width} features inside of an estimator that takes {around}; "
                "the file was tampered with"
            )
        if state.get("_preprocessor", {}).get("content", "null") != "null":
            raise GateRefusal(
                f"model.skops: {name} preprocesses by itself; use features.encode instead of categorical_features"
            )
        if "._gb." in name:
            outputs = self._stages(state, name)
        return width, outputs

    def _stages(self, state: Node, name: str) -> int:
        """Gradient boosting writes tree k of a stage to output k without a check: all counts must agree."""
        outputs = _integer(state["n_trees_per_iteration_"])
        classes = _integer(state["n_classes_"]) if "n_classes_" in state else 1
        stages = state["estimators_"]["content"]
        sizes = {len(stage["content"]) if stage["__loader__"] == "ListNode" else 0 for stage in stages}
        if outputs != (1 if classes <= 2 else classes) or sizes != {outputs}:
            raise GateRefusal(
                f"model.skops: {name} has stages of {sorted(sizes)} trees for {outputs} outputs and {classes} classes; "
                "the file was tampered with"
            )
        start = state["init_"]
        if start["__class__"] == "DummyClassifier":
            prior = self.read(start["content"]["content"]["class_prior_"]["file"])
            if prior.shape != (classes,):
                raise GateRefusal(
                    f"model.skops: {name} starts from {prior.shape} class shares, expected {classes}; "
                    "the file was tampered with"
                )
        elif start["__class__"] not in ("DummyRegressor", "str"):
            raise GateRefusal(
                f"model.skops: {name} starts from {start['__class__']}, expected the default; leave 'init' out"
            )
        return outputs

    def _tree(self, node: Node, width: int | None, outputs: int | None) -> None:
        self.trees += 1
        n_features, n_classes, n_outputs = node["__reduce__"]["args"]["content"]
        classes = self.read(n_classes["file"])
        if width is None or _integer(n_features) != width:
            self._refuse(f"takes {_integer(n_features)} features, its estimator {width}")
        state = node["content"]["content"]
        nodes, values = self.read(state["nodes"]["file"]), self.read(state["values"]["file"])
        if classes.dtype != np.int64 or classes.shape != (1,) or _integer(n_outputs) != 1 or not 1 <= classes[0] < 1e6:
            self._refuse("must have exactly one output")
        if outputs is not None and classes[0] != 1:
            self._refuse("is part of gradient boosting and must predict one number")
        self._check_fields(nodes, TREE_FIELDS)
        if values.dtype != np.float64 or values.shape != (len(nodes), 1, int(classes[0])):
            self._refuse(f"has {len(nodes)} nodes but values of shape {values.shape}")
        if _integer(state["node_count"]) != len(nodes):
            self._refuse(f"says it has {_integer(state['node_count'])} nodes and holds {len(nodes)}")
        leaf = (nodes["left_child"] == -1) & (nodes["right_child"] == -1)
        self._check_indices(nodes["left_child"], nodes["right_child"], nodes["feature"], leaf, width or 0)

    def _predictor(self, node: Node, width: int | None) -> None:
        self.trees += 1
        if width is None:
            self._refuse("stands outside of an estimator")
        nodes = self.read(node["content"]["content"]["nodes"]["file"])
        self._check_fields(nodes, PREDICTOR_FIELDS)
        if nodes["is_categorical"].any():
            self._refuse("splits on sets of categories; use features.encode instead of categorical_features")
        left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
        self._check_indices(left, right, nodes["feature_idx"], nodes["is_leaf"] == 1, width or 0)

    def _flat(self, node: Node, name: str, around: int | None) -> None:
        """Ours: all trees in one array, held to what the fast form is held to."""
        state = node["content"]["content"]
        width = _integer(state["n_features_in_"])
        arrays = {member: self.read(state[f"{member}_"]["file"]) for member in ARRAYS}
        forest = Forest.from_arrays({"divisor": 1.0}, arrays)
        fault, link = forest.fault(width), json.loads(state["link_"]["content"])
        classes = len(self.read(state["classes_"]["file"])) if "classes_" in state else 0
        if fault is None and outputs_of(link, len(forest.base)) != classes:
            fault = f"{len(forest.base)} sums through {link!r} for {classes} classes"
        if fault is not None or (around is not None and around != width):
            raise GateRefusal(
                f"model.skops: {name} holds {fault or f'{width} features inside of {around}'}; the file is damaged or "
                "crafted, train a new bundle"
            )

    def _bin_mapper(self, node: Node) -> None:
        if self.read(node["content"]["content"]["is_categorical_"]["file"]).any():
            raise GateRefusal(
                "model.skops: histogram gradient boosting with declared categories is not supported; use "
                "features.encode instead of categorical_features"
            )

    def _check_fields(self, nodes: Array, expected: dict[str, str]) -> None:
        fields: Any = nodes.dtype.fields or {}
        if nodes.ndim != 1 or not len(nodes) or {name: spec[0].str for name, spec in fields.items()} != expected:
            self._refuse("has nodes of another layout than scikit-learn's")

    def _check_indices(
        self,
        left: npt.NDArray[np.int64],
        right: npt.NDArray[np.int64],
        feature: npt.NDArray[np.int64],
        leaf: npt.NDArray[np.bool_],
        width: int,
    ) -> None:
        own, inner = np.arange(len(left)), ~leaf
        for side, child in (("left", left), ("right", right)):
            bad = inner & ((child <= own) | (child >= len(left)))
            if bad.any():
                at = int(np.flatnonzero(bad)[0])
                self._refuse(
                    f"has node {at} with {side} child {child[at]}, expected one in [{at + 1}, {len(left)}): a walk "
                    "would never end or leave the tree"
                )
        bad = inner & ((feature < 0) | (feature >= width))
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            self._refuse(f"has node {at} with feature {feature[at]}, expected one in [0, {width})")

    def _refuse(self, what: str) -> None:
        raise GateRefusal(
            f"model.skops: tree {self.trees - 1} {what}; the file is damaged or crafted, train a new bundle"
        )


def _integer(node: Node) -> int:
    """The whole number in a node that holds one, as JSON; anything else is a refusal of the caller."""
    value = json.loads(node["content"])
    if type(value) is not int:
        raise TypeError(f"expected a whole number, seen {value!r}")
    return value
