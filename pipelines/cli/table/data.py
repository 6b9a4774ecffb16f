"""``slipway data``: a table, and whether it keeps a contract."""

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer, project_option
from pipelines.cli.session import Session

if TYPE_CHECKING:
    import polars as pl

    from components.drafting.look import TableLook


@click.group()
def data() -> None:
    """Look at a table before a run does."""


@data.command()
@click.argument("table", metavar="[TABLE]", required=False)
@click.option("--source", metavar="URI", help="Another table than the project's.")
@click.option("--rows", type=click.IntRange(0), default=5, show_default=True, help="How many of the first ones.")
@project_option
@answer
def show(session: Session, table: str | None, source: str | None, rows: int) -> None:
    """What each column of the table is, and its first rows; of any TABLE, or of the project's."""
    look = session.look(table or source or session.project.source.uri)
    head = look.frame.head(rows)
    session.result(
        {
            "rows": look.rows,
            "columns": look.names,
            "look": [
                {"name": one.name, "type": one.guess, "missing": one.missing, "distinct": one.distinct,
                 "holds": one.held, "reason": one.why}
                for one in look.columns
            ],
            "head": head.to_dicts(),
        },
        "\n".join([*_columns(look), *_rows(head), f"{look.rows:,} rows"]),
    )  # fmt: skip


def _columns(look: "TableLook") -> Iterator[str]:
    """One line a column."""
    width = min(max(len(name) for name in look.names), 40)
    yield f"{'column':<{width}}  {'is':<9} {'missing':>9} {'different':>9}  holds"
    for one in look.columns:
        yield f"{one.name:<{width}}  {one.guess:<9} {one.missing:>9,} {one.distinct:>9,}  {one.held[:80]}"


def _rows(head: "pl.DataFrame") -> Iterator[str]:
    """The first rows, all columns of each, since a wide table does not fit beside itself."""
    for place, row in enumerate(head.iter_rows(), 1):
        cells = ", ".join(f"{name} {cell!r}" for name, cell in zip(head.columns, row, strict=True))
        yield from textwrap.wrap(f"row {place}: {cells}", 118, subsequent_indent="  ")


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
