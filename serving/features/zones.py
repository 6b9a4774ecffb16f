"""When the clocks of a time zone change, as an array that a compiled loop can search."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from serving.features.kernel import DAY_S, KNOWN_S

_FIRST = -4_417_977_600  # 1830-01-01, before the first change of any zone in the database
_STEP = 3 * DAY_S  # no two changes of a zone are closer (Freetown, 1939: 3.99 days)


@lru_cache(maxsize=64)
def offsets(zone: str) -> tuple[float, ...]:
    """The n moments at which the offset of *zone* from UTC changes, in seconds since 1970, then its n + 1 offsets in
    seconds; complete until ``kernel.KNOWN_S``, from where the last 400 years repeat."""
    known = ZoneInfo(zone)

    def offset(moment: int) -> int:
        ahead = datetime.fromtimestamp(moment, known).utcoffset()
        return 0 if ahead is None else int(ahead.total_seconds())

    days = range(_FIRST, int(KNOWN_S) + DAY_S, _STEP)
    changes, seen = list[int](), [offset(days[0])]
    for day, after in pairwise(days):
        if (found := offset(after)) != seen[-1]:
            changes.append(_change(offset, day, after))
            seen.append(found)
    return tuple(map(float, (*changes, *seen)))


def _change(offset: Callable[[int], int], low: int, high: int) -> int:
    """The first moment after *low* whose offset is that of *high*."""
    before = offset(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offset(middle) == before else (low, middle)
    return high
