"""model.skops: the same model is the same bytes, and a crafted file is refused before anything of it is constructed."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from serving.archive import pack
from serving.bundle.model_file import audit, load_model, nodes_of, write_model
from serving.errors import GateRefusal
from tests.root import ROOT

RNG = np.random.default_rng(0)
X = pd.DataFrame({"a": RNG.normal(size=120), "b": RNG.normal(size=120)})
Y = X["a"].to_numpy() * 2 + RNG.normal(size=120) / 10
MODELS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestRegressor(3, max_depth=3, random_state=0),
    "forest-3": lambda: RandomForestClassifier(3, max_depth=3, random_state=0),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=3, random_state=0),
    "boosting-3": lambda: GradientBoostingClassifier(n_estimators=3, random_state=0),
    "histogram": lambda: HistGradientBoostingRegressor(max_iter=3, random_state=0),
    "logistic": lambda: LogisticRegression(),
}


def fitted(model: str) -> Pipeline:
    labels = np.digitize(Y, [-1, 1]) if model in ("forest-3", "boosting-3", "logistic") else Y
    return Pipeline([("scale", StandardScaler()), ("model", MODELS[model]())]).fit(X, labels)


DATA = {name: write_model(fitted(name)) for name in MODELS}


def opened(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(members.pop("schema.json")), members


def closed(schema: Any, members: dict[str, bytes]) -> bytes:
    return pack({**members, "schema.json": json.dumps(schema).encode()})


def with_schema(model: str, change: Callable[[dict[str, Any]], None]) -> bytes:
    schema, members = opened(DATA[model])
    change(schema)
    return closed(schema, members)


def with_array(model: str, loader: str, key: str, change: Callable[[Any], Any]) -> bytes:
    """The file of *model* with one array of its second tree changed."""
    schema, members = opened(DATA[model])
    holders = [
        node
        for node in nodes_of(schema)
        if node["__loader__"] == loader and node["__class__"] in ("Tree", "TreePredictor")
    ]
    entry = holders[1]["content"]["content"][key]
    array = np.load(io.BytesIO(members[entry["file"]]))
    changed = change(array)
    buffer = io.BytesIO()
    np.save(buffer, array if changed is None else changed)
    entry["file"] = "f" * 32 + ".npy"
    members[entry["file"]] = buffer.getvalue()
    return closed(schema, members)


def node(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The last node of a type; the first may be an unfitted template."""
    return [one for one in nodes_of(schema) if one["__class__"] == name][-1]


def attributes(schema: dict[str, Any], name: str) -> dict[str, Any]:
    content: dict[str, Any] = node(schema, name)["content"]["content"]
    return content


@pytest.mark.parametrize("model", MODELS)
def test_a_model_survives_its_file(model: str) -> None:
    """What is loaded predicts like what was written, and is written with the same bytes."""
    again = load_model(DATA[model])
    np.testing.assert_array_equal(again.predict(X), fitted(model).predict(X))
    assert write_model(again) == DATA[model]
    assert write_model(fitted(model)) == DATA[model]


def test_two_processes_write_the_same_bytes() -> None:
    """No address, time, hash seed or leftover memory gets into the file."""
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import hashlib, tests.serving.bundle.test_model_file as t\n"
        "print(*[hashlib.sha256(t.DATA[n]).hexdigest() for n in ('forest', 'histogram', 'boosting-3')])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script, str(ROOT)], env={"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(seen) == 1


def test_leftover_memory_in_a_tree_does_not_change_its_bytes() -> None:
    """scikit-learn leaves a flag of each leaf unset; whatever stands there is not part of the model."""
    pipeline = fitted("forest")
    tree = pipeline.named_steps["model"].estimators_[0].tree_
    state = tree.__getstate__()
    state["nodes"]["missing_go_to_left"][state["nodes"]["left_child"] == -1] = 77
    tree.__setstate__(state)
    assert write_model(pipeline) == DATA["forest"]


