"""The fake place keeps the contract of all places."""

from collections.abc import Callable

import pytest

from serving.errors import InfrastructureError
from serving.rollout.backend import Revision, Split
from tests.serving.rollout.backend_contract import BackendContract, Place
from tests.serving.rollout.fake import Behaviour, Clock, FakeBackend, outage
from tests.serving.rollout.support import revision


class FakePlace:
    """The fake backend as a caller meets it."""

    sticky_header = "x-user"

    def __init__(self) -> None:
        self.clock = Clock()
        self.backend = FakeBackend(self.clock)

    def revision(self, number: int) -> Revision:
        return revision(number)

    def broken(self, number: int) -> Revision:
        self.backend.behave(revision(number).name, Behaviour(broken="golden row 3 differs"))
        return revision(number)

    def send(self, n: int, *, arm: str | None = None, key: str | None = None) -> list[str]:
        return self.backend.send(n, arm=arm, key=key)

    def fail(self, revision: str) -> None:
        self.backend.behave(revision, Behaviour(errors=1.0))

    def slow(self, revision: str) -> None:
        self.backend.behave(revision, Behaviour(slow=1.0))

    def until(self, true: Callable[[], bool]) -> None:
        for _ in range(100):
            if true():
                return
            self.clock.sleep(0.1)
        pytest.fail("not true after ten virtual seconds")


class TestFake(BackendContract):
    @pytest.fixture
    def place(self) -> Place:
        return FakePlace()


def test_a_call_that_fails_before_its_effect_changes_nothing() -> None:
    """Faults can be put before and after the effect of each call."""
    clock = Clock()
    backend = FakeBackend(clock)
    backend.fault = outage({"ensure"})
    with pytest.raises(InfrastructureError):
        backend.ensure(revision(1), 1)
    backend.fault = lambda call, moment: None
    assert backend.readiness("housing-1").state == "absent"


def test_meddling_is_visible_in_the_digest() -> None:
    """A split that somebody else changed has another digest, even when it has the same weights again."""
    clock = Clock()
    backend = FakeBackend(clock)
    backend.ensure(revision(1), 1)
    clock.sleep(2)
    backend.apply(Split({"housing-1": 1000}), "e1")
    clock.sleep(1)
    before = backend.observed()
    backend.meddle(Split({"housing-1": 1000}))
    assert backend.observed().digest != before.digest
