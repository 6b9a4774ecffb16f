"""The tracking stage on paths: the run in MLflow, and its report."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from components.recording import run_records
from components.recording.tracking import record
from components.steps.place import Place
from components.steps.telling import SHORT, tell
from serving.files import write_text


@dataclass(frozen=True)
class StageOutputs:
    """Directories of what the earlier stages made."""

    snapshot: str
    quarantine: str
    trials: str
    bundle: str
    evaluation: str
    decision: str


def track(name: str, run_id: str, place: str, settings: str, evidence: StageOutputs, report: str) -> str:
    """Record the run in MLflow and write its report; returns the MLflow run id."""
    where = Place.model_validate_json(place)
    paths = run_records.StageOutputs(**{key: Path(value) for key, value in asdict(evidence).items()})
    facts = run_records.gather(name, run_id, json.loads(settings), paths)
    write_text(Path(report), run_records.report(facts))
    tracked = record(run_records.mlflow_record(facts, paths, Path(report)), where.tracking)
    tell(
        f"MLflow run {tracked[:SHORT]} in experiment {name}, {len(facts.evaluation.metrics)} metrics, plots and report"
    )
    return tracked
