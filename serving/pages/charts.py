"""Charts as inline SVG: no library, no scripts, a few kilobytes each, the same bytes for the same numbers.

Colours and sizes are those of ``style``, which a page carries once; :func:`alone` gives a chart that is a file. Each
has a title and a description for readers that do not see it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

from serving.pages import drawing as draw
from serving.pages.drawing import BASE, RIGHT, TOP, WIDTH, Points, Scale
from serving.pages.html import Html, tag
from serving.pages.style import ALONE
from serving.pages.words import number, time_of_day, with_unit


def histogram(
    title: str, edges: Sequence[float], counts: Sequence[int], *, label: str = "", zero: bool = False
) -> Html:
    """Bars of *counts* between inner *edges* (n + 1 counts for n edges; the outer bars are open); *zero* marks 0."""
    if not edges or not sum(counts):
        return draw.nothing(title)
    step = (edges[-1] - edges[0]) / (len(edges) - 1) if len(edges) > 1 else abs(edges[0]) or 1.0
    bounds = [edges[0] - step, *edges, edges[-1] + step]
    x, y = draw.across(bounds[0], bounds[-1]), draw.up(0, max(counts))
    bars = [
        tag("rect", cls="fill", x=x(low) + 0.5, y=y(n), width=max(x(high) - x(low) - 1, 0.5), height=y(0) - y(n))
        for low, high, n in zip(bounds, bounds[1:], counts, strict=False)
    ]
    mark = [draw.path([(x(0), TOP), (x(0), BASE)], "axis dash")] if zero and bounds[0] <= 0 <= bounds[-1] else []
    told = f"{sum(counts):,} rows, the most in a bin {max(counts):,}, from {number(edges[0])} to {number(edges[-1])}."
    return draw.svg(title, told, [*draw.axes(x, y, label, "rows"), *bars, *mark])


def scatter(title: str, actual: Sequence[float], predicted: Sequence[float], *, unit: str = "") -> Html:
    """Predictions over truths, one dot per row; on the diagonal they are equal."""
    if not actual:
        return draw.nothing(title)
    low, high = min(*actual, *predicted), max(*actual, *predicted)
    x, y = draw.across(low, high), draw.up(low, high)
    dots = [draw.dot(x(truth), y(guess), 2.2, "") for truth, guess in zip(actual, predicted, strict=True)]
    told = f"{len(actual):,} rows between {number(low)} and {number(high)} {unit}; dots on the diagonal are exact."
    axes = draw.axes(x, y, with_unit("actual", unit), with_unit("predicted", unit))
    return draw.svg(title, told, [*axes, tag("g", *dots, cls="fill cloud"), draw.diagonal(x, y)])


def roc(title: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Html:
    """True over false positive share, (false, true) per class, with the diagonal of chance."""
    if not curves:
        return draw.nothing(title)
    x, y = draw.across(0, 1), draw.up(0, 1)
    drawn = [
        draw.path([(x(a), y(b)) for a, b in zip(false, true, strict=True)], f"line {draw.colour(k)}")
        for k, (false, true) in enumerate(curves.values())
    ]
    told = f"The true positive share over the false positive share of {', '.join(curves)}; the diagonal is chance."
    axes = draw.axes(x, y, "false positive share", "true positive share")
    return draw.svg(title, told, [*axes, draw.diagonal(x, y), *drawn, *draw.legend(curves)])


def lines(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    unit: str = "",
    threshold: float | None = None,
    dots: Sequence[str] = (),
    zero: bool = True,
) -> Html:
    """Values over *labels* (moments in order), one line per series, None leaving a gap; *threshold* is the alarm's.

    Series named in *dots* are drawn without a line; the scale begins at 0 unless *zero* is False.
    """
    known = {name: [value for value in values if value is not None] for name, values in series.items()}
    levels = [*itertools.chain(*known.values())]
    if not levels:
        return draw.nothing(title)
    bars = [] if threshold is None else [threshold]
    x, y = draw.across(0, max(len(labels) - 1, 1)), _from_zero([*levels, *bars]) if zero else _around([*levels, *bars])
    courses = [
        _course(values, x, y, draw.colour(k), dots=name in dots) for k, (name, values) in enumerate(series.items())
    ]
    limits = [draw.limit(y(bar), f"alarm {with_unit(number(bar), unit)}") for bar in bars]
    words = [f"{name} from {number(v[0])} to {number(v[-1])}" for name, v in known.items() if v]
    told = f"{'; '.join(words)} {unit}." + "".join(f" The alarm is at {number(bar)}." for bar in bars)
    drawn = itertools.chain(draw.grid(y, unit), _label_feet(labels, x), *courses, *limits, draw.legend(series))
    return draw.svg(title, told, [*drawn])


def timeline(
    title: str,
    points: Points,
    span: tuple[float, float],
    *,
    top: float,
    unit: str = "",
    stairs: bool = False,
    powers: bool = False,
    limit: tuple[float, str] | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> Html:
    """A value from 0 to *top* over the seconds since 1970 of *span*; larger and smaller ones are cut.

    Args:
        stairs: each value holds until the next. powers: values are exponents of ten and are labelled so.
        limit: a value to compare with, and its words. marks: moments with a word.
    """
    x, y = draw.across(span[0], max(span[1], span[0] + 1.0)), draw.up(0, top)
    seen = [(x(at), y(min(max(value, 0.0), top))) for at, value in points]
    if stairs:
        seen = seen[:1] + [one for (_, y0), (x1, y1) in itertools.pairwise(seen) for one in [(x1, y0), (x1, y1)]]
    drawn = [draw.path([(seen[0][0], BASE), *seen, (seen[-1][0], BASE)], "area")] if seen else []
    drawn += [draw.path(seen, "line"), draw.dot(*seen[-1])] if seen else []
    drawn += draw.limit(y(limit[0]), limit[1]) if limit else []
    drawn += draw.marks([(x(at), word) for at, word in marks])
    clock = [(at, time_of_day(at)) for at in (x.low + (x.high - x.low) * k / 4 for k in range(5))]
    told = f"{len(points)} values from {clock[0][1]} to {clock[-1][1]} UTC." + (f" {limit[1]}." if limit else "")
    exponents = range(0, int(top) + 1, max(1, round(top / 4)))
    grid = draw.grid(y, unit, [(k, f"{10**k:g}" if k < 4 else f"1e{k}") for k in exponents] if powers else None)
    return draw.svg(title, told, [*grid, *draw.feet(x, clock), *drawn])


def bars(title: str, values: Mapping[str, float], *, unit: str = "") -> Html:
    """One horizontal bar per name, in the order given."""
    if not values:
        return draw.nothing(title)
    left, row = 176, 26
    bottom = TOP + row * len(values)
    x = Scale(min(0.0, *values.values()), max(0.0, *values.values()) or 1.0, left, WIDTH - 96)
    drawn: list[Html] = []
    for position, (name, value) in enumerate(values.items()):
        y = TOP + row * position
        start, end = sorted((x(0), x(value)))
        drawn += [
            draw.word(left - 8, y + 17, draw.short(name), "end"),
            tag("rect", cls="fill", x=start, y=y + 4, width=max(end - start, 0.5), height=row - 8, rx=2),
            draw.word(end + 6, y + 17, with_unit(number(value), unit)),
        ]
    drawn.append(draw.path([(x(0), TOP), (x(0), bottom)], "axis"))
    worst = max(values, key=lambda name: values[name])
    told = f"{len(values)} values, the largest {worst} with {with_unit(number(values[worst]), unit)}."
    return draw.svg(title, told, drawn, height=bottom + 12)


def confusion(title: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> Html:
    """A heat table: rows are true classes, columns predicted ones; colour is the share of the true class."""
    if not counts:
        return draw.nothing(title)
    left, top, n = 150, TOP + 40, len(classes)
    cell = min(96.0, (RIGHT - left) / n)
    tall = min(cell, 56.0)
    drawn = [draw.word(left + cell * n / 2, TOP + 6, "predicted", "mid faint")]
    for i, (name, line) in enumerate(zip(classes, counts, strict=True)):
        drawn.append(draw.word(left - 10, top + tall * (i + 0.5) + 4, draw.short(name, 18), "end"))
        drawn.append(draw.word(left + cell * (i + 0.5), top - 10, draw.short(name, 18), "mid"))
        for j, count in enumerate(line):
            share = count / sum(line) if sum(line) else 0.0
            drawn += _cell(left + cell * j, top + tall * i, (cell, tall), count, share, right=i == j)
    right, total = sum(counts[i][i] for i in range(n)), sum(map(sum, counts))
    told = f"{right:,} of {total:,} rows are on the diagonal, where the predicted class is the true one."
    return draw.svg(title, told, drawn, height=int(top + tall * n + 16))


def alone(chart: Html) -> str:
    """*chart* as a file of its own, with the name space and the style that a page would have."""
    return chart.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1).replace("</desc>", f"</desc>{ALONE}", 1)


def _from_zero(levels: Sequence[float]) -> Scale:
    return draw.up(min(0.0, *levels), 1.05 * max(0.0, *levels) or float(min(levels) == 0))


def _around(levels: Sequence[float]) -> Scale:
    room = 0.08 * (max(levels) - min(levels))
    return draw.up(min(levels) - room, max(levels) + room)


def _label_feet(labels: Sequence[str], x: Scale) -> list[Html]:
    """As many of the *labels* as there is room for, at equal steps from the first."""
    room = 6 if max(map(len, labels)) < 7 else 4
    shown = range(0, len(labels), max(1, math.ceil((len(labels) - 1) / room)))
    return draw.feet(x, [(k, draw.short(labels[k], 16)) for k in shown])


def _cell(x: float, y: float, size: tuple[float, float], count: int, share: float, *, right: bool) -> list[Html]:
    (width, height), shade = size, f"fill-opacity:{0.06 + 0.5 * share:.3f}"
    cls, middle = "fill" if right else "fill alarm", y + height / 2
    return [
        tag("rect", cls=cls, x=x + 1, y=y + 1, width=width - 2, height=height - 2, rx=3, style=shade),
        draw.word(x + width / 2, middle - 3, f"{count:,}", "mid"),
        draw.word(x + width / 2, middle + 17, f"{100 * share:.0f} %", "mid faint"),
    ]


def _course(values: Sequence[float | None], x: Scale, y: Scale, colour: str, *, dots: bool) -> list[Html]:
    """Runs of known values as paths; a value alone between gaps is a dot, and so is each where *dots*."""
    runs: list[list[tuple[float, float]]] = [[]]
    for position, value in enumerate(values):
        if value is not None:
            runs[-1].append((x(position), y(value)))
        if value is None or dots:
            runs.append([])
    return [
        draw.path(run, f"line {colour}") if len(run) > 1 else draw.dot(*run[0], 4, f"fill {colour}")
        for run in runs
        if run
    ]
