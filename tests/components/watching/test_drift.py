"""Drift: statistics on bins against scipy on raw values, effect floors, and how often calm data raises an alarm."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from components.modelling import profiles
from components.watching.drift import Drift, compare
from components.watching.drift_tests import change_p, chi_square, cramers_v, holm, ks, psi, rise_p, wasserstein
from components.watching.policy import DriftPolicy
from serving.errors import DataError
from serving.profile import NumericHistogram
from tests.components.watching.support import contract

COLUMNS: dict[str, Any] = {
    "size": {"type": "float"},
    "rooms": {"type": "int", "nullable": True},
    "garden": {"type": "bool"},
    "kind": {"type": "category", "values": ["flat", "house", "plot"]},
}
CONTRACT = contract(**COLUMNS)


def binned(values: Any, edges: Any) -> NumericHistogram:
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return NumericHistogram(edges=tuple(float(edge) for edge in edges), counts=tuple(int(c) for c in counts))


def rows(random: np.random.Generator, n: int, **changed: Any) -> Any:
    columns = {
        "size": random.lognormal(4, 0.5, n),
        "rooms": np.where(random.random(n) < 0.05, np.nan, random.integers(1, 8, n)),
        "garden": (random.random(n) < 0.3).astype(float),
        "kind": random.choice(3, n, p=[0.6, 0.3, 0.1]).astype(float),
        **changed,
    }
    return np.column_stack([columns[name] for name in CONTRACT.names])


def judged(now: Any, n: int = 4000, policy: DriftPolicy | None = None, **more: Any) -> Drift:
    random = np.random.default_rng(0)
    reference = profiles.profile(rows(random, n), CONTRACT, random.normal(size=500))
    return compare(reference, profiles.count(now, reference, CONTRACT, np.empty(0)), policy or DriftPolicy(), **more)


SAMPLES = st.lists(st.integers(0, 40), min_size=2, max_size=60)


@given(SAMPLES, SAMPLES)
@settings(max_examples=60, deadline=None)
def test_ks_equals_scipy_when_the_edges_separate_the_values(first: list[int], second: list[int]) -> None:
    """Distance and asymptotic p-value are those of scipy on the raw values."""
    edges = np.arange(0, 40) + 0.5
    distance, p_value = ks(binned(first, edges), binned(second, edges))
    raw = stats.ks_2samp(first, second, method="asymp")
    assert distance == pytest.approx(raw.statistic)
    assert p_value == pytest.approx(raw.pvalue)


@given(SAMPLES, SAMPLES, st.lists(st.integers(0, 40), min_size=1, max_size=8, unique=True))
@settings(max_examples=60, deadline=None)
def test_coarse_bins_only_understate_a_difference(first: list[int], second: list[int], cuts: list[int]) -> None:
    """Binned KS is at most the raw one and its p-value at least, so bins never make a false alarm likelier."""
    edges = np.sort(np.asarray(cuts, dtype=float))
    distance, p_value = ks(binned(first, edges), binned(second, edges))
    raw = stats.ks_2samp(first, second, method="asymp")
    assert distance <= raw.statistic + 1e-12
    assert p_value >= raw.pvalue - 1e-12


def test_chi_square_equals_scipy_and_pools_rare_categories() -> None:
    """Without rare categories it is scipy's test; categories too rare for the approximation are tested together."""
    before, now = [500, 300, 200], [60, 25, 15]
    assert chi_square(before, now) == pytest.approx(stats.chi2_contingency([before, now], correction=False).pvalue)
    pooled = stats.chi2_contingency([[500, 300, 202], [60, 25, 16]], correction=False).pvalue
    assert chi_square([500, 300, 200, 2], [60, 25, 15, 1]) == pytest.approx(pooled)
    assert chi_square([500, 0], [10, 0]) == 1.0
    assert chi_square([], []) == 1.0


def test_cramers_v_equals_scipy_on_equal_samples_and_does_not_shrink_with_a_long_reference() -> None:
    """V is the textbook value for samples of one size, and the same when the reference is a hundred times longer."""
    before, now = [60, 30, 10], [40, 30, 30]
    textbook = stats.contingency.association(np.array([before, now]), method="cramer")
    assert cramers_v(before, now) == pytest.approx(textbook)
    assert cramers_v([100 * count for count in before], now) == pytest.approx(textbook)
    assert cramers_v([9, 0], [0, 4]) == pytest.approx(1.0)


