"""What a proxy or a model server has counted since its own start, read from Prometheus' text format."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, model_validator

from serving.additive import Additive
from serving.frozen import Frozen
from serving.rollout.backend import REFUSED, ArmCounts
from serving.wire import GRPC_AS_HTTP

LOST = "no cluster"  # requests of a proxy whose reference leads nowhere; Envoy counts them for no cluster
LISTENER = "http-10080"  # Envoy's name for the Gateway's listener on port 80

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_GRPC = re.compile(
    r"envoy_cluster_grpc_\w+?_(\d+)"
)  # the method before it; of a service with a dot Envoy takes no more
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Reading(Additive, Frozen):
    """Totals of one source since its start, or what has come of them to one revision in one epoch.

    Attributes:
        requests, errors, refused: answers, of them those of class 5xx, and those of class 4xx.
        durations: answers by the milliseconds that they took at least, as a histogram knows it; later than the rest.
        mirrored: copies that were answered; in no other count.
        bins: predictions by upper bound.
    """

    requests: int = 0
    errors: int = 0
    refused: int = 0
    mirrored: int = 0
    durations: Mapping[str, int] = Field(default_factory=dict)
    bins: Mapping[str, int] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, value: Any) -> Any:
        """Which kept the number of known durations, and of those above one threshold."""
        if not isinstance(value, Mapping) or "timed" not in value:
            return value
        others = {name: kept for name, kept in value.items() if name not in ("timed", "slow")}
        return {**others, "durations": {"0": value["timed"] - value["slow"], "inf": value["slow"]}}

    @property
    def timed(self) -> int:
        return sum(self.durations.values())

    def slow(self, above_ms: float | None) -> int:
        """Answers that surely took longer; those of a bucket that the threshold cuts are not counted."""
        if above_ms is None:
            return 0
        return min(self.requests, sum(n for least, n in self.durations.items() if float(least) >= above_ms))

    def since(self, before: "Reading | None") -> "Reading":
        """What was added since *before*; a source that has less than before has started again at 0."""
        return self if before is None or self.requests < before.requests else self - before

    def counts(self, slow_ms: float | None) -> ArmCounts:
        refused = {REFUSED: self.refused} if self.refused else {}
        return ArmCounts(
            requests=self.requests,
            errors=self.errors,
            slow=self.slow(slow_ms),
            bins={**{name: count for name, count in self.bins.items() if count}, **refused},
            mirrored=self.mirrored,
        )


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each line of Prometheus' text format."""
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found:
            yield found[1], dict(_LABEL.findall(found[2] or "")), float(found[3])


def envoy_readings(text: str) -> dict[str, Reading]:
    """Readings by Envoy cluster, and under ``LOST`` that of requests which never got to one.

    A request that is cut off or times out has a class too, 5xx: the gateway gives the answer itself. A call of gRPC is
    a 200 whatever comes of it, so where a cluster has statuses of calls, those are its classes.
    """
    classes: dict[str, dict[str, int]] = {}
    calls: dict[str, Counter[str]] = {}
    lost = 0
    buckets: dict[str, dict[str, int]] = {}
    for name, labels, value in samples(text):
        cluster = labels.get("envoy_cluster_name", "")
        if name == "envoy_cluster_upstream_rq_xx":
            classes.setdefault(cluster, {})[labels.get("envoy_response_code_class", "")] = int(value)
        elif status := _GRPC.fullmatch(name):
            calls.setdefault(cluster, Counter())[str(GRPC_AS_HTTP.get(int(status[1]), 500))[0]] += int(value)
        elif name == "envoy_http_no_cluster" and labels.get("envoy_http_conn_manager_prefix") == LISTENER:
            lost = int(value)
        elif name == "envoy_cluster_upstream_rq_time_bucket":
            buckets.setdefault(cluster, {})[labels["le"]] = int(value)
    found = {name: _answers(codes, _durations(buckets.get(name, {}))) for name, codes in (classes | calls).items()}
    return {LOST: Reading(requests=lost, errors=lost), **found}


def active(text: str) -> dict[str, int]:
    """Requests without an answer, by Envoy cluster."""
    return {
        labels.get("envoy_cluster_name", ""): int(value)
        for name, labels, value in samples(text)
        if name == "envoy_cluster_upstream_rq_active"
    }


def predictor_reading(text: str, version: str) -> Reading:
    """Requests, durations and predictions of one model server, as it counts them itself."""
    codes, buckets, cumulative = Counter[str](), Counter[str](), dict[str, int]()
    for name, labels, value in samples(text):
        if labels.get("version") != version:
            continue
        if name == "slipway_requests_total":
            codes[labels["code"][:1]] += int(value)
        elif name == "slipway_request_seconds_bucket":
            buckets[labels["le"]] += int(value)
        elif name == "slipway_prediction_value_bucket":
            cumulative[labels["le"]] = int(value)
    bins = {bound: count for _, bound, count in _apart(cumulative)}
    return _answers(codes, _durations(buckets, unit_ms=1_000)).model_copy(update={"bins": bins})


def in_flight(text: str) -> int:
    """Requests that a model server is working on."""
    return int(sum(value for name, _, value in samples(text) if name == "slipway_in_flight"))


def _answers(codes: Mapping[str, int], durations: Mapping[str, int]) -> Reading:
    return Reading(
        requests=sum(codes.values()), errors=codes.get("5", 0), refused=codes.get("4", 0), durations=durations
    )


def _durations(cumulative: Mapping[str, int], unit_ms: float = 1.0) -> dict[str, int]:
    return {f"{float(least) * unit_ms:g}": count for least, _, count in _apart(cumulative) if count}


def _apart(cumulative: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """(lower bound, upper bound, count) of each bucket of a histogram, given by its upper bounds."""
    bounds = sorted(cumulative, key=float)
    counts = [cumulative[bound] for bound in bounds]
    return [
        (low, high, count - before)
        for low, high, count, before in zip(["0", *bounds], bounds, counts, [0, *counts], strict=False)
    ]
