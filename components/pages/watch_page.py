"""The watch report as one HTML page that needs nothing from elsewhere."""

from collections.abc import Iterable
from html import escape

from components.judging import metrics
from components.judging.metrics import number
from components.pages import plots
from components.watching.drift import PREDICTION, ColumnDrift, Drift
from components.watching.values import Figure, ServiceFigures, WatchReport

STYLE = (
    ":root{color-scheme:light dark;--ink:#1f2933;--soft:#d5dbe1;--page:#fff;--good:#2d8a57;--bad:#c8372d;--odd:#c2701c}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e3e8ed;--soft:#3c4753;--page:#161b21;--good:#6cc493;--bad:#f0776e;"
    "--odd:#e8a35c}}"
    "body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;color:var(--ink);background:var(--page);"
    "max-width:1000px;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .5rem}"
    ".verdict{border-left:6px solid var(--odd);padding:.4rem 1rem;margin:1rem 0;font-size:1.05rem}"
    ".verdict.healthy{border-color:var(--good)}.verdict.degraded{border-color:var(--bad)}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "td,th{padding:.3rem .6rem;border-bottom:1px solid var(--soft);text-align:right}"
    "td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}th{font-weight:600}"
    ".faint{opacity:.72}.bad{color:var(--bad);font-weight:600}"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:1rem}"
)
EVERY = {"1d": "day", "1w": "week", "1mo": "month"}
HISTOGRAMS = 6


