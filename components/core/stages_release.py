"""The stages from verdict to traffic on paths: what ``gate``, ``track``, ``verify``, ``register``, ``release`` call."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.core import champions, run_records
from components.core.evaluation import Evaluation
from components.core.gates import Decision, Gate, judge
from components.core.keys import trusted_keys
from components.core.place import Place, s3_settings
from components.core.stages_data import SHORT
from components.core.stages_model import score_rows
from components.core.telling import tell
from components.core.tracking import record
from components.core.verification import verify as verify_server
from serving.bundle import MANIFEST, open_bundle
from serving.files import read_json, sha256_file, whole_directory, write_text
from serving.ledger import open_ledger
from serving.release import release_version
from serving.rollout.plan import RolloutPlan
from serving.store import open_store


@dataclass(frozen=True)
class Evidence:
    """Directories of what the earlier stages made."""

    snapshot: str
    quarantine: str
    trials: str
    bundle: str
    evaluation: str
    decision: str


def gate(name: str, gates: str, slices: str, place: str, evaluation: str, holdout: str, decision: str) -> str:
    """Judge the candidate against floors and the champion on the same rows; returns ``accepted`` or ``refused``."""
    where = Place.model_validate_json(place)
    candidate = Evaluation.model_validate(read_json(Path(evaluation) / "evaluation.json"))
    champion = champions.find(name, where)
    theirs = None if champion is None else score_rows(champion.bundle, Path(holdout), tuple(json.loads(slices)))
    verdict = judge(candidate, theirs, [Gate.model_validate(one) for one in json.loads(gates)])
    with whole_directory(Path(decision)) as folder:
        write_text(folder / "decision.json", verdict.model_dump_json(indent=2))
        if champion is not None and theirs is not None:
            write_text(folder / "champion.json", theirs.model_dump_json(indent=2))
            write_text(folder / "champion_version.json", json.dumps({"version": champion.version}))
    tell(verdict.sentence)
    return "accepted" if verdict.accepted else "refused"


def track(name: str, run_id: str, place: str, settings: str, evidence: Evidence, report: str) -> str:
    """Record the run in MLflow and write its report; returns the MLflow run id."""
    where = Place.model_validate_json(place)
    paths = run_records.Paths(**{key: Path(value) for key, value in asdict(evidence).items()})
    facts = run_records.gather(name, run_id, json.loads(settings), paths)
    write_text(Path(report), run_records.report(facts))
    tracked = record(run_records.mlflow_record(facts, paths, Path(report)), where.tracking)
    tell(
        f"MLflow run {tracked[:SHORT]} in experiment {name}, {len(facts.evaluation.metrics)} metrics, plots and report"
    )
    return tracked


def verify(name: str, key: str, bundle: str) -> str:
    """Ask the candidate in a real model server; returns what it did as JSON."""
    trusted = trusted_keys(key)
    seen = verify_server(name, Path(bundle), open_bundle(Path(bundle), trusted), trusted[0].pem)
    tell(seen.sentence)
    return seen.model_dump_json()


def register(name: str, run_id: str, place: str, approval: str, tracked: str, bundle: str, decision: str) -> int:
    """Put the bundle into the store and its version into the ledger; returns the version's number."""
    where = Place.model_validate_json(place)
    verdict = Decision.model_validate(read_json(Path(decision) / "decision.json"))
    digest = sha256_file(Path(bundle) / MANIFEST)
    provenance: dict[str, Any] = read_json(Path(bundle) / MANIFEST)["provenance"]
    store = open_store(where.store, s3_settings(where))
    prefix = f"{name}/{digest}"
    store.upload_directory(Path(bundle), prefix)
    ledger = open_ledger(where.ledger)
    version = ledger.register(
        name,
        digest,
        store.uri(prefix),
        run_id,
        str(provenance.get("snapshot", "")),
        read_json(Path(bundle) / "profile.json")["metrics"],
        {**provenance, "mlflow": tracked, "gate": verdict.model_dump(mode="json")},
        where.actor,
        reason=verdict.sentence,
    )
    if approval == "auto" and version.approval == "pending":
        ledger.approve(name, version.version, where.actor, f"policy auto: {verdict.sentence}", policy="auto")
    words = "approved by policy auto" if approval == "auto" else "waiting for approval"
    tell(f"{name} {version.version} ({version.stage}), {words}")
    return version.version


def release(name: str, place: str, rollout: str, version: int) -> str:
    """Hand the version to traffic; returns ``released``, or ``waiting`` when a person has to approve it first."""
    where = Place.model_validate_json(place)
    plan = RolloutPlan.model_validate_json(rollout)
    outcome = release_version(open_ledger(where.ledger), where.serving, name, version, plan, where.actor)
    tell(outcome.sentence)
    return outcome.state


def decline(name: str, digest: str) -> str:
    """Say that nothing changes; the refused candidate stays in its run's record."""
    tell(f"{name} stays as it is; the refused candidate {digest[:SHORT]} is kept with its run")
    return "refused"
