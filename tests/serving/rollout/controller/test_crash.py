"""A controller may be killed at any boundary: another goes on, and the end is the same.

The boundaries are counted in an undisturbed run and then enumerated, each in a rollout of its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.rollout.controller.controller import Controller
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.replay import replay
from serving.rollout.state import RolloutState
from tests.serving.rollout.fake import Behaviour
from tests.serving.rollout.support import OPENERS, Opener, World, open_desk, open_sql_desk, request, run

SHORT: dict[str, Any] = {"steps": [10], "time": {"dwell": "1s", "bake": "2s", "drain": "3s"}}


class Killed(BaseException):
    """The process is gone; nothing catches this."""


class Trap:
    """Counts boundaries and kills at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.count = at, 0

    def __call__(self, *_: object) -> None:
        self.count += 1
        if self.count == self.at:
            raise Killed


class TrappedDesk:
    """A desk with a boundary before and after each named write."""

    def __init__(self, desk: Desk, trap: Trap, writes: frozenset[str]) -> None:
        self._desk, self._trap, self._writes = desk, trap, writes

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._desk, name)
        if name not in self._writes:
            return call

        def trapped(*values: Any) -> Any:
            self._trap()
            result = call(*values)
            self._trap()
            return result

        return trapped


def roll(
    directory: Path,
    at: int | None,
    writes: frozenset[str],
    calls: bool,
    prepare: Callable[[World], None],
    opener: Opener,
) -> Any:
    """One rollout killed at boundary *at*, finished by a second controller on a desk that was opened anew."""
    world = World(directory, rate=2000, seed=4, opener=opener)
    prepare(world)
    trap = Trap(at)
    desk: Any = TrappedDesk(world.desk, trap, writes)
    world.backend.fault = lambda call, _: trap() if calls and call in ("ensure", "apply", "adopt", "remove") else None
    first = Controller(world.backend, desk, "first")
    try:
        first.start(request(**SHORT), world.clock())
        run(first, world.clock)
    except Killed:
        world.backend.fault = lambda call, moment: None
        world.clock.sleep(31)
        world.reopen()
        second = Controller(world.backend, world.desk, "second")
        second.start(request(**SHORT), world.clock())
        run(second, world.clock)
    return world, trap


def promoted(_: World) -> None:
    return None


def harmed(world: World) -> None:
    world.backend.behave("housing-2", Behaviour(errors=1.0))


def check(world: World, phase: str, serving: str, adoptions: int) -> RolloutState:
    state = world.state
    effects = [name for name, _ in world.backend.effects]
    gone = "housing-1" if adoptions else "housing-2"
    assert state.phase.value == phase, f"{state.phase}: {state.outcome} {state.pause}"
    assert world.backend.serving() == {serving: 1000}
    assert effects.count("adopt") == adoptions
    assert world.backend.effects.count(("remove", gone)) == 1
    assert world.backend.readiness(gone).state == "absent"
    assert replay(world.desk.records(), world.desk.head()).identical
    known = {token: arms for token, arms in state.counts.items() if token.startswith(state.id)}
    for epoch in state.epochs[:-1]:  # the last one still grows after the end
        assert known[epoch.token] == world.backend.counters().epochs[epoch.token]
    return state


CASES = [
    pytest.param(promoted, "succeeded", "housing-2", 1, id="promote"),
    pytest.param(harmed, "rolled back", "housing-1", 0, id="rollback"),
]


def enumerate_kills(
    tmp_path: Path, writes: frozenset[str], calls: bool, opener: Opener, prepare: Callable[[World], None], *end: Any
) -> int:
    world, trap = roll(tmp_path / "undisturbed", None, writes, calls, prepare, opener)
    check(world, *end)
    world.close()
    for at in range(1, trap.count + 1):
        killed, reached = roll(tmp_path / str(at), at, writes, calls, prepare, opener)
        assert reached.count == at, "the boundary was not reached"
        check(killed, *end)
        killed.close()
    return int(trap.count)


@pytest.mark.timeout(900)  # some fifty whole rollouts
@pytest.mark.parametrize(
    "opener",
    [
        pytest.param(open_desk, id="file"),
        pytest.param(open_sql_desk, id="database", marks=pytest.mark.slow),  # each look is some twenty transactions
    ],
)
@pytest.mark.parametrize(("prepare", "phase", "serving", "adoptions"), CASES)
def test_killed_at_each_journal_boundary(
    tmp_path: Path, opener: Opener, prepare: Callable[[World], None], phase: str, serving: str, adoptions: int
) -> None:
    """Before and after every record of the journal: same end, one adoption, no evidence lost."""
    boundaries = enumerate_kills(tmp_path, frozenset({"append"}), False, opener, prepare, phase, serving, adoptions)
    assert boundaries >= 30


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(("prepare", "phase", "serving", "adoptions"), CASES)
def test_killed_at_each_write_and_each_call(
    tmp_path: Path, opener: Opener, prepare: Callable[[World], None], phase: str, serving: str, adoptions: int
) -> None:
    """Also around every save of the state and every call that changes the backend."""
    writes = frozenset({"append", "save", "acquire"})
    boundaries = enumerate_kills(tmp_path, writes, True, opener, prepare, phase, serving, adoptions)
    assert boundaries >= 60
