"""Splitting: nothing the model is judged on was seen in training, and nothing moves without a reason."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.data.split import HoldoutSplit, SplitPolicy, columns, decide, split
from serving.contract import Column, Contract, Target
from serving.errors import ConfigError, DataError

X = {"x": Column(type="float")}
SALES = Contract(columns=X, target=Target(name="y"), key="id", event_time="at")
BARE = Contract(columns=X, target=Target(name="y"))
CLASSES = Contract(columns=X, target=Target(name="y", classes=("no", "yes")), key="id")


def table(rows: int = 1000, keys: int = 700, seed: int = 1) -> pl.DataFrame:
    """*rows* events on 100 days about *keys* things."""
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": random.integers(0, keys, rows),
            "at": [
                datetime(2025, 1, 1) + timedelta(minutes=int(m)) for m in np.sort(random.integers(0, 144_000, rows))
            ],
            "district": [f"D{i}" for i in random.integers(0, 40, rows)],
            "x": random.random(rows),
            "y": random.random(rows),
        }
    )


def labelled(yes: int, no: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": range(yes + no), "x": np.arange(yes + no, dtype=float), "y": ["yes"] * yes + ["no"] * no}
    )


def by(mode: str, holdout: float | str = 0.2, **rest: Any) -> SplitPolicy:
    return SplitPolicy(by=mode, holdout=holdout, **rest)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(by("time", "20d"), id="time"),
        pytest.param(by("time", 0.2), id="time-share"),
        pytest.param(by("group"), id="group-is-key"),
        pytest.param(by("group", group="district"), id="group-column"),
        pytest.param(by("random"), id="random"),
    ],
)
def test_no_key_stands_on_both_sides(policy: SplitPolicy) -> None:
    """Whatever the mode: what is known of a thing on one side is unknown on the other, and the rest is counted."""
    parts = split(table(), policy, SALES, seed=3)
    assert not set(parts.train["id"]) & set(parts.holdout["id"])
    dropped = 1000 - parts.train.height - parts.holdout.height
    told = f"{dropped} training rows dropped, their id is in the holdout"
    assert parts.sentence.endswith(told) if dropped else "dropped" not in parts.sentence
    assert 0.1 < parts.holdout.height / 1000 < 0.3


def test_by_time_the_newest_events_are_held_out() -> None:
    """All holdout events are after the boundary, all training events at or before it."""
    frame = table()
    parts = split(frame, by("time", "20d"), SALES, seed=3)
    boundary = frame["at"].max() - timedelta(days=20)
    assert parts.holdout.equals(frame.filter(pl.col("at") > boundary))
    assert parts.train["at"].max() <= boundary
    assert f"train until {boundary:%Y-%m-%d}" in parts.sentence


def test_earlier_rows_of_held_out_keys_are_dropped_and_counted() -> None:
    """Three sales of one home, the last one held out: the first two are in neither table."""
    frame = pl.DataFrame(
        {
            "id": ["a", "a", "b", "a", "c"],
            "at": [datetime(2025, 1, day) for day in (1, 2, 3, 30, 31)],
            "x": [0.0] * 5,
            "y": [0.0] * 5,
        }
    )
    parts = split(frame, by("time", "10d"), SALES, seed=0)
    assert parts.train["id"].to_list() == ["b"]
    assert parts.holdout["id"].to_list() == ["a", "c"]
    assert parts.sentence == (
        "by time: train until 2025-01-21 (1 rows), holdout until 2025-01-31 (2 rows); "
        "2 training rows dropped, their id is in the holdout"
    )


def test_months_are_calendar_months() -> None:
    """Two months before the 31st of December is the 31st of October."""
    days = [datetime(2025, 1, 1) + timedelta(days=i) for i in range(365)]
    frame = pl.DataFrame({"id": range(365), "at": days, "x": [0.0] * 365, "y": [0.0] * 365})
    parts = split(frame, by("time", "2 months"), SALES, seed=0)
    assert parts.train["at"].max() == datetime(2025, 10, 31)
    assert parts.holdout.height == 61


@pytest.mark.parametrize("share", [0.001, 0.2, 0.999])
def test_a_share_by_time_leaves_both_sides(share: float) -> None:
    """Equal moments stay together, and at the extremes each side keeps a moment."""
    frame = table(rows=40, keys=10_000).with_columns(pl.col("at").dt.truncate("5d"))
    parts = split(frame, by("time", share), SALES, seed=0)
    assert parts.train["at"].max() < parts.holdout["at"].min()


@pytest.mark.parametrize("mode", ["group", "random"])
def test_rows_stay_where_they_are_when_rows_are_added(mode: str) -> None:
    """A row that was trained on never becomes a row the next model is judged on."""
    frame = table()
    before = split(frame[:600], by(mode), SALES, seed=3)
    after = split(frame, by(mode), SALES, seed=3)
    assert set(before.holdout["id"]) <= set(after.holdout["id"])
    assert set(before.train["id"]) <= set(after.train["id"])


@pytest.mark.parametrize("contract", [SALES, BARE], ids=["by-key", "by-row"])
def test_order_does_not_matter_and_the_seed_does(contract: Contract) -> None:
    """The same seed gives the same rows from a shuffled table; another seed gives others."""
    frame = table()
    shuffled = frame.sample(fraction=1, shuffle=True, seed=5)
    first = split(frame, by("random"), contract, seed=3).holdout.sort(pl.all())
    assert split(shuffled, by("random"), contract, seed=3).holdout.sort(pl.all()).equals(first)
    assert not split(frame, by("random"), contract, seed=4).holdout.sort(pl.all()).equals(first)


def survey(rows: int, seed: int = 1) -> pl.DataFrame:
    """Rows that could hardly differ: a yes or no for each of four kinds."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 4, rows)
    return pl.DataFrame({"x": x.astype(float), "y": np.where(random.random(rows) < 0.2 + 0.15 * x, "yes", "no")})


