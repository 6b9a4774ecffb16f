"""What stays: everything that a root reaches and nothing else, in any graph."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cleaning.reach import UNREACHED, Keep, Thing, plan

ALL = Keep(1, math.inf)
names = st.sampled_from("abcdefgh")
things = st.lists(
    st.builds(
        Thing,
        kind=st.sampled_from(sorted(UNREACHED)),
        name=names,
        size=st.integers(0, 9),
        needs=st.frozensets(st.sampled_from("abcdefghxy"), max_size=3),
        held=st.sampled_from(["", "", "", "in use"]),
        evidence=st.sampled_from(["", "", "the record of a"]),
        used=st.floats(0, 10),
        rank=st.none() | st.integers(0, 4),
    ),
    unique_by=lambda thing: thing.name,
)


def wanted(thing: Thing, keep: Keep) -> bool:
    return bool(thing.held) or (thing.rank is not None and (thing.rank < keep.runs or thing.used >= keep.since))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(things, st.integers(1, 4), st.sampled_from([math.inf, 5.0]))
def test_nothing_reachable_goes_and_all_the_rest_does(things: list[Thing], runs: int, since: float) -> None:
    """Whatever is used, asked for or needed stays, cycles and all; evidence stays alone; an entry by what it needs."""
    keep, known = Keep(runs, since), {thing.name: thing for thing in things}
    reached = {name for name, thing in known.items() if wanted(thing, keep)}
    for _ in known:
        reached |= {need for name in reached for need in known[name].needs if need in known}
    alone = {name for name, thing in known.items() if thing.evidence}
    made = plan(things, keep)
    entries = {thing.name for thing in things if thing.kind == "cache entry"}
    assert reached | alone <= made.stays.keys() <= reached | alone | entries
    for name in made.stays.keys() - reached - alone:
        assert known[name].needs <= made.stays.keys()
    for thing in made.goes:
        assert thing.kind != "cache entry" or not thing.needs or thing.needs - made.stays.keys()
    assert {thing.name for thing in made.goes} | made.stays.keys() == known.keys()
    assert made.size == sum(thing.size for thing in made.goes)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(things, st.integers(1, 4))
def test_keeping_more_removes_less(things: list[Thing], runs: int) -> None:
    """One more run or version that is kept never costs another its place."""
    assert plan(things, Keep(runs, math.inf)).stays.keys() <= plan(things, Keep(runs + 1, math.inf)).stays.keys()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"rank": 0}, "among the newest 1", id="newest"),
        pytest.param({"rank": 5, "used": math.inf}, "of use lately", id="used-lately"),
        pytest.param({"held": "in production"}, "in production", id="held"),
        pytest.param({"evidence": "the record of a-1"}, "the record of a-1", id="evidence"),
    ],
)
def test_the_reason_is_told(change: dict[str, object], why: str) -> None:
    """Of what stays, and of what stays because of it."""
    run = replace(Thing("run", "a", needs=frozenset("b")), **change)  # type: ignore[arg-type]  # one field each
    made = plan([run, Thing("step", "b")], ALL)
    assert made.stays == {"a": why} | ({} if "evidence" in change else {"b": why})
