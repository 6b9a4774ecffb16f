"""Five cron fields, UTC: when a schedule is due, and the same schedule in the six fields that Kubeflow Pipelines takes.

The rules are those of Vixie cron: ``*``, numbers, ranges ``1-5``, steps ``*/15`` and ``8-18/2``, lists ``1,15``, names
of months and weekdays, Sunday as 0 or 7; when both the day of the month and the weekday are restricted, either is
enough.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from serving.errors import ConfigError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_YEARS = 9  # February 29 comes back after at most eight years


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def last(self) -> int:
        """The largest value that is no second name of another."""
        return 6 if self.name == "weekday" else self.high


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """A parsed schedule: the values each field allows; Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def allows_day(self, moment: datetime) -> bool:
        by_date = moment.day in self.days
        by_weekday = moment.isoweekday() % 7 in self.weekdays
        return moment.month in self.months and (by_date or by_weekday if self.either_day else by_date and by_weekday)

    def allows(self, moment: datetime) -> bool:
        """Whether the schedule is due in the minute of *moment*."""
        return self.allows_day(moment) and moment.hour in self.hours and moment.minute in self.minutes


def parse(text: str) -> Cron:
    """The schedule in *text*.

    Raises:
        ConfigError: it has not five fields, a field is not understood, or no date ever fits.
    """
    words = text.lower().split()
    if len(words) != len(_FIELDS):
        raise ConfigError(f"schedule {text!r}: expected five fields (minute hour day month weekday), seen {len(words)}")
    minutes, hours, days, months, weekdays = (
        _values(word, field, text) for word, field in zip(words, _FIELDS, strict=True)
    )
    either = not words[2].startswith("*") and not words[4].startswith("*")
    cron = Cron(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)
    if next_after(cron, datetime(2024, 1, 1, tzinfo=UTC)) is None:
        raise ConfigError(f"schedule {text!r}: no date ever fits it")
    return cron


def next_after(cron: Cron, moment: datetime) -> datetime | None:
    """The first whole minute after *moment* at which the schedule is due; None when there is none in nine years."""
    start = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    midnight = start.replace(hour=0, minute=0)
    for days in range(366 * _YEARS):
        day = midnight + timedelta(days=days)
        if not cron.allows_day(day):
            continue
        for hour in sorted(cron.hours):
            for minute in sorted(cron.minutes):
                if (found := day.replace(hour=hour, minute=minute)) >= start:
                    return found
    return None


def due_since(cron: Cron, last: datetime, now: datetime) -> datetime | None:
    """The first moment after *last* and not after *now* at which the schedule was due."""
    found = next_after(cron, last)
    return found if found is not None and found <= now else None


def six_fields(text: str) -> str:
    """*text* with the seconds first, as Kubeflow Pipelines takes it: ``0 0 3 1 * *``.

    Its parser knows Sunday as 0 only, so weekdays with a 7 or up to Sunday are written out.
    """
    parse(text)
    words = text.upper().split()
    if re.search(r"7|-(SUN|0)", words[4]):
        weekdays = sorted(day % 7 for day in _values(words[4].lower(), _FIELDS[4], text))
        words[4] = ",".join(str(day) for day in dict.fromkeys(weekdays))
    return " ".join(["0", *words])


def _values(word: str, field: _Field, text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        found.update(_part(part, field, text))
    return frozenset(found)


def _part(part: str, field: _Field, text: str) -> range:
    """The values of one list item: ``*``, ``5``, ``1-5``, any of them with ``/step``."""
    span, slash, step_text = part.partition("/")
    step = _number(step_text, field, text) if slash else 1
    if span == "*":
        low, high = field.low, field.last
    else:
        first, dash, last = span.partition("-")
        low = _number(first, field, text)
        high = _number(last, field, text) if dash else field.last if slash else low
        if field.name == "weekday" and high == 0 < low:
            high = 7  # fri-sun
    if step < 1 or not field.low <= low <= high <= field.high:
        raise ConfigError(f"schedule {text!r}: {field.name} {part!r} is not within {field.low} to {field.high}")
    return range(low, high + 1, step)


def _number(word: str, field: _Field, text: str) -> int:
    if word in field.names:
        return field.names.index(word) + field.low
    if word.isascii() and word.isdigit():
        return int(word)
    raise ConfigError(f"schedule {text!r}: {field.name} {word!r} is no number{' or name' if field.names else ''}")
