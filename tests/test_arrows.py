"""The contracts of pyproject.toml say who may import whom; each of them notices an arrow that is turned."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.root import ROOT

HOME = "what is heavy, or belongs to one place, is imported in its home only, so that images and stages stay small"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch copy of what the contracts are about."""
    directory = tmp_path_factory.mktemp("arrows")
    for package in ("components", "pipelines", "serving"):
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", directory)
    return directory


def broken(copy: Path) -> list[str]:
    """The names of the contracts that do not hold."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=copy,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^(.+) BROKEN", done.stdout, re.MULTILINE)
    assert done.returncode == bool(found), done.stdout + done.stderr
    assert re.search(r"^Contracts: \d+ kept", done.stdout, re.MULTILINE), done.stdout + done.stderr
    return found


def test_every_arrow_points_down(copy: Path) -> None:
    """Also where only the tests are run."""
    assert broken(copy) == []


@pytest.mark.parametrize(
    ("contract", "importer", "imported"),
    [
        ("arrows: pipelines -> components -> serving", "serving/errors.py", "components.data.rules"),
        ("arrows: pipelines -> components -> serving", "components/data/rules.py", "pipelines.settings"),
        ("rooms of pipelines", "pipelines/loop/turn.py", "pipelines.cli.main"),
        ("rooms of pipelines", "pipelines/housing/market.py", "pipelines.kubeflow.server"),
        ("rooms of components", "components/data/rules.py", "components.judging.metrics"),
        ("rooms of components", "components/train.py", "components.gate"),
        ("rooms of serving", "serving/rollout/plan.py", "serving.local.client"),
        ("rooms of serving", "serving/cluster/client.py", "serving.local.client"),
        ("rooms of a rollout", "serving/rollout/plan.py", "serving.rollout.decision.rules"),
        ("the core of components knows no doorway and no kfp", "components/data/rules.py", "kfp"),
        (HOME, "serving/local/client.py", "kserve"),
        ("the serving image carries no tables of the pipeline", "serving/predictor/work.py", "polars"),
    ],
    ids=lambda value: value.split(":")[0].replace(" ", "-"),
)
def test_an_arrow_that_is_turned_is_noticed(copy: Path, contract: str, importer: str, imported: str) -> None:
    """An import of what is above, or beside, or belongs elsewhere breaks the contract, inside of a function too."""
    module = copy / importer
    text = module.read_text(encoding="utf-8")
    module.write_text(f"{text}\n\ndef _turned():\n    import {imported}\n", encoding="utf-8")
    try:
        assert contract in broken(copy)
    finally:
        module.write_text(text, encoding="utf-8")
