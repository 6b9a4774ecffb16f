"""Which objects a third party's manifest may hold: one SHA-256 for each, whoever rendered it.

The bytes of a manifest differ between the release job's rendering, kubectl's and helm's; what Kubernetes is told does
not. So a manifest is parsed, and each object is judged by the digest of its canonical JSON. The pins of a release are
lines of ``<sha256>  <Kind.group> <namespace>/<name>`` in ``manifests/pinned/<name>-<version>.txt``.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from serving.errors import ConfigError, GateRefusal
from serving.files import canonical_json, sha256_bytes

TOLD = 5  # objects that a refusal names

Object = dict[str, Any]
Objects = Mapping[str, Object]
Pins = Mapping[str, str]


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


def digest(found: Object) -> str:
    """SHA-256 of what an object says, without the empty fields that renderers add or leave out."""
    said = {field: value for field, value in found.items() if field != "status"}
    said["metadata"] = {field: value for field, value in said["metadata"].items() if field != "creationTimestamp"}
    return sha256_bytes(canonical_json(said))


def lines(found: Objects) -> str:
    """The pins of *found*, as they stand in a file of pins."""
    return "".join(f"{digest(found[name])}  {name}\n" for name in sorted(found))


def read(text: str) -> dict[str, str]:
    """Digests by name from what ``lines`` wrote."""
    return {name: pin for pin, name in (line.split("  ", 1) for line in text.splitlines() if line)}


def judged(release: str, found: Objects, pins: Pins, others: Iterable[str] = ()) -> bytes:
    """The manifest to apply: the objects of *found* in one order and form, whoever rendered it.

    Args:
        others: names of objects that other releases bring; a file that carries them too loses them here.

    Raises:
        GateRefusal: an object is not the one that was looked at, is absent, or was never looked at.
    """
    own = {name: one for name, one in found.items() if name in pins or name not in set(others)}
    faults = [f"{name} is absent" for name in pins if name not in own]
    faults += [f"{name} is not pinned" for name in own if name not in pins]
    faults += [
        f"{name} was changed: expected SHA-256 {pins[name][:12]}, got {seen[:12]}"
        for name, one in own.items()
        if name in pins and (seen := digest(one)) != pins[name]
    ]
    if faults:
        more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise GateRefusal(
            f"{release}: {len(faults)} of {len(own)} objects are not those that were looked at: "
            f"{'; '.join(faults[:TOLD])}{more}; look at what arrived, then pin it with --accept"
        )
    return yaml.dump_all((own[name] for name in sorted(own)), Dumper=yaml.CSafeDumper, allow_unicode=True).encode()


def _flat(documents: Iterable[Any]) -> Iterable[Any]:
    for one in documents:
        if isinstance(one, dict) and str(one.get("kind", "")).endswith("List") and isinstance(one.get("items"), list):
            yield from _flat(one["items"])
        else:
            yield one


def _name(found: Object) -> str:
    group = str(found["apiVersion"]).rpartition("/")[0]
    kind = f"{found['kind']}.{group}" if group else str(found["kind"])
    return f"{kind} {found['metadata'].get('namespace', '-')}/{found['metadata'].get('name')}"
