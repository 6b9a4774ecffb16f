"""``slipway predict``: rows from a file or standard input to predictions from the running endpoint."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pipelines.cli.options import project_option
from pipelines.cli.session import Session
from serving.errors import DataError, UsageError


@click.command()
@click.argument("rows", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Write CSV here instead of printing JSON lines.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N rows.")
@click.option("--top", type=int, metavar="K", help="The K most probable classes beside the predictions.")
@project_option
@click.pass_obj
def predict(session: Session, rows: str | None, out: Path | None, limit: int | None, top: int | None) -> None:
    """Send ROWS (CSV, parquet or JSON lines; - or nothing for JSON lines on standard input) to the endpoint.

    What a table has beside a model's inputs, such as a key, stands beside the answers; a file of --out has all columns.
    """
    from components.steps.place import s3_settings
    from pipelines.here.asking import ask, json_rows, records_of
    from serving.bundle.judgement import top_mistake
    from serving.local.client import endpoint

    project, place = session.project, session.place
    if top is not None and (mistake := top_mistake(top, len(project.contract.target.classes))):
        raise UsageError(f"--top: {mistake}")
    address = endpoint(session.directory)
    piped = rows is None or rows == "-"
    found = json_rows(sys.stdin) if piped else records_of(str(rows), project.contract, s3_settings(place))
    chosen = found.first(limit)
    answers = ask(address, project.name, chosen, project.interval, top)
    if not answers:
        raise DataError("there are no rows to predict; expected one JSON object per line, or a table")
    refused = [number for number, answer in answers.items() if "error" in answer]
    if out is None:
        for number, answer in answers.items():
            click.echo(json.dumps({"line": number, **answer} if number in refused else answer))
    else:
        rows_of_file = ({**chosen.records.get(number, {}), **answer} for number, answer in answers.items())
        _write(out, [_flat(row, project.contract.target.classes) for row in rows_of_file])
        session.line("predictions", f"{len(answers) - len(refused):,} rows in {out}")
    if refused:
        raise DataError(
            f"{len(refused):,} of {len(answers):,} rows have no prediction, the first of them row {refused[0]}: "
            f"{answers[refused[0]]['error']}; the other rows are answered"
        )


def _flat(row: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """*row* with columns for probabilities and the best classes, named as by `slipway score`, and one for flags."""
    from components.scoring.batches import PROBABILITY, top_names

    flat = {**row, **({"flags": json.dumps(row["flags"], ensure_ascii=False)} if "flags" in row else {})}
    each, best = flat.pop("probabilities", ()), flat.pop("top", ())
    for (name, chance), one in zip(top_names(len(best)), best, strict=True):
        flat |= {name: one["class"], chance: one["probability"]}
    return flat | {f"{PROBABILITY}{word}": value for word, value in zip(classes, each, strict=False)}


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    from serving.files import whole_file

    with whole_file(out) as path:
        pd.DataFrame(rows).to_csv(path, index=False)