def kinds(frame: pl.DataFrame) -> dict[tuple[float, str], int]:
    return {(x, y): n for x, y, n in frame.group_by("x", "y").len().iter_rows()}


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_could_hardly_differ_are_dealt_by_chance(seed: int) -> None:
    """Each kind of row is on both sides in like shares, whatever the order, and stays there when rows are added."""
    contract = Contract(columns=X, target=Target(name="y", classes=("no", "yes")))
    frame = survey(3_000)
    parts, every = split(frame, by("random"), contract, seed), kinds(frame)
    held = kinds(parts.holdout)
    for kind, count in every.items():
        assert held[kind] / count == pytest.approx(0.2, abs=5 * (0.2 * 0.8 / count) ** 0.5)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=5)
    assert kinds(split(shuffled, by("random"), contract, seed).holdout) == held
    before = kinds(split(frame[:2_000], by("random"), contract, seed).holdout)
    assert all(before[kind] <= held[kind] for kind in before)
    added = len(frame) - 2_000
    assert sum(held[kind] - before[kind] for kind in before) <= added


@pytest.mark.parametrize("seed", range(5))
def test_where_many_rows_are_alike_the_target_parts_none(seed: int) -> None:
    """Rows that ask the same stand on one side whatever is answered; else the answers held out are the other ones."""
    random = np.random.default_rng(seed)
    asked = random.random((1_000, 10)) < 0.35
    names = [f"q{place}" for place in range(10)]
    columns = {name: asked[:, place].astype(float) for place, name in enumerate(names)}
    frame = pl.DataFrame({**columns, "y": np.where(random.random(1_000) < 0.3 + 0.4 * asked[:, 0], "yes", "no")})
    assert 0.5 < frame.n_unique() / 1_000 < 0.9
    contract = Contract(
        columns={name: Column(type="float") for name in names}, target=Target(name="y", classes=("no", "yes"))
    )
    parts = split(frame, by("random"), contract, seed)
    assert 0.1 < len(parts.holdout) / 1_000 < 0.3
    assert not set(parts.train.select(names).rows()) & set(parts.holdout.select(names).rows())


def test_a_table_that_is_there_twice_has_no_row_on_both_sides() -> None:
    """Rows that differ, and were exported twice, stay together."""
    frame = table(rows=500)
    parts = split(pl.concat([frame, frame]), by("random"), BARE, seed=3)
    assert not set(parts.train["x"]) & set(parts.holdout["x"])


def test_groups_stay_together() -> None:
    """No district has rows on both sides, even though its homes differ."""
    parts = split(table(), by("group", group="district"), SALES, seed=3)
    assert not set(parts.train["district"]) & set(parts.holdout["district"])


def test_rare_classes_are_on_both_sides() -> None:
    """Two positives among a thousand rows: one to learn from, one to be judged on, for every seed."""
    for seed in range(20):
        parts = split(labelled(yes=2, no=1000), by("random"), CLASSES, seed)
        assert [(side["y"] == "yes").sum() for side in (parts.train, parts.holdout)] == [1, 1]


def test_classes_are_held_out_in_like_shares() -> None:
    """Each class is cut at the same hash: shares agree up to chance (five standard deviations here)."""
    parts = split(labelled(yes=2000, no=8000), by("random", 0.25), CLASSES, seed=3)
    counts = dict(parts.holdout["y"].value_counts().iter_rows())
    assert counts["yes"] / 2000 == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 2000) ** 0.5)
    assert counts["no"] / 8000 == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 8000) ** 0.5)


