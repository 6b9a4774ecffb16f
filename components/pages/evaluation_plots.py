"""The pictures of one evaluation, by name, and of a search: inline SVG for the report and for MLflow."""

import itertools
from collections.abc import Sequence

from components.judging import metrics
from components.judging.evaluation import Evaluation
from components.modelling.search.tuning_values import Tuning
from serving.pages import charts
from serving.pages.html import Html


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
        curves |= {curve.value: (curve.false_positive, curve.true_positive) for curve in evaluation.roc}
        made["roc"] = charts.roc("ROC", curves)
    if evaluation.calibration:
        made["calibration"] = _calibration(evaluation)
    leading = metrics.leading(evaluation.task)
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


def _calibration(evaluation: Evaluation) -> Html:
    bins = evaluation.calibration
    series: dict[str, Sequence[float | None]] = {
        "predicted": [100 * part.predicted for part in bins],
        "observed": [100 * part.observed for part in bins],
    }
    labels = [f"{100 * part.predicted:.0f} %" for part in bins]
    return charts.lines(f"Calibration of {evaluation.classes[-1]}", labels, series, unit="%", dots=("observed",))


def _better(a: float | None, b: float | None, metric: metrics.Metric) -> float | None:
    known = [value for value in (a, b) if value is not None]
    return min(known, key=metric.loss) if known else None


def _times(values: Sequence[float | None], factor: float) -> list[float | None]:
    return [None if value is None else factor * value for value in values]
