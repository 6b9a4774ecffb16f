"""``slipway run``: one training run on this machine."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer, project_option, timeout_option, training_options
from pipelines.cli.session import Session

if TYPE_CHECKING:
    from pipelines.here.runner import TaskEvent
    from pipelines.here.training import TrainingResult


@click.command()
@project_option
@training_options
@click.option("--source", metavar="URI", help="Read this table instead of the project's.")
@timeout_option(3_600, "End the run after this long; the same command takes it up again.")
@answer
def run(
    session: Session, as_of: datetime | None, source: str | None, window: str, no_cache: bool, timeout_s: float
) -> int:
    """Take the project's table to a judged, registered and released model.

    Finished steps come from the cache, so that the same command after an interruption goes on where it stopped.
    Ends with 0 when the version was released, 5 when a gate refused it, 20 when it waits for `slipway models approve`.
    """
    from pipelines.here.training import train

    result = train(
        session.project,
        session.place,
        as_of=as_of,
        source=source,
        window=window,
        cache=not no_cache,
        timeout_s=timeout_s,
        on_event=partial(show, session.line),
    )
    conclude(session, result)
    session.line("report", str(result.report))
    if result.outcome == "waiting":
        session.line("next", f"slipway models approve {session.project.name} VERSION --reason '...'")
    elif result.outcome == "released":
        session.line("next", "slipway serve, then slipway predict")
    return result.exit_code


def conclude(session: Session, result: "TrainingResult") -> None:
    """Say what came of a run."""
    session.changes = True
    run = result.run
    facts = {"outcome": result.outcome, "run_id": run.run_id, "digest": run.outputs.get("digest")}
    session.line("result", result.sentence, seconds=run.seconds, **facts, report=str(result.report))


def show(line: Callable[..., None], event: "TaskEvent") -> None:
    """Say by *line* that a task of a run has ended."""
    if event.state in ("RUNNING", "SKIPPED"):
        return
    task = event.task.rsplit("/", 1)[-1]
    note = " (cached)" if event.state == "CACHED" else ""
    text = f"{event.message or event.state.lower()}{note}"
    line(f"run {event.run_id}  {task}", text, seconds=event.seconds, task=event.task, state=event.state)
