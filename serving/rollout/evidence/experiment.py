"""A/B tests: a fixed split and a sequential comparison of one metric, with an interval that holds at every look.

Rates (errors, slow answers, labelled loss as right or wrong) use the exact bounds of ``bounds``; values without a bound
(latency, business value) use the asymptotic confidence sequence of ``continuous``. The comparison may be looked at
whenever one likes and stopped at the first verdict.

With a sticky header the unit is the key: its first request for rates and latencies, the sum of its requests' values so
far for a value. A sum that still grows is looked at anew without a new key, which the theorem behind the interval does
not speak of; the interval is at least three standard errors wide at alpha 5 %, which a sum of the same keys leaves in
about one experiment in twenty while it grows fiftyfold.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from serving.contract import Frozen
from serving.rollout.evidence.bounds import lower, upper
from serving.rollout.evidence.continuous import Moments, asymptotic_radius, difference
from serving.rollout.evidence.harm import SRM_THRESHOLD, log_srm

_NORMAL = NormalDist()
CHANCE = 0.8  # of finding a difference, for which observations are counted
MetricKind = Literal["error", "slow", "loss", "latency", "value"]
RATES: frozenset[MetricKind] = frozenset({"error", "slow", "loss"})
Verdict = Literal["better", "worse", "equivalent", "undecided", "invalid"]


class ExperimentPlan(Frozen):
    """A comparison that is fixed before it starts.

    Attributes:
        share: part of requests, or of keys when sticky, that go to variant b, in (0, 1).
        metric: what is compared; ``loss`` is the share of labelled answers that were wrong.
        prefer: which direction is good; rates and latency are better when lower.
        alpha: chance that the interval ever misses the true difference.
        margin: difference below which the variants count as the same; 0 never says ``equivalent``.
        expected: number of observations for which the interval of a mean is tuned.
        sticky_header: keeps one caller on one variant; the arms' counts are then those of keys, and so is *expected*.
    """

    share: float = Field(default=0.5, gt=0, lt=1)
    metric: MetricKind = "error"
    prefer: Literal["lower", "higher"] = "lower"
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    margin: float = Field(default=0.0, ge=0)
    expected: int = Field(default=10_000, ge=100)
    sticky_header: str | None = None

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.metric != "value" and self.prefer != "lower":
            raise ValueError(f"{self.metric} is better when lower; 'prefer: higher' is for metric 'value'")
        return self


@dataclass(frozen=True)
class Arm:
    """What one variant showed: requests, or keys when sticky, assigned to it, and the moments of its metric.

    For a rate *values* holds n trials and ``total`` events; events are 0 or 1, so squares equal the total.
    """

    assigned: int
    values: Moments


@dataclass(frozen=True)
class Comparison:
    """Variant b minus variant a with an interval valid at every look, and what follows from it."""

    verdict: Verdict
    sentence: str
    estimate: float
    low: float
    high: float
    srm: float


@dataclass(frozen=True)
class Power:
    """Observations of both variants together: with one look at the end, and with looks at any time."""

    fixed: int
    sequential: int
    seconds: float | None


def compare(plan: ExperimentPlan, a: Arm, b: Arm) -> Comparison:
    """The verdict at this look; ``invalid`` when requests did not arrive in the planned split."""
    srm = float(log_srm(plan.share, b.assigned, a.assigned + b.assigned))
    estimate, low, high = _interval(plan, a.values, b.values)
    if srm >= math.log(SRM_THRESHOLD):
        total = max(1, a.assigned + b.assigned)
        units = "requests" if plan.sticky_header is None else "keys"
        said = f"b received {b.assigned / total:.1%} of {units}, planned {plan.share:.1%}: no comparison is trusted"
        return Comparison("invalid", said, estimate, low, high, srm)
    if not a.values.n or not b.values.n:
        unseen = " and ".join(name for name, arm in (("a", a), ("b", b)) if not arm.values.n)
        return Comparison(
            "undecided", f"no verdict yet: no {plan.metric} of {unseen} is known", estimate, low, high, srm
        )
    verdict = _verdict(plan, low, high)
    words = {
        "better": "b is better",
        "worse": "b is worse",
        "equivalent": f"they differ by less than {plan.margin:g}",
        "undecided": "no verdict yet",
    }
    said = f"{words[verdict]}: {plan.metric} of b minus a is {estimate:.4g}, between {low:.4g} and {high:.4g}"
    return Comparison(verdict, said, estimate, low, high, srm)


def power(
    plan: ExperimentPlan,
    effect: float,
    *,
    base: float,
    deviation: float | None = None,
    rate_per_s: float | None = None,
) -> Power:
    """Observations until a true difference of *effect* is found with a chance of 80 %.

    Args:
        effect: difference b minus a, not 0.
        base: variant a's rate or mean.
        deviation: standard deviation of one value; for a rate it follows from *base*.

    Raises:
        ValueError: the effect is 0, a rate leaves (0, 1), or a mean comes without deviation.
    """
    if effect == 0:
        raise ValueError("the effect to be found is 0: expected the smallest difference that matters")
    spread = _spread(plan, effect, base, deviation)
    z_alpha, z_power = _NORMAL.inv_cdf(1 - plan.alpha / 2), _NORMAL.inv_cdf(CHANCE)
    fixed = math.ceil((spread * (z_alpha + z_power) / abs(effect)) ** 2)
    grid = np.unique(np.geomspace(100, 1e9, 400).round())
    found = next((int(n) for n in grid if _reach(plan, n, effect, base, spread, z_power)), int(grid[-1]))
    return Power(fixed, found, None if not rate_per_s else found / rate_per_s)


def _interval(plan: ExperimentPlan, a: Moments, b: Moments) -> tuple[float, float, float]:
    if plan.metric not in RATES:
        return difference(a, b, plan.alpha, plan.expected)
    quarter = plan.alpha / 4
    n, events = [a.n, b.n], [a.total, b.total]
    highs, lows = upper(n, events, quarter), lower(n, events, quarter)
    estimate = b.mean - a.mean if a.n and b.n else math.nan
    return estimate, float(lows[1] - highs[0]), float(highs[1] - lows[0])


def _verdict(plan: ExperimentPlan, low: float, high: float) -> Literal["better", "worse", "equivalent", "undecided"]:
    if plan.margin > 0 and -plan.margin < low and high < plan.margin:
        return "equivalent"
    if low > 0:
        return "worse" if plan.prefer == "lower" else "better"
    if high < 0:
        return "better" if plan.prefer == "lower" else "worse"
    return "undecided"


def _spread(plan: ExperimentPlan, effect: float, base: float, deviation: float | None) -> float:
    """Standard deviation of one weighted observation: sqrt(var_b / share + var_a / (1 - share))."""
    if plan.metric in RATES:
        other = base + effect
        if not (0 < base < 1 and 0 < other < 1):
            raise ValueError(f"rates lie between 0 and 1: expected base and base + effect inside, seen {base}, {other}")
        variances = base * (1 - base), other * (1 - other)
    elif deviation is None:
        raise ValueError(
            f"{plan.metric} has no known spread: expected 'deviation', the standard deviation of one value"
        )
    else:
        variances = deviation**2, deviation**2
    return math.sqrt(variances[0] / (1 - plan.share) + variances[1] / plan.share)


def _reach(plan: ExperimentPlan, n: float, effect: float, base: float, spread: float, z_power: float) -> bool:
    """After *n* observations the interval leaves out 0 with the wanted chance."""
    noise = z_power * spread / math.sqrt(n)
    if plan.metric not in RATES:
        return asymptotic_radius(n, spread, plan.alpha, plan.expected) + noise <= abs(effect)
    na, nb = n * (1 - plan.share), n * plan.share
    a, b = Moments(int(na), na * base, na * base), Moments(int(nb), nb * (base + effect), nb * (base + effect))
    _, low, high = _interval(plan, a, b)
    return (low if effect > 0 else -high) >= noise
