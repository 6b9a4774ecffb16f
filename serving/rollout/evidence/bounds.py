"""Bounds for a rate that hold at every look, however often one looks.

For S events in n trials and a fixed grid of lambda, the mixture sum_l pi_l exp(-l S) (1 + q (exp(-l) - 1))^-n is a
nonnegative supermartingale when the running mean rate is at least q, because p -> log(1 + p (e^l - 1)) is concave: the
rate may drift (the sub-Bernoulli case of Howard, Ramdas, McAuliffe, Sekhon, Ann. Stat. 49(2), 2021; Waudby-Smith,
Ramdas, JRSS-B 2024 has the sharper betting form). Ville's inequality turns it into a bound with level b for all n at
once. All arithmetic is in logarithms, so nothing overflows at any count.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LAMBDAS: Floats = np.geomspace(0.02, 12.0, 13)
_LOG_PI = -math.log(len(LAMBDAS))
_NEWTON = 30
_CLOSE = 1e-14


def log_sum_exp(values: Floats, axis: int = -1) -> Floats:
    """log(sum(exp(values))) along *axis*, without overflow; -inf where all are -inf."""
    top = values.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(top.squeeze(axis) + np.log(np.exp(values - top).sum(axis=axis)))


def log_against_high(n: Any, events: Any, rate: Any) -> Floats:
    """Log evidence that the running mean rate is below *rate*; arguments broadcast, rate in [0, 1]."""
    return _log_mixture(n, events, rate, -LAMBDAS)


def log_against_low(n: Any, events: Any, rate: Any) -> Floats:
    """Log evidence that the running mean rate is above *rate*; arguments broadcast, rate in [0, 1]."""
    return _log_mixture(n, events, rate, LAMBDAS)


def upper(n: Any, events: Any, level: float) -> Floats:
    """Largest rate in [0, 1] not refuted: above the running mean rate for all n with chance 1 - *level*.

    Args:
        n: trials, array_like of shape (k,) or a number; with none the bound is 1.
        events: events among them, same shape.
        level: chance in (0, 1) that the bound ever fails.
    """
    return _solve(n, events, level, -LAMBDAS)


def lower(n: Any, events: Any, level: float) -> Floats:
    """Smallest rate in [0, 1] not refuted; 0 without trials or events. Arguments as for ``upper``."""
    return _solve(n, events, level, LAMBDAS)


def requests_needed(
    canary: tuple[int, int],
    stable: tuple[int, int],
    weight: float,
    next_weight: float,
    rho: float,
    beta: float,
) -> int | None:
    """Requests to both arms together until ``next_weight * (upper - lower) <= rho``, at the rates seen so far.

    Args:
        canary, stable: (requests, events) so far in this step.
        weight: canary's share of requests in (0, 1) while waiting.

    Returns:
        None when these rates will not be certified within ten million requests.
    """
    more = np.unique(np.concatenate([[0.0], np.geomspace(20, 1e7, 240)]).round())
    (n_c, k_c), (n_s, k_s) = canary, stable
    to_canary, to_stable = weight * more, (1 - weight) * more
    high = upper(n_c + to_canary, k_c + to_canary * _rate(canary), beta / 2)
    low = lower(n_s + to_stable, k_s + to_stable * _rate(stable), beta / 2)
    enough = np.flatnonzero(next_weight * np.maximum(0.0, high - low) <= rho)
    return int(more[enough[0]]) if len(enough) else None


def _rate(counts: tuple[int, int]) -> float:
    n, events = counts
    return events / n if n else 0.0


def _log_mixture(n: Any, events: Any, rate: Any, lambdas: Floats) -> Floats:
    trials, seen, q = (np.asarray(value, dtype=float)[..., None] for value in (n, events, rate))
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(trials > 0, trials * np.log1p(q * np.expm1(lambdas)), 0.0)
    return log_sum_exp(lambdas * seen - growth) + _LOG_PI


def _solve(n: Any, events: Any, level: float, lambdas: Floats) -> Floats:
    """Where the log mixture meets log(1 / level), by Newton's method from the refuted side.

    The log mixture is convex in the rate, so every iterate stays on the refuted side: stopping early is conservative.
    The start is the best single lambda at its own share, which the mixture can only improve on. The numbers of the last
    axis go on until all of them stand still, and each row for itself, so that no digit depends on other rows.
    """
    trials, seen = np.broadcast_arrays(np.atleast_1d(np.asarray(n, dtype=float)), np.asarray(events, dtype=float))
    steps, threshold, high = np.expm1(lambdas), -math.log(level), lambdas[0] < 0
    count, weighed = np.maximum(trials, 1.0)[..., None], lambdas * seen[..., None]
    single = np.expm1((weighed - threshold + _LOG_PI) / count) / steps
    rate = _share(single.min(axis=-1) if high else single.max(axis=-1))
    moving = np.any(trials > 0, axis=-1, keepdims=True)
    for _ in range(_NEWTON if moving.any() else 0):
        inside = 1 + rate[..., None] * steps
        parts = weighed - count * np.log(inside) + _LOG_PI
        top = parts.max(axis=-1)
        shares = np.exp(parts - top[..., None])
        mass = shares.sum(axis=-1)
        slope = -(shares * (count * steps / inside)).sum(axis=-1) / mass
        move = np.where(moving, np.maximum(top + np.log(mass) - threshold, 0.0) / slope, 0.0)
        rate = _share(rate - move)
        moving = np.abs(move).max(axis=-1, keepdims=True) >= _CLOSE
        if not moving.any():
            break
    found = np.where(trials > 0, rate, 1.0 if high else 0.0)
    return found if np.ndim(n) or np.ndim(events) else np.asarray(found[0])


def _share(values: Floats) -> Floats:
    return np.minimum(np.maximum(values, 0.0), 1.0)