def test_shared_and_object_arrays_survive() -> None:
    """Text categories and an array that stands in two places come back."""
    table = pd.DataFrame({"k": np.array(["x", "y", None] * 20, dtype=object)})
    pipeline = Pipeline([("e", OneHotEncoder(handle_unknown="ignore")), ("m", LogisticRegression())])
    pipeline.fit(table, np.arange(60) % 2)
    np.testing.assert_array_equal(load_model(write_model(pipeline)).predict(table), pipeline.predict(table))


def test_a_type_that_is_not_listed_cannot_be_written() -> None:
    """An estimator outside of the supported families is refused when the bundle is made, not when it is served."""
    pipeline = Pipeline([("m", KNeighborsRegressor(2))]).fit(X, Y)
    with pytest.raises(GateRefusal, match="KNeighborsRegressor"):
        write_model(pipeline)


def put(field: str, value: float, at: int = 0) -> Callable[[Any], None]:
    def change(nodes: Any) -> None:
        nodes[field][at] = value

    return change


def last_inner(field: str, value: int) -> Callable[[Any], None]:
    def change(nodes: Any) -> None:
        names = nodes.dtype.names
        inner = nodes["is_leaf"] == 0 if "is_leaf" in names else nodes["left_child"] != -1
        nodes[field][np.flatnonzero(inner)[-1]] = value

    return change


TREE, HGB = ("forest", "TreeNode", "nodes"), ("histogram", "ObjectNode", "nodes")


@pytest.mark.parametrize(
    ("where", "change", "sentence"),
    [
        pytest.param(TREE, put("left_child", 10**6), "left child 1000000", id="forest-child-beyond-the-end"),
        pytest.param(TREE, put("right_child", -7), "right child -7", id="forest-negative-child"),
        pytest.param(TREE, put("left_child", -1), "left child -1", id="forest-half-a-leaf"),
        pytest.param(TREE, last_inner("left_child", 0), "never end", id="forest-cycle"),
        pytest.param(TREE, put("left_child", 0), "never end", id="forest-own-child"),
        pytest.param(TREE, put("feature", 10**9), "feature 1000000000", id="forest-feature-beyond-the-end"),
        pytest.param(TREE, put("feature", -2), "feature -2", id="forest-negative-feature"),
        pytest.param(TREE, lambda nodes: nodes[:-1], "values of shape", id="forest-nodes-cut-off"),
        pytest.param(TREE, lambda nodes: nodes["left_child"].copy(), "another layout", id="forest-other-layout"),
        pytest.param(("forest", "TreeNode", "values"), lambda v: v[:2], "values of shape", id="forest-values-cut-off"),
        pytest.param(HGB, put("left", 10**6), "left child 1000000", id="histogram-child-beyond-the-end"),
        pytest.param(HGB, last_inner("right", 0), "never end", id="histogram-cycle"),
        pytest.param(HGB, put("feature_idx", 2), "feature 2", id="histogram-feature-beyond-the-end"),
        pytest.param(HGB, put("is_categorical", 1), "sets of categories", id="histogram-categorical-split"),
        pytest.param(HGB, put("is_leaf", 2, -1), "child 0", id="histogram-leaf-that-is-none"),
        pytest.param(HGB, lambda nodes: nodes[:0], "another layout", id="histogram-without-nodes"),
        pytest.param(
            HGB,
            lambda nodes: nodes.astype([(n, "<i8" if n == "left" else nodes.dtype[n]) for n in nodes.dtype.names]),
            "another layout",
            id="histogram-wider-type",
        ),
        pytest.param(
            ("boosting", "TreeNode", "nodes"), put("left_child", 10**6), "left child 1000000", id="boosting-child"
        ),
    ],
)
def test_a_tree_that_leads_astray_is_refused(
    where: tuple[str, str, str], change: Callable[[Any], Any], sentence: str
) -> None:
    """Files that would crash or hang scikit-learn's predict are refused by reading their arrays."""
    with pytest.raises(GateRefusal, match=sentence):
        load_model(with_array(*where, change))


def foreign(module: str, name: str, loader: str) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        node(schema, "StandardScaler").update(__module__=module, __class__=name, __loader__=loader)

    return change


