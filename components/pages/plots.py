"""Plots as inline SVG text: no library, no scripts, a few kilobytes each, the same bytes for the same numbers.

Colours are CSS variables with a default for a light and a dark page: ``--plot-ink``, ``--plot-soft``, ``--plot-main``,
``--plot-other``, ``--plot-alarm``. Each plot carries a title and a description for readers that do not see it.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from components.judging.metrics import number

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 72, 16, 40, 48
SERIES = ("main", "other", "third", "fourth", "fifth")
STYLE = (
    ".sw-plot{--ink:var(--plot-ink,#1f2933);--soft:var(--plot-soft,#d5dbe1);--main:var(--plot-main,#2f6fde);"
    "--other:var(--plot-other,#c2701c);--third:#2d8a57;--fourth:#8a56c2;--fifth:#5d7285;"
    "--alarm:var(--plot-alarm,#c8372d);color:var(--ink);"
    "font:12px system-ui,-apple-system,'Segoe UI',sans-serif;max-width:100%;height:auto}"
    "@media(prefers-color-scheme:dark){.sw-plot{--ink:var(--plot-ink,#e3e8ed);--soft:var(--plot-soft,#3c4753);"
    "--main:var(--plot-main,#7aa7f7);--other:var(--plot-other,#e8a35c);--third:#6cc493;--fourth:#b794e6;"
    "--fifth:#9fb0c0;--alarm:var(--plot-alarm,#f0776e)}}"
    ".sw-plot text{fill:currentColor}.sw-plot .head{font-size:14px;font-weight:600}.sw-plot .faint{opacity:.72}"
    ".sw-plot .end{text-anchor:end}.sw-plot .mid{text-anchor:middle}"
    ".sw-plot .grid{stroke:var(--soft);stroke-width:1}.sw-plot .axis{stroke:currentColor;stroke-width:1;opacity:.5}"
    ".sw-plot .line{fill:none;stroke-width:2;stroke-linejoin:round}.sw-plot .dash{stroke-dasharray:6 4}"
)


@dataclass(frozen=True)
class _Scale:
    """A linear map from [low, high] to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About *count* round values (1, 2 or 5 times a power of ten) inside the scale."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(k * step, 12) for k in range(first, last + 1)]


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], *, label: str = "", zero: bool = False) -> str:
    """Bars of *counts* between inner *edges* (n + 1 counts for n edges; the outer bars are open); *zero* marks 0."""
    if not edges or not sum(counts):
        return _nothing(title)
    step = (edges[-1] - edges[0]) / (len(edges) - 1) if len(edges) > 1 else abs(edges[0]) or 1.0
    bounds = [edges[0] - step, *edges, edges[-1] + step]
    x = _x(bounds[0], bounds[-1])
    y = _y(0, max(counts))
    bars = [
        f'<rect x="{_n(x(low) + 0.5)}" y="{_n(y(count))}" width="{_n(max(x(high) - x(low) - 1, 0.5))}"'
        f' height="{_n(y(0) - y(count))}" style="fill:var(--main)"/>'
        for low, high, count in zip(bounds, bounds[1:], counts, strict=False)
    ]
    mark = [_vertical(x(0), "axis dash")] if zero and bounds[0] <= 0 <= bounds[-1] else []
    told = f"{sum(counts):,} rows, the most in a bin {max(counts):,}, from {number(edges[0])} to {number(edges[-1])}."
    return _svg(title, told, [*_axes(x, y, label, "rows"), *bars, *mark])


