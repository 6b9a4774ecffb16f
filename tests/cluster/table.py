"""``python -m tests.cluster.table RECORDS...``, or ``make cluster-table``: runs of the cluster suite, pair by pair.

A record is the JUnit file of one run (``make test-cluster``). First a row for each run, then each test whose outcome is
not the same on every pair, with the reason that it gave.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

HEAD = "| Pipelines | KServe | run | commit | passed | skipped | failed | took | load |"
SHOWN = 160


@dataclass(frozen=True)
class Run:
    """One run of the suite.

    Attributes:
        facts: what the suite wrote down of itself.
        outcomes: by test, ``passed``, ``failed`` or ``skipped``, and what it said.
        seconds: of all tests; when: it began.
    """

    facts: Mapping[str, str]
    outcomes: Mapping[str, tuple[str, str]]
    seconds: float
    when: str

    @property
    def pair(self) -> tuple[str, str]:
        return self.facts.get("version pipelines", "unknown"), self.facts.get("version kserve", "unknown")


def read(record: Path) -> Run:
    """The run that the JUnit file *record* is of."""
    suite = ElementTree.parse(record).getroot()[0]
    facts = {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")}
    outcomes = {f"{case.attrib['classname']}::{case.attrib['name']}": _outcome(case) for case in suite.iter("testcase")}
    return Run(facts, outcomes, float(suite.attrib["time"]), suite.attrib["timestamp"][:16].replace("T", " "))


def _outcome(case: ElementTree.Element) -> tuple[str, str]:
    for kind, meant in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        if (found := case.find(kind)) is not None:
            return meant, found.attrib.get("message", "")
    return "passed", ""


def told(runs: Sequence[Run]) -> Iterator[str]:
    """The lines of both tables."""
    yield HEAD
    yield "|---" * HEAD.count(" | ") + "|---|"
    for pair in dict.fromkeys(run.pair for run in runs):
        for number, run in enumerate((one for one in runs if one.pair == pair), 1):
            yield _row(pair, number, run)
    yield ""
    yield from _differences(runs)


def _row(pair: tuple[str, str], number: int, run: Run) -> str:
    count = Counter(outcome for outcome, _ in run.outcomes.values())
    counts = (str(count[one]) for one in ("passed", "skipped", "failed"))
    took = f"{run.seconds / 60:.0f} min"
    cells = (*pair, f"{number}, {run.when}", run.facts.get("commit", ""), *counts, took, run.facts.get("load", ""))
    return f"| {' | '.join(cells)} |"


def _differences(runs: Sequence[Run]) -> Iterator[str]:
    """A row for each test that did not always end alike."""
    pairs = list(dict.fromkeys(run.pair for run in runs))
    rows = []
    for test in dict.fromkeys(test for run in runs for test in run.outcomes):
        cells = [_cell([run.outcomes.get(test, ("absent", "")) for run in runs if run.pair == pair]) for pair in pairs]
        if len(set(cells)) > 1 or "/" in cells[0]:
            rows.append(f"| `{test.removeprefix('tests.cluster.')}` | {' | '.join(cells)} |")
    if not rows:
        yield "Every test ended alike in all of them."
        return
    yield f"| test | {' | '.join(f'{pipelines}, {kserve}' for pipelines, kserve in pairs)} |"
    yield "|---" * (len(pairs) + 1) + "|"
    yield from rows


def _cell(ended: Sequence[tuple[str, str]]) -> str:
    outcomes = "/".join(dict.fromkeys(outcome for outcome, _ in ended))
    said = next((text for _, text in ended if text), "")
    return outcomes + (f": {' '.join(said.split())[:SHOWN]}".replace("|", "\\|") if said else "")


if __name__ == "__main__":
    print("\n".join(told([read(Path(record)) for record in sorted(sys.argv[1:])])))
