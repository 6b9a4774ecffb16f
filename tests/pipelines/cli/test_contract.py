"""What changed in the data is a reviewed change of the contract."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from components.drafting.editing import edited, removed
from tests.pipelines.here.support import slipway


def homes(**changed: Any) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    size = rng.gamma(4, 20, 300).round(1)
    columns = {
        "size": size,
        "kind": rng.choice(["flat", "house"], 300),
        "price": (size * 3000 * rng.lognormal(0, 0.2, 300)).round(),
    }
    return pl.DataFrame({**columns, **changed})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A drafted project with a comment of somebody's own, in the current directory."""
    monkeypatch.chdir(tmp_path)
    homes().write_csv("homes.csv")
    assert slipway("init", "homes.csv", "--target", "price").code == 0
    file = Path("project.yaml")
    file.write_text(file.read_text().replace("seed: 42", "seed: 42  # my own"))
    return file


def test_a_table_as_it_was_has_no_difference(project: Path) -> None:
    """The table that a project was drafted from is as its contract says."""
    said = slipway("contract", "diff")
    assert (said.code, said.out) == (0, "nothing: the table is as the contract says\n")
    assert "no key of the contract changes" in slipway("contract", "propose").out
    assert not Path("project.yaml.proposed").exists()


def test_changes_are_said_proposed_and_accepted(project: Path) -> None:
    """New words, gaps, a wider range and a new column become lines of the contract, and everything else stays."""
    rng = np.random.default_rng(1)
    kinds = rng.choice(["flat", "house", "boat"], 300)
    size = homes()["size"].to_list()
    size[:5] = [None] * 5
    size[5:20] = [n * 3.7 + 300 for n in size[5:20]]
    homes(kind=kinds, size=size, floor=rng.integers(0, 9, 300)).write_csv("new.csv")
    before = project.read_text()
    said = slipway("contract", "diff", "--source", "new.csv").out
    assert "size: missing in 5 of 300 rows" in said
    assert "of 300 rows lie outside of [0, " in said
    assert "kind: words that are new: 'boat'" in said
    assert "floor: a column that the contract does not name, int" in said
    assert slipway("contract", "propose", "--source", "new.csv").code == 0
    assert project.read_text() == before
    assert slipway("contract", "accept").code == 0
    after = project.read_text()
    assert "seed: 42  # my own" in after
    check = slipway("data", "check", "--source", "new.csv")
    assert (check.code, check.out) == (0, "300 accepted, 0 quarantined\n")
    changed = [line for line in before.splitlines() if line not in after.splitlines()]
    assert len(changed) == 2, changed
    assert not Path("project.yaml.proposed").exists()


def test_another_unit_is_not_proposed_away(project: Path) -> None:
    """A range is not widened over numbers that look like those of another unit."""
    homes(size=(homes()["size"] * 1000).round()).write_csv("new.csv")
    said = slipway("contract", "diff", "--source", "new.csv").out
    assert "has the unit changed?" in said
    assert "mend the data" in said
    assert "no key" in slipway("contract", "propose", "--source", "new.csv").out


def test_a_proposal_for_another_file_is_refused(project: Path) -> None:
    """Somebody who edited meanwhile loses nothing."""
    homes(kind=["boat"] * 300).write_csv("new.csv")
    assert slipway("contract", "propose", "--source", "new.csv").code == 0
    project.write_text(project.read_text() + "# edited\n")
    said = slipway("contract", "accept")
    assert said.code == 6
    assert "has changed since" in said.err


WORDS = st.text("abcxyz", min_size=1, max_size=4)
LEAVES = st.integers(-99, 99) | WORDS | st.lists(st.integers(0, 9), max_size=3)
MAPPINGS = st.recursive(
    st.dictionaries(WORDS, LEAVES, min_size=1, max_size=4),
    lambda inner: st.dictionaries(WORDS, LEAVES | inner, min_size=1, max_size=4),
    max_leaves=10,
)


@settings(max_examples=150)
@given(MAPPINGS, st.booleans(), st.data())
def test_an_edit_changes_what_it_says(value: dict[str, Any], flowing: bool, data: st.DataObject) -> None:
    """In block and in flow style: the value at the path is the new one, all others are as they were."""
    text = yaml.safe_dump({"top": value}, default_flow_style=flowing, sort_keys=False)
    path, inside = ["top"], value
    while data.draw(st.booleans()) and (maps := [key for key, item in inside.items() if isinstance(item, dict)]):
        path.append(data.draw(st.sampled_from(maps)))
        inside = inside[path[-1]]
    key = data.draw(st.sampled_from(sorted(inside)) | st.just("new"))
    after = yaml.safe_load(edited(text, (*path, key), [1, "two"]))
    inside[key] = [1, "two"]
    assert after == {"top": value}
    if len(inside) > 1:
        again = yaml.safe_load(removed(edited(text, (*path, key), [1, "two"]), (*path, key)))
        del inside[key]
        assert again == {"top": value}
