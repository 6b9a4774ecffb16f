"""A rollout's state as Prometheus text, for a file that an agent collects or a server that it scrapes."""

from collections.abc import Iterable, Mapping

from serving.rollout.explain import Status
from serving.rollout.state import Phase


def gauges(status: Status) -> str:
    """Text exposition format; one sample per revision, gate or phase, the service as a label of all."""
    lines: list[str] = []
    one = {"service": status.service}
    for kind, shares in (
        ("configured", status.configured),
        ("observed", status.observed or {}),
        ("realized", status.realized),
    ):
        samples = [({**one, "revision": name, "kind": kind}, share / 100) for name, share in sorted(shares.items())]
        lines += _family("weight_ratio", "Share of requests, in [0, 1].", samples, head=kind == "configured")
    gates = status.evidence.gates
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
        lines += _family(name, words, [(one, value)])
    lines += _family(
        "gate_excess_ratio", "As excess_ratio, by gate.", [({**one, "gate": g.name}, g.excess) for g in gates]
    )
    lines += _family("gate_log_e", "ln of the evidence of harm.", [({**one, "gate": g.name}, g.log_e) for g in gates])
    phases = [({**one, "phase": phase.value}, float(status.phase == phase.value)) for phase in Phase]
    lines += _family("phase", "1 for the present phase.", phases)
    return "\n".join(lines) + "\n"


def _family(
    name: str, words: str, samples: Iterable[tuple[Mapping[str, str], float]], *, head: bool = True
) -> list[str]:
    full = f"slipway_rollout_{name}"
    lines = [f"# HELP {full} {words}", f"# TYPE {full} gauge"] if head else []
    return lines + [f"{full}{{{_labels(labels)}}} {value:.12g}" for labels, value in samples]


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
