"""``slipway clean``: what nothing needs any more goes."""

import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer
from pipelines.cli.session import Session, table
from serving.errors import UsageError

if TYPE_CHECKING:
    from pipelines.cleaning.reach import Sorted, Thing


@click.command()
@click.option("--yes", is_flag=True, help="Remove it; without this it is only shown.")
@click.option(
    "--keep", type=click.IntRange(min=1), default=10, show_default=True, metavar="N",
    help="The newest N runs of each project and the newest N versions of each model stay, with all they need.",
)  # fmt: skip
@click.option("--older-than", metavar="LENGTH", help="Of what is left only what was of no use for LENGTH, e.g. 30d.")
@answer
def clean(session: Session, yes: bool, keep: int, older_than: str | None) -> None:
    """Show what nothing in the home needs any more, and with --yes remove it.

    What stays: the newest runs and versions, every version that is not archived or has a slot, what services run and
    open rollouts may need, each with its bundle, its run and the steps behind it; the record of every run that made a
    version; ledger, journals, prediction logs and MLflow. A version that was put away and goes can be made again.
    """
    from pipelines.cleaning.reach import Keep
    from pipelines.cleaning.sweep import clean as sweep
    from pipelines.cleaning.sweep import look

    wanted = Keep(keep, math.inf if older_than is None else time.time() - _seconds(older_than))
    made = (sweep if yes else look)(session.place, wanted)
    value = {"removed": yes, "bytes": made.size, "goes": [_line(thing) for thing in made.goes], "stays": made.stays}
    session.result(value, _told(made, removed=yes))


def _seconds(text: str) -> float:
    from serving.durations import parse

    try:
        return parse(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"--older-than: {error}, got {text!r}") from error


def _line(thing: "Thing") -> dict[str, object]:
    from pipelines.cleaning.reach import UNREACHED

    return {"kind": thing.kind, "name": thing.name, "bytes": thing.size, "why": UNREACHED[thing.kind]}


def _told(made: "Sorted", *, removed: bool) -> str:
    """A line for each thing, for the steps of a run one line; and the sum."""
    from pipelines.cleaning.reach import UNREACHED

    groups = defaultdict[tuple[str, str], list["Thing"]](list)
    for thing in made.goes:
        several = {"step": "/".join(thing.name.split("/")[:3]), "cache entry": "pipeline_root/cache"}
        groups[thing.kind, several.get(thing.kind, thing.name)].append(thing)
    rows = [
        (
            kind if len(of) == 1 else f"{len(of)} {PLURAL[kind]}",
            name,
            _bytes(sum(thing.size for thing in of)),
            UNREACHED[of[0].kind],
        )
        for (kind, name), of in groups.items()
    ]
    if not rows:
        return f"nothing to remove; {len(made.stays):,} things stay"
    end = "were removed" if removed else "would go; slipway clean --yes removes them"
    text = table([("WHAT", "WHERE", "SIZE", "WHY"), *rows])
    return f"{text}\n\n{len(made.goes):,} things with {_bytes(made.size)} {end}; {len(made.stays):,} stay"


PLURAL = {"step": "steps", "cache entry": "cache entries"}


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"
