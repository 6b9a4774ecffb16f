"""The tour of ``make run`` as one HTML page: what happened when, the error before and after, and how traffic moved."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from serving.pages import charts
from serving.pages.html import (
    Html,
    badge,
    beside,
    chain,
    figure,
    identifier,
    join,
    link,
    page,
    pairs,
    section,
    table,
    tag,
    tile,
    tiles,
    tone,
    verdict,
)
from serving.pages.words import moment, number, with_unit
from serving.rollout.telling.explain import RolloutStatus

Kind = Literal["step", "good", "alarm"]


@dataclass(frozen=True)
class StoryLine:
    """A line of the timeline; ``at`` is seconds since the tour began, ``kind`` decides nothing but the mark."""

    at: float
    subject: str
    sentence: str
    kind: Kind = "step"


@dataclass(frozen=True)
class RunLine:
    """A training run in one sentence; ``href`` is its report, relative to the page."""

    title: str
    sentence: str
    accepted: bool
    href: str = ""


@dataclass(frozen=True)
class ErrorOverTime:
    """A metric as it was watched.

    Attributes:
        labels: moments in order, as they are to be read.
        series: name (``before the turn``, ``after the turn``, ``after retraining``) to one value per label; None: gap.
        alarm: the level that is an alarm, in ``unit``.
    """

    metric: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    unit: str = ""
    alarm: float | None = None

    def last(self, name: str) -> float | None:
        return next((value for value in reversed(self.series[name]) if value is not None), None)


@dataclass(frozen=True)
class Story:
    """Everything the page tells.

    Attributes:
        summary: the outcome in one sentence.
        canary: a rollout at the end of each of its steps, and when that was, in seconds since the tour began.
        requests: answered requests by version; ``lost`` are those without an answer.
        latency_ms: name (``p50``, ``p99``) to milliseconds.
        addresses: (what, address); ``next_commands``: (command, what it does).
    """

    title: str
    started: datetime
    ended: datetime
    summary: str = ""
    good: bool = True
    events: Sequence[StoryLine] = ()
    runs: Sequence[RunLine] = ()
    error: ErrorOverTime | None = None
    canary: Sequence[tuple[float, RolloutStatus]] = ()
    candidate: str = "candidate"
    stable: str = "stable"
    requests: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    addresses: Sequence[tuple[str, str]] = ()
    next_commands: Sequence[tuple[str, str]] = ()


def story_page(story: Story) -> str:
    """The page; sections without content are left out."""
    body = [
        tag("p", f"{moment(story.started)}, {_length(story)}", cls="over"),
        tag("h1", story.title),
        _outcome(story) if story.summary else "",
        tiles(_headline(story)),
        section("The two models" if len(story.runs) == 2 else "Models", _runs(story.runs)) if story.runs else "",
        section("The error", *_error(story.error)) if story.error else "",
        section("The canary", *_canary(story)) if story.canary else "",
        section("Requests", *_requests(story)) if story.requests or story.latency_ms else "",
        section("Minute by minute", chain(map(_happened, story.events))) if story.events else "",
        section("Go on from here", *_onward(story)) if story.addresses or story.next_commands else "",
    ]
    foot = f"{story.title}, ended {moment(story.ended)}. Written by Slipway."
    return page(story.title, story.summary or story.title, body, foot=foot)


def _length(story: Story) -> str:
    return f"{clock((story.ended - story.started).total_seconds())} min from start to end"


def clock(seconds: float) -> str:
    """Minutes and seconds, ``3:07``."""
    whole = max(round(seconds), 0)
    return f"{whole // 60}:{whole % 60:02d}"


def _outcome(story: Story) -> Html:
    return verdict(tone(story.good), tag("p", story.summary))


def _headline(story: Story) -> Iterator[Html]:
    if story.error:
        for name in story.error.series:
            value = story.error.last(name)
            if value is not None:
                yield tile(f"{story.error.metric} {name}", with_unit(number(value), story.error.unit))
    if story.requests or story.lost:
        total = sum(story.requests.values()) + story.lost
        yield tile("Requests lost", f"{story.lost:,}", [f"of {total:,}"])
    if "p99" in story.latency_ms:
        yield tile("Latency p99", f"{story.latency_ms['p99']:.3g} ms")


def _runs(runs: Sequence[RunLine]) -> Html:
    made = []
    for one in runs:
        head = join([tag("b", one.title), " ", badge("accepted" if one.accepted else "refused", tone(one.accepted))])
        report = tag("p", link(one.href, "Read its report")) if one.href else ""
        made.append(tag("div", head, tag("p", one.sentence), report, cls="card"))
    return tag("div", *made, cls="cards")


def _error(error: ErrorOverTime) -> Iterator[str]:
    series = dict(error.series)
    drawn = charts.lines(error.metric, error.labels, series, unit=error.unit, threshold=error.alarm)
    spans = table(("", "First", "Last", "Highest"), [(name, *_span(error, name)) for name in series], numbers=(1, 2, 3))
    words = "" if error.alarm is None else f"The alarm is at {with_unit(number(error.alarm), error.unit)}."
    yield beside(
        figure(f"{error.metric} on labelled predictions", drawn), tag("div", spans, tag("p", words, cls="note"))
    )


def _span(error: ErrorOverTime, name: str) -> tuple[str, str, str]:
    known = [value for value in error.series[name] if value is not None]
    if not known:
        return "–", "–", "–"
    first, last, most = (with_unit(number(value), error.unit) for value in (known[0], known[-1], max(known)))
    return first, last, most


def _canary(story: Story) -> Iterator[str]:
    name, (_, last) = story.candidate, story.canary[-1]
    courses = zip(*(_shares(step) for _, step in story.canary), strict=True)
    splits = dict(zip(("configured", "observed", "realized"), courses, strict=True))
    drawn = charts.lines("Share", [clock(at) for at, _ in story.canary], splits, unit="%", dots=("realized",))
    rules = pairs(
        [
            ("Candidate", name),
            ("Stable", story.stable),
            ("Configured", "the share that was asked for"),
            ("Observed", "the share in force in the proxy"),
            ("Realized", "the share as the requests of the step fell"),
            ("Harm", f"evidence E that the candidate fails more; at {number(last.threshold)} it goes back"),
            ("Excess", "users who could newly fail after the next increase, at worst;"
                       f" more traffic waits until it is under {_percent(100 * last.rho)}"),
        ]
    )  # fmt: skip
    yield beside(figure(f"Share of requests of {name}", drawn), rules)
    head = ("At", "Configured", "Observed", "Realized", name, story.stable, "Harm", "Excess", "Phase")
    yield table(head, [_step_row(at, step) for at, step in story.canary], numbers=range(8))
    yield tag("p", "Under each version: requests of the step, errors among them in brackets.", cls="note")


def _shares(step: RolloutStatus) -> tuple[float | None, ...]:
    """Percent of requests of the candidate as configured, observed and realized; None when unknown."""
    given = (step.configured, step.observed, step.realized)
    return tuple(split.get(step.candidate, 0.0) if split else None for split in given)


def _step_row(at: float, step: RolloutStatus) -> tuple[str, ...]:
    gate = next((one for one in step.evidence.gates if one.required), None)
    return (
        clock(at),
        *map(_percent, _shares(step)),
        _counts(gate.canary if gate else (0, 0)),
        _counts(gate.stable if gate else (0, 0)),
        f"{step.harm:.3g}",
        _percent(100 * step.excess),
        step.phase,
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g} %"


def _counts(counts: tuple[int, int]) -> str:
    return f"{counts[0]:,} ({counts[1]:,})"


def _requests(story: Story) -> Iterator[str]:
    total = sum(story.requests.values()) or 1
    rows = [(name, f"{count:,}", _percent(100 * count / total)) for name, count in story.requests.items()]
    lost = "No request was lost." if not story.lost else f"{story.lost:,} requests were lost."
    speed = pairs((f"Latency {name}", f"{value:.3g} ms") for name, value in story.latency_ms.items())
    yield tag("p", tag("b", lost, cls=tone(not story.lost)))
    yield beside(table(("Version", "Requests answered", "Share"), rows, numbers=(1, 2)), speed)


def _happened(event: StoryLine) -> tuple[str, ...]:
    return event.subject, event.sentence, "" if event.kind == "step" else event.kind, clock(event.at)


def _onward(story: Story) -> Iterator[str]:
    yield pairs((what, identifier(address)) for what, address in story.addresses)
    if story.next_commands:
        yield tag("h3", "Commands to try")
        yield pairs((identifier(command), what) for command, what in story.next_commands)
