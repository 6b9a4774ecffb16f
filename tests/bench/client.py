"""What a benchmark measures of a load, and the load as a process of its own."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.load import Load, request

CONNECTIONS = 512  # of an even rate at most: as many as ask while a server stands still


@dataclass(frozen=True)
class Measured:
    """What one run measured; latencies in seconds, in the order of arrival."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def measured(load: Load) -> Measured:
    """Of a load that lost nothing: what was not answered has no latency."""
    if load.lost:
        raise RuntimeError(f"{len(load.lost)} of {len(load.answers)} requests were lost: {load.lost[0]}")
    return Measured(load.seconds, tuple(answer.seconds for answer in load.answers))


def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Measured:
    """Send *requests* in turn on each of *connections*, the next as soon as the last is answered."""
    load = Load(port, lambda number: requests[number % len(requests)], connections=connections)
    return measured(load.run(seconds=seconds))


def paced(port: int, data: bytes, per_second: float, seconds: float) -> Measured:
    """Send *data* at an even rate, each latency counted from when it was due."""
    return measured(Load(port, lambda _: data, connections=CONNECTIONS, rate=per_second).run(seconds=seconds))


def main() -> None:
    """``python -m tests.bench.client PORT FILE PATH CONNECTIONS SECONDS``: as ``drive``, with the body in FILE.

    Prints an empty line when it is about to begin and the load as JSON at the end.
    """
    port, file, path, connections, seconds = sys.argv[1:]
    data = request(path, Path(file).read_bytes())
    print(flush=True)
    load = drive(int(port), [data], int(connections), float(seconds))
    print(json.dumps({"seconds": load.seconds, "latencies": load.latencies}))


if __name__ == "__main__":
    main()
