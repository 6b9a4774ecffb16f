"""What holds for every test: none fails because the machine is slow, and ``make test`` draws the same examples each
time, so that what fails there fails at home. ``make test-slow`` draws others, and prints how to have them again.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.root import ROOT

settings.register_profile("slipway", deadline=None, derandomize=not os.environ.get("EXPLORE"), print_blob=True)
settings.load_profile("slipway")


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of a package with own code, installed from its folder into one of its own."""
    place, source = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(ROOT / "tests/example_package", source)
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "--target", str(place), str(source)], check=True)
    return place


@pytest.fixture
def installed(wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy that a test may change, where this Python and those that it starts find it."""
    place = tmp_path / "site"
    shutil.copytree(wheelhouse, place)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", str(place))
    yield place
    for name in [name for name in sys.modules if name.partition(".")[0] == "shoreline"]:
        del sys.modules[name]


@pytest.fixture
def offered_twice(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the example another package that offers the same names."""
    other = tmp_path / "other" / "tideline-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Name: tideline\nVersion: 1.0\n")
    twice = "[slipway.families]\nbands = tideline:Bands\n[slipway.transformers]\nshore = tideline:Shore\n"
    (other / "entry_points.txt").write_text(twice)
    monkeypatch.setattr(sys, "path", [*sys.path, str(other.parent)])
