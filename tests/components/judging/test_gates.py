"""Gates: who may serve, and the sentence that says why."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.judging.evaluation import Evaluation, Slice
from components.judging.gates import Gate, check_gates, judge
from serving.contract import Contract
from serving.errors import ConfigError, DataError


def evaluation(**changes: Any) -> Evaluation:
    """A regression on 1,000 rows with RMSE 100 EUR, R2 0.8, bias -5."""
    metrics = {"rmse": 100.0, "r2": 0.8, "bias": -5.0, "mape": 0.1} | changes.pop("metrics", {})
    defined = {name: value for name, value in metrics.items() if value is not None}
    return Evaluation(
        **{"task": "regression", "target": "p", "unit": "EUR", "rows": 1000, "metrics": defined} | changes
    )


def regions(**errors: tuple[int, float | None]) -> tuple[Slice, ...]:
    return tuple(
        Slice(column="region", value=name, rows=rows, metrics={} if rmse is None else {"rmse": rmse})
        for name, (rows, rmse) in errors.items()
    )


FLOORS = [
    pytest.param({"metric": "rmse", "at_most": 101}, True, "RMSE 100 EUR is at most 101 EUR", id="below-the-ceiling"),
    pytest.param({"metric": "rmse", "at_most": 100}, True, "is at most 100", id="on-the-ceiling-holds"),
    pytest.param({"metric": "rmse", "at_most": 99}, False, "RMSE 100 EUR is above 99 EUR", id="above-the-ceiling"),
    pytest.param({"metric": "r2", "at_least": 0.7}, True, "R2 0.8 is at least 0.7", id="above-the-floor"),
    pytest.param({"metric": "r2", "at_least": 0.9}, False, "R2 0.8 is below 0.9", id="below-the-floor"),
    pytest.param({"metric": "bias", "at_most": 6}, True, "bias -5 EUR", id="a-signed-metric-is-held-by-its-size"),
    pytest.param({"metric": "bias", "at_most": 4}, False, "bias -5 EUR is above 4 EUR", id="too-low-is-also-biased"),
    pytest.param({"metric": "mae", "at_most": 9}, False, "cannot be computed", id="an-undefined-metric-fails"),
]


@pytest.mark.parametrize(("gate", "accepted", "words"), FLOORS)
def test_floors(gate: dict[str, Any], accepted: bool, words: str) -> None:
    """Floors and ceilings hold on the bar and say both numbers."""
    decision = judge(evaluation(), None, [Gate(**gate)])
    assert decision.accepted is accepted
    assert words in decision.checks[0].sentence


RMSE = {"metric": "rmse", "against": "champion"}
AGAINST = [
    pytest.param(RMSE, 100.001, True, "better than the champion's", id="any-gain-is-enough-at-margin-0"),
    pytest.param(RMSE, 100.0, False, "a tie keeps the champion", id="a-tie-keeps-the-champion"),
    pytest.param(RMSE, 99.0, False, "not better than the champion's 99 EUR", id="worse"),
    pytest.param(RMSE | {"margin": 10}, 110.0, False, "by more than 10 EUR", id="a-gain-of-exactly-the-margin-fails"),
    pytest.param(RMSE | {"margin": 10}, 110.5, True, "by more than 10 EUR", id="a-gain-above-the-margin"),
    pytest.param(RMSE | {"margin": "20%"}, 125.0, False, "by more than 25 EUR", id="exactly-20-percent-fails"),
    pytest.param(RMSE | {"margin": "20%"}, 126.0, True, "by more than", id="above-20-percent"),
    pytest.param({"metric": "r2", "against": "champion"}, 0.7, True, "better", id="more-is-better-for-r2"),
    pytest.param({"metric": "r2", "against": "champion"}, 0.85, False, "not better", id="less-is-worse-for-r2"),
    pytest.param({"metric": "bias", "against": "champion"}, 5.0, False, "tie", id="equal-size-of-bias-is-a-tie"),
    pytest.param({"metric": "bias", "against": "champion"}, 6.0, True, "better", id="smaller-size-of-bias-wins"),
    pytest.param(RMSE, None, False, "of the champion cannot be computed", id="an-undefined-champion-proves-nothing"),
]


@pytest.mark.parametrize(("gate", "champion", "accepted", "words"), AGAINST)
def test_against_the_champion(gate: dict[str, Any], champion: float | None, accepted: bool, words: str) -> None:
    """The candidate must be better by more than the margin, in the metric's own direction."""
    other = evaluation(metrics={gate["metric"]: champion})
    decision = judge(evaluation(), other, [Gate(**gate)])
    assert decision.accepted is accepted, decision.sentence
    assert words in decision.checks[0].sentence
    assert decision.checks[0].bar == champion


SLICE = {"metric": "rmse", "slice": "region", "worst": 150}
SLICES = [
    pytest.param(regions(north=(500, 90.0), coast=(500, 150.0)), True, "region coast, is at most 150", id="all-hold"),
    pytest.param(regions(north=(500, 90.0), coast=(500, 151.0)), False, "region coast, is above 150", id="one-fails"),
    pytest.param(regions(north=(990, 90.0), isle=(10, 900.0)), True, "region north", id="few-rows-are-not-judged"),
    pytest.param(regions(isle=(10, 90.0)), False, "no slice along region has 30 rows", id="nothing-to-judge"),
    pytest.param(regions(north=(500, 90.0), coast=(500, None)), False, "where region is coast", id="undefined"),
    pytest.param((), False, "no slices along region", id="not-sliced"),
]


