"""Bad models are refused by what is there for them, and healthy ones are not."""

import pytest

from components.judging.gates import Gate
from tests.bench.gates import passed
from tests.bench.planted import PLANTED, Planted, healthy
from tests.bench.worlds import verdict


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.name.replace(" ", "-"))
def test_a_bad_model_is_refused_by_the_gate_that_is_meant_for_it(planted: Planted) -> None:
    """Not by luck of another one."""
    found = planted.found()
    told = [check.sentence for check in (*found.checks, *found.guards) if not check.passed]
    assert not found.accepted
    assert any(planted.meant in words for words in told), told


def test_there_are_enough_of_them() -> None:
    """What the page counts."""
    assert len({planted.name for planted in PLANTED}) >= 25


@pytest.mark.parametrize("number", range(8))
def test_a_refresh_that_is_as_good_may_serve(number: int) -> None:
    """Whatever the table, the family and the task."""
    assert verdict(*healthy(number)).accepted


@pytest.mark.slow
def test_of_healthy_candidates_one_in_twenty_is_refused_at_most() -> None:
    """Two hundred of them, each on a table of its own."""
    refused = [number for number in range(200) if not verdict(*healthy(number)).accepted]
    assert len(refused) <= 10, refused


def test_an_equal_model_is_no_toss_of_a_coin() -> None:
    """With a confidence it passes for a better one as often as that says, and with a tolerance it mostly serves."""
    sure = Gate(metric="rmse", against="champion", confidence=0.95)
    kind = Gate(metric="rmse", against="champion", tolerance="2%")
    assert passed(sure, 0.0, 400, 200) < 0.1
    assert passed(sure, -0.05, 4_000, 50) > 0.95
    assert passed(kind, 0.0, 4_000, 50) > 0.95
    assert passed(kind, 0.05, 4_000, 50) < 0.05
