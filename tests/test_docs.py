"""What README and docs promise about themselves."""

import re
from pathlib import Path

import pytest

from tests.figures import BLOCKS, content, edges, filled, shown
from tests.root import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))


def test_the_readme_is_read_in_one_sitting() -> None:
    """At most 250 lines; the rest are pages of their own."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of this project names one that exists, and every page of docs is linked from the README."""
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    if page.parent == ROOT / "docs":
        assert f"](docs/{page.name})" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", (ROOT / "docs").glob("*.md"), ids=lambda page: page.name)
def test_a_page_opens_with_what_it_answers(page: Path) -> None:
    """The first thing below the title is the question, in one line."""
    title, empty, question, *_ = page.read_text().splitlines()
    assert title.startswith("# ")
    assert not empty
    assert re.fullmatch(r"\*[A-Z].*[?.]\*", question)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    """A path in back-quotes is there, so that no page tells of a tree that has moved on."""
    named = re.findall(r"`((?:components|pipelines|serving|tests|docs|images|manifests)/[\w./-]+)`", page.read_text())
    missing = [name for name in named if not (ROOT / name).exists() and "NAME" not in name and "ROOM" not in name]
    assert missing == []


@pytest.mark.parametrize("name", BLOCKS)
def test_a_figure_has_its_place(name: str) -> None:
    """Each block is on its page once, so that `make figures` finds it."""
    page = (ROOT / BLOCKS[name].page).read_text()
    assert [page.count(edge) for edge in edges(name)] == [1, 1]
    assert content(page, name).strip()


def test_a_filled_block_is_what_was_measured() -> None:
    """The new text takes the old one's place and nothing else changes."""
    begin, end = edges("batch")
    page = f"before\n{begin}old\n{end}\nafter\n"
    assert content(page, "batch") == "old\n"
    assert filled(page, "batch", "| new |") == f"before\n{begin}| new |\n{end}\nafter\n"
    assert content(filled(page, "batch", "| new |"), "batch") == "| new |\n"


def test_a_story_ends_where_places_of_this_machine_begin() -> None:
    """What is printed from the report on names paths, which no page should."""
    told = "market  24 months, plots and\n        report             1 s\nbatch   1 row"
    printed = f"{told}\n\nreport             /somewhere/report.html\ntry  make run\n"
    assert shown(BLOCKS["story"], printed) == f"```\n{told}\n```"
