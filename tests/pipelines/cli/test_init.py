"""``slipway init`` and what one does next with its file."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.pipelines.here.support import slipway


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small table of homes in the current directory."""
    rng = np.random.default_rng(0)
    size = rng.gamma(4, 20, 300).round(1)
    frame = pl.DataFrame(
        {
            "id": range(1000, 1300),
            "size": size,
            "kind": rng.choice(["flat", "house"], 300),
            "price": (size * 3000 * rng.lognormal(0, 0.2, 300)).round(),
        }
    )
    frame.write_csv(tmp_path / "homes.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "homes.csv"


def test_a_table_becomes_a_project_that_holds_it(table: Path) -> None:
    """One command writes ./project.yaml, and the next one finds it and has nothing to complain of."""
    said = slipway("init", table, "--target", "price")
    assert said.code == 0, said.err
    assert "300 accepted, 0 quarantined" in said.out
    check = slipway("data", "check")
    assert (check.code, check.out) == (0, "300 accepted, 0 quarantined\n")
    assert "source: {uri: homes.csv}" in Path("project.yaml").read_text()


def test_a_file_that_is_there_is_kept(table: Path) -> None:
    """What somebody has edited is not written over, unless that is said."""
    Path("project.yaml").write_text("mine")
    said = slipway("init", table, "--target", "price")
    assert said.code == 6
    assert "project.yaml is there already: write over it with --force" in said.err
    assert Path("project.yaml").read_text() == "mine"
    assert slipway("init", table, "--target", "price", "--force").code == 0


def test_what_is_not_obvious_is_asked_for_by_a_refusal(table: Path) -> None:
    """Without a target nothing is written and the candidates are named."""
    table.write_text(table.read_text().replace("price", "worth"))
    said = slipway("init", table)
    assert said.code == 2
    assert "say --target COLUMN; candidates: worth (the last column)" in said.err
    assert not Path("project.yaml").exists()


def test_with_ask_the_guesses_are_confirmed(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question shows its guess, and Enter takes it."""
    table.write_text(table.read_text().replace("price", "worth"))
    monkeypatch.setattr("sys.stdin", io.StringIO("\n\nnone\n\n"))
    said = slipway("init", table, "--ask")
    assert "what is predicted [worth]" in said.err
    assert said.code == 2
    assert "--key: no column 'none'" in said.err


def test_as_json_it_gives_columns_reasons_and_doubts(table: Path) -> None:
    """What people read as comments, programs get as values."""
    value = slipway("init", table, "--target", "price", "--json").value
    assert value["target"] == "price"
    assert value["key"] == "id"
    assert [column["name"] for column in value["columns"]] == ["size", "kind"]
    assert all(column["reason"] for column in value["columns"])
    assert value["doubts"] == []
