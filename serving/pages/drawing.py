"""What charts are drawn with: scales, axes, words and marks on a plane of fixed size."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.pages.html import Html, join, tag

WIDTH, HEIGHT = 640, 328
LEFT, RIGHT, TOP, BASE = 72, 624, 40, 272  # pixels: where the axes run
SERIES = 5  # colours there are
APART = 70  # pixels between the words of two marks, at least

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
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


def svg(title: str, told: str, body: Sequence[str], *, height: int = HEIGHT) -> Html:
    """The whole picture; its ids come from its content, so that many fit on one page."""
    inner = join(body)
    name = "p" + hashlib.sha256(f"{title}{told}{inner}".encode()).hexdigest()[:12]
    return tag(
        "svg", tag("title", title, id=f"{name}-t"), tag("desc", told, id=f"{name}-d"), word(16, 16, title, "head"),
        inner, cls="chart", viewBox=f"0 0 {WIDTH} {height}", width=WIDTH,
        height=height, role="img", aria_labelledby=f"{name}-t {name}-d",
    )  # fmt: skip


def nothing(title: str) -> Html:
    told = word(WIDTH / 2, 70, "no rows to draw", "mid faint")
    return svg(title, "There are no rows to draw.", [told], height=110)


def axes(x: Scale, y: Scale, x_label: str, y_label: str) -> list[Html]:
    ticks = feet(x, [(value, tick(value)) for value in x.ticks(6)])
    return [*grid(y, y_label), *ticks, word(RIGHT, BASE + 44, x_label, "end faint")]


def grid(y: Scale, label: str, ticks: Sequence[tuple[float, str]] | None = None) -> list[Html]:
    drawn = [word(16, TOP - 8, label, "faint")] if label else []
    for value, words in ticks or [(value, tick(value)) for value in y.ticks()]:
        drawn += [path([(LEFT, y(value)), (RIGHT, y(value))], "grid"), word(LEFT - 8, y(value) + 4, words, "end")]
    return drawn


def feet(x: Scale, given: Sequence[tuple[float, str]]) -> list[Html]:
    """Words along the bottom, the last of them not beyond the edge."""
    return [word(x(at), BASE + 21, words, "end" if x(at) > RIGHT - 24 else "mid") for at, words in given]


def limit(y: float, words: str) -> list[Html]:
    return [path([(LEFT, y), (RIGHT, y)], "line dash alarm"), word(RIGHT, y - 5, words, "end alarm")]


def marks(given: Sequence[tuple[float, str]]) -> list[Html]:
    """Dashed lines with their words above; a word that would touch the one before is left out."""
    drawn, last = [], -float(APART)
    for x, words in given:
        drawn.append(path([(x, TOP), (x, BASE)], "axis dash"))
        if words and x - last >= APART:
            drawn.append(word(x, TOP - 5, words, "end" if x > RIGHT - APART else "mid"))
            last = x
    return drawn


def legend(names: Mapping[str, object]) -> list[Html]:
    """Names with their colours along the bottom, when there is more than one."""
    drawn, x = [], float(LEFT)
    for k, name in enumerate(names if len(names) > 1 else ()):
        drawn.append(tag("rect", cls=f"fill {colour(k)}", x=x, y=HEIGHT - 14, width=12, height=4))
        drawn.append(word(x + 18, HEIGHT - 8, short(name)))
        x += 40 + 8 * len(short(name))
    return drawn


def diagonal(x: Scale, y: Scale) -> Html:
    return path([(x(x.low), y(y.low)), (x(x.high), y(y.high))], "axis dash")


def path(points: Points, cls: str) -> Html:
    return tag("path", cls=cls, d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points))


def dot(x: float, y: float, r: float = 4, cls: str = "fill") -> Html:
    return tag("circle", cls=cls, cx=x, cy=y, r=r)


def word(x: float, y: float, words: str, cls: str = "") -> Html:
    return tag("text", words, cls=cls, x=x, y=y)


def across(low: float, high: float) -> Scale:
    return Scale(low, high, LEFT, RIGHT)


def up(low: float, high: float) -> Scale:
    return Scale(low, high, BASE, TOP + 6)


def colour(position: int) -> str:
    return f"s{position % SERIES}"


def short(words: str, limit: int = 24) -> str:
    return words if len(words) <= limit else words[: limit - 1] + "…"


def tick(value: float) -> str:
    """A short axis number: 250k, 1.5M, 0.02."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.4g}"
