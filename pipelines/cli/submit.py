"""``slipway submit``: one training run on a cluster, shown as if it were here."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.console import Console, console_of
from pipelines.cli.options import json_option, moment_of, place_of, project_option
from serving.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.here.runner import RunResult, TaskEvent
    from pipelines.kubeflow.server import KfpServer
    from pipelines.kubeflow.submitting import Prepared
    from pipelines.project import Project


@click.command()
@project_option
@click.option("--as-of", metavar="DATE", help="Pretend that it is this day, e.g. 2026-01-31 (default today, UTC).")
@click.option("--source", metavar="URI", help="Read this table instead of the project's; a pod must reach it.")
@click.option("--window", metavar="LENGTH", default="", help="Only events of the last LENGTH, e.g. 180d.")
@click.option("--context", metavar="NAME", envvar="SLIPWAY_CONTEXT", help="The cluster, by its name in the kubeconfig.")
@click.option("--host", metavar="URL", envvar="SLIPWAY_KFP_HOST", help="Kubeflow Pipelines, when not by the cluster.")
@click.option("--image", metavar="REF", envvar="SLIPWAY_IMAGE", help="Run steps in this (default: what is deployed).")
@click.option("--no-wait", is_flag=True, help="Only start the run.")
@click.option("--no-cache", is_flag=True, help="Run every step, also those whose result is known.")
@click.option("--schedule/--no-schedule", default=None, help="Run by the project's schedule from now on, or no longer.")
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=float,
    default=7_200,
    show_default=True,
    help="Follow the run for this long; it goes on without us.",
)
@json_option
@click.pass_context
def submit(
    ctx: click.Context,
    project_path: Path,
    as_of: str | None,
    source: str | None,
    window: str,
    context: str | None,
    host: str | None,
    image: str | None,
    no_wait: bool,
    no_cache: bool,
    schedule: bool | None,
    timeout_s: float,
) -> int:
    """Run the committed training pipeline on Kubeflow Pipelines, and follow it to its end.

    Steps, summaries and exit codes are those of `slipway run`; places, secrets and the image are the cluster's.
    A run that is no longer followed (Ctrl-C) goes on.
    """
    from pipelines import project as projects
    from pipelines.here.training import train_arguments
    from pipelines.kubeflow import submitting
    from pipelines.kubeflow.follow import Follower
    from pipelines.kubeflow.server import connect
    from serving.cluster.client import open_cluster

    console = console_of(ctx)
    project, here = projects.load(project_path), place_of(ctx)
    if schedule is not None and (as_of or no_wait):
        raise UsageError("--schedule starts no run: leave out --as-of and --no-wait")
    day = moment_of("--as-of", as_of) if as_of else None
    if schedule is not False:
        submitting.check_source(source or project.source.uri)
    cluster = open_cluster(context)
    server = connect(host, cluster)
    if schedule is False:
        return _unschedule(console, server, project)
    there = submitting.place_there(cluster, here.actor)
    runs = submitting.Deployed(image) if image else submitting.deployed(cluster)
    prepared = submitting.prepare(server, project, runs.image, cache=not no_cache)
    _tell(console, prepared)
    if schedule:
        run_id, changed = submitting.schedule(
            server, prepared, project, there, source=source, window=window, code=runs.arguments()
        )
        sentence = f"{project.name} trains at '{project.retrain.schedule}' UTC" + ("" if changed else ", as before")
        console.line("schedule", sentence, id=run_id, changed=changed)
        return 0
    name = submitting.run_name(datetime.now(UTC))
    arguments = train_arguments(project, there, name, as_of=day, source=source, window=window) | runs.arguments()
    run_id = server.create_run(prepared.version, prepared.experiment, f"{project.name} {name}", arguments)
    console.line("run", f"{name} is {run_id} on the server", run_id=name, server_id=run_id)
    if no_wait:
        return 0
    progress = ClusterProgress(console.line)
    directory = here.root / "cluster" / name
    follower = Follower(server, cluster, run_id, name, prepared.tasks, directory, progress.show)
    return _conclude(console, follower.follow(timeout_s), server_id=run_id, graph=prepared.graph)


def _conclude(console: Console, result: "RunResult", **facts: str) -> int:
    """Say what came of the run; the exit code is its family's."""
    from pipelines.here.training import RunFailed, judge

    outcome = judge(result)
    if outcome.outcome == "failed":
        raise RunFailed(outcome.sentence, outcome.exit_code)
    logs = str(result.directory / "logs")
    told = {"outcome": outcome.outcome, "run_id": result.run_id, "logs": logs, **facts}
    console.line("result", outcome.sentence, seconds=result.seconds, **told)
    return outcome.exit_code


class ClusterProgress:
    """The same lines below the run's, and one more for a task whose pod cannot start."""

    def __init__(self, line: "Callable[..., None]") -> None:
        self.line = line

    def show(self, event: "TaskEvent") -> None:
        if event.state == "SKIPPED" or (event.state == "RUNNING" and not event.message):
            return
        text = event.message or ("the result is known" if event.state == "CACHED" else event.state.lower())
        self.line(f"  {event.task}", text, seconds=event.seconds, task=event.task, state=event.state)


def _tell(console: Console, prepared: "Prepared") -> None:
    console.line("image", prepared.image)
    version, graph = prepared.version, prepared.graph
    note = "uploaded" if version.uploaded else "known to the server"
    console.line("pipeline", f"{version.name}, {note}; graph {graph[:12]}", version=version.name, graph=graph)


def _unschedule(console: Console, server: "KfpServer", project: "Project") -> int:
    removed = server.unschedule(server.ensure_experiment(project.name), project.name)
    console.line("schedule", f"{project.name} has no schedule on the server" + (" any more" if removed else ""))
    return 0
