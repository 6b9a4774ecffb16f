"""``slipway rollout labels``: late truths for the rollout that decides."""

import click

from pipelines.cli.options import answer, project_option
from pipelines.cli.session import Session


@click.command()
@click.argument("uri")
@project_option
@answer
def labels(session: Session, uri: str) -> None:
    """Tell the rollout the truths in the table at URI: columns request_id and the target's name."""
    from components.watching.labels import told
    from serving.local.extras import append_labels

    project = session.project
    target, kind = project.contract.target, str if project.contract.target.classes else float
    truths = {name: kind(truth) for name, truth in told(session.read_table(uri), target.name, uri).items()}
    directory = session.directory
    directory.mkdir(parents=True, exist_ok=True)
    append_labels(directory, truths)
    session.result({"labels": len(truths)}, f"{len(truths):,} labels for {project.name}")
