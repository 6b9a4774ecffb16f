"""``slipway loop``: watch, and train again when there is a reason."""

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.console import Console, console_of
from pipelines.cli.options import json_option, moment_of, place_of, project_option
from pipelines.cli.run import Progress
from pipelines.cli.watch import labels_option, tell
from serving.errors import SlipwayError, UsageError

if TYPE_CHECKING:
    from components.steps.place import Place
    from pipelines.project import Project


@click.command()
@project_option
@labels_option
@click.option("--source", metavar="URI", help="Train on this table instead of the project's.")
@click.option("--once", is_flag=True, help="One look, at most one run; the default.")
@click.option("--every", metavar="LENGTH", help="Look again after LENGTH, e.g. 1h, until interrupted.")
@click.option("--as-of", metavar="TIME", help="With --once: pretend that it is this moment (default now, UTC).")
@json_option
@click.pass_context
def loop(
    ctx: click.Context,
    project_path: Path,
    labels: str | None,
    source: str | None,
    once: bool,
    every: str | None,
    as_of: str | None,
) -> int:
    """Turn an alarm, a schedule or new data into one training run, or say why not.

    The project's `retrain` section decides: which reasons count, the least time between two runs, and how many fresh
    labels a run needs. A run ends as `slipway run` does: 0 released, 5 refused by a gate, 20 waiting for approval.
    """
    from pipelines import project as projects
    from pipelines import project_file

    if every and (once or as_of):
        raise UsageError("--every goes with neither --once nor --as-of; leave it out for a single look")
    pause = _length(every) if every else None
    console = console_of(ctx)
    project, place = projects.load(project_path), place_of(ctx)
    project_file.remember(project_path, place.root)
    look = partial(_turn, console, project, project_path, place)
    if pause is None:
        return look(moment_of("--as-of", as_of) if as_of else datetime.now(UTC), labels, source)
    while True:
        try:
            look(datetime.now(UTC), labels, source)
        except SlipwayError as error:  # the next look may find things mended
            console.line("failed", str(error), exit_code=error.exit_code)
        time.sleep(pause.total_seconds())


def _turn(
    console: Console,
    project: "Project",
    project_path: Path,
    place: "Place",
    now: datetime,
    labels: str | None,
    source: str | None,
) -> int:
    from pipelines.loop.decide import LoopDecision
    from pipelines.loop.turn import turn
    from pipelines.loop.watch import Watched

    def decided(decision: LoopDecision, watched: Watched | None) -> None:
        if watched is not None:
            tell(console, watched)
        verb = "retrain" if decision.run else "no run"
        console.line("loop", f"{verb}, {decision.why}", run=decision.run, trigger=decision.trigger)

    progress = Progress(console.line).show
    done = turn(
        project,
        place,
        now,
        labels=labels,
        source=source,
        on_decision=decided,
        on_event=progress,
        project_file=project_path,
    )
    if done.result is None:
        return 0
    result = done.result
    console.line(
        "result", result.sentence, seconds=result.run.seconds, outcome=result.outcome, run_id=result.run.run_id
    )
    return result.exit_code


def _length(text: str) -> timedelta:
    from serving.durations import parse

    try:
        length = parse(text)
    except ValueError as error:
        raise UsageError(f"--every: {error}, got {text!r}") from error
    if length < timedelta(seconds=1):
        raise UsageError(f"--every: expected at least 1s, got {text!r}")
    return length
