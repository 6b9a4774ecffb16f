"""Plots: well-formed, harmless, deterministic SVG that says what it shows."""

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from components.pages import plots

EVIL = '<script>alert("&")</script>'
DRAWN: dict[str, Callable[[str], str]] = {
    "histogram": lambda t: plots.histogram(t, [-10.0, 0.0, 10.0], [1, 5, 7, 2], label=t, zero=True),
    "histogram-one-edge": lambda t: plots.histogram(t, [0.0], [3, 4]),
    "scatter": lambda t: plots.scatter(t, [1.0, 2e5, 3e5], [1.5, 1e5, 3e5], unit=t),
    "scatter-one-point": lambda t: plots.scatter(t, [1.0], [1.0]),
    "lines": lambda t: plots.lines(t, ["mon", "tue", t], {"v1": [1, None, 3], t: [None, 2, 4]}, threshold=2.5, unit=t),
    "lines-constant": lambda t: plots.lines(t, ["a"], {"x": [0.0]}),
    "lines-negative": lambda t: plots.lines(t, ["a", "b"], {"x": [-4.0, -2.0]}),
    "bars": lambda t: plots.bars(t, {"north": 10.0, t: -5.0}, unit=t, bar=12.0),
    "bars-zero": lambda t: plots.bars(t, {"north": 0.0}),
    "confusion": lambda t: plots.confusion(t, ["no", t], [[5, 1], [0, 0]]),
    "roc": lambda t: plots.roc(t, {t: ([0, 0.5, 1], [0, 0.9, 1]), "b": ([0, 1], [0, 1])}),
}
EMPTY: dict[str, Callable[[str], str]] = {
    "histogram": lambda t: plots.histogram(t, [], [0]),
    "scatter": lambda t: plots.scatter(t, [], []),
    "lines": lambda t: plots.lines(t, ["a"], {"x": [None]}),
    "bars": lambda t: plots.bars(t, {}),
    "confusion": lambda t: plots.confusion(t, [], []),
    "roc": lambda t: plots.roc(t, {}),
}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_a_plot_is_well_formed_and_named_for_screen_readers(draw: Callable[[str], str]) -> None:
    """It parses as XML, is an image, and its title and description are what it is labelled by."""
    root = ElementTree.fromstring(draw("Error of holdout rows"))
    title, described = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert described is not None
    assert title.text == "Error of holdout rows"
    assert described.text
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {described.get('id')}"


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_text_from_data_cannot_become_markup(draw: Callable[[str], str]) -> None:
    """A title, unit, class or label with angle brackets stays text."""
    text = draw(EVIL)
    assert "<script" not in text
    assert not ElementTree.fromstring(text).findall(f".//{SVG}script")


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_equal_numbers_give_equal_bytes(draw: Callable[[str], str]) -> None:
    """Two runs log the same picture, and no coordinate is NaN or infinite."""
    text = draw("A")
    assert text == draw("A")
    assert "nan" not in text.replace("sans", "").lower()
    assert "inf" not in text.lower()


@pytest.mark.parametrize("draw", EMPTY.values(), ids=EMPTY.keys())
def test_without_rows_a_plot_says_so(draw: Callable[[str], str]) -> None:
    """An empty picture is no riddle."""
    assert "no rows to draw" in "".join(ElementTree.fromstring(draw("A")).itertext())


def test_bars_of_a_histogram_are_as_tall_as_their_counts() -> None:
    """Twice the rows, twice the height, on a common base."""
    root = ElementTree.fromstring(plots.histogram("A", [1.0, 2.0], [10, 20, 5]))
    tall = [float(bar.get("height", "")) for bar in root.findall(f"{SVG}rect")]
    feet = {round(float(b.get("y", "")) + float(b.get("height", ""))) for b in root.findall(f"{SVG}rect")}
    assert tall[1] == pytest.approx(2 * tall[0], abs=0.2)
    assert tall[0] == pytest.approx(2 * tall[2], abs=0.2)
    assert len(feet) == 1


def test_a_gap_in_a_line_is_a_gap() -> None:
    """Days without a value are not bridged: two runs, and a lone value is a dot."""
    root = ElementTree.fromstring(plots.lines("A", list("abcdef"), {"x": [1, 2, None, 4, None, 6]}))
    assert len([path for path in root.findall(f"{SVG}path") if path.get("class") == "line"]) == 1
    assert len(root.findall(f"{SVG}circle")) == 2


def test_the_alarm_and_every_count_can_be_read() -> None:
    """Figures are in the picture as text, not only as colour."""
    assert "alarm 70,000 EUR" in plots.lines("A", ["a", "b"], {"x": [4e4, 5e4]}, unit="EUR", threshold=7e4)
    text = plots.confusion("A", ["n", "p"], [[50, 10], [4, 36]])
    assert all(f">{figure}<" in text for figure in ("50", "10", "4", "36", "83 %", "90 %"))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 97, [0, 20, 40, 60, 80]),
        (-3, 3, [-2, 0, 2]),
        (5, 5, [5]),
        (1e6, 3e6, [1e6, 1.5e6, 2e6, 2.5e6, 3e6]),
    ],
)
def test_axes_are_marked_at_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    """Ticks are 1, 2 or 5 times a power of ten and lie on the axis."""
    assert plots._Scale(low, high, 0, 100).ticks() == pytest.approx(ticks)
