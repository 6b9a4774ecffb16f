"""Durations as people write them: ``90``, ``"200ms"``, ``"2m"``, ``"24h"``, ``"7d"``; seconds inside."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def seconds(value: Any) -> Any:
    """Seconds of a duration text; numbers pass unchanged.

    Raises:
        ValueError: the text is not a number followed by one of ms, s, m, h, d.
    """
    if not isinstance(value, str):
        return value
    match = _FORM.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"expected a duration such as '200ms', '90s', '2m', '1h' or '7d', seen {value!r}")
    return float(match[1]) * _UNITS[match[2]]


def spoken(value: float) -> str:
    """*value* seconds as a person reads them: ``'850 ms'``, ``'12 s'``, ``'3 min'``, ``'2.5 h'``, ``'4 d'``."""
    for limit, unit, name in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if value < limit:
            return f"{value / unit:.3g} {name}"
    return f"{value / 86400:.3g} d"


Duration = Annotated[float, BeforeValidator(seconds), Field(ge=0)]
