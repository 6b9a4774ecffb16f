"""A rollout plan says what may happen, refuses what cannot, and tells beforehand what it will take."""

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.durations import seconds, spoken
from serving.rollout.backend import Capabilities
from serving.rollout.evidence.forecast import forecast
from serving.rollout.plan import Freeze, RolloutPlan


def parse(text: str) -> RolloutPlan:
    return RolloutPlan.model_validate(yaml.safe_load(text))


def test_a_project_needs_to_name_its_steps_only() -> None:
    """``rollout: {steps: [5, 10, 25, 50]}`` is a whole plan, with the documented defaults."""
    plan = parse("{steps: [5, 10, 25, 50]}")
    assert [stage.permille for stage in plan.stages] == [50, 100, 250, 500]
    assert (plan.risk.alpha, plan.risk.beta, plan.risk.rho, plan.risk.max_canary_errors) == (0.01, 0.05, 0.01, 50)
    assert plan == RolloutPlan()


def test_steps_may_be_spelled_out() -> None:
    """Shadow, approval, dwell and durations are read as written."""
    plan = parse(
        "{steps: [{shadow: 100, until: 500}, {weight: 0.5, dwell: 90s}, {weight: 25, approve: required}], "
        "time: {step: 1h, pause: 7d}, gates: {slow: {slo: 200ms}, quality: null}}"
    )
    assert plan.shadow is not None
    assert plan.shadow.until == 500
    assert [(stage.permille, stage.approve, stage.dwell) for stage in plan.stages] == [
        (5, "none", 90.0),
        (250, "required", None),
    ]
    assert (plan.time.step, plan.time.pause, plan.gates.slow.slo) == (3600, 604800, 0.2)  # type: ignore[union-attr]  # the default gate is on
    assert plan.gates.quality is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("{steps: []}", "empty", id="no-steps"),
        pytest.param("{steps: [-5, 10]}", "above 0", id="negative-canary"),
        pytest.param("{steps: [5, 130]}", "at most 100", id="more-than-everything"),
        pytest.param("{steps: [{weight: 130}]}", "less than or equal to 100", id="more-than-everything-spelled-out"),
        pytest.param("{steps: [10, 5]}", "ascend", id="descending"),
        pytest.param("{steps: [5, 5]}", "ascend", id="standing-still"),
        pytest.param("{steps: [50]}", "max_initial_weight", id="first-step-too-large"),
        pytest.param("{steps: [100]}", "max_initial_weight", id="all-at-once"),
        pytest.param("{steps: [5, 99]}", "95", id="above-the-bake"),
        pytest.param("{steps: 5}", "list", id="a-number-for-a-list"),
        pytest.param("{steps: [{shadow: 50}, 5]}", "copies every request", id="half-a-shadow"),
        pytest.param("{steps: [5, {shadow: 100}]}", "comes first", id="late-shadow"),
        pytest.param("{steps: [0.05]}", "0.1", id="finer-than-the-routing"),
        pytest.param("{steps: [{shadow: 100, weight: 5}]}", "either", id="two-kinds"),
        pytest.param("{gates: {error: null, slow: null}}", "compares nothing", id="no-gate"),
        pytest.param("{risk: {alpha: 0}}", "alpha", id="no-risk"),
        pytest.param("{time: {step: tomorrow}}", "duration", id="unknown-duration"),
        pytest.param("{sticky_header: 'x user'}", "sticky_header", id="no-header"),
        pytest.param("{stpes: [5]}", "stpes", id="unknown-key"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(text: str, says: str) -> None:
    """The message names what was expected."""
    with pytest.raises(ValidationError, match=says):
        parse(text)


def test_a_closing_hundred_is_what_follows_anyway() -> None:
    """``[5, 50, 100]`` and ``[5, 50]`` are the same plan with the same hash."""
    assert parse("{steps: [5, 50, 100]}").hash == parse("{steps: [{weight: 5.0}, 50]}").hash


def test_the_hash_tells_plans_apart() -> None:
    """Any difference that matters changes the hash."""
    assert parse("{steps: [5, 50]}").hash != parse("{steps: [5, 50], risk: {rho: 0.02}}").hash


@pytest.mark.parametrize(
    ("changes", "text", "says"),
    [
        pytest.param({"mirror": False}, "{steps: [{shadow: 100}, 5]}", "mirror", id="shadow-without-mirror"),
        pytest.param({"pairs": False}, "{steps: [{shadow: 100}, 5]}", "does not compare", id="shadow-without-pairs"),
        pytest.param({"sticky": False}, "{sticky_header: x-user}", "sticky", id="sticky-without-hash"),
        pytest.param({}, "{sticky_header: X-Epoch}", "header of our own", id="sticky-by-a-header-of-ours"),
        pytest.param({"resolution": 10}, "{steps: [0.5, 5]}", "steps of 1 %", id="tenths-without-resolution"),
        pytest.param({"resolution": 10}, "{steps: [5, 10]}", "", id="whole-percents-fit"),
    ],
)
def test_an_installation_says_what_it_cannot_do(changes: dict[str, Any], text: str, says: str) -> None:
    """Nothing in a plan is ignored silently."""
    usual: dict[str, Any] = {
        "name": "place", "resolution": 1, "mirror": True, "header": True, "sticky": True, "per_request_random": True,
        "warm_rollback": True,
    }  # fmt: skip
    refusal = parse(text).refusal(Capabilities(**(usual | changes)))
    assert says in refusal
    assert bool(says) == bool(refusal)


@pytest.mark.parametrize(
    ("window", "when", "frozen"),
    [
        (Freeze(days=("sat", "sun")), "2024-06-01T12:00", True),
        (Freeze(days=("sat", "sun")), "2024-06-03T12:00", False),
        (Freeze(days=("fri",), start="18:00", end="08:00"), "2024-05-31T19:00", True),
        (Freeze(days=("fri",), start="18:00", end="08:00"), "2024-06-01T07:59", True),
        (Freeze(days=("fri",), start="18:00", end="08:00"), "2024-06-01T08:00", False),
        (Freeze(days=("fri",), start="18:00", end="08:00"), "2024-05-31T07:00", False),
    ],
)
def test_freeze_windows_cover_nights_and_weekends(window: Freeze, when: str, frozen: bool) -> None:
    """Windows are weekly, in UTC, and may run over midnight."""
    now = datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()
    assert RolloutPlan(freeze=(window,)).frozen_at(now) is frozen


@given(st.floats(0.001, 36_500), st.sampled_from(["ms", "s", "m", "h", "d"]))
@settings(deadline=None)
def test_durations_are_read_in_their_unit(value: float, unit: str) -> None:
    """Text and number of seconds agree."""
    text = f"{value:.3f}{unit}"
    assert seconds(text) == pytest.approx(
        float(f"{value:.3f}") * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    )
    assert spoken(seconds(text))


def test_the_forecast_names_requests_and_time_per_step() -> None:
    """Without errors the clean service of the default plan needs a few thousand requests."""
    found = forecast(RolloutPlan(), rate_per_s=10)
    assert [step.name for step in found.steps] == ["step 1", "step 2", "step 3", "step 4", "bake"]
    needed = [step.requests for step in found.steps[:4]]
    assert needed == pytest.approx([940, 1190, 970, 980], rel=0.1)
    assert found.warnings == ()
    assert found.seconds is not None
    assert found.seconds >= sum(n or 0 for n in needed) / 10


@pytest.mark.parametrize(
    ("rate", "says"),
    [
        pytest.param(0.0, "no traffic", id="no-traffic"),
        pytest.param(0.01, "longer than", id="too-little-traffic"),
    ],
)
def test_too_little_traffic_is_told_beforehand(rate: float, says: str) -> None:
    """Each step that cannot finish says so and what to do."""
    found = forecast(RolloutPlan(), rate)
    assert len(found.warnings) == 4
    assert all(says in warning and "shadow" in warning for warning in found.warnings)
