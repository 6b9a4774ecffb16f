"""Texts and numbers that say when something happened, as microseconds since 1970-01-01T00:00Z.

What a pattern of ``serving.columns.formats`` finds is computed to microseconds by ``civil``, which takes numbers and
arrays alike, and by ``offset_us``. A server reads single texts with them and ``components.data.moments`` whole columns,
so that a text means the same in a table and in a request. ISO 8601 (a blank for the T, Z, UTC or an offset behind) is
read besides the stated formats, unless one of these reads its texts as other moments. ``epoch_s`` and ``epoch_ms`` are
counts.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property, lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from serving.columns.formats import BLANKS, EDGE, EPOCHS, ISO, ISO_SAMPLES, MONTHS, pattern, sample

__all__ = ["BLANKS", "EPOCHS", "MomentReader", "civil", "reading", "sample", "seconds"]

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
EPOCH: Final = datetime(1970, 1, 1)  # local times and UTC are counted from it alike
LOWEST: Final = -62_135_596_800 * SECOND
HIGHEST: Final = 253_402_300_800 * SECOND - 1
"""The years 1 to 9999, for which Python has dates."""
Parts = Mapping[str, Any]


def civil(parts: Parts) -> tuple[Any, Any]:
    """Microseconds from 1970-01-01T00:00 on the clock of the place, and whether there is such a moment.

    Args:
        parts: whole numbers or arrays of them by directive: Y, m, d, and H, M, S, f (microseconds), where known.
    """
    year, month, day = parts["Y"], parts["m"], parts["d"]
    hour, minute, second = parts["H"], parts["M"], parts["S"]
    month_ok = (month >= 1) & (month <= 12)
    month = month * month_ok + (1 - month_ok)
    length = days(year + month // 12, month % 12 + 1, 1) - days(year, month, 1)
    fine = month_ok & (year >= 1) & (year <= 9999) & (day >= 1) & (day <= length)
    fine = fine & (hour < 24) & (minute < 60) & (second < 60)
    clock = (hour * 3600 + minute * 60 + second) * SECOND + parts["f"]
    return days(year, month, day) * DAY + clock, fine


def days(year: Any, month: Any, day: Any) -> Any:
    """Days from 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil)."""
    year = year - (month <= 2)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    of_era = year % 400 * 365 + year % 400 // 4 - year % 400 // 100 + of_year
    return year // 400 * 146_097 + of_era - 719_468


def offset_us(zone: tzinfo, local: int) -> int:
    """By how many microseconds the clock of *zone* is ahead of UTC when it says *local*.

    Where it is put back, the first of both is meant; what it leaves out is counted on from the moment before.
    """
    return _ahead(zone, EPOCH + timedelta(microseconds=local))


def _ahead(zone: tzinfo, when: datetime) -> int:
    ahead = when.replace(tzinfo=zone).utcoffset()
    return 0 if ahead is None else (ahead.days * 86_400 + ahead.seconds) * SECOND + ahead.microseconds


def zone_of(name: str) -> tzinfo:
    """The zone called *name*, such as Europe/Berlin or +02:00.

    Raises:
        ValueError: there is none.
    """
    if name == "UTC":
        return UTC
    if fixed := re.fullmatch(r"[+-]\d\d:\d\d", name):
        return datetime.strptime(fixed[0], "%z").tzinfo or UTC
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        raise ValueError(f"'zone' must be the name of a time zone such as Europe/Berlin, seen {name!r}") from None


class MomentReader:
    """How the texts and numbers of one column are read.

    Attributes:
        forms: formats with the expression of each, edges included, in the order in which they are tried.
        zone: of moments that state none.
        usual: whether nothing but ISO 8601 is read, and that in UTC.
    """

    def __init__(self, formats: Sequence[str], zone: str) -> None:
        self.formats, self.zone = tuple(formats), zone_of(zone)
        found = [*((form, pattern(form)) for form in formats), ("iso", ISO)]
        self.forms = tuple((form, f"^{EDGE}{one}{EDGE}$") for form, one in found)
        self._compiled = tuple((form, one := re.compile(found), _places(one)) for form, found in self.forms)
        *own, iso = self._compiled
        if any(self._one(*one, text) not in (None, self._one(*iso, text)) for text in ISO_SAMPLES for one in own):
            self.forms, self._compiled = self.forms[:-1], self._compiled[:-1]
        self.usual = not formats and self.zone == UTC

    @cached_property
    def counted(self) -> float | None:
        """The microseconds of one, where numbers are counts."""
        return next((EPOCHS[form] for form in self.formats if form in EPOCHS), None)

    def of_text(self, text: str, first: int | None = None) -> int | None:
        """Microseconds of what *text* says; None where it says no moment of the years 1 to 9999.

        Args:
            first: how many of ``forms`` are tried; None for all.
        """
        if self.usual and (usual := _usual(text)) is not None:
            return usual
        for one in self._compiled[:first]:
            told = self._one(*one, text)
            if told is not None:
                return told
        return None

    def of_number(self, number: float) -> int | None:
        """Microseconds of a count; None where numbers are none."""
        if self.counted is None or not abs(number) < 2.0**62:
            return None
        count = float(number) * self.counted
        return _of_our_era(round(count)) if abs(count) < 2.0**62 else None

    def _one(self, form: str, compiled: "re.Pattern[str]", places: tuple[int, ...], text: str) -> int | None:
        """Microseconds of what *text* says in one form."""
        found = compiled.fullmatch(text)
        if found is None:
            return None
        if form in EPOCHS:
            return _of_our_era(round(float(found["e"]) * EPOCHS[form]))
        zone = None
        try:  # what ``civil`` computes, in one call
            if places:
                when = datetime(*map(int, found.group(*places)))  # type: ignore[arg-type]  # they are in its order
            else:
                parts, zone = numbers(found.groupdict()), found.groupdict().get("z")
                when = datetime(*(parts[name] for name in "YmdHMSf"))  # type: ignore[arg-type]  # they are in its order
        except ValueError:
            return None
        ahead = offset_of(zone) if zone else 0 if self.zone == UTC else _ahead(self.zone, when)
        return None if ahead is None else _of_our_era(_micros(when) - ahead)


def _places(compiled: "re.Pattern[str]") -> tuple[int, ...]:
    """Where a form of plain numbers has what ``datetime`` takes, in its order; nothing for other forms."""
    known = compiled.groupindex
    wanted = "YmdHMS"[: len(known)]
    return tuple(known[name] for name in wanted) if set(known) == set(wanted) and len(known) >= 3 else ()


def _micros(when: datetime) -> int:
    length = when - EPOCH
    return (length.days * 86_400 + length.seconds) * SECOND + length.microseconds


def _usual(text: str) -> int | None:
    """What a text in the forms of ISO that most requests have says in UTC, without an expression; None for others."""
    size = len(text)
    if size == 20 and text[19] == "Z":
        text, size = text[:19], 19
    if size not in (10, 16, 19) or not text[4] == text[7] == "-":
        return None
    if size > 10 and (text[10] not in "T " or text[13] != ":" or text[size - 3] != ":"):
        return None
    try:
        return _micros(datetime.fromisoformat(text))
    except ValueError:
        return None


def numbers(groups: Mapping[str, str | None]) -> dict[str, int]:
    """What the *groups* of a pattern count, as ``civil`` takes it."""
    found = {name: int(groups.get(name) or 0) for name in "HMS"}
    year, hour, day = groups.get("Y"), groups.get("I"), groups.get("j")
    found["Y"] = century(int(groups["y"] or 0)) if year is None else int(year)
    found["m"] = month_of(word) if (word := groups.get("b")) else int(groups.get("m") or 1)
    found["d"] = int(groups.get("d") or 1)
    if hour is not None:
        found["H"] = hour_of(int(hour), (groups["p"] or "") in "pP")
    if day is not None:
        found["m"], found["d"] = of_year(found["Y"], int(day))
    found["f"] = fraction(groups.get("f") or "")
    return found


def month_of(word: str) -> int:
    """The month that a *word* of a pattern names, from 1."""
    return MONTHS.index(word.lower()) + 1


def fraction(digits: str) -> int:
    """Microseconds that the *digits* behind a second count; those behind the sixth do not."""
    return int(digits.ljust(6, "0")[:6])


def hour_of(hour: Any, late: Any) -> Any:
    """The hour of the day, from the one of half a day; 24, which is none, where that is none."""
    fine = (hour >= 1) & (hour <= 12)
    return (hour % 12 + 12 * late) * fine + 24 * (1 - fine)


def century(year: int) -> int:
    """The year that two digits mean, as POSIX has it: 1969 to 2068."""
    return year + (1900 if year >= 69 else 2000)


def of_year(year: Any, day: Any) -> tuple[Any, Any]:
    """Month and day of the *day*-th day of *year*; no date where there is none."""
    month = day * 0 + 1
    for last in range(2, 14):
        begun = days(year + last // 13, (last - 1) % 12 + 1, 1) - days(year, 1, 1)
        month = month + (day > begun)
    return month, day - (days(year + month // 13, (month - 1) % 12 + 1, 1) - days(year, 1, 1))


def offset_of(text: str) -> int | None:
    """Microseconds that a stated offset (``+02:00``, ``Z``) is ahead of UTC; None where it is none."""
    if text[0] not in "+-":
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    if int(digits[2:]) > 59 or int(digits[:2]) > 23:
        return None
    ahead = (int(digits[:2]) * 3600 + int(digits[2:]) * 60) * SECOND
    return -ahead if text[0] == "-" else ahead


def seconds(micros: Any) -> Any:
    """*micros*, a number or an array of them, as the coded matrix has them."""
    return micros // SECOND + micros % SECOND / 1e6


def micros_of(code: float) -> int:
    """The microseconds nearest to a cell of the coded matrix."""
    whole = int(code // 1)
    return whole * SECOND + round((code - whole) * 1e6)


def shown(micros: int) -> str:
    """*micros* as ISO 8601 in UTC."""
    return (EPOCH + timedelta(microseconds=min(max(micros, LOWEST), HIGHEST))).isoformat() + "Z"


def check(formats: Sequence[str]) -> None:
    """Refuse *formats* that cannot be read, or that read one text as two moments.

    Raises:
        ValueError: which, and why.
    """
    day = datetime(2014, 3, 4, 5, 6, 7, tzinfo=UTC)
    for form in formats:
        pattern(form)
        for other in formats:
            if form in EPOCHS or other in EPOCHS or form == other:
                continue
            told, meant = (reading((one,), "UTC").of_text(day.strftime(form), 1) for one in (form, other))
            if None not in (told, meant) and told // DAY != meant // DAY:  # type: ignore[operator]  # none of them is
                raise ValueError(f"{form!r} and {other!r} both read {day.strftime(form)!r}, as two days; state one")


def _of_our_era(micros: int) -> int | None:
    return micros if LOWEST <= micros <= HIGHEST else None


@lru_cache(maxsize=256)
def reading(formats: tuple[str, ...], zone: str) -> MomentReader:
    """How moments of these *formats* are read."""
    return MomentReader(formats, zone)
