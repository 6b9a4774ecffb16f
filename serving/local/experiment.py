"""What the two variants of an experiment on this machine have shown: from the logs and from told values.

A value is what a request turned out to be worth: revenue, minutes, clicks, told late and by request id.

A value belongs to the arm that the prediction log names for its request. Where the split is sticky the unit is the key
(Deng, Knoblich, Lu, KDD 2018: what is drawn at random is what is averaged over), and its value is the sum over its
requests in the epoch; elsewhere each request is a unit. Only what was told counts: a request that earned nothing needs
its line with 0, otherwise the arms are compared among their successes alone.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from serving.errors import ConflictError
from serving.local import client
from serving.local.extras import LogExtras, answers
from serving.local.matching import Line, Names
from serving.local.paths import service_paths
from serving.local.reading import Parts, Tail, append
from serving.local.servers import local_bundle
from serving.local.state import read_desired
from serving.rollout.backend import ArmCounts
from serving.rollout.compared import Gates, SlowGate
from serving.rollout.evidence.continuous import Moments
from serving.rollout.evidence.experiment import Arm, MetricKind
from serving.tally import Tally


class Told(msgspec.Struct, frozen=True):
    """A line of the values' file."""

    request_id: str
    value: float


def values_file(service_dir: Path) -> Path:
    """Where values are appended as lines of ``{"request_id", "value"}``."""
    return service_dir / "values.jsonl"


def append_values(service_dir: Path, values: Mapping[str, float]) -> None:
    """Add values by request id; one that is there already counts as it was first told."""
    append(values_file(service_dir), (Told(name, value) for name, value in values.items()))


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
        told = [_moments(service_dir, which.epoch, name, tally) for name, tally in seen.items()]
        a, b = (Arm(values.n, values) for values in told)  # values that arrive for one arm more often are no evidence
        return a, b
    if metric == "loss":
        delay = gates.quality.label_delay if gates.quality else 0.0
        extras = LogExtras(service_dir, local_bundle, label_delay=delay, clock=time.time).read().get(which.epoch, {})
        a, b = (_judged(tally, extras.get(name, ArmCounts())) for name, tally in seen.items())
        return a, b
    a, b = (_answered(tally, metric, 1_000 * (gates.slow or SlowGate()).slo) for tally in seen.values())
    return a, b


def _moments(service_dir: Path, epoch: str, revision: str, tally: Tally) -> Moments:
    """Count, sum and sum of squares of the told values of *revision*'s units in *epoch*.

    Args:
        tally: the proxy's counts of the same arm, which knows whether requests had keys.

    Raises:
        ConflictError: requests had keys, and the prediction log does not say which.
    """
    told, lines = _told(service_dir), _lines(service_dir, epoch)
    names = Names(line for answered in lines.values() for line in answered)
    sums: dict[str, float] = {}
    keyed = False
    for line in lines.get(revision, []):
        keyed = keyed or bool(line.unit)
        known = line.request_id if line.request_id in told else names.only(line)
        value = told.pop(known, None)  # of an old server, the first answer is the one that the value belongs to
        if value is not None:
            name = f"key {line.unit}" if line.unit else f"request {line.request_id}"
            sums[name] = sums.get(name, 0.0) + value
    if sums and tally.keys and not keyed:
        raise ConflictError(
            f"{revision} has answered {tally.keys} keys and its prediction log names none of them, so that values "
            "cannot be summed per key: serve it with the model server of this version, and start the experiment again"
        )
    return Moments(len(sums), sum(sums.values()), sum(value**2 for value in sums.values()))


def _lines(service_dir: Path, epoch: str) -> dict[str, list[Line]]:
    """Answers in *epoch* by the revision that gave them."""
    folders = [path for path in service_paths(service_dir).predictions.glob("*") if path.is_dir()]
    return {
        folder.name: [line for line in answers(Parts(folder, Tail()).read()) if line.epoch == epoch]
        for folder in folders
    }


def _told(service_dir: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in Tail().read(values_file(service_dir)):
        told = msgspec.json.decode(text, type=Told)
        found.setdefault(told.request_id, told.value)
    return found


def _judged(seen: Tally, extra: ArmCounts) -> Arm:
    return Arm(seen.requests, Moments(extra.labelled, extra.mistakes, extra.mistakes))


def _answered(seen: Tally, metric: MetricKind, slow_ms: float) -> Arm:
    if metric == "latency":
        total, squares = (sum(n * ms**power for ms, n in seen.durations.items()) for power in (1, 2))
        return Arm(seen.requests, Moments(seen.requests, total, squares))
    events = seen.errors if metric == "error" else seen.slow(slow_ms)
    return Arm(seen.requests, Moments(seen.requests, events, events))
