"""What every verb shares: options, and lines that appear as things happen."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from components.steps.place import Place
from pipelines import settings

if TYPE_CHECKING:
    from serving.service.service import Service

DEFAULT_PROJECT = "pipelines/housing/project.yaml"

project_option = click.option(
    "--project",
    "project_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="SLIPWAY_PROJECT",
    default=Path(DEFAULT_PROJECT),
    show_default=True,
    help="The project to work on.",
)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--json`` after the verb means the same as before it."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().obj["json"] = True

    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print JSON instead of lines for people."
    )
    return option(function)


def service_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Whose traffic: the project's model, or ``--model`` where the project's file is not; see ``model_of``."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        ctx.find_root().obj["model"] = value

    option = click.option("--model", expose_value=False, callback=remember, help="The model, without a project's file.")
    return project_option(option(function))


def model_of(ctx: click.Context, project_path: Path) -> str:
    """The model that ``service_option`` names."""
    from pipelines import project as projects

    return ctx.find_root().obj.get("model") or projects.load(project_path).name


def place_of(ctx: click.Context) -> Place:
    return settings.load(home=ctx.find_root().obj["home"])


def service_of(ctx: click.Context, model: str) -> "Service":
    """The service of *model* at the place that the settings name."""
    from serving.places import open_service

    place = place_of(ctx)
    return open_service(place.serving, model, place.ledger)


@dataclass
class Console:
    """Prints one line per happening: for people in columns, or as JSON objects for programs."""

    as_json: bool = False
    started: float = field(default_factory=time.monotonic)

    def line(self, subject: str, text: str, *, seconds: float | None = None, **facts: Any) -> None:
        if self.as_json:
            event = {"subject": subject, "text": text, **({} if seconds is None else {"seconds": seconds}), **facts}
            click.echo(json.dumps(event, default=str))
            return
        took = "" if seconds is None else f"{seconds:.1f} s"
        for number, part in enumerate(_wrapped(text, 84)):
            last = took if number == 0 else ""
            click.echo(f"{subject if number == 0 else '':<18} {part:<84} {last:>8}".rstrip())

    def result(self, value: dict[str, Any], text: str) -> None:
        """The answer of a verb: *value* for programs, *text* for people."""
        click.echo(json.dumps(value, default=str, indent=2) if self.as_json else text)


def console_of(ctx: click.Context) -> Console:
    return Console(as_json=bool(ctx.find_root().obj["json"]))


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]
