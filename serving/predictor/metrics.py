"""What the process counts, and how Prometheus reads it.

Plain numbers on the event loop, turned into metric families only when somebody scrapes: a labelled client object would
cost more per request than a linear model does.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from serving.predictor.errors import UNNAMED, RequestProblem
from serving.predictor.rows.validate import Flag
from serving.predictor.tally import Counts, HistogramTally

BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the latency buckets, in seconds."""
KSERVE = {"request_predict_seconds": ("predict", "infer", "grpc"), "request_explain_seconds": ("explain",)}
"""The histograms of KServe's own server that dashboards know, and which requests they count."""
Sample = tuple[Any, ...]  # values of labels, then what a family's ``add_metric`` takes behind them


class Latency:
    """A histogram of seconds over ``BOUNDS``."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        return cumulative(BOUNDS, self.counts)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Seconds below which *share* of the observations lie, linear inside a bucket; None without observations."""
    total = sum(counts)
    if not total:
        return None
    wanted, below = share * total, 0
    for i, count in enumerate(counts[: len(BOUNDS)]):
        if below + count >= wanted and count:
            low = BOUNDS[i - 1] if i else 0.0
            return low + (BOUNDS[i] - low) * (wanted - below) / count
        below += count
    return BOUNDS[-1]


def cumulative(bounds: Sequence[float], counts: Sequence[int] | Counts) -> list[tuple[str, float]]:
    """Prometheus' buckets: each upper bound with how many observations lie below; the last one is infinite."""
    return list(zip([*map(repr, bounds), "+Inf"], np.cumsum(counts).astype(float).tolist(), strict=True))


