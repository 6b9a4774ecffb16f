"""Our predictor beside other model servers: ``python -m tests.bench.serve``, or ``make bench``.

All servers run on this machine at the same time and are loaded in turn, round after round, so that whatever else the
machine does meets all of them. Their answers are compared before anything is timed. The figure that a noisy machine
disturbs least is the server's CPU time per request, which stands beside the requests per second.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import numpy as np

from tests.bench import model, peers, servers
from tests.bench.client import Measured, drive, paced
from tests.bench.model import CONTRACT, Shape
from tests.bench.servers import Server
from tests.load import ask
from tests.root import ROOT

OURS, STOCK = "Slipway", "stock KServe"
CONNECTIONS = 8
BATCH_ROWS = 10_000
RATE = 100.0  # requests per second of a service that is not driven to its limit
CHECKED_ROWS = 500
TOLERANCE = 1e-12  # relative; sums of linear models may be added in another order


@dataclass
class Line:
    """One row of the table: what was measured, for each server its rounds, and whether more is better."""

    what: str
    unit: str
    more: bool
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, server: str, value: float) -> None:
        self.rounds.setdefault(server, []).append(value)

    def of(self, server: str) -> float | None:
        return median(self.rounds[server]) if server in self.rounds else None

    def ratio(self) -> float | None:
        """How many times better ours is than stock."""
        ours, stock = self.of(OURS), self.of(STOCK)
        if not ours or not stock:
            return None
        return ours / stock if self.more else stock / ours


class Bench:
    """One model, its servers, and the lines measured so far."""

    def __init__(self, name: str, folder: Path, rounds: int, seconds: float) -> None:
        self.name, self.folder, self.rounds, self.seconds = name, folder, rounds, seconds
        self.lines: dict[str, Line] = {}
        self.single = model.shapes(model.rows(1, 11))
        self.batch = model.shapes(model.rows(BATCH_ROWS, 12))

    def note(self, what: str, unit: str, server: str, value: float, more: bool = False) -> None:
        line = self.lines.setdefault(f"{what} {unit}", Line(f"{self.name}: {what}", unit, more))
        line.add(server, value)
        print(f"  {self.name:7} {what:44} {server:14} {value:12.3f} {unit}", file=sys.stderr, flush=True)

    def starts(self) -> None:
        """Start each server alone, in turn; the first round only warms the file cache."""
        for turn in range(self.rounds + 1):
            for server, command in ((STOCK, servers.stock), (OURS, servers.ours)):
                port = servers.free_port()
                with servers.running(command(self.folder, port), port) as one:
                    if turn:
                        self.note("process start to ready", "s", server, one.start_s)
                        self.note("start, CPU", "s", server, one.cpu_s())
                        self.note("memory when ready", "MB", server, one.memory_mb())

    def check(self, ours: Server, stock: Server, matrix: Server) -> None:
        rows = model.rows(CHECKED_ROWS, 21)
        expected = joblib.load(self.folder / "stock" / "columns.joblib").predict(CONTRACT.frame(rows))
        for shape in model.shapes(rows):
            mine, theirs = model.requests(shape)
            same(expected, ask(ours.port, mine).body, f"{OURS}, {shape.name}")
            same(expected, ask((matrix if shape.matrix else stock).port, theirs).body, f"{STOCK}, {shape.name}")

    def pairs(self, shapes: Sequence[Shape], ours: Server, stock: Server, matrix: Server) -> Iterator[tuple[Any, ...]]:
        for shape in shapes:
            mine, theirs = model.requests(shape)
            yield shape, STOCK, matrix if shape.matrix else stock, theirs
            yield shape, OURS, ours, mine

    def singles(self, *three: Server) -> None:
        for shape, name, server, data in self.pairs(self.single, *three):
            self.one_row(shape.name, name, server, data)

    def one_row(self, shape: str, name: str, server: Server, data: bytes) -> None:
        before = server.cpu_s()
        load = drive(server.port, [data], CONNECTIONS, self.seconds)
        what = f"1 row, {shape}, {CONNECTIONS} connections"
        self.note(what, "requests/s", name, load.per_second, more=True)
        self.note(what, "ms server CPU", name, (server.cpu_s() - before) / len(load.latencies) * 1000)
        self.note(what, "ms p99", name, load.quantile_ms(0.99))

    def batches(self, *three: Server) -> None:
        for shape, name, server, data in self.pairs(self.batch, *three):
            drive(server.port, [data], 1, 0.0)
            before = server.cpu_s()
            load = drive(server.port, [data], 1, self.seconds)
            what = f"10,000 rows, {shape.name}"
            self.note(what, "ms p50", name, load.quantile_ms(0.5))
            self.note(what, "ms server CPU", name, (server.cpu_s() - before) / len(load.latencies) * 1000)

    def mixed(self, *three: Server) -> None:
        small = {(shape.name, name): data for shape, name, _, data in self.pairs(self.single, *three)}
        for shape, name, server, data in self.pairs(self.batch, *three):
            if shape.name.startswith("V2"):
                continue
            one, seconds = small[shape.name, name], 2 * self.seconds

            def all_at_once(port: int, one: bytes = one, seconds: float = seconds) -> Measured:
                return drive(port, [one], CONNECTIONS, seconds)

            def evenly(port: int, one: bytes = one, seconds: float = seconds) -> Measured:
                return paced(port, one, RATE, seconds)

            if name == OURS or shape.matrix:  # stock's lists of records take seconds, in which all others wait
                load, _ = beside(server, evenly, data, self.folder, seconds)
                self.note(f"1 row, {RATE:g}/s, while batches run, {shape.name}", "ms p99", name, load.quantile_ms(0.99))
            load, large = beside(server, all_at_once, data, self.folder, seconds)
            what = f"1 row while batches run, {shape.name}"
            self.note(what, "ms p99", name, load.quantile_ms(0.99))
            self.note(what, "requests/s", name, load.per_second, more=True)
            self.note(f"batches meanwhile, {shape.name}", "batches/s", name, large.per_second, more=True)

    def run(self, others: Sequence[str], full: bool) -> None:
        commands: list[Callable[[Path, int], list[str]]] = [
            servers.ours, servers.stock, lambda folder, port: servers.stock(folder, port, "matrix"),
        ]  # fmt: skip
        if full:
            self.starts()
        with ExitStack() as stack:
            three = []
            for command in commands:
                port = servers.free_port()
                three.append(stack.enter_context(servers.running(command(self.folder, port), port)))
            self.check(*three)
            guests = [stack.enter_context(peers.serving(other, self.folder)) for other in others]
            for guest in guests:
                rows = model.rows(CHECKED_ROWS, 21)
                expected = joblib.load(self.folder / "stock" / "columns.joblib").predict(CONTRACT.frame(rows))
                same(expected, ask(guest.server.port, guest.request(rows)).body, guest.name)
            for _ in range(self.rounds):
                self.singles(*three)
                for guest in guests:
                    self.one_row("V1 records", guest.name, guest.server, guest.request(model.rows(1, 11)))
                self.batches(*three)
                if full:
                    self.mixed(*three)
            for name, server in ((OURS, three[0]), (STOCK, three[1])):
                self.note("memory after all of it", "MB", name, server.memory_mb())


def beside(
    server: Server, small: Callable[[int], Measured], large: bytes, folder: Path, seconds: float
) -> tuple[Measured, Measured]:
    """Single rows as *small* sends them to a port, while a second client sends one large request after the other."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(large.split(b"\r\n\r\n", 1)[1])
        file.flush()
        arguments = [str(server.port), file.name, large.split(b" ", 2)[1].decode(), "1", str(seconds)]
        command = [sys.executable, "-m", "tests.bench.client", *arguments]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as second:
            assert second.stdout is not None
            second.stdout.readline()  # its first request is on its way
            load = small(server.port)
            told = json.loads(second.stdout.read())
    return load, Measured(told["seconds"], tuple(told["latencies"]))


