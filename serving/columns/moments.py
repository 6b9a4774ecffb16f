"""Texts and numbers that say when something happened, as microseconds since 1970-01-01T00:00Z.

A format is compiled to one regular expression in the syntax that Python and polars share; what it finds is computed to
microseconds by ``civil``, which takes numbers and arrays alike, and by ``offset_us``. A server reads single texts with
them and ``components.data.moments`` whole columns, so that a text means the same in a table and in a request.

Directives: %Y %y %m %b %B %d %j %H %I %p %M %S %f %z %T %F %%; %a and %A are read and not looked at. Numbers may lack
their leading zero, unless digits follow at once. ISO 8601 (a blank for the T, Z, UTC or an offset behind) is read
besides, unless a format reads ISO's own dates in another order. ``epoch_s`` and ``epoch_ms`` are counts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property, lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
EPOCHS: Final = {"epoch_s": 1e6, "epoch_ms": 1e3}
"""Counts, and the microseconds of one."""
EPOCH: Final = datetime(1970, 1, 1)  # local times and UTC are counted from it alike
LOWEST: Final = -62_135_596_800 * SECOND
HIGHEST: Final = 253_402_300_800 * SECOND - 1
"""The years 1 to 9999, for which Python has dates."""
BLANKS: Final = " \t\r\n\f\v\u00a0"
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
SAMPLE: Final = datetime(2014, 3, 25, 14, 5, 9)  # whose numbers nobody takes for one another

_NUMBERS = {"Y": "4", "y": "2", "m": "1,2", "d": "1,2", "j": "1,3", "H": "1,2", "I": "1,2", "M": "1,2", "S": "1,2"}
_WORDS = {
    "b": f"(?P<b>(?i:{'|'.join(MONTHS)}))[a-zA-Z]{{0,6}}[.]?",
    "p": "(?P<p>[aApP])[.]?[mM][.]?",
    "f": "(?P<f>[0-9]{1,9})",
    "z": "(?P<z>[zZ]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)",
    "a": "[a-zA-Z]{2,9}[.]?",
    "%": "%",
}
_LONG = {"%T": "%H:%M:%S", "%F": "%Y-%m-%d", "%B": "%b", "%A": "%a", "%-": "%"}
_ISO = (
    "(?P<Y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"
    "(?:[tT ](?P<H>[0-9]{2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2})(?:[.,](?P<f>[0-9]{1,9}))?)?)?"
    "(?: ?" + _WORDS["z"] + ")?"
)
_EPOCH = "(?P<e>-?[0-9]{1,18}(?:[.][0-9]{1,9})?)"
_EDGE = f"[{BLANKS}]*"
Parts = Mapping[str, Any]


def pattern(form: str) -> str:
    """The expression for texts of *form*, without its edges.

    Raises:
        ValueError: a directive is unknown or stands twice, or together they name no day.
    """
    if form in EPOCHS:
        return _EPOCH
    for word, meant in _LONG.items():
        form = form.replace(word, meant)
    found = "".join(_pieces(form))
    groups = re.findall(r"\(\?P<(\w)>", found)
    if len(set(groups)) < len(groups):
        raise ValueError(f"a directive stands twice in {form!r}")
    known = set(groups)
    if not known & {"Y", "y"} or not ("j" in known or ("d" in known and known & {"m", "b"})):
        raise ValueError(f"expected directives of year, month and day such as '%d.%m.%Y %H:%M', seen {form!r}")
    if ("I" in known) != ("p" in known):
        raise ValueError(f"%I and %p only mean an hour together, seen {form!r}")
    return found


def _pieces(form: str) -> Iterator[str]:
    """The expression of each directive and of what stands between them."""
    parts = re.findall(r"%.?|[^%]", form, re.DOTALL)
    for part, behind in zip(parts, [*parts[1:], ""], strict=True):
        if len(part) == 1 and part != "%":
            yield re.sub(r"([][.\\+*?(){}|^$#&~-])", r"\\\1", part)
        elif (letter := part[1:]) in _NUMBERS:
            count = _NUMBERS[letter]
            closed = behind[1:] in _NUMBERS or behind[1:] == "f" or behind.isdigit()
            yield f"(?P<{letter}>[0-9]{{{count[-1] if closed and behind else count}}})"
        elif letter in _WORDS:
            yield _WORDS[letter]
        else:
            raise ValueError(f"{part!r} is no directive that is read; they are %Y %y %m %b %d %j %H %I %p %M %S %f %z")


def civil(parts: Parts) -> tuple[Any, Any]:
    """Microseconds from 1970-01-01T00:00 on the clock of the place, and whether there is such a moment.

    Args:
        parts: whole numbers or arrays of them by directive: Y, m, d, and H, M, S, f (microseconds), where known.
    """
    year, month, day = parts["Y"], parts["m"], parts["d"]
    hour, minute, second = parts["H"], parts["M"], parts["S"]
    month_ok = (month >= 1) & (month <= 12)
    month = month * month_ok + (1 - month_ok)
    length = _days(year + month // 12, month % 12 + 1, 1) - _days(year, month, 1)
    fine = month_ok & (year >= 1) & (year <= 9999) & (day >= 1) & (day <= length)
    fine = fine & (hour < 24) & (minute < 60) & (second < 60)
    clock = (hour * 3600 + minute * 60 + second) * SECOND + parts["f"]
    return _days(year, month, day) * DAY + clock, fine


def _days(year: Any, month: Any, day: Any) -> Any:
    """Days from 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil)."""
    year = year - (month <= 2)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    of_era = year % 400 * 365 + year % 400 // 4 - year % 400 // 100 + of_year
    return year // 400 * 146_097 + of_era - 719_468


def offset_us(zone: tzinfo, local: int) -> int:
    """By how many microseconds the clock of *zone* is ahead of UTC when it says *local*.

    Where it is put back, the first of both is meant; what it leaves out is counted on from the moment before.
    """
    ahead = (EPOCH + timedelta(microseconds=local)).replace(tzinfo=zone).utcoffset()
    return 0 if ahead is None else ahead // timedelta(microseconds=1)


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
    """

    def __init__(self, formats: Sequence[str], zone: str) -> None:
        own = [(form, pattern(form)) for form in formats]
        other = any(re.fullmatch(found, "2014-03-25") or re.fullmatch(found, "2014-25-03") for _, found in own)
        iso = [] if other and "%F" not in formats and "%Y-%m-%d" not in formats else [("iso", _ISO)]
        self.forms = tuple((form, f"^{_EDGE}{found}{_EDGE}$") for form, found in (*own, *iso))
        self.formats = tuple(formats)
        self.zone = zone_of(zone)
        self._compiled = tuple((form, re.compile(found)) for form, found in self.forms)

    @cached_property
    def counted(self) -> float | None:
        """The microseconds of one, where numbers are counts."""
        return next((EPOCHS[form] for form in self.formats if form in EPOCHS), None)

    def of_text(self, text: str, first: int | None = None) -> int | None:
        """Microseconds of what *text* says; None where it says no moment of the years 1 to 9999.

        Args:
            first: how many of ``forms`` are tried; None for all.
        """
        for form, compiled in self._compiled[:first]:
            found = compiled.fullmatch(text)
            if found is not None:
                told = self._of_groups(form, found.groupdict())
                if told is not None:
                    return told
        return None

    def of_number(self, number: float) -> int | None:
        """Microseconds of a count; None where numbers are none."""
        if self.counted is None or not abs(number) < 2.0**62:
            return None
        count = float(number) * self.counted
        return _of_our_era(round(count)) if abs(count) < 2.0**62 else None

    def _of_groups(self, form: str, groups: Mapping[str, str | None]) -> int | None:
        if form in EPOCHS:
            return _of_our_era(round(float(groups["e"] or "") * EPOCHS[form]))
        local, fine = civil(numbers(groups))
        if not fine:
            return None
        zone = groups.get("z")
        ahead = offset_of(zone) if zone else offset_us(self.zone, local)
        return None if ahead is None else _of_our_era(local - ahead)


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
        begun = _days(year + last // 13, (last - 1) % 12 + 1, 1) - _days(year, 1, 1)
        month = month + (day > begun)
    return month, day - (_days(year + month // 13, (month - 1) % 12 + 1, 1) - _days(year, 1, 1))


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


def sample(form: str) -> str:
    """A text that *form* reads."""
    if form in EPOCHS:
        return str(round(SAMPLE.replace(tzinfo=UTC).timestamp() * 1e6 / EPOCHS[form]))
    return SAMPLE.replace(tzinfo=UTC).strftime(form)


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