@pytest.mark.parametrize(("slices", "accepted", "words"), SLICES)
def test_the_worst_slice(slices: Any, accepted: bool, words: str) -> None:
    """Every slice with enough rows keeps the bar, and the worst is named."""
    decision = judge(evaluation(slices=slices), None, [Gate(**SLICE)])
    assert decision.accepted is accepted
    assert words in decision.checks[0].sentence


def test_a_worst_slice_of_a_metric_where_more_is_better_is_the_lowest() -> None:
    """For R2 the bar of the worst slice is a floor."""
    parts = tuple(Slice(column="region", value=v, rows=99, metrics={"r2": r}) for v, r in (("a", 0.9), ("b", 0.4)))
    decision = judge(evaluation(slices=parts), None, [Gate(metric="r2", slice="region", worst=0.5)])
    assert decision.sentence == "refused: its one gate fails: R2 0.4 of the worst slice, region b, is below 0.5"


GATES = [Gate(metric="rmse", at_most=120), Gate(**RMSE)]


@pytest.mark.parametrize(
    ("champion", "gates", "sentence"),
    [
        pytest.param(None, GATES, "accepted: all 2 gates hold, no champion yet", id="the-first-one"),
        pytest.param(evaluation(metrics={"rmse": 110.0}), GATES, "accepted: all 2 gates hold", id="better"),
        pytest.param(
            evaluation(),
            GATES,
            "refused: 1 of 2 gates fail: RMSE 100 EUR is equal to the champion's 100 EUR, and a tie keeps the champion",
            id="a-tie",
        ),
        pytest.param(
            evaluation(), [], "accepted: the project defines no gates, so nothing was compared", id="without-gates"
        ),
    ],
)
def test_the_decision_is_one_sentence(champion: Any, gates: Any, sentence: str) -> None:
    """It counts the gates and repeats those that fail."""
    assert judge(evaluation(), champion, gates).sentence == sentence


def test_an_undefined_candidate_fails_even_without_a_champion() -> None:
    """A model whose error is NaN does not become the first champion."""
    assert not judge(evaluation(metrics={"rmse": None}), None, [Gate(**RMSE)]).accepted


def test_evaluations_of_different_rows_are_not_compared() -> None:
    """The champion has to be scored again on the candidate's holdout."""
    with pytest.raises(DataError, match="evaluated on other rows"):
        judge(evaluation(rows_digest="a"), evaluation(rows_digest="b"), GATES)


@settings(max_examples=60, deadline=None)
@given(a=st.floats(1, 1e6), b=st.floats(1, 1e6), margin=st.floats(0, 1e3))
def test_two_models_never_both_beat_each_other(a: float, b: float, margin: float) -> None:
    """Whatever the margin, at most one of two is better, and none against itself."""
    gate = [Gate(metric="rmse", against="champion", margin=margin)]
    first, second = evaluation(metrics={"rmse": a}), evaluation(metrics={"rmse": b})
    assert not (judge(first, second, gate).accepted and judge(second, first, gate).accepted)
    assert not judge(first, first, gate).accepted


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        pytest.param({"metric": "rsme", "at_most": 1}, "one of rmse, .*seen 'rsme'", id="unknown-metric"),
        pytest.param({"metric": "rmse"}, "exactly one of .* seen none", id="no-condition"),
        pytest.param(
            {"metric": "rmse", "at_most": 1, "against": "champion"}, "at_most and against", id="two-conditions"
        ),
        pytest.param({"metric": "rmse", "at_least": 1}, "less RMSE is better", id="a-floor-for-an-error"),
        pytest.param({"metric": "r2", "at_most": 1}, "more R2 is better", id="a-ceiling-for-a-score"),
        pytest.param({"metric": "rmse", "at_most": 1, "margin": 1}, "'margin' only beside", id="margin-of-nothing"),
        pytest.param(RMSE | {"margin": -1}, "0 or more", id="negative-margin"),
        pytest.param(RMSE | {"margin": "two"}, "a share such as '2%', seen 'two'", id="margin-in-words"),
        pytest.param({"metric": "rmse", "worst": 1}, "'slice' and 'worst' together", id="worst-of-what"),
        pytest.param({"metric": "rmse", "slice": "region", "at_most": 1}, "together", id="slice-without-worst"),
        pytest.param({"metric": "rmse", "at_most": 1, "min_rows": 5}, "only beside 'slice'", id="rows-of-no-slice"),
    ],
)
def test_contradictory_gates_are_refused(gate: dict[str, Any], words: str) -> None:
    """A gate that could never mean one thing is no gate."""
    with pytest.raises(ConfigError, match=words):
        Gate(**gate)


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        pytest.param(Gate(metric="f1", at_least=0.5), "a metric for regression", id="metric-of-the-other-task"),
        pytest.param(Gate(metric="rmse", slice="regoin", worst=1), "one of region; seen 'regoin'", id="unknown-column"),
    ],
)
def test_gates_are_checked_against_the_contract(gate: Gate, words: str) -> None:
    """Before anything is trained."""
    rules = Contract.model_validate({"columns": {"region": {"type": "category", "values": ["a"]}}, "target": "p"})
    with pytest.raises(ConfigError, match=words):
        check_gates([gate], rules)