def test_wasserstein_equals_scipy_on_values_at_the_middle_of_their_bins() -> None:
    """In units of the range of the edges it is scipy's distance of values spread evenly over their bins."""
    random = np.random.default_rng(1)
    edges = np.arange(0.0, 11.0)
    first, second = random.uniform(0.001, 10, 40_000), random.beta(2, 3, 40_000) * 9.99 + 0.001
    expected = stats.wasserstein_distance(first, second) / 10
    assert wasserstein(binned(first, edges), binned(second, edges)) == pytest.approx(expected, abs=0.003)
    assert wasserstein(binned([0, 0, 1, 1], [0.5]), binned([0, 1, 1, 1], [0.5])) == pytest.approx(0.25)


def test_psi_is_symmetric_zero_for_equal_and_finite_for_disjoint_counts() -> None:
    """An empty bin does not make it infinite."""
    assert psi([10, 20, 30], [10, 20, 30]) == pytest.approx(0.0)
    assert psi([100, 0], [0, 100]) == pytest.approx(psi([0, 100], [100, 0]))
    assert 5 < psi([100, 0], [0, 100]) < 20


def test_a_rise_is_judged_by_fishers_exact_test() -> None:
    """The one-sided p-value is scipy's, and a fall is no rise."""
    expected = stats.fisher_exact([[12, 88], [30, 970]], alternative="greater").pvalue
    assert rise_p(30, 1000, 12, 100) == pytest.approx(expected)
    assert rise_p(300, 1000, 0, 100) == 1.0