def scatter(title: str, actual: Sequence[float], predicted: Sequence[float], *, unit: str = "") -> str:
    """Predictions over truths, one dot per row; on the diagonal they are equal."""
    if not actual:
        return _nothing(title)
    low, high = min(*actual, *predicted), max(*actual, *predicted)
    x, y = _x(low, high), _y(low, high)
    diagonal = f'<path class="axis dash" d="M{_n(x(low))} {_n(y(low))}L{_n(x(high))} {_n(y(high))}"/>'
    dots = [
        f'<circle cx="{_n(x(truth))}" cy="{_n(y(guess))}" r="2.2"/>'
        for truth, guess in zip(actual, predicted, strict=True)
    ]
    group = ['<g style="fill:var(--main);fill-opacity:.4">', *dots, "</g>"]
    told = f"{len(actual):,} rows between {number(low)} and {number(high)} {unit}; dots on the diagonal are exact."
    return _svg(title, told, [*_axes(x, y, _with("actual", unit), _with("predicted", unit)), *group, diagonal])


def lines(
    title: str,
    labels: Sequence[str],
    series: dict[str, Sequence[float | None]],
    *,
    unit: str = "",
    threshold: float | None = None,
    dots: Sequence[str] = (),
    zero: bool = True,
) -> str:
    """Values over *labels* (moments in order), one line per series, None leaving a gap; *threshold* is the alarm's.

    Series named in *dots* are drawn without a line; the scale begins at 0 unless *zero* is False.
    """
    seen = [value for values in series.values() for value in values if value is not None]
    if not seen:
        return _nothing(title)
    levels = [*([0.0] if zero else []), *seen, *([] if threshold is None else [threshold])]
    room = 0.0 if zero else 0.08 * (max(levels) - min(levels))
    top = max(levels) * 1.05 if zero else max(levels) + room
    x, y = _x(0, max(len(labels) - 1, 1)), _y(min(levels) - room, top or float(min(levels) == 0))
    drawn: list[str] = []
    for colour, (name, values) in zip(_colours(len(series)), series.items(), strict=True):
        drawn.extend(_dots(values, x, y, colour) if name in dots else _line(values, x, y, colour))
    if threshold is not None:
        drawn.append(_horizontal(y(threshold), "alarm"))
        drawn.append(
            f'<text class="end" x="{WIDTH - RIGHT}" y="{_n(y(threshold) - 5)}" style="fill:var(--alarm)">'
            f"alarm {escape(_with(number(threshold), unit))}</text>"
        )
    words = [f"{name} from {number(v[0])} to {number(v[-1])}" for name, vs in series.items() if (v := _known(vs))]
    told = f"{'; '.join(words)} {unit}." + (f" The alarm is at {number(threshold)}." if threshold is not None else "")
    grid = [*_y_grid(y, unit), *_label_ticks(labels, x)]
    return _svg(title, told, [*grid, *drawn, *_legend(list(series))])


def bars(title: str, values: dict[str, float], *, unit: str = "", bar: float | None = None) -> str:
    """One horizontal bar per name, in the order given; *bar* draws the level they are held to."""
    if not values:
        return _nothing(title)
    left, row = 176, 26
    bottom = TOP + row * len(values)
    x = _Scale(min(0.0, *values.values()), max(0.0, *values.values(), bar or 0.0) or 1.0, left, WIDTH - 96)
    drawn: list[str] = []
    for position, (name, value) in enumerate(values.items()):
        y = TOP + row * position
        start, end = sorted((x(0), x(value)))
        drawn += [
            f'<text class="end" x="{left - 8}" y="{y + 17}">{escape(_short(name))}</text>',
            f'<rect x="{_n(start)}" y="{y + 4}" width="{_n(max(end - start, 0.5))}" height="{row - 8}" rx="2"'
            ' style="fill:var(--main)"/>',
            f'<text x="{_n(end + 6)}" y="{y + 17}">{escape(_with(number(value), unit))}</text>',
        ]
    if bar is not None:
        drawn.append(f'<path class="line dash" style="stroke:var(--alarm)" d="M{_n(x(bar))} {TOP}V{bottom}"/>')
    drawn.append(f'<path class="axis" d="M{_n(x(0))} {TOP}V{bottom}"/>')
    worst = max(values, key=lambda name: values[name])
    told = f"{len(values)} values, the largest {worst} with {_with(number(values[worst]), unit)}."
    told += "" if bar is None else f" They are held to {_with(number(bar), unit)}."
    return _svg(title, told, drawn, height=bottom + 12)


