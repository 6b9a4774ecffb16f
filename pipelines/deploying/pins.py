"""Which objects a third party's manifest may hold: one SHA-256 for each, whoever rendered it.

The bytes of a manifest differ between the release job's rendering, kubectl's and helm's; what Kubernetes is told does
not. So a manifest is parsed, each object loses what only says who rendered it, and is judged by the digest of its
canonical JSON. The pins of a release are
lines of ``<sha256>  <Kind.group> <namespace>/<name>`` in ``manifests/pinned/<name>-<version>.txt``; an object that one
release is published in several forms of (its file names an image without the registry, its chart with it) has several.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from serving.errors import ConfigError, GateRefusal
from serving.files import canonical_json, sha256_bytes

TOLD = 5  # objects that a refusal names

Object = dict[str, Any]
Objects = Mapping[str, Object]
Pins = Mapping[str, frozenset[str]]


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: what looks like a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
    for first, known in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def objects(data: bytes) -> dict[str, Object]:
    """The objects of a manifest by ``<Kind.group> <namespace>/<name>``; lists are taken apart.

    Raises:
        ConfigError: it is no YAML, something in it is no object of Kubernetes, or two objects have one name.
    """
    try:
        documents = [document for document in yaml.load_all(data, _Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigError(f"expected a manifest, this is no YAML: {error}") from error
    found: dict[str, Object] = {}
    for one in _flat(documents):
        if not isinstance(one, dict) or not {"apiVersion", "kind", "metadata"} <= one.keys():
            raise ConfigError(f"expected objects of Kubernetes, seen {str(one)[:80]!r}")
        if found.setdefault(name := _name(one), one) != one:
            raise ConfigError(f"{name} is there twice, and the two are not equal")
    return found


def plain(found: Object) -> Object:
    """What an object says, without what renderers add or leave out: empty fields, and the release of helm's chart."""
    said = {field: value for field, value in found.items() if field != "status"}
    said["metadata"] = {field: value for field, value in said["metadata"].items() if field != "creationTimestamp"}
    stamped: Object = _unstamped(said)
    return stamped


def digest(found: Object) -> str:
    """SHA-256 of what an object says."""
    return sha256_bytes(canonical_json(plain(found)))


def of(found: Objects, known: Pins | None = None) -> dict[str, frozenset[str]]:
    """The pins of *found*, beside those that are *known* already."""
    return {name: frozenset({digest(one)}) | (known or {}).get(name, frozenset()) for name, one in found.items()}


def lines(pinned: Pins) -> str:
    """What a file of pins says."""
    return "".join(f"{pin}  {name}\n" for name in sorted(pinned) for pin in sorted(pinned[name]))


def read(text: str) -> dict[str, frozenset[str]]:
    """The pins that ``lines`` wrote."""
    found: dict[str, frozenset[str]] = {}
    for pin, name in (line.split("  ", 1) for line in text.splitlines() if line):
        found[name] = found.get(name, frozenset()) | {pin}
    return found


def judged(release: str, found: Objects, pinned: Pins, others: Iterable[str] = ()) -> bytes:
    """The manifest to apply: the objects of *found* in one order and form, whoever rendered it.

    Args:
        others: names of objects that other releases bring; a file that carries them too loses them here.

    Raises:
        GateRefusal: an object is not the one that was looked at, is absent, or was never looked at.
    """
    own = {name: one for name, one in found.items() if name in pinned or name not in set(others)}
    faults = [f"{name} is absent" for name in pinned if name not in own]
    faults += [f"{name} is not pinned" for name in own if name not in pinned]
    faults += [
        f"{name} was changed: expected SHA-256 {' or '.join(pin[:12] for pin in sorted(pinned[name]))}, got {seen[:12]}"
        for name, one in own.items()
        if name in pinned and (seen := digest(one)) not in pinned[name]
    ]
    if faults:
        more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise GateRefusal(
            f"{release}: {len(faults)} of {len(own)} objects are not those that were looked at: "
            f"{'; '.join(faults[:TOLD])}{more}; look at what arrived, then pin it with --accept"
        )
    return yaml.dump_all(
        (plain(own[name]) for name in sorted(own)), Dumper=yaml.CSafeDumper, allow_unicode=True
    ).encode()


def _flat(documents: Iterable[Any]) -> Iterable[Any]:
    for one in documents:
        if isinstance(one, dict) and str(one.get("kind", "")).endswith("List") and isinstance(one.get("items"), list):
            yield from _flat(one["items"])
        else:
            yield one


def _unstamped(found: Any) -> Any:
    """*found* without the two labels that a chart gives to all that it makes, wherever it has a set of labels."""
    if isinstance(found, list):
        return [_unstamped(one) for one in found]
    if not isinstance(found, dict):
        return found
    stamps = ("helm.sh/chart", "app.kubernetes.io/version") if "helm.sh/chart" in found else ()
    return {key: _unstamped(value) for key, value in found.items() if key not in stamps}


def _name(found: Object) -> str:
    group = str(found["apiVersion"]).rpartition("/")[0]
    kind = f"{found['kind']}.{group}" if group else str(found["kind"])
    return f"{kind} {found['metadata'].get('namespace', '-')}/{found['metadata'].get('name')}"
