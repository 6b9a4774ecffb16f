"""The fitted trees of LightGBM, XGBoost, CatBoost and of scikit-learn over categories, as flat arrays of our own.

Each library's own file format is read, and sums keep its order and precision, so that the arrays predict what the
library predicts, bit for bit: float64 sums in LightGBM and CatBoost, float32 sums in XGBoost.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline

from components.modelling.search.rounds import best_of_xgboost
from serving.errors import ConfigError
from serving.scoring import kernels
from serving.scoring.flat import FlatClassifier, FlatRegressor, Planted
from serving.scoring.sets import HALF, SetMaker
from serving.scoring.trees import Grown, grown_predictor, plant

Array = npt.NDArray[Any]
_LIGHTGBM_LINKS: Mapping[str, str] = {
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity"),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "scalar_exponential"),
    "binary": "scalar_logistic", "multiclass": "scalar_softmax",
}  # fmt: skip
_XGBOOST_LINKS: Mapping[str, str] = {
    **dict.fromkeys(
        ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror"), "identity"
    ),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), "single_exponential"),
    "binary:logistic": "single_logistic", "multi:softprob": "single_softmax",
}  # fmt: skip
_CATBOOST_LINKS: Mapping[str, str] = {
    **dict.fromkeys(("RMSE", "MAE", "Quantile", "MAPE", "Huber", "LogCosh", "Expectile"), "identity"),
    **dict.fromkeys(("Poisson", "Tweedie"), "scalar_exponential"),
    "Logloss": "scalar_logistic", "MultiClass": "scalar_softmax",
}  # fmt: skip


def _link(links: Mapping[str, str], objective: str, key: str) -> str:
    if objective not in links:
        raise ConfigError(f"model.params.{key}: expected one of {', '.join(links)}; seen {objective!r}")
    return links[objective]


def leaf_alone(value: Array) -> Grown:
    """A tree that adds *value*, of shape (width,), to every row."""
    none, no = np.zeros(1, np.int64), np.zeros(1, np.bool_)
    return Grown(none, none, none, np.zeros(1), no, ~no, np.asarray(value, np.float64)[None])


# LightGBM: text, a section for each tree. See its src/io/tree.cpp for what the bits of a decision mean.
_CATEGORICAL, _DEFAULT_LEFT, _ZEROS, _GAPS = 1, 2, 4, 8


def lightgbm_trees(model: Any) -> Planted:
    """The trees of a fitted ``LGBMModel`` or of a ``Booster``."""
    head, *sections = getattr(model, "booster_", model).model_to_string().split("\nTree=")
    told = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    objective, *settings = told["objective"].split()
    link = _link(_LIGHTGBM_LINKS, objective, "objective")
    if "sqrt" in settings:
        raise ConfigError("model.params.reg_sqrt: write model.target: sqrt instead")
    outputs, width = int(told["num_tree_per_iteration"]), int(told["max_feature_idx"]) + 1
    sets = SetMaker(width)
    trees = [_lightgbm_tree(section.partition("\nend of trees")[0], sets) for section in sections]
    averaged = float(len(trees) // outputs) if "average_output" in head.split() else 1.0
    forest = plant(trees, [0.0] * outputs, averaged, sets=sets.sets())
    return Planted(forest, link, kernels.ANY, False, width)


def _lightgbm_tree(section: str, sets: SetMaker) -> Grown:
    lines = dict(line.split("=", 1) for line in section.splitlines()[1:] if "=" in line)
    if lines.get("is_linear", "0") != "0":
        raise ConfigError("model.params.linear_tree: its leaves are linear models, of which there is no exact form")
    leaves = np.array(lines["leaf_value"].split(), np.float64)
    if len(leaves) == 1:
        return leaf_alone(leaves)
    feature, kind = (np.array(lines[name].split(), np.int64) for name in ("split_feature", "decision_type"))
    threshold = np.array(lines["threshold"].split(), np.float64)
    if ((kind & (_CATEGORICAL | _ZEROS)) == _ZEROS).any():
        raise ConfigError("model.params.zero_as_missing: 0 is a missing value for it, of which there is no exact form")
    # Where training rows had no gap, a missing value is read as 0.
    missing_left = np.where(kind & _GAPS, (kind & _DEFAULT_LEFT) > 0, threshold >= 0)
    for at in np.flatnonzero(kind & _CATEGORICAL):
        feature[at] = sets.column(int(feature[at]), _bits(lines, int(threshold[at])))
        threshold[at], missing_left[at] = HALF, False
    children = (np.array(lines[f"{side}_child"].split(), np.int64) for side in ("left", "right"))
    left, right = (np.where(child < 0, len(feature) + ~child, child) for child in children)
    return _grown(left, right, feature, threshold, missing_left, leaves[:, None])


def _bits(lines: Mapping[str, str], number: int) -> npt.NDArray[np.bool_]:
    """The set of codes that goes left."""
    bounds, words = (np.array(lines[name].split(), np.int64) for name in ("cat_boundaries", "cat_threshold"))
    return _unpacked(words[bounds[number] : bounds[number + 1]])


def _grown(left: Array, right: Array, feature: Array, threshold: Array, missing_left: Array, leaves: Array) -> Grown:
    """A tree whose inner nodes come first and whose leaves, (n_leaves, width), behind them."""
    n, more = len(feature), len(leaves)

    def wide(part: Array, kind: type[Any]) -> Array:
        return np.concatenate([np.asarray(part, kind), np.zeros(more, kind)])

    return Grown(
        wide(left, np.int64), wide(right, np.int64), wide(feature, np.int64), wide(threshold, np.float64),
        wide(missing_left, np.bool_), np.arange(n + more) >= n,
        np.concatenate([np.zeros((n, leaves.shape[1])), leaves]),
    )  # fmt: skip


def xgboost_trees(model: Any) -> Planted:
    """The trees of a fitted ``XGBModel`` of booster ``gbtree``, or of such a ``Booster``."""
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if getattr(model, "early_stopping_rounds", None):
        booster = booster[: best_of_xgboost(booster)]
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    told, objective = learner["learner_model_param"], learner["objective"]["name"]
    link = _link(_XGBOOST_LINKS, objective, "objective")
    outputs = max(1, int(told["num_class"]))
    _check_xgboost(learner)
    trees = learner["gradient_booster"]["model"]["trees"]
    start = np.broadcast_to(np.array(json.loads(told["base_score"]), np.float32).ravel(), (outputs,))
    forest = plant(map(_xgboost_tree, trees), _margin(start, link).tolist(), single=True)
    return Planted(forest, link, kernels.NOT_INF, True, int(told["num_feature"]))


def _check_xgboost(learner: Mapping[str, Any]) -> None:
    """Refuse what a project cannot ask for and another's file may hold."""
    if (kind := learner["gradient_booster"]["name"]) != "gbtree":
        raise ConfigError(f"model.params.booster: expected gbtree; seen {kind!r}")
    trees = learner["gradient_booster"]["model"]["trees"]
    if "c" in learner["feature_types"] or any(tree["categories"] for tree in trees):
        raise ConfigError("model.params.enable_categorical: train it on the codes of categories, as numbers")
    told = learner["learner_model_param"]
    if int(told.get("num_target", 1)) > 1:
        raise ConfigError("model.params.multi_strategy: expected one target")


