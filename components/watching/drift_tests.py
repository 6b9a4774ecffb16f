"""Distances between two samples that were counted into the same bins, and how likely each is by chance alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from serving.profile import NumericHistogram, population_stability

Shares = npt.NDArray[np.float64]
LEAST_EXPECTED = 5.0  # per cell, below which the chi-square distribution is no good approximation (Cochran 1954)


def ks(reference: NumericHistogram, current: NumericHistogram) -> tuple[float, float]:
    """Largest distance of the two cumulated shares at the bin edges, and its two-sided p-value.

    The p-value is that of one sample of the effective size n m / (n + m), which is exact for large samples of a
    continuous value; ties, and so bins, make it larger than it should be, never smaller.
    """
    n, m = sum(reference.counts), sum(current.counts)
    if not n or not m:
        return 0.0, 1.0
    distance = float(np.max(np.abs(_cumulated(reference) - _cumulated(current)), initial=0.0))
    return distance, float(np.clip(stats.kstwo.sf(distance, max(round(n * m / (n + m)), 1)), 0.0, 1.0))


def chi_square(reference: Sequence[int], current: Sequence[int]) -> float:
    """p-value of two samples of categories having one distribution; rare categories are tested together."""
    table = np.array([reference, current], dtype=np.float64)
    if not table[0].sum() or not table[1].sum():
        return 1.0
    table = _without_rare(table[:, table.sum(axis=0) > 0])
    if table.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def cramers_v(reference: Sequence[int], current: Sequence[int]) -> float:
    """Cramer's V of sample against category, both samples weighed equally: 0 for equal shares, 1 for disjoint ones.

    Equal weights keep a long reference from watering down what a short, wholly different present shows.
    """
    p, q = shares(reference), shares(current)
    total = p + q
    some = total > 0
    return float(np.sqrt(0.5 * np.sum((p - q)[some] ** 2 / total[some]))) if p.any() and q.any() else 0.0


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """Population stability index; 0 while one of them is empty."""
    return population_stability(current, reference) if sum(reference) and sum(current) else 0.0


def wasserstein(reference: NumericHistogram, current: NumericHistogram) -> float:
    """Mean distance that values moved, as a share of the range between the first and the last edge.

    Values are taken as spread evenly over their bin, those beyond the outer edges as lying on them. With a single
    edge the distance is the share of values that changed sides.
    """
    if not sum(reference.counts) or not sum(current.counts) or not reference.edges:
        return 0.0
    gap = _cumulated(reference) - _cumulated(current)
    edges = np.asarray(reference.edges)
    span = edges[-1] - edges[0]
    if not span:
        return float(abs(gap[0]))
    left, right = np.abs(gap[:-1]), np.abs(gap[1:])
    both = left + right
    crossing = np.divide(left**2 + right**2, 2 * both, out=np.zeros_like(both), where=both > 0)
    areas = np.where(gap[:-1] * gap[1:] >= 0, both / 2, crossing) * np.diff(edges)
    return float(areas.sum() / span)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number so that the chance of any false alarm stays below alpha (Holm 1979)."""
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def rise_p(before: int, rows_before: int, now: int, rows_now: int) -> float:
    """Chance of at least *now* among *rows_now* if both samples had one rate (Fisher's exact test, one-sided)."""
    if not rows_before or not rows_now:
        return 1.0
    return float(stats.hypergeom.sf(now - 1, rows_before + rows_now, before + now, rows_now))


def change_p(before: int, rows_before: int, now: int, rows_now: int) -> float:
    """Chance of a share at least as far to its side of the other, both sides counted (twice the smaller tail)."""
    fall = rise_p(rows_before - before, rows_before, rows_now - now, rows_now)
    return min(2.0 * min(rise_p(before, rows_before, now, rows_now), fall), 1.0)


def shares(counts: Sequence[int] | Shares) -> Shares:
    values = np.asarray(counts, dtype=np.float64)
    total = values.sum()
    return values / total if total else values


def _cumulated(histogram: NumericHistogram) -> Shares:
    """Share of values at or below each edge, shape (n_edges,)."""
    return np.asarray(np.cumsum(shares(histogram.counts))[:-1], dtype=np.float64)


def _without_rare(table: Shares) -> Shares:
    """The categories with the fewest rows added together until every expected count is large enough."""
    smaller = table.sum(axis=1).min() / table.sum()
    table = table[:, np.argsort(-table.sum(axis=0), kind="stable")]
    while table.shape[1] > 1 and table[:, -1].sum() * smaller < LEAST_EXPECTED:
        table = np.column_stack([table[:, :-2], table[:, -2] + table[:, -1]])
    return table
