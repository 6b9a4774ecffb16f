"""Waiting for what nobody tells."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def await_true(
    look: Callable[[], T],
    limit_s: float,
    every_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """The first result of *look* that counts as true, or, when *limit_s* are over, the last one."""
    until = clock() + limit_s
    while not (found := look()) and clock() < until:
        sleep(every_s)
    return found
