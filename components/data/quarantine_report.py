"""The validation report: what was refused, why, and how it looked; as a value and as a page."""

import math
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta

import polars as pl
from pydantic import Field

from components.data.rules import Count
from serving.contract import Frozen
from serving.pages.html import Html, identifier, page, pairs, table, tag, verdict
from serving.pages.words import percent

EXAMPLES = 3
SIGMAS = 3.0  # beyond chance
FEW_BAD = 5  # bad rows that say nothing of the newest part


class ReasonCount(Count):
    """How many rows fail one rule; a row that fails two counts in both."""

    expected: str = ""
    examples: tuple[str, ...] = ()
    hint: str = ""


class Freshness(Frozen):
    """Event times of the accepted rows, ISO 8601 in UTC; ``age_days`` is of the newest, seen from the run."""

    oldest: str
    newest: str
    age_days: float


class Newest(Frozen):
    """The newest rows alone: since which day, how many, and how many of them are bad."""

    since: str
    rows: int
    bad: int

    def surely_above(self, share: float) -> bool:
        """Whether more are bad than *share* of them and chance explain (lower bound of Wilson, 1927)."""
        n, p, z = self.rows, self.bad / self.rows, SIGMAS
        centre, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / n) ** 2 / 4)
        return self.bad >= FEW_BAD and (centre - width) / (1 + z * z / n) > share


class Report(Frozen):
    """What validation saw.

    Attributes:
        missing: share 0..1 of accepted rows without a value, for columns that may lack one.
        classes: accepted rows per class; empty for regression.
        extra_columns: columns the contract does not name; they are dropped.
        repeated: rows that were there already and are left out without being bad.
        days: of the rows whose event is known, by day since 1970: how many there are and how many are bad.
    """

    rows: int
    accepted: int
    quarantined: int
    repeated: int = 0
    reasons: tuple[ReasonCount, ...] = ()
    extra_columns: tuple[str, ...] = ()
    missing: dict[str, float] = Field(default_factory=dict)
    classes: dict[str, int] = Field(default_factory=dict)
    freshness: Freshness | None = None
    as_of: str
    days: dict[int, tuple[int, int]] = Field(default_factory=dict)

    def __add__(self, other: "Report") -> "Report":
        """The report of the rows of both, which one contract at one moment judged."""
        accepted = self.accepted + other.accepted
        gaps = {
            name: share * self.accepted + other.missing[name] * other.accepted for name, share in self.missing.items()
        }
        return self.model_copy(
            update={
                "rows": self.rows + other.rows,
                "accepted": accepted,
                "quarantined": self.quarantined + other.quarantined,
                "repeated": self.repeated + other.repeated,
                "days": _days_of_both(self.days, other.days),
                "reasons": _together(self.reasons, other.reasons),
                "missing": {name: rows / max(accepted, 1) for name, rows in gaps.items()},
                "classes": {name: rows + other.classes[name] for name, rows in self.classes.items()},
                "freshness": _widest(self.freshness, other.freshness),
            }
        )

    @property
    def share(self) -> float:
        """Quarantined rows per row, 0..1."""
        return self.quarantined / self.rows if self.rows else 0.0

    @property
    def sentence(self) -> str:
        """'31,118 accepted, 86 quarantined (71 area_m2 out of range, 15 duplicate row)'."""
        why = ", ".join(count.phrase for count in self.worst[:3])
        again = f", {self.repeated:,} repeated and dropped" if self.repeated else ""
        return f"{self.accepted:,} accepted, {self.quarantined:,} quarantined" + (f" ({why})" if why else "") + again

    def newest(self, share: float) -> Newest | None:
        """The rows of the last days that together have at least *share* of all rows; None where no event is known."""
        wanted, rows, bad, since = share * sum(rows for rows, _ in self.days.values()), 0, 0, 0
        for since in sorted(self.days, reverse=True):
            rows, bad = rows + self.days[since][0], bad + self.days[since][1]
            if rows >= wanted:
                break
        day = (date(1970, 1, 1) + timedelta(days=since)).isoformat()
        return Newest(since=day, rows=rows, bad=bad) if rows else None

    @property
    def worst(self) -> tuple[ReasonCount, ...]:
        """The reasons, the one with most rows first."""
        return tuple(sorted(self.reasons, key=lambda count: -count.rows))


