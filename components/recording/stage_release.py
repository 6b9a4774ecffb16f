"""The last stage: an approved version to traffic, or a refused candidate to its record."""

from components.steps.place import Place
from components.steps.telling import SHORT, tell
from serving.ledger.ledger import open_ledger
from serving.places import open_service
from serving.rollout.plan import RolloutPlan
from serving.service.release import release_version


def release(name: str, place: str, rollout: str, version: int) -> str:
    """Hand the version to traffic; returns ``released``, or ``waiting`` when a person has to approve it first."""
    where = Place.model_validate_json(place)
    plan = RolloutPlan.model_validate_json(rollout)
    service = open_service(where.serving, name, where.ledger)
    outcome = release_version(open_ledger(where.ledger), service, version, plan, where.actor)
    tell(outcome.sentence)
    return outcome.state


def decline(name: str, digest: str) -> str:
    """Say that nothing changes; the refused candidate stays in its run's record."""
    tell(f"{name} stays as it is; the refused candidate {digest[:SHORT]} is kept with its run")
    return "refused"
