"""Counts per epoch and revision, from totals that only grow and only know positions and processes.

A gateway counts by the position of a reference in a route, a model server for itself, and both since their own start.
What came between two readings belongs to the split that was in force then. Last readings and counts are one document
that is replaced as a whole: a process that ends between two readings loses nothing, and two that read at the same time
count nothing twice.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import Field

from serving.frozen import Frozen
from serving.rollout.backend import REFUSED, ArmCounts

KEEP_EPOCHS = 100
KEEP_SOURCES = 500  # the last that were read; one that is forgotten too early would be counted twice
LOST = "no cluster"  # requests of a proxy whose reference leads nowhere; Envoy counts them for no cluster
LISTENER = "http-10080"  # Envoy's name for the Gateway's listener on port 80

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Reading(Frozen):
    """Totals of one source since its start.

    Attributes:
        requests, errors, refused: answers, of them those of class 5xx, and those of class 4xx.
        timed, slow: answers whose duration is known, and those above the threshold; they may come later than the rest.
        bins: predictions by upper bound.
    """

    requests: int = 0
    errors: int = 0
    refused: int = 0
    timed: int = 0
    slow: int = 0
    bins: Mapping[str, int] = Field(default_factory=dict)

    def since(self, before: "Reading | None") -> "Reading":
        """What was added since *before*; a source that has less than before has started again at 0."""
        if before is None or self.requests < before.requests:
            return self
        return Reading(
            requests=self.requests - before.requests,
            errors=max(0, self.errors - before.errors),
            refused=max(0, self.refused - before.refused),
            timed=max(0, self.timed - before.timed),
            slow=max(0, self.slow - before.slow),
            bins={name: max(0, count - before.bins.get(name, 0)) for name, count in self.bins.items()},
        )

    def plus(self, other: "Reading") -> "Reading":
        names = {**self.bins, **other.bins}
        return Reading(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            refused=self.refused + other.refused,
            timed=self.timed + other.timed,
            slow=self.slow + other.slow,
            bins={name: self.bins.get(name, 0) + other.bins.get(name, 0) for name in names},
        )


class ArmReading(Frozen):
    """Counts of one revision in one epoch. *timed*: requests whose duration has been seen."""

    requests: int = 0
    errors: int = 0
    refused: int = 0
    timed: int = 0
    slow: int = 0
    mirrored: int = 0
    bins: Mapping[str, int] = Field(default_factory=dict)

    def counts(self) -> ArmCounts:
        refused = {REFUSED: self.refused} if self.refused else {}
        return ArmCounts(
            requests=self.requests,
            errors=self.errors,
            slow=self.slow,
            bins={**{name: count for name, count in self.bins.items() if count}, **refused},
            mirrored=self.mirrored,
        )


class Book(Frozen):
    """All that is remembered between two looks.

    Attributes:
        sources: last reading by source, e.g. a proxy pod and a position in the route.
        epochs: token -> revision -> counts, oldest first.
        begun: a reading was taken; a source that is new after it has counted from 0 since.
    """

    sources: Mapping[str, Reading] = Field(default_factory=dict)
    epochs: Mapping[str, Mapping[str, ArmReading]] = Field(default_factory=dict)
    begun: bool = False

    def counts(self) -> dict[str, dict[str, ArmCounts]]:
        return {epoch: {name: arm.counts() for name, arm in arms.items()} for epoch, arms in self.epochs.items()}

    def arm(self, epoch: str, revision: str) -> ArmReading:
        return self.epochs.get(epoch, {}).get(revision, ArmReading())

    def with_arm(self, epoch: str, revision: str, arm: ArmReading) -> "Book":
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


def account(book: Book, epoch: str, samples: Iterable[Scrape]) -> Book:
    """*book* with what the *samples* have more than at the last look, all of it counted under *epoch*."""
    sources, added = dict(book.sources), _Added()
    for sample in samples:
        before = sources.pop(sample.source, None)
        sources[sample.source] = sample.reading  # behind all that were not seen this time
        if not sample.revision or (before is None and not book.begun):
            continue  # what is there at the first look came before everything that is counted here
        added.take(sample, sample.reading.since(before))
    for revision in added.revisions():
        book = _counted(book, epoch, revision, added)
    return book.model_copy(update={"sources": dict(list(sources.items())[-KEEP_SOURCES:]), "begun": True})


class _Added:
    """What came since the last look, by revision and by what its source knows."""

    def __init__(self) -> None:
        self.users: dict[str, Reading] = {}
        self.copies: dict[str, Reading] = {}
        self.bins: dict[str, Reading] = {}

    def take(self, sample: Scrape, more: Reading) -> None:
        into = self.copies if sample.copies else self.bins if sample.only_bins else self.users
        into[sample.revision] = into.get(sample.revision, Reading()).plus(more)

    def revisions(self) -> list[str]:
        return [name for name in {**self.users, **self.copies, **self.bins} if self._more(name)]

    def _more(self, name: str) -> bool:
        parts = (part.get(name, Reading()) for part in (self.users, self.copies, self.bins))
        return any(part.requests or part.timed or any(part.bins.values()) for part in parts)


def _counted(book: Book, epoch: str, revision: str, added: _Added) -> Book:
    users = added.users.get(revision, Reading())
    predicted = added.bins.get(revision, users).bins
    arm = book.arm(epoch, revision)
    bins = thinned(predicted, users.requests)
    book = book.with_arm(
        epoch,
        revision,
        arm.model_copy(
            update={
                "requests": arm.requests + users.requests,
                "errors": arm.errors + users.errors,
                "refused": arm.refused + users.refused,
                "mirrored": arm.mirrored + added.copies.get(revision, Reading()).requests,
                "bins": {name: arm.bins.get(name, 0) + bins.get(name, 0) for name in {**arm.bins, **bins}},
            }
        ),
    )
    return _timed(book, epoch, revision, users.timed, users.slow)


def _timed(book: Book, epoch: str, revision: str, timed: int, slow: int) -> Book:
    """Durations reach the statistics some seconds after the answers, in their order: the oldest requests come first."""
    tokens = list(book.epochs)
    before = tokens[tokens.index(epoch) - 1] if epoch in tokens and tokens.index(epoch) else None
    if before is not None and timed:
        arm = book.arm(before, revision)
        late = min(timed, max(0, arm.requests - arm.errors - arm.timed))
        share = min(late, round(slow * late / timed))
        if late:
            more = {"timed": arm.timed + late, "slow": min(arm.requests, arm.slow + share)}
            book, timed, slow = book.with_arm(before, revision, arm.model_copy(update=more)), timed - late, slow - share
    if not timed:
        return book
    arm = book.arm(epoch, revision)
    more = {"timed": arm.timed + timed, "slow": min(arm.requests, arm.slow + slow)}
    return book.with_arm(epoch, revision, arm.model_copy(update=more))


def thinned(bins: Mapping[str, int], requests: int) -> dict[str, int]:
    """*bins* of at most *requests* in all: rows of one request are alike and are worth one observation, not many."""
    total = sum(bins.values())
    if total <= requests:
        return dict(bins)
    return {name: count * requests // total for name, count in bins.items()}


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each line of Prometheus' text format."""
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found:
            yield found[1], dict(_LABEL.findall(found[2] or "")), float(found[3])


