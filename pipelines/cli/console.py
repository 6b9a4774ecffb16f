"""What every verb shares: options, and lines that appear as things happen."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from components.core.place import Place
from pipelines import settings

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


def place_of(ctx: click.Context) -> Place:
    return settings.load(home=ctx.find_root().obj["home"])


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
