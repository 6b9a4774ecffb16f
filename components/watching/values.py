"""What a look at a serving model found, as one value that is stored as JSON and drawn in the report."""

import math
from typing import Literal, NamedTuple

from components.judging import metrics
from components.watching.drift import Drift
from components.watching.labels import LabelReport
from serving.contract import Frozen
from serving.pages.words import number

Verdict = Literal["healthy", "degraded", "drifted", "unknown"]
Standing = Literal["within", "beyond", "uncertain", "not judged"]


class ServiceFigure(NamedTuple):
    """A figure of the service, which no model can change: its label, unit, and lowest and highest value."""

    label: str
    unit: Literal["share", "ms"]
    values: metrics.Range


SERVICE_FIGURES = {
    "error_rate": ServiceFigure("error rate", "share", (0.0, 1.0)),
    "latency_p99": ServiceFigure("latency p99", "ms", (0.0, math.inf)),
}


class Figure(Frozen):
    """One watched figure beside what it was at release.

    Attributes:
        low, high: 95 % interval of ``value``, given how few rows there are; None for figures of the service.
        reference: the holdout value of the version that serves; None when it has none.
        level: where the alarm is; None without a bar.
        standing: ``beyond`` when the whole interval is on the wrong side of the level, ``uncertain`` when only the
            value is.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    level: float | None = None
    standing: Standing = "not judged"
    unit: str = ""

    @property
    def label(self) -> str:
        return metrics.get(self.name).label if self.name in metrics.METRICS else SERVICE_FIGURES[self.name].label

    def show(self, value: float) -> str:
        """*value* as people read it: '42,105 EUR', '1.2 %', '14 ms'."""
        if self.name in metrics.METRICS:
            return metrics.get(self.name).show(value, self.unit)
        return f"{number(100 * value)} %" if SERVICE_FIGURES[self.name].unit == "share" else f"{number(value)} ms"

    @property
    def phrase(self) -> str:
        """'RMSE 68,300 EUR (was 42,105 EUR, alarm at 52,631 EUR)'."""
        beside = [] if self.reference is None else [f"was {self.show(self.reference)}"]
        beside += [] if self.level is None else [f"alarm at {self.show(self.level)}"]
        return f"{self.label} {self.show(self.value)}" + (f" ({', '.join(beside)})" if beside else "")


class Bucket(Frozen):
    """Predictions and performance of one day, week or month.

    Attributes:
        start: its first day, ISO 8601.
        predictions: rows predicted about events in it, as far as the labels tell.
        metrics: by name; empty with too few labels to mean anything.
    """

    start: str
    predictions: int
    labelled: int
    metrics: dict[str, float]


class ServiceFigures(Frozen):
    """How the service answered.

    Attributes:
        requests, errors: of users; an error is an answer of 500 or above, or none. Bad input is not one.
        latency_p50, latency_p95, latency_p99: milliseconds; None without requests.
        seen_by: ``caller`` for figures of the proxy; ``server`` when only the log of the model server was there, which
            knows no errors.
        requests_per_s: mean between the first and the last logged request.
    """

    requests: int = 0
    errors: int = 0
    latency_p50: float | None = None
    latency_p95: float | None = None
    latency_p99: float | None = None
    seen_by: Literal["caller", "server"] = "server"
    requests_per_s: float | None = None

    @property
    def error_rate(self) -> float | None:
        """Share of requests, 0..1; None where errors are not counted."""
        return self.errors / self.requests if self.requests and self.seen_by == "caller" else None


class WatchReport(Frozen):
    """The verdict on one version and what it rests on.

    Attributes:
        as_of: labels known by then were used, ISO 8601 UTC.
        verdict: ``degraded`` when a figure is beyond its bar, else ``drifted``, else ``unknown`` when the performance
            cannot be told, else ``healthy``.
        unknown: why the performance cannot be told; empty when it can.
        labels: of the whole time looked at; ``judged`` labelled rows within the policy's window were measured.
        every: what one of ``buckets`` is, ``1d``, ``1w`` or ``1mo``.
    """

    model: str
    version: str
    as_of: str
    verdict: Verdict
    sentence: str
    unknown: str = ""
    labels: LabelReport = LabelReport()
    judged: int = 0
    figures: tuple[Figure, ...] = ()
    every: str = "1d"
    buckets: tuple[Bucket, ...] = ()
    drift: Drift | None = None
    service: ServiceFigures = ServiceFigures()
    unit: str = ""

    @property
    def alarm(self) -> bool:
        return self.verdict in ("degraded", "drifted")

    @property
    def beyond(self) -> tuple[Figure, ...]:
        return tuple(figure for figure in self.figures if figure.standing == "beyond")

    @property
    def performance_alarm(self) -> bool:
        """A metric of the predictions, not of the service, is beyond its bar; a new model may help."""
        return any(figure.name in metrics.METRICS for figure in self.beyond)

    @property
    def drift_alarm(self) -> bool:
        return self.drift is not None and bool(self.drift.drifted)
