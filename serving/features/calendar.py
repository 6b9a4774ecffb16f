"""Parts of moments, by the clocks of their zone, from a few instructions of the kernel."""

from collections.abc import Callable, Mapping

from serving.features import kernel as k
from serving.features import operations
from serving.features.operands import Builder, Operand
from serving.features.zones import offsets

HOUR_S, DAY_S = 3_600.0, 86_400.0
Part = Callable[[Builder, Operand], Operand]


def _local(build: Builder, moment: Operand) -> Operand:
    """Seconds since 1970 by the clocks of the zone."""
    if moment.zone == "UTC":
        return moment
    return Operand("number", build.searched(k.LOCAL, moment.register, offsets(moment.zone)))


def _within(build: Builder, moment: Operand, unit: float, period: float) -> Operand:
    units = build.number(k.FLOOR_DIVIDE, _local(build, moment), unit)
    return build.number(k.REMAINDER, units, period)


def _days(build: Builder, seconds: Operand) -> Operand:
    return build.number(k.FLOOR_DIVIDE, seconds, DAY_S)


def _of(op: int) -> Part:
    return lambda build, moment: build.number(op, _local(build, moment))


def _weekday(build: Builder, moment: Operand) -> Operand:
    days = build.number(k.ADD, _days(build, _local(build, moment)), 3.0)  # 1970 began on a Thursday
    return build.number(k.REMAINDER, days, 7.0)


def _quarter(build: Builder, moment: Operand) -> Operand:
    month = build.number(k.MONTH, _local(build, moment))
    return build.number(k.FLOOR_DIVIDE, build.number(k.ADD, month, 2.0), 3.0)


def _day_of_year(build: Builder, local: Operand) -> Operand:
    """0 on the first of January."""
    start = build.number(k.DATE, build.number(k.YEAR, local), 1.0, 1.0)
    return build.number(k.SUBTRACT, _days(build, local), _days(build, start))


def _week(build: Builder, moment: Operand) -> Operand:
    """The week of a year is that of its Thursday."""
    to_thursday = build.number(k.SUBTRACT, 3.0, _weekday(build, moment))
    thursday = build.number(k.ADD, _local(build, moment), build.number(k.MULTIPLY, to_thursday, DAY_S))
    weeks = build.number(k.FLOOR_DIVIDE, _day_of_year(build, thursday), 7.0)
    return build.number(k.ADD, weeks, 1.0)


PARTS: Mapping[str, tuple[Part, str, Mapping[str, str]]] = {
    "year": (_of(k.YEAR), "the year", {"year(sold_at)": "2014"}),
    "quarter": (_quarter, "1 to 4", {"quarter(sold_at)": "1"}),
    "month": (_of(k.MONTH), "1 to 12", {"month(sold_at)": "3"}),
    "day": (_of(k.DAY), "day of the month, 1 to 31", {"day(sold_at)": "30"}),
    "dayofyear": (
        lambda build, moment: build.number(k.ADD, _day_of_year(build, _local(build, moment)), 1.0),
        "1 to 366",
        {"dayofyear(sold_at)": "89"},
    ),
    "week": (_week, "week of ISO 8601, 1 to 53", {"week(sold_at)": "13"}),
    "weekday": (_weekday, "0 on Monday to 6 on Sunday", {"weekday(sold_at)": "6"}),
    "hour": (
        lambda build, moment: _within(build, moment, HOUR_S, 24.0),
        "0 to 23, by the clocks of the column's zone",
        {"hour(sold_at)": "3"},
    ),
    "minute": (lambda build, moment: _within(build, moment, 60.0, 60.0), "0 to 59", {"minute(sold_at)": "30"}),
}
"""By name how it is computed, what it gives, and an example."""


def days_since(build: Builder, moment: Operand, date: Operand) -> Operand:
    start = operations.instant(build, date, operations.moment(moment).zone)
    return days_between(build, start, moment)


def days_between(build: Builder, first: Operand, second: Operand) -> Operand:
    seconds = build.number(k.SUBTRACT, operations.moment(second), operations.moment(first))
    return build.number(k.DIVIDE, seconds, DAY_S)


def assembled(build: Builder, year: Operand, month: Operand, day: Operand, *clock: Operand) -> Operand:
    date = build.number(k.DATE, *map(operations.number, (year, month, day)))
    if clock:
        parts: list[Operand | float] = [*map(operations.number, clock), 0.0, 0.0]
        date = build.number(k.CLOCK, date, *parts[:3])
    return Operand("moment", date.register)
