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
class Fault:
    """What is wrong with the line in *place*, counted from 1."""

    place: int
    what: Literal["missing", "exchanged", "changed"]


def seal(content: Sequence[Any]) -> str:
    """The hash of a line: sha256 of the canonical JSON of *content*, everything in the line but its own hash."""
    return sha256_bytes(canonical_json(content))


def first_fault(lines: Iterable[Iterable[Any]]) -> Fault | None:
    """The first of *lines* that is not as it was written; None for a whole chain.

    A line is its number from 1 on, what it says, the hash of the line before, and the hash of all that.
    """
    previous = GENESIS
    for place, (*content, own) in enumerate(lines, start=1):
        if content[0] != place:
            return Fault(place, "missing")
        if content[-1] != previous:
            return Fault(place, "exchanged")
        if own != seal(content):
            return Fault(place, "changed")
        previous = own
    return None
