"""Lines that hold the hash of the line before: an edited, removed, added or reordered line breaks the chain.

The chain proves what was written since; it cannot stop somebody who rewrites all of it, which is why its newest hash is
worth keeping elsewhere too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from serving.files import canonical_json, sha256_bytes

GENESIS = "0" * 64  # what the first line names as the hash before it


@dataclass(frozen=True)
class Link:
    """One line: its number from 1 on, the hash of the line before, its own hash, and what that covers."""

    seq: int
    previous: str
    hash: str
    content: Sequence[Any]


@dataclass(frozen=True)
class Fault:
    """What is wrong with the line in *place*, counted from 1."""

    place: int
    what: Literal["missing", "exchanged", "changed"]


def seal(content: Sequence[Any]) -> str:
    """The hash of a line: sha256 of the canonical JSON of *content*, everything in the line but its own hash."""
    return sha256_bytes(canonical_json(content))


def first_fault(links: Iterable[Link]) -> Fault | None:
    """The first line that is not as it was written; None for a whole chain."""
    previous = GENESIS
    for place, link in enumerate(links, start=1):
        if link.seq != place:
            return Fault(place, "missing")
        if link.previous != previous:
            return Fault(place, "exchanged")
        if link.hash != seal(link.content):
            return Fault(place, "changed")
        previous = link.hash
    return None
