"""What requests turned out to be worth: revenue, minutes, clicks, told late and by request id.

A value belongs to the arm that the prediction log names for its request. Where the split is sticky the unit is the key
(Deng, Knoblich, Lu, KDD 2018: what is drawn at random is what is averaged over), and its value is the sum over its
requests in the epoch; elsewhere each request is a unit. Only what was told counts: a request that earned nothing needs
its line with 0, otherwise the arms are compared among their successes alone.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from serving.errors import ConflictError
from serving.local.counting import Tally
from serving.local.extras import Line
from serving.local.paths import service_paths
from serving.local.tail import Tail
from serving.rollout.evidence.continuous import Moments


class Told(msgspec.Struct, frozen=True):
    """A line of the values' file."""

    request_id: str
    value: float


def values_file(service_dir: Path) -> Path:
    """Where values are appended as lines of ``{"request_id", "value"}``."""
    return service_dir / "values.jsonl"


def append_values(service_dir: Path, values: Mapping[str, float]) -> None:
    """Add values by request id; one that is there already counts as it was first told."""
    lines = b"".join(msgspec.json.encode(Told(name, value)) + b"\n" for name, value in values.items())
    with values_file(service_dir).open("ab") as file:
        file.write(lines)


def moments(service_dir: Path, epoch: str, revision: str, tally: Tally) -> Moments:
    """Count, sum and sum of squares of the told values of *revision*'s units in *epoch*.

    Args:
        tally: the proxy's counts of the same arm, which knows whether requests had keys.

    Raises:
        ConflictError: requests had keys, and the prediction log does not say which.
    """
    told = _told(service_dir)
    sums: dict[str, float] = {}
    keyed = False
    for line in _answers(service_paths(service_dir).predictions / revision):
        if line.epoch != epoch or line.row:
            continue
        keyed = keyed or bool(line.unit)
        value = told.pop(line.request_id, None)  # the first answer is the one that the value belongs to
        if value is not None:
            name = f"key {line.unit}" if line.unit else f"request {line.request_id}"
            sums[name] = sums.get(name, 0.0) + value
    if sums and tally.keys and not keyed:
        raise ConflictError(
            f"{revision} has answered {tally.keys} keys and its prediction log names none of them, so that values "
            "cannot be summed per key: serve it with the model server of this version, and start the experiment again"
        )
    return Moments(len(sums), sum(sums.values()), sum(value**2 for value in sums.values()))


def _told(service_dir: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in Tail().read(values_file(service_dir)):
        told = msgspec.json.decode(text, type=Told)
        found.setdefault(told.request_id, told.value)
    return found


def _answers(folder: Path) -> list[Line]:
    tail, lines = Tail(), []
    for part in sorted(folder.glob("*.jsonl")):
        for text in tail.read(part):
            try:
                lines.append(msgspec.json.decode(text, type=Line))
            except msgspec.DecodeError:
                continue
    return lines
