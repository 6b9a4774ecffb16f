"""Measures what a rollout promises on real Envoy and prints it as a table: split, changes, losses, total failure.

Run it from the repository: ``python -m tests.bench.rollout``; see ``--help`` for smaller sizes.
"""

import argparse
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from unittest import mock

from scipy.stats import binom

from serving.rollout.backend import ArmCounts
from serving.rollout.controller import controller
from serving.rollout.decision import engine
from serving.rollout.decision.rules import Decision, Seen
from serving.rollout.state import RolloutState
from tests.load import Answer, Load
from tests.serving.local.rollout_live import LiveService, live, plan
from tests.serving.local.support import Service, predictions, send, service, under_load
from tests.serving.rollout.support import Bench, World

CHANCE = 1e-6
RATE = 50.0


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(seconds: list[float]) -> str:
    return f"median {1000 * statistics.median(seconds):.1f}, p99 {1000 * quantile(seconds, 0.99):.1f} ms"


def splits(running: Service, requests: int) -> list[tuple[str, str, str]]:
    """The share that each weight really gets."""
    rows = []
    for weight in (10, 50, 100, 250, 500):
        running.split(f"split-{weight}", v1=1000 - weight, v2=weight)
        seen = send(running.port, requests).by_revision()["housing-2"]
        low, high = binom.interval(1 - CHANCE, requests, weight / 1000)
        inside = "inside" if low <= seen <= high else "OUTSIDE"
        rows.append(
            (f"split {weight / 10:g} %", f"{seen / requests:.2%} of {requests:,}", f"{inside} {low:,.0f}..{high:,.0f}")
        )
    return rows


def changes(running: Service, times: int) -> tuple[list[float], Load]:
    """Seconds from the order to the first answer under the new split, under load; and every answer of that load."""
    asked: list[tuple[str, float]] = []

    def act() -> None:
        for number in range(times):
            weight = (100, 500, 900)[number % 3]
            asked.append((f"change-{number}", time.monotonic()))
            running.split(f"change-{number}", v1=1000 - weight, v2=weight)

    load = under_load(running.port, act)
    first: dict[str, float] = {}
    for answer in load.answers:
        first.setdefault(answer.epoch, answer.at)
    return [first[epoch] - at for epoch, at in asked if epoch in first], load


def promotions(running: LiveService, requests: int) -> tuple[int, Load]:
    """Whole promotions of equal candidates, every other one aborted half way, until *requests* were answered."""
    ended: list[RolloutState] = []
    with predictions(running.port) as load:
        while len(load.answers) < requests:
            version = running.version()
            running.release(
                version,
                plan(
                    on_inconclusive="rollback",
                    time={"step": "4s" if len(ended) % 2 else "5m"},
                    risk={"rho": 0.0001 if len(ended) % 2 else 0.01},
                ),
            )
            ended.append(running.ended(version))
    return len(ended), load


def looks(directory: Path, rollouts: int) -> tuple[list[float], list[float]]:
    """Seconds of each decision of the engine, and of each whole look of a controller with its journal on disk."""
    decided: list[float] = []
    looked: list[float] = []

    def timed(state: RolloutState, seen: Seen, now: float) -> Decision:
        began = time.perf_counter()
        decision = engine.decide(state, seen, now)
        decided.append(time.perf_counter() - began)
        return decision

    with mock.patch.object(controller, "decide", timed):
        for number in range(rollouts):
            (directory / f"looks-{number}").mkdir()
            world = World(directory / f"looks-{number}", rate=400, seed=number)
            world.start()
            over = False
            while not over:
                began = time.perf_counter()
                tick = world.controller.tick(world.clock())
                looked.append(time.perf_counter() - began)
                world.clock.sleep(1.0)
                over = tick.state is None or tick.state.terminal
            world.close()
    return decided, looked


def crowded(epochs: int, bins: int, times: int) -> list[float]:
    """Seconds of a decision in a rollout that has gone through *epochs*, with *bins* classes of predictions."""
    desk = Bench()
    desk.to("step")
    (epoch,) = desk.state.epochs[-1:]
    tokens = [*(f"epoch-{number}" for number in range(epochs - 1)), epoch.token]
    arms = {
        name: ArmCounts(requests=100 * bins, slow=5, bins={f"bin-{i}": 100 for i in range(bins)})
        for name in ("housing-1", "housing-2")
    }
    past = tuple(epoch.model_copy(update={"token": token, "settling": {}, "weight": 500}) for token in tokens)
    desk.state = desk.state.model_copy(update={"epochs": past, "counts": dict.fromkeys(tokens, arms)})
    desk.counts = dict.fromkeys(tokens, arms)
    before, took = desk.state, []
    for _ in range(times):
        began = time.perf_counter()
        desk.jump(1.0)
        took.append(time.perf_counter() - began)
        desk.state = before
    return took


