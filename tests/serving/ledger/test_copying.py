"""A copy of the ledger: all of it, and into an empty one or not at all."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ConfigError, DataError, GateRefusal
from serving.ledger.copying import into, out
from serving.ledger.database import Database, connect
from serving.ledger.ledger import Ledger, open_ledger
from tests.serving.ledger.facts import facts


def filled(path: Path, names: list[str] | None = None) -> Ledger:
    ledger = open_ledger(f"sqlite:///{path}")
    for number, name in enumerate(names or ["housing", "housing", "länder 'a'"]):
        ledger.register(name, facts(f"{number:064}"), "ann", reason=f"because of \\ and \n of {name}")
    return ledger


def database(path: Path) -> Database:
    open_ledger(f"sqlite:///{path}").head()
    return connect(f"sqlite:///{path}", "ledger")


@given(names=st.lists(st.sampled_from(["a", "b", "ü-ß", "c"]), min_size=1, max_size=8))
def test_what_was_copied_is_there_and_holds(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Versions, events and the newest hash; the history is as verified as it was."""
    place = tmp_path_factory.mktemp("copy")
    source = filled(place / "a.db", names)
    lines = list(out(database(place / "a.db")))
    assert into(database(place / "b.db"), lines) == len(lines) - 1
    target = open_ledger(f"sqlite:///{place / 'b.db'}")
    for name in set(names):
        assert target.versions(name) == source.versions(name)
        assert target.history(name) == source.history(name)
    assert target.head() == source.head()
    assert target.verify() == source.verify()
    assert list(out(database(place / "b.db"))) == lines


@pytest.mark.parametrize("left", [0, 1, -1])
def test_a_copy_that_broke_off_is_none(tmp_path: Path, left: int) -> None:
    """At any line, and in the middle of one; the ledger stays empty."""
    filled(tmp_path / "a.db")
    lines = list(out(database(tmp_path / "a.db")))
    target = database(tmp_path / "b.db")
    for part in (lines[:left], [*lines[:left], lines[left][: len(lines[left]) // 2]]):
        with pytest.raises(DataError, match=r"broke off|expected the lines"):
            into(target, part)
    assert open_ledger(f"sqlite:///{tmp_path / 'b.db'}").versions("housing") == ()


@pytest.mark.parametrize("lines", [[], ["5"], ["[1, 2, 3]"], ["[1, 2]", "[null, 1]"], ["{}"], ["null"], ['["a", {}]']])
def test_what_is_no_copy_is_refused_and_never_a_traceback(tmp_path: Path, lines: list[str]) -> None:
    """With the next move."""
    with pytest.raises(DataError, match="take another copy"):
        into(database(tmp_path / "b.db"), lines)


def test_a_ledger_that_has_versions_is_not_written_over(tmp_path: Path) -> None:
    """Nor is one of other tables."""
    filled(tmp_path / "a.db")
    kept = filled(tmp_path / "b.db", ["own"])
    lines = list(out(database(tmp_path / "a.db")))
    with pytest.raises(GateRefusal, match="has versions"):
        into(database(tmp_path / "b.db"), lines)
    assert len(kept.versions("own")) == 1
    other = [json.dumps([name, {**row, "version_num": "x"}]) if name == "alembic_version" else line
             for line in lines for name, row in [json.loads(line)]]  # fmt: skip
    with pytest.raises(ConfigError, match="tables x"):
        into(database(tmp_path / "c.db"), other)
    with pytest.raises(ConfigError, match="does not know"):
        into(database(tmp_path / "c.db"), ['["nothing", {}]', "[null, 1]"])
