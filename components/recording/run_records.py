"""What a run leaves behind: its facts gathered once, then recorded in MLflow and told in the report."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.data.quarantine_report import Report as ValidationReport
from components.data.snapshots import open_snapshot
from components.judging.evaluation import Evaluation
from components.judging.gates import GateReport
from components.modelling.search.tuning_values import Tuning
from components.pages.evaluation_plots import evaluation_plots
from components.pages.run_facts import RunFacts
from components.pages.run_page import run_page
from components.recording import tracking
from components.steps import mirroring
from components.steps.failing import spared
from components.steps.place import Place
from components.steps.provenance import CodeVersion, environment, record_id
from components.steps.telling import tell
from serving.bundle.files import MANIFEST
from serving.contract import Frozen
from serving.files import read_json, sha256_file, write_text
from serving.pages.charts import alone

LIBRARIES = (
    "slipway",
    "scikit-learn",
    "numpy",
    "pandas",
    "polars",
    "scipy",
    "kfp",
    "kserve",
    "skops",
    "numba",
    "optuna",
)
WAITING = "record.json"  # beside the report of a run that MLflow has not got yet
REFUSED = "record.refused.txt"  # beside that: why, when it was tried last
LOCK = Path(__file__).parents[2] / "requirements.lock"


class StageOutputs(Frozen):
    """Directories of what the stages of one run made."""

    snapshot: Path
    quarantine: Path
    trials: Path
    bundle: Path
    evaluation: Path
    decision: Path


def gather(name: str, run_id: str, settings: Mapping[str, Any], paths: StageOutputs, command: str) -> RunFacts:
    """Read what the stages wrote."""
    champion, number = paths.decision / "champion.json", paths.decision / "champion_version.json"
    return RunFacts(
        name=name,
        run_id=run_id,
        settings=settings,
        snapshot=open_snapshot(paths.snapshot),
        validation=ValidationReport.model_validate(read_json(paths.quarantine / "report.json")),
        tuning=Tuning.model_validate(read_json(paths.trials / "trials.json")),
        evaluation=Evaluation.model_validate(read_json(paths.evaluation / "evaluation.json")),
        champion=Evaluation.model_validate(read_json(champion)) if champion.exists() else None,
        champion_version=read_json(number)["version"] if number.exists() else None,
        decision=GateReport.model_validate(read_json(paths.decision / "decision.json")),
        digest=sha256_file(paths.bundle / MANIFEST),
        provenance=read_json(paths.bundle / MANIFEST)["provenance"],
        environment=environment(LIBRARIES, LOCK),
        ended=datetime.now(UTC),
        command=command,
    )


def track(name: str, run_id: str, place: str, settings: str, command: str, report: str, **outputs: str) -> str:
    """Record the run in MLflow and write its report; *outputs* are ``StageOutputs``. Returns the MLflow run id."""
    paths = StageOutputs.model_validate(outputs)
    where = Place.model_validate_json(place)
    facts = gather(name, run_id, json.loads(settings), paths, command)
    write_text(Path(report), run_page(facts))
    run, waiting = mlflow_record(facts, paths, Path(report)), Path(report).with_name(WAITING)
    write_text(waiting, run.model_dump_json())
    bringing = mirroring.start(where.model_dump(), always=True, record=waiting)
    news = mirroring.settle(bringing, where.root, mirroring.LIMIT_S)
    if waiting.exists():
        tell(f"warning: run {run_id} is not in MLflow: {_why(waiting, where.root)}")
    else:
        told = f"in MLflow's experiment {name}: {len(facts.evaluation.metrics)} metrics, plots and report"
        tell("; ".join(filter(None, (told, news))))
    return run.run_id


def _why(waiting: Path, home: Path) -> str:
    """Why the record *waiting* is not in MLflow."""
    refused = waiting.with_name(REFUSED)
    said = refused.read_text(encoding="utf-8") if refused.exists() else mirroring.read(home).trouble
    return said or f"it did not take it within {mirroring.LIMIT_S:g} s; {mirroring.LATER}"


def catch_up(where: Place, record: Path | None = None) -> list[str]:
    """Bring MLflow the runs of this home that it missed, each by itself; returns what is still missing, and why.

    A step in a pod leaves its *record* elsewhere than below a home, and says where.

    The record of a run that MLflow has not got waits beside its report, with the reason; who has waited longest since
    it was tried comes first, so that none is always behind one that takes all the time.
    """
    missing: list[str] = []
    here = {*where.root.glob(f"pipeline_root/runs/*/track/*/{WAITING}"), *([record] if record else ())}
    for waiting in sorted(here, key=_tried):
        if not waiting.exists():  # whoever had the lock before has brought it, whatever its path was spelled like
            continue
        refused: list[str] = []
        with spared(f"a run is not in MLflow, its record waits as {waiting}", mirroring.LATER, refused.append):
            tracking.record(tracking.RunRecord.model_validate_json(waiting.read_bytes()), where.tracking)
            waiting.unlink(missing_ok=True)
            waiting.with_name(REFUSED).unlink(missing_ok=True)
        for reason in refused:
            write_text(waiting.with_name(REFUSED), reason)
        missing += refused
    return missing


def _tried(waiting: Path) -> tuple[float, Path]:
    refused = waiting.with_name(REFUSED)
    return refused.stat().st_mtime if refused.exists() else 0.0, waiting


def mlflow_record(facts: RunFacts, paths: StageOutputs, report_path: Path) -> tracking.RunRecord:
    """The run as MLflow keeps it; plots are drawn into a folder beside the report."""
    commit, _, changed = str(facts.provenance.get("commit", "unknown")).partition("+")
    folder = report_path.with_name("plots")
    for name, svg in evaluation_plots(facts.evaluation).items():
        write_text(folder / f"{name}.svg", alone(svg))
    return tracking.RunRecord(
        run_id=record_id(facts.name, facts.run_id, facts.digest),
        name=f"{facts.name} {facts.run_id}",
        project=facts.name,
        parameters={"model": facts.settings["model"], "best": facts.tuning.best_params, "seed": facts.settings["seed"],
                    "split": facts.settings["split"], "features": facts.settings["features"]},
        metrics=facts.evaluation.metrics,
        artifacts={"bundle": paths.bundle, "plots": folder, "report": report_path, "validation": paths.quarantine,
                   "decision": paths.decision},
        code=CodeVersion(commit=commit, dirty=bool(changed) if commit != "unknown" else None),
        data=tracking.Data(
            snapshot=facts.snapshot.id, rows=facts.snapshot.rows, source=facts.snapshot.source
        ),
        environment=facts.environment,
        started=_began(paths, facts.ended),
        ended=facts.ended,
        tags={"verdict": "accepted" if facts.decision.accepted else "refused", "bundle": facts.digest,
              "code": str(facts.provenance.get("code", "")), "command": facts.command},
        tuning=facts.tuning,
    )  # fmt: skip


def _began(paths: StageOutputs, ended: datetime) -> datetime:
    """When the rows had been read: by the first step, the one that is never taken from a cache."""
    return min(ended, datetime.fromtimestamp((paths.snapshot / "manifest.json").stat().st_mtime, UTC))
