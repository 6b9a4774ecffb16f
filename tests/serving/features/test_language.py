"""Expressions mean what Python and numpy say they mean, in every row."""

import math
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest

from serving.contract import Column, Matrix
from serving.features.compile import Compiled, compile_columns
from serving.features.zones import offsets
from tests.serving.features.reference import CONTRACT, FUNCTIONS, Writer, evaluate, rows, values


def compiled(**expressions: str) -> Compiled:
    return compile_columns(expressions, CONTRACT.slots)


def shown(made: Compiled, matrix: Matrix) -> dict[str, list[Any]]:
    """By derived column its values: floats and None, words, bools."""
    wide = made.program.run(matrix)[:, matrix.shape[1] :]
    found: dict[str, list[Any]] = {}
    for (name, operand), cells in zip(made.columns.items(), wide.T.tolist(), strict=True):
        if operand.kind == "category":
            words = [*operand.values, "?"]
            found[name] = [None if math.isnan(cell) else words[int(cell)] for cell in cells]
        else:
            kept = [None if math.isnan(cell) else cell for cell in cells]
            found[name] = [bool(cell) for cell in kept] if operand.kind == "truth" else kept
    return found


def assert_like_python(texts: list[str], matrix: Matrix) -> None:
    found = shown(compiled(**{f"x{place}": text for place, text in enumerate(texts)}), matrix)
    said = [values(row) for row in matrix]
    for text, cells in zip(texts, found.values(), strict=True):
        expected = [evaluate(text, row) for row in said]
        wrong = [place for place, (cell, want) in enumerate(zip(cells, expected, strict=True)) if cell != want]
        assert not wrong, f"{text} is {cells[wrong[0]]!r}, by Python {expected[wrong[0]]!r}, for {said[wrong[0]]}"


def test_generated_expressions_are_what_python_says() -> None:
    """Ten at once in one program, which shares what they have in common."""
    for seed in range(40):
        write = Writer(seed)
        assert_like_python([write.any() for _ in range(10)], rows(seed, 12))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_deep_expressions_are_what_python_says(seed: int) -> None:
    write = Writer(seed)
    for turn in range(40):
        texts = [text for text in (write.any(6) for _ in range(40)) if len(text) < 1000]
        assert_like_python(texts, rows(100 * seed + turn, 40))


@pytest.mark.parametrize("name", ["log", "log1p", "exp", "sin", "cos"])
def test_functions_are_within_two_units_in_the_last_place_of_numpy(name: str) -> None:
    draw = np.random.default_rng(5)
    x = np.concatenate([draw.normal(0, 3, 3000), draw.uniform(-700, 700, 3000), 10.0 ** draw.uniform(-9, 6, 3000)])
    matrix = np.resize(rows(1, 1), (len(x), len(CONTRACT.slots)))
    matrix[:, 0] = x
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[name](x)
    found = compiled(y=f"{name}(area)").program.run(np.ascontiguousarray(matrix))[:, -1]
    good = np.isfinite(expected)
    assert np.isnan(found[~good]).all()
    assert (np.abs(found[good] - expected[good]) <= 2 * np.spacing(np.abs(expected[good]))).all()


@pytest.mark.parametrize("power", ["2", "3", "0.5", "-1", "rooms", "1.7"])
def test_powers_are_numpys(power: str) -> None:
    matrix = rows(3, 500)
    found = compiled(y=f"area ** {power}").program.run(matrix)[:, -1]
    with np.errstate(all="ignore"):
        expected = matrix[:, 0] ** (matrix[:, 2] if power == "rooms" else float(power))
    expected[np.isinf(expected)] = np.nan
    np.testing.assert_allclose(found, expected, rtol=4e-16, equal_nan=True)


def test_distance_is_the_great_circle() -> None:
    """A quarter of the way round the equator, Berlin to Munich, and what the formula says of any two places."""
    matrix = rows(4, 300)
    made = shown(
        compiled(
            q="distance(0, 0, 0, 90)", m="distance(52.52, 13.405, 48.1374, 11.5755)", d="distance(lat, lon, 10, 20)"
        ),
        matrix,
    )
    assert made["q"][0] == pytest.approx(6371.0088 * math.pi / 2)
    assert made["m"][0] == pytest.approx(504.2, abs=0.2)
    assert made["d"] == pytest.approx([evaluate("distance(lat, lon, 10, 20)", values(row)) for row in matrix])


def assert_local(zone: str, draw: Any, first: int, last: int) -> None:
    """Around each change of *zone*, and at random moments from *first* to *last*."""
    changes = [int(one) for one in offsets(zone)[: len(offsets(zone)) // 2]]
    moments = [change + shift for change in changes for shift in (-1, 0, 1)] + draw.integers(first, last, 2000).tolist()
    parts = {name: f"{name}(t)" for name in ("year", "month", "day", "hour", "minute")}
    made = compile_columns(parts, {"t": Column(type="datetime", zone=zone)})
    found = made.program.run(np.array(moments, dtype=np.float64)[:, None])[:, 1:]
    clocks = [datetime.fromtimestamp(moment, ZoneInfo(zone)) for moment in moments]
    expected = [[one.year, one.month, one.day, one.hour, one.minute] for one in clocks]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Kathmandu"])
def test_clocks_are_those_of_the_database_at_any_time(zone: str) -> None:
    """Around each change, at random moments of the years 10 to 9900, and after the last change that is written down."""
    assert_local(zone, np.random.default_rng(1), -61_000_000_000, 250_000_000_000)


@pytest.mark.slow
def test_clocks_of_all_zones_are_those_of_the_database() -> None:
    draw = np.random.default_rng(1)
    for zone in sorted(available_timezones()):
        assert_local(zone, draw, -5_000_000_000, 5_000_000_000)


def test_a_missing_boolean_is_not_true_and_an_unknown_category_is_none_of_the_words() -> None:
    matrix = rows(0, 3)
    matrix[:, 5] = [np.nan, 1, 0]
    matrix[:, 6] = [np.nan, 3, 0]
    truths = {"n": "not garden", "w": "where(garden, 1, 2)", "s": "garden + 1"}
    words = {"f": 'kind == "flat"', "o": 'kind != "flat"', "c": "cross(kind, garden)"}
    found = shown(compiled(**truths, **words), matrix)
    assert found == {
        "n": [True, False, True],
        "w": [2, 1, 2],
        "s": [None, 2, 1],
        "f": [False, False, True],
        "o": [True, True, False],
        "c": [None, "?", "flat | false"],
    }


def test_a_division_by_zero_is_infinite_inside_and_missing_as_a_column() -> None:
    """As numpy has it while it is computed with; no model is given an infinity."""
    found = shown(compiled(ratio="1 / 0", beyond="1 / 0 > 5", none="0 / 0", back="1 / (1 / 0)"), rows(0, 1))
    assert found == {"ratio": [None], "beyond": [True], "none": [None], "back": [0]}


def test_columns_may_stand_before_those_they_are_made_of() -> None:
    made = compiled(twice="2 * once", once="rooms + 1", around="cyclic(once, 12)", up='col("around.sin") + around.cos')
    found = shown(made, np.full((1, len(CONTRACT.slots)), 2.0))
    assert list(found) == ["twice", "once", "around.sin", "around.cos", "up"]
    assert (found["twice"], found["once"]) == ([6], [3])
    assert found["up"] == [pytest.approx(1)]
