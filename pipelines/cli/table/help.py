"""``slipway help``: what the keys of a project mean."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer
from pipelines.cli.session import Session
from serving.errors import UsageError

if TYPE_CHECKING:
    from components.projects.keys import ProjectKey

WIDTH = 100


@click.group()
def help() -> None:
    """What may stand in a file: meaning, default and example of each key."""


@help.command()
@click.argument("key", metavar="[KEY]", required=False)
@click.option("--page", is_flag=True, help="As the page docs/project.md.")
@answer
def project(session: Session, key: str | None, page: bool) -> None:
    """The keys of a project file; of those only KEY, such as `split` or `gates[].margin`, and what is below it."""
    from components.projects.keys import keys, page_of
    from components.projects.project import Project

    found = [one for one in keys(Project) if one.under(key or "")]
    if not found:
        raise UsageError(f"no key {key!r} in a project; `slipway help project` lists them all")
    if page:
        click.echo(page_of(found), nl=False)
        return
    session.result({"keys": [vars(one) for one in found]}, "\n".join(line for one in found for line in _lines(one)))


def _lines(key: "ProjectKey") -> Iterator[str]:
    """One key for people: its path with its kind, then what it means."""
    yield f"{key.path}  ({key.told})"
    yield from textwrap.wrap(key.meaning, WIDTH, initial_indent="    ", subsequent_indent="    ")
    if key.example:
        yield f"    e.g. {key.leaf}: {key.example}"
