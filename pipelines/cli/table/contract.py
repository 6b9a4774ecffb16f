"""``slipway contract``: what changed in the data against the contract, as a change that somebody reviews."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer, project_option
from pipelines.cli.session import Session
from serving.errors import ConflictError, UsageError

if TYPE_CHECKING:
    from components.drafting.changes import Change

MARK = "# Proposed by `slipway contract propose` for the file with sha256 "

source_option = click.option("--source", metavar="URI", help="Another table than the project's.")
out_option = click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="By default the project's file with .proposed."
)


@click.group()
def contract() -> None:
    """What the table says now, beside what the contract says of it."""


@contract.command()
@source_option
@project_option
@answer
def diff(session: Session, source: str | None) -> None:
    """Say what changed in the table, in words."""
    found = _changes(session, source)
    lines = [f"{change.words}; {change.mends}" for change in found] or ["nothing: the table is as the contract says"]
    session.result({"changes": [_value(change) for change in found]}, "\n".join(lines))


@contract.command()
@source_option
@out_option
@project_option
@answer
def propose(session: Session, source: str | None, out: Path | None) -> None:
    """Write the project with the contract that the table needs beside it; nothing else of the file changes."""
    from components.drafting.changes import proposal
    from components.projects import project as projects
    from components.projects.project_file import text_of
    from serving.files import sha256_bytes, write_text

    file = session.project_file
    text = text_of(file)
    changed = proposal(text, found := _changes(session, source))
    if changed == text:
        session.result({"proposed": None, "changes": [_value(one) for one in found]}, "no key of the contract changes")
        return
    projects.from_text(changed, str(file))
    target = out or file.with_name(f"{file.name}.proposed")
    write_text(target, f"{MARK}{sha256_bytes(text.encode())[:16]}\n{changed}")
    shown = difflib.unified_diff(text.splitlines(), changed.splitlines(), str(file), str(target), lineterm="", n=0)
    told = [*shown, f"written to {target}; read it, then: slipway contract accept"]
    session.result({"proposed": str(target), "changes": [_value(one) for one in found]}, "\n".join(told))


@contract.command()
@click.argument("proposed", required=False, type=click.Path(path_type=Path))
@project_option
@answer
def accept(session: Session, proposed: Path | None) -> None:
    """Put the proposal, by default the project's file with .proposed, in the place of the project's file."""
    from components.projects import project as projects
    from components.projects.project_file import text_of
    from serving.files import sha256_bytes, write_text

    file = session.project_file
    source = proposed or file.with_name(f"{file.name}.proposed")
    if not source.exists():
        raise UsageError(f"no proposal {source}: expected the file that `slipway contract propose` writes")
    first, _, text = text_of(source).partition("\n")
    if not first.startswith(MARK):
        raise UsageError(f"{source} begins with no line of a proposal; write one with `slipway contract propose`")
    if first.removeprefix(MARK).strip() != sha256_bytes(text_of(file).encode())[:16]:
        raise ConflictError(f"{file} has changed since {source} was proposed; propose again")
    projects.from_text(text, str(source))
    write_text(file, text)
    source.unlink()
    session.result({"accepted": str(file)}, f"{file} is as proposed; what is trained from now on keeps it")


def _changes(session: Session, source: str | None) -> "tuple[Change, ...]":
    from components.drafting.changes import changes

    return changes(session.look(source or session.project.source.uri), session.project.contract)


def _value(change: "Change") -> dict[str, object]:
    return {"key": ".".join(("contract", *change.path)), "words": change.words, "mends": change.mends}
