"""What a desk keeps: records, leases and commands. Writes carry a fencing token, the number of the lease under which
they are made; a write under an older one is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Required, TypedDict, cast

from serving.errors import DataError
from serving.ledger.chain import GENESIS, first_fault, seal
from serving.rollout.state import RolloutState

RecordKind = Literal["start", "decide", "intent", "done", "command", "alert"]


class Decide(TypedDict):
    """Inputs and outputs of one decision, enough to take it again; *next* is the hash of the state that follows."""

    state: dict[str, Any]
    seen: dict[str, Any]
    verdict: str
    sentence: str
    evidence: dict[str, Any]
    next: str


class Action(TypedDict, total=False):
    """A call to the backend, meant (``intent``) or over (``done``).

    Attributes:
        revision: of ``ensure``, ``adopt`` and ``remove``.
        weights, mirror: of an ``apply`` that is meant; weight, digest: candidate's per mille and the configuration in
            force, of one that traffic follows.
    """

    action: Required[str]
    revision: str
    epoch: str
    weights: dict[str, int]
    mirror: str | None
    weight: int
    digest: str


class Ordered(TypedDict, total=False):
    """What a person ordered, and the phase after it; *by* names the candidate that takes over (``supersede``)."""

    command: Required[str]
    who: str
    reason: str
    force: bool
    option: str
    percent: float | None
    phase: str
    by: str


@dataclass(frozen=True)
class Record:
    """One line of the journal; *hash* covers everything else, and *previous* is the hash of the line before."""

    seq: int
    at: float
    kind: str
    rollout: str
    token: int
    body: Mapping[str, Any]
    previous: str
    hash: str

    @property
    def decision(self) -> Decide | None:
        """What was decided; None of a record of another kind, as with the two below."""
        return cast(Decide, self.body) if self.kind == "decide" else None

    @property
    def done(self) -> Action | None:
        """The call that is over."""
        return cast(Action, self.body) if self.kind == "done" else None

    @property
    def order(self) -> Ordered | None:
        """What a person ordered."""
        return cast(Ordered, self.body) if self.kind == "command" else None


@dataclass(frozen=True)
class Stored:
    """A state and the revision under which it is stored; a save must name it."""

    state: RolloutState
    revision: int


@dataclass(frozen=True)
class Grant:
    """A lease: who holds it, its fencing token (it grows with each change of holder), and when it ends."""

    holder: str
    token: int
    expires: float


@dataclass(frozen=True)
class Command:
    """What a person asks of a live rollout.

    Attributes:
        force: of ``promote``: without the certificate; needs a reason.
        percent: of ``pause``: the share of requests to stay at; the present one where it is None.
        option: of older ones.
    """

    name: Literal["pause", "resume", "approve", "promote", "abort"]
    who: str
    reason: str = ""
    option: str = ""
    force: bool = False
    percent: float | None = None


def sealed(seq: int, at: float, kind: str, rollout: str, token: int, body: Mapping[str, Any], previous: str) -> Record:
    """The record with its hash."""
    content = seq, at, kind, rollout, token, body, previous
    return Record(*content, hash=seal(content))


def verify(records: Iterable[Record], head: str | None = None) -> int:
    """Check the whole chain and return its length.

    Args:
        head: hash of the record that must be the last or an earlier one, kept apart from the journal.

    Raises:
        DataError: names the first record that was edited, or says that records are missing.
    """
    kept = list(records)
    fault = first_fault(vars(record).values() for record in kept)
    if fault is not None:
        seq = kept[fault.place - 1].seq
        raise DataError(f"journal record {seq} was changed after it was written; trust none that follows")
    if head is not None and head not in {GENESIS, *(record.hash for record in kept)}:
        raise DataError(f"the journal ends after record {len(kept)}, but later ones were written; they are missing")
    return len(kept)
