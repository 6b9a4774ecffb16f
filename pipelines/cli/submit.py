"""``slipway submit``: one training run on a cluster, shown as if it were here."""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer, project_option, timeout_option, training_options
from pipelines.cli.session import Session
from serving.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.here.runner import RunResult, TaskEvent
    from pipelines.kubeflow.server import KfpServer
    from pipelines.kubeflow.submitting import Prepared


@click.command()
@project_option
@training_options
@click.option("--source", metavar="URI", help="Read this table instead of the project's; a pod must reach it.")
@click.option("--context", metavar="NAME", envvar="SLIPWAY_CONTEXT", help="The cluster, by its name in the kubeconfig.")
@click.option("--host", metavar="URL", envvar="SLIPWAY_KFP_HOST", help="Kubeflow Pipelines, when not by the cluster.")
@click.option("--image", metavar="REF", envvar="SLIPWAY_IMAGE", help="Run steps in this (default: what is deployed).")
@click.option("--no-wait", is_flag=True, help="Only start the run.")
@click.option("--schedule/--no-schedule", default=None, help="Run by the project's schedule from now on, or no longer.")
@timeout_option(7_200, "Follow the run for this long; it goes on without us.")
@answer
def submit(
    session: Session,
    as_of: datetime | None,
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
    from components.steps.place import s3_settings
    from pipelines.here.training import again, train_arguments
    from pipelines.kubeflow import submitting
    from pipelines.kubeflow.follow import Follower
    from pipelines.kubeflow.server import connect
    from serving.cluster.client import open_cluster

    project = session.project
    if schedule is not None and (as_of or no_wait):
        raise UsageError("--schedule starts no run: leave out --as-of and --no-wait")
    if schedule is not False:
        submitting.check_source(source or project.source.uri)
    cluster = open_cluster(context)
    server = connect(host, cluster)
    if schedule is False:
        return _unschedule(session, server)
    there = submitting.place_there(cluster, session.place.actor)
    runs = submitting.Deployed(image) if image else submitting.deployed(cluster)
    prepared = submitting.prepare(server, project, runs.image, cache=not no_cache)
    _tell(session, prepared)
    if schedule:
        code, s3 = runs.arguments(), s3_settings(session.place)
        found = submitting.schedule(server, prepared, project, there, source=source, window=window, code=code, s3=s3)
        return _scheduled(session, *found)
    name = submitting.run_name(datetime.now(UTC))
    arguments = train_arguments(project, there, name, as_of=as_of, source=source, window=window) | runs.arguments()
    arguments["command"] = again("submit", project.file, arguments)
    arguments["contract"] = submitting.contract_there(arguments["contract"], there, s3_settings(session.place))
    run_id = server.create_run(prepared.version, prepared.experiment, f"{project.name} {name}", arguments)
    session.line("run", f"{name} is {run_id} on the server", run_id=name, server_id=run_id)
    if no_wait:
        return 0
    directory = session.place.root / "cluster" / name
    follower = Follower(server, cluster, run_id, name, prepared.tasks, directory, partial(_show, session.line))
    return _conclude(session, follower.follow(timeout_s), server_id=run_id, graph=prepared.graph)


def _conclude(session: Session, result: "RunResult", **facts: str) -> int:
    """Say what came of the run; the exit code is its family's."""
    from pipelines.here.training import RunFailed, judge

    outcome = judge(result)
    if outcome.outcome == "failed":
        raise RunFailed(outcome.sentence, outcome.exit_code)
    logs = str(result.directory / "logs")
    told = {"outcome": outcome.outcome, "run_id": result.run_id, "logs": logs, **facts}
    session.line("result", outcome.sentence, seconds=result.seconds, **told)
    return outcome.exit_code


def _show(line: "Callable[..., None]", event: "TaskEvent") -> None:
    """The lines of a run here below those of the submission, and one more for a task whose pod cannot start."""
    if event.state == "SKIPPED" or (event.state == "RUNNING" and not event.message):
        return
    text = event.message or ("the result is known" if event.state == "CACHED" else event.state.lower())
    line(f"  {event.task}", text, seconds=event.seconds, task=event.task, state=event.state)


def _tell(session: Session, prepared: "Prepared") -> None:
    session.line("image", prepared.image)
    version, graph = prepared.version, prepared.graph
    note = "uploaded" if version.uploaded else "known to the server"
    session.line("pipeline", f"{version.name}, {note}; graph {graph[:12]}", version=version.name, graph=graph)


def _scheduled(session: Session, schedule_id: str, changed: bool) -> int:
    project = session.project
    sentence = f"{project.name} trains at '{project.retrain.schedule}' UTC" + ("" if changed else ", as before")
    session.line("schedule", sentence, id=schedule_id, changed=changed)
    return 0


def _unschedule(session: Session, server: "KfpServer") -> int:
    project = session.project
    removed = server.unschedule(server.ensure_experiment(project.name), project.name)
    session.line("schedule", f"{project.name} has no schedule on the server" + (" any more" if removed else ""))
    return 0