def same(expected: "np.ndarray[Any, Any]", body: bytes, who: str) -> None:
    document = json.loads(body)
    answer = document["predictions"] if "predictions" in document else document["outputs"][0]["data"]
    off = np.abs(np.array(answer, dtype=np.float64).ravel() - expected).max() / np.abs(expected).max()
    if not off <= TOLERANCE:
        raise SystemExit(f"{who} gives other predictions than the pipeline, by up to {off:.3g} of the largest")


def table(lines: Sequence[Line]) -> str:
    names = list(dict.fromkeys(name for line in lines for name in line.rounds if name not in (STOCK, OURS)))
    shown = [STOCK, *names, OURS]
    text = [f"| | {' | '.join(shown)} | times better |", "|---|" + "---:|" * (len(shown) + 1)]
    for line in lines:
        cells = [figure(line.of(name)) for name in shown]
        ratio = line.ratio()
        text.append(f"| {line.what}, {line.unit} | {' | '.join(cells)} | {'' if ratio is None else f'{ratio:.1f}'} |")
    return "\n".join(text)


def figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", nargs="*", default=list(model.MODELS), choices=list(model.MODELS))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=2.0, help="how long each load of a round lasts")
    options.add_argument("--peers", nargs="*", default=[], metavar="NAME=PYTHON", help=peers.HELP)
    options.add_argument("--json", type=Path, help="write all rounds to this file too")
    given = options.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        for number, name in enumerate(given.models):
            model.write(Path(folder) / name, name)
            bench = Bench(name, Path(folder) / name, given.rounds, given.seconds)
            bench.run(peers.usable(given.peers), full=number == 0)
            lines += bench.lines.values()
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load average {load:.1f}; medians of {given.rounds} rounds\n")
    print(table(lines))
    if given.json:
        document = {"load": load, "lines": [{**vars(line), "ratio": line.ratio()} for line in lines]}
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