def _margin(start: npt.NDArray[np.float32], link: str) -> npt.NDArray[np.float64]:
    """A base score as the sum of which it is the prediction, in float32 (``src/objective``: ProbToMargin)."""
    from serving.scoring.scalar_links import log_of

    one = np.float32(1)
    if link == "single_logistic":
        return -log_of(one / start - one)
    return log_of(start) if link == "single_exponential" else start.astype(np.float64)


def _xgboost_tree(tree: Mapping[str, Any]) -> Grown:
    """A value goes left below the condition, so at most the float32 before it; leaves keep their value in its place."""
    left, right, feature = (
        np.array(tree[name], np.int64) for name in ("left_children", "right_children", "split_indices")
    )
    condition = np.array(tree["split_conditions"], np.float32)
    leaf = left == -1
    below = np.nextafter(condition, np.float32(-np.inf)).astype(np.float64)
    default_left = np.array(tree["default_left"], np.bool_) & ~leaf
    return Grown(left, right, feature, below, default_left, leaf, condition.astype(np.float64)[:, None])


def catboost_trees(model: Any) -> Planted:
    """The oblivious trees of a fitted ``CatBoost`` model over numbers."""
    link = _link(_CATBOOST_LINKS, model.get_all_params()["loss_function"].partition(":")[0], "loss_function")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.json"
        model.save_model(str(path), format="json")
        told = json.loads(path.read_bytes())
    scale, bias = told["scale_and_bias"]
    info = told["features_info"]
    if odd := [kind for kind in info if kind != "float_features" and kind.endswith("_features") and info[kind]]:
        raise ConfigError(f"model.params: train it on the codes of categories, as numbers; seen {', '.join(odd)}")
    if "oblivious_trees" not in told:
        raise ConfigError("model.params.grow_policy: expected SymmetricTree")
    features = info["float_features"]
    trees = [_oblivious(tree, features, len(bias)) for tree in told["oblivious_trees"]]
    if scale != 1:
        raise ConfigError("model.family: catboost has scaled its sums, of which there is no exact form")
    forest = plant([*trees, *_last(np.array(bias, np.float64), trees)], [0.0] * len(bias))
    return Planted(forest, link, kernels.NOT_INF, True, len(features))


