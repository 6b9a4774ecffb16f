"""The ledger under several processes at once, and under processes that are killed in the middle of a change."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from serving.ledger.ledger import Ledger, open_ledger
from tests.serving.ledger.facts import facts

PRELUDE = """
import json, os, signal, sys
from serving.errors import ConflictError
from serving.ledger.ledger import open_ledger
from tests.serving.ledger.facts import facts
path, me = sys.argv[1], sys.argv[2]
def start():
    print("ready", flush=True)
    sys.stdin.readline()
"""


def together(script: str, path: Path, names: Sequence[str]) -> list[Any]:
    """Run *script* in one process per name; ``start()`` in it waits until all are there. The JSON each prints last."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=120) for worker in workers]
    assert [error for _, error in answers] == [""] * len(workers)
    return [json.loads(output.splitlines()[-1]) for output, _ in answers]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def filled(path: Path, versions: int) -> Ledger:
    ledger = open_ledger(str(path))
    for number in range(1, versions + 1):
        registered = ledger.register("housing", facts(f"{number:064}", run_id=f"run {number}"), "pipeline")
        ledger.approve("housing", registered.version, "policy", "auto", policy="auto")
    return ledger


def test_of_two_promoters_one_wins(path: Path) -> None:
    """Both decided on the same revision: one promotes, the other is told the winner's name and version."""
    ledger = filled(path, 3)
    ledger.promote("housing", 1, "ann", "first")
    script = """
ledger = open_ledger(path)
seen = ledger.slot("housing").revision
start()
try:
    ledger.promote("housing", {"bob": 2, "eve": 3}[me], me, "my turn", expected_revision=seen)
    print(json.dumps("won"))
except ConflictError as error:
    print(json.dumps(str(error)))
"""
    answers = together(script, path, ["bob", "eve"])
    assert answers.count("won") == 1
    winner, number = ("bob", 2) if answers[0] == "won" else ("eve", 3)
    told = next(answer for answer in answers if answer != "won")
    assert f"{winner} was first at " in told
    assert f"(promoted version {number}: my turn)" in told
    assert ledger.slot("housing").version == number
    assert [version.version for version in ledger.versions("housing") if version.stage == "production"] == [number]
    assert ledger.verify().intact


def test_no_change_is_lost_or_doubled(path: Path) -> None:
    """Four processes promote as fast as they can: the slot's revision is the number of its events and of successes."""
    ledger = filled(path, 5)
    script = """
ledger = open_ledger(path)
start()
won = 0
for attempt in range(15):
    seen = ledger.slot("housing")
    try:
        wanted = ((seen.version or 0) + int(me)) % 5 + 1
        ledger.promote("housing", wanted, me, str(attempt), expected_revision=seen.revision)
        won += 1
    except ConflictError:
        pass
print(json.dumps(won))
"""
    won = together(script, path, ["0", "1", "2", "3"])
    events = [event for event in ledger.history() if event.slot == "production"]
    assert ledger.slot("housing").revision == len(events) == sum(won)
    assert [event.revision for event in events] == list(range(1, len(events) + 1))
    assert ledger.slot("housing").version == events[-1].version
    assert ledger.verify().intact


def test_fresh_ledger_opened_and_filled_by_four(path: Path) -> None:
    """Four processes make the same new ledger and register the same bundles: each bundle has one version for all."""
    script = """
start()
ledger = open_ledger(path)
numbers = [ledger.register("housing", facts(d * 64, run_id=me), me).version for d in "abcde"]
print(json.dumps(numbers))
"""
    answers = together(script, path, ["1", "2", "3", "4"])
    assert all(answer == answers[0] for answer in answers)
    ledger = open_ledger(str(path))
    assert sorted(answers[0]) == [version.version for version in ledger.versions("housing")] == [1, 2, 3, 4, 5]
    assert sum(event.kind == "registered" for event in ledger.history()) == 5
    assert ledger.verify().intact


def test_killed_at_every_statement(path: Path) -> None:
    """A promotion killed after any of its statements has happened wholly or not at all, and can be repeated."""
    ledger = filled(path, 2)
    ledger.promote("housing", 1, "ann", "first")
    ledger.canary("housing", 2, 5, "ann", "step")
    before = ledger.history()
    script = """
import sqlalchemy as sa
start()
def child(ledger, number):
    count = 0
    def after(*_):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
    sa.event.listen(ledger._database.engine, "after_cursor_execute", after)
    ledger.promote("housing", 2, "bob", "better", expected_revision=1)
    os._exit(0)
deaths = 0
for number in range(1, 100):
    process = os.fork()
    if process == 0:
        child(open_ledger(path), number)
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0:
        break
    deaths += 1
    ledger = open_ledger(path)
    state = ledger.slot("housing").version, ledger.slot("housing", "canary").version, len(ledger.history())
    assert state == (1, 2, int(me)), state
    assert ledger.verify().intact
print(json.dumps(deaths))
"""
    (deaths,) = together(script, path, [str(len(before))])
    assert deaths >= 15
    assert ledger.slot("housing").version == 2
    assert ledger.verify().intact
    assert ledger.promote("housing", 2, "bob", "better", expected_revision=1).revision == 2
