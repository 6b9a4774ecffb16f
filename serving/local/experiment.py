"""What the two variants of an experiment on this machine have shown: from the logs and from told values."""

import time
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ConflictError
from serving.local import client
from serving.local.counting import Tally
from serving.local.extras import LogExtras
from serving.local.paths import service_paths
from serving.local.servers import local_bundle
from serving.local.state import read_desired
from serving.local.values import moments
from serving.rollout.backend import ArmCounts
from serving.rollout.evidence.continuous import Moments
from serving.rollout.evidence.experiment import Arm, MetricKind
from serving.rollout.plan import Gates, SlowGate


@dataclass(frozen=True)
class Variants:
    """A fixed split in force: revisions *a*, which is stable, and *b*, which gets *share* in (0, 1) of requests."""

    a: str
    b: str
    share: float
    epoch: str
    sticky_header: str | None


def variants(service_dir: Path) -> Variants:
    """The experiment that runs.

    Raises:
        ConflictError: there is none.
    """
    desired = read_desired(service_paths(service_dir))
    split, stable = desired.split, desired.stable
    others = [name for name, weight in (split.weights if split else {}).items() if weight and name != stable]
    if split is None or stable is None or desired.epoch is None or len(others) != 1:
        raise ConflictError("no experiment runs; slipway rollout experiment start VERSION")
    share = split.weights[others[0]] / sum(split.weights.values())
    return Variants(stable, others[0], share, desired.epoch, split.sticky_header)


def observed(service_dir: Path, which: Variants, metric: MetricKind, gates: Gates) -> tuple[Arm, Arm]:
    """Both variants' observations of *metric*; *gates* say what is slow and when a label can be expected.

    Raises:
        ConflictError: values cannot be summed per key.
    """
    tallies = client.traffic(service_dir).get(which.epoch, {})
    seen = {name: tallies.get(name) or Tally() for name in (which.a, which.b)}
    if metric == "value":
        told = [moments(service_dir, which.epoch, name, tally) for name, tally in seen.items()]
        a, b = (Arm(values.n, values) for values in told)  # values that arrive for one arm more often are no evidence
        return a, b
    if metric == "loss":
        delay = gates.quality.label_delay if gates.quality else 0.0
        extras = LogExtras(service_dir, local_bundle, label_delay=delay, clock=time.time).read().get(which.epoch, {})
        a, b = (_judged(tally, extras.get(name, ArmCounts())) for name, tally in seen.items())
        return a, b
    a, b = (_answered(tally, metric, 1_000 * (gates.slow or SlowGate()).slo) for tally in seen.values())
    return a, b


def _judged(seen: Tally, extra: ArmCounts) -> Arm:
    return Arm(seen.requests, Moments(extra.labelled, extra.mistakes, extra.mistakes))


def _answered(seen: Tally, metric: MetricKind, slow_ms: float) -> Arm:
    if metric == "latency":
        total, squares = (sum(n * ms**power for ms, n in seen.durations.items()) for power in (1, 2))
        return Arm(seen.requests, Moments(seen.requests, total, squares))
    events = seen.errors if metric == "error" else seen.slow(slow_ms)
    return Arm(seen.requests, Moments(seen.requests, events, events))
