"""The table of runs of the cluster suite: what it says of a record that pytest itself wrote."""

import subprocess
import sys
from pathlib import Path

from tests.cluster.table import read, told

SUITE = """
import pytest

@pytest.fixture(scope="session", autouse=True)
def on_record(record_testsuite_property):
    record_testsuite_property("version pipelines", "{pipelines}")
    record_testsuite_property("version kserve", "{kserve}")

def test_one():
    pass

def test_other():
    {body}
"""


def record(directory: Path, name: str, **words: str) -> Path:
    """The JUnit file of a small suite."""
    (directory / f"test_{name}.py").write_text(SUITE.format(**words))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={name}.xml",
        f"test_{name}.py",
    ]
    subprocess.run(command, cwd=directory, capture_output=True, check=False)
    return directory / f"{name}.xml"


def test_a_pair_has_a_row_for_each_run_and_what_differs_has_its_reason(tmp_path: Path) -> None:
    """Counts come from the record; a test that ends otherwise on another pair, or in another run, is named."""
    old = {"pipelines": "2.14.3", "kserve": "0.20.0", "body": "pytest.skip('cannot: no split|here')"}
    new = {"pipelines": "2.17.0", "kserve": "0.21.0", "body": "pass"}
    runs = [record(tmp_path, "a", **old), record(tmp_path, "b", **old), record(tmp_path, "c", **new)]
    lines = list(told([read(path) for path in runs]))
    rows = [line.split(" | ") for line in lines if line.startswith("| 2.")]
    assert [(row[0], row[2][:1], *row[4:7]) for row in rows] == [
        ("| 2.14.3", "1", "1", "1", "0"),
        ("| 2.14.3", "2", "1", "1", "0"),
        ("| 2.17.0", "1", "2", "0", "0"),
    ]
    differing = [line for line in lines if "test_other" in line]
    assert any("skipped: cannot: no split\\|here" in line for line in differing)
    assert not any("test_one" in line for line in lines if "passed | passed" in line)


def test_a_test_that_falls_in_one_run_of_several_is_named(tmp_path: Path) -> None:
    """Green twice of three times is not green."""
    words = {"pipelines": "2.17.0", "kserve": "0.21.0"}
    good, bad = record(tmp_path, "a", body="pass", **words), record(tmp_path, "b", body="assert 1 == 2", **words)
    first, second = read(good), read(bad)
    second = type(second)(
        second.facts, {name.replace("test_b", "test_a"): one for name, one in second.outcomes.items()}, 1, ""
    )
    assert any("passed/failed" in line and "test_other" in line for line in told([first, second]))
