"""What the ledger's slots amount to in traffic, and how far traffic is with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.errors import InfrastructureError
from serving.ledger.values import Slot, SlotName, Version
from serving.rollout.backend import WEIGHT_SUM, Revision, Split, TrafficBackend


@dataclass(frozen=True)
class Following:
    """Whether traffic follows a split.

    Attributes:
        split: the one that it follows, None where nobody knows.
        reason: why it does not follow yet.
        failed: it will not without a change.
    """

    followed: bool
    split: Split | None = None
    reason: str = ""
    failed: bool = False


def revision_of(version: Version) -> Revision:
    return Revision(version.name, version.model, version.version, version.bundle_uri, version.digest)


def wanted_split(model: str, slots: Mapping[SlotName, Slot]) -> Split | None:
    """The split that the slots amount to; None before the first promotion."""
    production, canary = slots["production"], slots["canary"]
    if production.version is None:
        return None
    if canary.version is None or not canary.percent:
        return Split({f"{model}-{production.version}": WEIGHT_SUM})
    share = round(canary.percent * WEIGHT_SUM / 100)
    weights = {f"{model}-{production.version}": WEIGHT_SUM - share, f"{model}-{canary.version}": share}
    return Split(weights, sticky_header=canary.sticky_header)


def wanted_epoch(slots: Mapping[SlotName, Slot]) -> str:
    """The token of the split that the slots amount to; it changes with every change of a slot."""
    return f"by-hand-{slots['production'].revision}-{slots['canary'].revision}"


def following(backend: TrafficBackend, wanted: Split) -> Following:
    """How far the data plane is with *wanted*; a revision that cannot serve is named with its reason."""
    reason = ""
    try:
        seen = backend.observed()
        if seen.split is not None and wanted.routes_like(seen.split):
            return Following(True, seen.split)
        for name in wanted.weights:
            found = backend.readiness(name)
            if found.state == "failed":
                return Following(False, seen.split, f"{name} cannot serve: {found.reason}", failed=True)
            if found.state != "ready" or not reason:
                reason = f"{name} is {found.state} {found.reason}".strip()
    except InfrastructureError as error:
        return Following(False, reason=str(error))
    return Following(False, seen.split, f"the split was refused: {seen.rejected}" if seen.rejected else reason)
