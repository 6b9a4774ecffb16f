"""What a controller needs to be able to die at any moment: state, journal, lease and inbox of one service.

``sqlite.py`` keeps it in a file beside a local service, ``sql.py`` in the ledger's database for a cluster. Writes
carry a fencing token, the number of the lease under which they are made; a write under an older one is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from serving.errors import DataError
from serving.files import canonical_json, sha256_bytes
from serving.rollout.state import RolloutState

RecordKind = Literal["start", "decide", "intent", "done", "command", "alert"]
GENESIS = "0" * 64


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
        option: of ``resume`` after a drift: ``adopt`` or ``reassert``.
        force: of ``promote``: without the certificate; needs a reason.
    """

    name: Literal["pause", "resume", "approve", "promote", "abort"]
    who: str
    reason: str = ""
    option: str = ""
    force: bool = False


class StateStore(Protocol):
    def load(self) -> Stored | None: ...

    def save(self, state: RolloutState, revision: int, token: int) -> int:
        """Replace revision *revision* (0: nothing yet) and return the new one.

        Raises:
            ConflictError: somebody else saved meanwhile, or *token* is not the present lease's.
        """

    def past(self) -> list[RolloutState]:
        """Finished rollouts, oldest first."""


class Journal(Protocol):
    def append(self, kind: RecordKind, rollout: str, body: Mapping[str, Any], at: float, token: int) -> Record:
        """Add one record; ``ConflictError`` when *token* is not the present lease's."""

    def records(self, rollout: str | None = None) -> list[Record]: ...


class Lease(Protocol):
    def acquire(self, holder: str, now: float, ttl: float) -> Grant | None:
        """The lease for *ttl* seconds from *now*, renewed when *holder* has it; None while somebody else does."""

    def release(self, grant: Grant) -> None: ...

    def current(self) -> Grant | None: ...

    def unlock(self) -> None:
        """Take the lease from whoever has it; their token is void from now on."""


class Inbox(Protocol):
    """Commands from other processes; the lease's holder answers them at its next look."""

    def ask(self, command: Command) -> int: ...

    def asked(self) -> list[tuple[int, Command]]: ...

    def answer(self, number: int, text: str) -> None: ...

    def answered(self, number: int) -> str | None: ...


class Desk(StateStore, Journal, Lease, Inbox, Protocol):
    """Everything a controller keeps outside of its own memory."""


class OpenDesk(Desk, Protocol):
    """A desk that somebody opened and closes."""

    def head(self) -> str | None:
        """Hash of the newest record when the state was last saved; ``verify`` misses nothing up to it."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def sealed(seq: int, at: float, kind: str, rollout: str, token: int, body: Mapping[str, Any], previous: str) -> Record:
    """The record with its hash."""
    content = [seq, at, kind, rollout, token, body, previous]
    return Record(seq, at, kind, rollout, token, body, previous, sha256_bytes(canonical_json(content)))


def verify(records: Iterable[Record], head: str | None = None) -> int:
    """Check the whole chain and return its length.

    Args:
        head: hash of the record that must be the last or an earlier one, kept apart from the journal.

    Raises:
        DataError: names the first record that was edited, or says that records are missing.
    """
    previous, count, seen = GENESIS, 0, {GENESIS}
    for record in records:
        count += 1
        values = asdict(record)
        expected = sealed(**{name: value for name, value in values.items() if name != "hash"})
        if record.seq != count or record.previous != previous or expected.hash != record.hash:
            raise DataError(f"journal record {record.seq} was changed after it was written; trust none that follows")
        previous = record.hash
        seen.add(previous)
    if head is not None and head not in seen:
        raise DataError(f"the journal ends after record {count}, but later ones were written; they are missing")
    return count


def slow_from_ms(desk: StateStore) -> float | None:
    """From how many milliseconds on the plan of the newest rollout calls an answer slow; None: never."""
    stored = desk.load()
    gate = stored.state.plan.gates.slow if stored else None
    return None if gate is None else gate.slo * 1_000