@given(st.integers(1, 60), st.integers(1, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_a_change_is_judged_both_ways(before: int, now: int, data: st.DataObject) -> None:
    """A share and its complement have one p-value: that missing values stop counts as much as that they start."""
    was, here = data.draw(st.integers(0, before)), data.draw(st.integers(0, now))
    p_value = change_p(was, before, here, now)
    assert 0 <= p_value <= 1
    assert p_value == pytest.approx(change_p(before - was, before, now - here, now))
    assert p_value == pytest.approx(min(1, 2 * min(rise_p(was, before, here, now), rise_p(here, now, was, before))))


def test_holm_matches_the_paper_and_keeps_the_order_of_its_input() -> None:
    """The example of Holm's procedure: multiply by the number of tests left, never below an earlier one."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("change", "drifted"),
    [
        pytest.param({}, set(), id="nothing-changed"),
        pytest.param({"size": 1.5}, {"size"}, id="numbers-grew"),
        pytest.param({"size": 1.02}, set(), id="a-little-is-not-drift-however-significant"),
        pytest.param({"rooms": "lost"}, {"rooms"}, id="values-went-missing"),
        pytest.param({"garden": "all"}, {"garden"}, id="a-flag-switched"),
        pytest.param({"kind": "plots"}, {"kind"}, id="categories-shifted"),
        pytest.param({"kind": "studios"}, {"kind"}, id="an-unknown-category-came"),
    ],
)
def test_what_counts_as_drift(change: dict[str, Any], drifted: set[str]) -> None:
    """A column has drifted when both its corrected p-value and its effect size say so."""
    random, n = np.random.default_rng(5), 20_000
    made: dict[str, Any] = {
        "lost": np.where(random.random(n) < 0.4, np.nan, random.integers(1, 8, n)),
        "all": np.ones(n),
        "plots": random.choice(3, n, p=[0.3, 0.3, 0.4]).astype(float),
        "studios": np.where(random.random(n) < 0.05, 3.0, random.choice(3, n, p=[0.6, 0.3, 0.1])),
    }
    changed = {
        name: random.lognormal(4, 0.5, n) * how if isinstance(how, float) else made[how] for name, how in change.items()
    }
    seen = judged(rows(random, n, **changed), 50_000)
    assert {column.column for column in seen.drifted} == drifted
    if not drifted:
        assert "no drift" in seen.sentence


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("name", CONTRACT.names)
def test_missing_values_that_stop_are_drift_also_of_a_column_that_was_empty(name: str, share: float) -> None:
    """Columns of every type; those that stay as they were, empty ones too, are quiet."""
    random = np.random.default_rng(3)

    def holed(n: int) -> Any:
        table = rows(random, n)
        table[random.random(n) < share, CONTRACT.names.index(name)] = np.nan
        return table

    reference = profiles.profile(holed(4000), CONTRACT, random.normal(size=500))
    for now, expected in ((rows(random, 2000), {name}), (holed(2000), set())):
        drift = compare(reference, profiles.count(now, reference, CONTRACT, np.empty(0)), DriftPolicy())
        assert {column.column for column in drift.drifted} == expected
        assert all("missing" in column.phrase for column in drift.drifted)


def test_few_rows_are_never_called_drift() -> None:
    """Below the policy's number of rows the figures are there and no column is drifted."""
    seen = judged(rows(np.random.default_rng(1), 199, size=np.full(199, 1e6)))
    assert not seen.enough
    assert not seen.drifted
    assert seen.columns[0].effect > 0.9
    assert "too few" in seen.sentence


def test_values_outside_of_the_contract_are_a_rate_of_their_own() -> None:
    """A flagged share above the floor is drift even though its bin is the usual one."""
    seen = judged(rows(np.random.default_rng(2), 1000), out_of_range={"size": 50})
    assert [column.phrase for column in seen.drifted] == ["size (out of range 5.0%, was 0.0%)"]


def test_columns_that_are_not_logged_are_named_and_not_judged() -> None:
    """A column kept out of the log is not one whose values all went missing."""
    seen = judged(rows(np.random.default_rng(2), 1000, rooms=np.full(1000, np.nan)), not_logged=["rooms"])
    assert seen.not_logged == ("rooms",)
    assert not seen.drifted


def test_other_bins_are_refused() -> None:
    """Comparing counts of different bins would be nonsense; the message says what to do."""
    random = np.random.default_rng(3)
    one = profiles.profile(rows(random, 500), CONTRACT, random.normal(size=50))
    other = profiles.profile(rows(random, 500), CONTRACT, random.normal(size=50))
    with pytest.raises(DataError, match="count the new rows into the reference's"):
        compare(one, other, DriftPolicy())


def test_calm_data_seldom_raises_an_alarm() -> None:
    """Without floors the family-wise rate stays below alpha, within the 99.9 % binomial bound of 200 worlds; with the
    floors of the default policy there is none."""
    random, alpha, worlds = np.random.default_rng(11), 0.05, 200
    floorless = DriftPolicy(alpha=alpha, ks=0, cramers_v=0, missing=0)
    reference = profiles.profile(rows(random, 3000), CONTRACT, random.normal(size=800))
    bare = floored = 0
    for _ in range(worlds):
        now = profiles.count(rows(random, 400), reference, CONTRACT, random.normal(size=400))
        bare += bool(compare(reference, now, floorless).drifted)
        floored += bool(compare(reference, now, DriftPolicy(rows=100)).drifted)
    assert bare <= stats.binom.ppf(0.999, worlds, alpha)
    assert floored == 0


@pytest.mark.slow
@pytest.mark.parametrize("n", [200, 2000])
def test_each_test_keeps_its_level_over_fresh_references(n: int) -> None:
    """Over 2,000 pairs of samples each single test rejects at 1 % no more often than 1 %, up to the binomial bound."""
    random, worlds = np.random.default_rng(n), 2000
    edges = np.linspace(-1.6, 1.6, 19)
    rejected = np.zeros(4)
    for _ in range(worlds):
        first, second = random.normal(size=n), random.normal(size=n // 2)
        rejected[0] += ks(binned(first, edges), binned(second, edges))[1] < 0.01
        shares = [0.7, 0.2, 0.07, 0.03]
        before, now = random.multinomial(n, shares), random.multinomial(n // 2, shares)
        rejected[1] += chi_square(before.tolist(), now.tolist()) < 0.01
        counts = int(random.binomial(n, 0.02)), n, int(random.binomial(n // 2, 0.02)), n // 2
        rejected[2] += rise_p(*counts) < 0.01
        rejected[3] += change_p(*counts) < 0.01
    assert (rejected <= stats.binom.ppf(0.9999, worlds, 0.01)).all(), rejected
