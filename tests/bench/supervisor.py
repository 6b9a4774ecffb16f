"""Measures what looking after a service costs beside serving: CPU of supervisor with controller, Envoy, model servers.

Run it from the repository: ``python -m tests.bench.supervisor``; see ``--help`` for shorter windows.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no annotations

from serving.local import client
from serving.local.servers import predictor_command
from serving.rollout.state import Phase
from tests.bench import model
from tests.bench.client import paced
from tests.load import request
from tests.serving.local.rollout_live import LiveService, plan, running, serve_live

SETTLE_S = 5.0  # what a start or a new split causes is not counted
KEPT = {"time": {"dwell": "1h", "step": "2h"}, "steps": [10, 50]}  # a rollout that stays in its first step


@dataclass
class BenchService(LiveService):
    """A service whose versions are all the model of the benchmarks, behind our own model server."""

    folder: Path = Path()

    def command(self, port: int = 0) -> list[str]:
        served = [str(self.directory), str(port), str(self.folder)]
        return [sys.executable, "-m", "tests.bench.supervisor", "--serve", *served]

    def version(self, **_: object) -> int:
        """One more version; each has a digest of its own, as the ledger takes a bundle once."""
        self._known += 1
        return self.approved(f"{self._known:064d}", (self.folder / "bundle").as_uri())


def cpu_s(service: LiveService) -> dict[str, float]:
    """CPU seconds so far of the supervisor, of Envoy and of each model server, by name."""
    seen = client.status(service.directory)
    pids = {"supervisor": seen.supervisor_pid, "Envoy": seen.envoy_pid, **{r.name: r.pid for r in seen.revisions}}
    return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in pids.items() if pid}


def _send(port: int, data: bytes, rate: float, seconds: float) -> None:
    if rate:
        paced(port, data, rate, seconds)


def measured(service: LiveService, rate: float, seconds: float) -> dict[str, float]:
    """CPU seconds per minute of each process, over *seconds* in which *rate* requests/s come."""
    shape, whole = model.shapes(model.rows(1, 7))[0], seconds + SETTLE_S
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(_send, service.port, request(shape.path, shape.ours), rate, whole)
        time.sleep(SETTLE_S)
        before, began = cpu_s(service), time.monotonic()
        time.sleep(seconds)
        after, took = cpu_s(service), time.monotonic() - began
        sending.result()
    return {name: (after[name] - before[name]) * 60 / took for name in after}


def row(what: str, cost: Mapping[str, float]) -> str:
    models = sum(value for name, value in cost.items() if name not in ("supervisor", "Envoy"))
    figures = (cost["supervisor"], cost["Envoy"], models, cost["supervisor"] / models)
    return f"| {what} | {' | '.join(f'{figure:.2f}' for figure in figures)} |"


def rows(folder: Path, rate: float, seconds: float) -> Iterable[str]:
    with running(BenchService(folder / "home" / "housing", folder=folder)) as service:
        service.first()
        time.sleep(SETTLE_S)
        yield row("no requests", measured(service, 0, seconds))
        yield row(f"{rate:g} requests/s", measured(service, rate, seconds))
        candidate = service.version()
        service.release(candidate, plan(**KEPT))
        service.reached(candidate, Phase.STEP)
        yield row(f"{rate:g} requests/s, a rollout live", measured(service, rate, seconds))
        yield row("no requests, a rollout live", measured(service, 0, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=40.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each window")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        directory, port, folder = asked.serve
        serve_live(Path(directory), int(port), command=predictor_command(Path(folder) / "public.pem"))
        return
    print(f"CPU seconds per minute; load average at the start {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| what | supervisor with controller | Envoy | model servers | supervisor / model servers |")
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        model.write(Path(name), "hgb")
        for text in rows(Path(name), asked.rate, asked.seconds):
            print(text, flush=True)


if __name__ == "__main__":
    main()
