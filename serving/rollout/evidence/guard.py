"""The absolute guard: is an arm's error rate above its objective, whatever the other arm does.

The question is asked from several starts, because a late failure hides behind a long clean history. The copies share a
level of 0.001 geometrically, so that is the chance of a false alarm over all looks.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from serving.rollout.evidence.bounds import Floats, log_against_low

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

GUARD_LEVEL = 0.001
COPIES = 16
_GAP = 300  # requests between the starts of the first two copies; later gaps grow with the count
_FIRST_SHARE, _NEXT_SHARE = 0.7, 0.3  # geometric shares of GUARD_LEVEL
_LOG_LEVELS: Floats = np.log(GUARD_LEVEL * _FIRST_SHARE * _NEXT_SHARE ** np.arange(COPIES))


def due(begun: Any, last: Any, n: Any) -> Any:
    """Whether another copy begins at *n* requests, the newest of *begun* having begun at *last*; numbers or arrays."""
    return (begun < COPIES) & (n >= last + _GAP + last // 2)


def with_copy(copies: tuple[tuple[int, int], ...], now: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """*copies*, each the (requests, errors) at which it began, and one more when it is due."""
    return (*copies, now) if not copies or due(len(copies), copies[-1][0], now[0]) else copies


def fires(now: Any, starts: Any, slo: float) -> Bools:
    """Whether some copy is certain that the error rate since its start is above *slo*, shape (runs,).

    Args:
        now: (requests, errors) of each run, shape (runs, 2).
        starts: the same at the start of each copy, shape (runs, copies, 2); beyond *now* for one that has not begun.
    """
    since = np.maximum(np.asarray(now)[:, None] - np.asarray(starts), 0)
    # At a share of errors up to the objective no term of the mixture exceeds 1 (Jensen), so nothing need be computed.
    runs, copies = np.nonzero(since[..., 1] > slo * since[..., 0])
    found = np.zeros(len(since), dtype=bool)
    if len(runs):
        n, errors = since[runs, copies].T
        found[runs[log_against_low(n, errors, slo) >= -_LOG_LEVELS[copies]]] = True
    return found
