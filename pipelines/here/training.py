"""One training run on this machine: from a project to what came of it."""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from components.pages.run_page import run_page
from components.recording.run_records import StageOutputs, gather
from components.steps import carried
from components.steps.failing import spared
from components.steps.place import Place
from components.steps.provenance import code_version
from pipelines import project_file
from pipelines.checkout import PIPELINES, ROOT
from pipelines.here import runner
from pipelines.here.code_digest import code_digest
from pipelines.here.runner import RunResult, TaskEvent
from pipelines.project import Project, anchored
from serving.errors import SlipwayError
from serving.files import sha256_bytes, write_json, write_text
from serving.locks import only_holder

PACKAGE = PIPELINES / "train.yaml"
TIMEOUT_S = 3_600.0
FINISHED = "result.json"
# step -> what the report is made of
REPORTED = {"ingest": "snapshot", "validate": "quarantine", "tune": "trials", "train": "bundle"}
REPORTED |= {"evaluate": "evaluation", "gate": "decision"}

Outcome = Literal["released", "waiting", "refused", "failed"]


@dataclass(frozen=True)
class TrainingResult:
    """What came of a run; ``exit_code`` is the family's: 0, 5 for a refused candidate, 20 waiting for approval."""

    run: RunResult
    outcome: Outcome
    sentence: str
    exit_code: int
    report: Path | None = None


class RunFailed(SlipwayError):
    """A step failed; the message names it, and ``exit_code`` is that of its cause."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # the family's code is a class's, here it is the cause's


def train(
    project: Project,
    place: Place,
    *,
    as_of: datetime | None = None,
    source: str | None = None,
    window: str = "",
    on_event: Callable[[TaskEvent], None] = lambda _event: None,
    cache: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> TrainingResult:
    """Run the training pipeline to its end, and make *project* the one that this home works on.

    A run that was killed is taken up under its own number, and what it had finished comes from the cache.

    Raises:
        ConflictError: another run is under way in this home.
        RunFailed: a step failed.
    """
    if project.file is not None:
        project_file.remember(project.file, place.root)
    told = f"another run is under way in {place.home}"
    with only_holder(lock_of(place), lambda who: f"{told}, {who}; wait for it, or use another place with --home"):
        run_id = next_run_id(place.root / "runs")
        arguments = train_arguments(project, place, run_id, as_of=as_of, source=source, window=window)
        arguments["contract"] = carried.put(arguments["contract"], str(place.root))
        result = runner.run(
            PACKAGE,
            arguments,
            place.root,
            run_id=run_id,
            timeout_s=timeout_s,
            on_event=on_event,
            cache=cache,
        )
        outcome = judge(result)
        if outcome.outcome != "failed":
            outcome = _reported(outcome, project, arguments["command"])
        write_json(result.directory / FINISHED, {"outcome": outcome.outcome, "sentence": outcome.sentence})
    if outcome.outcome == "failed":
        raise RunFailed(outcome.sentence, outcome.exit_code)
    return outcome


def train_arguments(
    project: Project,
    place: Place,
    run_id: str,
    *,
    as_of: datetime | None = None,
    source: str | None = None,
    window: str = "",
) -> dict[str, Any]:
    """The pipeline's parameters; each section of the project travels alone, so that only what it touches runs again."""
    version, contract = code_version(ROOT), _json(project.contract)
    arguments = {
        "name": project.name,
        "run_id": run_id,
        "source": anchored(source, Path.cwd()) if source else project.source.uri,
        "contract": contract,
        "contract_id": sha256_bytes(contract.encode()),
        "split_policy": _json(project.split),
        "features": _json(project.features),
        "model": _json(project.model),
        "search": _json(project.search),
        "slices": json.dumps(list(project.slices)),
        "gates": json.dumps(
            [gate.model_dump(mode="json", exclude_unset=True) for gate in project.gates], sort_keys=True
        ),
        "approval": project.approval,
        "rollout": _json(project.rollout),
        "settings": project.model_dump_json(exclude={"contract"}),
        "place": _json(place),
        "key": place.key,
        "as_of": (as_of or datetime.now(UTC)).date().isoformat(),
        "window": window,
        "commit": version.commit + ("+changes" if version.dirty else ""),
        "code": code_digest(),
        "seed": project.seed,
    }
    return arguments | {"command": again("run", project.file, arguments)}


def again(verb: str, file: Path | None, arguments: Mapping[str, Any]) -> str:
    """The command that gives a run these *arguments* once more, as one types it in the checkout.

    The inverse of what ``slipway run`` and ``slipway submit`` make of their options. PROJECT stands for a project that
    was read from no *file*.
    """
    path = Path("PROJECT") if file is None else file.resolve()
    given = {"project": path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}
    given |= {name: arguments[name] for name in ("source", "as_of", "window")}
    words = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in given.items() if value]
    return " ".join(["slipway", verb, *words])


def _reported(outcome: TrainingResult, project: Project, command: str) -> TrainingResult:
    """*outcome* with its report, or with a sentence about why there is none."""
    said: list[str] = []
    with spared("there is no report of this run", "its figures are in the logs", said.append):
        return replace(outcome, report=write_report(project, outcome.run, command))
    return replace(outcome, sentence="; ".join([outcome.sentence, *said]))


def write_report(project: Project, result: RunResult, command: str) -> Path:
    """The run's report beside its logs, with what happened after the verdict; MLflow has it as of the verdict."""
    made = {task.task.rsplit("/", 1)[-1]: task for task in result.tasks}
    paths = StageOutputs(**{output: Path(made[step].outputs[output]["uri"]) for step, output in REPORTED.items()})
    facts = gather(project.name, result.run_id, project.model_dump(mode="json"), paths, command)
    aftermath = [
        (name, made[name].message or "")
        for name in ("verify", "register", "release", "decline")
        if name in made and made[name].state != "SKIPPED"
    ]
    page = result.directory / "report.html"
    write_text(page, run_page(facts, aftermath))
    return page


def judge(result: RunResult) -> TrainingResult:
    """What a finished run means, from which of its last steps ran, what it returned and what it said."""
    if result.state != "SUCCEEDED":
        return TrainingResult(result, "failed", result.error or "the run failed", result.exit_code or 1)
    ran = {task.task.rpartition("/")[2]: task for task in result.tasks if task.state != "SKIPPED"}
    if "release" not in ran:
        said = (ran[name].message for name in ("decline", "gate") if name in ran)
        return TrainingResult(result, "refused", next(filter(None, said), "the candidate was refused"), 5)
    sentence = ran["release"].message or "released"
    if ran["release"].outputs.get("Output") == "waiting":
        return TrainingResult(result, "waiting", sentence, 20)
    return TrainingResult(result, "released", sentence, 0)


def next_run_id(runs: Path) -> str:
    """The number after the newest run, or that of the newest run itself when it never came to its end."""
    numbers = sorted(int(path.name) for path in runs.glob("*") if re.fullmatch(r"\d+", path.name))
    if numbers and not (runs / f"{numbers[-1]:02d}" / FINISHED).exists():
        return f"{numbers[-1]:02d}"
    return f"{(numbers[-1] if numbers else 0) + 1:02d}"


def lock_of(place: Place) -> Path:
    """Held by the run that is under way in *place*."""
    return place.root / "run.lock"


def _json(section: Any) -> str:
    """JSON in the order of the fields; the order of the contract's columns means something."""
    return str(section.model_dump_json())
