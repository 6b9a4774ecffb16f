"""A fitted scikit-learn Pipeline as ``model.skops``: a zip of one JSON tree and plain numpy arrays, never a pickle.

Three things are added to what skops does. The archive is brought into one canonical form, so that the same model is the
same bytes anywhere. Every type named in it must be on the fixed lists below, which are shorter than skops' own. And the
indices inside its trees are checked, because scikit-learn follows them without looking: a child or feature out of place
would read foreign memory or never end. The check reads JSON and arrays only, so a file is judged without scikit-learn
being imported and without anything of it being constructed.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.archive import pack
from serving.bundle.model_types import ALLOWED, KEY_TYPES, MODELS, TRUSTED
from serving.bundle.own import OwnCode, packages_of
from serving.bundle.tree_bounds import check_trees
from serving.errors import GateRefusal

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SCHEMA = "schema.json"
PROTOCOL = 2
MAX_BYTES = 8 << 30  # unpacked; a forest of a thousand deep trees takes about one
_MEMBER = re.compile(r"[0-9a-f]{32}\.(npy|npz|bin)")

Node = dict[str, Any]


def write_model(pipeline: "Pipeline") -> bytes:
    """The canonical archive of *pipeline*: equal models give equal bytes; types of installed packages that offer
    transformers may be in it.

    skops names members and nodes by memory addresses and stamps the time; here members are named by their content,
    nodes carry no identity, and dates are fixed.

    Raises:
        GateRefusal: the pipeline holds a type that no bundle may hold.
    """
    import skops.io  # takes a second and pulls in all of scikit-learn, which a server of the fast form does without

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(pipeline))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema: Node = json.loads(members.pop(SCHEMA))
    own = frozenset(name for one in own_code(schema) for name in one.types)
    _check_made(schema, own)
    kept: dict[str, bytes] = {}
    for node in nodes_of(schema):
        node.pop("__id__", None)
        if "file" in node:
            content = _canonical_array(members[node["file"]])
            node["file"] = f"{hashlib.sha256(content).hexdigest()[:32]}.{node['file'].rpartition('.')[2]}"
            kept[node["file"]] = content
        if node["__loader__"] == "SetNode":
            node["content"].sort(key=json.dumps)
    kept[SCHEMA] = json.dumps(schema, separators=(",", ":")).encode()
    data = pack(kept)
    audit(data, own)
    return data


def needed_by(data: bytes) -> tuple[OwnCode, ...]:
    """The packages whose code the archive *data*, just written, holds."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return own_code(_read_schema(archive))


def load_model(data: bytes, own: frozenset[str] = frozenset()) -> "Pipeline":
    """The pipeline in *data*, which is audited first; *own* as of ``audit``.

    Raises:
        GateRefusal: see ``audit``; or skops itself refuses.
    """
    audit(data, own)
    import skops.io  # as above

    try:
        return skops.io.loads(data, trusted=sorted(TRUSTED | own))
    except Exception as error:  # whatever a crafted state makes a constructor raise
        raise GateRefusal(f"model.skops could not be read by skops: {error}; train a new bundle") from error


def audit(data: bytes, own: frozenset[str] = frozenset()) -> None:
    """Refuse an archive that holds anything but a supported pipeline with sound trees; nothing of it is constructed.

    Args:
        own: types of other packages that may be in it too, as ``own.types_of`` found them.

    Raises:
        GateRefusal: not a zip, unknown members, a type or protocol that is not listed, or a tree that leads astray.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            schema = _read_schema(archive)
            _check_types(schema, own)
            check_trees(schema, lambda name: _load_array(archive, name))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, IndexError, AttributeError, EOFError, OSError,
            RecursionError, NotImplementedError) as error:  # fmt: skip
        raise GateRefusal(f"model.skops is damaged or crafted ({error}); fetch the bundle again") from error


def nodes_of(value: Any) -> Iterator[Node]:
    """Every skops node in *value*, parents first."""
    if isinstance(value, dict):
        if "__loader__" in value:
            yield value
        for child in value.values():
            yield from nodes_of(child)
    elif isinstance(value, list):
        for child in value:
            yield from nodes_of(child)


def _read_schema(archive: zipfile.ZipFile) -> Node:
    size = sum(member.file_size for member in archive.infolist())
    if size > MAX_BYTES:
        raise GateRefusal(f"model.skops unpacks to {size} bytes, expected at most {MAX_BYTES}; train a smaller model")
    schema = json.loads(archive.read(SCHEMA))
    if type(schema["protocol"]) is not int or schema["protocol"] != PROTOCOL:
        raise GateRefusal(
            f"model.skops has protocol {schema['protocol']!r}, expected {PROTOCOL}; train the bundle again with the "
            "locked skops"
        )
    return dict(schema)


def own_code(schema: Node) -> tuple[OwnCode, ...]:
    """The packages that offer what of *schema* is in no fixed list."""
    return packages_of(name for loader, name in foreign_types(schema) if loader == "ObjectNode")


def _check_made(schema: Node, own: frozenset[str]) -> None:
    """What somebody wants to write, in words for whoever has trained it."""
    foreign = sorted({name for _, name in foreign_types(schema, own)})
    if foreign:
        raise GateRefusal(
            f"a bundle cannot hold {', '.join(foreign)}: expected a Pipeline of scikit-learn that ends in one of "
            f"{', '.join(MODELS)}, behind its common transformers; train one of those"
        )


def foreign_types(schema: Node, own: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Loader and type of each node of *schema* that no bundle may hold, but for objects of a type in *own*."""
    for node in nodes_of(schema):
        loader, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
        if name not in ALLOWED.get(loader, ()) and not (loader == "ObjectNode" and name in own):
            yield loader, name


def _check_types(schema: Node, own: frozenset[str]) -> None:
    for loader, name in foreign_types(schema, own):
        raise GateRefusal(
            f"model.skops holds {name} (as {loader}), which is not among the types a bundle may hold; "
            "it was tampered with or made by something else than this pipeline"
        )
    for node in nodes_of(schema):
        if "__id__" in node:
            raise GateRefusal("model.skops lets nodes stand for each other by '__id__', which its writer never does")
        if node["__loader__"] == "DictNode":
            _check_keys(node)
        if "file" in node and not _MEMBER.fullmatch(node["file"]):
            raise GateRefusal(f"model.skops names the member {node['file'][:80]!r}; train the bundle again")


def _check_keys(node: Node) -> None:
    """A dict's key types are applied one by one: fewer than keys, or ones that change a name, would lose attributes."""
    kinds = [f"{kind['__module__']}.{kind['__class__']}" for kind in node["key_types"]["content"]]
    if len(kinds) != len(node["content"]) or not set(kinds) <= KEY_TYPES:
        raise GateRefusal("model.skops holds a dict whose keys and key types do not fit; it was tampered with")


def _load_array(archive: zipfile.ZipFile, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    array: np.ndarray[Any, np.dtype[Any]] = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
    return array


def _canonical_array(content: bytes) -> bytes:
    """The same array with the bytes that mean nothing set to zero: gaps between fields, and flags of leaves."""
    if not content.startswith(b"\x93NUMPY"):
        return content
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for field in array.dtype.names:
        clean[field] = array[field]
    if {"left_child", "missing_go_to_left"} <= set(array.dtype.names):
        clean["missing_go_to_left"][clean["left_child"] == -1] = 0
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()
