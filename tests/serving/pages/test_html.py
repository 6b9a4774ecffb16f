"""The builder of pages: a text stays text, markup stays markup, and nothing leads out of the page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.pages.html import Html, join, link, table, tag, text


@given(st.text())
def test_any_text_is_escaped_once_and_markup_not_again(value: str) -> None:
    """Builders nest without a text ever becoming markup or being escaped twice."""
    once = tag("p", value)
    assert once == f"<p>{text(value)}</p>"
    assert tag("div", once) == f"<div>{once}</div>"
    assert "<" not in text(value)
    assert join([value, once]) == text(value) + once


@pytest.mark.parametrize(
    ("href", "linked"),
    [
        pytest.param("runs/02/report.html", True, id="a-file-beside-the-page"),
        pytest.param("javascript:alert(1)", False, id="a-script"),
        pytest.param("https://example.com/", False, id="another-site"),
        pytest.param("//example.com/", False, id="another-site-without-scheme"),
        pytest.param("", False, id="nowhere"),
    ],
)
def test_only_files_beside_the_page_are_linked(href: str, linked: bool) -> None:
    """Everything else is shown as words."""
    assert link(href, "report").startswith("<a ") is linked


def test_a_table_without_rows_is_nothing() -> None:
    """No head stands alone."""
    assert table(("a", "b"), []) == Html()
