"""Figures and moments as people read them on every page."""

import time
from datetime import UTC, datetime


def number(value: float) -> str:
    """*value* with thousands separators, or four significant digits below 1,000."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def percent(share: float) -> str:
    """*share*, 0..1, to three digits: ``8.94 %``."""
    return f"{100 * share:.3g} %"


def moment(at: datetime) -> str:
    """``1 June 2026, 09:30 UTC``."""
    utc = at.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"


def time_of_day(at: float) -> str:
    """``09:30:12`` of *at*, seconds since 1970, in UTC."""
    return time.strftime("%H:%M:%S", time.gmtime(at))


def with_unit(words: str, unit: str) -> str:
    """*words* and their unit, which may be empty."""
    return f"{words} {unit}" if unit else words
