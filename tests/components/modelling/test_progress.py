"""Searches that are stopped and go on: the same trials as of an undisturbed one, none of them made twice."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from components.data.split import SplitPolicy
from components.modelling.features import FeatureSpec
from components.modelling.mixtures import Member
from components.modelling.search import auto
from components.modelling.search.ground import Ground
from components.modelling.search.progress import Kept, Progress
from components.modelling.search.tuning_values import Tuning
from tests.components.modelling import test_auto, test_tuning

Run = Callable[[Progress], Tuning]


class Killed(BaseException):
    """As a signal: no search catches it."""


def over_families(progress: Progress) -> Tuning:
    return test_auto.run(test_auto.SOLD, trials=9, progress=progress)


def over_parameters(progress: Progress) -> Tuning:
    return test_tuning.run(wanted=test_tuning.search(9), progress=progress)


def fits_until(most: int, counted: list[int]) -> Any:
    """Each fit of a fold is counted; the one after *most* is the end of the attempt."""
    said = Ground.said

    def counting(self: Ground, *given: Any) -> Any:
        counted[0] += 1
        if counted[0] > most:
            raise Killed
        return said(self, *given)

    return patch.object(Ground, "said", counting)


@pytest.mark.parametrize("run", [over_families, over_parameters])
def test_a_search_that_is_killed_again_and_again_ends_as_an_undisturbed_one(run: Run, tmp_path: Path) -> None:
    """Same trials, values and choice; every attempt goes on where the one before it stopped."""
    ends, counted = [], [0]
    with fits_until(10_000, counted):
        whole = run(Progress())
    fits = counted[0]
    for most in (fits // 3, fits // 3, fits // 4, 10_000):
        progress, counted[0] = Progress(tmp_path), 0
        try:
            with fits_until(most, counted):
                result = run(progress)
        except Killed:
            ends.append(progress.recalled)
    assert len(ends) == 3
    assert sorted(ends) == ends
    assert progress.recalled > max(ends) > 0
    assert test_auto.timeless(result) == test_auto.timeless(whole)
    assert (result.best_score, result.baseline_score) == (whole.best_score, whole.baseline_score)
    with fits_until(0, [0]):
        assert test_auto.timeless(run(Progress(tmp_path))) == test_auto.timeless(whole)


def test_a_file_that_is_no_good_costs_its_own_trial_alone(tmp_path: Path) -> None:
    """Cut short, of other bytes, empty: the trial is made again, and the result stays the same."""
    whole = over_families(Progress(tmp_path))
    cut, other, empty = sorted(tmp_path.glob("*.npz"))[:3]
    cut.write_bytes(cut.read_bytes()[:100])
    other.write_bytes(b"PK" + bytes(50))
    empty.write_bytes(b"")
    progress = Progress(tmp_path)
    assert test_auto.timeless(over_families(progress)) == test_auto.timeless(whole)
    assert progress.recalled == len(whole.trials) - 3


def test_the_time_of_earlier_attempts_counts(tmp_path: Path) -> None:
    """Ten seconds are ten seconds, in however many attempts; of the last one's, as far as a trial came of them."""
    for attempt, moments in enumerate(([0.0, 3.0], [0.0, 1.0, 4.0])):
        progress = Progress(tmp_path, clock=iter(moments).__next__)
        assert (progress.recall("0") is not None) == bool(attempt)
        progress.keep(f"{attempt}", Kept({}))
    again = Progress(tmp_path, clock=lambda: 1000.0)
    assert [again.recall(asked) and again.now() for asked in ("0", "1", "0", "2")] == [3.0, 6.0, 6.0, None]


class Timed(Progress):
    """By its clock each trial takes as long as any other."""

    def __init__(self, folder: Path, each: float) -> None:
        self.passed, self.each = 0.0, each
        super().__init__(folder, clock=lambda: self.passed)

    def keep(self, asked: str, kept: Kept) -> None:
        self.passed += self.each
        super().keep(asked, kept)


@pytest.mark.parametrize(("run", "limit"), [(over_families, 60.0), (over_parameters, 3600.0)])
def test_an_attempt_after_the_end_of_the_time_has_all_trials_of_before_it(
    run: Run, limit: float, tmp_path: Path
) -> None:
    """Killed between its last trial and its result, a search comes to what it would have come to."""
    whole = run(Timed(tmp_path, limit / 6))
    with fits_until(0, [0]):
        again = run(Timed(tmp_path, limit / 6))
    assert (whole.timed_out, len(whole.trials)) == (True, 6)
    assert (again.timed_out, test_auto.timeless(again)) == (True, test_auto.timeless(whole))


def test_a_trial_that_the_end_of_the_time_cut_short_is_not_kept(tmp_path: Path) -> None:
    """With more time it would have had more rounds; one that nobody stopped is kept."""
    contract, member = test_auto.PRICES, Member(family="lightgbm", params={"n_estimators": 50})
    given = (test_auto.table(contract), contract, FeatureSpec(), test_auto.OPEN, None, SplitPolicy(), 3)
    ground, progress, asked = Ground.of(*given), Progress(tmp_path), itertools.count()
    cut = auto._trial(ground, member, lambda: next(asked) > 9, progress)
    assert np.isfinite(cut.loss)
    assert not list(tmp_path.iterdir())
    whole = auto._trial(ground, member, lambda: False, progress)
    assert whole.member.params["n_estimators"] > cut.member.params["n_estimators"]
    kept = auto._trial(ground, member, lambda: True, progress)
    assert (kept.member, kept.loss) == (whole.member, whole.loss)
