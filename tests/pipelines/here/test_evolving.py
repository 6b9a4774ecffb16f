"""Contracts that change in one home: the champion is asked as it would be asked, and what callers lose is said."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from serving.ledger.ledger import open_ledger
from tests.pipelines.here.support import Said, slipway

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
        [], ["z is needed now"], ["kind is not used any more"], [],
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
    assert approved.value["release"]["notices"] == [why, "the new contract narrows: kind is not used any more"]
    assert open_ledger(f"sqlite:///{home}/ledger.db").approval("evo", 2).policy == "manual"
