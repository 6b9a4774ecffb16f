"""``slipway submit``: one run of a pipeline on a cluster, shown as if it were here."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from pipelines.cli.options import answer, model_option, namespace_option, timeout_option, training_options
from pipelines.cli.session import Session
from serving.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from components.steps.place import Place
    from pipelines.here.runner import RunResult, TaskEvent
    from pipelines.kubeflow.server import KfpServer
    from pipelines.kubeflow.submitting import Deployed, Prepared

# Of each pipeline, the options that the other has no use for among them.
OPTIONS = {
    "train": {"as_of", "window", "source", "schedule"},
    "score": {"source", "output", "version", "keep", "explain", "top"},
}


@click.command()
@click.argument("pipeline", type=click.Choice(["train", "score"]), default="train")
@model_option
@training_options
@click.option("--source", metavar="URI", help="Read this table instead of the project's; a pod must reach it.")
@click.option("--output", metavar="URI", help="score: write predictions here, e.g. s3://bucket/predictions.")
@click.option("--version", type=click.IntRange(1), help="score: with this version instead of the one that serves.")
@click.option("--keep", metavar="COLUMNS", help="score: input columns to keep, with commas between.")
@click.option("--explain", is_flag=True, default=None, help="score: contributions of columns beside the predictions.")
@click.option("--top", type=click.IntRange(1), metavar="K", help="score: the K most probable classes too.")
@click.option("--context", metavar="NAME", envvar="SLIPWAY_CONTEXT", help="The cluster, by its name in the kubeconfig.")
@click.option("--host", metavar="URL", envvar="SLIPWAY_KFP_HOST", help="Kubeflow Pipelines, when not by the cluster.")
@namespace_option
@click.option("--image", metavar="REF", envvar="SLIPWAY_IMAGE", help="Run steps in this (default: what is deployed).")
@click.option("--no-wait", is_flag=True, help="Only start the run.")
@click.option("--schedule/--no-schedule", default=None, help="Run by the project's schedule from now on, or no longer.")
@timeout_option(7_200, "Follow the run for this long; it goes on without us.")
@answer
def submit(
    session: Session,
    pipeline: str,
    context: str | None,
    host: str | None,
    namespace: str,
    image: str | None,
    no_wait: bool,
    no_cache: bool,
    schedule: bool | None,
    timeout_s: float,
    **asked: Any,
) -> int:
    """Run a committed pipeline on Kubeflow Pipelines, PIPELINE being train or score, and follow it to its end.

    Steps, summaries and exit codes are those of `slipway run` and `slipway score`; places, secrets and the image are
    the cluster's. A run that is no longer followed (Ctrl-C) goes on.
    """
    from pipelines.deploying.installed import installed
    from pipelines.kubeflow import submitting
    from pipelines.kubeflow.follow import Follower
    from pipelines.kubeflow.server import connect
    from serving.cluster.client import open_cluster

    _check(session, pipeline, asked, schedule, no_wait)
    cluster = open_cluster(context)
    server = connect(host, cluster, namespace)
    if schedule is False:
        return _unschedule(session, server)
    at = installed(cluster, namespace)
    there = submitting.place_there(at, session.place.actor)
    runs = submitting.in_image(image) if image else submitting.deployed(cluster, at)
    prepared = submitting.prepare(server, pipeline, session.model, runs.image, cache=not no_cache)
    _tell(session, prepared)
    if schedule:
        return _schedule(session, server, prepared, there, runs, asked)
    name = submitting.run_name(datetime.now(UTC))
    arguments = _arguments(session, pipeline, there, runs, name, asked)
    run_id = server.create_run(prepared.version, prepared.experiment, f"{session.model} {name}", arguments)
    session.line("run", f"{name} is {run_id} on the server", run_id=name, server_id=run_id)
    if no_wait:
        return 0
    directory = session.place.root / "cluster" / name
    follower = Follower(server, cluster, at.runs, run_id, name, prepared.tasks, directory, partial(_show, session.line))
    return _conclude(session, pipeline, follower.follow(timeout_s), server_id=run_id, graph=prepared.graph)


def _check(session: Session, pipeline: str, asked: Mapping[str, Any], schedule: bool | None, no_wait: bool) -> None:
    """Refuse what the pipeline has no use for, and what a pod cannot read or write."""
    from pipelines.kubeflow.submitting import check_reach

    given = {name for name, value in {**asked, "schedule": schedule}.items() if value not in (None, "")}
    if foreign := sorted(given - OPTIONS[pipeline]):
        other = "score" if pipeline == "train" else "train"
        raise UsageError(f"--{foreign[0].replace('_', '-')} is an option of `slipway submit {other}`")
    if pipeline == "score" and not {"source", "output"} <= given:
        raise UsageError("submit score: expected --source and --output, the rows and where their predictions go")
    if schedule is not None and (asked["as_of"] or no_wait):
        raise UsageError("--schedule starts no run: leave out --as-of and --no-wait")
    if schedule is not False:
        check_reach(asked["source"] or session.project.source.uri, "--source")
    if asked["output"]:
        check_reach(asked["output"], "--output")


def _arguments(
    session: Session, pipeline: str, there: "Place", runs: "Deployed", name: str, asked: Mapping[str, Any]
) -> dict[str, Any]:
    from components.steps.place import s3_settings
    from pipelines.here.training import train_arguments
    from pipelines.kubeflow import submitting

    if pipeline == "score":
        given = {option: asked[option] for option in OPTIONS["score"] if asked[option]}
        return {"name": session.model, "place": there.model_dump_json(), **given}
    options = {option: asked[option] for option in ("as_of", "source", "window")}
    arguments = train_arguments(session.project, there, **options)
    notes = runs.notes(session.project, name)
    return submitting.carried_there(arguments, there, s3_settings(session.place)) | {"notes": notes}


def _conclude(session: Session, pipeline: str, result: "RunResult", **facts: str) -> int:
    """Say what came of the run; the exit code is its family's."""
    from pipelines.here.training import RunFailed, TrainingResult, judge

    outcome = judge(result)
    if pipeline == "score" and outcome.outcome != "failed":
        outcome = TrainingResult(result, "scored", result.task("collect-scores").message or "scored", 0)
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


def _schedule(
    session: Session,
    server: "KfpServer",
    prepared: "Prepared",
    there: "Place",
    runs: "Deployed",
    asked: Mapping[str, Any],
) -> int:
    from components.steps.place import s3_settings
    from pipelines.kubeflow.submitting import schedule

    project, s3 = session.project, s3_settings(session.place)
    options = {option: asked[option] for option in ("source", "window")}
    schedule_id, changed = schedule(server, prepared, project, there, runs=runs, s3=s3, **options)
    sentence = f"{project.name} trains at '{project.retrain.schedule}' UTC" + ("" if changed else ", as before")
    session.line("schedule", sentence, id=schedule_id, changed=changed)
    return 0


def _unschedule(session: Session, server: "KfpServer") -> int:
    project = session.project
    removed = server.unschedule(server.ensure_experiment(project.name), project.name)
    session.line("schedule", f"{project.name} has no schedule on the server" + (" any more" if removed else ""))
    return 0
