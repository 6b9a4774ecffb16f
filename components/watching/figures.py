"""Figures of labelled predictions: metrics with their uncertainty, their course over time, and how the service did."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.judging import metrics
from components.judging.metrics import Values
from components.judging.said import Said
from components.watching.policy import Bar
from components.watching.values import Bucket, Figure, ServiceFigures, Standing
from serving.bundle.judgement import Judgement
from serving.contract import Contract
from serving.tally import Tally

RESAMPLES, RESAMPLE_ROWS, SEED = 200, 4_000, 0
Z95 = 1.959964
BUCKET_LABELS = 10  # fewer in a day or week say nothing about it
_START = "bucket:start"
PROBABILITY_ONLY = ("roc_auc", "log_loss", "calibration")


def scores(frame: pl.DataFrame, contract: Contract) -> tuple[Values, tuple[str, ...]]:
    """The logged predictions as ``metrics`` wants them, and the metrics that can be computed from them.

    Numbers (n_rows,) for regression. Probabilities (n_rows, n_classes) when every row has them; else ones and zeros of
    the class that was answered, which say nothing about the metrics of probabilities.
    """
    names = metrics.names(contract.task)
    if contract.task == "regression":
        return frame["prediction"].to_numpy().astype(np.float64), names
    classes = contract.target.classes
    lists = frame["probabilities"]
    if frame.height and bool((lists.list.len() == len(classes)).fill_null(value=False).all()):
        return np.array(lists.to_list(), dtype=np.float64).reshape(-1, len(classes)), names
    answered = frame["prediction"].to_numpy()
    certain = np.array([[float(word == name) for name in classes] for word in answered]).reshape(-1, len(classes))
    return certain, tuple(name for name in names if name not in PROBABILITY_ONLY)


def said(frame: pl.DataFrame, contract: Contract, judgement: Judgement) -> tuple[Said, tuple[str, ...]]:
    """All that a model of that *judgement* said by the log, and the metrics that can be computed of it.

    Where no probabilities are logged, the class that was answered is by the model's threshold already.
    """
    prediction, names = scores(frame, contract)
    certain = contract.task == "classification" and not set(PROBABILITY_ONLY) & set(names)
    found = replace(Said.of(prediction, None if certain else judgement), costs=judgement.costs)
    return found, tuple(name for name in names if metrics.METRICS[name].takes not in found.unsaid)


def usable(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The rows whose prediction is one that the contract's target can have."""
    answer = pl.col("prediction")
    good = answer.is_finite() if contract.task == "regression" else answer.is_in(list(contract.target.classes))
    return frame.filter(good.fill_null(value=False))


def deviation(name: str, truth: Values, prediction: Values | Said) -> float:
    """Standard deviation of the metric *name* over samples as large as this one, by the bootstrap (Efron 1979).

    Of more than 4,000 rows resamples of 4,000 are taken and the result scaled down by the root of the ratio.
    """
    random = np.random.default_rng(SEED)
    n = len(truth)
    size = min(n, RESAMPLE_ROWS)
    metric, every = metrics.get(name), Said.of(prediction)
    values = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        drawn: npt.NDArray[np.int64] = random.integers(0, n, size)
        values[k] = metric.of(truth[drawn], every[drawn])
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1) * np.sqrt(size / n)) if len(known) > 1 else float("nan")


def figure(name: str, value: float, sd: float | None, reference: float | None, bar: Bar | None, unit: str) -> Figure:
    """*value* beside its reference and bar; *sd* None for a value that is no estimate."""
    spread = None if sd is None or not np.isfinite(sd) else Z95 * sd
    low, high = (None, None) if spread is None else (value - spread, value + spread)
    level = None if bar is None else bar.level(reference)
    return Figure(
        name=name,
        value=value,
        low=low,
        high=high,
        reference=reference,
        level=level,
        standing=_standing(bar, level, value, low, high),
        unit=unit,
    )


def buckets(
    labelled: pl.DataFrame, unlabelled_at: pl.Series, contract: Contract, judgement: Judgement
) -> tuple[str, tuple[Bucket, ...]]:
    """The length of a bucket, and the buckets in order; *unlabelled_at* are moments of rows without a label."""
    moments = pl.concat([labelled["moment"], unlabelled_at])
    if not len(moments):
        return "1d", ()
    every = _length(moments.max() - moments.min())
    counted = moments.dt.truncate(every).value_counts(name="predictions").sort("moment")
    truncated = labelled.with_columns(pl.col("moment").dt.truncate(every).alias(_START))
    parts = {start[0]: part for start, part in truncated.group_by(_START, maintain_order=True)}
    none = truncated.clear()
    return every, tuple(
        Bucket(
            start=f"{start:%Y-%m-%d}",
            predictions=predictions,
            labelled=parts.get(start, none).height,
            metrics=_course(parts.get(start, none), contract, judgement),
        )
        for start, predictions in counted.iter_rows()
    )


def service(predictions: pl.DataFrame, tallies: Iterable[Tally] = ()) -> ServiceFigures:
    """How the service answered, from the proxy's counts when there are any, else from the prediction log."""
    requests = predictions.unique("request_id", maintain_order=True)
    total = sum(tallies, Tally())
    by_caller = total.requests > 0
    p50, p95, p99 = (
        total.quantile_ms(share) if by_caller else requests["latency_ms"].quantile(share, "higher")
        for share in (0.5, 0.95, 0.99)
    )
    return ServiceFigures(
        requests=total.requests if by_caller else requests.height,
        errors=total.errors if by_caller else 0,
        latency_p50=p50,
        latency_p95=p95,
        latency_p99=p99,
        seen_by="caller" if by_caller else "server",
        requests_per_s=_rate(requests["time"]),
    )


def _standing(bar: Bar | None, level: float | None, value: float, low: float | None, high: float | None) -> Standing:
    if bar is None or level is None:
        return "not judged"
    if not np.isfinite(value):
        return "uncertain"
    sign, end = (1.0, low) if bar.above is not None else (-1.0, high)
    surest = value if end is None else end
    if sign * value <= sign * level:
        return "within"
    return "beyond" if sign * surest > sign * level else "uncertain"


def _length(span: timedelta) -> str:
    """Days for a month, weeks for a year, months for longer."""
    if span <= timedelta(days=31):
        return "1d"
    return "1w" if span <= timedelta(days=400) else "1mo"


def _course(part: pl.DataFrame, contract: Contract, judgement: Judgement) -> dict[str, float]:
    if part.height < BUCKET_LABELS:
        return {}
    prediction, names = said(part, contract, judgement)
    values = metrics.compute(contract.task, part["truth"].to_numpy(), prediction)
    return {name: values[name] for name in names if np.isfinite(values[name])}


def _rate(times: pl.Series) -> float | None:
    if len(times) < 2:
        return None
    first, last = times.min(), times.max()
    seconds: Any = (last - first).total_seconds()
    return len(times) / seconds if seconds > 0 else None
