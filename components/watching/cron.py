"""Five cron fields, UTC: when a schedule is due, and the same schedule in the six fields that Kubeflow Pipelines takes.

The rules are those of Debian's cron, by cronsim; when both the day of the month and the weekday are restricted, either
is enough. What Kubeflow Pipelines does not know (``L``, ``#``) is refused here too: one schedule means one thing.
"""

import re
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from serving.errors import ConfigError

_FIELDS = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day", "1 to 31"),
    ("month", "1 to 12, or jan to dec"),
    ("weekday", "0 to 7, or sun to sat"),
)
_TO_SUNDAY = re.compile(r"\b(MON|TUE|WED|THU|FRI|SAT|[1-6])-(SUN|0)\b")


def check(text: str) -> None:
    """Refuse a schedule *text* that will never be due; raises as ``next_after``."""
    _parsed(text, datetime.now(UTC))


def next_after(text: str, moment: datetime) -> datetime:
    """The first whole minute after *moment*, which has a zone, at which the schedule *text* is due.

    Raises:
        ConfigError: it has not five fields, a field is not understood, or no date ever fits.
    """
    return next(_parsed(text, moment))


def due_since(text: str, last: datetime, now: datetime) -> datetime | None:
    """The first moment after *last* and not after *now* at which the schedule *text* was due."""
    found = next_after(text, last)
    return found if found <= now else None


def six_fields(text: str) -> str:
    """*text* with the seconds first, as Kubeflow Pipelines takes it: ``0 0 3 1 * *``.

    Its parser knows Sunday as 0 only, so weekdays with a Sunday are written out.
    """
    weekdays = {day % 7 for day in _parsed(text, datetime.now(UTC)).weekdays if isinstance(day, int)}
    words = _words(text)
    if 0 in weekdays and not words[4].startswith("*"):
        words[4] = ",".join(map(str, sorted(weekdays)))
    return " ".join(["0", *words])


def _words(text: str) -> list[str]:
    words = text.upper().split()
    if len(words) != len(_FIELDS):
        raise ConfigError(f"schedule {text!r}: expected five fields (minute hour day month weekday), seen {len(words)}")
    return [*words[:4], _TO_SUNDAY.sub(r"\1-7", words[4])]  # cron has Sunday at both ends of the week


def _parsed(text: str, moment: datetime) -> CronSim:
    words, start = _words(text), moment.astimezone(UTC)
    for place, (name, expected) in enumerate(_FIELDS):
        alone = ["*"] * len(_FIELDS)
        alone[place] = words[place]
        found = _simulated(alone, start)
        if found is None or any(not isinstance(day, int) or day < 0 for day in (*found.days, *found.weekdays)):
            raise ConfigError(f"schedule {text!r}: {name} {words[place].lower()!r} is not within {expected}")
    together = _simulated(words, start)
    if together is None:
        raise ConfigError(f"schedule {text!r}: no date ever fits it")
    return together


def _simulated(words: list[str], start: datetime) -> CronSim | None:
    try:
        return CronSim(" ".join(words), start)
    except CronSimError:
        return None
