"""``slipway watch``: is the version that serves still as good as when it was released?"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import MOMENT, answer, project_option
from pipelines.cli.session import Session
from serving.errors import GateRefusal

if TYPE_CHECKING:
    from pipelines.loop.watch import Watched

labels_option = click.option(
    "--labels",
    metavar="URI",
    help="Table of truths: request_id, the target, label_at, and the event time if there is one.",
)


@click.command()
@project_option
@labels_option
@click.option(
    "--as-of", type=MOMENT, metavar="TIME", help="Use labels known by then, e.g. 2026-03-31 (default now, UTC)."
)
@click.option("--since", type=MOMENT, metavar="TIME", help="Only predictions logged since then.")
@click.option("--fail-on-alarm", is_flag=True, help="End with 5 on an alarm, for scripts.")
@answer
def watch(
    session: Session, labels: str | None, as_of: datetime | None, since: datetime | None, fail_on_alarm: bool
) -> None:
    """Compare the version that serves with its release: errors, inputs, latency.

    Reads the prediction log of `slipway serve` and the labels that have arrived; writes a report and, when something
    new is wrong, an alert to the file beside it and to the project's webhook. Too few labels are an unknown, not a
    good sign.
    """
    from pipelines.loop.watch import watch_model

    now = as_of or datetime.now(UTC)
    seen = watch_model(session.project, session.place, now, labels=labels, since=since)
    tell(session, seen)
    if fail_on_alarm and seen.report.alarm:
        raise GateRefusal(seen.report.sentence)


def tell(session: Session, seen: "Watched") -> None:
    """The look in a few lines."""
    from pipelines.loop.watch import ALERTS, PAGE

    report = seen.report
    session.line("watch", report.sentence, report=report.model_dump(mode="json"))
    labels = report.labels
    session.line(
        "labels",
        f"{labels.labelled:,} of {labels.predictions:,} predictions labelled, {labels.later:,} labels come later, "
        f"{labels.orphans:,} of unknown requests, {labels.ambiguous:,} ambiguous"
        + "".join(f"; {why.phrase}" for why in labels.reasons),
    )
    service = report.service
    if service.latency_p50 is not None:
        errors = "" if service.error_rate is None else f", {service.errors:,} failed"
        quantiles = f"{service.latency_p50:.3g} / {service.latency_p95:.3g} / {service.latency_p99:.3g} ms"
        session.line("service", f"{service.requests:,} requests{errors}, p50 / p95 / p99 {quantiles}")
    if seen.alerted:
        session.line("alert", f"sent to {seen.directory / ALERTS}" + (f"; {seen.warning}" if seen.warning else ""))
    session.line("report", str(seen.directory / PAGE))
