"""What a supervisor and a controller read on and on: documents, logs, counts, and when a look is called for."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.files import write_text
from serving.local import counting, processes
from serving.local.backend import Harm
from serving.local.control import CALM_S, Attention
from serving.local.paths import ServicePaths, service_paths
from serving.local.reading import COARSE_NS, QUIET_NS, Document, KeptJson, Parts, Tail
from serving.local.state import Running
from serving.rollout.state import Phase

LINE = b'{"r":"split|e1","e":null,"c":"a","s":200,"f":"-","d":3}\n'


def aged(path: Path, nanoseconds: int) -> None:
    """Make *path* look as if it had been written so long ago."""
    then = path.stat().st_mtime_ns - nanoseconds
    os.utime(path, ns=(then, then))


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_document_is_read_again_when_it_changed_and_only_then(tmp_path: Path) -> None:
    """Its absence is a content too, and one that changed a moment ago is not trusted to stay as it is."""
    path = tmp_path / "one.json"
    reads: list[str] = []

    def read() -> str:
        reads.append(path.read_text() if path.exists() else "nothing")
        return reads[-1]

    document = Document(path, read)
    assert [document.get(), document.get(), len(reads)] == ["nothing", "nothing", 1]
    write_text(path, "new")
    assert [document.get(), document.get(), len(reads)] == ["new", "new", 3]
    aged(path, 2 * COARSE_NS)
    assert [document.get(), document.get(), len(reads)] == ["new", "new", 4]
    write_text(path, "two")
    assert document.get() == "two"


def test_a_kept_file_tells_what_others_did_to_it(tmp_path: Path) -> None:
    """It holds a value or another, one that is no JSON, or nothing."""
    path = tmp_path / "kept.json"
    kept = KeptJson(path)
    held = []
    for text in (None, '{"a": 1}', '{"a": 2}', "{"):
        if text is not None:
            write_text(path, text)
            aged(path, 2 * COARSE_NS)
        held.append(kept.holds({"a": 1}))
    assert held == [False, True, False, False]


class Looking(Tail):
    """A tail that says which files it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def read(self, path: Path) -> list[bytes]:
        self.asked.append(path.name)
        return super().read(path)


def test_old_parts_of_a_log_are_left_alone_and_no_line_is_missed(tmp_path: Path) -> None:
    """All lines of the parts that were there, of those that grow and of those that come."""
    tail = Looking()
    parts = Parts(tmp_path, tail)
    assert list(parts.read()) == []
    for name in ("1-old", "2-now"):
        (tmp_path / f"{name}.jsonl").write_bytes(f"{name}\n".encode())
    aged(tmp_path / "1-old.jsonl", 2 * QUIET_NS)
    assert list(parts.read()) == [b"1-old", b"2-now"]
    (tmp_path / "3-new.jsonl").write_bytes(b"3-new\n")
    with (tmp_path / "2-now.jsonl").open("ab") as file:
        file.write(b"more\n")
    tail.asked.clear()
    assert list(parts.read()) == [b"more", b"3-new"]
    assert tail.asked == ["2-now.jsonl", "3-new.jsonl"]


@settings(max_examples=30, deadline=None)
@example(["read", "line", "rotate", "line", "rotate"])
@given(st.lists(st.sampled_from(["line", "read", "other", "rotate", "restart"]), max_size=25))
def test_counts_are_the_same_whoever_reads_rotates_or_starts_anew(
    tmp_path_factory: pytest.TempPathFactory, events: list[str]
) -> None:
    """A reader that stores nothing, beside others that store and put the log aside, counts each line once."""
    where = service_paths(tmp_path_factory.mktemp("counts"))
    where.prepare()
    reader, written = counting.CountsReader(where, store_every_s=1e9), 0
    for event in [*events, "line", "read"]:
        if event == "line":
            with where.access_log.open("ab") as file:
                file.write(LINE)
            written += 1
        elif event == "other":
            assert requests(counting.read_counts(where)) == written
        elif event == "rotate":
            counting.rotate(where, lambda: None, above=0)
        elif event == "restart":
            reader = counting.CountsReader(where, store_every_s=1e9)
        else:
            assert requests(reader.read()) == written


def requests(counts: counting.Counts) -> int:
    return sum(tally.requests for arms in counts.epochs.values() for tally in arms.values())


def test_a_reader_stores_now_and_then(tmp_path: Path) -> None:
    """What it knows beyond that can be read again; nothing new is the very same object."""
    where: ServicePaths = service_paths(tmp_path)
    where.prepare()
    where.access_log.write_bytes(LINE)
    seldom = counting.CountsReader(where, store_every_s=1e9)
    first = seldom.read()
    assert seldom.read() is first
    assert not where.counts.exists()
    counting.CountsReader(where, store_every_s=0.0).read()
    assert requests(counting.Counts.model_validate_json(where.counts.read_bytes())) == 1


