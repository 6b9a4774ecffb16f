"""``slipway run``: one training run on this machine."""

from collections.abc import Callable
from pathlib import Path

import click

from pipelines.cli.console import console_of
from pipelines.cli.options import json_option, moment_of, place_of, project_option


@click.command()
@project_option
@click.option("--as-of", metavar="DATE", help="Pretend that it is this day, e.g. 2026-01-31 (default today, UTC).")
@click.option("--source", metavar="URI", help="Read this table instead of the project's.")
@click.option("--window", metavar="LENGTH", default="", help="Only events of the last LENGTH, e.g. 180d.")
@click.option("--no-cache", is_flag=True, help="Run every step, also those whose result is known.")
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=float,
    default=3_600,
    show_default=True,
    help="End the run after this long; the same command takes it up again.",
)
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    project_path: Path,
    as_of: str | None,
    source: str | None,
    window: str,
    no_cache: bool,
    timeout_s: float,
) -> int:
    """Take the project's table to a judged, registered and released model.

    Finished steps come from the cache, so that the same command after an interruption goes on where it stopped.
    Ends with 0 when the version was released, 5 when a gate refused it, 20 when it waits for `slipway models approve`.
    """
    from pipelines import project as projects
    from pipelines import project_file
    from pipelines.here.training import train

    console, place = console_of(ctx), place_of(ctx)
    project = projects.load(project_path)
    project_file.remember(project_path, place.root)
    result = train(
        project,
        place,
        as_of=moment_of("--as-of", as_of) if as_of else None,
        source=source,
        window=window,
        cache=not no_cache,
        timeout_s=timeout_s,
        project_file=project_path,
        on_event=Progress(console.line).show,
    )
    console.line(
        "result",
        result.sentence,
        seconds=result.run.seconds,
        outcome=result.outcome,
        run_id=result.run.run_id,
        digest=result.run.outputs.get("digest"),
        report=str(result.report),
    )
    console.line("report", str(result.report))
    if result.outcome == "waiting":
        console.line("next", f"slipway models approve {project.name} VERSION --reason '...'")
    elif result.outcome == "released":
        console.line("next", "slipway serve, then slipway predict")
    return result.exit_code


class Progress:
    """Shows each task of a run as it ends."""

    def __init__(self, line: Callable[..., None]) -> None:
        self.line = line

    def show(self, event: object) -> None:
        from pipelines.here.runner import TaskEvent

        assert isinstance(event, TaskEvent)  # noqa: S101 - the runner sends nothing else
        if event.state in ("RUNNING", "SKIPPED"):
            return
        task = event.task.rsplit("/", 1)[-1]
        note = " (cached)" if event.state == "CACHED" else ""
        text = f"{event.message or event.state.lower()}{note}"
        self.line(f"run {event.run_id}  {task}", text, seconds=event.seconds, task=event.task, state=event.state)
