"""A rollout's state as Prometheus text, for a file that an agent collects or a server that it scrapes."""

from collections.abc import Iterable, Iterator, Mapping

from serving.rollout.state import Phase
from serving.rollout.telling.explain import RolloutStatus

Sample = tuple[Mapping[str, str], float]  # labels and value


def gauges(*statuses: RolloutStatus) -> str:
    """Text exposition format; one sample per revision, gate or phase of each service, the service as a label of all."""
    families: dict[str, tuple[str, list[Sample]]] = {}
    for status in statuses:
        for name, words, samples in _families(status):
            families.setdefault(name, (words, []))[1].extend(samples)
    return "".join(family(f"slipway_rollout_{name}", words, samples) for name, (words, samples) in families.items())


def family(name: str, words: str, samples: Iterable[Sample], kind: str = "gauge") -> str:
    """One metric with all of its samples, as the format wants them together."""
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{{{_labels(labels)}}} {value:.12g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


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


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
