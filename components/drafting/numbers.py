"""Numbers that do not belong to the others of their column: words for nothing, slips of the pen, and other units."""

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

Values = npt.NDArray[np.float64]
FEW = 5  # rows, fewer of which prove nothing
FAR = 5.0  # lengths of the middle half, on a scale of logarithms, beyond which no tail of a measured thing reaches
GAP = 0.2  # of the width of all other values, that lies between them and a sentinel
MIXED_ROWS, MIXED = 200, (0.005, 0.3)  # rows that show a mixture, and the share of those in the other unit
MANY, NEAR, TIMES = (
    50,
    20,
    5,
)  # numbers there must be, those beside an end, and how much rarer they are where it is a cap
CUT_ROWS, CUT = 20, 0.005  # rows at a cap, and their share
QUARTERS, ALIKE = (0.25, 0.5, 0.75), 0.01  # both heaps are of one shape: their quarters, and chance says so
FACTORS = {
    10.7639: "square feet and square metres",
    3.28084: "feet and metres",
    2.20462: "pounds and kilograms",
    1.609344: "kilometres and miles",
    2.54: "centimetres and inches",
    25.4: "millimetres and inches",
    10.0: "units ten times apart",
    60.0: "minutes and hours, or seconds and minutes",
    100.0: "units a hundred times apart, such as cents or percent",
    1000.0: "units a thousand times apart",
    3600.0: "seconds and hours",
    1_000_000.0: "units a million times apart",
}


def sentinel(values: Values) -> float | None:
    """A number at an end of *values* that stands for none: often there, of the looks of one, and far from the rest."""
    if len(values) < 2 * FEW:
        return None
    for end in (float(values.max()), float(values.min())):
        rest = values[values != end]
        rows = len(values) - len(rest)
        if rows < FEW or len(rest) < FEW or len(np.unique(rest)) < 3:
            continue
        width = float(np.quantile(rest, 0.99) - np.quantile(rest, 0.01)) or 1.0
        distance = end - float(rest.max()) if end > rest.max() else float(rest.min()) - end
        if _looks_coded(end, rest) and distance > _gap_needed(end, rest) * width:
            return end
        if rows > 0.01 * len(values) and distance > 3 * width and float(end).is_integer():
            return end
    return None


def capped(values: Values) -> tuple[float, int] | None:
    """The number at an end of *values* at which others seem to have been cut off, and its rows.

    It stands there far more often than any number near it; 0 at the low end is how counts and amounts begin.
    """
    known, rows = np.unique(values, return_counts=True)
    if len(known) < MANY:
        return None
    for end, near in ((-1, slice(-NEAR - 1, -1)), (0, slice(1, NEAR + 1))):
        often = int(rows[end])
        if often >= max(CUT_ROWS, CUT * len(values)) and often > TIMES * rows[near].max() and (known[end] or end):
            return float(known[end]), often
    return None


def _looks_coded(end: float, rest: Values) -> bool:
    """Nines alone, or minus one or minus nines where nothing else is below 0; or 0 far below all others."""
    digits = f"{abs(end):g}".replace(".", "")
    nines = set(digits) == {"9"} and len(digits) >= 2
    negative = end in (-1.0, -9.0, -99.0, -999.0, -9999.0) and bool((rest >= 0).all())
    return nines or negative or (end == 0 and bool((rest > 0).all()))


def _gap_needed(end: float, rest: Values) -> float:
    """Minus one is never a measurement of what is 0 or more; 99 and 0 may be one, unless they lie far away."""
    if end < 0:
        return 0.0
    return 1.0 if end == 0 else GAP


def far_out(values: Values) -> float | None:
    """The greatest number that belongs to the others, where at most one in a hundred lies far beyond; else None."""
    positive = values[values > 0]
    if len(positive) < 100 or len(positive) < 0.5 * len(values):
        return None
    logs = np.log(positive)
    low, high = np.quantile(logs, [0.25, 0.75])
    edge = math.exp(high + FAR * max(high - low, 0.05))
    beyond = values > edge
    if not 0 < beyond.sum() <= max(0.01 * len(values), 1):
        return None
    return float(values[~beyond].max())


def mixed_units(values: Values) -> str:
    """Two heaps of one shape whose distance is that of two units, as words; empty where *values* are of one unit."""
    positive = np.sort(values[values > 0])
    if len(positive) < MIXED_ROWS or len(positive) < 0.9 * len(values) or len(np.unique(positive)) < 20:
        return ""
    logs = np.log10(positive)
    for factor, units in FACTORS.items():
        if factor > 2 and (found := _heaps(logs, factor, units)):
            return found
    return ""


def _heaps(logs: Values, factor: float, units: str) -> str:
    width = math.log10(factor)
    cut = _valley(logs, width)
    if cut is None:
        return ""
    low, high = logs[logs <= cut], logs[logs > cut]
    share = min(len(low), len(high)) / len(logs)
    if not max(10 / len(logs), MIXED[0]) <= share <= MIXED[1]:
        return ""
    quarters = np.quantile(high, QUARTERS) - np.quantile(low, QUARTERS) - width
    if np.abs(quarters).max() > 0.05 * width + 0.02 or ks_2samp(low + width, high).pvalue < ALIKE:
        return ""
    few, above = (len(high), "above") if len(high) < len(low) else (len(low), "below")
    return f"{few:,} rows lie in a heap of their own {above} {10**cut:.3g}, {factor:g} times apart as are {units}"


def _valley(logs: Values, width: float) -> float | None:
    """The emptiest place between the heap in the middle and one that lies *width* away from it."""
    edges = np.arange(logs[0] - 0.05, logs[-1] + 0.1, max(0.02, width / 25))
    if len(edges) < 10:
        return None
    counts = np.convolve(np.histogram(logs, edges)[0], np.ones(3) / 3, "same")
    peak = int(counts.argmax())
    shift = round(width / (edges[1] - edges[0]))
    for other in (peak + shift, peak - shift):
        if 0 <= other < len(counts):
            left, right = sorted((peak, other))
            between = counts[left + 1 : right]
            around = counts[max(0, other - 2) : other + 3].max()
            if len(between) and between.min() <= 0.25 * around and around > 0:
                return float(edges[left + 1 + int(between.argmin())] + (edges[1] - edges[0]) / 2)
    return None
