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
    from components.data.rules import fields
    from components.watching.labels import needed, told
    from serving.local.extras import append_labels

    project = session.project
    target = project.contract.target.name
    meaning = fields(project.contract)[target]
    found = told(session.read_table(uri, needed(target, meaning)), target, uri, meaning)
    directory = session.directory
    directory.mkdir(parents=True, exist_ok=True)
    append_labels(directory, found.values)
    odd = f"; {found.unusable:,} rows such as {found.example!r} have none that is one" if found.unusable else ""
    facts = {"labels": len(found.values), "unusable": found.unusable}
    session.result(facts, f"{len(found.values):,} labels for {project.name}{odd}")