class Metrics:
    """Counts of one process; written on the event loop, read by a scrape in another thread.

    Attributes:
        in_flight: requests whose body was read and whose answer is not yet made.
        queued: of those, the ones that wait for a worker thread.
    """

    def __init__(self, model: str, version: str) -> None:
        self.labels = {"model": model, "version": version}
        self.requests: Counter[tuple[str, int]] = Counter()
        self.latency: dict[str, Latency] = {}
        self.rows: Counter[str] = Counter()
        self.cells: Counter[tuple[str, str, str]] = Counter()
        self.in_flight = 0
        self.queued = 0
        self.buffered = 0
        self.ready = False
        self.load_seconds: float | None = None
        self.info: dict[str, str] = {}
        self.tally: HistogramTally | None = None
        self.logged: Any = None
        self._lock = threading.Lock()

    def answered(self, verb: str, code: int, seconds: float) -> None:
        key = (verb, code)
        self.requests[key] += 1
        latency = self.latency.get(verb)
        if latency is None:
            with self._lock:
                latency = self.latency.setdefault(verb, Latency())
        latency.observe(seconds)

    def refused(self, problems: Sequence[RequestProblem], columns: frozenset[str]) -> None:
        """Count refused cells; a name the contract does not have is counted as one, so that labels stay bounded."""
        for problem in problems:
            column = problem.column if problem.column in columns else UNNAMED
            self.cells[column, problem.reason, "refused"] += 1

    def let_through(self, flags: Sequence[Flag]) -> None:
        for flag in flags:
            action = "clipped" if flag.reason == "clipped" else "flagged"
            self.cells[flag.column, "category" if flag.reason == "unknown_category" else "range", action] += 1

    def total_latency(self, *verbs: str) -> Latency:
        """The latency of all *verbs* together; without any, of all that there are."""
        total = Latency()
        for verb, latency in list(self.latency.items()):
            if not verbs or verb in verbs:
                total.counts = [sum(pair) for pair in zip(total.counts, latency.counts, strict=True)]
                total.sum += latency.sum
        return total

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._traffic()
        yield from self._state()
        if self.tally is not None:
            yield from self._tallied(self.tally)

    def _family(self, kind: Any, name: str, text: str, samples: Iterable[Sample], *labels: str) -> Metric:
        family: Metric = kind(name, text, labels=[*self.labels, *labels])
        for values, *told in samples:
            family.add_metric([*self.labels.values(), *values], *told)  # type: ignore[attr-defined]  # each kind has it
        return family

    def _traffic(self) -> Iterator[Metric]:
        for name, verbs in KSERVE.items():
            total = self.total_latency(*verbs)
            theirs = HistogramMetricFamily(name, "As KServe's own server names it", labels=["model_name"])
            theirs.add_metric([self.labels["model"]], total.buckets(), total.sum)
            yield theirs
        text = "Requests for a prediction or explanation, by status code"
        requests = [((verb, str(code)), count) for (verb, code), count in list(self.requests.items())]
        yield self._family(CounterMetricFamily, "slipway_requests", text, requests, "verb", "code")
        text = "From the first byte of the body to the answer"
        seconds = [((verb,), latency.buckets(), latency.sum) for verb, latency in list(self.latency.items())]
        yield self._family(HistogramMetricFamily, "slipway_request_seconds", text, seconds, "verb")
        rows = [((verb,), count) for verb, count in list(self.rows.items())]
        yield self._family(CounterMetricFamily, "slipway_rows", "Rows answered", rows, "verb")
        text = "Cells that are not what the contract says, by what was done: refused, clipped, flagged"
        cells = list(self.cells.items())
        yield self._family(CounterMetricFamily, "slipway_cells", text, cells, "column", "reason", "action")

    def _state(self) -> Iterator[Metric]:
        log, gauge, counter = self.logged, GaugeMetricFamily, CounterMetricFamily
        lost = "Rows the prediction log had no room or no working store for"
        values: list[tuple[Any, str, str, float | None]] = [
            (gauge, "slipway_in_flight", "Requests being worked on", self.in_flight),
            (gauge, "slipway_queue", "Requests waiting for a worker thread", self.queued),
            (gauge, "slipway_buffered_bytes", "Bytes of large request bodies held", self.buffered),
            (gauge, "slipway_ready", "1 if the model answers", float(self.ready)),
            (gauge, "slipway_load_seconds", "From the start of loading to ready, warm-up included", self.load_seconds),
            (counter, "slipway_log_rows", "Rows written to the prediction log", log and log.written),
            (counter, "slipway_log_dropped_rows", lost, log and log.dropped),
        ]
        for kind, name, text, value in values:
            if value is not None:
                yield self._family(kind, name, text, [((), value)])
        if self.info:
            text = "Always 1; its labels say what is served"
            yield self._family(gauge, "slipway_model_info", text, [((*self.info.values(),), 1)], *self.info)

    def _tallied(self, tally: HistogramTally) -> Iterator[Metric]:
        inputs, predictions, total = tally.counts()
        values: list[Sample] = []
        words: list[Sample] = []
        for bins, counts in zip(tally.inputs, inputs, strict=True):
            if bins.values:
                told = zip((*bins.values, UNNAMED), counts[:-1].tolist(), strict=True)
                words += [((bins.name, word), count) for word, count in told]
            else:
                values.append(((bins.name,), cumulative(bins.edges.tolist(), counts[:-1]), None))
        missing = [((bins.name,), int(counts[-1])) for bins, counts in zip(tally.inputs, inputs, strict=True)]
        prediction = [((), cumulative(tally.prediction.edges.tolist(), predictions[:-1]), total)]
        text = "Input numbers on the profile's bins; no sum is kept"
        yield self._family(HistogramMetricFamily, "slipway_input_value", text, values, "column")
        text = "Input categories"
        yield self._family(CounterMetricFamily, "slipway_input_category", text, words, "column", "value")
        yield self._family(CounterMetricFamily, "slipway_input_missing", "Missing input values", missing, "column")
        text = "Predicted number, or probability of the last class"
        yield self._family(HistogramMetricFamily, "slipway_prediction_value", text, prediction)
