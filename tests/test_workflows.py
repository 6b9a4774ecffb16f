"""What hosted runners do: commands that exist, actions that nobody can move, and few permissions."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.root import ROOT

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
SIGNING = {"contents": "read", "packages": "write", "id-token": "write"}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(request.param.read_text())
    return found


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_an_action_is_named_by_its_commit(workflow: dict[str, Any]) -> None:
    """A tag can be moved by who owns it, or took it over."""
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name)] == []


def test_a_job_may_read_the_repository_and_only_the_release_writes(workflow: dict[str, Any]) -> None:
    """The token of a run that tests other people's changes is worth nothing."""
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job.get("permissions", workflow["permissions"]) in ({"contents": "read"}, SIGNING)
        assert job["timeout-minutes"] <= 150
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_what_others_may_write_is_no_part_of_a_command(workflow: dict[str, Any]) -> None:
    """A branch's name in a script is a script: values come in as variables."""
    assert [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")] == []


def test_every_make_target_of_a_workflow_is_there(workflow: dict[str, Any]) -> None:
    """And each file that its commands name."""
    targets = {
        name
        for page in ("Makefile", "cluster.mk")
        for name in re.findall(r"^([a-z-]+):", (ROOT / page).read_text(), re.M)
    }
    for step in steps(workflow):
        for words in re.findall(r"^ *make ([a-z -]+)", step.get("run", ""), re.MULTILINE):
            assert set(words.split()) <= targets, words
        for module in re.findall(r"python -m ([\w.]+)", step.get("run", "")):
            assert Path(ROOT / f"{module.replace('.', '/')}.py").is_file(), module
