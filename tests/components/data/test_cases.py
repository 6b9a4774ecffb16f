"""Small tables that went wrong once, each under the claim that it broke; ``test_readers`` makes their relatives."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from components.data import sources
from components.data.meeting import Needed
from components.data.moments import Recent, moment
from components.data.validation import Validation, validate
from components.watching.labels import needed, told
from pipelines.here.asking import records_of
from serving.contract import Column, Contract
from serving.predictor.rows.v1 import Decoder

NOW = datetime(2026, 1, 31, tzinfo=UTC)
NUMBER = Column(type="float")


def contract(target: Any = "y", **columns: Column) -> Contract:
    return Contract.model_validate({"columns": columns, "target": target, "refuse_above": 1.0})


def read(path: Path, rules: Contract) -> Validation:
    return validate(sources.read(str(path), None, Needed.of(rules)), rules, NOW)


def test_categories_that_are_equal_as_numbers_are_two(tmp_path: Path) -> None:
    """1.1 and 1.10 never become one."""
    rules = contract(v=Column(type="category", values=("1.1", "1.10")))
    (tmp_path / "t.csv").write_text("v,y\n1.10,1000\n1.1,1\n1.10,1002\n")
    assert read(tmp_path / "t.csv", rules).accepted["v"].to_list() == ["1.10", "1.1", "1.10"]


def test_a_zip_with_its_zero_is_one_spelling_from_training_to_requests(tmp_path: Path) -> None:
    """02116 where the contract says 02116, and 2116 by none of them."""
    rules = contract(zip=Column(type="category", values=("02116", "10001")), x=NUMBER)
    (tmp_path / "t.csv").write_text("zip,x,y\n02116,1,2\n2116,1,2\n")
    found = read(tmp_path / "t.csv", rules)
    assert (found.good.tolist(), found.accepted["zip"].to_list()) == ([True, False], ["02116"])
    assert records_of(str(tmp_path / "t.csv"), rules, None).records[1] == {"zip": "02116", "x": 1.0}
    assert Decoder(rules, 1).decode(b'{"instances": [{"zip": "02116", "x": 1}]}').matrix.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("classes", [("False", "True"), ("false", "true"), ("0", "1"), ("no", "yes"), ("N", "Y")])
def test_classes_are_the_text_as_it_stands(tmp_path: Path, classes: tuple[str, str]) -> None:
    """True and False are words like others, in a table and in its labels."""
    rules = contract({"name": "y", "classes": classes}, x=NUMBER)
    (tmp_path / "t.csv").write_text(f"request_id,x,y\n00,1,{classes[1]}\n01,2,{classes[0]}\n")
    assert read(tmp_path / "t.csv", rules).accepted["y"].to_list() == list(classes[::-1])
    truth = Column(type="category", values=classes)
    found = told(sources.read(str(tmp_path / "t.csv"), None, needed("y", truth)), "y", "t.csv", truth)
    assert found.values == {"00": classes[1], "01": classes[0]}


@pytest.mark.parametrize("name", ["0.csv", "9.csv"], ids=["first", "last"])
def test_a_part_without_rows_has_no_say(tmp_path: Path, name: str) -> None:
    """Whether it is read first or last, the others mean what they meant, and it is told."""
    rules = contract(code=Column(type="category", values=("1", "2"), nullable=True), flag=Column(type="bool"))
    (tmp_path / "5.csv").write_text("code,flag,y\n1,True,2\n,false,3\n")
    (tmp_path / name).write_text("code,flag,y\n")
    with sources.opened(str(tmp_path), None, Needed.of(rules)) as table:
        assert ["no row" in notice for notice in table.notices] == [True]
        found = validate(table.frame(), rules, NOW)
    assert found.accepted.rows() == [("1", True, 2.0), (None, False, 3.0)]


def test_labels_keep_the_zeros_of_their_ids(tmp_path: Path) -> None:
    """00000000 and 00000001 are text."""
    (tmp_path / "t.csv").write_text("request_id,y\n00000000,1.5\n00000001,2.5\n")
    found = told(sources.read(str(tmp_path / "t.csv"), None, needed("y", NUMBER)), "y", "t.csv", NUMBER)
    assert found.values == {"00000000": 1.5, "00000001": 2.5}


@pytest.mark.parametrize("ending", ["", "Z", "+00:00", ".000000", ".5Z"])
def test_a_window_keeps_the_same_days_however_moments_are_written(tmp_path: Path, ending: str) -> None:
    """Sixty days of six hundred, and of what is no moment none."""
    rules = contract(x=NUMBER).model_copy(update={"event_time": "t"})
    days = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(600)]
    lines = [f"{day:%Y-%m-%dT%H:%M:%S}{ending},{place},1" for place, day in enumerate(days)]
    (tmp_path / "t.csv").write_text("\n".join(["t,x,y", *lines, "soon,1,1", ",1,1"]) + "\n")
    cut = Recent(rules, moment(days[-1].date().isoformat()), "60d")
    with sources.opened(str(tmp_path / "t.csv"), None, Needed.of(rules)) as table:
        kept = pl.concat(cut(chunk) for chunk in table.chunks(100))
    assert kept["x"].to_list() == [str(day) for day in range(540, 600)]
    assert cut.unreadable == 2
