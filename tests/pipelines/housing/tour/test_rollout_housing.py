"""Real models, the real predictor and real Envoy: the bad of each kind goes home, the equal and the better stay."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipelines.housing.tour.buyers import Replies
from serving.rollout.controller.replay import replay
from serving.rollout.state import Phase, Reason, RolloutState
from tests.pipelines.housing.tour import housing_rollout as homes
from tests.pipelines.housing.tour.housing_rollout import HousingService, Maker
from tests.serving.local.rollout_live import MODEL, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BLOCKING = {"quality": {"labels": "block", "label_delay": "0s"}}
WATCHING = {"quality": {"labels": "watch", "label_delay": "0s"}}


@dataclass(frozen=True)
class Case:
    """A candidate and what becomes of it.

    Attributes:
        told: part of the outcome's sentence.
        loses: whether the candidate itself fails requests; nobody else may.
        gates: changes to the plan's; with a quality gate the prices that were paid come as labels.
    """

    make: Maker
    told: str
    loses: bool = False
    gates: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> bool:
        return "quality" in self.gates


BAD = [
    pytest.param(Case(homes.dwellings_only, "mostly from error", loses=True), id="errors"),
    pytest.param(Case(homes.overflowing, "mostly from error", loses=True), id="predictions-that-are-no-numbers"),
    pytest.param(Case(homes.sluggish, "mostly from slow"), id="slow"),
    pytest.param(
        Case(homes.inflated, "distributed differently", gates={"output": {"on_shift": "rollback"}}), id="shifted-output"
    ),
    pytest.param(Case(homes.mixed_up, "mostly from quality", gates=BLOCKING), id="worse-labels"),
]
GOOD = [
    pytest.param(Case(homes.decent, "serves all requests", gates=WATCHING), id="equal"),
    pytest.param(Case(homes.better, "serves all requests", gates=BLOCKING), id="better"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HousingService]:
    with running(HousingService(tmp_path_factory.mktemp("homes") / MODEL)) as service:
        service.first()
        service.calibrate()
        yield service


@pytest.mark.parametrize("case", BAD)
def test_a_bad_model_goes_home_by_itself(house: HousingService, case: Case) -> None:
    """Of each kind; what it failed is all that was lost, and stable answers everything afterwards."""
    before = house.stable
    state = _rolled_out(house, case)
    assert state.phase is Phase.ROLLED_BACK
    assert case.told in state.outcome
    assert house.stable == before


def test_shifted_output_waits_for_a_person(house: HousingService) -> None:
    """By the default plan: a new model may differ, so somebody is asked, and here says no."""
    version, before = house.trained(homes.inflated), house.stable
    state, replies = house.rolled_out(version, house.plan(), labels=False)
    assert state.pause is not None
    assert state.pause.reason is Reason.OUTPUT
    house.order("abort")
    assert house.reached(version, Phase.ROLLED_BACK).phase is Phase.ROLLED_BACK
    assert house.stable == before
    _nothing_is_lost(house, replies, "")


@pytest.mark.parametrize("case", GOOD)
def test_a_good_model_is_promoted(house: HousingService, case: Case) -> None:
    """With the prices that were paid told meanwhile; nothing is lost, and it answers everything afterwards."""
    state = _rolled_out(house, case)
    assert state.phase is Phase.SUCCEEDED, state
    assert case.told in state.outcome
    assert house.stable == state.candidate.version


def _rolled_out(house: HousingService, case: Case) -> RolloutState:
    version = house.trained(case.make)
    state, replies = house.rolled_out(version, house.plan(gates=case.gates), labels=case.labels)
    assert state.pause is None, state.pause
    _nothing_is_lost(house, replies, f"{MODEL}-{version}" if case.loses else "")
    return state


def _nothing_is_lost(house: HousingService, replies: Replies, but_by: str) -> None:
    """No request but those that revision *but_by* failed; an answer's header and body name the same version.

    Also stable answers everything by now, and every decision in the journal follows from what it says was seen.
    """
    failed = [reply for reply in replies.replies if reply.status != 200]
    assert {(reply.revision, reply.status) for reply in failed} == ({(but_by, 400)} if but_by else set())
    answered = [reply for reply in replies.replies if reply.status == 200]
    assert all(reply.revision == f"{MODEL}-{reply.version}" for reply in answered)
    after = house.asked(50)
    assert (after.lost, after.by_version) == (0, {str(house.stable): 50})
    with house.desk as desk:
        assert replay(desk.records(), desk.head()).identical
