"""``slipway score``: a table of any size to predictions, file to file."""

import os
import time

import click

from pipelines.cli.options import answer, model_option
from pipelines.cli.session import Session

MOST_WORKERS = 8


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output", metavar="OUTPUT")
@click.option("--version", type=click.IntRange(1), help="Score with this version instead of the one that serves.")
@click.option("--keep", metavar="COLUMNS", help="Input columns to keep beside the predictions, with commas between.")
@model_option
@answer
def score(session: Session, source: str, output: str, version: int | None, keep: str | None) -> None:
    """Score INPUT, a CSV or parquet file or a directory of them, to parquet files in OUTPUT.

    Both may be s3:// addresses. Every row gets what the endpoint would answer; rows that break the contract have no
    prediction and stand with their reasons in OUTPUT/_refused. The same command again goes on where it was stopped.
    """
    from components.scoring.manifest import PartitionManifest
    from components.scoring.stages import SERVING, make_plan, score_all

    place = session.place
    started = last = time.monotonic()
    columns = None if keep is None else tuple(word.strip() for word in keep.split(",") if word.strip())
    plan = make_plan(session.model, version or SERVING, source, output, columns, place)

    def show(part: PartitionManifest, fresh: bool) -> None:
        nonlocal last
        now = time.monotonic()
        refused = f", {part.refused:,} refused" if part.refused else ""
        text = f"{part.asked.input.name}  {part.rows:,} rows{refused}" + ("" if fresh else " (done before)")
        session.line(
            "scored", text, seconds=now - last, partition=part.asked.input.name, rows=part.rows, refused=part.refused,
            fresh=fresh,
        )  # fmt: skip
        last = now

    whole = score_all(plan, place, min(os.cpu_count() or 1, MOST_WORKERS), show)
    session.line(
        "predictions",
        f"{whole.sentence}: {output}",
        seconds=time.monotonic() - started,
        output=output,
        model=whole.model,
        version=whole.version,
        bundle=whole.bundle,
        rows=whole.rows,
        scored=whole.scored,
        refused=whole.refused,
    )
