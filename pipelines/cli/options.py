"""What verbs are told and where they work: options that many share, and the place, service or table that they name."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serving.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from components.steps.place import Place
    from serving.ledger.ledger import Ledger
    from serving.service.service import Service


def place_of(ctx: click.Context) -> "Place":
    from pipelines import settings

    return settings.load(home=ctx.find_root().obj["home"])


def chosen_project(ctx: click.Context, named: Path | None) -> Path:
    """The file of the project that is *named*, or else meant."""
    from pipelines import project_file

    return project_file.find(named, place_of(ctx).root)


_project = functools.partial(
    click.option,
    "--project",
    "project_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="SLIPWAY_PROJECT",
    help="The project to work on; by default ./project.yaml, or else that of the last run in this home.",
)
named_project_option = _project()
project_option = _project(callback=lambda ctx, _parameter, named: chosen_project(ctx, named))


def model_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Whose traffic, as the argument ``model``: that of ``--model``, or else the project's name."""

    @named_project_option
    @click.option("--model", "named", help="The model, without a project's file.")
    @functools.wraps(function)
    def told(*arguments: Any, project_path: Path | None, named: str | None, **others: Any) -> Any:
        return function(*arguments, model=named or _model_in(project_path), **others)

    return told


def _model_in(project_path: Path | None) -> str:
    from pipelines import project_file

    return project_file.name(chosen_project(click.get_current_context(), project_path))


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--json`` after the verb means the same as before it."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().obj["json"] = True

    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print JSON instead of lines for people."
    )
    return option(function)


def service_of(ctx: click.Context, model: str) -> "Service":
    """The service of *model* at the place that the settings name."""
    from serving.places import open_service

    place = place_of(ctx)
    return open_service(place.serving, model, place.ledger)


def ledger_of(ctx: click.Context) -> "Ledger":
    from pipelines import settings
    from serving.ledger.ledger import open_ledger

    return open_ledger(settings.values(ctx.find_root().obj["home"])["ledger"])


def read_table(ctx: click.Context, uri: str) -> "pl.DataFrame":
    """The table at *uri*, ``s3://`` by the secrets of the place."""
    from components.data import sources
    from components.steps.place import s3_settings

    return sources.read(uri, s3_settings(place_of(ctx)))


def moment_of(option: str, text: str) -> datetime:
    """The moment that *text* names, UTC unless it says otherwise."""
    try:
        stated = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option}: expected a moment such as 2026-01-31 or 2026-11-24T10:00, got {text!r}") from error
    return stated if stated.tzinfo else stated.replace(tzinfo=UTC)
