"""Which project and which model a command means when it does not say so."""

from pathlib import Path

import pytest

from components.projects import project_file
from serving.ledger.details import Registered
from tests.pipelines.here.support import MODEL, Scene, environment, one_sentence, slipway, write_project, write_table


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory without a project."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("SLIPWAY_PROJECT", raising=False)
    return tmp_path


def write(directory: Path, name: str) -> Path:
    directory.mkdir(exist_ok=True)
    write_table(directory)
    return write_project(directory, name=name)


def test_a_project_is_named_here_or_the_last_that_ran(elsewhere: Path) -> None:
    """--project before ./project.yaml before the project of the last run in this home."""
    home, last = elsewhere / "home", write(elsewhere / "last", "last")
    project_file.remember(last, home)
    assert project_file.name(project_file.find(None, home)) == "last"
    write(elsewhere / "here", "nearest")
    assert project_file.name(project_file.find(None, home)) == "nearest"
    given = write(elsewhere / "given", "given")
    assert project_file.name(project_file.find(given, home)) == "given"


def test_without_any_project_a_sentence_says_what_to_do(elsewhere: Path) -> None:
    """3, and the three ways to name one; the example of the product is nobody's default."""
    for words in (["run"], ["data", "show"], ["serve"], ["serve", "status"], ["rollout", "plan"], ["watch"]):
        one_sentence(slipway(*words, home=elsewhere / "home"), 3, "which project?", "--project FILE", "project.yaml")
    assert not (elsewhere / "home").exists()


def test_a_run_makes_its_project_the_homes(elsewhere: Path) -> None:
    """Also one that fails; the path is whole, so that the next command may be typed elsewhere."""
    home, project = elsewhere / "home", write(elsewhere / "mine", "mine")
    assert slipway("run", "--project", project, "--source", elsewhere / "no.csv", home=home).code == 4
    said = slipway("data", "show", "--rows", 1, home=home)
    assert (said.code, "397 rows" in said.out) == (0, True), said
    project.unlink()
    one_sentence(slipway("data", "show", home=home), 3, str(project), "--project")


def test_another_home_knows_nothing_of_it(elsewhere: Path) -> None:
    """Homes are apart; the variable names a project for all of them."""
    project_file.remember(write(elsewhere / "mine", "mine"), elsewhere / "one")
    assert slipway("data", "show", home=elsewhere / "two").code == 3
    with environment(SLIPWAY_PROJECT=str(elsewhere / "mine" / "project.yaml")):
        assert slipway("data", "show", home=elsewhere / "two").code == 0


def test_a_name_is_read_from_a_file_that_is_being_edited(elsewhere: Path) -> None:
    """A rollout can be looked at and ended while another section of its project is wrong; a run can not begin."""
    project = write_project(elsewhere, model={"family": "crystal_ball"})
    one_sentence(slipway("rollout", "abort", "--project", project, home=elsewhere / "home"), 6, "no rollout is live")
    one_sentence(slipway("run", "--project", project, home=elsewhere / "home"), 3, "crystal_ball")


@pytest.mark.parametrize("name", ["No Spaces", "", 7, None])
def test_a_name_that_no_model_can_have_is_refused(elsewhere: Path, name: object) -> None:
    """Before anything is done under it."""
    project = write_project(elsewhere, name=name)
    one_sentence(slipway("serve", "stop", "--project", project, home=elsewhere / "home"), 3, "name:", repr(name))


def test_the_only_model_need_not_be_named(elsewhere: Path) -> None:
    """With one in the ledger a lone word is the version; with two of them the message lists both."""
    home = elsewhere / "home"
    one_sentence(slipway("models", "show", 1, home=home), 2, "MODEL", "none yet", "slipway run")
    scene = Scene(home)
    scene.register(1, 2)
    shown = slipway("models", "show", 2, "--json", home=home).value
    assert (shown["version"]["model"], shown["version"]["version"]) == (MODEL, 2)
    told = slipway("models", "at", "2001-01-01", home=home).out
    assert told == f"nothing served {MODEL} at 2001-01-01 00:00:00+00:00\n"
    assert slipway("models", "reject", 2, "--reason", "r", home=home).out == f"{MODEL} 2 is rejected\n"
    scene.ledger.register(
        "another",
        Registered(digest="f" * 64, bundle_uri="file:///b", run_id="01", snapshot="s", metrics={}, provenance={}),
        "ada",
    )
    one_sentence(slipway("models", "show", 2, home=home), 2, "MODEL", f"another, {MODEL}")
    assert slipway("models", "show", "another", 1, home=home).code == 0
    one_sentence(slipway("models", "show", "another", MODEL, 1, home=home), 2, "one MODEL", f"another and {MODEL}")
    scene.control.desk.close()
