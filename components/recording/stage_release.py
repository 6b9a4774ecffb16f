"""The last stage: an approved version to traffic, or a refused candidate to its record."""

from components.steps.place import Place
from components.steps.telling import SHORT, tell
from serving.errors import Inconclusive
from serving.ledger.ledger import open_ledger
from serving.places import open_service
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import RolloutState
from serving.service.release import release_version
from serving.service.service import Service


def release(name: str, place: str, rollout: str, version: int) -> str:
    """Hand the version to traffic; returns ``released``, or ``waiting`` when a person has to approve it first."""
    where = Place.model_validate_json(place)
    plan = RolloutPlan.model_validate_json(rollout)
    service = open_service(where.serving, name, where.ledger)
    outcome = release_version(open_ledger(where.ledger), service, version, plan, where.actor)
    tell(outcome.sentence)
    return outcome.state


def rollout(name: str, place: str, rollout: str, version: int, timeout_s: float) -> str:
    """Start the plan for *version* and wait for its end.

    Returns:
        ``succeeded``, ``rolled back``, or ``waiting``: a person has to approve the version, or the rollout paused.

    Raises:
        Inconclusive: it goes on after *timeout_s* seconds; the same step again joins it.
    """
    where = Place.model_validate_json(place)
    service = open_service(where.serving, name, where.ledger)
    plan = RolloutPlan.model_validate_json(rollout)
    outcome = release_version(open_ledger(where.ledger), service, version, plan, where.actor)
    if outcome.state == "waiting" or not service.serves():  # nobody would bring the rollout to an end
        tell(outcome.sentence)
        return "waiting"
    state = end_of_rollout(service, version, timeout_s)
    if state is None:
        tell(outcome.sentence)
        return "succeeded"
    words = state.outcome or (state.pause.detail if state.pause else "")
    tell(f"{name} {version} {state.phase.value}: {words}")
    return state.phase.value if state.terminal else "waiting"


def end_of_rollout(service: Service, version: int, timeout_s: float) -> RolloutState | None:
    """The rollout of *version* once it has ended or paused; None for a version that serves without one.

    Raises:
        Inconclusive: it has done neither after *timeout_s* seconds.
    """
    deadline = service.monotonic() + timeout_s
    while True:
        mine = [state for state in service.rollouts() if state.candidate.version == version]
        if not mine and not any(request.candidate.version == version for request in service.waiting):
            return None
        if mine and (mine[-1].terminal or mine[-1].pause is not None):
            return mine[-1]
        if service.monotonic() > deadline:
            raise Inconclusive(
                f"the rollout of {service.model} {version} goes on after {timeout_s:g} s; see slipway rollout status, "
                "or run this step again to go on waiting"
            )
        service.sleep(service.poll_s)


def decline(name: str, digest: str) -> str:
    """Say that nothing changes; the refused candidate stays in its run's record."""
    tell(f"{name} stays as it is; the refused candidate {digest[:SHORT]} is kept with its run")
    return "refused"
