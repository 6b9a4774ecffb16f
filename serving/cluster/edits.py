"""Who changed what in an object, by its ``managedFields``: pure functions, and the word that is said of it.

The API server keeps for each field who wrote it last. What this controller wrote and somebody else owns now was changed
by them; what it wrote once and leaves to others, such as the number of replicas, it stops owning.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from serving.cluster.client import FIELD_MANAGER, Cluster, Kind, Object
from serving.errors import InfrastructureError
from serving.rollout.backend import WEIGHT_SUM, Split
from serving.rollout.controller.desk import Memory
from serving.service.service import EDITED

log = logging.getLogger(__name__)

EVENT = Kind("", "v1", "events")
RIGHT_WAY = "a share is asked for by a Split of that name (kubectl explain split.spec) or by slipway rollout"
Path = tuple[str, ...]


class Editor(NamedTuple):
    """A field manager such as ``kubectl-edit`` or ``argocd-controller``, and when it wrote (RFC 3339, or empty)."""

    manager: str
    time: str


def editor(found: Mapping[str, Any], within: Path = ("spec",)) -> Editor | None:
    """Who besides this controller owns a field of *within*, the newest of them; None while nobody does."""
    owners = [
        Editor(str(entry.get("manager", "")) or "somebody else", str(entry.get("time", "")))
        for entry in found["metadata"].get("managedFields", ())
        if entry.get("manager") != FIELD_MANAGER and not entry.get("subresource")
        and _part(entry.get("fieldsV1", {}), within) is not None
    ]  # fmt: skip
    return max(owners, key=lambda owner: owner.time, default=None)


def disowned(found: Mapping[str, Any], fields: Iterable[Path]) -> list[Object] | None:
    """The managed fields of *found* in which this controller owns none of *fields*; None when that is so already."""
    entries = [dict(entry) for entry in found["metadata"].get("managedFields", ())]
    changed = False
    for entry in entries:
        if entry.get("manager") != FIELD_MANAGER or entry.get("subresource"):
            continue
        for path in fields:
            if _part(entry.get("fieldsV1", {}), path) is not None:
                entry["fieldsV1"] = _left(entry["fieldsV1"], path)
                changed = True
    return entries if changed else None


class Word(NamedTuple):
    """What is said of an edit: Kubernetes' *reason* is one word, *by* is who did it."""

    reason: str
    sentence: str
    by: str
    kind: Literal["Normal", "Warning"] = "Warning"


def overwritten(what: str, who: str, theirs: str, before: str, ours: str) -> Word:
    """The word on a write of ours over one of theirs: of shares, as ``shares`` says them."""
    if theirs == ours != before:
        return Word("EditObeyed", f"{who} changed {what} to {theirs}, which is obeyed", who)
    return Word("EditPutBack", f"{who} changed {what} to {theirs}, which is put back to {ours}; {RIGHT_WAY}", who)


def shares(split: Split) -> str:
    """Such as ``m-1 80 %, m-2 20 %``."""
    return ", ".join(f"{name} {weight * 100 / WEIGHT_SUM:g} %" for name, weight in sorted(split.arms.items()))


def tell(cluster: Cluster, memory: Memory, about: Object, word: Word, now: float) -> None:
    """Say *word* where people look: as a Kubernetes Event on *about*, and in the status of the rollout.

    The same sentence again is counted, not repeated. An Event that cannot be written holds nothing up.
    """
    memory.put(EDITED, {"at": now, "by": word.by, "sentence": word.sentence})
    log.warning("somebody else's edit", extra={"by": word.by, "reason": word.sentence})
    try:
        event = _event(about, word, now)
        known = cluster.get(EVENT, event["metadata"]["namespace"], event["metadata"]["name"])
        if known is not None:
            event |= {"count": int(known.get("count", 1)) + 1, "firstTimestamp": known.get("firstTimestamp")}
        cluster.apply(event)
    except InfrastructureError as error:
        log.warning("an event is not written", extra={"reason": str(error)})


def utc(now: float) -> str:
    """*now* as Kubernetes writes it."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _event(about: Object, word: Word, now: float) -> Object:
    metadata, stamp = about["metadata"], utc(now)
    same = hashlib.sha256(f"{metadata.get('uid')} {word.reason} {word.sentence}".encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{same}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            **({"uid": metadata["uid"]} if "uid" in metadata else {}),
        },
        "type": word.kind,
        "reason": word.reason,
        "message": word.sentence,
        "source": {"component": FIELD_MANAGER},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def _part(fields: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any] | None:
    """What of *fields* (``{"f:spec": {"f:rules": {}}}``) lies at *path*."""
    part: Mapping[str, Any] | None = fields
    for name in path:
        part = None if part is None else part.get(f"f:{name}")
    return part


def _left(fields: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """*fields* without what lies at *path*, nor what is empty without it."""
    name, *rest = path
    inner = _left(fields[f"f:{name}"], tuple(rest)) if rest else {}
    kept = {key: value for key, value in fields.items() if key != f"f:{name}"}
    return kept | ({f"f:{name}": inner} if set(inner) - {"."} else {})
