"""What every backend is told in: counts that add up, and splits that can be brought about."""

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import BackendRefusal
from serving.rollout.backend import ArmCounts, Split

NUMBERS = [field.name for field in fields(ArmCounts) if field.name != "bins"]
COUNTS = st.builds(
    ArmCounts,
    bins=st.dictionaries(st.sampled_from("abc"), st.integers(0, 50)),
    **{name: st.integers(0, 500) for name in NUMBERS},
)
NONE = ArmCounts()


def figures(counts: ArmCounts) -> dict[str, int]:
    """All numbers by name, those of the bins with them; a bin of 0 is no bin."""
    bins = {f"bin {name}": n for name, n in counts.bins.items() if n}
    return {name: getattr(counts, name) for name in NUMBERS} | bins


def at_least(counts: ArmCounts, other: ArmCounts) -> bool:
    mine, theirs = figures(counts), figures(other)
    return all(mine.get(name, 0) >= n for name, n in theirs.items())


@given(COUNTS, COUNTS, COUNTS)
@settings(deadline=None)
def test_sums_do_not_depend_on_the_order(a: ArmCounts, b: ArmCounts, c: ArmCounts) -> None:
    """Addition is associative and commutative, nothing counted changes nothing, and ``sum`` is the same addition."""
    assert (a + b) + c == a + (b + c) == sum([c, a, b], NONE)
    assert a + NONE == a
    assert figures(a + b)["requests"] == a.requests + b.requests


@given(COUNTS, COUNTS)
@settings(deadline=None)
def test_differences_are_what_came_since(a: ArmCounts, b: ArmCounts) -> None:
    """What was added comes out again; a source that started anew gives no negative count, and nothing is lost."""
    assert figures((a + b) - b) == figures(a)
    assert min(figures(a - b).values()) >= 0
    assert at_least((a - b) + b, a)


@given(COUNTS, COUNTS, COUNTS)
@settings(deadline=None)
def test_the_larger_of_each_count_only_grows(a: ArmCounts, b: ArmCounts, c: ArmCounts) -> None:
    """Merging is idempotent, commutative and associative, and never below what was known."""
    assert a | a == a
    assert a | b == b | a
    assert (a | b) | c == a | (b | c)
    assert at_least(a | b, a)
    assert figures((a | b) - a) == figures(b - a)


@pytest.mark.parametrize(
    ("split", "told"),
    [
        pytest.param({"weights": {"housing-1": 999}}, "sum to 1000", id="a-sum-below"),
        pytest.param({"weights": {}}, "sum to 1000", id="no-arms"),
        pytest.param({"weights": {"housing-1": 1001, "housing-2": -1}}, "sum to 1000", id="a-negative-weight"),
        pytest.param({"weights": {"h": 1000}, "sticky_header": "x user"}, "sticky header", id="no-header's-name"),
        pytest.param({"weights": {"h": 1000}, "sticky_header": "X-Epoch"}, "sticky header", id="a-header-of-ours"),
    ],
)
def test_a_split_that_nobody_could_bring_about_is_none(split: dict[str, object], told: str) -> None:
    """Whoever makes it is told the number or the name that is wrong, before any backend is asked."""
    with pytest.raises(BackendRefusal, match=told):
        Split(**split)  # type: ignore[arg-type]  # of all kinds


def test_a_split_without_a_revision_names_it_nowhere() -> None:
    """An arm without weight leaves weights, mirror and header arms; one with weight cannot leave."""
    split = Split({"a": 1000, "b": 0}, mirror="b", sticky_header="x-user", header_arms=("a", "b"))
    assert split.without("b") == Split({"a": 1000}, sticky_header="x-user", header_arms=("a",))
    assert split.reached == {"a", "b"}
    assert split.without("b").reached == {"a"}
    with pytest.raises(BackendRefusal, match="sum to 1000"):
        split.without("a")
