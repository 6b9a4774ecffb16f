"""``slipway rollout labels``: late truths for the rollout that decides."""

from pathlib import Path

import click

from pipelines.cli.console import console_of
from pipelines.cli.options import json_option, place_of, project_option, read_table


@click.command()
@click.argument("uri")
@project_option
@json_option
@click.pass_context
def labels(ctx: click.Context, uri: str, project_path: Path) -> None:
    """Tell the rollout the truths in the table at URI: columns request_id and the target's name."""
    from components.watching.labels import told
    from pipelines import project as projects
    from serving.local.extras import append_labels
    from serving.local.paths import service_directory

    project = projects.load(project_path)
    target, kind = project.contract.target, str if project.contract.target.classes else float
    truths = {name: kind(truth) for name, truth in told(read_table(ctx, uri), target.name, uri).items()}
    directory = service_directory(place_of(ctx).serving, project.name)
    directory.mkdir(parents=True, exist_ok=True)
    append_labels(directory, truths)
    console_of(ctx).result({"labels": len(truths)}, f"{len(truths):,} labels for {project.name}")
