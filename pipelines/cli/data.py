"""``slipway data``: the project's table, and whether it keeps its contract."""

from datetime import UTC, datetime
from pathlib import Path

import click

from pipelines.cli.options import answer, project_option
from pipelines.cli.session import Session


@click.group()
def data() -> None:
    """Look at the project's table before a run does."""


@data.command()
@click.option("--source", metavar="URI", help="Another table than the project's.")
@click.option("--rows", type=click.IntRange(1), default=5, show_default=True, help="How many.")
@project_option
@answer
def show(session: Session, source: str | None, rows: int) -> None:
    """The first rows of the table."""
    from components.data.meeting import Needed

    project = session.project
    frame = session.read_table(source or project.source.uri, Needed.of(project.contract))
    session.result(
        {"rows": len(frame), "columns": frame.columns, "head": frame.head(rows).to_dicts()},
        f"{frame.head(rows)}\n{len(frame):,} rows",
    )


@data.command()
@click.option("--source", metavar="URI", help="Another table than the project's.")
@click.option("--as-of", metavar="DATE", help="Pretend that it is this day.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the readable report here.")
@project_option
@answer
def check(session: Session, source: str | None, as_of: str | None, report: Path | None) -> None:
    """Hold the table against the contract: what would be quarantined and why; exit code 4 above the limit."""
    from components.data.meeting import Needed
    from components.data.moments import moment
    from components.data.quarantine_report import quarantine_page
    from components.data.validation import require, validate
    from serving.files import write_text

    project = session.project
    day = moment(as_of) if as_of else datetime.now(UTC)
    table = session.read_table(source or project.source.uri, Needed.of(project.contract))
    result = validate(table, project.contract, day)
    if report is not None:
        write_text(report, quarantine_page(result.report))
    session.result(result.report.model_dump(mode="json"), result.report.sentence)
    require(result.report, project.contract)