def envoy_readings(text: str, slow_ms: float | None) -> dict[str, Reading]:
    """Readings by Envoy cluster, and under ``LOST`` that of requests which never got to one.

    A request that is cut off or times out has a class too, 5xx: the gateway gives the answer itself.
    """
    classes: dict[str, dict[str, int]] = {}
    lost = 0
    buckets: dict[str, list[tuple[float, int]]] = {}
    for name, labels, value in samples(text):
        cluster = labels.get("envoy_cluster_name", "")
        if name == "envoy_cluster_upstream_rq_xx":
            classes.setdefault(cluster, {})[labels.get("envoy_response_code_class", "")] = int(value)
        elif name == "envoy_http_no_cluster" and labels.get("envoy_http_conn_manager_prefix") == LISTENER:
            lost = int(value)
        elif name == "envoy_cluster_upstream_rq_time_bucket":
            buckets.setdefault(cluster, []).append((float(labels["le"].replace("+Inf", "inf")), int(value)))
    found = {LOST: Reading(requests=lost, errors=lost)}
    for cluster, counts in classes.items():
        timed, slow = above(buckets.get(cluster, []), slow_ms)
        found[cluster] = Reading(
            requests=sum(counts.values()),
            errors=counts.get("5", 0),
            refused=counts.get("4", 0),
            timed=timed,
            slow=slow,
        )
    return found


def active(text: str) -> dict[str, int]:
    """Requests without an answer, by Envoy cluster."""
    return {
        labels.get("envoy_cluster_name", ""): int(value)
        for name, labels, value in samples(text)
        if name == "envoy_cluster_upstream_rq_active"
    }


def above(buckets: Iterable[tuple[float, int]], threshold: float | None) -> tuple[int, int]:
    """All observations, and those above the first bound that is not below *threshold*: surely slow ones only."""
    ordered = sorted(buckets)
    if not ordered or threshold is None:
        return (ordered[-1][1] if ordered else 0), 0
    total = ordered[-1][1]
    below = next((count for bound, count in ordered if bound >= threshold), total)
    return total, total - below


def predictor_reading(text: str, version: str, slow_ms: float | None) -> Reading:
    """Requests, durations and predictions of one model server, as it counts them itself."""
    codes: dict[str, int] = {}
    buckets: dict[float, int] = {}
    cumulative: dict[str, int] = {}
    for name, labels, value in samples(text):
        if labels.get("version") != version:
            continue
        if name == "slipway_requests_total":
            codes[labels["code"][:1]] = codes.get(labels["code"][:1], 0) + int(value)
        elif name == "slipway_request_seconds_bucket":
            bound = float(labels["le"].replace("+Inf", "inf"))
            buckets[bound] = buckets.get(bound, 0) + int(value)
        elif name == "slipway_prediction_value_bucket":
            cumulative[labels["le"]] = int(value)
    timed, slow = above(buckets.items(), None if slow_ms is None else slow_ms / 1_000)
    return Reading(
        requests=sum(codes.values()),
        errors=codes.get("5", 0),
        refused=codes.get("4", 0),
        timed=timed,
        slow=slow,
        bins=_apart(cumulative),
    )


def in_flight(text: str) -> int:
    """Requests that a model server is working on."""
    return int(sum(value for name, _, value in samples(text) if name == "slipway_in_flight"))


def _apart(cumulative: Mapping[str, int]) -> dict[str, int]:
    bounds = sorted(cumulative, key=lambda bound: float(bound.replace("+Inf", "inf")))
    counts = [cumulative[bound] for bound in bounds]
    return {bound: count - before for bound, count, before in zip(bounds, counts, [0, *counts], strict=False)}


def document(book: Book) -> dict[str, Any]:
    return book.model_dump(mode="json")


def opened(found: Mapping[str, Any] | None) -> Book:
    """The book that was put away as *found*; an empty one where nothing was."""
    return Book() if found is None else Book.model_validate(found)
