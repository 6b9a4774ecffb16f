"""``slipway rollout page`` and ``slipway rollout labels``: what a rollout shows, and late truths that it is told."""

import time
from pathlib import Path

import click

from pipelines.cli.console import (
    console_of,
    json_option,
    model_of,
    place_of,
    project_option,
    service_of,
    service_option,
)
from serving.errors import ConflictError


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="The file; by default the service's own page.")
@service_option
@json_option
@click.pass_context
def page(ctx: click.Context, output: Path | None, project_path: Path) -> None:
    """Write the newest rollout as one HTML page: decision, split, evidence against its bars, timeline."""
    from pipelines.housing.tour.following import look
    from serving.files import write_text
    from serving.rollout.telling.page import rollout_page

    service = service_of(ctx, model_of(ctx, project_path))
    with service.desk() as desk:
        stored = desk.load()
        if stored is None:
            raise ConflictError("no rollout has been started for this service; slipway rollout start VERSION")
        records = desk.records(stored.state.id)
    seen = look(stored.state, service)
    path = (output or service.page or place_of(ctx).root / "rollout" / f"{service.model}.html").absolute()
    write_text(path, rollout_page(stored.state, seen, records, time.time()))
    console_of(ctx).result({"page": str(path), "rollout": stored.state.id}, path.as_uri())


@click.command()
@click.argument("uri")
@project_option
@json_option
@click.pass_context
def labels(ctx: click.Context, uri: str, project_path: Path) -> None:
    """Tell the rollout the truths in the table at URI: columns request_id and the target's name."""
    from components.data import sources
    from components.steps.place import s3_settings
    from pipelines import project as projects
    from serving.errors import DataError
    from serving.local.extras import append_labels
    from serving.local.paths import service_directory

    project, place = projects.load(project_path), place_of(ctx)
    table, target = sources.read(uri, s3_settings(place)), project.contract.target.name
    absent = [name for name in ("request_id", target) if name not in table.columns]
    if absent:
        raise DataError(
            f"labels: expected the columns request_id and {target}, no {' and no '.join(absent)} in {uri}; "
            "export the truth together with the id each answer carried"
        )
    known = table.select("request_id", target).drop_nulls()
    classes = bool(project.contract.target.classes)
    truths = {str(name): str(value) if classes else float(value) for name, value in known.iter_rows()}
    directory = service_directory(place.serving, project.name)
    directory.mkdir(parents=True, exist_ok=True)
    append_labels(directory, truths)
    console_of(ctx).result({"labels": len(truths)}, f"{len(truths):,} labels for {project.name}")
