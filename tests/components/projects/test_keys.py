"""Each key of a project is described where it is read, and shown with a value that a project may have."""

from importlib.metadata import EntryPoint

import pytest

from components.projects import project as projects
from components.projects.keys import EXAMPLES, ProjectKey, keys, page_of
from components.projects.project import Project
from serving.bundle.own import TRANSFORMERS
from tests.pipelines.here.support import slipway
from tests.root import ROOT

EVERY = list(keys(Project))


@pytest.mark.parametrize("key", EVERY, ids=lambda key: key.path)
def test_a_key_has_a_meaning_and_an_example(key: ProjectKey) -> None:
    """Whoever adds a field to a model says under `Attributes` what it is, and shows one value in examples.yaml."""
    assert key.meaning, f"say what {key.path} means under 'Attributes' of its model"
    assert key.section or key.example, f"give {key.path} a value in {EXAMPLES.name}"


@pytest.mark.parametrize("document", EXAMPLES.read_text().split("\n---\n"))
def test_the_examples_are_projects(document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example that no project may have would teach a mistake; the package of one of them is not installed here."""
    offer = EntryPoint("shore", "sklearn.preprocessing:StandardScaler", TRANSFORMERS)
    shore = (TRANSFORMERS, "shore")
    monkeypatch.setattr("serving.bundle.own.offer", lambda *asked: offer if asked == shore else None)
    assert projects.from_text(document).name


def test_the_page_is_current() -> None:
    """docs/project.md is what the models say."""
    assert page_of(EVERY) == (ROOT / "docs/project.md").read_text(), "the page is old: make keys"


def test_the_terminal_says_one_key() -> None:
    """Asked for a section one gets its keys and no others; a word that is none is refused."""
    said = slipway("help", "project", "split")
    assert said.code == 0
    assert [line for line in said.out.splitlines() if not line.startswith(" ")] == [
        "split  (keys below; needed)",
        "split.by  (one of time, group, random; by default random)",
        "split.holdout  (number or text; by default 0.2)",
        "split.group  (text; by default null)",
    ]
    refused = slipway("help", "project", "splt")
    assert refused.code == 2
    assert "no key 'splt' in a project" in refused.err
