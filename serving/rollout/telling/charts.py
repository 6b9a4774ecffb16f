"""The drawings of a rollout's page, as inline SVG and plain elements."""

import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 900, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 32, 24
_APART = 60  # pixels between two labels of marks, at least


class Point(NamedTuple):
    """*x* in seconds since 1970."""

    x: float
    y: float


def stacked(shares: Mapping[str, float], candidate: str) -> str:
    """Percentages as one bar, the candidate first."""
    ordered = sorted(shares.items(), key=lambda item: item[0] != candidate)
    parts = "".join(
        f'<i class="{"candidate" if name == candidate else "stable"}" style="width:{share:.2f}%" '
        f'title="{escape(name)}"></i>'
        for name, share in ordered
        if share > 0
    )
    figure = shares.get(candidate, 0.0)
    return f'<div class="bar">{parts}</div><div class="figure">{figure:.3g} %</div>'


def meter(share: float, bar: float, tone: str) -> str:
    """A value on a track whose end is 1, with a line at *bar*; larger values are cut."""
    filled = 100 * min(1.0, max(0.0, share))
    line = f'<u style="left:{100 * bar:.0f}%"></u>'
    return f'<div class="meter"><i class="{tone}" style="width:{filled:.1f}%"></i>{line}</div>'


def chart(
    points: Sequence[Point],
    span: tuple[float, float],
    *,
    top: float,
    unit: str,
    label: str,
    stairs: bool = False,
    powers: bool = False,
    bar: tuple[float, str] | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """A line over time from 0 to *top*.

    Args:
        stairs: each value holds until the next. powers: values are exponents of ten and are labelled so.
        bar: a value to compare with, and its words. marks: moments with a word.
    """
    begin, end = span[0], max(span[1], span[0] + 1.0)

    def x(at: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (at - begin) / (end - begin)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(1.0, value / top)

    parts = [_grid(top, unit, y, powers=powers), _clock_axis(begin, end, x)]
    if bar is not None:
        level = y(bar[0])
        parts.append(
            f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>'
            f'<text class="limit" x="{WIDTH - _RIGHT}" y="{level - 5:.1f}" text-anchor="end">{escape(bar[1])}</text>'
        )
    if points:
        parts.append(_line([(x(p.x), y(p.y)) for p in points], y(0.0), stairs=stairs))
    parts += _marks([(x(at), word) for at, word in marks])
    title = f'<text class="title" x="{_LEFT}" y="12">{escape(label)}</text>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{title}{"".join(parts)}</svg>'


def _line(points: Sequence[tuple[float, float]], floor: float, *, stairs: bool) -> str:
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for px, py in points[1:]:
        path += f"H{px:.1f}V{py:.1f}" if stairs else f"L{px:.1f} {py:.1f}"
    area = f"{path}V{floor:.1f}H{points[0][0]:.1f}Z"
    px, py = points[-1]
    return (
        f'<path class="area" d="{area}"/><path class="line" d="{path}"/><circle cx="{px:.1f}" cy="{py:.1f}" r="3.5"/>'
    )


def _grid(top: float, unit: str, y: Callable[[float], float], *, powers: bool) -> str:
    values = range(int(top) + 1) if powers else (0, 25, 50, 75, 100)
    steps = [value for value in values if not powers or value % max(1, round(top / 4)) == 0]
    lines = []
    for value in steps:
        level = y(value)
        words = (f"{10**value:g}" if value < 4 else f"1e{value}") if powers else f"{value:g}{unit}"
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{level + 4:.1f}" text-anchor="end">{words}</text>'
        )
    return "".join(lines)


def _clock_axis(begin: float, end: float, x: Callable[[float], float]) -> str:
    words = []
    for number in range(5):
        at = begin + (end - begin) * number / 4
        anchor = "start" if number == 0 else "end" if number == 4 else "middle"
        clock = time.strftime("%H:%M:%S", time.gmtime(at))
        words.append(f'<text x="{x(at):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{clock}</text>')
    return "".join(words)


def _marks(marks: Sequence[tuple[float, str]]) -> list[str]:
    found, last = [], -float(_APART)
    for at, word in marks:
        line = f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
        if at - last >= _APART:
            anchor = "end" if at > WIDTH - 2 * _APART else "start"
            shift = -4 if anchor == "end" else 4
            line += (
                f'<text class="mark" x="{at + shift:.1f}" y="{_TOP - 5}" text-anchor="{anchor}">{escape(word)}</text>'
            )
            last = at
        found.append(line)
    return found
