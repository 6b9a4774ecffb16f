"""How predictions are binned, and which of them count as mistakes or as different answers."""

import math
from bisect import bisect_left
from dataclasses import dataclass

from serving.profile import NumericHistogram, Profile

Value = float | str
TYPICAL_SHARE = 0.9


@dataclass(frozen=True)
class Reference:
    """How predictions are binned and judged.

    Attributes:
        edges: ascending inner bin edges of a predicted number; without them numbers are in no bin.
        mistake_above: distance from the truth, in the target's unit, beyond which a number is a mistake; None: never.
    """

    edges: tuple[float, ...] = ()
    mistake_above: float | None = None

    def bin(self, prediction: Value) -> str | None:
        """The class, or the number's bin named by its upper edge."""
        if isinstance(prediction, str):
            return prediction
        if not self.edges:
            return None
        position = bisect_left(self.edges, prediction)
        return f"<= {self.edges[position]:g}" if position < len(self.edges) else f"> {self.edges[-1]:g}"

    def apart(self, one: Value, other: Value) -> bool:
        """Whether two answers are not the same: another class, or numbers farther apart than a mistake."""
        if isinstance(one, str) or isinstance(other, str):
            return one != other
        if self.mistake_above is None:
            return not math.isclose(one, other, rel_tol=1e-9)
        return abs(one - other) > self.mistake_above

    def mistaken(self, prediction: Value, truth: Value) -> bool:
        """Whether *prediction* is another class than *truth*, or a number too far from it."""
        if isinstance(prediction, str):
            return prediction != str(truth)
        if self.mistake_above is None or isinstance(truth, str):
            return False
        return abs(prediction - truth) > self.mistake_above


def reference_of(profile: Profile) -> Reference:
    """A mistake is an error larger than nine in ten of those on the holdout rows of *profile*."""
    limit = None if profile.error is None else typical(profile.error, TYPICAL_SHARE)
    return Reference(edges=profile.prediction.edges, mistake_above=limit)


def typical(errors: NumericHistogram, share: float) -> float | None:
    """The smallest edge b such that at least *share* of the errors is surely within [-b, b]; None without rows."""
    rows = sum(errors.counts)
    ends = [-math.inf, *errors.edges, math.inf]
    bounds = sorted({abs(edge) for edge in errors.edges})
    for bound in bounds:
        inside = sum(n for i, n in enumerate(errors.counts) if ends[i] >= -bound and ends[i + 1] <= bound)
        if rows and inside >= share * rows:
            return bound
    return bounds[-1] if rows and bounds else None