def watch_page(report: WatchReport) -> str:
    """Verdict, performance over time, drift and service figures; every text from the data is escaped."""
    title = escape(" ".join(filter(None, ("Watch", report.model, report.version))))
    body = [
        f"<h1>{title}</h1>",
        f'<p class="faint">labels known by {escape(report.as_of)}</p>',
        f'<p class="verdict {report.verdict}">{escape(report.sentence)}</p>',
        _performance(report),
        _labels(report),
        "" if report.drift is None else _drift(report.drift),
        _service(report.service),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _performance(report: WatchReport) -> str:
    measured = [figure for figure in report.figures if figure.name in metrics.METRICS]
    parts = ["<h2>Performance</h2>"]
    if report.unknown:
        parts.append(f"<p>Not known: {escape(report.unknown)}.</p>")
    if measured:
        rows = [_figure_row(figure) for figure in measured]
        head = ("metric", f"now, on {report.judged:,} labelled", "95 % interval", "at release", "alarm at", "standing")
        parts.append(_table(head, rows))
    shown = [figure for figure in measured if figure.level is not None] or measured[:1]
    parts.append('<div class="plots">' + "".join(_course(report, figure) for figure in shown) + "</div>")
    return "".join(parts)


def _figure_row(figure: Figure) -> tuple[str, ...]:
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f"{figure.show(figure.low)} to {figure.show(figure.high)}"
    reference = "" if figure.reference is None else figure.show(figure.reference)
    level = "" if figure.level is None else figure.show(figure.level)
    return (
        figure.label,
        figure.show(figure.value),
        interval,
        reference,
        level,
        "" if figure.standing == "not judged" else figure.standing,
    )


def _course(report: WatchReport, figure: Figure) -> str:
    values = [bucket.metrics.get(figure.name) for bucket in report.buckets]
    return plots.lines(
        f"{figure.label} by {EVERY[report.every]}",
        [bucket.start for bucket in report.buckets],
        {figure.label: values},
        unit=report.unit if metrics.get(figure.name).unit == "target" else "",
        threshold=figure.level,
    )


def _labels(report: WatchReport) -> str:
    seen = report.labels
    rows = [
        ("predictions", f"{seen.predictions:,}"),
        ("with a label", f"{seen.labelled:,}"),
        ("without one yet", f"{seen.unlabelled:,}"),
        ("labels replaced by a newer one", f"{seen.duplicates:,}"),
        ("labels of unknown requests", f"{seen.orphans:,}"),
        ("labels that come later", f"{seen.later:,}"),
        ("labels that cannot be used", f"{seen.unusable:,}"),
    ]
    course = ""
    if any(bucket.predictions != bucket.labelled for bucket in report.buckets):
        counts: dict[str, list[float | None]] = {
            "predictions": [float(bucket.predictions) for bucket in report.buckets],
            "labelled": [float(bucket.labelled) for bucket in report.buckets],
        }
        starts = [bucket.start for bucket in report.buckets]
        course = plots.lines(f"rows by {EVERY[report.every]}", starts, dict(counts), unit="rows")
    return f'<h2>Labels</h2><div class="plots">{_table((), rows)}{course}</div>'


def _drift(drift: Drift) -> str:
    ordered = sorted(drift.columns, key=lambda column: (not column.drifted, -column.effect))
    head = (
        "column",
        "test",
        "effect",
        "p, corrected",
        "PSI",
        "moved by (of its range)",
        "missing",
        "unknown",
        "out of range",
        "",
    )
    parts = ["<h2>Inputs and predictions</h2>", f"<p>{escape(drift.sentence)}, on {drift.rows:,} rows.</p>"]
    parts.append('<p class="faint">Values moved by: the mean distance, as a share of the range of most of them.</p>')
    if drift.not_logged:
        parts.append(f'<p class="faint">Not logged: {escape(", ".join(drift.not_logged))}.</p>')
    parts.append(_table(head, [_drift_row(column) for column in ordered]))
    shown = [column for column in ordered if column.drifted or column.column == PREDICTION][:HISTOGRAMS]
    parts.append('<div class="plots">' + "".join(_distribution(column) for column in shown) + "</div>")
    return "".join(parts)


def _drift_row(column: ColumnDrift) -> tuple[str, ...]:
    rates = {rate.name: rate for rate in column.rates}
    cells = [f"{rates[name].current:.1%}" if name in rates else "" for name in ("missing", "unknown", "out of range")]
    return (
        column.column,
        "KS" if column.statistic == "ks" else "chi-square",
        f"{column.effect:.3f}",
        "below 1e-16" if column.p_value < 1e-16 else f"{column.p_value:.2g}",
        f"{column.psi:.3f}",
        "" if column.wasserstein is None else f"{column.wasserstein:.1%}",
        *cells,
        "drifted" if column.drifted else "",
    )


def _distribution(column: ColumnDrift) -> str:
    percent: dict[str, list[float | None]] = {
        "at training" if column.column != PREDICTION else "at release": [100 * share for share in column.before],
        "now": [100 * share for share in column.now],
    }
    return plots.lines(f"{column.column}: share of rows by bin", column.bins, dict(percent), unit="%")


def _service(service: ServiceFigures) -> str:
    rows = [("requests", f"{service.requests:,}")]
    if service.error_rate is not None:
        rows.append(("failed", f"{service.errors:,} ({service.error_rate:.2%})"))
    for name, value in (("50", service.latency_p50), ("95", service.latency_p95), ("99", service.latency_p99)):
        if value is not None:
            rows.append((f"latency, {name} % of requests within", f"{number(value)} ms"))
    if service.requests_per_s is not None:
        rows.append(("throughput", f"{number(service.requests_per_s)} requests/s"))
    by = "as callers saw it, at the proxy" if service.seen_by == "caller" else "as the model server saw it"
    return f'<h2>ServiceFigures</h2><p class="faint">{by}</p>{_table((), rows)}'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = "".join(f"<th>{escape(word)}</th>" for word in head)
    body = "".join("<tr>" + "".join(_cell(word) for word in row) + "</tr>" for row in rows)
    return "<table>" + (f"<thead><tr>{cells}</tr></thead>" if cells else "") + f"<tbody>{body}</tbody></table>"


def _cell(word: str) -> str:
    return f'<td class="bad">{word}</td>' if word in ("beyond", "drifted") else f"<td>{escape(word)}</td>"
