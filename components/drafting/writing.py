"""The text of a drafted project: sections in the order in which one reads them, each guess with its reason."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from components.drafting.choosing import RARE, Choice
from components.drafting.derived import derived
from components.drafting.doubts import Doubt
from components.drafting.inputs import Input, number_range
from components.drafting.look import TableLook
from components.drafting.roles import Roles, event_format
from components.drafting.text import comment, entry, flow, section, wrapped
from components.modelling.recipes import AUTO

AT = ("at", "moment", "event_at", "row_at")  # names for a moment that is made of several columns
TRIALS = 40
INTERVAL_ROWS = 100  # of which enough are predicted, however they are split, to say anything of nine in ten
FEW_BAD = 0.02  # share of bad rows that a table may have where it has hardly any


@dataclass(frozen=True)
class Findings:
    """All that the text says.

    Attributes:
        source: of the table, as the file names it.
        refused: share of the rows that the contract refuses.
        by: how the rows are split; ``no_time`` says why not by time where there is one.
        unmeasured: why nothing was measured.
    """

    name: str
    source: str
    table: TableLook
    roles: Roles
    columns: tuple[Input, ...]
    doubts: tuple[Doubt, ...]
    refused: float = 0.0
    by: Literal["time", "group", "random", ""] = ""
    no_time: str = ""
    unmeasured: str = ""
    choice: Choice = field(default_factory=Choice)


def text(findings: Findings) -> str:
    """The whole file."""
    lines = [
        *_head(findings),
        "",
        *_contract(findings),
        "",
        *_split(findings),
        "",
        *_features(findings),
        *_model(findings),
        "",
        *_after(findings),
    ]
    return "\n".join(lines) + "\n"


def _head(findings: Findings) -> Iterator[str]:
    target = findings.roles.target.name
    told = f"Drafted by `slipway init` from {findings.table.rows:,} rows of {findings.table.uri}."
    yield from wrapped(comment(f"{told} Each guess says why; all may be changed."), 110)
    yield from wrapped(comment("What a key means: `slipway help project KEY`. What is doubtful:"), 110)
    for doubt in findings.doubts:
        first, *more = wrapped(comment(f"- {doubt.kind}: {doubt.sentence}"), 106)
        yield from (first.replace("# -", "#   -", 1), *(line.replace("# ", "#     ", 1) for line in more))
    if not findings.doubts:
        yield "#   nothing"
    yield f"name: {findings.name}"
    yield from entry("problem", {"objective": f"Predict {target} of a row."}, "in words of those who use it")
    yield from entry("source", {"uri": findings.source})


def _contract(findings: Findings) -> Iterator[str]:
    roles, table = findings.roles, findings.table
    yield "contract:"
    if roles.key.name is not None:
        yield from entry("key", roles.key.name, roles.key.why, indent=2)
    if roles.event.name is not None:
        yield from entry("event_time", _event(findings), roles.event.why, indent=2)
    yield from entry("target", _target(findings), _why_target(findings), indent=2)
    if table.separator not in ("", ","):
        told = {"separator": table.separator, "decimal": table.decimal}
        yield from entry("csv", told, "as found in the first file", indent=2)
    yield from section("columns", "what a request brings, too; rows beyond a range or list never train", indent=2)
    for one in findings.columns:
        yield from entry(one.name, one.keys, one.out or one.why, indent=4, out=bool(one.out))
    yield from _duplicates(findings)
    yield from _tolerance(findings)


def _event(findings: Findings) -> Any:
    """The column, or the columns that it is made of with their format."""
    event = findings.roles.event
    forms = event_format(findings.table, event)
    if len(event.columns) == 1:
        return event.name  # whose format stands with the column
    name = next(word for word in AT if word not in findings.table.names)
    form = {} if not forms else {"format": forms[0] if len(forms) == 1 else list(forms)}
    return {"name": name, "from": list(event.columns), **form}


def _duplicates(findings: Findings) -> Iterator[str]:
    kinds = {doubt.kind for doubt in findings.doubts}
    if kinds & {"repeated rows", "repeated period"}:
        yield from entry("duplicates", "drop", "rows that stand there twice count once", indent=2)


def _target(findings: Findings) -> Mapping[str, Any]:
    name = str(findings.roles.target.name)
    if findings.roles.classes:
        return {"name": name, "classes": list(findings.roles.classes)}
    low, high, _ = number_range(findings.table[name])
    return {"name": name, "unit": "", "range": [low, high]}


def _why_target(findings: Findings) -> str:
    roles = findings.roles
    if not roles.classes:
        return f"{roles.target.why}; {number_range(findings.table[str(roles.target.name)])[2]}"
    total = sum(roles.class_rows)
    shares = ", ".join(
        f"{name} {rows / total:.1%}" for name, rows in list(zip(roles.classes, roles.class_rows, strict=True))[:6]
    )
    return f"{roles.target.why}; {shares}; the last of two is the positive one"


def _tolerance(findings: Findings) -> Iterator[str]:
    if findings.refused <= FEW_BAD / 2:
        why = f"share of bad rows that stops a run; {findings.refused:.3%} are bad today"
        yield from entry("refuse_above", FEW_BAD, why, indent=2)
        return
    level = min(math.ceil(100 * (findings.refused + FEW_BAD)) / 100, 1.0)
    why = f"{findings.refused:.1%} of the rows are bad today, for the reasons above; lower it when that is mended"
    yield from entry("refuse_above", level, why, indent=2)


def _features(findings: Findings) -> Iterator[str]:
    """What is made of moments."""
    made = derived(findings.table, findings.roles, findings.columns)
    if made:
        yield "features:"
        yield from section("columns", "derived here and in the server alike; a request brings none of them", indent=2)
        for name, expression in made.items():
            yield from entry(name, expression, indent=4)
        yield ""


def _split(findings: Findings) -> Iterator[str]:
    roles = findings.roles
    by = findings.by or ("time" if roles.event.name else "group" if _grouped(findings) else "random")
    why = {
        "time": "judged on the newest fifth, as it is used: on what comes after",
        "group": f"rows of one {roles.key.name} stay on one side",
        "random": "no moment says which row is newer",
    }[by]
    why = f"by time it cannot be judged: {findings.no_time}" if findings.no_time else why
    yield from entry("split", {"by": by, "holdout": 0.2}, why)


def _grouped(findings: Findings) -> bool:
    key = findings.roles.key.name
    return key is not None and findings.table[key].distinct < findings.table[key].rows


def _model(findings: Findings) -> Iterator[str]:
    """What is fitted, and what its answers say besides."""
    if findings.choice.told:
        yield from wrapped(comment(findings.choice.told), 110)
    yield from entry("model", {"family": AUTO}, "the best few of all families, then fitted on all rows")
    yield from entry("search", {"trials": TRIALS, "timeout": "120s"}, "whichever comes first")
    classes, rows = findings.roles.classes, findings.roles.class_rows
    if not classes and findings.table.rows >= INTERVAL_ROWS:
        yield from entry("interval", 0.9, "answers say between which numbers nine of ten truths lie")
    elif len(classes) == 2 and min(rows) < RARE * sum(rows):
        why = f"{min(rows) / sum(rows):.1%} of the rows are of one class, which a half seldom finds"
        yield from entry("threshold", {"metric": "f1"}, why)


def _after(findings: Findings) -> Iterator[str]:
    choice, classes = findings.choice, bool(findings.roles.classes)
    if choice.gates:
        yield from section("gates", "what a model has to be worth before it may serve")
        for gate, why in choice.gates:
            yield from entry("", gate, why, indent=2, item=True)
    else:
        yield from entry("gates", [], f"nothing was measured: {findings.unmeasured or 'no model could be fitted'}")
    yield from entry("approval", "auto", "manual waits for `slipway models approve`")
    yield from entry("rollout", {"steps": [5, 10, 25, 50]}, "percent of the traffic")
    yield "watch:"
    yield from entry("labels", {"delay": "28d"}, "how long after a prediction its truth is known: please say", indent=2)
    metric = "log_loss" if classes else "rmse"
    yield from entry("alarm", {metric: {"above": "1.25x"}}, "times the value that it was released with", indent=2)
    yield f"retrain: {flow({'on': ['performance', 'drift'], 'cooldown': '7d', 'fresh_labels': 500})}"
    yield "seed: 42"
