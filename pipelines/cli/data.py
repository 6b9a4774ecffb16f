"""``slipway data``: the project's table, and whether it keeps its contract."""

from datetime import UTC, datetime
from pathlib import Path

import click

from pipelines.cli.console import console_of
from pipelines.cli.options import json_option, project_option, read_table


@click.group()
def data() -> None:
    """Look at the project's table before a run does."""


@data.command()
@click.option("--source", metavar="URI", help="Another table than the project's.")
@click.option("--rows", type=click.IntRange(1), default=5, show_default=True, help="How many.")
@project_option
@json_option
@click.pass_context
def show(ctx: click.Context, source: str | None, rows: int, project_path: Path) -> None:
    """The first rows of the table."""
    from pipelines import project as projects

    frame = read_table(ctx, source or projects.load(project_path).source.uri)
    console_of(ctx).result(
        {"rows": len(frame), "columns": frame.columns, "head": frame.head(rows).to_dicts()},
        f"{frame.head(rows)}\n{len(frame):,} rows",
    )


@data.command()
@click.option("--source", metavar="URI", help="Another table than the project's.")
@click.option("--as-of", metavar="DATE", help="Pretend that it is this day.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the readable report here.")
@project_option
@json_option
@click.pass_context
def check(ctx: click.Context, source: str | None, as_of: str | None, report: Path | None, project_path: Path) -> None:
    """Hold the table against the contract: what would be quarantined and why; exit code 4 above the limit."""
    from components.data.quarantine_report import quarantine_page
    from components.data.stages import moment
    from components.data.validation import require, validate
    from pipelines import project as projects
    from serving.files import write_text

    project = projects.load(project_path)
    day = moment(as_of) if as_of else datetime.now(UTC)
    result = validate(read_table(ctx, source or project.source.uri), project.contract, day)
    if report is not None:
        write_text(report, quarantine_page(result.report))
    console_of(ctx).result(result.report.model_dump(mode="json"), result.report.sentence)
    require(result.report, project.contract)
