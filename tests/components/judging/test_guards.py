"""What stands in every project: how sure a figure is, what answers without a model, and what is too good to be true."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.data.split import SplitPolicy
from components.data.split_rule import SplitRule
from components.judging import jackknife, metrics, suspicion
from components.judging.baselines import previous
from components.judging.gates import Gate, GateReport, Guards
from components.judging.metrics import Task
from components.judging.stages import used
from components.projects import project as projects
from components.steps.place import Place
from serving.contract import Contract
from tests.pipelines.test_numbers import FILE

RULES = Contract.model_validate({"columns": {"x": {"type": "float"}}, "target": "y", "key": "id", "event_time": "at"})


def test_the_error_of_a_mean_is_the_one_of_the_books() -> None:
    """With a block for each row the jackknife of a mean is its standard deviation over the root of n."""
    errors = np.random.default_rng(0).normal(3, 2, 40)
    seen = jackknife.errors("regression", np.zeros(40), errors, np.arange(40), {"bias": 3.0})
    assert seen["bias"] == pytest.approx(errors.std(ddof=1) / np.sqrt(40))


def drawn(task: Task, rows: int, random: np.random.Generator) -> tuple[Any, Any, Any]:
    """The truth of some rows, what a model says of them, and what a worse one does."""
    x, noise = random.normal(size=(2, rows))
    if task == "regression":
        return x + random.normal(size=rows), x, x + 0.5 * noise
    chances = (1 / (1 + np.exp(-one)) for one in (x, 0.5 * x + 0.5 * noise))
    ours, theirs = (np.column_stack([1 - one, one]) for one in chances)
    return 1.0 * (random.random(rows) < ours[:, 1]), ours, theirs


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2", "roc_auc", "log_loss"])
def test_an_interval_holds_as_often_as_it_says(metric: str) -> None:
    """The least gain with confidence 0.9 is below the one of a million rows in about nine of ten tables."""
    kind, random, held = metrics.METRICS[metric], np.random.default_rng(5), 0
    truth, ours, theirs = drawn(kind.task, 1_000_000, random)
    true = kind.loss(kind.function(truth, theirs)) - kind.loss(kind.function(truth, ours))
    parts = np.arange(300) % 30
    for _ in range(150):
        gain = jackknife.gains(kind.task, *drawn(kind.task, 300, random), parts, [metric])[metric]
        held += gain.least(0.9) <= true
    assert 0.83 <= held / 150 <= 0.97


def frame(rows: int, **columns: Any) -> pl.DataFrame:
    start = datetime(2026, 1, 1)
    named = {"id": [str(one) for one in range(rows)], "at": [str(start + timedelta(hours=one)) for one in range(rows)]}
    return pl.DataFrame({**named, **columns})


def test_blocks_are_stretches_of_time_or_whole_keys() -> None:
    """What belongs together is left out together."""
    rule = SplitRule(policy=SplitPolicy(by="time", holdout=0.2), seed=0).model_dump_json()
    by_time = jackknife.blocks(frame(200).reverse(), RULES, rule)
    assert (np.diff(by_time) <= 0).all()
    assert np.bincount(by_time).tolist() == [10] * 20
    keys = ["a", "b", "c", "d"] * 50
    by_key = jackknife.blocks(frame(200, id=keys), RULES)
    assert len({(key, block) for key, block in zip(keys, by_key.tolist(), strict=True)}) == 4


def test_the_value_before_is_of_the_same_key_and_an_earlier_moment() -> None:
    """Rows of one moment do not tell of each other, and the first of a key has none."""
    rows = pl.DataFrame(
        {"id": ["a", "b", "a", "b", "a", "a"], "at": [f"2026-01-0{day}" for day in (1, 1, 3, 2, 3, 4)], "x": 0.0}
    )
    seen = previous(rows, RULES, np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    np.testing.assert_array_equal(seen, [np.nan, np.nan, 1.0, 2.0, 1.0, 5.0])


@pytest.mark.parametrize(
    ("column", "leaks"),
    [
        pytest.param(lambda y, noise: 3 * y - 7, True, id="another-unit"),
        pytest.param(lambda y, noise: np.exp(-y), True, id="another-scale"),
        pytest.param(lambda y, noise: y + noise / 100, True, id="a-little-noise"),
        pytest.param(lambda y, noise: y + noise, False, id="half-noise"),
        pytest.param(lambda y, noise: noise, False, id="noise"),
        pytest.param(lambda y, noise: np.where(noise > 0, y, np.nan), False, id="known-half-of-the-time"),
        pytest.param(lambda y, noise: np.round(y), False, id="rounded"),
    ],
)
def test_a_column_that_is_the_target_stands_out(column: Any, leaks: bool) -> None:
    """Whatever it was made with, and a good predictor does not."""
    random = np.random.default_rng(3)
    truth = random.normal(size=2_000)
    seen = suspicion.alone(column(truth, random.normal(size=2_000)).reshape(-1, 1), truth, RULES)
    assert (seen["x"] > 0.999) is leaks, seen


def test_rows_that_repeat_are_no_sign_of_training_on_them() -> None:
    """A table of few different rows has all of them on both sides."""
    random = np.random.default_rng(0)
    few, many = random.integers(0, 4, (4_000, 2)).astype(float), random.normal(size=(4_000, 2))
    for table in (few, many):
        known = suspicion.learned(table[:3_000, :1], table[:3_000, 1], RULES)
        assert not suspicion.overlap(table[3_000:, :1], table[3_000:, 1], known).suspicious
    assert suspicion.overlap(many[2_000:3_000, :1], many[2_000:3_000, 1], known).suspicious
    assert suspicion.overlap(many[2_000:, :1], many[2_000:, 1], known).seen == pytest.approx(
        0.5 * suspicion.overlap(many[2_000:, :1], many[2_000:, 1], known).told, rel=0.1
    )


@pytest.mark.parametrize("seed", range(0, 200, 5))
def test_rows_that_could_hardly_differ_are_no_sign_of_training_on_them(seed: int) -> None:
    """Whatever the number of different rows, some often and some once, a table cut by chance is not suspected."""
    random = np.random.default_rng(seed)
    kinds, rows = int(random.integers(2, 3_000)), int(random.integers(200, 5_000))
    often = (1.0 + np.arange(kinds)) ** -random.uniform(0, 2.5)
    cells = random.choice(kinds, rows, p=often / often.sum()).astype(float)
    target, held = random.integers(0, 2, rows).astype(float), random.random(rows) < 0.2
    known = suspicion.learned(cells[~held, None], target[~held], RULES)
    assert not suspicion.overlap(cells[held, None], target[held], known).suspicious


def test_guards_stand_until_they_are_taken_down() -> None:
    """Each alone, by `off` or by a gate of the project's own; labels that come late leave nothing to say before."""
    project = projects.parse(FILE)
    assert [gate.against for gate in project.demands.guards] == [None, None, "baseline", "previous"]
    off = projects.parse({**FILE, "guards": dict.fromkeys(("baseline", "previous", "leak", "unseen"), "off")})
    assert off.demands.guards == ()
    own = Gate(metric="mae", against="baseline", margin="10%")
    assert "baseline" not in [one.against for one in Guards().gates(project.contract, None, [own], late=True)]
    late = projects.parse({**FILE, "watch": {"labels": {"delay": "28d"}}})
    assert [gate.against for gate in late.demands.guards] == [None, None, "baseline"]


def test_candidates_that_a_holdout_has_judged_are_counted_once_each(tmp_path: Path) -> None:
    """By the name of their bundle, and said from the tenth on: the best of many is the luckiest too."""
    place = Place(
        home=str(tmp_path), ledger="", tracking="", store=f"file://{tmp_path}/store", serving="", key=str(tmp_path)
    )
    bundle, seen = tmp_path / "bundle", []
    bundle.mkdir()
    for number in (*range(10), 3):
        (bundle / "manifest.json").write_text(str(number))
        seen.append(used("homes", place, "ab12", str(bundle)))
    assert seen == [*range(1, 11), 10]
    assert used("homes", place, "cd34", str(bundle)) == 1
    notices = [GateReport(accepted=True, sentence="", uses=uses).notices for uses in (9, 10)]
    assert notices == [(), ("these held-out rows have judged 10 candidates by now",)]