@pytest.mark.parametrize(
    ("frame", "policy", "contract", "said"),
    [
        pytest.param(table(1), by("random"), SALES, "side of the split is empty", id="one-row"),
        pytest.param(table(50), by("time", "900d"), SALES, "train side of the split is empty", id="all-is-recent"),
        pytest.param(
            table(50, keys=1), by("time", "20d"), SALES, r"train side .* empty; \d+ rows were dropped", id="one-key"
        ),
        pytest.param(table().clear(), by("time", "20d"), SALES, "empty table", id="no-rows"),
        pytest.param(
            table(50).with_columns(at=pl.lit(datetime(2025, 1, 1))), by("time", 0.2), SALES, "empty", id="one-moment"
        ),
        pytest.param(labelled(1, 500), by("random"), CLASSES, "only class .*expected no, yes", id="one-positive"),
        pytest.param(labelled(0, 500), by("random"), CLASSES, "only class no", id="one-class"),
    ],
)
def test_a_split_without_two_usable_sides_is_refused(
    frame: pl.DataFrame, policy: SplitPolicy, contract: Contract, said: str
) -> None:
    """An empty side, or one with a single class, is bad data with a sentence that names the side."""
    with pytest.raises(DataError, match=said):
        split(frame, policy, contract, seed=0)


@pytest.mark.parametrize(
    ("policy", "contract", "said"),
    [
        pytest.param(by("time", "20d"), BARE, "needs contract.event_time", id="no-time"),
        pytest.param(by("group"), BARE, "needs split.group or contract.key", id="no-group"),
        pytest.param(by("group", group="street"), SALES, "no column 'street'", id="unknown-group"),
    ],
)
def test_a_policy_the_table_cannot_follow_is_refused(policy: SplitPolicy, contract: Contract, said: str) -> None:
    """The message names the key of the project file that is missing or wrong."""
    with pytest.raises(ConfigError, match=said):
        split(table(), policy, contract, seed=0)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        pytest.param({"by": "random", "holdout": "60d"}, "only 'by: time'", id="days-at-random"),
        pytest.param({"by": "time", "holdout": "soon"}, "share between 0 and 1", id="no-length"),
        pytest.param({"by": "time", "holdout": 1.5}, "share between 0 and 1", id="more-than-all"),
        pytest.param({"by": "random", "holdout": 0.0}, "share between 0 and 1", id="nothing"),
        pytest.param({"by": "time", "holdout": "0 months"}, "share between 0 and 1", id="no-months"),
        pytest.param({"by": "random", "group": "district"}, "'group' is for", id="group-at-random"),
        pytest.param({"by": "chance"}, "'time', 'group' or 'random'", id="unknown-mode"),
    ],
)
def test_an_impossible_policy_is_refused_when_it_is_read(section: dict[str, Any], said: str) -> None:
    """The project file is refused before any data is."""
    with pytest.raises(ValidationError, match=said):
        SplitPolicy.model_validate(section)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("60d", "60d"),
        ("8 weeks", "56d"),
        ("2 months", "2 months"),
        ("1 month", "1 months"),
        ("0.25", 0.25),
        (0.25, 0.25),
    ],
)
def test_a_holdout_may_be_written_as_people_do(written: object, meant: object) -> None:
    """Every form has one normal form, which reads back as itself."""
    policy = SplitPolicy.model_validate({"by": "time", "holdout": written})
    assert policy.holdout == meant
    assert SplitPolicy.model_validate_json(policy.model_dump_json()) == policy


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(st.integers(0, 12), min_size=2, max_size=40),
    mode=st.sampled_from(["time", "group", "random"]),
    share=st.floats(0.1, 0.9),
    seed=st.integers(0, 5),
)
def test_any_split_is_sound(keys: list[int], mode: str, share: float, seed: int) -> None:
    """For any keys: either a refusal, or two tables without a common key, cut by the columns that decide alone."""
    frame = pl.DataFrame(
        {
            "id": keys,
            "at": [datetime(2025, 1, 1) + timedelta(days=i % 9) for i in range(len(keys))],
            "x": np.arange(len(keys), dtype=float),
            "y": np.arange(len(keys), dtype=float),
        }
    )
    try:
        parts: HoldoutSplit = split(frame, by(mode, share), SALES, seed)
    except DataError:
        return
    assert parts.train.height
    assert parts.holdout.height
    assert not set(parts.train["id"]) & set(parts.holdout["id"])
    assert not set(parts.train["x"]) & set(parts.holdout["x"])
    assert parts.train["x"].is_sorted()
    asked = columns(by(mode, share), SALES)
    chunks = [frame if asked is None else frame.select(asked)]
    sides = decide(lambda function: map(function, chunks), by(mode, share), SALES, seed).sides(chunks[0])
    assert frame.filter(pl.Series(sides.train)).equals(parts.train)
    assert frame.filter(pl.Series(sides.held)).equals(parts.holdout)
