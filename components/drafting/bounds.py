"""Which numbers a column may hold, taken from those that it holds: with room where its own tail says that more come."""

import math
import re

from components.drafting.look import ColumnLook
from components.drafting.names import part_of_time, plain

LIGHT, HEAVY = 3.0, 12.0  # how far the greatest value lies above the middle half, in lengths of that
_SHARE = re.compile(r"(^|_)(pct|percent|percentage|share|ratio|rate|fraction|prob|probability|humidity|hum)(_|$)")
_STEPS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_PARTS = {"month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59)}


def bounds(column: ColumnLook) -> tuple[float, float, str]:
    """Lowest and highest number that *column* may hold, and why these."""
    low, high = float(column.low), float(column.high)
    if natural := _natural(column, low, high):
        return natural
    middle = float(column.spread[4]) - float(column.spread[2])
    up, down = _room(high - float(column.spread[4]), middle), _room(float(column.spread[2]) - low, middle)
    width = high - low or abs(high) or 1.0
    top = rounded(high + _add(up, width), up=True)
    if low >= 0:
        bottom = 0.0 if low - 0.5 * width <= 0 else rounded(low - 0.5 * width, up=False)
        why = f"seen {low:g} to {high:g}; {'0 or more, ' if not bottom else ''}{_words(up)}"
    else:
        bottom, why = -rounded(-low + _add(down, width), up=True), f"seen {low:g} to {high:g}; {_words(max(up, down))}"
    if high <= 0 < top:
        top = 0.0
    return bottom, top, why


def rounded(value: float, *, up: bool) -> float:
    """*value* (0 or more) to the next number that people would write: 1, 1.2, 1.5, 2, 2.5 and so on, times ten to n."""
    if value <= 0:
        return 0.0
    ten = 10.0 ** math.floor(math.log10(value))
    steps = [step * ten for step in _STEPS]
    near = [step for step in steps if (step >= value * (1 - 1e-12) if up else step <= value * (1 + 1e-12))]
    found = (min(near) if up else max(near)) if near else value
    return float(f"{found:.6g}")


def _natural(column: ColumnLook, low: float, high: float) -> tuple[float, float, str] | None:
    """Bounds that the kind of number has by itself."""
    name = plain(column.name)
    part = _PARTS.get(part_of_time(column.name))
    if column.guess == "int" and part and part[0] <= low and high <= part[1]:
        return float(part[0]), float(part[1]), f"the {part_of_time(column.name)}s that there are"
    if column.guess == "int" and column.distinct == 2 and (low, high) == (0, 1):
        return 0.0, 1.0, "0 and 1 alone"
    if _SHARE.search(name) and low >= 0 and high <= 1:
        return 0.0, 1.0, "a share, by its name and what it holds"
    if _SHARE.search(name) and low >= 0 and 1 < high <= 100 and high > 20:
        return 0.0, 100.0, "a percentage, by its name and what it holds"
    if name in ("lat", "latitude") and low >= -90 and high <= 90:
        return max(-90.0, math.floor(low - (high - low) / 2)), min(90.0, math.ceil(high + (high - low) / 2)), "degrees"
    if name in ("lon", "lng", "long", "longitude") and low >= -180 and high <= 180:
        return (
            max(-180.0, math.floor(low - (high - low) / 2)),
            min(180.0, math.ceil(high + (high - low) / 2)),
            "degrees",
        )
    if column.guess == "int" and low >= 1500 and high <= 2200 and "year" in name:
        return low - 50.0, high + 25.0, f"years, seen {low:g} to {high:g}"
    return None


def _room(tail: float, middle: float) -> float:
    """Room beyond the last value, as a part of the whole width."""
    if middle <= 0:
        return 1.0
    return 0.5 if tail <= LIGHT * middle else 1.0 if tail <= HEAVY * middle else 2.0


def _add(room: float, width: float) -> float:
    return room * width


def _words(room: float) -> str:
    return {0.5: "room of half the width", 1.0: "a long tail, room of the whole width"}.get(
        room, "a very long tail, room of twice the width"
    )
