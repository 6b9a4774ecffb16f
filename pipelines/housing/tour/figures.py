"""What the tour's page shows, gathered from what the tour did."""

import os
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np

from components.pages.story_page import ErrorOverTime, RunLine, Story, StoryLine
from components.steps.place import Place
from components.watching.values import Figure, WatchReport
from pipelines.here.training import TrainingResult
from pipelines.housing.tour.tour import Played, TourLog
from pipelines.loop.watch import Watched
from serving.wire import predict_path

ALARMS = ("degraded", "drifted")
METRIC = "rmse"


def page_of(place: Place, story: TourLog, played: Played, *, address: str, kept: bool) -> Story:
    """The page of a tour; links are relative to the place's home."""
    replies = [reply for part in played.buyers.values() for reply in part.replies]
    seconds = np.array([reply.seconds for reply in replies])
    lost = sum(part.lost for part in played.buyers.values())
    steps = played.canary.steps if played.canary else ()
    state = "" if kept else " (ended with the tour; make run KEEP=1 leaves it)"
    return Story(
        title="From rows to live traffic, and through a market that turned",
        started=story.began,
        ended=story.began + timedelta(seconds=story.happenings[-1].at),
        summary=_summary(played, lost),
        good=lost == 0,
        events=[StoryLine(h.at, h.subject, h.text, _kind(h.subject, h.text)) for h in story.happenings if not h.aside],  # type: ignore[arg-type]  # three words
        runs=[_run(run, place.root) for run in played.runs],
        error=_error(played),
        canary=[(at - story.began.timestamp(), status) for at, status in steps],
        candidate=steps[-1][1].candidate if steps else "candidate",
        stable=steps[-1][1].stable if steps else "stable",
        requests=dict(sorted(Counter(f"version {r.version}" for r in replies if r.status == 200).items())),
        lost=lost,
        latency_ms={
            name: float(np.quantile(seconds, q) * 1_000) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        },
        addresses=[
            ("endpoint", f"{address}{predict_path('housing')}{state}"),
            ("experiments", "slipway ui, then http://127.0.0.1:5000"),
        ],
        next_commands=[
            ("make run KEEP=1", "leaves the endpoint running"),
            ("slipway models history", "who decided what, when and why"),
            ("slipway rollout explain", "the evidence behind the canary, gate by gate"),
        ],
    )


def _summary(played: Played, lost: int) -> str:
    requests = sum(len(part) for part in played.buyers.values())
    told = f"{requests:,} requests were answered, {lost} lost" if lost else f"{requests:,} requests, none lost"
    before, worst = played.quiet.report, played.turned.report
    if played.after is None:
        return f"The market gave no reason to train again: {worst.verdict}; {told}."
    return (
        f"RMSE went from {_rmse(before)} to {_rmse(worst)} when the market turned, and is {_rmse(played.after.report)} "
        f"since version 2 serves; {told}."
    )


def _rmse(report: WatchReport) -> str:
    figure = _figure(report)
    return figure.show(figure.value) if figure else "unknown"


def _figure(report: WatchReport) -> Figure | None:
    return next((figure for figure in report.figures if figure.name == METRIC), None)


def _kind(subject: str, text: str) -> str:
    if any(word in text for word in ALARMS) or subject == "market turns":
        return "alarm"
    return "good" if subject in ("promoted", "rollback", "batch") else "step"


def _run(result: TrainingResult, home: Path) -> RunLine:
    said = {task.task.rsplit("/", 1)[-1]: task.message or "" for task in result.run.tasks}
    sentence = "; ".join(filter(None, (said.get("evaluate"), said.get("gate"))))
    href = "" if result.report is None else os.path.relpath(result.report, home)
    return RunLine(f"run {result.run.run_id}", sentence, result.outcome != "refused", href)


def _error(played: Played) -> ErrorOverTime | None:
    """RMSE by bucket of the sale's date, as each look saw the version that served then."""
    looks = {"before the turn": played.quiet, "after the turn": played.turned}
    if played.after is not None:
        looks["after retraining"] = played.after
    found = {name: _by_start(seen) for name, seen in looks.items()}
    first = set(found["before the turn"])
    found["after the turn"] = {start: v for start, v in found["after the turn"].items() if start not in first}
    labels = sorted({start for values in found.values() for start in values})
    if not labels:
        return None
    series = {name: [values.get(label) for label in labels] for name, values in found.items()}
    figure = _figure(played.quiet.report)
    return ErrorOverTime("RMSE", labels, series, played.quiet.report.unit, figure.level if figure else None)


def _by_start(seen: Watched) -> dict[str, float]:
    return {bucket.start: bucket.metrics[METRIC] for bucket in seen.report.buckets if METRIC in bucket.metrics}
