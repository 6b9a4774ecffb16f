"""Contracts that change in one home: the champion is asked as it would be asked, and what callers lose is said."""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest
import yaml

from components.projects import stages
from components.projects.project import load
from pipelines import settings
from pipelines.here.run import check_arguments
from pipelines.here.training import train_arguments
from pipelines.kubeflow.submitting import carried_there
from serving.errors import DataError
from serving.ledger.ledger import open_ledger
from tests.pipelines.here.support import Said, slipway, write_project

CASES = Path(__file__).with_name("evo")


def went(home: Path, project: Path, *words: str) -> tuple[Said, dict[str, Any], str]:
    """What a run said, its decision as the gate wrote it, and its report."""
    said = slipway("run", "--project", project, "--json", *words, home=home)
    result = next((line for line in said.lines if line["subject"] == "result"), None)
    assert result is not None, said.err
    (decision,) = home.glob(f"pipeline_root/runs/{result['run_id']}/gate/*/decision/decision.json")
    return said, json.loads(decision.read_text()), Path(result["report"]).read_text()


def texts(said: Said, task: str) -> str:
    return next(line["text"] for line in said.lines if line.get("task", line["subject"]) == task)


@pytest.mark.slow
def test_contracts_change_in_one_home(tmp_path: Path) -> None:
    """A column more, one less, categories in another order: the champion is asked about all held-out rows each time."""
    shutil.copytree(CASES, tmp_path / "evo")
    home = tmp_path / "home"
    seen = {
        case: went(home, tmp_path / "evo" / case / "project.yaml")
        for case in ("evo1", "evo2_add", "evo3_drop", "evo5_order")
    }
    assert [said.code for said, _, _ in seen.values()] == [0, 0, 5, 5]
    assert [(one["compared"], one["unasked"]) for _, one, _ in seen.values()] == [("", "")] * 4
    assert [one["narrowed"] for _, one, _ in seen.values()] == [
        [], ["z is needed now"], ["kind is not taken any more"], [],
    ]  # fmt: skip
    added, _, page = seen["evo2_add"]
    assert texts(added, "release").endswith("; the new contract narrows: z is needed now")
    assert texts(added, "result") == texts(added, "release")
    assert "z is needed now" in page
    shown = slipway("models", "show", "evo", "2", home=home)
    assert "gate      the new contract narrows: z is needed now" in shown.out
    ordered = seen["evo5_order"][1]["sentence"]
    assert "is equal to the champion's" in ordered, "the same model by another code"


@pytest.mark.slow
def test_where_the_champion_cannot_be_asked_a_person_may_decide(tmp_path: Path) -> None:
    """By `approval: auto-if-compared` a first version serves, and one that was not compared waits; floors held both."""
    table = pl.read_csv(CASES / "evo_t.csv", infer_schema=False)
    home, project = tmp_path / "home", yaml.safe_load((CASES / "evo1" / "project.yaml").read_text())
    project |= {"approval": "auto-if-compared", "source": {"uri": "t.csv"}}
    file = tmp_path / "project.yaml"
    table.write_csv(tmp_path / "t.csv")
    file.write_text(yaml.safe_dump(project))
    first, decision, _ = went(home, file)
    assert (first.code, decision["unasked"]) == (0, "")
    table.drop("kind").write_csv(tmp_path / "t.csv")
    del project["contract"]["columns"]["kind"]
    file.write_text(yaml.safe_dump(project))
    second, decision, page = went(home, file)
    assert decision["unasked"] == "the table no longer has its kind"
    why = "the champion cannot be asked, since the table no longer has its kind"
    assert (second.code, texts(second, "register")) == (
        20,
        "evo 2 (staging), waiting for approval, as the champion cannot be asked",
    )
    assert "evo-2 is pending, not approved" in texts(second, "result")
    assert why in texts(second, "result")
    assert "The champion, version 1, cannot be asked: the table no longer has its kind." in page
    approved = slipway("--json", "models", "approve", "evo", "2", "--reason", "looked at it", home=home)
    assert (approved.code, approved.value["release"]["state"]) == (0, "released")
    assert approved.value["release"]["notices"] == [why, "the new contract narrows: kind is not taken any more"]
    assert open_ledger(f"sqlite:///{home}/ledger.db").approval("evo", 2).policy == "manual"


COLUMNS, CATEGORIES = 5_000, 100_000
WIDE: dict[str, Any] = {f"c{place:04}": {"type": "float"} for place in range(COLUMNS)}
LONG: dict[str, Any] = {
    "x": {"type": "float"},
    "kind": {"type": "category", "values": [f"place-{place:06}" for place in range(CATEGORIES)]},
}


def wide(folder: Path, columns: dict[str, Any]) -> Path:
    random, rows = np.random.default_rng(1), 400
    table = pl.DataFrame(
        {
            name: random.random(rows)
            if one["type"] == "float"
            else [one["values"][place] for place in random.integers(0, CATEGORIES, rows)]
            for name, one in columns.items()
        }
    )
    table.with_columns(y=10 * table.to_series(0)).write_parquet(folder / "t.parquet")
    return write_project(
        folder,
        name="wide",
        source={"uri": "t.parquet"},
        contract={"target": {"name": "y"}, "columns": columns},
        split={"by": "random", "holdout": 0.25},
        features={},
        gates=[{"metric": "rmse", "at_most": 50}],
        guards={"leak": "off", "baseline": "off"},  # the target is a column, and a family of noise finds little else
    )


@pytest.mark.parametrize("columns", [WIDE, LONG], ids=["columns", "categories"])
def test_no_parameter_of_a_run_grows_with_the_contract(tmp_path: Path, columns: dict[str, Any]) -> None:
    """A wide project goes by address, and what stands there is what was put; one that was changed is refused."""
    project = load(wide(tmp_path, columns))
    place = settings.load(str(tmp_path / "home"), {})
    there = place.model_copy(update={"store": f"file://{tmp_path}/there"})
    asked = train_arguments(project, place)
    arguments = carried_there(asked, there, None)
    check_arguments(arguments)
    assert sum(len(str(value)) for value in arguments.values()) < 10_000
    for text in (arguments["project"], asked["project"]):
        assert stages.sections(stages.read(text, place)) == stages.sections(project)
    assert max(len(str(value)) for value in stages.sections(project).values()) < 10_000
    assert carried_there({"project": "{}"}, there, None) == {"project": "{}"}
    Path(urlsplit(arguments["project"]).path).write_text("{}")
    with pytest.raises(DataError, match="was changed after it was written"):
        stages.read(arguments["project"], place)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [WIDE, LONG], ids=["columns", "categories"])
def test_a_wide_contract_is_trained_verified_and_released(tmp_path: Path, columns: dict[str, Any]) -> None:
    """5,000 columns, or a category of 100,000 values; the step ``verify`` asks a real model server."""
    said, decision, _ = went(tmp_path / "home", wide(tmp_path, columns))
    assert (said.code, decision["accepted"]) == (0, True), said.out
    assert "server" in texts(said, "verify")
