"""``slipway predict``: rows from a file or standard input to predictions from the running endpoint."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from pipelines.cli.options import project_option
from pipelines.cli.session import Session
from serving.errors import DataError


@click.command()
@click.argument("rows", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Write CSV here instead of printing JSON lines.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N rows.")
@project_option
@click.pass_obj
def predict(session: Session, rows: str | None, out: Path | None, limit: int | None) -> None:
    """Send ROWS (CSV, parquet or JSON lines; - or nothing for JSON lines on standard input) to the endpoint."""
    from components.steps.place import s3_settings
    from pipelines.here.asking import ask, json_rows, records_of
    from serving.local.client import endpoint

    project, place = session.project, session.place
    address = endpoint(session.directory)
    if rows is None or rows == "-":
        records = json_rows(sys.stdin)
    else:
        records = records_of(rows, project.contract, s3_settings(place))
    if not records:
        raise DataError("there are no rows to predict; expected one JSON object per line, or a table")
    answers = ask(address, project.name, records[:limit])
    if out is None:
        for answer in answers:
            click.echo(json.dumps(answer))
        return
    _write(out, [{**record, **answer} for record, answer in zip(records, answers, strict=False)])
    session.line("predictions", f"{len(answers):,} rows in {out}")


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    from serving.files import whole_file

    with whole_file(out) as path:
        pd.DataFrame(rows).to_csv(path, index=False)
