"""docs/features.md says of every function what it does, and its examples come out as they stand there."""

import re

import pytest

from components.projects.project import from_text
from serving.features.functions import FUNCTIONS
from tests.serving.features import page

EXAMPLES = [(text, result) for function in FUNCTIONS.values() for text, result in function.examples.items()]


@pytest.mark.parametrize(("text", "result"), EXAMPLES, ids=[text for text, _ in EXAMPLES])
def test_an_example_comes_out_as_it_is_told(text: str, result: str) -> None:
    assert page.shown({"x": text}) == {"x": result}


def test_every_function_is_on_the_page_as_it_is() -> None:
    """python -m tests.serving.features.page writes it."""
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.page(text) == text
    assert all(function.examples for function in FUNCTIONS.values())


def test_the_example_of_the_page_is_a_project() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    example = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]
    head = "name: x\nsource: {uri: x.csv}\nsplit: {by: random, holdout: 0.2}\nmodel: {family: ridge}\n"
    project = from_text(head + example.replace("contract:\n", "contract:\n  target: price\n"))
    assert list(project.features.columns) == ["hour", "around", "room_size", "large_flat"]
