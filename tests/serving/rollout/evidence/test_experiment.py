"""A/B tests: the interval holds at every look, the verdict follows from it, and the plan tells how long it takes."""

import numpy as np
import pytest
from scipy.special import betaincinv

from serving.rollout.evidence.continuous import Moments
from serving.rollout.evidence.experiment import Arm, ExperimentPlan, compare, power


def rate(n: int, events: int) -> Arm:
    return Arm(n, Moments(n, events, events))


def values(n: int, mean: float, deviation: float = 1.0) -> Arm:
    return Arm(n, Moments(n, n * mean, n * (mean**2 + deviation**2)))


SALES = {"metric": "value", "prefer": "higher"}


@pytest.mark.parametrize(
    ("plan", "a", "b", "verdict"),
    [
        pytest.param({}, rate(5000, 250), rate(5000, 50), "better", id="fewer-errors"),
        pytest.param({}, rate(5000, 50), rate(5000, 250), "worse", id="more-errors"),
        pytest.param({}, rate(50, 2), rate(50, 3), "undecided", id="too-few"),
        pytest.param({}, rate(0, 0), rate(0, 0), "undecided", id="nothing-yet"),
        pytest.param({"margin": 0.02}, rate(20_000, 200), rate(20_000, 205), "equivalent", id="no-difference"),
        pytest.param({}, rate(9000, 50), rate(5000, 250), "invalid", id="requests-did-not-split-as-planned"),
        pytest.param({"metric": "latency"}, values(4000, 12.0), values(4000, 11.5), "better", id="faster"),
        pytest.param(SALES, values(4000, 3), values(4000, 3.4), "better", id="sells-more"),
        pytest.param(SALES, values(4000, 3), values(4000, 2.6), "worse", id="sells-less"),
        pytest.param({"metric": "latency"}, values(20, 12.0), values(20, 1.0), "undecided", id="too-few-for-a-mean"),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_the_interval(plan: dict, a: Arm, b: Arm, verdict: str) -> None:
    """And the sentence carries the figures."""
    found = compare(ExperimentPlan(**plan), a, b)
    assert found.verdict == verdict
    assert found.low <= found.high
    assert found.sentence


def test_what_is_not_known_yet_is_said_in_words() -> None:
    """Before the first observation there is no difference to name."""
    found = compare(ExperimentPlan(metric="latency"), values(100, 12.0), Arm(0, Moments(0, 0, 0)))
    assert found.sentence == "no verdict yet: no latency of b is known"


@pytest.mark.parametrize("metric", ["error", "latency"])
def test_peeking_does_not_break_the_interval(metric: str) -> None:
    """Equal variants, 150 experiments looked at 15 times: a difference is claimed in hardly any (99 % bound)."""
    rng = np.random.default_rng(17)
    plan = ExperimentPlan(metric=metric, expected=3000)
    claimed = 0
    for _ in range(150):
        arms = rng.integers(0, 2, 3000)
        drawn = rng.random(3000) < 0.1 if metric == "error" else rng.exponential(1.0, 3000)
        sums = np.array([[np.cumsum((arms == arm) * drawn**k) for k in (0, 1, 2)] for arm in (0, 1)])
        sums[:, 0] = np.array([np.cumsum(arms == arm) for arm in (0, 1)])
        for n in range(199, 3000, 200):
            a, b = (Arm(int(s[0]), Moments(int(s[0]), float(s[1]), float(s[2]))) for s in sums[:, :, n])
            if compare(plan, a, b).verdict in ("better", "worse"):
                claimed += 1
                break
    assert betaincinv(claimed + 1, 150 - claimed, 0.99) <= 0.07


def test_power_says_how_long_it_takes() -> None:
    """Looking at any time costs more than one look, small effects cost more, and traffic turns it into time."""
    plan = ExperimentPlan(metric="error")
    small, large = (power(plan, effect, base=0.05, rate_per_s=10) for effect in (0.01, 0.03))
    assert small.fixed < small.sequential
    assert large.sequential < small.sequential
    assert small.seconds == pytest.approx(small.sequential / 10)


@pytest.mark.parametrize("metric", ["error", "value"])
def test_the_announced_number_is_enough(metric: str) -> None:
    """With that many observations at least the announced share of experiments ends with the right verdict."""
    rng = np.random.default_rng(23)
    prefer = "lower" if metric == "error" else "higher"
    plan = ExperimentPlan(metric=metric, prefer=prefer)
    base, effect = (0.05, -0.02) if metric == "error" else (3.0, 0.2)
    n = power(plan, effect, base=base, deviation=1.0).sequential
    found = 0
    for _ in range(200):
        nb = rng.binomial(n, 0.5)
        if metric == "error":
            a, b = rate(n - nb, rng.binomial(n - nb, base)), rate(nb, rng.binomial(nb, base + effect))
        else:
            a = values(n - nb, base + rng.normal() / np.sqrt(n - nb))
            b = values(nb, base + effect + rng.normal() / np.sqrt(nb))
        found += compare(plan, a, b).verdict == "better"
    assert found >= 140


def test_a_plan_that_cannot_be_meant_is_refused() -> None:
    """Errors are never better when higher, an effect of 0 is never found, and a mean needs a spread."""
    with pytest.raises(ValueError, match="better when lower"):
        ExperimentPlan(metric="error", prefer="higher")
    with pytest.raises(ValueError, match="effect"):
        power(ExperimentPlan(), 0.0, base=0.1)
    with pytest.raises(ValueError, match="deviation"):
        power(ExperimentPlan(metric="latency"), 1.0, base=10.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        power(ExperimentPlan(), 0.5, base=0.9)
