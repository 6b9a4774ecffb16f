"""``slipway score``: a table of any size to predictions, file to file."""

import os
import time
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer, model_option
from pipelines.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from components.scoring.manifest import PartitionManifest

MOST_WORKERS = 8


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output", metavar="OUTPUT")
@click.option("--version", type=click.IntRange(1), help="Score with this version instead of the one that serves.")
@click.option("--keep", metavar="COLUMNS", help="Input columns to keep beside the predictions, with commas between.")
@click.option("--explain", is_flag=True, help="Contributions of columns beside the predictions; some ms a row.")
@click.option("--top", type=int, metavar="K", help="The K most probable classes beside the predictions.")
@model_option
@answer
def score(
    session: Session, source: str, output: str, version: int | None, keep: str | None, explain: bool, top: int | None
) -> None:
    """Score INPUT, a CSV or parquet file or a directory of them, to parquet files in OUTPUT.

    Both may be s3:// addresses. Every row gets what the endpoint would answer; rows that break the contract have no
    prediction and stand with their reasons in OUTPUT/_refused. The same command again goes on where it was stopped.
    """
    from components.scoring.stages import SERVING, make_plan, score_all

    place, started = session.place, time.monotonic()
    columns = None if keep is None else tuple(word.strip() for word in keep.split(",") if word.strip())
    plan = make_plan(session.model, version or SERVING, source, output, columns, place, explain, top)
    whole = score_all(plan, place, min(os.cpu_count() or 1, MOST_WORKERS), _progress(session))
    facts = {name: getattr(whole, name) for name in ("model", "version", "bundle", "rows", "scored", "refused")}
    seconds = time.monotonic() - started
    session.line("predictions", f"{whole.sentence}: {output}", seconds=seconds, output=output, **facts)


def _progress(session: Session) -> "Callable[[PartitionManifest, bool], None]":
    """What tells of each partition as it is done, and how long after the one before."""
    last = time.monotonic()

    def show(part: "PartitionManifest", fresh: bool) -> None:
        nonlocal last
        now, name = time.monotonic(), part.asked.input.name
        refused = f", {part.refused:,} refused" if part.refused else ""
        text = f"{name}  {part.rows:,} rows{refused}" + ("" if fresh else " (done before)")
        facts = {"partition": name, "rows": part.rows, "refused": part.refused, "fresh": fresh}
        session.line("scored", text, seconds=now - last, **facts)
        last = now

    return show
