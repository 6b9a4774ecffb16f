"""Own code in a whole run: trained, judged and asked in a real server that was told to load it."""

from pathlib import Path
from typing import Any

import pytest

from components.projects.stages import Ingested, ingest
from pipelines import settings
from serving.files import sha256_file
from tests.pipelines.here.support import slipway, write_project, write_table


def project_of(tmp_path: Path) -> Path:
    return write_project(
        tmp_path,
        features={"own": {"shore": ["area_m2"]}},
        model={"family": "bands", "params": {"bands": 4}},
        guards={"baseline": "off", "previous": "off"},
        approval="manual",
    )


@pytest.mark.parametrize("allowed", [True, False])
def test_a_run_with_own_code_ends_where_its_server_may_load_it(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    """Named in the variable, a version waits for approval; else the run ends with the server's refusal."""
    if allowed:
        monkeypatch.setenv("SLIPWAY_OWN_PACKAGES", "shoreline")
    write_table(tmp_path)

    said = slipway("run", "--project", project_of(tmp_path), "--as-of", "2024-06-01", home=tmp_path / "home")

    assert said.code == (20 if allowed else 5), said.err + said.out
    assert ("may not load" in said.out + said.err) == (not allowed)


@pytest.mark.parametrize("asks", [{"features": {"own": {"shore": ["area_m2"]}}}, {"model": {"family": "bands"}}])
def test_steps_that_are_kept_see_the_code_of_the_package(tmp_path: Path, installed: Path, asks: dict[str, Any]) -> None:
    """What was trained with other files is trained again; the contract is the same one all the same."""
    text, place = (
        write_project(tmp_path, **asks).read_text(),
        settings.load(home=str(tmp_path / "home")).model_dump_json(),
    )

    def doorway() -> Ingested:
        rules = tmp_path / "contract.json"
        told = ingest(text, "2024-06-01", "", str(rows), place, "", "run", str(tmp_path / "rows"), str(rules))
        assert told.contract_id == sha256_file(rules)
        return told

    rows = write_table(tmp_path)
    before = doorway()
    assert doorway().code == before.code

    module = installed / "shoreline" / "shore.py"
    module.write_text(module.read_text() + "# changed")

    assert doorway().code != before.code
