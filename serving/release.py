"""From the ledger to traffic: what a released version means, and what must therefore run.

The ledger says what should serve. A rollout moves a later version there by evidence; commands move it by hand. Either
way one process per service, its controller, makes traffic follow; whoever asks only writes down what is wanted.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from serving.errors import ConfigError, ConflictError, InfrastructureError
from serving.ledger import Ledger
from serving.ledger_values import Slot, SlotName, Version
from serving.local.client import supervisor_alive
from serving.local.place import place
from serving.local.state import read_observed
from serving.rollout.backends.envoy import EnvoyBackend
from serving.rollout.backends.protocol import WEIGHT_SUM, Revision, Split
from serving.rollout.plan import RolloutPlan
from serving.rollout.sqlite import SqliteDesk
from serving.rollout.state import Request, RolloutState
from serving.rollout.waiting import waiting_requests

State = Literal["released", "waiting"]
FOLLOW_S = 60.0


@dataclass(frozen=True)
class Release:
    """What became of a release, and the sentence that says it."""

    state: State
    sentence: str


def release_version(
    ledger: Ledger, serving: str, model: str, version: int, plan: RolloutPlan, actor: str, *, again: bool = False
) -> Release:
    """Hand an approved *version* to traffic: the first one takes all of it, a later one starts the rollout *plan*.

    Args:
        again: also when the version was put away before; without it a person is asked to say so.
    """
    found = ledger.version(model, version)
    if found.approval != "approved":
        return Release(
            "waiting",
            f"{found.name} is {found.approval}, not approved: slipway models approve {model} {version} --reason '...'",
        )
    production = ledger.slot(model, "production")
    if production.version == version:
        return Release("released", f"{model} {version} has all traffic already")
    if found.stage == "archived" and not again:
        return Release("waiting", f"{found.name} was put away before: slipway rollout start {version} brings it back")
    directory = service_directory(serving, model)
    if production.version is None:
        ledger.promote(model, version, actor, "first version")
        followed = await_traffic(ledger, serving, model)
        return Release("released", f"{model} {version} takes 100 %" + ("" if followed else " when slipway serve runs"))
    canary = ledger.slot(model, "canary")
    if canary.version not in (None, version) and not rollout_live(directory):
        return Release(
            "waiting",
            f"{model} {canary.version} has {canary.percent:g} % by hand: slipway rollout set 0 ends that, "
            f"then slipway rollout start {version}",
        )
    request = Request(
        plan=plan.model_copy(update={"service": model}),
        candidate=revision_of(found),
        stable=revision_of(ledger.version(model, production.version)),
        attempt=1 + _ended(directory, found.digest),
    )
    waiting_requests(directory).put(request)
    share = f"{model} {version} starts at {plan.stages[0].weight:g} % beside {model} {production.version}"
    return Release("released", share if serves(directory) else f"{share} when slipway serve runs")


def _ended(directory: Path, digest: str) -> int:
    """How many rollouts of the bundle *digest* are over."""
    path = rollout_file(directory)
    if not path.exists():
        return 0
    with SqliteDesk(path) as desk:
        stored = desk.load()
        states = [*desk.past(), *([stored.state] if stored else [])]
    return sum(state.terminal and state.candidate.digest == digest for state in states)


def revision_of(version: Version) -> Revision:
    return Revision(version.name, version.model, version.version, version.bundle_uri, version.digest)


def wanted_split(model: str, slots: dict[SlotName, Slot]) -> Split | None:
    """The split that the slots amount to; None before the first promotion."""
    production, canary = slots["production"], slots["canary"]
    if production.version is None:
        return None
    if canary.version is None or not canary.percent:
        return Split({f"{model}-{production.version}": WEIGHT_SUM})
    share = round(canary.percent * WEIGHT_SUM / 100)
    return Split({f"{model}-{production.version}": WEIGHT_SUM - share, f"{model}-{canary.version}": share})


def wanted_epoch(slots: dict[SlotName, Slot]) -> str:
    """The token of the split that the slots amount to; it changes with every change of a slot."""
    return f"by-hand-{slots['production'].revision}-{slots['canary'].revision}"


def service_directory(serving: str, model: str) -> Path:
    """The directory of *model*'s service, given the place's serving URI.

    Raises:
        ConfigError: the URI is not ``file://``.
    """
    parts = urlsplit(serving)
    if parts.scheme not in ("", "file"):
        raise ConfigError(f"serving: expected file:///directory, got {serving!r}")
    return Path(parts.path) / model


def serves(directory: Path) -> bool:
    """Whether a supervisor looks after the service."""
    return supervisor_alive(read_observed(place(directory)))


def await_traffic(ledger: Ledger, serving: str, model: str, timeout_s: float = FOLLOW_S) -> bool:
    """Wait until Envoy follows what the slots say; False when nothing serves here.

    Raises:
        InfrastructureError: a revision failed, or traffic did not follow in time; the message says which.
    """
    directory = service_directory(serving, model)
    if not serves(directory):
        return False
    backend = EnvoyBackend(directory)
    deadline = time.monotonic() + timeout_s
    reason = "no answer yet"
    while time.monotonic() < deadline:
        slots = ledger.slots(model)
        split = wanted_split(model, slots)
        if split is None:
            return True
        try:
            seen = backend.observed()
        except InfrastructureError as error:
            reason = str(error)
        else:
            if seen.split is not None and dict(seen.split.weights) == dict(split.weights):
                return True
            for name in split.weights:
                readiness = backend.readiness(name)
                if readiness.state == "failed":
                    raise InfrastructureError(f"{name} cannot serve: {readiness.reason}")
                reason = f"{name} is {readiness.state} {readiness.reason}".strip()
        time.sleep(0.05)
    raise InfrastructureError(f"traffic did not follow within {timeout_s:.0f} s: {reason}; see slipway serve status")


def refuse_during_rollout(directory: Path) -> None:
    """Raise ``ConflictError`` while a rollout decides about this service's traffic."""
    if (state := rollout_live(directory)) is not None:
        raise ConflictError(
            f"rollout {state.id} of {state.candidate.name} is live ({state.phase.value}); "
            "use slipway rollout promote, pause or abort"
        )


def rollout_live(directory: Path) -> RolloutState | None:
    """The rollout that decides about this service's traffic now."""
    path = rollout_file(directory)
    if not path.exists():
        return None
    with SqliteDesk(path) as desk:
        stored = desk.load()
    return None if stored is None or stored.state.terminal else stored.state


def rollout_file(directory: Path) -> Path:
    return directory / "rollout.db"
