"""The watch report as one HTML page that needs nothing from elsewhere."""

from collections.abc import Iterator

from components.judging import metrics
from components.watching.drift import PREDICTION, ColumnDrift, Drift
from components.watching.values import Figure, ServiceFigures, WatchReport
from serving.pages import charts
from serving.pages.html import (
    Html,
    Tone,
    beside,
    figure,
    figures,
    page,
    pairs,
    section,
    table,
    tag,
    verdict,
)
from serving.pages.words import number

TONES: dict[str, Tone] = {"healthy": "good", "degraded": "bad"}
EVERY = {"1d": "day", "1w": "week", "1mo": "month"}
HISTOGRAMS = 6


def watch_page(report: WatchReport) -> str:
    """Verdict, performance over time, drift and service figures; every text from the data is escaped."""
    title = " ".join(filter(None, ("Watch", report.model, report.version)))
    body = [
        tag("p", f"Labels known by {report.as_of}", cls="over"),
        tag("h1", title),
        verdict(TONES.get(report.verdict, "wait"), tag("p", report.sentence)),
        section("Performance", *_performance(report)),
        section("Labels", beside(_labels(report), *_arrivals(report))),
        "" if report.drift is None else section("Inputs and predictions", *_drift(report.drift)),
        section("Service", *_service(report.service)),
    ]
    return page(title, report.sentence, body, foot=f"{title}. Written by Slipway.")


def _performance(report: WatchReport) -> Iterator[Html]:
    measured = [figure for figure in report.figures if figure.name in metrics.METRICS]
    if report.unknown:
        yield tag("p", f"Not known: {report.unknown}.")
    head = ("Metric", f"Now, on {report.judged:,} labelled", "95 % interval", "At release", "Alarm at", "Standing")
    yield table(head, map(_figure_row, measured), numbers=range(1, 5))
    shown = [figure for figure in measured if figure.level is not None] or measured[:1]
    yield figures(_course(report, figure) for figure in shown)


def _figure_row(figure: Figure) -> tuple[str, ...]:
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f"{figure.show(figure.low)} to {figure.show(figure.high)}"
    reference, level = ("" if value is None else figure.show(value) for value in (figure.reference, figure.level))
    standing = "" if figure.standing == "not judged" else figure.standing
    return figure.label, figure.show(figure.value), interval, reference, level, _alarmed(standing)


def _course(report: WatchReport, shown: Figure) -> Html:
    title, labels = f"{shown.label} by {EVERY[report.every]}", [bucket.start for bucket in report.buckets]
    values = {shown.label: [bucket.metrics.get(shown.name) for bucket in report.buckets]}
    unit = report.unit if metrics.get(shown.name).unit == "target" else ""
    return figure(title, charts.lines(title, labels, values, unit=unit, threshold=shown.level))


def _labels(report: WatchReport) -> Html:
    seen = report.labels
    counts = {
        "Predictions": seen.predictions,
        "With a label": seen.labelled,
        "Without one yet": seen.unlabelled,
        "Labels replaced by a newer one": seen.duplicates,
        "Labels of unknown requests": seen.orphans,
        "Labels whose id is of several rows or requests": seen.ambiguous,
        "Labels that come later": seen.later,
        "Labels that cannot be used": seen.unusable,
    }
    shown = [(name, f"{count:,}") for name, count in counts.items()]
    return pairs([*shown, *(("of these", why.phrase) for why in seen.reasons)])


def _arrivals(report: WatchReport) -> Iterator[Html]:
    """How many rows have a label by now; no picture when all have."""
    if any(bucket.predictions != bucket.labelled for bucket in report.buckets):
        title, starts = f"Rows by {EVERY[report.every]}", [bucket.start for bucket in report.buckets]
        counts = {
            "predictions": [float(bucket.predictions) for bucket in report.buckets],
            "labelled": [float(bucket.labelled) for bucket in report.buckets],
        }
        yield figure(title, charts.lines(title, starts, counts, unit="rows"))


def _drift(drift: Drift) -> Iterator[Html]:
    ordered = sorted(drift.columns, key=lambda column: (not column.drifted, -column.effect))
    yield tag("p", f"{drift.sentence}, on {drift.rows:,} rows.")
    yield tag("p", "Moved by: the mean distance of values, as a share of the range of most of them.", cls="note")
    if drift.not_logged:
        yield tag("p", f"Not logged: {', '.join(drift.not_logged)}.", cls="note")
    rates = ("Missing", "Unknown", "Out of range")
    head = ("Column", "", "Test", "Effect", "p, corrected", "PSI", "Moved by", *rates)
    yield table(head, map(_drift_row, ordered), numbers=range(3, 10))
    shown = [column for column in ordered if column.drifted or column.column == PREDICTION][:HISTOGRAMS]
    yield figures(map(_distribution, shown))


def _drift_row(column: ColumnDrift) -> tuple[str, ...]:
    rates = {rate.name: rate for rate in column.rates}
    cells = [f"{rates[name].current:.1%}" if name in rates else "" for name in ("missing", "unknown", "out of range")]
    return (
        column.column,
        _alarmed("drifted" if column.drifted else ""),
        "KS" if column.statistic == "ks" else "chi-square",
        f"{column.effect:.3f}",
        "below 1e-16" if column.p_value < 1e-16 else f"{column.p_value:.2g}",
        f"{column.psi:.3f}",
        "" if column.wasserstein is None else f"{column.wasserstein:.1%}",
        *cells,
    )


def _distribution(column: ColumnDrift) -> Html:
    title = f"{column.column}: share of rows by bin"
    before = "at training" if column.column != PREDICTION else "at release"
    percent = {before: [100 * share for share in column.before], "now": [100 * share for share in column.now]}
    return figure(title, charts.lines(title, column.bins, percent, unit="%"))


def _service(service: ServiceFigures) -> Iterator[Html]:
    rows = [("Requests", f"{service.requests:,}")]
    if service.error_rate is not None:
        rows.append(("Failed", f"{service.errors:,} ({service.error_rate:.2%})"))
    for name, value in (("50", service.latency_p50), ("95", service.latency_p95), ("99", service.latency_p99)):
        if value is not None:
            rows.append((f"Latency, {name} % of requests within", f"{number(value)} ms"))
    if service.requests_per_s is not None:
        rows.append(("Throughput", f"{number(service.requests_per_s)} requests/s"))
    by = "As callers saw it, at the proxy." if service.seen_by == "caller" else "As the model server saw it."
    yield tag("p", by, cls="note")
    yield pairs(rows)


def _alarmed(word: str) -> str:
    return tag("b", word, cls="bad") if word in ("beyond", "drifted") else word
