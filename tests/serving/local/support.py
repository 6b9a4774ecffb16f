"""A service with stub models, and the load that is put on it."""

import argparse
import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.errors import InfrastructureError
from serving.local import client
from serving.local.backend import EnvoyBackend
from serving.local.client import EndpointStatus, RevisionStatus
from serving.local.lifecycle import Limits
from serving.local.paths import service_paths
from serving.local.state import read_desired, read_observed
from serving.local.supervisor import ServeOptions, serve
from serving.rollout.backend import Revision, Split
from tests.load import Load, request

HERE = Path(__file__).resolve()
STUB = (sys.executable, str(HERE.with_name("stub_model.py")), "{model}", "{bundle}", "{http_port}")
START_S = 120.0  # of a supervisor on a busy machine
BODY = b'{"instances":[[1.0]]}'


def predictions(port: int, headers: str | Callable[[int], str] = "", *, model: str = "housing", **how: Any) -> Load:
    """Requests for predictions of *model*, each with *headers*, those of its number from 0 where it is a function."""
    path = f"/v1/models/{model}:predict"
    told = headers if callable(headers) else lambda _: headers
    return Load(port, lambda number: request(path, BODY, told(number)), **how)


def send(port: int, total: int, *, connections: int = 8, **how: Any) -> Load:
    """*total* requests, answered or lost."""
    return predictions(port, connections=connections, **how).run(total)


def under_load(port: int, act: Callable[[], None], *, connections: int = 4, rate: float | None = None) -> Load:
    """Requests without a pause, or at *rate*, until *act* is done."""
    with predictions(port, connections=connections, rate=rate) as load:
        act()
    return load


# --- a service ------------------------------------------------------------------------------------------------------


@dataclass
class Service:
    """A service directory with a supervisor of its own as a process."""

    directory: Path
    limits: dict[str, float] = field(default_factory=dict)
    template: tuple[str, ...] = STUB
    process: subprocess.Popen[bytes] | None = None

    @property
    def backend(self) -> EnvoyBackend:
        return EnvoyBackend(self.directory)

    @property
    def port(self) -> int:
        return int(client.endpoint(self.directory).rpartition(":")[2])

    def command(self, port: int = 0) -> list[str]:
        limits = json.dumps({"backoff_s": 0.1, "backoff_max_s": 0.5, **self.limits})
        return [
            sys.executable,
            "-m",
            "tests.serving.local.support",
            str(self.directory),
            str(port),
            limits,
            json.dumps(self.template),
        ]

    def start(self, port: int = 0) -> "Service":
        self.process = subprocess.Popen(self.command(port), start_new_session=True)
        client.wait_running(self.directory, START_S)
        return self

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def revision(self, version: int, **behaviour: object) -> Revision:
        """A stub model with that behaviour; the same version again changes how it behaves from now on."""
        bundle = self.directory / "bundles" / str(version)
        bundle.mkdir(parents=True, exist_ok=True)
        whole = bundle / "behaviour.new"
        whole.write_text(json.dumps(behaviour))
        whole.replace(bundle / "behaviour.json")
        return Revision(f"housing-{version}", "housing", version, bundle.as_uri(), f"{version:064d}")

    def ready(self, *versions: int) -> None:
        for version in versions:
            self.backend.ensure(self.revision(version), 1)
        for version in versions:
            wait_ready(self.directory, f"housing-{version}", 30)

    def split(self, epoch: str, split: Split | None = None, **weights: int) -> None:
        """Apply ``v1=800, v2=200`` once both are ready, which a test before may have killed, and wait for Envoy."""
        wanted = split or Split({f"housing-{name.removeprefix('v')}": weight for name, weight in weights.items()})
        for name in wanted.reached:
            wait_ready(self.directory, name, 30)
        self.backend.apply(wanted, epoch)
        wait_applied(self.directory, epoch)

    def looked_at_for(self, seconds: float) -> None:
        """Wait until the supervisor has seen what is wanted now, and has looked at it again and again since."""
        where = service_paths(self.directory)
        generation = read_desired(where).generation

        def since(start: float) -> bool | None:
            seen = read_observed(where)
            return (seen.generation >= generation and seen.heartbeat > start) or None

        client.wait_for(lambda: since(0.0), 10, lambda: "the supervisor does not look")
        later = read_observed(where).heartbeat + seconds
        client.wait_for(lambda: since(later), 10 + seconds, lambda: "the supervisor does not look")

    def settled(self, requests: int, epoch: str) -> dict[str, int]:
        """The counts of *epoch* by revision once *requests* are in the log."""

        def look() -> dict[str, int] | None:
            arms = self.backend.counters().epochs.get(epoch, {})
            counts = {name: arm.requests for name, arm in arms.items()}
            return counts if sum(counts.values()) >= requests else None

        return client.wait_for(look, 10, lambda: f"{self.backend.counters()}")


@contextlib.contextmanager
def service(directory: Path, template: tuple[str, ...] = STUB, **limits: float) -> Iterator[Service]:
    running = Service(directory, limits, template).start()
    try:
        yield running
    finally:
        if running.process and running.process.poll() is None:
            running.stop()


def binomial_interval(n: int, p: float, z: float) -> tuple[float, float]:
    """Counts of *n* trials within *z* standard deviations, widened by one half for continuity."""
    spread = z * math.sqrt(n * p * (1 - p)) + 0.5
    return n * p - spread, n * p + spread


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("limits", type=json.loads)
    parser.add_argument("template", type=json.loads)
    found = parser.parse_args(arguments)
    serve(found.directory, ServeOptions(command=tuple(found.template), port=found.port, limits=Limits(**found.limits)))


if __name__ == "__main__":
    main(sys.argv[1:])


def wait_ready(service_dir: Path, revision: str, timeout_s: float = 120.0) -> RevisionStatus:
    """Wait until *revision* can take traffic.

    Raises:
        InfrastructureError: it failed, which is told at once with its last words, or is not ready in time.
    """

    def look() -> RevisionStatus | None:
        found = [entry for entry in client.status(service_dir).revisions if entry.name == revision]
        if found and found[0].state == "failed":
            raise InfrastructureError(f"{revision} cannot serve: {found[0].reason}")
        return found[0] if found and found[0].state == "ready" else None

    def late() -> str:
        found = [entry for entry in client.status(service_dir).revisions if entry.name == revision]
        detail = f"{found[0].state} {found[0].reason}".strip() if found else "not asked for"
        return f"{revision} is not ready after {timeout_s:g} s: {detail}; is 'slipway serve' running?"

    return client.wait_for(look, timeout_s, late)


def wait_applied(service_dir: Path, epoch: str, timeout_s: float = 30.0) -> EndpointStatus:
    """Wait until Envoy follows the split of *epoch*.

    Raises:
        InfrastructureError: Envoy refused it, or has not taken it within *timeout_s* seconds.
    """

    def look() -> EndpointStatus | None:
        now = client.status(service_dir)
        if now.rejected and now.epoch_configured == epoch:
            raise InfrastructureError(f"Envoy refused the split {epoch} and keeps the one before: {now.rejected}")
        return now if now.epoch_observed == epoch else None

    return client.wait_for(look, timeout_s, lambda: f"the split {epoch} did not reach Envoy within {timeout_s:g} s")
