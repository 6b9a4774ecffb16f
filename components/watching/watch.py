"""Is the model that serves still as good as when it was released, and are its inputs still those it learned from?

Silence proves nothing: with too few labels the verdict is ``unknown``, never ``healthy``. A bar counts as passed only
when the figure is beyond it by more than chance explains, so that a thin month does not start a training run.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import polars as pl

from components.data.moments import naive, within
from components.judging import metrics
from components.watching.drift import Drift
from components.watching.figures import buckets, deviation, figure, said, usable
from components.watching.labels import Labelled, join, no_labels
from components.watching.policy import Bar, Watch
from components.watching.values import (
    SERVICE_FIGURES,
    Bucket,
    Figure,
    ServiceFigure,
    ServiceFigures,
    Verdict,
    WatchReport,
)
from serving.bundle.judgement import Judgement
from serving.contract import Contract
from serving.durations import text
from serving.errors import ConfigError
from serving.profile import Profile

__all__ = ["Bucket", "Figure", "ServiceFigures", "WatchReport", "check_alarms", "watch"]


def watch(
    predictions: pl.DataFrame,
    labelled: Labelled | None,
    drift: Drift,
    profile: Profile,
    contract: Contract,
    policy: Watch,
    service: ServiceFigures,
    as_of: datetime,
    *,
    model: str = "",
    version: str = "",
    judgement: Judgement | None = None,
) -> WatchReport:
    """Judge the rows that *version* predicted; an empty *version* takes them all.

    Args:
        predictions: as ``prediction_log.read`` returns them; their features are not looked at.
        labelled: those of *version* with their truth by *as_of*, from ``labels.join``. None: there are no labels.
        drift: of what it predicted in the window, from ``counts.LoggedCounts``.
        profile: of the version that serves.
        judgement: of its bundle, by which it is known what its intervals and its threshold are.

    Raises:
        ConfigError: an alarm is set on something that is not watched.
    """
    check_alarms(policy, contract)
    mine = predictions.filter(pl.col("version") == version) if version else predictions
    met = labelled or join(mine, no_labels(contract), contract, as_of)
    met = Labelled(usable(met.frame, contract), met.report)
    recent = met.frame.filter(within(pl.col("moment"), as_of, policy.labels.delay + policy.window))
    judged = judgement or Judgement()
    measured = _performance(recent, profile, contract, policy, judged)
    figures = (*measured, *_service_figures(service, policy))
    unknown = _unknown(met, recent, figures, policy, as_of)
    every, course = _course(mine, met, contract, judged)
    report = WatchReport(
        model=model,
        version=version,
        as_of=as_of.isoformat(),
        verdict=_verdict(figures, drift, unknown),
        sentence="",
        unknown=unknown,
        labels=met.report,
        judged=recent.height,
        figures=figures,
        every=every,
        buckets=course,
        drift=drift,
        service=service,
        unit=contract.target.unit,
    )
    return report.model_copy(update={"sentence": _sentence(report)})


def check_alarms(policy: Watch, contract: Contract) -> None:
    """Refuse alarms on figures that do not exist, on their good side, out of range, or at multiples of nothing."""
    known = (*metrics.names(contract.task), *SERVICE_FIGURES)
    for name, bar in policy.alarm.items():
        if name not in known:
            raise ConfigError(f"watch.alarm.{name}: expected one of {', '.join(known)}")
        if name in SERVICE_FIGURES and bar.relative:
            raise ConfigError(f"watch.alarm.{name}: has no holdout value to be a multiple of; write a plain number")
        _check_side(f"watch.alarm.{name}", metrics.METRICS.get(name), bar)
        _check_reach(f"watch.alarm.{name}", metrics.METRICS.get(name) or SERVICE_FIGURES[name], bar)


def _check_side(where: str, metric: metrics.Metric | None, bar: Bar) -> None:
    """Refuse a bar that a version as good as at its release has passed; a service figure has no *metric*."""
    seen = bar.side
    if metric is None or metric.direction != "zero":  # a signed metric may leave 0 on either side
        metrics.check_side(where, metric, seen, less="above", more="below")
    times = bar.level(1.0) if bar.relative else None
    if times is not None and (times < 1 if seen == "above" else times > 1):
        least = "1x or more" if seen == "above" else "1x or less"
        raise ConfigError(f"{where}.{seen}: expected {least} of the holdout's value, seen {bar.stated!r}")


def _check_reach(where: str, figure: metrics.Metric | ServiceFigure, bar: Bar) -> None:
    """Refuse a bar that the *figure* is never beyond, or always; only of 0x the level is known before the holdout's."""
    level = bar.level(1.0) or 0.0
    if not (bar.relative and level):
        metrics.check_alarm(f"{where}.{bar.side}", figure.label, figure.values, level, above=bar.side == "above")


