"""``python -m tests.figures [NAME...]``, or ``make figures``: figures of the pages, by the command that measures each.

A block of a page begins and ends with a comment that names it. The command's output takes the place of what stands
between, under a line that says which command, commit, date, machine and load it was; so nothing is typed by hand, and a
figure that is old says how old.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from serving.files import write_text
from tests.root import ROOT

STORY = "\nreport  "  # what the main job prints from this line on names places of this machine


@dataclass(frozen=True)
class Block:
    """Where a figure stands, and the words after ``make`` that measure it.

    Attributes:
        lines: shown as they were printed.
        asked: measured where it is named only, because it wants more than this machine.
    """

    page: str
    command: tuple[str, ...]
    lines: bool = False
    asked: bool = False


BLOCKS = {
    "story": Block("README.md", ("run", "AGAIN=1"), lines=True),
    "simulated-rollouts": Block("docs/rollout.md", ("simulate",)),
    "rollouts-on-envoy": Block("docs/rollout.md", ("bench-rollout",)),
    "planted-models": Block("docs/judging.md", ("bench-gates",)),
    "intervals": Block("docs/judging.md", ("bench-intervals",)),
    "model-server": Block("docs/benchmarks.md", ("bench", "ARGS=--rounds 2")),
    "long-tables": Block("docs/benchmarks.md", ("bench-data",)),
    "features": Block("docs/features.md", ("bench-features",)),
    "batch": Block("docs/benchmarks.md", ("bench-batch",)),
    "supervisor": Block("docs/benchmarks.md", ("bench-supervisor",)),
    "automl": Block("docs/tables.md", ("bench-automl", "ARGS=--seconds 60"), asked=True),
    "served-row": Block("docs/tables.md", ("bench-automl", "ARGS=--tools --seconds 20")),
    "trees": Block("docs/benchmarks.md", ("bench-trees",), asked=True),
    "troubles": Block("docs/tables.md", ("troubles",)),
    "served-tables": Block("docs/tables.md", ("tables",)),
    "kserve-0.20": Block("docs/kserve.md", ("test-kserve",), asked=True),
    "kserve-main": Block("docs/kserve.md", ("test-kserve",), asked=True),
    "images": Block("docs/images.md", ("images-table",), asked=True),
    "ways": Block("docs/cluster.md", ("ways",), asked=True),
    "internet": Block("docs/cluster.md", ("test-internet",), asked=True),
    "cluster-runs": Block("docs/cluster.md", ("cluster-table",), asked=True),
    "clients": Block("docs/kserve.md", ("clients",), asked=True),
}


def edges(name: str) -> tuple[str, str]:
    """The comments around a block."""
    return f"<!-- figures {name}: `make figures` writes what stands here -->\n", f"<!-- end of figures {name} -->"


def content(page: str, name: str) -> str:
    """What stands in block *name* of *page*.

    Raises:
        ValueError: the page has no such block.
    """
    begin, end = edges(name)
    return page.partition(begin)[2][: page.index(end) - page.index(begin) - len(begin)]


def filled(page: str, name: str, text: str) -> str:
    """*page* with *text* in block *name*."""
    begin, end = edges(name)
    return page.replace(begin + content(page, name) + end, f"{begin}{text}\n{end}")


def shown(block: Block, output: str) -> str:
    """The part of a command's output that is for the page: its story, or its table with the lines around it."""
    if block.lines:
        told = output.partition(STORY)[0].replace(f"{ROOT}/", "").strip()
        return f"```\n{told}\n```"
    return output.strip()


def stamp(block: Block, load: float) -> str:
    """Which command on what, when, and how busy the machine was when it began."""
    commit = _said("git", "rev-parse", "--short", "HEAD")
    # The pages do not count: each block that is written would make the next one's commit another.
    dirty = " with changes" if _said("git", "status", "--porcelain", "--", ":!README.md", ":!docs") else ""
    words = " ".join(f'"{word}"' if " " in word else word for word in ("make", *block.command))
    return (
        f"`{words}`, commit {commit}{dirty}, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, "
        f"load {load:.1f} at its start:"
    )


def measure(name: str) -> None:
    """Run the command of block *name* and write its page."""
    block = BLOCKS[name]
    print(f"{name:<22} make {' '.join(block.command)}", flush=True)
    load = os.getloadavg()[0]
    ran = subprocess.run(["make", "--no-print-directory", *block.command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        raise SystemExit(f"{name}: make {' '.join(block.command)} ended with {ran.returncode}; nothing was written")
    page = ROOT / block.page
    text = f"{stamp(block, load)}\n\n{shown(block, ran.stdout)}\n"
    write_text(page, filled(page.read_text(encoding="utf-8"), name, text))


def _said(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [name for name, block in BLOCKS.items() if not block.asked]:
        measure(wanted)
