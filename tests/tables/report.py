"""``python -m tests.tables.report``, or ``make troubles``: what is said of ninety planted troubles, as a table.

``init`` is asked about the table with the trouble in it; ``data check`` holds that table against the contract that was
drafted of the table without it, as where the trouble comes with the next export.
"""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from components.data import sources
from components.data.meeting import Needed
from components.data.validation import require, validate
from components.drafting.doubts import Doubt
from components.drafting.draft import Wishes, doubted, draft
from components.drafting.look import TableLook, look
from components.drafting.roles import Roles
from components.projects import project as projects
from components.projects.project import Project
from serving.errors import SlipwayError
from tests.tables.made import TABLES, Made
from tests.tables.troubles import Trouble, clean, planted

NOW = datetime(2026, 11, 30, tzinfo=UTC)
CLEAN = 5  # variants of each table


def looked(table: Made, folder: Path) -> TableLook:
    """What the columns of *table* are, read from a file as a person brings it."""
    with sources.opened(str(table.write(folder)), None) as raw:
        return look(raw)


def said(table: Made, folder: Path) -> tuple[Roles, list[Doubt]]:
    """The roles that ``init`` finds in *table*, and its doubts."""
    parts, _, found = doubted(looked(table, folder), Wishes(target=table.target))
    return parts, found


def naming(trouble: Trouble, parts: Roles, found: list[Doubt]) -> str:
    """What of it names the *trouble* rightly; empty where nothing does."""
    for doubt in found:
        if doubt.kind in trouble.kinds and (not trouble.column or trouble.column in doubt.columns):
            return f"{doubt.kind}: {doubt.words}"
    if "identifier" in trouble.kinds and parts.key.name == trouble.column:
        return f"key: {parts.key.why}"
    return ""


def project_of(table: Made, folder: Path) -> Project:
    """The project that is drafted of *table*."""
    found = draft(looked(table, folder), Wishes(target=table.target), folder / "project.yaml", NOW)
    return projects.from_text(found.text)


def checked(trouble: Trouble, project: Project, folder: Path) -> str:
    """What ``slipway data check`` says of the table with the *trouble*, in a few words."""
    try:
        rows = sources.read(str(trouble.made.write(folder)), None, Needed.of(project.contract))
        report = validate(rows, project.contract, NOW).report
    except SlipwayError as error:
        return f"refused: {str(error)[:80]}"
    words = report.sentence.partition(" accepted, ")[2] if report.quarantined else "nothing"
    try:
        require(report, project.contract)
    except SlipwayError:
        return f"refused: {words}"
    return words


def lines() -> Iterator[str]:
    """The table in Markdown, and how many troubles were named."""
    yield "| table | planted | `init` says | `data check` against yesterday's contract sets aside |"
    yield "|---|---|---|---|"
    named = total = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in TABLES:
            project = project_of(clean(name, 0), folder)
            for trouble in planted(name):
                words = naming(trouble, *said(trouble.made, folder))
                named, total = named + bool(words), total + 1
                check = checked(trouble, project, folder).replace("|", "\\|")
                yield f"| {name} | {trouble.words} | {words.replace('|', chr(92) + '|') or '**nothing**'} | {check} |"
        quiet = sum(not said(clean(name, seed), folder)[1] for name in TABLES for seed in range(CLEAN))
    yield ""
    whole = CLEAN * len(TABLES)
    yield f"{named} of {total} are named rightly; of {whole} tables without a trouble nothing is said in {quiet}."


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
