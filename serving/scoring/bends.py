"""Bent targets: functions that make a skewed target even, and their ways back with fitted numbers.

Smearing (Duan, "Smearing estimate: a nonparametric retransformation method", JASA 1983) turns the median that the way
back of a logarithm gives into a mean: the mean over residuals e of back(raw + e), which for these bends needs no more
of the residuals than one or two numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Fitted = tuple[float, ...]
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Bend:
    """One way to bend a target.

    Attributes:
        above: the target must be larger than this, or as large where ``closed``.
        count: how many numbers are fitted.
        fit: the numbers, from a target.
        there, back: the function with fitted numbers, and its inverse.
        smear: the numbers with smearing, from numbers, residuals (bent target minus bent prediction) and their weights.
    """

    above: float
    closed: bool
    count: int
    fit: Callable[[Numbers], Fitted]
    there: Callable[[Numbers, Fitted], Numbers]
    back: Callable[[Numbers, Fitted], Numbers]
    smear: Callable[[Fitted, Numbers, Numbers | None], Fitted] | None = None

    def takes(self, target: Numbers) -> npt.NDArray[np.bool_]:
        """Which values of *target* can be bent."""
        return np.asarray(target >= self.above if self.closed else target > self.above)


def _mean_growth(_: Fitted, residuals: Numbers, weights: Numbers | None) -> Fitted:
    return (float(np.average(np.exp(residuals), weights=weights)),)


def _moments(_: Fitted, residuals: Numbers, weights: Numbers | None) -> Fitted:
    return tuple(float(np.average(residuals**power, weights=weights)) for power in (1, 2))


def _squared(raw: Numbers, numbers: Fitted) -> Numbers:
    """The mean of (raw + e) squared; below 0 nothing is the root of anything."""
    root, (mean, square) = np.maximum(raw, 0.0), numbers
    return np.maximum(root * root + 2 * mean * root + square, 0.0)


def _fit_yeo_johnson(target: Numbers) -> Fitted:
    """Exponent by maximum likelihood (Yeo and Johnson 2000), then mean and deviation of what it makes."""
    from scipy.stats import yeojohnson, yeojohnson_normmax  # at training only

    power = float(yeojohnson_normmax(target))
    bent = yeojohnson(target, power)
    return power, float(np.mean(bent)), float(np.std(bent)) or 1.0


def _yeo_johnson(target: Numbers, numbers: Fitted) -> Numbers:
    from scipy.stats import yeojohnson  # at training only

    power, mean, deviation = numbers
    return np.asarray((yeojohnson(target, power) - mean) / deviation)


def _yeo_johnson_back(raw: Numbers, numbers: Fitted) -> Numbers:
    """Beyond what the function reaches, the answer is the largest number it has one for."""
    power, mean, deviation = numbers
    bent = raw * deviation + mean
    up, down = np.maximum(bent, 0.0), np.maximum(-bent, 0.0)
    above = np.expm1(up) if power == 0 else np.power(np.maximum(up * power + 1, _TINY), 1 / power) - 1
    other = 2 - power
    below = np.expm1(down) if other == 0 else np.power(np.maximum(down * other + 1, _TINY), 1 / other) - 1
    return np.where(bent >= 0, above, -below)


BENDS: Mapping[str, Bend] = MappingProxyType(
    {
        "none": Bend(-np.inf, False, 0, lambda _: (), lambda target, _: target, lambda raw, _: raw),
        "log": Bend(
            0.0, False, 1, lambda _: (1.0,), lambda target, _: np.log(target),
            lambda raw, numbers: np.exp(raw) * numbers[0], _mean_growth,
        ),
        "log1p": Bend(
            -1.0, False, 1, lambda _: (1.0,), lambda target, _: np.log1p(target),
            lambda raw, numbers: np.expm1(raw) if numbers[0] == 1.0 else np.exp(raw) * numbers[0] - 1.0, _mean_growth,
        ),
        "sqrt": Bend(0.0, True, 2, lambda _: (0.0, 0.0), lambda target, _: np.sqrt(target), _squared, _moments),
        "yeo-johnson": Bend(-np.inf, False, 3, _fit_yeo_johnson, _yeo_johnson, _yeo_johnson_back),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Back:
    """The way back.

    Attributes:
        bend: a name of ``BENDS``.
        numbers: what that bend was fitted to.
        per: the column that answers are multiplied by; empty for none.
    """

    bend: str = "none"
    numbers: tuple[float, ...] = ()
    per: str = ""

    @property
    def straight(self) -> bool:
        return self.bend == "none" and not self.per

    def of(self, raw: Numbers, unit: Numbers | None) -> Numbers:
        """*raw* predictions (n_rows,) in the target's unit, given *unit*, the values of ``per``."""
        with np.errstate(all="ignore"):
            return self.quiet(raw, unit)

    def quiet(self, raw: Numbers, unit: Numbers | None) -> Numbers:
        """As ``of``, where the caller keeps numpy quiet."""
        answer = BENDS[self.bend].back(raw, self.numbers)
        return answer if unit is None else answer * unit

    def fault(self) -> str | None:
        """What is wrong with a way back that comes from a file, or None."""
        known = BENDS.get(self.bend)
        if known is None or len(self.numbers) != known.count or not np.isfinite(self.numbers).all():
            return f"a bend {self.bend!r} with the numbers {list(self.numbers)}"
        return None

    def to_head(self) -> dict[str, Any]:
        return {"bend": self.bend, "numbers": list(self.numbers), "per": self.per}

    @classmethod
    def from_head(cls, head: Mapping[str, Any]) -> "Back":
        return cls(str(head["bend"]), tuple(float(number) for number in head["numbers"]), str(head["per"]))


STRAIGHT = Back()