def _last(bias: Array, trees: list[Grown]) -> Iterator[Grown]:
    """What is added when all trees are: as trees of one leaf, of the width that the others have."""
    if bias.any() or not trees:
        yield from [leaf_alone(bias)] if trees and trees[0].values.shape[1] > 1 else map(leaf_alone, bias[:, None])


def _oblivious(tree: Mapping[str, Any], features: list[Mapping[str, Any]], width: int) -> Grown:
    """Level after level one test for all nodes; the test of level b is bit b of a leaf's number."""
    splits, leaves = tree["splits"] or [], np.array(tree["leaf_values"], np.float64).reshape(-1, width)
    depth = len(splits)
    if not depth:
        return leaf_alone(leaves[0])
    level = np.repeat(np.arange(depth), 1 << np.arange(depth))
    feature = np.array([split["float_feature_index"] for split in splits], np.int64)
    border = np.array([split["border"] for split in splits], np.float32).astype(np.float64)
    left_too = np.array([features[one]["nan_value_treatment"] != "AsTrue" for one in feature], np.bool_)
    places = np.arange(1 << depth)
    number = sum(((places >> (depth - 1 - bit)) & 1) << bit for bit in range(depth))
    node = np.arange(len(level))
    flat = [features[one]["flat_feature_index"] for one in feature]
    return _grown(2 * node + 1, 2 * node + 2, np.array(flat)[level], border[level], left_too[level], leaves[number])


def histogram_trees(model: Any) -> Planted:
    """The trees of scikit-learn's histogram gradient boosting over declared categories.

    Its own preprocessing brings them to the front and numbers those it has seen.
    """
    from serving.scoring.estimators import histogram_link

    chosen = np.asarray(model.is_categorical_, np.bool_)
    place = np.concatenate([np.flatnonzero(chosen), np.flatnonzero(~chosen)])
    seen = model._preprocessor.named_transformers_["encoder"].categories_
    known, rows = model._bin_mapper.make_known_categories_bitsets()
    sets = SetMaker(len(chosen))
    trees = [
        _histogram_tree(one, place, seen, [_unpacked(known[row]) for row in rows], sets)
        for stage in model._predictors
        for one in stage
    ]
    base, link = histogram_link(model)
    return Planted(plant(trees, base.tolist(), sets=sets.sets()), link, kernels.ANY, False, len(chosen))


def _histogram_tree(predictor: Any, place: Array, seen: list[Array], known: list[Array], sets: SetMaker) -> Grown:
    tree, nodes = grown_predictor(predictor), predictor.nodes
    feature, threshold = place[tree.feature], tree.threshold.copy()
    for at in np.flatnonzero(nodes["is_categorical"] & (nodes["is_leaf"] == 0)):
        own = int(tree.feature[at])  # categories stand in front, so it is the encoder's column too
        words, missing = seen[own][~np.isnan(seen[own])].astype(np.int64), bool(tree.missing_left[at])
        inside = _unpacked(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][at]])
        members = np.full(int(words.max(initial=-1)) + 1, missing)
        numbers = np.arange(len(words))
        members[words] = np.where(known[own][numbers], inside[numbers], missing)
        feature[at], threshold[at] = sets.column(int(place[own]), members, missing=missing), HALF
    return replace(tree, feature=feature, threshold=threshold)


def _unpacked(words: Array) -> npt.NDArray[np.bool_]:
    return np.unpackbits(np.asarray(words, "<u4").view(np.uint8), bitorder="little").astype(np.bool_)


_CONVERTERS: Mapping[str, Callable[[Any], Planted]] = {
    "lightgbm": lightgbm_trees, "xgboost": xgboost_trees, "catboost": catboost_trees,
}  # fmt: skip


def flattened(estimator: Any) -> Any:
    """A fitted *estimator* as one that a bundle can hold: itself, or flat trees where it is another library's, also as
    the end of a Pipeline.

    Raises:
        ConfigError: of an objective that has no exact form.
    """
    if isinstance(estimator, Pipeline):
        *steps, (name, last) = estimator.steps
        return Pipeline([*steps, (name, flattened(last))])
    convert = _CONVERTERS.get(type(estimator).__module__.partition(".")[0])
    if getattr(estimator, "_preprocessor", None) is not None:
        convert = histogram_trees
    if convert is None:
        return estimator
    if hasattr(estimator, "predict_proba"):
        return FlatClassifier.of(convert(estimator), np.asarray(estimator.classes_))
    return FlatRegressor.of(convert(estimator))
