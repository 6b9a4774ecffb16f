"""What every traffic backend must do, as one suite that each of them runs.

A test module makes a ``Place`` for its backend and inherits the suite::

    class TestFake(BackendContract):
        @pytest.fixture
        def place(self) -> Iterator[Place]: ...
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import pytest
from scipy.stats import binom

from serving.errors import BackendRefusal, ConflictError
from serving.rollout.backend import ArmCounts, Counters, Observed, Revision, Split, TrafficBackend

CHANCE = 1e-6  # that a fair split is called unfair
SLOW_MS = 100.0


class Place(Protocol):
    """A backend with nothing running, and the means to use it as callers do."""

    @property
    def backend(self) -> TrafficBackend: ...

    def revision(self, number: int) -> Revision:
        """A revision that loads and answers; distinct numbers have distinct names."""

    def broken(self, number: int) -> Revision:
        """A revision that never gets ready."""

    def send(self, n: int, *, arm: str | None = None, key: str | None = None) -> list[str]:
        """Send *n* user requests one by one; the revision that answered or failed each, as far as it is known.

        Args:
            arm: header ``x-model-arm``. key: value of the sticky header.
        """

    def fail(self, revision: str) -> None:
        """From now on *revision* answers every request with a 500."""

    def slow(self, revision: str) -> None:
        """From now on *revision* answers later than ``SLOW_MS``."""

    def until(self, true: Callable[[], bool]) -> None:
        """Let time pass until *true*; fails the test when that takes too long."""

    sticky_header: str


class BackendContract:
    """Inherit, and provide a fixture ``place``. *requests*: size of the counts that are tested for fairness."""

    requests = 2000

    def running(self, place: Place, *numbers: int) -> list[str]:
        revisions = [place.revision(number) for number in numbers]
        for revision in revisions:
            place.backend.ensure(revision, 1)
        names = [revision.name for revision in revisions]
        place.until(lambda: all(place.backend.readiness(name).state == "ready" for name in names))
        return names

    def routed(self, place: Place, split: Split, epoch: str) -> Observed:
        place.backend.apply(split, epoch)
        place.until(lambda: place.backend.observed().epoch == epoch)
        return place.backend.observed()

    def counted(self, place: Place, total: int) -> Counters:
        place.until(lambda: sum(arm.requests for arm in _arms(place.backend.counters(SLOW_MS))) >= total)
        return place.backend.counters(SLOW_MS)

    def test_a_revision_is_absent_until_it_is_asked_for(self, place: Place) -> None:
        """``ensure`` starts a revision, and asking again changes nothing."""
        revision = place.revision(1)
        assert place.backend.readiness(revision.name).state == "absent"
        place.backend.ensure(revision, 1)
        place.backend.ensure(revision, 1)
        place.until(lambda: place.backend.readiness(revision.name).state == "ready")

    def test_a_revision_that_cannot_load_says_why(self, place: Place) -> None:
        """A failure is told with a reason, not waited for."""
        revision = place.broken(1)
        place.backend.ensure(revision, 1)
        place.until(lambda: place.backend.readiness(revision.name).state == "failed")
        assert place.backend.readiness(revision.name).reason

    def test_weights_that_do_not_sum_are_refused(self, place: Place) -> None:
        """A wrong sum changes nothing."""
        (stable,) = self.running(place, 1)
        before = self.routed(place, Split({stable: 1000}), "e1")
        with pytest.raises(BackendRefusal, match="1000"):
            place.backend.apply(Split({stable: 990}), "e2")
        assert place.backend.observed() == before

    def test_weight_on_an_arm_that_is_not_ready_is_refused(self, place: Place) -> None:
        """No request may go where nothing listens."""
        (stable,) = self.running(place, 1)
        before = self.routed(place, Split({stable: 1000}), "e1")
        with pytest.raises(BackendRefusal, match="absent"):
            place.backend.apply(Split({stable: 900, place.revision(2).name: 100}), "e2")
        assert place.backend.observed() == before

    @pytest.mark.parametrize("way", ["mirror", "header"])
    def test_an_arm_that_only_some_requests_reach_must_be_ready_too(self, place: Place, way: str) -> None:
        """A copy or a request with a header may go where nothing listens as little as any other."""
        if not getattr(place.backend.capabilities(), way):
            pytest.skip(f"this backend has no {way}, and says so")
        (stable,) = self.running(place, 1)
        before = self.routed(place, Split({stable: 1000}), "e1")
        absent = place.revision(2).name
        more: dict[str, Any] = {"mirror": absent} if way == "mirror" else {"header_arms": (absent,)}
        with pytest.raises(BackendRefusal, match="absent"):
            place.backend.apply(Split({stable: 1000}, **more), "e2")
        assert place.backend.observed() == before

    def test_a_token_that_is_no_header_is_refused(self, place: Place) -> None:
        """The epoch's token comes back with every answer, so it must be possible to send it."""
        (stable,) = self.running(place, 1)
        before = self.routed(place, Split({stable: 1000}), "e1")
        with pytest.raises(BackendRefusal, match="two words'"):
            place.backend.apply(Split({stable: 1000}), "two words")
        assert place.backend.observed() == before

    def test_a_name_is_never_used_for_another_bundle(self, place: Place) -> None:
        """Other bytes under a known name are a conflict, and the revision goes on as it was."""
        (stable,) = self.running(place, 1)
        with pytest.raises(ConflictError, match="never used for another bundle"):
            place.backend.ensure(replace(place.revision(1), digest="f" * 64), 1)
        assert place.backend.readiness(stable).state == "ready"

    def test_what_is_absent_is_not_adopted(self, place: Place) -> None:
        """The stable revision is one that is there."""
        (stable,) = self.running(place, 1)
        before = self.routed(place, Split({stable: 1000}), "e1")
        with pytest.raises(BackendRefusal, match="is not there"):
            place.backend.adopt(place.revision(2).name)
        assert place.backend.observed() == before

    def test_a_split_reaches_traffic_under_its_epoch(self, place: Place) -> None:
        """What is observed is what was applied; applying it again changes neither split nor digest."""
        stable, candidate = self.running(place, 1, 2)
        split = Split({stable: 950, candidate: 50})
        observed = self.routed(place, split, "e1")
        assert observed.split is not None
        assert dict(observed.split.weights) == {stable: 950, candidate: 50}
        assert observed.rejected == ""
        place.backend.apply(split, "e1")
        assert self.routed(place, split, "e1").digest == observed.digest

    def test_each_request_is_counted_once_and_split_fairly(self, place: Place) -> None:
        """All requests are counted in their epoch, and the arms' shares are those of a fair draw."""
        stable, candidate = self.running(place, 1, 2)
        self.routed(place, Split({stable: 900, candidate: 100}), "e1")
        place.send(self.requests)
        arms = self.counted(place, self.requests).epochs["e1"]
        assert arms[stable].requests + arms[candidate].requests == self.requests
        low, high = binom.interval(1 - CHANCE, self.requests, 0.1)
        assert low <= arms[candidate].requests <= high

    def test_epochs_are_counted_apart(self, place: Place) -> None:
        """A request belongs to the split that chose its arm; counts of an epoch that has passed do not change."""
        stable, candidate = self.running(place, 1, 2)
        self.routed(place, Split({stable: 500, candidate: 500}), "e1")
        place.send(100)
        first = self.counted(place, 100).epochs["e1"]
        self.routed(place, Split({candidate: 1000}), "e2")
        place.send(50)
        counters = self.counted(place, 150)
        assert counters.epochs["e1"] == first
        assert counters.epochs["e2"][candidate].requests == 50
        assert counters.epochs["e2"].get(stable, ArmCounts()).requests == 0

    def test_errors_count_on_the_arm_that_failed(self, place: Place) -> None:
        """A failing revision has errors, its neighbour has none."""
        stable, candidate = self.running(place, 1, 2)
        self.routed(place, Split({stable: 500, candidate: 500}), "e1")
        place.fail(candidate)
        place.send(60)
        arms = self.counted(place, 60).epochs["e1"]
        assert arms[candidate].errors == arms[candidate].requests > 0
        assert arms[stable].errors == 0

    def test_slow_answers_count_on_the_arm_that_was_slow(self, place: Place) -> None:
        """Answers later than the threshold are slow and no errors."""
        stable, candidate = self.running(place, 1, 2)
        self.routed(place, Split({stable: 500, candidate: 500}), "e1")
        place.slow(candidate)
        place.send(30)
        arms = self.counted(place, 30).epochs["e1"]
        assert arms[candidate].slow == arms[candidate].requests > 0
        assert arms[candidate].errors == arms[stable].errors == 0

    def test_a_revision_leaves_only_without_weight(self, place: Place) -> None:
        """Removal is refused while requests may arrive, allowed once drained, and done already when repeated."""
        stable, candidate = self.running(place, 1, 2)
        self.routed(place, Split({stable: 900, candidate: 100}), "e1")
        assert not place.backend.drained(candidate)
        with pytest.raises(BackendRefusal, match=f"{candidate} has 100 per mille"):
            place.backend.remove(candidate)
        self.routed(place, Split({stable: 1000}), "e2")
        place.until(lambda: place.backend.drained(candidate))
        place.backend.remove(candidate)
        place.backend.remove(candidate)
        place.until(lambda: place.backend.readiness(candidate).state == "absent")
        place.send(20)
        arms = self.counted(place, 20).epochs["e2"]
        assert arms[stable].errors == 0

    def test_adoption_moves_no_traffic(self, place: Place) -> None:
        """The split and its epoch stay as they are, also when it is adopted twice."""
        stable, candidate = self.running(place, 1, 2)
        self.routed(place, Split({candidate: 1000}), "e1")
        place.backend.adopt(candidate)
        place.backend.adopt(candidate)
        observed = place.backend.observed()
        assert observed.epoch == "e1"
        assert observed.split is not None
        assert {n: w for n, w in observed.split.weights.items() if w} == {candidate: 1000}
        place.backend.remove(stable)
        place.send(10)
        assert self.counted(place, 10).epochs["e1"][candidate].errors == 0

    def test_the_stable_one_may_be_adopted_beside_a_canary(self, place: Place) -> None:
        """Saying again which one is stable is no reason to move or refuse anything."""
        stable, candidate = self.running(place, 1, 2)
        self.routed(place, Split({stable: 1000}), "e1")
        place.backend.adopt(stable)
        before = self.routed(place, Split({stable: 800, candidate: 200}), "e2")
        place.backend.adopt(stable)
        assert place.backend.observed() == before

    def test_counts_do_not_shrink(self, place: Place) -> None:
        """Counts are cumulative over the whole rollout, whatever is applied meanwhile."""
        stable, candidate = self.running(place, 1, 2)
        for number, weight in enumerate((100, 300, 500), start=1):
            self.routed(place, Split({stable: 1000 - weight, candidate: weight}), f"e{number}")
            place.send(40)
            counters = self.counted(place, 40 * number)
            assert set(counters.epochs) >= {f"e{n}" for n in range(1, number + 1)}

    def test_a_mirror_answers_nobody(self, place: Place) -> None:
        """Copies are counted as copies; users are answered by the arm with weight, even when the mirror fails."""
        if not place.backend.capabilities().mirror:
            pytest.skip("this backend cannot mirror, and says so")
        stable, candidate = self.running(place, 1, 2)
        self.routed(place, Split({stable: 1000}, mirror=candidate), "e1")
        place.fail(candidate)
        place.send(40)
        place.until(lambda: _arm(place, "e1", candidate).mirrored >= 40)
        assert _arm(place, "e1", candidate).requests == 0
        assert _arm(place, "e1", stable).requests == 40
        assert _arm(place, "e1", stable).errors == 0

    def test_a_header_reaches_an_arm_outside_of_all_counts(self, place: Place) -> None:
        """``x-model-arm`` chooses the arm, and such a request is no evidence."""
        if not place.backend.capabilities().header:
            pytest.skip("this backend has no header route, and says so")
        stable, candidate = self.running(place, 1, 2)
        self.routed(place, Split({stable: 1000}, header_arms=(stable, candidate)), "e1")
        assert set(place.send(10, arm=candidate)) == {candidate}
        assert set(place.send(10)) == {stable}
        assert self.counted(place, 10).epochs["e1"].get(candidate, ArmCounts()).requests == 0

    def test_a_key_stays_on_its_arm(self, place: Place) -> None:
        """With a sticky header a key is answered by one revision, and none moves back when the canary grows."""
        if not place.backend.capabilities().sticky:
            pytest.skip("this backend has no sticky routing, and says so")
        stable, candidate = self.running(place, 1, 2)
        keys = [f"user-{number}" for number in range(60)]
        on_candidate: set[str] = set()
        for number, weight in enumerate((200, 600), start=1):
            split = Split({stable: 1000 - weight, candidate: weight}, sticky_header=place.sticky_header)
            self.routed(place, split, f"e{number}")
            answers = {key: set(place.send(2, key=key)) for key in keys}
            assert all(len(arms) == 1 for arms in answers.values())
            moved = {key for key, arms in answers.items() if arms == {candidate}}
            assert on_candidate <= moved
            on_candidate = moved
        assert 0 < len(on_candidate) < len(keys)

    def test_a_key_counts_once_in_each_epoch(self, place: Place) -> None:
        """Many requests of few keys are as many units as there are keys; one without a key is a unit of its own."""
        if not place.backend.capabilities().sticky:
            pytest.skip("this backend has no sticky routing, and says so")
        stable, candidate = self.running(place, 1, 2)
        keys = [f"user-{number}" for number in range(30)]
        on_candidate: set[str] = set()
        counted = 0
        for number, weight in enumerate((200, 500, 800), start=1):
            split = Split({stable: 1000 - weight, candidate: weight}, sticky_header=place.sticky_header)
            self.routed(place, split, f"e{number}")
            place.fail(candidate)
            arms = {key: place.send(4, key=key)[0] for key in keys}
            place.send(6)
            counted += len(keys) + 6
            seen = self.counted(place, counted).epochs[f"e{number}"]
            assert seen[stable].requests + seen[candidate].requests == len(keys) + 6
            chosen = {key for key, arm in arms.items() if arm == candidate}
            assert len(chosen) <= seen[candidate].requests == seen[candidate].errors <= len(chosen) + 6
            assert seen[stable].errors == 0
            assert on_candidate <= chosen
            on_candidate = chosen
        assert on_candidate


def _arms(counters: Counters) -> list[ArmCounts]:
    return [arm for arms in counters.epochs.values() for arm in arms.values()]


def _arm(place: Place, epoch: str, revision: str) -> ArmCounts:
    return place.backend.counters().epochs.get(epoch, {}).get(revision, ArmCounts())
