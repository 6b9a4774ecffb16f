"""Charts: well-formed, harmless, deterministic SVG that says what it shows."""

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from serving.pages import charts, drawing
from serving.pages.html import Html

EVIL = '<script>alert("&")</script>'
DRAWN: dict[str, Callable[[str], Html]] = {
    "histogram": lambda t: charts.histogram(t, [-10.0, 0.0, 10.0], [1, 5, 7, 2], label=t, zero=True),
    "histogram-one-edge": lambda t: charts.histogram(t, [0.0], [3, 4]),
    "scatter": lambda t: charts.scatter(t, [1.0, 2e5, 3e5], [1.5, 1e5, 3e5], unit=t),
    "scatter-one-point": lambda t: charts.scatter(t, [1.0], [1.0]),
    "lines": lambda t: charts.lines(t, ["mon", "tue", t], {"v1": [1, None, 3], t: [None, 2, 4]}, threshold=2.5, unit=t),
    "lines-constant": lambda t: charts.lines(t, ["a"], {"x": [0.0]}),
    "lines-negative": lambda t: charts.lines(t, ["a", "b"], {"x": [-4.0, -2.0]}),
    "bars": lambda t: charts.bars(t, {"north": 10.0, t: -5.0}, unit=t),
    "bars-zero": lambda t: charts.bars(t, {"north": 0.0}),
    "confusion": lambda t: charts.confusion(t, ["no", t], [[5, 1], [0, 0]]),
    "timeline": lambda t: charts.timeline(
        t, [(0.0, 1.0), (9.0, 300.0)], (0.0, 9.0), top=100.0, unit=t, stairs=True, limit=(50.0, t), marks=[(9.0, t)]
    ),
    "timeline-powers": lambda t: charts.timeline(t, [(0.0, 1.0)], (0.0, 0.0), top=5.0, powers=True),
    "timeline-without-values": lambda t: charts.timeline(t, [], (0.0, 9.0), top=1.0),
    "roc": lambda t: charts.roc(t, {t: ([0, 0.5, 1], [0, 0.9, 1]), "b": ([0, 1], [0, 1])}),
}
EMPTY: dict[str, Callable[[str], Html]] = {
    "histogram": lambda t: charts.histogram(t, [], [0]),
    "scatter": lambda t: charts.scatter(t, [], []),
    "lines": lambda t: charts.lines(t, ["a"], {"x": [None]}),
    "bars": lambda t: charts.bars(t, {}),
    "confusion": lambda t: charts.confusion(t, [], []),
    "roc": lambda t: charts.roc(t, {}),
}
SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: Html) -> ElementTree.Element:
    """A chart as it is written to a file."""
    return ElementTree.fromstring(charts.alone(svg))


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_a_plot_is_well_formed_and_named_for_screen_readers(draw: Callable[[str], Html]) -> None:
    """It parses as XML, is an image, and its title and description are what it is labelled by."""
    root = parsed(draw("Error of holdout rows"))
    title, described = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert described is not None
    assert title.text == "Error of holdout rows"
    assert described.text
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {described.get('id')}"


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_text_from_data_cannot_become_markup(draw: Callable[[str], Html]) -> None:
    """A title, unit, class or label with angle brackets stays text."""
    text = draw(EVIL)
    assert "<script" not in text
    assert not parsed(text).findall(f".//{SVG}script")


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_equal_numbers_give_equal_bytes(draw: Callable[[str], Html]) -> None:
    """Two runs log the same picture, and no coordinate is NaN or infinite."""
    text = draw("A")
    assert text == draw("A")
    assert "nan" not in text.replace("sans", "").lower()
    assert "inf" not in text.lower()


@pytest.mark.parametrize("draw", EMPTY.values(), ids=EMPTY.keys())
def test_without_rows_a_plot_says_so(draw: Callable[[str], Html]) -> None:
    """An empty picture is no riddle."""
    assert "no rows to draw" in "".join(parsed(draw("A")).itertext())


def test_bars_of_a_histogram_are_as_tall_as_their_counts() -> None:
    """Twice the rows, twice the height, on a common base."""
    root = parsed(charts.histogram("A", [1.0, 2.0], [10, 20, 5]))
    tall = [float(bar.get("height", "")) for bar in root.findall(f"{SVG}rect")]
    feet = {round(float(b.get("y", "")) + float(b.get("height", ""))) for b in root.findall(f"{SVG}rect")}
    assert tall[1] == pytest.approx(2 * tall[0], abs=0.2)
    assert tall[0] == pytest.approx(2 * tall[2], abs=0.2)
    assert len(feet) == 1


def test_a_gap_in_a_line_is_a_gap() -> None:
    """Days without a value are not bridged: two runs, and a lone value is a dot."""
    root = parsed(charts.lines("A", list("abcdef"), {"x": [1, 2, None, 4, None, 6]}))
    assert len([path for path in root.findall(f"{SVG}path") if "line" in path.get("class", "")]) == 1
    assert len(root.findall(f"{SVG}circle")) == 2


def test_the_alarm_and_every_count_can_be_read() -> None:
    """Figures are in the picture as text, not only as colour."""
    assert "alarm 70,000 EUR" in charts.lines("A", ["a", "b"], {"x": [4e4, 5e4]}, unit="EUR", threshold=7e4)
    text = charts.confusion("A", ["n", "p"], [[50, 10], [4, 36]])
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
    assert drawing.Scale(low, high, 0, 100).ticks() == pytest.approx(ticks)


def test_a_chart_that_is_a_file_brings_its_colours() -> None:
    """On a page the style is there once; a file has it itself, for light and dark."""
    chart = charts.bars("A", {"north": 1.0})
    assert "<style" not in chart
    root = parsed(chart)
    assert root.tag == f"{SVG}svg"
    assert "prefers-color-scheme:dark" in "".join(one.text or "" for one in root.iter(f"{SVG}style"))


def test_a_timeline_holds_each_value_until_the_next_and_marks_moments() -> None:
    """Stairs go across before they go up; a mark that would cover the words of another is a line only."""
    marks = [(0.0, "start"), (1.0, "too close"), (90.0, "finish")]
    chart = charts.timeline("A", [(0, 0), (60, 100)], (0, 120), top=100, stairs=True, limit=(50, "bar"), marks=marks)
    root = parsed(chart)
    line = next(one.get("d", "") for one in root.iter(f"{SVG}path") if one.get("class") == "line")
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, pair.split())) for pair in line.removeprefix("M").split("L")]
    assert (y0, x1) == (y1, x2)
    assert x0 < x1
    assert y2 < y1
    words = [one.text for one in root.iter(f"{SVG}text")]
    assert "start" in words
    assert "finish" in words
    assert "bar" in words
    assert "too close" not in words
    assert words.count("00:01:00") == 1
