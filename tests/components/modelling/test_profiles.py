"""Profiles: bins that fit training rows, and counts that add up."""

import numpy as np
import pytest

from components.modelling.profiles import count, edges, profile
from serving.contract import Contract, Matrix
from serving.errors import DataError
from serving.profile import CategoryHistogram, NumericHistogram, Profile

RULES = Contract.model_validate(
    {
        "columns": {
            "zone": {"type": "category", "values": ["n", "s"], "nullable": True},
            "area": {"type": "float", "nullable": True},
            "rooms": {"type": "int"},
            "new": {"type": "bool"},
        },
        "target": {"name": "price", "unit": "EUR"},
    }
)

NONE = np.empty(0)  # predictions


def rows(n: int = 1000, seed: int = 0) -> Matrix:
    random = np.random.default_rng(seed)
    matrix = np.column_stack(
        [random.integers(0, 3, n), random.lognormal(4, 0.5, n), random.integers(1, 9, n), random.integers(0, 2, n)]
    ).astype(np.float64)
    matrix[random.random(n) < 0.1, 0] = np.nan
    matrix[random.random(n) < 0.1, 1] = np.nan
    return matrix


def reference(n: int = 1000) -> Profile:
    random = np.random.default_rng(5)
    truth = random.normal(100, 10, 200)
    return profile(rows(n), RULES, truth + random.normal(0, 1, 200), truth, {"rmse": 1.0, "r2": float("nan")})


def test_a_profile_counts_every_row_of_every_column() -> None:
    """Counts, unknown and missing add up to the rows; undefined metrics are left out."""
    seen = reference()
    for histogram in seen.inputs.values():
        unknown = histogram.unknown if isinstance(histogram, CategoryHistogram) else 0
        assert sum(histogram.counts) + histogram.missing + unknown == 1000
    assert sum(seen.prediction.counts) == 200
    assert seen.error is not None
    assert sum(seen.error.counts) == 200
    assert seen.metrics == {"rmse": 1.0}


def test_numbers_fall_in_about_twenty_equal_bins() -> None:
    """Quantile edges give each bin about a twentieth of the training rows."""
    histogram = reference().inputs["area"]
    assert len(histogram.counts) == 20
    assert max(histogram.counts) - min(histogram.counts) <= 2


@pytest.mark.parametrize(
    ("values", "whole", "expected"),
    [
        pytest.param([1, 2, 4], True, (1.5, 3.0), id="few-whole-numbers-are-cut-halfway"),
        pytest.param([7, 7], True, (6.5, 7.5), id="one-whole-number-has-its-own-bin"),
        pytest.param([7, 7], False, (float(np.nextafter(7, 0)), 7.0), id="one-number-has-its-own-bin"),
        pytest.param([], False, (), id="nothing-known"),
        pytest.param([0.0] * 99 + [5.0], False, (0.0,), id="a-heavy-value-gives-few-edges"),
    ],
)
def test_edges(values: list[float], whole: bool, expected: tuple[float, ...]) -> None:
    """Edges are distinct and cut where rows are."""
    assert edges(np.array(values, dtype=np.float64), whole=whole) == expected


def test_many_whole_numbers_are_cut_between_them() -> None:
    """No edge of an integer column lies on a value."""
    cuts = edges(np.arange(1000.0), whole=True)
    assert len(cuts) == 19
    assert {cut % 1 for cut in cuts} == {0.5}


def test_counting_the_training_rows_gives_the_profile_again() -> None:
    """The reference is the count of its own rows."""
    seen = reference()
    assert count(rows(), seen, RULES, NONE).inputs == seen.inputs


def test_columns_are_found_by_the_contracts_order() -> None:
    """A profile whose JSON was sorted by name still counts each column into its own bins."""
    seen = reference()
    moved = seen.model_copy(update={"inputs": dict(sorted(seen.inputs.items()))})
    assert count(rows(), moved, RULES, NONE).inputs == seen.inputs


def test_a_profile_survives_json() -> None:
    """Bins read back count as they did."""
    seen = reference()
    assert Profile.model_validate_json(seen.model_dump_json()) == seen


def test_the_probability_of_the_last_class_is_profiled() -> None:
    """Classification has no error histogram."""
    rules = Contract.model_validate(
        {"columns": {"a": {"type": "float"}}, "target": {"name": "y", "classes": ["n", "p"]}}
    )
    chance = np.linspace(0, 1, 100)
    seen = profile(np.ones((10, 1)), rules, np.column_stack([1 - chance, chance]), np.zeros(100))
    assert seen.error is None
    assert seen.prediction.edges[0] == pytest.approx(chance[4])


def test_values_beyond_every_bin_are_counted_in_the_outer_ones() -> None:
    """Infinity and huge numbers are drift, not a crash."""
    matrix = rows(10)
    matrix[:, 1] = [np.inf, -np.inf, 1e300, -1e300, *[np.nan] * 6]
    histogram = count(matrix, reference(), RULES, NONE).inputs["area"]
    assert isinstance(histogram, NumericHistogram)
    assert (histogram.counts[0], histogram.counts[-1], histogram.missing) == (2, 2, 6)


def test_a_value_on_an_edge_belongs_to_the_bin_below() -> None:
    """The rule that every reader of the bins relies on."""
    seen = reference()
    histogram = seen.inputs["area"]
    assert isinstance(histogram, NumericHistogram)
    matrix = rows(1)
    matrix[0, 1] = histogram.edges[3]
    counted = count(matrix, seen, RULES, NONE).inputs["area"]
    assert counted.counts.index(1) == 3


def test_a_profile_of_other_columns_is_refused() -> None:
    """Counting into it would give numbers that mean nothing."""
    with pytest.raises(DataError):
        count(rows()[:, :2], reference(), RULES, NONE)
