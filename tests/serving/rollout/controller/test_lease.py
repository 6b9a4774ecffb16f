"""One controller at a time: a lease with a token that grows, and writes that an old token cannot make."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ConflictError
from serving.rollout.controller.controller import Controller
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.persistence import Command, Grant, verify
from tests.serving.rollout.support import NOW, OPENERS, Opener, World, open_desk, request

SHORT: dict[str, Any] = {"steps": [10], "time": {"dwell": "1s", "bake": "2s", "drain": "3s"}}


@pytest.fixture(params=OPENERS)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    with request.param(tmp_path, "housing") as opened:
        yield opened


def test_a_lease_is_held_until_it_ends(desk: Desk) -> None:
    """Renewal keeps the token, another holder waits for the end and gets a larger one."""
    one = desk.acquire("one", NOW, 30)
    assert one == Grant("one", 1, NOW + 30)
    assert desk.acquire("two", NOW + 29, 30) is None
    assert desk.acquire("one", NOW + 29, 30) == Grant("one", 1, NOW + 59)
    assert desk.acquire("two", NOW + 60, 30) == Grant("two", 2, NOW + 90)
    assert desk.acquire("one", NOW + 61, 30) is None


def test_a_holder_that_slept_too_long_gets_a_new_token(desk: Desk) -> None:
    """What it did under the old token is not continued under it."""
    desk.acquire("one", NOW, 30)
    assert desk.acquire("one", NOW + 31, 30) == Grant("one", 2, NOW + 61)


def test_a_released_lease_is_free_at_once(desk: Desk) -> None:
    """Releasing an old grant does not take the lease from the new holder."""
    one = desk.acquire("one", NOW, 30)
    assert one is not None
    desk.release(one)
    assert desk.current() is None
    two = desk.acquire("two", NOW, 30)
    assert two == Grant("two", 2, NOW + 30)
    desk.release(one)
    assert desk.current() == two


def test_unlocking_voids_the_token(desk: Desk) -> None:
    """After ``unlock`` the former holder cannot write, though its lease has not ended."""
    one = desk.acquire("one", NOW, 30)
    assert one is not None
    desk.unlock()
    with pytest.raises(ConflictError, match="another controller took over"):
        desk.append("alert", "r", {}, NOW, one.token)


@pytest.mark.parametrize("opener", OPENERS)
def test_of_many_that_ask_at_once_one_gets_the_lease(tmp_path: Path, opener: Opener) -> None:
    """Four open the desk and ask in the same moment: one is told yes, and what all write at once is one chain."""

    def ask(name: str) -> Grant | None:
        start.wait()
        with opener(tmp_path, "housing") as desk:
            grant = desk.acquire(name, NOW, 30)
            for number in range(5):
                desk.ask(Command("pause", name, str(number)))
                with contextlib.suppress(ConflictError):
                    desk.append("alert", "r", {"by": name}, NOW, 1)
        return grant

    start = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        grants = [grant for grant in pool.map(ask, ["one", "two", "three", "four"]) if grant is not None]
    assert [grant.token for grant in grants] == [1]
    with opener(tmp_path, "housing") as desk:
        assert desk.current() == grants[0]
        assert len(desk.asked()) == 20
        assert verify(desk.records()) >= 5


# who, how many seconds later, and whether to write
STEPS = st.tuples(st.sampled_from(["one", "two", "three"]), st.floats(0, 40), st.booleans())


@pytest.mark.parametrize("opener", OPENERS)
@given(actions=st.lists(STEPS, max_size=30))
@settings(max_examples=30, deadline=None)
def test_only_the_present_holder_ever_writes(tmp_path_factory, opener: Opener, actions) -> None:
    """Random acquisitions and late writes: accepted writes have tokens that never fall, one holder to each."""
    with opener(tmp_path_factory.mktemp("lease"), "housing") as desk:
        now, grants = NOW, dict[str, Grant]()
        for holder, after, write in actions:
            now += after
            if write and holder in grants:
                try:
                    desk.append("alert", "r", {"by": holder}, now, grants[holder].token)
                except ConflictError:
                    current = desk.current()
                    assert current is None or current.token != grants[holder].token
            elif grant := desk.acquire(holder, now, 30):
                grants[holder] = grant
        records = desk.records()
        tokens = [record.token for record in records]
        assert tokens == sorted(tokens)
        assert len({(record.token, record.body["by"]) for record in records}) == len(set(tokens))


class Pausing:
    """A desk whose user may lose the processor for a while before any call, and another acts meanwhile."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.interrupt = lambda: None

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._desk, name)

        def interrupted(*values: Any) -> Any:
            if name in ("append", "save"):
                self.interrupt()
            return call(*values)

        return interrupted


def two_controllers(directory: Path, seed: int, opener: Opener = open_desk) -> World:
    """Two controllers that stop in the middle of ticks for up to a minute while the other goes on."""
    rng = np.random.default_rng(seed)
    world = World(directory, rate=2000, seed=seed, opener=opener)
    desks = [Pausing(world.desk), Pausing(world.desk)]
    both = [Controller(world.backend, cast(Desk, desk), name) for desk, name in zip(desks, ("one", "two"), strict=True)]
    nested = False

    def interrupt(other: int) -> None:
        nonlocal nested
        if nested or rng.random() > 0.1:
            return
        nested = True
        for _ in range(int(rng.integers(1, 4))):
            world.clock.sleep(float(rng.uniform(0, 40)))
            both[other].tick(world.clock())
        nested = False

    desks[0].interrupt, desks[1].interrupt = (lambda: interrupt(1)), (lambda: interrupt(0))
    world.start(request(**SHORT))
    world.controller.release()
    for _ in range(300):
        tick = both[int(rng.integers(2))].tick(world.clock())
        if tick.state is not None and tick.state.terminal:
            break
        world.clock.sleep(float(rng.uniform(0.5, 5)))
    return world


def check(world: World) -> None:
    records = world.desk.records()
    tokens = [record.token for record in records]
    assert tokens == sorted(tokens), "a write under an old token was accepted"
    assert world.state.terminal
    assert [name for name, _ in world.backend.effects].count("adopt") == (world.state.phase.value == "succeeded")
    assert len({record.rollout for record in records}) == 1
    world.close()


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("seed", range(6))
def test_two_controllers_make_one_rollout(tmp_path: Path, seed: int, opener: Opener) -> None:
    """Never two writers with a valid token, one live rollout, at most one adoption."""
    check(two_controllers(tmp_path, seed, opener))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_controllers_in_two_hundred_schedules(tmp_path: Path) -> None:
    """The same over 200 random schedules with lease expiry."""
    for seed in range(200):
        check(two_controllers(tmp_path / str(seed), seed))