def test_the_end_of_an_adopted_process_is_noticed() -> None:
    """Also of one that another process started and that nobody has reaped yet."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        found = processes.found_again(Running(command=tuple(command), pid=child.pid, started=_started(child.pid)))
        assert found is not None
        adopted = processes.Children()
        assert adopted.ended(found) == (False, None)
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert adopted.ended(found) == (True, None)
    assert adopted.ended(found) == (True, None)


def _started(pid: int) -> float:
    import psutil  # type: ignore[import-untyped]  # ships no annotations

    return float(psutil.Process(pid).create_time())


def test_answers_that_speak_against_an_arm_are_noticed_as_they_come(tmp_path: Path) -> None:
    """Failed, refused and slow ones of a split and of its copies, each once; what was there before is no news."""
    where = service_paths(tmp_path)
    where.prepare()
    changes = ((b"200", b"503"), (b"200", b"422"), (b":3}", b":90}"))
    failed, refused, slow = (LINE.replace(*change) for change in changes)
    elsewhere = failed.replace(b"split|e1", b"meta")
    append(where.access_log, failed + refused)
    harm = Harm(where)
    assert harm.read(50.0) == 0
    append(where.access_log, LINE + failed + elsewhere + slow[:20])
    assert harm.read(50.0) == 1
    append(where.access_log, slow[20:] + refused + slow)
    assert [harm.read(50.0), harm.read(50.0)] == [4, 4]
    append(where.access_log, slow)
    assert harm.read(None) == 4
    where.access_log.replace(where.envoy / "access-000001.log")
    append(where.access_log, failed)
    assert harm.read(50.0) == 5


class Place:
    """A backend and a control that say what a test wants, and count the looks."""

    def __init__(self) -> None:
        self.looks, self.harm, self.word = 0, 0, "ready"
        self.done = live()

    def told(self) -> object:
        return self.word

    def harmed(self) -> int:
        return self.harm

    def tick(self, now: float) -> Any:
        self.looks += 1
        return self.done


def live(phase: Phase = Phase.STEP, verdict: str = "hold", *, settled: bool = True, trouble: str = "") -> Any:
    state, decision = SimpleNamespace(phase=phase, settled=settled), SimpleNamespace(verdict=verdict)
    tick = SimpleNamespace(state=state, decision=decision, trouble=trouble, held_by="me")
    return SimpleNamespace(tick=tick, following=None)


def by_slots(followed: bool) -> Any:
    tick = SimpleNamespace(state=None, decision=None, trouble="", held_by="")
    return SimpleNamespace(tick=tick, following=SimpleNamespace(followed=followed))


@pytest.fixture
def place(tmp_path: Path) -> tuple[Place, Attention, Path]:
    made, asked = Place(), tmp_path / "asked"
    return made, Attention(made, made, (asked,)), asked  # type: ignore[arg-type]  # as much of both as it needs


@pytest.mark.parametrize(
    ("done", "looks"),
    [
        pytest.param(live(), 1, id="a-step-that-waits-for-evidence"),
        pytest.param(live(Phase.PENDING, settled=False), 1, id="a-start-that-waits-for-its-window"),
        pytest.param(by_slots(followed=True), 1, id="traffic-that-follows"),
        pytest.param(live(verdict="move"), 3, id="a-decision"),
        pytest.param(live(settled=False), 3, id="a-split-on-its-way"),
        pytest.param(live(Phase.DRAIN), 3, id="a-candidate-that-drains"),
        pytest.param(live(trouble="no answer"), 3, id="a-call-that-failed"),
        pytest.param(by_slots(followed=False), 3, id="traffic-that-does-not-follow"),
    ],
)
def test_what_goes_on_by_itself_is_looked_at_each_time(
    place: tuple[Place, Attention, Path], done: Any, looks: int
) -> None:
    """And what only waits once a second."""
    made, attention, _ = place
    made.done = done
    for turn in range(3):
        attention.turn(100.0 + 0.2 * turn)
    assert made.looks == looks
    attention.turn(100.5 + CALM_S)
    assert made.looks == looks + 1


@pytest.mark.parametrize("sign", ["a failed answer", "word from the supervisor", "an order"])
def test_a_sign_is_followed_by_a_look_at_once(place: tuple[Place, Attention, Path], sign: str) -> None:
    """By one, since that look has seen what there is."""
    made, attention, asked = place
    attention.turn(100.0)
    attention.turn(100.2)
    assert made.looks == 1
    if sign == "a failed answer":
        made.harm += 1
    elif sign == "an order":
        asked.write_text("abort")
    else:
        made.word = "failed"
    attention.turn(100.4)
    attention.turn(100.6)
    assert made.looks == 2


def test_a_look_that_failed_is_repeated(place: tuple[Place, Attention, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next turn, also where nothing but the time had called for it."""
    made, attention, _ = place
    attention.turn(100.0)
    monkeypatch.setattr(made, "done", None)
    with pytest.raises(AttributeError):
        attention.turn(100.0 + CALM_S)
    monkeypatch.setattr(made, "done", live())
    attention.turn(100.2 + CALM_S)
    attention.turn(100.4 + CALM_S)
    assert made.looks == 3
