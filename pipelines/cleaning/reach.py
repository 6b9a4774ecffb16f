"""What stays and what goes: a function of what lies in a home, what points where, and how much a person keeps.

A root is what somebody uses, or asked to keep; whatever a root needs stays, and what that needs. Only things that are
known here can go: who reads a home names them, and leaves out what it does not know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["run", "step", "cache entry", "version", "bundle", "download", "earlier tour", "remains"]
UNREACHED: Mapping[Kind, str] = {
    "run": "no version is of it and it is not among the newest",
    "step": "no run that stays was made with it",
    "cache entry": "what it points to goes",
    "version": "put away, and its run is not among the newest",
    "bundle": "no version that stays has it",
    "download": "no version that stays has it",
    "earlier tour": "put aside by a later tour",
    "remains": "left by a command that was killed",
}


@dataclass(frozen=True)
class Thing:
    """What lies in a home, or a version in its ledger.

    Attributes:
        name: what others need it by; of a file or folder its path below the home.
        needs: names of what has to stay with it.
        held: why it stays whatever is asked for; empty: it may go.
        evidence: why it stays by itself, without what it needs; empty: it may go.
        used: when it was last of use, in seconds since 1970.
        rank: how many of its kind are newer; None: none of its kind stays for being new.
    """

    kind: Kind
    name: str
    size: int = 0
    needs: frozenset[str] = frozenset()
    held: str = ""
    evidence: str = ""
    used: float = 0.0
    rank: int | None = None


@dataclass(frozen=True)
class Keep:
    """What a person keeps: the newest *runs*, and what was of use since *since*, in seconds since 1970."""

    runs: int
    since: float


@dataclass(frozen=True)
class Sorted:
    """Why each thing stays, by its name; and what goes."""

    stays: Mapping[str, str]
    goes: tuple[Thing, ...]

    @property
    def size(self) -> int:
        """Of what goes, in bytes."""
        return sum(thing.size for thing in self.goes)


def plan(things: Iterable[Thing], keep: Keep) -> Sorted:
    """Divide *things* into what stays and what goes; names are unique."""
    known = {thing.name: thing for thing in things}
    roots = {thing.name: why for thing in known.values() if (why := _root(thing, keep))}
    stays = _reached(roots, known)
    stays |= {thing.name: thing.evidence for thing in known.values() if thing.evidence and thing.name not in stays}
    for thing in known.values():  # an entry keeps nothing: it is there for as long as what it points to
        if thing.kind == "cache entry" and thing.needs and thing.needs <= stays.keys():
            stays.setdefault(thing.name, "what it points to stays")
    return Sorted(stays, tuple(thing for thing in known.values() if thing.name not in stays))


def _root(thing: Thing, keep: Keep) -> str:
    if thing.held:
        return thing.held
    if thing.rank is not None and thing.rank < keep.runs:
        return f"among the newest {keep.runs}"
    return "of use lately" if thing.rank is not None and thing.used >= keep.since else ""


def _reached(roots: Mapping[str, str], known: Mapping[str, Thing]) -> dict[str, str]:
    """*roots* and all that they need, each with the reason of the root that it was first reached from."""
    stays, open_ = dict(roots), list(roots)
    while open_:
        here = open_.pop()
        for name in known[here].needs & (known.keys() - stays.keys()):
            stays[name] = stays[here]
            open_.append(name)
    return stays
