"""The arithmetic of evidence keeps its promises: exactly for small counts, by simulation for large ones."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaincinv
from scipy.stats import binom

from serving.rollout.evidence.bounds import log_against_high, log_against_low, lower, requests_needed, upper
from serving.rollout.evidence.continuous import Moments, difference
from serving.rollout.evidence.figures import in_order, rounded
from serving.rollout.evidence.guard import fires, with_copy
from serving.rollout.evidence.harm import log_combined, log_harm, log_shift, log_srm

COUNTS = st.integers(0, 30)


def at_most(count: int, runs: int) -> float:
    return 1.0 if count >= runs else float(betaincinv(count + 1, runs - count, 0.99))


def harm(epochs: list[tuple[float, int, int, int]], planned: int = 3) -> float:
    w, step, kc, ks = zip(*epochs, strict=True)
    return float(log_harm(w, step, kc, ks, 1.1, planned))


EPOCH = st.tuples(st.sampled_from([0.01, 0.05, 0.1, 0.5, 0.95]), st.integers(0, 2), COUNTS, COUNTS)


@given(st.lists(EPOCH, min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_epochs_does_not_matter(epochs, random) -> None:
    """E depends on the counts per epoch and on nothing else."""
    shuffled = list(epochs)
    random.shuffle(shuffled)
    assert harm(shuffled) == pytest.approx(harm(epochs), abs=1e-9)


@given(st.lists(EPOCH, min_size=1, max_size=5), st.data())
@settings(max_examples=40, deadline=None)
def test_splitting_an_epoch_changes_nothing(epochs, data) -> None:
    """A counter that is read twice as often gives the same E."""
    w, step, kc, ks = epochs[0]
    c, s = data.draw(st.integers(0, kc)), data.draw(st.integers(0, ks))
    halves = [(w, step, c, s), (w, step, kc - c, ks - s), *epochs[1:]]
    assert harm(halves) == pytest.approx(harm(epochs), abs=1e-9)


@given(st.lists(EPOCH, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_each_canary_event_is_more_evidence(epochs) -> None:
    """E grows with events of the canary and falls with events of stable."""
    w, step, kc, ks = epochs[0]
    assert harm([(w, step, kc + 1, ks), *epochs[1:]]) >= harm(epochs) - 1e-12
    assert harm([(w, step, kc + 1, ks)]) > harm([(w, step, kc, ks)])
    assert harm([(w, step, kc, ks + 1), *epochs[1:]]) <= harm(epochs) + 1e-12


@pytest.mark.parametrize("weight", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("ratio", [1.1, 1.0, 0.5])
def test_e_is_at_most_one_on_average_under_the_null(weight: float, ratio: float) -> None:
    """Exact enumeration over all arm sequences of ten events: the mean is 1 at the tolerated ratio, less below."""
    theta = weight * ratio / (weight * ratio + 1 - weight)
    mean = 0.0
    for kc in range(11):
        chance = math.comb(10, kc) * theta**kc * (1 - theta) ** (10 - kc)
        mean += chance * math.exp(harm([(weight, 0, kc, 10 - kc)]))
    assert mean <= 1 + 1e-9
    if ratio == 1.1:
        assert mean == pytest.approx(1.0)


def test_e_over_changing_weights_is_at_most_one_on_average() -> None:
    """Exact enumeration over two epochs with different weights and copies that start at the second."""
    mean = 0.0
    for a, b in itertools.product(range(6), repeat=2):
        chance = binom.pmf(a, 5, 0.05 * 1.1 / (0.05 * 1.1 + 0.95)) * binom.pmf(b, 5, 0.25 * 1.1 / (0.25 * 1.1 + 0.75))
        mean += chance * math.exp(harm([(0.05, 0, a, 5 - a), (0.25, 1, b, 5 - b)]))
    assert mean == pytest.approx(1.0)


def test_a_late_regression_is_not_diluted_by_old_errors() -> None:
    """Copies that start at each step see a harm that begins late as soon as if the history were empty."""
    history = (0.05, 0, 0, 60)
    late = (0.25, 2, 8, 0)
    assert harm([history, late]) >= math.log(100)
    assert float(log_harm([0.05, 0.25], [0, 0], [0, 8], [60, 0], 1.1, 1)) < math.log(100)


@pytest.mark.parametrize(("weight", "events"), [(0.05, 3), (0.10, 4), (0.25, 6)])
def test_total_failure_needs_a_handful_of_events(weight: float, events: int) -> None:
    """With all gates on, that many canary errors and none on stable are enough at alpha 1 %."""
    e = [log_combined([harm([(weight, 0, k, 0)], 5), 0.0, 0.0], [0.5, 0.3, 0.2]) for k in (events - 1, events)]
    assert e[0] < math.log(100) <= e[1]


def test_no_count_overflows() -> None:
    """Billions of events give finite numbers."""
    assert math.isfinite(harm([(0.5, 0, 10**9, 10**9)]))
    bound = upper([10**9, 10**9], [0, 10**9], 0.025)
    assert 0 < bound[0] < 1e-7
    assert bound[1] == pytest.approx(1.0)


@given(st.integers(1, 10**6), st.floats(0, 1), st.sampled_from([0.001, 0.025, 0.3]))
@settings(max_examples=60, deadline=None)
def test_bounds_are_where_the_mixture_crosses(n: int, share: float, level: float) -> None:
    """``lower <= mean <= upper``, and each bound is the rate at which the evidence against it reaches its level."""
    events = round(n * share)
    high, low = float(upper(n, events, level)), float(lower(n, events, level))
    assert low <= events / n <= high
    for bound, evidence in ((high, log_against_high), (low, log_against_low)):
        if 0 < bound < 1:
            assert float(evidence(n, events, bound)) == pytest.approx(-math.log(level), abs=1e-6)


def test_nothing_is_known_without_requests() -> None:
    """The bounds of no trials are 0 and 1."""
    assert float(upper(0, 0, 0.05)) == 1.0
    assert float(lower(0, 0, 0.05)) == 0.0


@pytest.mark.parametrize("excess", [0.1, 0.04, 0.02, 0.01])
def test_clean_requests_certify_an_excess(excess: float) -> None:
    """About 4.85 / excess requests without an event certify it."""
    needed = next(n for n in range(1, 1000) if float(upper(n, 0, 0.025)) <= excess)
    assert needed * excess == pytest.approx(4.75, abs=0.2)


def test_requests_needed_is_when_the_rule_holds() -> None:
    """The number that is announced certifies the step, and a tenth less does not."""
    needed = requests_needed((0, 0), (0, 0), 0.05, 0.10, 0.01, 0.05)
    assert needed is not None
    assert 0.1 * float(upper(0.05 * needed, 0, 0.025)) <= 0.01
    assert 0.1 * float(upper(0.05 * needed * 0.9, 0, 0.025)) > 0.01
    assert requests_needed((1000, 100), (1000, 0), 0.5, 1.0, 0.01, 0.05) is None


@pytest.mark.parametrize("drifting", [False, True], ids=["steady", "drifting"])
def test_bounds_cover_the_running_mean_at_every_look(drifting: bool) -> None:
    """In 1,000 paths of 2,000 requests, looked at every ten, the bound fails in at most 5 % (99 % binomial bound)."""
    rng = np.random.default_rng(11)
    n = np.arange(1, 2001)
    rates = 0.02 * (1 + 0.9 * np.sin(n / 150)) if drifting else np.full(2000, 0.02)
    events = np.cumsum(rng.random((1000, 2000)) < rates, axis=1)[:, 9::10]
    mean = (np.cumsum(rates) / n)[9::10]
    looks = n[9::10]
    missed_high = (log_against_high(looks, events, mean) >= math.log(20)).any(axis=1).sum()
    missed_low = (log_against_low(looks, events, mean) >= math.log(20)).any(axis=1).sum()
    for missed in (missed_high, missed_low):
        assert at_most(int(missed), 1000) <= 0.05 + 0.02


def test_a_wrong_split_is_found_and_a_fair_one_is_not() -> None:
    """12 % instead of 10 % is seen within some thousand requests; fair draws hardly ever alarm."""
    rng = np.random.default_rng(3)
    n = np.arange(50, 10_050, 50)
    wrong = np.cumsum(rng.binomial(50, 0.12, (50, 200)), axis=1)
    fair = np.cumsum(rng.binomial(50, 0.10, (2000, 200)), axis=1)
    assert (log_srm(0.1, wrong, n) >= math.log(1000)).any(axis=1).all()
    assert (log_srm(0.1, fair, n) >= math.log(1000)).any(axis=1).mean() <= 0.003


def test_srm_is_exactly_fair_for_small_counts() -> None:
    """The mean of E over all outcomes of eight requests is 1."""
    mean = sum(binom.pmf(k, 8, 0.1) * math.exp(float(log_srm(0.1, k, 8))) for k in range(9))
    assert mean == pytest.approx(1.0)


def test_a_shift_of_predictions_is_seen_both_ways() -> None:
    """A bin that triples or vanishes is evidence, equal shares are not."""
    w = [0.5]
    assert log_shift(w, [[300], [700]], [[300], [700]], 2.0) < 0
    assert log_shift(w, [[900], [100]], [[200], [800]], 2.0) >= math.log(100)
    assert log_shift(w, [[0], [1000]], [[200], [800]], 2.0) >= math.log(100)


def guard_fires(now: tuple[int, int], copies: tuple[tuple[int, int], ...], slo: float) -> bool:
    return bool(fires([now], [copies], slo)[0])


def guarded(failures: list[int], slo: float = 0.01) -> int | None:
    """Request at which the guard fires on a sequence of 0 (answered) and 1 (failed)."""
    copies: tuple[tuple[int, int], ...] = ((0, 0),)
    errors = 0
    for n, failed in enumerate(failures, start=1):
        errors += failed
        copies = with_copy(copies, (n, errors))
        if guard_fires((n, errors), copies, slo):
            return n
    return None


def test_the_absolute_guard_needs_no_stable_arm() -> None:
    """It fires after two failures at its start, and late failures are not hidden by a long clean history."""
    assert guarded([1, 1, 1]) == 2
    fired = guarded([0] * 2000 + [1] * 30)
    assert fired is not None
    assert fired - 2000 <= 25
    alone = next(k for k in range(1, 100) if guard_fires((2000 + k, k), ((0, 0),), 0.01))
    assert fired - 2000 < alone / 1.5


def test_the_absolute_guard_seldom_cries_at_the_objective_itself() -> None:
    """At exactly the promised rate 600 runs of 1,500 requests alarm no more than one in a hundred (99 % bound)."""
    rng = np.random.default_rng(5)
    failed = np.cumsum(rng.random((600, 1500)) < 0.01, axis=1)
    alarms = 0
    for path in failed:
        copies: tuple[tuple[int, int], ...] = ((0, 0),)
        for n in range(150, 1501, 150):
            now = (n, int(path[n - 1]))
            copies = with_copy(copies, now)
            if guard_fires(now, copies, 0.01):
                alarms += 1
                break
    assert at_most(alarms, 600) <= 0.01


def test_the_sequence_for_means_covers_at_every_look() -> None:
    """The interval for a difference of exponential values misses the truth in at most 5 % of 600 paths (99 % bound)."""
    rng = np.random.default_rng(9)
    values = rng.exponential(1.0, (600, 4000))
    arms = rng.random((600, 4000)) < 0.5
    missed = 0
    for row, arm in zip(values, arms, strict=True):
        sums = [np.cumsum(np.where(side, row**power, 0)) for side in (~arm, arm) for power in (0, 1, 2)]
        for n in range(199, 4000, 200):
            a, b = (Moments(int(sums[i][n]), float(sums[i + 1][n]), float(sums[i + 2][n])) for i in (0, 3))
            _, low, high = difference(a, b, 0.05)
            if not low <= 0 <= high:
                missed += 1
                break
    assert at_most(missed, 600) <= 0.05 + 0.02


def test_a_mean_says_nothing_before_its_limit() -> None:
    """Below fifty values per arm the interval is everything."""
    _, low, high = difference(Moments(10, 10, 12), Moments(10, 90, 900), 0.05)
    assert (low, high) == (-math.inf, math.inf)


def test_the_guard_of_many_runs_is_that_of_each() -> None:
    """Runs with copies begun at different moments; a copy that has not begun says nothing."""
    rng = np.random.default_rng(13)
    now = np.stack([rng.integers(100, 5000, 300), rng.integers(0, 90, 300)], axis=1)
    starts = (now[:, None] * rng.random((300, 5, 1))).astype(np.int64)
    begun = rng.integers(1, 6, 300)
    starts[np.arange(5) >= begun[:, None]] = 1 << 62
    found = fires(now, starts, 0.01)
    alone = [fires(now[i : i + 1], starts[i : i + 1, :n], 0.01)[0] for i, n in enumerate(begun.tolist())]
    assert found.tolist() == alone
    assert 0 < found.sum() < 300


@given(st.lists(st.floats(-1e15, 1e15) | st.floats(-1, 1) | st.sampled_from([0.0, -0.0, 2.5e-12, 0.1234567890125])))
@settings(max_examples=60, deadline=None)
def test_digits_are_those_that_python_prints(values) -> None:
    """Few or many numbers: twelve significant digits, ties and powers of ten as formatting has them."""
    texts = [repr(float(f"{value:.12g}")) for value in values]
    assert [repr(value) for value in rounded(values).tolist()] == texts
    padded = [*values, *(10.0**power for power in range(-20, 20)), *np.arange(0.5, 200).tolist()]
    padded += ((np.arange(123456789012, 123456789512) + 0.5) * 1e-12).tolist()  # near ties, where a product rounds too
    assert rounded(padded).tolist() == [float(f"{value:.12g}") for value in padded]


def test_sums_are_taken_in_order() -> None:
    """From the first term to the last, as Python adds, whatever the number of terms and runs."""
    terms = np.random.default_rng(1).normal(size=(4, 100)) * 10.0 ** np.arange(100)[::-1]
    totals = []
    for row in terms.tolist():
        total = 0.0
        for term in row:
            total += term
        totals.append(total)
    assert in_order(terms).tolist() == totals
    assert in_order(terms[:, :0]).tolist() == [0.0] * 4


@pytest.mark.parametrize("runs", [2, 70])
def test_no_digit_depends_on_other_runs(runs: int) -> None:
    """Harm and bounds of one run among many are bit by bit what they are alone."""
    rng = np.random.default_rng(runs)
    for epochs in (1, 5, 60):
        canary, stable = rng.poisson(5, (2, 3, runs, epochs))
        w, steps = rng.choice([0.05, 0.5, 0.95], epochs), np.sort(rng.integers(0, 9, epochs))
        together = log_harm(w, steps, canary, stable, [[1.1], [1.2], [1.1]], 9)
        alone = [
            [log_harm(w, steps, canary[gate, run], stable[gate, run], ratio, 9) for run in range(runs)]
            for gate, ratio in enumerate((1.1, 1.2, 1.1))
        ]
        assert together.tolist() == np.array(alone).tolist()
    n = rng.integers(0, 10_000, (runs, 3))
    events = (n * rng.random((runs, 3)) ** 4).astype(int)
    for bound in (upper, lower):
        assert bound(n, events, 0.025).tolist() == [bound(*row, 0.025).tolist() for row in zip(n, events, strict=True)]
