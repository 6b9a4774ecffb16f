"""What many verbs can be told."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipelines.cli.session import Session
from serving.errors import UsageError


def _note(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that leaves the value of an option in the session."""

    def note(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.find_object(Session), attribute, value)

    return note


project_option_of = partial(
    click.option,
    "--project",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="SLIPWAY_PROJECT",
    expose_value=False,
    callback=_note("named"),
)
project_option = project_option_of(
    help="The project to work on; by default ./project.yaml, or else that of the last run in this home."
)
_named_model = click.option(
    "--model", expose_value=False, callback=_note("named_model"), help="The model, without a project's file."
)
_json = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_note("as_json"),
    help="Print JSON instead of lines for people.",
)


def model_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Whose traffic: that of ``--model``, or else of the project's model."""
    return project_option(_named_model(function))


def answer(function: Callable[..., Any]) -> Callable[..., Any]:
    """A verb that is given the session, and whose lines ``--json`` turns into JSON, behind the verb as before it."""
    return _json(click.pass_obj(function))


class _Moment(click.ParamType[datetime]):
    """A moment such as 2026-01-31 or 2026-11-24T10:00, UTC unless it says otherwise."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ARG002 - click's signature
        try:
            stated = datetime.fromisoformat(value)
        except ValueError as error:
            named = param.human_readable_name if isinstance(param, click.Argument) else param.opts[0] if param else ""
            raise UsageError(
                f"{named}: expected a moment such as 2026-01-31 or 2026-11-24T10:00, got {value!r}"
            ) from error
        return stated if stated.tzinfo else stated.replace(tzinfo=UTC)


MOMENT = _Moment()


namespace_option = click.option(
    "--namespace",
    metavar="NAME",
    envvar="SLIPWAY_NAMESPACE",
    default="kubeflow",
    show_default=True,
    help="Where Pipelines runs steps: which installation is meant, of several teams'.",
)


def timeout_option(seconds: int, meaning: str) -> Callable[..., Any]:
    """For how long a run is waited for, as the argument ``timeout_s``."""
    return click.option(
        "--timeout", "timeout_s", metavar="SECONDS", type=float, default=seconds, show_default=True, help=meaning
    )


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a training run can be asked for, wherever it runs: as_of, window and no_cache."""
    as_of = "Pretend that it is this day, e.g. 2026-01-31 (default today, UTC)."
    for option in (
        click.option("--no-cache", is_flag=True, help="Run every step, also those whose result is known."),
        click.option("--window", metavar="LENGTH", default="", help="Only events of the last LENGTH, e.g. 180d."),
        click.option("--as-of", type=MOMENT, metavar="DATE", help=as_of),
    ):
        function = option(function)
    return function
