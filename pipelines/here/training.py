"""One training run on this machine: from a project to what came of it."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from components.pages.run_page import run_page
from components.projects import project_file
from components.projects.project import Project, anchored
from components.projects.stages import RunNotes, again
from components.recording.run_records import StageOutputs, gather
from components.steps import carried
from components.steps.code_digest import code_digest
from components.steps.failing import spared
from components.steps.place import Place
from components.steps.provenance import code_version
from pipelines.checkout import PIPELINES, ROOT
from pipelines.here import runner
from pipelines.here.runner import RunResult, TaskEvent
from serving.errors import SlipwayError
from serving.files import write_json, write_text
from serving.locks import only_holder

PACKAGE = PIPELINES / "train.yaml"
TIMEOUT_S = 3_600.0
FINISHED = "result.json"
# step -> what the report is made of
REPORTED = {"ingest": "snapshot", "validate": "quarantine", "tune": "trials", "train": "bundle"}
REPORTED |= {"evaluate": "evaluation", "gate": "decision"}

Outcome = Literal["released", "waiting", "refused", "scored", "failed"]


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
        asked = train_arguments(project, place, as_of=as_of, source=source, window=window)
        command = command_of("run", project.file)
        notes = RunNotes(code=code_digest(), commit=commit_here(), command=command)
        address = carried.put(asked["project"], str(place.root))
        arguments = {**asked, "project": address, "notes": notes.model_dump_json()}
        result = runner.run(
            PACKAGE,
            arguments,
            place.root,
            run_id=run_id,
            timeout_s=timeout_s,
            on_event=on_event,
            cache=cache,
            model=project.name,
        )
        outcome = judge(result)
        if outcome.outcome != "failed":
            outcome = _reported(outcome, project, again(command, asked))
        write_json(result.directory / FINISHED, {"outcome": outcome.outcome, "sentence": outcome.sentence})
    if outcome.outcome == "failed":
        raise RunFailed(outcome.sentence, outcome.exit_code)
    return outcome


def train_arguments(
    project: Project, place: Place, *, as_of: datetime | None = None, source: str | None = None, window: str = ""
) -> dict[str, str]:
    """The pipeline's parameters but for the notes; the first step makes of them what the others take."""
    return {
        "project": project.model_dump_json(exclude_unset=True),
        "place": place.model_dump_json(),
        "source": anchored(source, Path.cwd()) if source else project.source.uri,
        "as_of": (as_of or datetime.now(UTC)).date().isoformat(),
        "window": window,
    }


def commit_here() -> str:
    """The commit of this checkout, with what says that files differ from it."""
    version = code_version(ROOT)
    return version.commit + ("+changes" if version.dirty else "")


def command_of(verb: str, file: Path | None) -> str:
    """The command for a project, in the checkout; PROJECT stands for one that was read from no *file*."""
    path = Path("PROJECT") if file is None else file.resolve()
    return f"slipway {verb} --project {shlex.quote(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))}"


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
        for name in ("refit", "verify", "register", "release", "decline")
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
