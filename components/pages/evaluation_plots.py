"""The pictures of one evaluation, by name, and of a search: inline SVG for the report and for MLflow."""

import itertools
from collections.abc import Sequence

from components.judging import metrics
from components.judging.evaluation import Evaluation
from components.modelling.search.tuning_values import Tuning
from components.pages.contributions import contributions_plot
from serving.pages import charts
from serving.pages.html import Html

COURSE = "course of "  # before a column's name
CURVES = 4  # classes in one picture: each has a colour of its own
LISTED = 20  # columns


def evaluation_plots(evaluation: Evaluation) -> dict[str, Html]:
    """Inline SVG per picture; those that the evaluation has no data for are left out."""
    made: dict[str, Html] = {}
    if evaluation.error is not None:
        histogram = evaluation.error.histogram
        label = f"prediction minus {evaluation.target}" + (f", {evaluation.unit}" if evaluation.unit else "")
        made["errors"] = charts.histogram("Errors", histogram.edges, histogram.counts, label=label, zero=True)
    if evaluation.sample is not None:
        sample = evaluation.sample
        made["predicted_actual"] = charts.scatter(
            "Predicted against actual", sample.actual, sample.predicted, unit=evaluation.unit
        )
    if evaluation.confusion:
        made["confusion"] = charts.confusion("Confusion", evaluation.classes, evaluation.confusion)
    if evaluation.roc:
        curves: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
        rows = dict(zip(evaluation.classes, map(sum, evaluation.confusion), strict=False))
        most = sorted(evaluation.roc, key=lambda curve: -rows.get(curve.value, 0))[: CURVES + 1]
        curves |= {curve.value: (curve.false_positive, curve.true_positive) for curve in most}
        made["roc"] = charts.roc("ROC", curves)
    if evaluation.calibration:
        made["calibration"] = _calibration(evaluation)
    if evaluation.contributions is not None:
        made["contributions"] = contributions_plot(evaluation.contributions, evaluation)
    leading = metrics.leading(evaluation.task)
    made |= _by_column(evaluation, leading)
    for column in dict.fromkeys(part.column for part in evaluation.slices):
        values = {
            part.value: part.metrics[leading.name]
            for part in evaluation.slices
            if part.column == column and leading.name in part.metrics
        }
        if values:
            unit = evaluation.unit if leading.unit == "target" else ""
            made[f"slices_{column}"] = charts.bars(f"{leading.label} by {column}", values, unit=unit)
    return made


def trials_plot(tuning: Tuning) -> Html:
    """The metric of each trial in order, and the best up to there; trials that failed are left out."""
    metric = metrics.get(tuning.metric)
    values = [trial.value for trial in tuning.trials]
    best = list(itertools.accumulate(values, lambda a, b: _better(a, b, metric)))
    share = 100.0 if metric.unit == "share" else 1.0
    labels = [str(trial.number) for trial in tuning.trials]
    series: dict[str, Sequence[float | None]] = {"trial": _times(values, share), "best so far": _times(best, share)}
    unit = "%" if metric.unit == "share" else tuning.unit if metric.unit == "target" else ""
    return charts.lines(f"{metric.label} by trial", labels, series, unit=unit, dots=("trial",), zero=False)


def _by_column(evaluation: Evaluation, leading: metrics.Metric) -> dict[str, Html]:
    """What columns are worth, the course of the answer along the first of them, and how good it is over time."""
    unit = evaluation.unit if leading.unit == "target" else ""
    made: dict[str, Html] = {}
    if evaluation.over_time:
        days = [one.since for one in evaluation.over_time]
        values = [one.metrics.get(leading.name) for one in evaluation.over_time]
        made["over_time"] = charts.lines(f"{leading.label} over time", days, {leading.label: values}, unit=unit)
    if worth := {one.column: one.loss for one in evaluation.worths[:LISTED] if one.loss > 0}:
        made["importance"] = charts.bars(f"{leading.label} lost without it", worth, unit=unit)
    for one in evaluation.courses:
        said = f"probability of {one.of}" if one.of else evaluation.target
        title, told = f"{said} by {one.column}", "" if one.of else evaluation.unit
        made[f"{COURSE}{one.column}"] = charts.lines(title, one.values, {said: one.answers}, unit=told, zero=False)
    return made


def _calibration(evaluation: Evaluation) -> Html:
    """How often each class was true by tenths of its stated probability; of many classes those with most rows."""
    rows = dict(zip(evaluation.classes, map(sum, evaluation.confusion), strict=False))
    names = sorted({part.value for part in evaluation.calibration}, key=lambda name: -rows.get(name, 0))[:CURVES]
    series: dict[str, Sequence[float | None]] = {"as stated": [10 * tenth + 5.0 for tenth in range(10)]}
    for name in names:
        bins = {int(min(10 * one.predicted, 9)): one for one in evaluation.calibration if one.value == name}
        series[name] = [100 * bins[tenth].observed if tenth in bins else None for tenth in range(10)]
    labels = [f"{10 * tenth} to {10 * tenth + 10} %" for tenth in range(10)]
    return charts.lines("Calibration", labels, series, unit="%", dots=names)


def _better(a: float | None, b: float | None, metric: metrics.Metric) -> float | None:
    known = [value for value in (a, b) if value is not None]
    return min(known, key=metric.loss) if known else None


def _times(values: Sequence[float | None], factor: float) -> list[float | None]:
    return [None if value is None else factor * value for value in values]