def failures(directory: Path, count: int, lanes: int) -> list[tuple[int, float]]:
    """(failed user requests, seconds from the first to the last request under the canary's weight) per rollout."""
    lock = threading.Lock()
    left = count
    found: list[tuple[int, float]] = []

    def more() -> bool:
        nonlocal left
        with lock:
            left -= 1
            return left >= 0

    def lane(number: int) -> None:
        with live(directory / f"lane-{number}") as running:
            while more():
                found.append(total_failure(running))

    with ThreadPoolExecutor(lanes) as pool:
        for future in [pool.submit(lane, number) for number in range(lanes)]:
            future.result()
    return found


def total_failure(running: LiveService) -> tuple[int, float]:
    """One candidate that fails every request, at 5 % of 50 requests per second."""
    state, load = running.rollout(running.version(errors=True), plan(), rate=RATE, connections=8)
    assert state.phase.value == "rolled back", state
    return len(load.lost), exposed_s(load.answers, state)


def exposed_s(answers: list[Answer], state: RolloutState) -> float:
    """Seconds from the first answer under the canary's weight to the first one after it, as callers saw it."""
    first: dict[str, float] = {}
    for answer in sorted(answers, key=lambda answer: answer.at):
        first.setdefault(answer.epoch, answer.at)
    shown = [first[epoch.token] for epoch in state.epochs if epoch.token in first]
    assert len(shown) == len(state.epochs), "an epoch without an answer"
    return sum(b - a for (a, b), epoch in zip(pairwise(shown), state.epochs, strict=False) if epoch.weight)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="per weight")
    parser.add_argument("--changes", type=int, default=60)
    parser.add_argument("--load", type=int, default=50_000, help="requests during promotions and rollbacks, at least")
    parser.add_argument("--failures", type=int, default=200, help="rollouts of a candidate that fails every request")
    parser.add_argument("--lanes", type=int, default=2, help="of those at the same time, each at 50 requests/s")
    asked = parser.parse_args()
    print("| measure | seen | bar |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for what, times in zip(("decision of the engine", "look of a controller"), looks(Path(name), 5), strict=True):
            print(f"| {what}, {len(times)} in 5 rollouts | {spread(times)} | <= 5 ms |", flush=True)
        print(f"| decision with 50 epochs and 10 classes | {spread(crowded(50, 10, 200))} | <= 5 ms |", flush=True)
        with service(Path(name) / "plain") as running:
            running.ready(1, 2)
            for row in splits(running, asked.requests):
                print("| " + " | ".join(row) + " |", flush=True)
            waits, load = changes(running, asked.changes)
        words = f"median {1000 * statistics.median(waits):.0f}, p95 {1000 * quantile(waits, 0.95):.0f} ms"
        print(f"| weight change reaches traffic, {len(waits)} changes | {words} | p95 <= 500 ms |", flush=True)
        print(f"| lost during those changes | {len(load.lost)} of {len(load.answers):,} | 0 |", flush=True)
        with live(Path(name) / "live") as promoted:
            rollouts, load = promotions(promoted, asked.load)
        print(
            f"| lost in {rollouts} promotions and rollbacks | {len(load.lost)} of {len(load.answers):,} | 0 |",
            flush=True,
        )
        found = failures(Path(name), asked.failures, asked.lanes)
        failed, seconds = [float(n) for n, _ in found], [s for _, s in found]
        words = f"median {statistics.median(failed):.0f}, p95 {quantile(failed, 0.95):.0f}, most {max(failed):.0f}"
        print(f"| total failure at 5 %, {len(found)} rollouts: failed user requests | {words} | p95 <= 7 |")
        words = f"median {statistics.median(seconds):.1f}, p95 {quantile(seconds, 0.95):.1f} s"
        print(f"| back to weight 0 at {RATE:g} requests/s | {words} | median <= 3, p95 <= 6 s |")


if __name__ == "__main__":
    main()