def _performance(
    rows: pl.DataFrame, profile: Profile, contract: Contract, policy: Watch, judgement: Judgement
) -> tuple[Figure, ...]:
    """Every metric that can be computed; those with a bar know how sure they are."""
    if rows.height < policy.labels.at_least:
        return ()
    truth = rows["truth"].to_numpy()
    prediction, possible = said(rows, contract, judgement)
    values = metrics.compute(contract.task, truth, prediction)
    found = []
    for name in possible:
        if not np.isfinite(values[name]):
            continue
        bar, sd = policy.alarm.get(name), deviation(name, truth, prediction)
        found.append(figure(name, values[name], sd, profile.metrics.get(name), bar, contract.target.unit))
    return tuple(found)


def _service_figures(service: ServiceFigures, policy: Watch) -> tuple[Figure, ...]:
    seen = {"error_rate": service.error_rate, "latency_p99": service.latency_p99}
    return tuple(
        figure(name, value, None, None, policy.alarm.get(name), "") for name, value in seen.items() if value is not None
    )


def _unknown(met: Labelled, rows: pl.DataFrame, figures: tuple[Figure, ...], policy: Watch, as_of: datetime) -> str:
    """Why nothing can be said about the performance; empty when something can."""
    oldest, newest = naive(as_of) - policy.labels.delay - policy.window, met.frame["label_at"].max()
    if met.frame.height >= policy.labels.at_least and newest < oldest:
        late = f"labels usually take {text(policy.labels.delay)}" if policy.labels.delay else "none came since"
        return f"the newest label is of {newest:%Y-%m-%d}; {late}"
    if rows.height < policy.labels.at_least:
        where = "" if rows.height == met.report.labelled else " in the window"
        seen = f"{rows.height:,} of {met.report.predictions:,} predictions have a label{where}"
        return f"{seen}, {policy.labels.at_least:,} are needed"
    if not any(name in metrics.METRICS for name in policy.alarm):
        return "watch.alarm sets no bar for a metric"
    return _undecided({figure.name: figure for figure in figures}, policy, rows.height)


def _undecided(figures: Mapping[str, Figure], policy: Watch, rows: int) -> str:
    """The first bar that cannot be said to hold, and why."""
    for name in policy.alarm:
        seen = figures.get(name)
        if name in SERVICE_FIGURES and seen is None:
            return f"the {SERVICE_FIGURES[name].label} is not known: no request of the window was counted"
        if name in metrics.METRICS and (seen is None or seen.standing == "not judged"):
            return f"{name} cannot be computed, or has no holdout value to be compared with"
        if seen is not None and seen.standing == "uncertain" and seen.low is not None and seen.high is not None:
            between = f"between {seen.show(seen.low)} and {seen.show(seen.high)}"
            return f"{seen.phrase} is beyond its bar, but {rows:,} labels leave it {between}"
    return ""


def _course(
    rows: pl.DataFrame, met: Labelled, contract: Contract, judgement: Judgement
) -> tuple[str, tuple[Bucket, ...]]:
    """Buckets by event when the labels tell it, in which case rows without a label have no place on that axis."""
    by_event = met.frame.height > 0 and met.frame["event"].null_count() < met.frame.height
    key = ["request_id", "row"]
    waiting = rows.join(met.frame.select(key), on=key, how="anti").unique(key)
    moments = waiting["time"].rename("moment")
    return buckets(met.frame, moments.clear() if by_event else moments, contract, judgement)


def _verdict(figures: tuple[Figure, ...], drift: Drift, unknown: str) -> Verdict:
    if any(figure.standing == "beyond" for figure in figures):
        return "degraded"
    if drift.drifted:
        return "drifted"
    return "unknown" if unknown else "healthy"


def _sentence(report: WatchReport) -> str:
    """What a person should know first, then the rest in order of weight."""
    shown = report.beyond or tuple(f for f in report.figures if f.standing == "within" and not report.unknown)
    measured = [figure.phrase for figure in shown if figure.name in metrics.METRICS]
    parts = [f"{', '.join(measured)} on {report.judged:,} labelled predictions"] if measured else []
    parts += [figure.phrase for figure in shown if figure.name not in metrics.METRICS]
    parts += [report.unknown] if report.unknown else []
    parts += [report.drift.sentence] if report.drift is not None else []
    name = " ".join(filter(None, (report.model, report.version)))
    return f"{name + ' is ' if name else ''}{report.verdict}: {'; '.join(parts)}"
