"""One look at the version that serves on this machine: what is read, judged, written and told."""

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from components.data import sources
from components.data.moments import within
from components.data.rules import fields
from components.judging import champions
from components.judging.champions import Champion
from components.pages.watch_page import watch_page
from components.projects.project import Project
from components.steps.place import Place, s3_settings
from components.watching import alerts, prediction_log
from components.watching.counts import LoggedCounts
from components.watching.figures import service
from components.watching.labels import Labelled, join, needed, no_labels
from components.watching.watch import WatchReport, watch
from serving.errors import UsageError
from serving.files import read_json, write_json, write_text
from serving.local.counting import read_counts
from serving.local.paths import service_directory
from serving.local.paths import service_paths as service_place
from serving.tally import Tally

REPORT, PAGE, ALERTS = "report.json", "report.html", "alerts.jsonl"


@dataclass(frozen=True)
class Watched:
    """What one look came to.

    Attributes:
        labelled: the version's predictions with their truth.
        directory: of ``report.json``, ``report.html`` and ``alerts.jsonl``.
        alerted: an alert was sent; the same alarm is not sent twice in a row.
        warning: why the webhook did not take it; empty when it did.
    """

    report: WatchReport
    labelled: Labelled
    directory: Path
    alerted: bool
    warning: str


def watch_model(
    project: Project,
    place: Place,
    as_of: datetime,
    *,
    labels: str | None = None,
    since: datetime | None = None,
    champion: Champion | None = None,
    answered: datetime | None = None,
) -> Watched:
    """Judge the version that serves by the log of this machine and the table of labels at the URI *labels*.

    Args:
        champion: that version, where it is open already.
        answered: the present of the log and the proxy, where *as_of* is a pretended day; None: *as_of*.

    Raises:
        UsageError: no version serves yet.
    """
    champion = champion or champions.find(project.name, place)
    if champion is None:
        raise UsageError(f"no version of {project.name} serves yet; `slipway run` makes one and releases it")
    contract, version = champion.bundle.contract, str(champion.version)
    where = service_place(service_directory(place.serving, project.name))
    end, counts = answered or as_of, LoggedCounts(champion.bundle.profile, contract)
    recent = (pl.col("version") == version) & within(pl.col("time"), end, project.watch.window)
    log = prediction_log.read(where.predictions, contract, since, lambda part: counts.add(part.filter(recent)))
    wanted = needed(contract.target.name, fields(contract)[contract.target.name])
    truths = sources.read(labels, s3_settings(place), wanted) if labels else no_labels(contract)
    mine = log.filter(log["version"] == version)
    tallies = _tallies(where.directory, f"{project.name}-{version}", end - project.watch.window, end)
    seen = service(mine.filter(within(pl.col("time"), end, project.watch.window)), tallies)
    labelled = join(mine, truths, contract, as_of)
    report = watch(
        log,
        labelled,
        counts.drift(project.watch.drift),
        champion.bundle.profile,
        contract,
        project.watch,
        seen,
        as_of,
        model=project.name,
        version=version,
        judgement=champion.bundle.judgement,
    )
    alerted, warning, directory = _publish(report, place, project)
    return Watched(report, labelled, directory, alerted, warning)


def _tallies(directory: Path, revision: str, since: datetime, until: datetime) -> list[Tally]:
    """The proxy's counts of *revision* in a window; none where no service was ever started, or none ran in it."""
    return read_counts(service_place(directory)).between(revision, since, until) if directory.is_dir() else []


def _publish(report: WatchReport, place: Place, project: Project) -> tuple[bool, str, Path]:
    """Write the report, and alert when it says something new."""
    directory = place.root / "watch" / project.name
    news = report.alarm and alerts.is_news(report, previous_report(directory))
    warning = alerts.send(report, directory / ALERTS, project.watch.webhook) if news else ""
    write_text(directory / PAGE, watch_page(report))
    write_json(directory / REPORT, report.model_dump(mode="json"))
    return news, warning, directory


def previous_report(directory: Path) -> WatchReport | None:
    """The last report; None when there is none, or one that another version of this program wrote."""
    with contextlib.suppress(FileNotFoundError, ValidationError, ValueError):
        return WatchReport.model_validate(read_json(directory / REPORT))
    return None
