"""Lengths of time as people write them: ``90s``, ``2m``, ``1h``, ``28d``, ``2 weeks``."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_WORDS = {"second": "s", "minute": "m", "hour": "h", "day": "d", "week": "w"}
_TEXT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$")


def parse(value: Any) -> timedelta:
    """The length of *value*: a text such as ``28d``, or seconds as a number.

    Raises:
        ValueError: it is neither, or negative.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return timedelta(seconds=value)
    if isinstance(value, str) and (match := _TEXT.match(value.lower())):
        unit = match[2] if match[2] in _SECONDS else _WORDS.get(match[2].removesuffix("s"), "")
        if unit:
            return timedelta(seconds=float(match[1]) * _SECONDS[unit])
    raise ValueError("expected a length of time such as 90s, 2m, 1h, 28d or 2 weeks")


def text(length: timedelta) -> str:
    """The shortest way to write *length*: ``28d``, ``90s``."""
    seconds = length.total_seconds()
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:g}{unit}"
    return f"{seconds:g}s"


Duration = Annotated[timedelta, BeforeValidator(parse), PlainSerializer(text, return_type=str)]
