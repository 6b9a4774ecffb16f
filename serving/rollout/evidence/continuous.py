"""Confidence sequences for means that are not rates: latency in ms, revenue per request, a loss.

``asymptotic_radius`` is the normal-mixture confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas,
Ann. Stat. 2024 (arXiv 2103.06476): valid at all looks in the limit of many observations, like a t interval is at one.
"""

import math
from dataclasses import dataclass

LEAST = 50  # observations per arm below which no interval is given: the limit is not reached


@dataclass(frozen=True)
class Moments:
    """Count, sum and sum of squares of one arm's values; they add over epochs."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else math.nan

    @property
    def variance(self) -> float:
        """Population variance; 0 below two observations."""
        return max(0.0, self.squares / self.n - self.mean**2) if self.n > 1 else 0.0

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)


def asymptotic_radius(n: float, deviation: float, alpha: float, best_at: float = 1000.0) -> float:
    """Half width of the interval for a mean after *n* observations, valid at every look.

    Args:
        deviation: standard deviation of one observation.
        alpha: chance in (0, 1) that the interval ever misses.
        best_at: number of observations at which the interval is tightest.
    """
    if n <= 0:
        return math.inf
    h2 = _tuned(alpha) / best_at
    inside = 2 * (n * h2 + 1) / (n * n * h2) * math.log(math.sqrt(n * h2 + 1) / alpha)
    return deviation * math.sqrt(inside)


def difference(a: Moments, b: Moments, alpha: float, best_at: float = 1000.0) -> tuple[float, float, float]:
    """Mean of *b* minus mean of *a* with its interval: (estimate, low, high).

    With fewer than 50 observations in an arm the interval is all numbers. Arms drawn at random are one sample of size
    n whose weighted values have variance var_a / (n_a / n) + var_b / (n_b / n).
    """
    if min(a.n, b.n) < LEAST:
        return (b.mean - a.mean if a.n and b.n else math.nan), -math.inf, math.inf
    n = a.n + b.n
    deviation = math.sqrt(n * (a.variance / a.n + b.variance / b.n))
    radius = asymptotic_radius(n, deviation, alpha, best_at)
    estimate = b.mean - a.mean
    return estimate, estimate - radius, estimate + radius


def _tuned(alpha: float) -> float:
    """Square of h at which the sequence is tightest after one observation, scaled by the caller (their section B.2)."""
    return -2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)
