"""One turn of the loop on this machine: look, decide, and train at most once."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.data import sources
from components.data.meeting import Needed
from components.data.moments import naive
from components.data.rules import learnable
from components.judging import champions
from components.projects.project import Project
from components.steps.place import Place, local_path, s3_settings
from pipelines.here import training as training_run
from pipelines.here.runner import TaskEvent, model_of
from pipelines.here.training import TrainingResult, lock_of
from pipelines.loop.decide import LoopDecision, LoopState, decide
from pipelines.loop.watch import Watched, watch_model
from serving.durations import text
from serving.files import read_json, write_json
from serving.ledger.ledger import open_ledger
from serving.locks import is_held

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Turn:
    """What one turn saw, decided and did; ``watched`` is None while nothing serves, ``result`` without a run."""

    decision: LoopDecision
    watched: Watched | None
    result: TrainingResult | None


def turn(
    project: Project,
    place: Place,
    now: datetime,
    *,
    labels: str | None = None,
    source: str | None = None,
    answered: datetime | None = None,
    on_decision: Callable[[LoopDecision, Watched | None], None] = lambda _decision, _watched: None,
    on_event: Callable[[TaskEvent], None] = lambda _event: None,
) -> Turn:
    """Watch the version that serves and train when ``project.retrain`` says so, on the rows of *source* until *now*.

    The moment of the run is written down before it starts: one that crashes counts for the cooldown like any other.

    Args:
        answered: as of ``watch_model``.

    Raises:
        RunFailed: a step of the run failed.
        ConflictError: somebody else started a run in the same moment.
    """
    champion = champions.find(project.name, place)
    watched = None
    if champion is not None:
        watched = watch_model(project, place, now, labels=labels, champion=champion, answered=answered)
    state = read_state(project.name, place)
    fresh = watched.labelled.fresh(state.last_training_event) if watched else 0
    report = watched.report if watched else None
    decision = decide(project.retrain, report, state, fresh, _newest(project, place, source, now), now)
    on_decision(decision, watched)
    if not decision.run:
        return Turn(decision, watched, None)
    _remember(project.name, place, state.model_copy(update={"last_run": now}))
    window = "" if project.retrain.window is None else text(project.retrain.window)
    result = training_run.train(project, place, as_of=now, source=source, window=window, on_event=on_event)
    learned = _learned(task.outputs for task in result.run.tasks) or now
    _remember(project.name, place, LoopState(last_run=now, last_training_event=learned))
    return Turn(decision, watched, result)


def read_state(model: str, place: Place) -> LoopState:
    """What is known of earlier runs: the loop's own record, and the runs of this home, whoever started them."""
    path = _state_file(model, place)
    kept = LoopState.model_validate(read_json(path)) if path.exists() else LoopState()
    run, event = _last_by_hand(model, place.root)
    return LoopState(
        last_run=_later(kept.last_run, run),
        last_training_event=_later(kept.last_training_event, event),
        running=is_held(lock_of(place)) or _in_canary(model, place),
    )


def _remember(model: str, place: Place, state: LoopState) -> None:
    write_json(_state_file(model, place), state.model_copy(update={"running": False}).model_dump(mode="json"))


def _state_file(model: str, place: Place) -> Path:
    return place.root / "loop" / f"{model}.json"


def _last_by_hand(model: str, root: Path) -> tuple[datetime | None, datetime | None]:
    """When the newest run of *model* below *root* began, and the newest row of the last one that came so far."""
    began = None
    for directory, arguments in _runs(root, model):
        began = began or _began(directory, arguments["as_of"])
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            tasks = read_json(directory / "outputs.json")["tasks"]
            day = datetime.fromisoformat(arguments["as_of"]).replace(tzinfo=UTC)
            return began, _learned(tasks.values()) or day + DAY
    return began, None


def _began(directory: Path, as_of: str) -> datetime:
    """When the run in *directory* started; of one that plays another day, that day's first moment."""
    day, started = datetime.fromisoformat(as_of).replace(tzinfo=UTC), (directory / "spec.json").stat().st_mtime
    moment = datetime.fromtimestamp(started, UTC)
    return moment if moment.date() == day.date() else day


def _runs(root: Path, model: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Runs of *model* with their arguments, the newest first."""
    numbered = (path for path in (root / "runs").glob("*") if re.fullmatch(r"\d+", path.name))
    for directory in sorted(numbered, key=lambda path: -int(path.name)):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            spec = read_json(directory / "spec.json")
            if model_of(spec) == model:
                yield directory, spec["arguments"]


def _learned(outputs: Iterable[Mapping[str, Any]]) -> datetime | None:
    """The newest row that validation accepted, given the outputs of a run's steps; None for rows without a time."""
    for output in outputs:
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            found = output["quarantine"]
            folder = local_path(found.get("artifact", found)["uri"], "quarantine")  # as stored, and as a result has it
            newest = read_json(folder / "report.json")["freshness"]["newest"]
            return datetime.fromisoformat(newest).replace(tzinfo=UTC)
    return None


def _newest(project: Project, place: Place, source: str | None, now: datetime) -> datetime | None:
    """The newest event until *now* that can be learned from; only looked for when new data is a reason to train."""
    if "data" not in project.retrain.on or project.contract.event_time is None:
        return None
    newest: datetime | None = None
    with sources.opened(source or project.source.uri, s3_settings(place), Needed.of(project.contract)) as table:
        for rows in table.chunks():
            found = learnable(rows, project.contract, naive(now)).max()
            newest = max((moment for moment in (newest, found) if moment is not None), default=None)
    return None if newest is None else newest.replace(tzinfo=UTC)


def _in_canary(model: str, place: Place) -> bool:
    return open_ledger(place.ledger).slot(model, "canary").version is not None


def _later(first: datetime | None, second: datetime | None) -> datetime | None:
    known = [moment for moment in (first, second) if moment is not None]
    return max(known, default=None)