def by_day(events: pl.Series, good: pl.Series, as_of: datetime) -> dict[int, tuple[int, int]]:
    """``Report.days`` of rows with these *events*; those after *as_of* are no newest ones but mistakes."""
    table = pl.DataFrame({"day": events.dt.epoch("d"), "late": events > as_of, "bad": ~good}).drop_nulls("day")
    days = table.filter(~pl.col("late")).group_by("day").agg(pl.len(), pl.col("bad").sum()).sort("day")
    return {day: (rows, bad) for day, rows, bad in days.iter_rows()}


def _days_of_both(one: dict[int, tuple[int, int]], other: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    none = (0, 0)
    sums = ((day, one.get(day, none), other.get(day, none)) for day in sorted({*one, *other}))
    return {day: (here[0] + there[0], here[1] + there[1]) for day, here, there in sums}


def _together(one: tuple[ReasonCount, ...], other: tuple[ReasonCount, ...]) -> tuple[ReasonCount, ...]:
    found: dict[tuple[str, str], ReasonCount] = {}
    for count in (*one, *other):
        known = found.get((count.column, count.reason))
        if known is not None:
            examples = tuple(dict.fromkeys((*known.examples, *count.examples)))[:EXAMPLES]
            count = count.model_copy(update={"rows": known.rows + count.rows, "examples": examples})
        found[count.column, count.reason] = count
    return tuple(found.values())


def _widest(one: Freshness | None, other: Freshness | None) -> Freshness | None:
    if one is None or other is None:
        return one or other
    newest = max(one, other, key=lambda known: known.newest)
    return newest.model_copy(update={"oldest": min(one.oldest, other.oldest)})


def quarantine_page(report: Report) -> str:
    """A whole page of what validation set aside; every text from the data is escaped."""
    body = [
        tag("p", "Rows held against the contract", cls="over"),
        tag("h1", "Validation"),
        verdict("wait" if report.quarantined else "good", tag("p", f"{report.sentence}.")),
        *told(report),
    ]
    return page("Validation", report.sentence, body, foot="Written by Slipway.")


def told(report: Report, origin: Iterable[tuple[str, str]] = ()) -> Iterator[Html]:
    """What was read and accepted, and why rows were set aside; *origin* names where they come from."""
    yield pairs([*origin, *_sizes(report)])
    if report.reasons:
        yield tag("h3", "Why rows were set aside")
        yield table(("Column", "Reason", "Rows", "Expected", "For example"), map(_reason, report.worst), numbers=(2,))
    else:
        yield tag("p", "No row was set aside: each keeps the contract.")
    if report.classes:
        yield tag("h3", "Classes among the accepted rows")
        total = max(report.accepted, 1)
        yield pairs((name, f"{rows:,} rows ({100 * rows / total:.1f} %)") for name, rows in report.classes.items())
    if missing := ", ".join(f"{name} {percent(share)}" for name, share in report.missing.items() if share):
        yield tag("p", f"Missing among the accepted rows, as the contract allows: {missing}.", cls="note")


def _sizes(report: Report) -> Iterator[tuple[str, str]]:
    yield "Read", f"{report.rows:,} rows"
    yield "Accepted", f"{report.accepted:,} rows"
    yield "Set aside", f"{report.quarantined:,} rows ({percent(report.share)})"
    if report.repeated:
        yield "Dropped", f"{report.repeated:,} rows that are there already"
    if report.extra_columns:
        yield "Columns dropped", ", ".join(report.extra_columns)
    if (fresh := report.freshness) is not None:
        days = round(fresh.age_days)
        age = "less than a day" if fresh.age_days < 1 else "1 day" if days == 1 else f"{days:,} days"
        yield "Events", f"{fresh.oldest[:10]} to {fresh.newest[:10]}, the newest {age} old"
    yield "Checked as of", report.as_of[:10]


def _reason(count: ReasonCount) -> tuple[str, ...]:
    column, reason = (tag("span", word, cls="nowrap") for word in (count.column or "whole row", count.reason))
    examples = tag("div", *(tag("div", identifier(one)) for one in count.examples), cls="long")
    return column, reason, f"{count.rows:,}", count.expected, examples
