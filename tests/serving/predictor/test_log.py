"""The prediction log: whole lines that a reader can follow, and requests that never wait for it."""

import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from serving.predictor.log import AnsweredRequest, Lines, Parts, PredictionLog
from serving.predictor.rows.validate import Flag
from serving.wire import unit
from tests.serving.predictor.support import HOUSE, ROW, TUMOUR


def record(rows: int = 1, request_id: str = "a", flags: tuple[Flag, ...] = ()) -> AnsweredRequest:
    matrix = HOUSE.encode({name: [value] * rows for name, value in ROW.items()})
    return AnsweredRequest(request_id, 1_700_000_000.5, matrix, [1.5] * rows, None, flags, 0.0012)


def lines(without: tuple[str, ...] = ()) -> Lines:
    return Lines(HOUSE, "housing", "2", without)


def test_a_line_names_the_split_and_the_hash_of_its_key() -> None:
    """Where a router says them; the key itself is nowhere."""
    routed = msgspec.structs.replace(record(), epoch="e1", unit=unit(b"e1", b"ann").hex())
    (line,) = parsed(lines().of(routed))
    assert (line["epoch"], line["unit"]) == ("e1", unit(b"e1", b"ann").hex())
    assert not {"epoch", "unit"} & set(parsed(lines().of(record()))[0])
    assert unit(b"e1", b"ann") not in (unit(b"e2", b"ann"), unit(b"e1", b"bob"))


class Memory:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.text = b""
        self.closed = False

    def append(self, lines: bytes) -> None:
        self.text += lines

    def close(self) -> None:
        self.closed = True


class Hanging(Memory):
    """A sink that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def append(self, lines: bytes) -> None:
        self.entered.set()
        self.go.wait()
        super().append(lines)


class Failing(Memory):
    def append(self, lines: bytes) -> None:
        if lines:
            raise OSError("no space left on device")


def parsed(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_says_who_asked_what_and_what_was_answered() -> None:
    """Features come back as the words and numbers the client sent."""
    flag = Flag(1, "age", "clipped", 400)
    first, second = parsed(lines().of(record(2, "r-1", (flag,))))
    assert first == {
        "request_id": "r-1",
        "row": 0,
        "time": "2023-11-14T22:13:20.500Z",
        "model": "housing",
        "version": "2",
        "features": ROW,
        "prediction": 1.5,
        "flags": [],
        "latency_ms": 1.2,
    }
    assert second["row"] == 1
    assert second["flags"] == [{"row": 1, "column": "age", "reason": "clipped", "seen": 400}]


def test_missing_and_unknown_values_are_told_apart() -> None:
    """A missing value is null, a category the contract does not know a question mark."""
    matrix = HOUSE.encode({k: [v] for k, v in {**ROW, "age": None, "condition": "new"}.items()})
    (line,) = parsed(lines().of(AnsweredRequest("a", 0.0, matrix, [1.0], None, (), 0.0)))
    assert (line["features"]["age"], line["features"]["condition"]) == (None, "?")


def test_columns_left_out_never_reach_the_log() -> None:
    """Neither as features nor as what a flag saw."""
    flag = Flag(0, "age", "clipped", 400)
    text = lines(without=("age", "kind")).of(record(1, "a", (flag,)))
    assert b"age" not in text
    assert b"kind" not in text


def test_probabilities_are_logged_for_classes() -> None:
    """Of a classifier both the class and the probabilities are kept."""
    made = AnsweredRequest("a", 0.0, np.array([[1.0, 2.0]]), ["benign"], np.array([[0.25, 0.75]]), (), 0.0)
    (line,) = parsed(Lines(TUMOUR, "m", "1", ()).of(made))
    assert (line["prediction"], line["probabilities"]) == ("benign", [0.25, 0.75])


def test_closing_writes_what_is_queued() -> None:
    """Nothing that was taken is lost at the end."""
    sink: Any = Memory()
    log = PredictionLog(lines(), sink, queue_rows=1000, share=1.0)
    for i in range(50):
        log.offer(record(3, str(i)))
    log.close(timeout_s=30)
    assert len(parsed(sink.text)) == log.written == 150
    assert sink.closed
    assert log.dropped == 0


def test_a_hanging_sink_costs_rows_and_nothing_else() -> None:
    """The queue fills to its bound, everything beyond is counted, and closing gives up in time."""
    sink: Any = Hanging()
    log = PredictionLog(lines(), sink, queue_rows=10, share=1.0)
    log.offer(record())
    assert sink.entered.wait(30)
    for _ in range(100):
        log.offer(record())
    assert (log.waiting, log.dropped) == (10, 91)
    log.close(timeout_s=0.01)
    assert log.written == 0
    sink.go.set()


def test_a_failing_sink_is_counted_and_tried_again() -> None:
    """A full disk loses the rows of the moment and says how many."""
    failing: Any = Failing()
    log = PredictionLog(lines(), failing, queue_rows=100, share=1.0)
    log.offer(record(4))
    log.close(timeout_s=30)
    assert (log.written, log.dropped, log.waiting) == (0, 4, 0)


def test_a_share_of_requests_is_logged_whole() -> None:
    """Sampling keeps or leaves a request with all of its rows."""
    sink: Any = Memory()
    log = PredictionLog(lines(), sink, queue_rows=10_000, share=0.5)
    for i in range(400):
        log.offer(record(2, str(i)))
    log.close(timeout_s=30)
    ids = [line["request_id"] for line in parsed(sink.text)]
    assert 200 < len(ids) < 600
    assert all(ids.count(one) == 2 for one in set(ids))
    assert log.dropped == 0


def test_a_part_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    """Whole lines are on disk as soon as a batch was appended."""
    parts = Parts(tmp_path, "pod-1", part_bytes=1000, part_s=60)
    parts.append(b'{"a": 1}\n')
    (part,) = tmp_path.glob("predictions-*-pod-1-00001.jsonl")
    assert part.read_bytes() == b'{"a": 1}\n'
    parts.append(b'{"a": 2}\n')
    assert part.read_bytes() == b'{"a": 1}\n{"a": 2}\n'
    parts.close()


@pytest.mark.parametrize(("size", "age"), [(8, 0.0), (1, 100.0)], ids=["large-enough", "old-enough"])
def test_a_part_is_closed_when_it_is(tmp_path: Path, size: int, age: float) -> None:
    """Parts are handed over once, by size or by time, and a new one is begun."""
    moment = [0.0]
    done: list[Path] = []
    parts = Parts(tmp_path, "p", part_bytes=8, part_s=50, finished=done.append, now=lambda: moment[0])
    parts.append(b"x" * size)
    moment[0] += age
    parts.append(b"")
    assert [part.read_bytes() for part in done] == [b"x" * size]
    parts.append(b"y")
    parts.close()
    assert [part.read_bytes() for part in done] == [b"x" * size, b"y"]


def test_an_upload_that_failed_is_made_up_for(tmp_path: Path) -> None:
    """A part whose upload failed waits for the next time, in order."""
    down = [True]
    uploaded: list[str] = []

    def upload(part: Path) -> None:
        if down[0]:
            raise OSError("down")
        uploaded.append(part.name[-11:])

    parts = Parts(tmp_path, "p", part_bytes=1, part_s=50, finished=upload)
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            parts.append(b"x")
    down[0] = False
    parts.append(b"")
    assert uploaded == ["00001.jsonl", "00002.jsonl"]
