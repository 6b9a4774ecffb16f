"""A project file drafted from a table: every guess with its reason, every doubt said, and gates that were measured."""

import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from components.data.moments import assembled
from components.data.validation import validate
from components.drafting import baselines, choosing, doubts, leaks, roles, rows, writing
from components.drafting.baselines import Baseline
from components.drafting.doubts import Doubt
from components.drafting.inputs import Input, inputs
from components.drafting.look import ColumnLook, TableLook
from components.drafting.names import model_name
from components.drafting.roles import Roles
from components.projects import project as projects
from components.projects.project import Project
from serving.contract import Contract
from serving.errors import DataError, UsageError

MOST_NAMED = 10  # columns, in a refusal
MOST_REFUSED = 0.5  # share of the rows, above which a table is not worth a project


@dataclass(frozen=True)
class Draft:
    """A project file that is not written yet.

    Attributes:
        text: the YAML.
        sentence: what ``slipway data check`` says of the table that it was drafted from.
    """

    text: str
    table: TableLook
    roles: Roles
    inputs: tuple[Input, ...]
    doubts: tuple[Doubt, ...]
    baselines: tuple[Baseline, ...]
    sentence: str

    @property
    def value(self) -> dict[str, Any]:
        """All of it for programs."""
        return {
            "rows": self.table.rows,
            "target": self.roles.target.name,
            "task": "classification" if self.roles.classes else "regression",
            "key": self.roles.key.name,
            "event_time": list(self.roles.event.columns),
            "columns": [
                {"name": one.name, **one.keys, "reason": one.why, "left_out": one.out or None} for one in self.inputs
            ],
            "doubts": [
                {"kind": doubt.kind, "columns": list(doubt.columns), "words": doubt.words, "act": doubt.act}
                for doubt in self.doubts
            ],
            "baselines": [{"name": one.name, **one.metrics} for one in self.baselines],
            "check": self.sentence,
        }


@dataclass(frozen=True)
class Wishes:
    """What a person said instead of leaving it to be guessed; None or empty where nothing was said."""

    target: str | None = None
    name: str | None = None
    key: str | None = None
    event_time: str | None = None


def draft(table: TableLook, asked: Wishes, out: Path, now: datetime) -> Draft:
    """The project file *out* of *table*; the same table gives the same text on any day.

    Raises:
        UsageError: it is not clear what is to be predicted, or a column that was asked for is not there.
        DataError: the table cannot be held by any contract.
    """
    parts, columns, said = doubted(table, asked)
    if all(one.out or one.carried for one in columns):
        why = "; ".join(f"{one.name}: {one.out or one.why}" for one in columns[:MOST_NAMED])
        why = why or "it has none but the target"
        raise DataError(f"{table.uri} has no column that a model could learn from: {why}")
    name = asked.name or model_name(table.uri)
    findings = writing.Findings(name, source(table.uri, out), table, parts, columns, tuple(said))
    return _tried(findings, now)


def doubted(table: TableLook, asked: Wishes) -> tuple[Roles, tuple[Input, ...], list[Doubt]]:
    """Who plays which part in *table*, what its columns are, and what is doubtful before anything is tried."""
    parts = _roles(table, asked)
    said = [*doubts.of_columns(table.columns, str(parts.target.name), parts.key.name)]
    gone = {name for doubt in said if doubt.out for name in doubt.about}
    free_of = {*gone, *parts.event.columns[:1], *(column.name for column in table.columns if column.guess == "id")}
    free = [column for column in roles.others(table, parts) if column.name not in free_of]
    said += _suspected(table, parts, free)
    columns = inputs(table, parts, said)
    said += rows.of_rows(table, parts, [one.column for one in columns if not one.out])
    return parts, columns, said


def _suspected(table: TableLook, parts: Roles, free: list[ColumnLook]) -> list[Doubt]:
    """What leaks of the target among *free*, which are kept where none would be left."""
    found = list(leaks.of_target(table, parts, free))
    if {column.name for column in free} - {name for doubt in found if doubt.out for name in doubt.about}:
        return found
    return [replace(doubt, act=doubts.ALL_THERE_IS) if doubt.out else doubt for doubt in found]


def source(uri: str, out: Path) -> str:
    """*uri* as the project in *out* names it: a path from its folder."""
    if "://" in uri:
        return uri
    return Path(os.path.relpath(Path(uri).resolve(), out.resolve().parent)).as_posix()


def _roles(table: TableLook, asked: Wishes) -> Roles:
    target = roles.target(table, asked.target)
    name = str(target.name)
    found = [one for one in roles.classes(table.frame[name], table[name]) if one[1] >= roles.RARE_CLASS]
    event = _said(table, "--event-time", asked.event_time) or roles.event(table, name)
    key = _said(table, "--key", asked.key) or roles.key(table, name, event)
    words, counts = tuple(word for word, _ in found), tuple(count for _, count in found)
    return Roles(target, words, counts, key, event)


def _said(table: TableLook, option: str, name: str | None) -> roles.Role | None:
    if name is None:
        return None
    if name == "":
        return roles.Role((), "none was asked for")
    if name not in table.names:
        raise UsageError(f"{option}: no column {name!r} in {table.uri}; it has {', '.join(table.names)}")
    return roles.Role((name,), "asked for")


def _tried(findings: "writing.Findings", now: datetime) -> Draft:
    """The draft of *findings* with what can only be known by holding the table against it."""
    project = projects.from_text(writing.text(findings))
    table = _with_event(findings.table, project.contract)
    found = validate(table, project.contract, now)
    findings = replace(findings, refused=found.report.share)
    if found.report.share > MOST_REFUSED:
        raise DataError(f"{findings.table.uri}: no contract holds it: {found.report.sentence}")
    findings, seen = _measured(findings, project, table.filter(pl.Series(found.good)))
    text = writing.text(findings)
    projects.from_text(text)
    return Draft(text, findings.table, findings.roles, findings.columns, findings.doubts, seen, found.report.sentence)


def _with_event(table: TableLook, contract: Contract) -> pl.DataFrame:
    """The rows of *table* as a run reads them, with the event time where that is made of other columns."""
    if contract.assembled is None:
        return table.frame
    return assembled(table.frame, str(contract.event_time), contract.assembled)


def _measured(
    findings: "writing.Findings", project: Project, good: pl.DataFrame
) -> tuple["writing.Findings", tuple[Baseline, ...]]:
    """Family and gates by what simple predictions are worth on the *good* rows, as they came; another split where that
    one cannot be made."""
    try:
        seen = baselines.measured(project, good)
    except DataError as error:
        if findings.by != "time":
            return replace(findings, unmeasured=str(error)), ()
        findings = replace(findings, by="random", no_time=str(error))
        return _measured(findings, projects.from_text(writing.text(findings)), good)
    findings = replace(findings, choice=choosing.choose(seen, project.contract.task))
    return replace(findings, doubts=(*findings.doubts, *choosing.doubts(findings.choice))), seen