def no_width(schema: dict[str, Any]) -> None:
    del attributes(schema, "HistGradientBoostingRegressor")["n_features_in_"]


def lost_attributes(schema: dict[str, Any]) -> None:
    node(schema, "HistGradientBoostingRegressor")["content"]["key_types"]["content"].pop()


def other_width(schema: dict[str, Any]) -> None:
    attributes(schema, "DecisionTreeRegressor")["n_features_in_"]["content"] = "90"


def tree_takes(features: str) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        node(schema, "Tree")["__reduce__"]["args"]["content"][0]["content"] = features

    return change


def own_preprocessor(schema: dict[str, Any]) -> None:
    attributes(schema, "HistGradientBoostingRegressor")["_preprocessor"] = node(schema, "StandardScaler")


def wider_stage(schema: dict[str, Any]) -> None:
    stage = attributes(schema, "GradientBoostingRegressor")["estimators_"]["content"][0]
    stage["content"].append(stage["content"][0])


@pytest.mark.parametrize(
    ("model", "change", "sentence"),
    [
        pytest.param("forest", foreign("posix", "system", "FunctionNode"), "posix.system", id="os-system"),
        pytest.param("forest", foreign("builtins", "eval", "TypeNode"), "builtins.eval", id="eval"),
        pytest.param("forest", foreign("os", "system", "ObjectNode"), "os.system", id="object-of-a-function"),
        pytest.param("forest", foreign("functools", "partial", "PartialNode"), "functools.partial", id="partial"),
        pytest.param(
            "forest", foreign("sklearn.tree._tree", "Tree", "ObjectNode"), "as ObjectNode", id="other-loader-for-a-type"
        ),
        pytest.param("forest", foreign("a", "b", "CachedNode"), "CachedNode", id="reference-to-another-node"),
        pytest.param("forest", lambda schema: schema.update(__id__=1), "stand for each other", id="node-with-identity"),
        pytest.param("forest", lambda schema: schema.update(protocol=0), "protocol 0", id="older-protocol"),
        pytest.param("forest", lambda schema: schema.update(protocol=True), "protocol True", id="boolean-protocol"),
        pytest.param("histogram", no_width, "fit|features", id="no-feature-count"),
        pytest.param("histogram", lost_attributes, "key types do not fit", id="lost-attributes"),
        pytest.param("forest", other_width, "inside of an estimator", id="tree-estimator-wider-than-its-forest"),
        pytest.param("forest", tree_takes("90"), "takes 90 features", id="tree-wider-than-its-estimator"),
        pytest.param("histogram", own_preprocessor, "preprocesses by itself", id="histogram-that-changes-the-width"),
        pytest.param("boosting", wider_stage, "stages of", id="stage-with-more-trees-than-outputs"),
    ],
)
def test_a_tampered_schema_is_refused(model: str, change: Callable[[dict[str, Any]], None], sentence: str) -> None:
    """What is not on the fixed lists, or does not fit together, is refused before anything is constructed."""
    with pytest.raises(GateRefusal, match=sentence):
        load_model(with_schema(model, change))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


def test_a_pickled_array_is_refused() -> None:
    """An array of objects inside of the archive is never unpickled."""
    schema, members = opened(DATA["forest"])
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    name = node(schema, "Tree")["content"]["content"]["nodes"]["file"]
    members[name] = buffer.getvalue()
    with pytest.raises(GateRefusal, match="allow_pickle"):
        load_model(closed(schema, members))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x80\x04.", id="a-pickle"),
        pytest.param(DATA["forest"][:-200], id="cut-off"),
        pytest.param(pack({"schema.json": b"[" * 100_000}), id="bottomless-json"),
        pytest.param(pack({"schema.json": b"{}"}), id="no-protocol"),
        pytest.param(pack({"other": b""}), id="no-schema"),
    ],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    """Damage is a refusal with a sentence, not a traceback from a library."""
    with pytest.raises(GateRefusal, match=r"model\.skops"):
        audit(data)
