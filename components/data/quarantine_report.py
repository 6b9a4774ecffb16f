"""The validation report: what was refused, why, and how it looked; as a value and as HTML that a person reads."""

from collections.abc import Iterable
from html import escape

from pydantic import Field

from components.data.rules import Reason
from serving.contract import Frozen


class ReasonCount(Frozen):
    """How many rows fail one rule; a row that fails two counts in both."""

    column: str
    reason: Reason
    rows: int
    expected: str = ""
    examples: tuple[str, ...] = ()


class Freshness(Frozen):
    """Event times of the accepted rows, ISO 8601 in UTC; ``age_days`` is of the newest, seen from the run."""

    oldest: str
    newest: str
    age_days: float


class Report(Frozen):
    """What validation saw.

    Attributes:
        missing: share 0..1 of accepted rows without a value, for columns that may lack one.
        classes: accepted rows per class; empty for regression.
        extra_columns: columns the contract does not name; they are dropped.
    """

    rows: int
    accepted: int
    quarantined: int
    reasons: tuple[ReasonCount, ...] = ()
    extra_columns: tuple[str, ...] = ()
    missing: dict[str, float] = Field(default_factory=dict)
    classes: dict[str, int] = Field(default_factory=dict)
    freshness: Freshness | None = None
    as_of: str

    @property
    def share(self) -> float:
        """Quarantined rows per row, 0..1."""
        return self.quarantined / self.rows if self.rows else 0.0

    @property
    def sentence(self) -> str:
        """'31,118 accepted, 86 quarantined (71 area_m2 out of range, 15 duplicate row)'."""
        why = ", ".join(f"{count.rows:,} {count.column} {count.reason}".replace("  ", " ") for count in self.worst[:3])
        return f"{self.accepted:,} accepted, {self.quarantined:,} quarantined" + (f" ({why})" if why else "")

    @property
    def worst(self) -> tuple[ReasonCount, ...]:
        """The reasons, the one with most rows first."""
        return tuple(sorted(self.reasons, key=lambda count: -count.rows))


def report_html(report: Report) -> str:
    """A fragment without scripts or styles of its own, for the run's report; every text from the data is escaped."""
    sections = [
        f"<p>{escape(report.sentence)}.</p>",
        _sizes(report),
        _reasons(report),
        _classes(report),
        _missing(report),
    ]
    return "\n".join(["<section class='validation'>", "<h2>Validation</h2>", *filter(None, sections), "</section>"])


def _sizes(report: Report) -> str:
    rows = [
        ("rows read", f"{report.rows:,}"),
        ("accepted", f"{report.accepted:,}"),
        ("quarantined", f"{report.quarantined:,} ({report.share:.2%})"),
        ("checked as of", report.as_of),
        *_freshness(report.freshness),
    ]
    if report.extra_columns:
        rows.append(("columns dropped", ", ".join(report.extra_columns)))
    return _table((), rows)


def _freshness(freshness: Freshness | None) -> list[tuple[str, str]]:
    if freshness is None:
        return []
    return [
        ("events", f"{freshness.oldest} to {freshness.newest}"),
        ("age of the newest", f"{freshness.age_days:.1f} days"),
    ]


def _reasons(report: Report) -> str:
    if not report.reasons:
        return ""
    rows = [
        (count.column or "(row)", count.reason, f"{count.rows:,}", count.expected, " | ".join(count.examples))
        for count in report.worst
    ]
    return "<h3>Why rows were set aside</h3>" + _table(("column", "reason", "rows", "expected", "for example"), rows)


def _classes(report: Report) -> str:
    if not report.classes:
        return ""
    rows = [(name, f"{rows:,}", f"{rows / max(report.accepted, 1):.1%}") for name, rows in report.classes.items()]
    return "<h3>Classes</h3>" + _table(("class", "rows", "share"), rows)


def _missing(report: Report) -> str:
    if not report.missing:
        return ""
    rows = [(name, f"{share:.2%}") for name, share in report.missing.items()]
    return "<h3>Missing values among accepted rows</h3>" + _table(("column", "share"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = "".join(f"<th>{escape(word)}</th>" for word in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(word)}</td>" for word in row) + "</tr>" for row in rows)
    return "<table>" + (f"<thead><tr>{cells}</tr></thead>" if cells else "") + f"<tbody>{body}</tbody></table>"
