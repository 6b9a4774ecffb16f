"""Threads: they keep order, and do not run away with the memory."""

from collections.abc import Iterator

import pytest

from components.steps.parallel import AHEAD, in_order


def test_threads_run_ahead_by_a_few_items_only() -> None:
    """Memory is bounded: at most workers + AHEAD items are read before one is written, and order is kept."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            taken.append(i)
            yield i

    for done, result in enumerate(in_order(lambda i: i * i, items(), workers=3)):
        assert result == done * done
        assert len(taken) <= done + 3 + AHEAD
    assert (done, len(taken)) == (49, 50)


def test_what_one_item_raises_ends_the_work() -> None:
    """The error comes out at its item's turn, after the results of those before it."""
    seen: list[int] = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(in_order(lambda i: 6 // i, [1, 2, 0, 3]))
    assert seen == [6, 3]
