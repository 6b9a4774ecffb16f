"""``slipway init``: a project file from a table."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer
from pipelines.cli.session import Session
from serving.errors import ConflictError

if TYPE_CHECKING:
    from components.drafting.draft import Draft, Wishes
    from components.drafting.look import TableLook


@click.command()
@click.argument("table", metavar="TABLE")
@click.option("--target", metavar="COLUMN", help="What is predicted; asked for where it is not obvious.")
@click.option("--key", metavar="COLUMN", help="What identifies the thing of a row; '' for none.")
@click.option("--event-time", metavar="COLUMN", help="When the row happened; '' for never.")
@click.option("--name", help="Of the model; by default made of the table's.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("project.yaml"),
    show_default=True,
    help="The file to write.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--ask", is_flag=True, help="Ask for target, key and event time, each with its guess.")
@answer
def init(
    session: Session,
    table: str,
    target: str | None,
    key: str | None,
    event_time: str | None,
    name: str | None,
    out: Path,
    force: bool,
    ask: bool,
) -> None:
    """Draft a project file from a table, each guess with its reason, and say what is doubtful.

    TABLE is all that `source.uri` of a project may be: a CSV or parquet file, a directory, s3:// or another scheme.
    """
    from components.drafting.draft import Wishes, draft
    from components.projects.project_file import checked_name
    from serving.files import write_text

    if out.exists() and not force:
        raise ConflictError(f"{out} is there already: write over it with --force, or name another file with --out")
    if name is not None:
        checked_name(name, "--name")
    look = session.look(table)
    asked = Wishes(target, name, key, event_time)
    found = draft(look, _answered(look, asked) if ask else asked, out, datetime.now(UTC))
    write_text(out, found.text)
    session.result({"project": str(out), **found.value}, _told(found, out))


def _answered(look: "TableLook", asked: "Wishes") -> "Wishes":
    """What a person says, who is shown the guesses."""
    from dataclasses import replace

    from components.drafting import roles

    if asked.target is None:
        first = next((name for name, _ in roles.candidates(look)), look.names[-1])
        asked = replace(asked, target=click.prompt("what is predicted", default=first, err=True))
    target = str(roles.target(look, asked.target).name)
    if asked.event_time is None:
        guess = roles.event(look, target).name or ""
        asked = replace(asked, event_time=click.prompt("when did a row happen", default=guess, err=True))
    if asked.key is None:
        event = roles.Role((asked.event_time,) if asked.event_time else ())
        guess = roles.key(look, target, event).name or ""
        asked = replace(asked, key=click.prompt("what identifies the thing of a row", default=guess, err=True))
    return asked


def _told(found: "Draft", out: Path) -> str:
    """What was found, for people: roles, columns, doubts, and what to type next."""
    parts = found.roles
    ins = [one for one in found.inputs if not one.out]
    task = f"classes {', '.join(parts.classes[:6])}" if parts.classes else "a number"
    lines = [
        f"table              {found.table.uri}: {found.table.rows:,} rows, {len(found.table.columns)} columns",
        f"target             {parts.target.name}, {task} ({parts.target.why})",
        f"key                {parts.key.name or 'none'}" + (f" ({parts.key.why})" if parts.key.name else ""),
        f"event time         {', '.join(parts.event.columns) or 'none'}"
        + (f" ({parts.event.why})" if parts.event.name else ""),
        f"inputs             {len(ins)} columns; {len(found.inputs) - len(ins)} left out",
        *(f"left out           {one.name}: {one.out}" for one in found.inputs if one.out),
        *(f"doubt              {doubt.kind}: {doubt.sentence}" for doubt in found.doubts),
        f"check              {found.sentence}",
        f"written            {out}; read it, then: slipway data check, slipway run",
    ]
    return "\n".join(lines)
