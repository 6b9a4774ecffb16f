"""Lengths of time as people write them: ``200ms``, ``90s``, ``2m``, ``1h``, ``28d``, ``2 weeks``."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationInfo

LONGEST = 36_500 * 86_400  # seconds: farther back than a century no calendar of ours has to reach
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_WORDS = {"second": "s", "minute": "m", "hour": "h", "day": "d", "week": "w"}
_TEXT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$")
_EXPECTED = "expected a duration such as 200ms, 90s, 2m, 1h, 28d or 2 weeks"


def parse(value: Any) -> timedelta:
    """The length of *value*: a text such as ``28d``, or seconds as a number.

    Raises:
        ValueError: it is neither, or negative, or more than 36500d.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return timedelta(seconds=_read(value))
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return timedelta(seconds=_bounded(value, value))
    raise ValueError(f"{_EXPECTED}, seen {value!r}")


def seconds(value: Any) -> Any:
    """Seconds of a text; everything else passes unchanged, for pydantic to judge.

    Raises:
        ValueError: the text is no length of time.
    """
    return _read(value) if isinstance(value, str) else value


def text(length: timedelta) -> str:
    """The shortest way to write *length*: ``28d``, ``90s``."""
    total = length.total_seconds()
    for unit in ("d", "h", "m"):
        if total and total % _SECONDS[unit] == 0:
            return f"{total / _SECONDS[unit]:.0f}{unit}"
    return f"{f'{total:.6f}'.rstrip('0').rstrip('.')}s"


def spoken(value: float) -> str:
    """*value* seconds as a person reads them: ``'850 ms'``, ``'12 s'``, ``'3 min'``, ``'2.5 h'``, ``'4 d'``."""
    for limit, unit, name in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if value < limit:
            return f"{value / unit:.3g} {name}"
    return f"{value / 86400:.3g} d"


def _unit(value: Any, info: ValidationInfo) -> Any:
    """What a person wrote has a unit, 0 aside; what was stored is in seconds, so only a context with ``units`` asks."""
    if info.context and info.context.get("units") and type(value) in (int, float) and value:
        raise ValueError(f"{_EXPECTED}; {value!r} has no unit")
    return value


def _read(words: str) -> float:
    """The seconds that *words* say."""
    if match := _TEXT.match(words.lower()):
        unit = match[2] if match[2] in _SECONDS else _WORDS.get(match[2].removesuffix("s"), "")
        if unit:
            return _bounded(float(match[1]) * _SECONDS[unit], words)
    raise ValueError(f"{_EXPECTED}, seen {words!r}")


def _bounded(length: float, seen: Any) -> float:
    if length > LONGEST:
        raise ValueError(f"expected a duration of at most {text(timedelta(seconds=LONGEST))}, seen {seen!r}")
    return length


def _some(length: timedelta) -> timedelta:
    if not length:
        raise ValueError("expected a duration above 0")
    return length


Duration = Annotated[timedelta, BeforeValidator(parse), BeforeValidator(_unit), PlainSerializer(text, return_type=str)]
Seconds = Annotated[
    float, BeforeValidator(seconds), BeforeValidator(_unit), Field(ge=0, le=LONGEST)
]  # the same as a number, where it is computed with
Span = Annotated[Duration, AfterValidator(_some)]  # of what takes no time nothing is ever in it
SpanSeconds = Annotated[Seconds, Field(ge=0.000_001)]
