"""Counts per epoch and revision, from totals that only grow and only know positions and processes.

A gateway counts by the position of a reference in a route, a model server for itself, and both since their own start.
What came between two readings belongs to the split that was in force then. Last readings and counts are one document
that is replaced as a whole: a process that ends between two readings loses nothing, and two that read at the same time
count nothing twice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from serving.cluster.backends.readings import Reading
from serving.errors import InfrastructureError
from serving.frozen import Frozen
from serving.rollout.backend import ArmCounts
from serving.rollout.controller.desk import Memory

KEEP_EPOCHS = 100
KEEP_SOURCES = 500  # the last that were read; one that is forgotten too early would be counted twice


class Book(Frozen):
    """All that is remembered between two looks.

    Attributes:
        sources: last reading by source, e.g. a proxy pod and a position in the route.
        epochs: token -> revision -> counts, oldest first.
        begun: a reading was taken; a source that is new after it has counted from 0 since.
    """

    sources: Mapping[str, Reading] = Field(default_factory=dict)
    epochs: Mapping[str, Mapping[str, Reading]] = Field(default_factory=dict)
    begun: bool = False

    def counts(self, slow_ms: float | None) -> dict[str, dict[str, ArmCounts]]:
        return {epoch: {name: arm.counts(slow_ms) for name, arm in arms.items()} for epoch, arms in self.epochs.items()}

    def arm(self, epoch: str, revision: str) -> Reading:
        return self.epochs.get(epoch, {}).get(revision, Reading())

    def with_arm(self, epoch: str, revision: str, arm: Reading) -> "Book":
        epochs = {**self.epochs, epoch: {**self.epochs.get(epoch, {}), revision: arm}}
        return self.model_copy(update={"epochs": dict(list(epochs.items())[-KEEP_EPOCHS:])})


class Scrape(Frozen):
    """One reading of one source and what it stands for.

    Attributes:
        copies: the requests are copies of others, whose answers nobody gets.
        only_bins: the source knows predictions, and another one counts the requests.
        revision: empty where what has come is nobody's.
    """

    source: str
    revision: str
    reading: Reading
    copies: bool = False
    only_bins: bool = False

    def worth(self, more: Reading) -> Reading:
        """What *more* of this source is to its revision."""
        if self.copies:
            return Reading(mirrored=more.requests)
        return Reading(bins=more.bins) if self.only_bins else more


Scrapes = Callable[[], list[Scrape]]  # of all sources


@dataclass(frozen=True)
class KeptBook:
    """The book that *memory* keeps as *key*."""

    memory: Memory
    key: str

    def counts(self, slow_ms: float | None) -> dict[str, dict[str, ArmCounts]]:
        return opened(self.memory.get(self.key)).counts(slow_ms)

    def look(self, epoch: str, scrapes: Scrapes) -> bool:
        """Put what has come since the last look down to *epoch*; False where nothing is, since a source is silent.

        What is not read now is read at the next look. A new split settles only after that.
        """
        try:
            found = scrapes()
        except InfrastructureError:
            return False
        before = opened(self.memory.get(self.key))
        after = account(before, epoch, found)
        if after != before:
            self.memory.put(self.key, document(after))
        return True


def account(book: Book, epoch: str, samples: Iterable[Scrape]) -> Book:
    """*book* with what the *samples* have more than at the last look, all of it counted under *epoch*."""
    sources, added = dict(book.sources), dict[str, Reading]()
    for sample in samples:
        before = sources.pop(sample.source, None)
        sources[sample.source] = sample.reading  # behind all that were not seen this time
        if not sample.revision or (before is None and not book.begun):
            continue  # what is there at the first look came before everything that is counted here
        more = sample.worth(sample.reading.since(before))
        added[sample.revision] = added.get(sample.revision, Reading()) + more
    for revision, more in added.items():
        if more.requests or more.mirrored or more.timed or any(more.bins.values()):
            book = _counted(book, epoch, revision, more)
    kept = dict(list(sources.items())[-KEEP_SOURCES:])
    return book.model_copy(update={"sources": kept, "begun": True})


def _counted(book: Book, epoch: str, revision: str, more: Reading) -> Book:
    at_once = {"bins": thinned(more.bins, more.requests), "durations": {}}
    book = book.with_arm(epoch, revision, book.arm(epoch, revision) + more.model_copy(update=at_once))
    return _timed(book, epoch, revision, Reading(durations=more.durations))


def _timed(book: Book, epoch: str, revision: str, more: Reading) -> Book:
    """Durations reach the statistics some seconds after the answers, in their order: the oldest requests come first."""
    tokens = list(book.epochs)
    before = tokens[tokens.index(epoch) - 1] if tokens.index(epoch) else None
    if before is not None and more.timed:
        arm = book.arm(before, revision)
        late = portion(more, min(more.timed, max(0, arm.requests - arm.errors - arm.timed)))
        if late.timed:
            book, more = book.with_arm(before, revision, arm + late), more - late
    return book.with_arm(epoch, revision, book.arm(epoch, revision) + more)


def portion(reading: Reading, timed: int) -> Reading:
    """*timed* of the durations of *reading*, of each its share."""
    found, seen, taken, whole = dict[str, int](), 0, 0, max(1, reading.timed)
    for least in sorted(reading.durations, key=float):
        seen += reading.durations[least]
        found[least] = round(seen * timed / whole) - taken
        taken += found[least]
    return Reading(durations=found)


def thinned(bins: Mapping[str, int], requests: int) -> dict[str, int]:
    """*bins* of at most *requests* in all: rows of one request are alike and are worth one observation, not many."""
    total = sum(bins.values())
    if total <= requests:
        return dict(bins)
    return {name: count * requests // total for name, count in bins.items()}


def document(book: Book) -> dict[str, Any]:
    return book.model_dump(mode="json")


def opened(found: Mapping[str, Any] | None) -> Book:
    """The book that was put away as *found*; an empty one where nothing was.

    One of an earlier version goes on from its next look: the durations in its last readings are not known.
    """
    known = found or {}
    earlier = any("timed" in reading for reading in known.get("sources", {}).values())
    return Book.model_validate({**known, "sources": {}, "begun": False} if earlier else known)
