"""The last stages: the bundle registered, an approved version to traffic, a refused candidate to its record."""

from pathlib import Path
from typing import Any

from components.judging.gates import GateReport
from components.steps.place import Place, s3_settings
from components.steps.provenance import record_id
from components.steps.telling import SHORT, conclude, tell
from serving.bundle.files import MANIFEST
from serving.files import read_json, sha256_file
from serving.ledger.details import Registered
from serving.ledger.ledger import Ledger, open_ledger
from serving.ledger.values import Version
from serving.store.store import open_store


def register(name: str, run_id: str, place: str, approval: str, bundle: str, decision: str) -> int:
    """Put the bundle into the store and its version into the ledger; returns the version's number."""
    where = Place.model_validate_json(place)
    verdict = GateReport.model_validate(read_json(Path(decision) / "decision.json"))
    ledger, version = enter(name, run_id, where, bundle, verdict)
    by_policy = approval == "auto" or (approval == "auto-if-compared" and not verdict.unasked)
    if by_policy and version.approval == "pending":
        ledger.approve(name, version.version, where.actor, f"policy {approval}: {verdict.sentence}", policy="auto")
    unasked = ", as the champion cannot be asked" if approval == "auto-if-compared" else ""
    words = f"approved by policy {approval}" if by_policy else f"waiting for approval{unasked}"
    tell(f"{name} {version.version} ({version.stage}), {words}")
    return version.version


def enter(name: str, run_id: str, where: Place, bundle: str, verdict: GateReport) -> tuple[Ledger, Version]:
    """Put the bundle into the store and its version into the ledger; the same bundle is the same version."""
    digest = sha256_file(Path(bundle) / MANIFEST)
    provenance: dict[str, Any] = read_json(Path(bundle) / MANIFEST)["provenance"]
    store = open_store(where.store, s3_settings(where))
    prefix = f"{name}/{digest}"
    store.upload_directory(Path(bundle), prefix)
    ledger = open_ledger(where.ledger)
    gate = {**verdict.model_dump(mode="json"), "notices": list(verdict.notices)}
    facts = Registered(
        digest=digest,
        bundle_uri=store.uri(prefix),
        run_id=run_id,
        snapshot=str(provenance.get("snapshot", "")),
        metrics=read_json(Path(bundle) / "profile.json")["metrics"],
        provenance={**provenance, "mlflow": record_id(name, run_id, provenance.get("judged", digest)), "gate": gate},
    )
    return ledger, ledger.register(name, facts, where.actor, reason=verdict.sentence)


def release(name: str, place: str, rollout: str, version: int) -> str:
    """Hand the version to traffic; returns ``released``, or ``waiting`` when a person has to approve it first."""
    from serving.places import open_service  # registering needs neither services nor rollouts
    from serving.rollout.plan import RolloutPlan
    from serving.service.release import release_version

    where = Place.model_validate_json(place)
    plan = RolloutPlan.model_validate_json(rollout)
    service = open_service(where.serving, name, where.ledger)
    outcome = release_version(open_ledger(where.ledger), service, version, plan, where.actor)
    tell(outcome.sentence)
    return conclude(outcome.state)


def decline(name: str, digest: str) -> str:
    """Say that nothing changes; the refused candidate stays in its run's record."""
    tell(f"{name} stays as it is; the refused candidate {digest[:SHORT]} is kept with its run")
    return "refused"
