"""A whole service to roll out on: real Envoy, supervisor and controller in one process, and stub models that log."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from serving.ledger.ledger import Ledger, open_ledger
from serving.local import client
from serving.local.backend import EnvoyBackend
from serving.local.control import local_control, serve_and_decide
from serving.local.extras import SETTLED_S, LogExtras
from serving.local.lifecycle import Limits
from serving.local.servers import local_bundle
from serving.local.service import LocalService
from serving.local.supervisor import ServeOptions
from serving.profile import NumericHistogram, Profile
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.notices import Notices
from serving.rollout.controller.persistence import Command
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import Phase, RolloutState
from serving.service.release import release_version
from tests.load import Load
from tests.serving.ledger.facts import facts
from tests.serving.local.support import Service, under_load

MODEL = "housing"
STUB = (sys.executable, "-m", "tests.serving.local.logging_stub", "{model}", "{bundle}", "{http_port}", "{log_dir}")
EDGES = (100.0, 200.0, 300.0)
TIMES = {"dwell": "0s", "bake": "1s", "step": "5m", "ready": "60s", "drain": "5s", "metrics": "30s"}
REFERENCE = Profile(
    rows=100,
    inputs={},
    prediction=NumericHistogram(edges=EDGES, counts=(25, 25, 25, 25)),
    error=NumericHistogram(edges=(-50.0, -10.0, 0.0, 10.0, 50.0), counts=(1, 7, 42, 42, 7, 1)),
)


# --- the service ----------------------------------------------------------------------------------------------------


@dataclass
class LiveService(Service):
    """A service with a controller; version 1 serves."""

    webhook: str = ""
    _known: int = field(default=0)

    def command(self, port: int = 0) -> list[str]:
        return [sys.executable, "-m", "tests.serving.local.rollout_live", str(self.directory), str(port), self.webhook]

    @property
    def ledger(self) -> Ledger:
        return open_ledger(f"sqlite:///{self.directory.parent}/ledger.db")

    @property
    def service(self) -> LocalService:
        return LocalService(self.directory.parent.as_uri(), MODEL)

    @property
    def desk(self) -> Desk:
        return self.service.desk()

    def version(self, **behaviour: object) -> int:
        """A new approved version that behaves so."""
        self._known += 1
        made = self.revision(self._known, **behaviour)
        bundle = self.directory / "bundles" / str(self._known)
        (bundle / "profile.json").write_text(REFERENCE.model_dump_json())
        return self.approved(made.digest, made.bundle_uri)

    def approved(self, digest: str, bundle_uri: str) -> int:
        """The version that the ledger gives to a bundle."""
        found = self.ledger.register(MODEL, facts(digest, bundle_uri), "tester")
        self.ledger.approve(MODEL, found.version, "tester", "a test")
        return found.version

    def release(self, version: int, plan: RolloutPlan) -> None:
        release_version(self.ledger, self.service, version, plan, "tester", again=True)

    def first(self, **behaviour: object) -> None:
        """Version 1 takes everything."""
        self.release(self.version(**behaviour), plan())
        self.service.await_traffic(self.ledger)

    @property
    def stable(self) -> int:
        return int(self.ledger.slot(MODEL, "production").version or 0)

    def order(self, name: Literal["abort", "approve", "resume"]) -> None:
        """Leave a command for the controller and wait for its answer."""
        with self.desk as desk:
            number = desk.ask(Command(name, "tester", "a test"))
            client.wait_for(lambda: desk.answered(number), 30, lambda: "no controller answers")

    def reached(self, version: int, phase: Phase, weight: int = 0, timeout_s: float = 120) -> RolloutState:
        """The state of *version*'s rollout in *phase* with at least *weight* per mille, or in a later phase."""
        with self.desk as desk:

            def look() -> RolloutState | None:
                stored = desk.load()
                state = stored.state if stored else None
                if state is None or state.candidate.version != version:
                    return None
                there = state.phase is phase and state.weight >= weight
                return state if there or state.terminal else None

            return client.wait_for(look, timeout_s, lambda: f"{phase} is not reached: {desk.load()}")

    def ended(self, version: int, timeout_s: float = 120) -> RolloutState:
        """The state of *version*'s rollout once it is over or waits for a person."""
        with self.desk as desk:

            def look() -> RolloutState | None:
                stored = desk.load()
                state = stored.state if stored else None
                if state is None or state.candidate.version != version:
                    return None
                return state if state.terminal or state.phase is Phase.PAUSED else None

            return client.wait_for(look, timeout_s, lambda: f"no end: {desk.load()}")

    def rollout(
        self, version: int, wanted: RolloutPlan, *, rate: float | None = None, connections: int = 4
    ) -> tuple[RolloutState, Load]:
        """Release *version* under load; its end, and every answer that callers got from release to end."""
        found: list[RolloutState] = []

        def act() -> None:
            self.release(version, wanted)
            found.append(self.ended(version))

        load = under_load(self.port, act, connections=connections, rate=rate)
        return found[0], load


Live = TypeVar("Live", bound=LiveService)


def plan(**changes: Any) -> RolloutPlan:
    """The default plan with short times; ``time`` and ``gates`` are merged."""
    usual: dict[str, Any] = {"service": MODEL, "steps": [5, 10, 25, 50], "gates": {"quality": None}}
    usual["time"] = {**TIMES, **changes.pop("time", {})}
    usual["gates"] = {**usual["gates"], "slow": {"slo": "0.1s"}, **changes.pop("gates", {})}
    return RolloutPlan.model_validate(usual | changes)


@contextmanager
def live(directory: Path, *, webhook: str = "", **behaviour: object) -> Iterator[LiveService]:
    """A service in which version 1 serves with *behaviour*."""
    with running(LiveService(directory / MODEL, webhook=webhook)) as service:
        service.first(**behaviour)
        yield service


@contextmanager
def running(service: Live) -> Iterator[Live]:
    """*service*, started, without a version yet."""
    service.directory.mkdir(parents=True)
    service.start()
    try:
        yield service
    finally:
        if service.process and service.process.poll() is None:
            service.stop()


@contextmanager
def again_and_again(feed: Callable[[], None], pause_s: float = 0.1) -> Iterator[None]:
    """*feed* beside the block, from its begin to its end."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(pause_s):
            feed()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def serve_live(directory: Path, port: int, webhook: str = "", command: tuple[str, ...] = STUB) -> None:
    extras = LogExtras(directory, local_bundle, label_delay=SETTLED_S)
    backend = EnvoyBackend(directory, extras=extras.read)
    ledger = open_ledger(f"sqlite:///{directory.parent}/ledger.db")
    notify = Notices(directory / "notices.jsonl", webhook)
    control = local_control(directory, MODEL, ledger, backend, notify)
    limits = Limits(backoff_s=0.1, backoff_max_s=0.5)
    serve_and_decide(directory, control, backend, ServeOptions(command=command, port=port, limits=limits))


if __name__ == "__main__":
    served_directory, listener_port, *addresses = sys.argv[1:]
    serve_live(Path(served_directory), int(listener_port), addresses[0] if addresses else "")
