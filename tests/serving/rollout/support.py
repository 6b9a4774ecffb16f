"""Values and worlds that the rollout tests share; everything has a default, so a test says only what it is about."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.files import sha256_bytes
from serving.rollout.backend import ArmCounts, Counters, Observed, Readiness, Revision, Split
from serving.rollout.controller.controller import Controller
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.persistence import Command
from serving.rollout.controller.tables import open_rollout_file, open_rollouts
from serving.rollout.decision.engine import decide
from serving.rollout.decision.events import Notice, Tick
from serving.rollout.decision.render import wanted_split
from serving.rollout.decision.rules import Decision, Seen
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import Request, RolloutState, begin
from tests.serving.rollout.fake import Behaviour, Clock, FakeBackend

NOW = 1_700_000_000.0
QUICK = {
    "dwell": "5s",
    "bake": "10s",
    "step": "10m",
    "ready": "30s",
    "metrics": "20s",
    "converge": "15s",
    "pause": "1h",
}
READY = Readiness("ready")


def revision(number: int) -> Revision:
    return Revision(f"housing-{number}", "housing", number, f"file:///bundles/{number}", f"{number:064d}")


def plan(**changes: Any) -> RolloutPlan:
    """A plan with short times that removes the version before; ``time`` is merged, everything else replaces."""
    times = QUICK | changes.pop("time", {})
    usual = {"service": "housing", "steps": [5, 10, 25, 50], "time": times, "keep_previous": False}
    return RolloutPlan.model_validate(usual | changes)


def request(candidate: int = 2, stable: int | None = 1, attempt: int = 1, **changes: Any) -> Request:
    old = None if stable is None else revision(stable)
    return Request(plan=plan(**changes), candidate=revision(candidate), stable=old, attempt=attempt)


Opener = Callable[[Path, str], Desk]


def open_desk(directory: Path, service: str) -> Desk:
    """A desk in a file of its own, as beside a local service."""
    return Desk(open_rollout_file(directory / f"{service}.db", service, keep=True), service)


def open_sql_desk(directory: Path, service: str) -> Desk:
    """A desk in a database below *directory*, or in that of SLIPWAY_TEST_DATABASE, where *directory* tells it apart."""
    directory.mkdir(parents=True, exist_ok=True)
    address = os.environ.get("SLIPWAY_TEST_DATABASE", f"sqlite:///{directory}/ledger.db")
    return Desk(open_rollouts(address), f"{service}-{sha256_bytes(str(directory).encode())[:12]}")


# What is true of one desk is true of the other: tests take the desk as a parameter.
OPENERS = [pytest.param(open_desk, id="file"), pytest.param(open_sql_desk, id="database")]


def run(
    controller: Controller, clock: Any, *, until: Callable[[Tick], bool] | None = None, limit: float = 7200.0
) -> Tick:
    """Tick once a second until the rollout and its successors are over, *until* says so, or after *limit* seconds."""
    last = clock() + limit
    while True:
        tick = controller.tick(clock())
        state = tick.state
        over = state is None or (state.terminal and state.successor is None)
        if over or clock() >= last or (until is not None and until(tick)):
            return tick
        clock.sleep(1.0)


class World:
    """A fake place with version 1 serving, a desk on disk, and a controller."""

    def __init__(
        self, directory: Path, *, rate: float = 50.0, stable: bool = True, opener: Opener = open_desk, **backend: Any
    ) -> None:
        self.clock = Clock()
        self.backend = FakeBackend(self.clock, rate=rate, **backend)
        self.backend.behave("housing-1", Behaviour(errors=0.001))
        self.events: list[Notice] = []
        if stable:
            self.backend.ensure(revision(1), 1)
            self.clock.sleep(2)
            self.backend.apply(Split({"housing-1": 1000}), "before")
            self.clock.sleep(1)
            self.backend.stable = "housing-1"
        self.backend.effects.clear()
        self.directory = directory
        self.opener = opener
        self.desk: Desk = opener(directory, "housing")
        self.controller = self.another("first")

    def another(self, holder: str, **options: Any) -> Controller:
        return Controller(self.backend, self.desk, holder, notify=self.events.append, **options)

    def start(self, wanted: Request | None = None, **changes: Any) -> RolloutState:
        return self.controller.start(wanted or request(**changes), self.clock())

    def run(self, until: Callable[[Tick], bool] | None = None, limit: float = 7200.0) -> Tick:
        """Tick once a second until the end or *until*, at most *limit* virtual seconds."""
        return run(self.controller, self.clock, until=until, limit=limit)

    def order(self, name: str, **options: Any) -> str:
        """Leave a command as the command line does; the answer after the next look."""
        number = self.desk.ask(Command(name, "ada", **options))  # type: ignore[arg-type]  # the tests' own literals
        self.controller.tick(self.clock())
        return self.desk.answered(number) or ""

    def until_phase(self, phase: str, limit: float = 7200.0) -> RolloutState:
        state = self.run(lambda tick: tick.state is not None and tick.state.phase.value == phase, limit).state
        assert state is not None
        assert state.phase.value == phase, f"expected {phase}, seen {state.phase}: {state.pause} {state.outcome}"
        return state

    @property
    def state(self) -> RolloutState:
        stored = self.desk.load()
        assert stored is not None
        return stored.state

    def close(self) -> None:
        self.desk.close()

    def reopen(self) -> None:
        """What was on disk is all that is left."""
        self.desk.close()
        self.desk = self.opener(self.directory, "housing")


class Bench:
    """The engine alone, fed with counts by hand."""

    def __init__(self, **changes: Any) -> None:
        self.backend = FakeBackend(Clock())
        self.now = NOW
        self.state = begin(request(**changes), self.backend.capabilities(), NOW)
        self.counts: dict[str, dict[str, ArmCounts]] = {}
        self.seen: dict[str, Any] = {}

    def look(self, after: float = 1.0, **seen: Any) -> Decision:
        """Look every five seconds for *after* seconds and return the first decision that is not to hold, or the last.

        By default everything is well and the split is followed.
        """
        while after > 5.0:
            decision = self.jump(5.0, **seen)
            after -= 5.0
            if decision.verdict != "hold":
                return decision
        return self.jump(after, **seen)

    def jump(self, after: float, **seen: Any) -> Decision:
        """One look, *after* seconds in which nobody looked."""
        self.now += after
        epoch = self.state.epoch
        observed = Observed(wanted_split(self.state), epoch.token if epoch else None, "digest")
        usual: dict[str, Any] = {
            "candidate": READY,
            "stable": READY,
            "observed": observed,
            "counters": Counters({token: dict(arms) for token, arms in self.counts.items()}),
        }
        decision = decide(self.state, Seen(**(usual | self.seen | seen)), self.now)
        self.state = decision.state
        return decision

    def feed(self, candidate: Mapping[str, Any] | None = None, stable: Mapping[str, Any] | None = None) -> None:
        """Add counts to the present epoch."""
        assert self.state.epoch is not None
        arms = self.counts.setdefault(self.state.epoch.token, {})
        for name, more in (("housing-2", candidate), ("housing-1", stable)):
            old = arms.get(name, ArmCounts())
            grown = {key: value if key == "bins" else getattr(old, key) + value for key, value in (more or {}).items()}
            arms[name] = ArmCounts(**({**vars(old)} | grown))

    def to(self, phase: str) -> Decision:
        """Look, feeding clean traffic, until *phase*."""
        for _ in range(200):
            decision = self.look()
            if self.state.phase.value == phase:
                return decision
            if self.state.epoch is not None:
                weight = self.state.weight
                self.feed({"requests": weight}, {"requests": 1000 - weight})
        raise AssertionError(f"{phase} is not reached; it is in {self.state.phase}: {self.state.pause}")
