"""A rollout's state as Prometheus text, for a file that an agent collects or a server that it scrapes."""

from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace

from prometheus_client import generate_latest
from prometheus_client.core import Metric

from serving.rollout.state import Phase
from serving.rollout.telling.explain import RolloutStatus

Sample = tuple[Mapping[str, str], float]  # labels and value


def gauges(*statuses: RolloutStatus) -> list[Metric]:
    """One sample per revision, gate or phase of each service, the service as a label of all."""
    families: dict[str, Metric] = {}
    for status in statuses:
        for name, words, samples in _families(status):
            metric = families.setdefault(name, family(f"slipway_rollout_{name}", words, ()))
            _add(metric, metric.name, samples)
    return list(families.values())


def family(name: str, words: str, samples: Iterable[Sample], kind: str = "gauge") -> Metric:
    """One metric with *samples*; the name of a counter is told without its ``_total``."""
    metric = Metric(name, words, kind)
    _add(metric, f"{name}_total" if kind == "counter" else name, samples)
    return metric


def _add(metric: Metric, name: str, samples: Iterable[Sample]) -> None:
    for labels, value in samples:
        metric.add_sample(name, dict(labels), value)


def text(metrics: Iterable[Metric]) -> str:
    """Prometheus' text format."""
    return str(generate_latest(SimpleNamespace(collect=lambda: metrics)), "utf-8")


def _families(status: RolloutStatus) -> Iterator[tuple[str, str, list[Sample]]]:
    one = {"service": status.service}
    shares = {"configured": status.configured, "observed": status.observed or {}, "realized": status.realized}
    yield (
        "weight_ratio",
        "Share of requests, in [0, 1].",
        [
            ({**one, "revision": name, "kind": kind}, share / 100)
            for kind, split in shares.items()
            for name, share in sorted(split.items())
        ],
    )
    plain: tuple[tuple[str, str, float], ...] = (
        ("harm_e_value", "Evidence that the candidate does harm.", status.harm),
        ("harm_threshold", "Evidence at which it is rolled back.", status.threshold),
        ("excess_ratio", "Share of users who could newly fail after the next increase.", status.excess),
        ("excess_tolerated_ratio", "Share that may (rho).", status.rho),
        ("canary_errors", "Failed requests on the candidate over the whole rollout.", status.canary_errors),
        ("step", "Stage, from 0.", status.step),
        ("heartbeat_age_seconds", "Since a controller last looked.", status.heartbeat_age),
    )
    for name, words, value in plain:
        yield name, words, [(one, value)]
    gates = status.evidence.gates
    yield "gate_excess_ratio", "As excess_ratio, by gate.", [({**one, "gate": g.name}, g.excess) for g in gates]
    yield "gate_log_e", "ln of the evidence of harm.", [({**one, "gate": g.name}, g.log_e) for g in gates]
    phases: list[Sample] = [({**one, "phase": phase.value}, float(status.phase == phase.value)) for phase in Phase]
    yield "phase", "1 for the present phase.", phases
