"""What is planted into a table is named, and nothing is said of a table without a trouble."""

from pathlib import Path

import pytest

from tests.tables.made import TABLES
from tests.tables.report import naming, said
from tests.tables.troubles import clean, planted

FEW = ("rentals", "clinic", "passengers")  # in every run; the others in the slow one
NAMES = [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in TABLES]


@pytest.mark.parametrize("name", NAMES)
def test_every_planted_trouble_is_named(name: str, tmp_path: Path) -> None:
    """Nine troubles, each called what it is, of the column that it was planted into."""
    unnamed = [trouble.words for trouble in planted(name) if not naming(trouble, *said(trouble.made, tmp_path))]
    assert unnamed == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_said_of_a_clean_table(name: str, tmp_path: Path) -> None:
    """A doubt that is raised for nothing teaches people to read none."""
    found = [doubt.sentence for seed in range(5) for doubt in said(clean(name, seed), tmp_path)[1]]
    assert found == []