def confusion(title: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A heat table: rows are true classes, columns predicted ones; colour is the share of the true class."""
    if not counts:
        return _nothing(title)
    left, top, n = 150, TOP + 40, len(classes)
    cell = min(96.0, (WIDTH - left - RIGHT) / n)
    tall = min(cell, 56.0)
    middle = left + cell * n / 2
    drawn = [f'<text class="mid faint" x="{_n(middle)}" y="{TOP + 12}">predicted</text>']
    for i, name in enumerate(classes):
        word = escape(_short(name, 18))
        drawn.append(f'<text class="end" x="{left - 10}" y="{_n(top + tall * (i + 0.5) + 4)}">{word}</text>')
        drawn.append(f'<text class="mid" x="{_n(left + cell * (i + 0.5))}" y="{top - 10}">{word}</text>')
    for i, line in enumerate(counts):
        for j, count in enumerate(line):
            drawn.extend(_cell(left + cell * j, top + tall * i, cell, tall, count, sum(line), i == j))
    right = sum(counts[i][i] for i in range(n))
    total = sum(map(sum, counts))
    told = f"{right:,} of {total:,} rows are on the diagonal, where the predicted class is the true one."
    return _svg(title, told, drawn, height=int(top + tall * n + 16))


def roc(title: str, curves: dict[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """True over false positive share, (false, true) per class, with the diagonal of chance."""
    if not curves:
        return _nothing(title)
    x, y = _x(0, 1), _y(0, 1)
    drawn = [f'<path class="axis dash" d="M{_n(x(0))} {_n(y(0))}L{_n(x(1))} {_n(y(1))}"/>']
    for colour, (false, true) in zip(_colours(len(curves)), curves.values(), strict=True):
        path = "L".join(f"{_n(x(a))} {_n(y(b))}" for a, b in zip(false, true, strict=True))
        drawn.append(f'<path class="line" style="stroke:var(--{colour})" d="M{path}"/>')
    told = f"The true positive share over the false positive share of {', '.join(curves)}; the diagonal is chance."
    axes = _axes(x, y, "false positive share", "true positive share")
    return _svg(title, told, [*axes, *drawn, *_legend(list(curves))])


def _svg(title: str, told: str, body: Sequence[str], *, height: int = HEIGHT) -> str:
    """The whole picture; its ids come from its content, so that many fit on one page."""
    inner = "".join(body)
    name = "p" + hashlib.sha256(f"{title}{told}{inner}".encode()).hexdigest()[:12]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sw-plot" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(told)}</desc>'
        f"<style>{STYLE}</style>"
        f'<text class="head" x="{RIGHT}" y="20">{escape(title)}</text>{inner}</svg>'
    )


def _nothing(title: str) -> str:
    body = f'<text class="mid faint" x="{WIDTH // 2}" y="70">no rows to draw</text>'
    return _svg(title, "There are no rows to draw.", [body], height=110)


def _cell(x: float, y: float, width: float, height: float, count: int, total: int, right: bool) -> list[str]:
    share = count / total if total else 0.0
    colour = "main" if right else "alarm"
    return [
        f'<rect x="{_n(x + 1)}" y="{_n(y + 1)}" width="{_n(width - 2)}" height="{_n(height - 2)}" rx="3"'
        f' style="fill:var(--{colour});fill-opacity:{0.06 + 0.5 * share:.3f}"/>',
        f'<text class="mid" x="{_n(x + width / 2)}" y="{_n(y + height / 2 - 1)}">{count:,}</text>',
        f'<text class="mid faint" x="{_n(x + width / 2)}" y="{_n(y + height / 2 + 14)}">{100 * share:.0f} %</text>',
    ]


def _line(values: Sequence[float | None], x: _Scale, y: _Scale, colour: str) -> list[str]:
    """Runs of known values as paths; a value alone between gaps is a dot."""
    drawn: list[str] = []
    run: list[str] = []
    for position, value in enumerate([*values, None]):
        if value is not None:
            run.append(f"{_n(x(position))} {_n(y(value))}")
        elif len(run) == 1:
            cx, cy = run.pop().split()
            drawn.append(f'<circle cx="{cx}" cy="{cy}" r="3" style="fill:var(--{colour})"/>')
        elif run:
            drawn.append(f'<path class="line" style="stroke:var(--{colour})" d="M{"L".join(run)}"/>')
            run = []
    return drawn


def _dots(values: Sequence[float | None], x: _Scale, y: _Scale, colour: str) -> list[str]:
    return [
        f'<circle cx="{_n(x(position))}" cy="{_n(y(value))}" r="4" style="fill:var(--{colour})"/>'
        for position, value in enumerate(values)
        if value is not None
    ]


def _axes(x: _Scale, y: _Scale, x_label: str, y_label: str) -> list[str]:
    base = HEIGHT - BOTTOM
    drawn = _y_grid(y, y_label)
    drawn += [f'<text class="mid" x="{_n(x(tick))}" y="{base + 18}">{_tick(tick)}</text>' for tick in x.ticks(6)]
    drawn.append(f'<text class="end faint" x="{WIDTH - RIGHT}" y="{base + 36}">{escape(x_label)}</text>')
    return drawn


def _y_grid(y: _Scale, label: str) -> list[str]:
    drawn = []
    for tick in y.ticks(4):
        drawn.append(f'<path class="grid" d="M{LEFT} {_n(y(tick))}H{WIDTH - RIGHT}"/>')
        drawn.append(f'<text class="end" x="{LEFT - 8}" y="{_n(y(tick) + 4)}">{_tick(tick)}</text>')
    drawn.append(f'<text class="faint" x="{RIGHT}" y="{TOP - 4}">{escape(label)}</text>' if label else "")
    return drawn


def _label_ticks(labels: Sequence[str], x: _Scale) -> list[str]:
    """At most six of the *labels* at equal steps from the first, along the bottom."""
    y = HEIGHT - BOTTOM + 18
    shown = range(0, len(labels), max(1, math.ceil((len(labels) - 1) / 5)))
    return [
        f'<text class="{"end" if k and k == len(labels) - 1 else "mid"}" x="{_n(x(k))}" y="{y}">'
        f"{escape(_short(labels[k], 16))}</text>"
        for k in shown
    ]


def _legend(names: Sequence[str]) -> list[str]:
    """Names with their colours along the bottom, when there is more than one."""
    if len(names) < 2:
        return []
    drawn, x = [], float(LEFT)
    for colour, name in zip(_colours(len(names)), names, strict=True):
        drawn.append(f'<rect x="{_n(x)}" y="{HEIGHT - 18}" width="12" height="4" style="fill:var(--{colour})"/>')
        drawn.append(f'<text x="{_n(x + 18)}" y="{HEIGHT - 12}">{escape(_short(name))}</text>')
        x += 40 + 7 * len(_short(name))
    return drawn


def _x(low: float, high: float) -> _Scale:
    return _Scale(low, high, LEFT, WIDTH - RIGHT)


def _y(low: float, high: float) -> _Scale:
    return _Scale(low, high, HEIGHT - BOTTOM, TOP + 6)


def _vertical(x: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{_n(x)} {TOP}V{HEIGHT - BOTTOM}"/>'


def _horizontal(y: float, colour: str) -> str:
    return f'<path class="line dash" style="stroke:var(--{colour})" d="M{LEFT} {_n(y)}H{WIDTH - RIGHT}"/>'


def _colours(count: int) -> list[str]:
    return [SERIES[k % len(SERIES)] for k in range(count)]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _with(text: str, unit: str) -> str:
    return f"{text} {unit}" if unit else text


def _short(text: str, limit: int = 24) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _tick(value: float) -> str:
    """A short axis number: 250k, 1.5M, 0.02."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.4g}"


def _n(value: float) -> str:
    """A pixel position to a tenth, without a trailing zero."""
    return f"{value:.1f}".removesuffix(".0")
