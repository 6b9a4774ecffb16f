"""Serving on this machine: model servers, real Envoy, and a supervisor that may die at any time."""

import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import BackendRefusal, ConfigError, ConflictError, InfrastructureError, PlaceError
from serving.local import client, counting, envoy_config, processes
from serving.local.counting import AccessLine
from serving.local.envoy_admin import Admin, in_force
from serving.local.lifecycle import Limits, Look, Move, step
from serving.local.paths import service_paths, sole_supervisor
from serving.local.servers import local_bundle, predictor_command
from serving.local.state import AskedRevision, Running, Server, WantedState, read_observed, update_desired
from serving.local.supervisor import ServeOptions, serve
from serving.predictor.settings import parse
from serving.rollout.backend import Revision, Split
from serving.tally import Tally
from serving.wire import unit
from tests.serving.local.support import (
    STUB,
    Service,
    binomial_interval,
    predictions,
    send,
    service,
    under_load,
    wait_applied,
    wait_ready,
)
from tests.serving.predictor.support import HOUSE, ROW, write_model

Z_999 = 3.2905  # two-sided 99.9 %


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("shared")) as running:
        running.ready(1, 2)
        running.split("start", v1=1000, v2=0)
        running.backend.adopt("housing-1")
        yield running


@pytest.fixture
def live(shared: Service) -> Service:
    """The shared service with both stub models well again and all traffic on the first."""
    shared.ready(1, 2)
    shared.split(f"start-{os.urandom(4).hex()}", v1=1000, v2=0)
    return shared


def call(port: int, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None) -> SimpleNamespace:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return SimpleNamespace(status=answer.status, headers=answer.headers, body=answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return SimpleNamespace(status=error.code, headers=error.headers, body=error.read())


# --- decisions about one model server -----------------------------------------------------------------------

LIMITS = Limits(ready_s=10, silent_s=5, hung_s=60, backoff_s=1, backoff_max_s=8, chances=3)
WANTED = AskedRevision(name="housing-1", model="housing", version=1, bundle_uri="/b", digest="d")
PROCESS = Running(command=("x",), pid=7, started=1.0)
ALIVE, READY = Look(ended=False), Look(ended=False, answers=True)


def server(**changes: object) -> Server:
    return Server(wanted=WANTED, process=PROCESS, http_port=9, since=100.0).model_copy(update=changes)


served = {"state": "ready", "endpoint": 9, "answered_at": 100.0}


@pytest.mark.parametrize(
    ("before", "seen", "now", "state", "move", "told"),
    [
        pytest.param(
            server(process=None), ALIVE, 100, "starting", Move.START, "", id="without-a-process-it-is-started"
        ),
        pytest.param(
            server(process=None, retry_at=101.0),
            ALIVE,
            100,
            "starting",
            Move.NOTHING,
            "",
            id="not-before-its-pause-ends",
        ),
        pytest.param(server(), READY, 101, "ready", Move.NOTHING, "", id="an-answer-makes-it-ready"),
        pytest.param(server(), ALIVE, 109, "starting", Move.NOTHING, "", id="a-slow-start-is-waited-for"),
        pytest.param(
            server(),
            Look(False, last_words=lambda: "loading"),
            111,
            "failed",
            Move.KILL,
            "10 s after its start",
            id="but-not-for-ever",
        ),
        pytest.param(
            server(endpoint=9), ALIVE, 111, "starting", Move.KILL, "10 s", id="one-that-has-served-starts-again-instead"
        ),
        pytest.param(
            server(),
            Look(True, 1, None, lambda: "no such bundle"),
            101,
            "starting",
            Move.NOTHING,
            "no such bundle",
            id="a-crash-is-quoted",
        ),
        pytest.param(
            server(crashes=2),
            Look(True, 1),
            101,
            "failed",
            Move.NOTHING,
            "ended 3 times before",
            id="three-crashes-are-enough",
        ),
        pytest.param(
            server(), Look(True, 5), 101, "failed", Move.NOTHING, "exit code 5", id="a-refused-bundle-fails-at-once"
        ),
        pytest.param(
            server(**served, crashes=9),
            Look(True, -9),
            101,
            "starting",
            Move.NOTHING,
            "signal 9",
            id="a-killed-one-comes-back",
        ),
        pytest.param(server(**served), ALIVE, 104, "ready", Move.NOTHING, "", id="a-short-silence-is-nothing"),
        pytest.param(
            server(**served), ALIVE, 106, "starting", Move.NOTHING, "not answered", id="a-longer-one-loses-readiness"
        ),
        pytest.param(server(**served), ALIVE, 161, "starting", Move.KILL, "is replaced", id="a-hung-one-is-replaced"),
        pytest.param(server(state="failed"), READY, 101, "failed", Move.NOTHING, "", id="a-failed-one-stays-failed"),
    ],
)
def test_what_becomes_of_a_server(before: Server, seen: Look, now: float, state: str, move: Move, told: str) -> None:
    """Each look at a server has one consequence, and the reason quotes what was seen."""
    after, chosen = step(before, seen, float(now), LIMITS)
    assert (after.state, chosen) == (state, move)
    assert told in after.reason


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["dies", "silent", "answers"]), st.floats(0, 30)), min_size=1, max_size=40))
def test_a_server_is_given_up_only_before_it_has_ever_served(looks: list[tuple[str, float]]) -> None:
    """Whatever happens, one that was ready once is brought back for ever, and one that never was gets three chances."""
    record, now, starts = Server(wanted=WANTED), 100.0, 0
    for event, pause in looks:
        now += pause
        seen = Look(ended=event == "dies", code=1, answers=event == "answers")
        record, move = step(record, seen, now, LIMITS)
        if move is Move.START:
            starts += 1
            record = record.model_copy(update={"process": PROCESS, "since": now, "answered_at": 0.0, "http_port": 9})
        if record.endpoint:
            assert record.state != "failed"
        else:
            assert starts <= LIMITS.chances


# --- Envoy's configuration ----------------------------------------------------------------------------------

names = st.lists(st.sampled_from([f"housing-{n}" for n in range(1, 9)]), min_size=1, max_size=4, unique=True)


@st.composite
def desired_states(draw: st.DrawFn) -> WantedState:
    found = draw(names)
    cuts = sorted(draw(st.lists(st.integers(0, 1000), min_size=len(found) - 1, max_size=len(found) - 1)))
    weights = [after - before for before, after in zip([0, *cuts], [*cuts, 1000], strict=True)]
    split = Split(
        weights=dict(sorted(zip(found, weights, strict=True))),
        mirror=draw(st.none() | st.sampled_from(found)),
        sticky_header=draw(st.none() | st.just("x-user")),
        header_arms=tuple(sorted(draw(st.sets(st.sampled_from(found))))),
    )
    return WantedState(
        revisions=dict.fromkeys(found, WANTED), split=split, epoch=draw(st.from_regex(r"[a-z0-9:@]{1,9}\Z"))
    )


@settings(max_examples=25)
@given(desired_states())
def test_routes_say_the_split_and_can_be_read_back(desired: WantedState) -> None:
    """The split read from Envoy's routes is the split that was written, with its epoch."""
    written = envoy_config.routes(desired)
    dump = {"configs": [{"version_info": written["version_info"], "route_config": written["resources"][0]}]}
    force = in_force(json.loads(json.dumps(dump)))
    assert (force.split, force.epoch, force.version) == (desired.split, desired.epoch, written["version_info"])


def test_before_the_first_split_there_is_nothing_in_force() -> None:
    """An Envoy without our routes, and one that says that no model serves, have no split."""
    assert in_force({}).split is None
    written = envoy_config.routes(WantedState())
    entry = {"version_info": "v", "route_config": written["resources"][0]}
    assert in_force({"configs": [entry]}).split is None


# --- counts from the access log -----------------------------------------------------------------------------


def line(**changes: object) -> bytes:
    entry = {"t": "1.0", "r": "split|e1", "e": None, "c": "a", "s": 200, "f": "-", "d": 3, "i": "x"}
    return json.dumps(entry | changes).encode() + b"\n"


@pytest.mark.parametrize(
    ("entry", "counted"),
    [
        pytest.param(line(), AccessLine("e1", "a", False, False, 3, copy=False), id="an-answer"),
        pytest.param(line(s=500), AccessLine("e1", "a", True, False, 3, copy=False), id="a-broken-model"),
        pytest.param(
            line(s=400), AccessLine("e1", "a", False, True, 3, copy=False), id="a-caller's-mistake-is-not-the-arm's"
        ),
        pytest.param(
            line(s=504, f="UT", d=60000), AccessLine("e1", "a", True, False, 60000, copy=False), id="a-timeout"
        ),
        pytest.param(line(s=200, f="UC"), AccessLine("e1", "a", True, False, 3, copy=False), id="an-answer-cut-short"),
        pytest.param(line(s=0, f="DC"), AccessLine("e1", "a", False, False, 3, copy=False), id="a-caller-who-left"),
        pytest.param(line(r="mirror", e="e1"), AccessLine("e1", "a", False, False, 3, copy=True), id="a-mirrored-copy"),
        pytest.param(
            line(k="ann"),
            AccessLine("e1", "a", False, False, 3, copy=False, unit=unit(b"e1", b"ann")),
            id="an-answer-to-a-key",
        ),
        pytest.param(
            line(r="mirror", e="e1", k="ann"), AccessLine("e1", "a", False, False, 3, copy=True), id="a-copy-has-no-key"
        ),
        pytest.param(line(r="other"), None, id="health-and-metadata-are-not-counted"),
        pytest.param(line(r="arm"), None, id="header-chosen-arms-are-not-counted"),
        pytest.param(line(r=None, c=None, s=400), None, id="a-request-without-a-route"),
        pytest.param(b'{"r":"split|e1","c"\n', None, id="a-torn-line"),
    ],
)
def test_what_a_log_line_counts_as(entry: bytes, counted: AccessLine | None) -> None:
    """Only predictions drawn by the split count, and only the arm's own failures are its errors."""
    assert list(counting.parse(iter([entry]))) == ([counted] if counted else [])


def counts(directory: Path) -> dict[str, dict[str, int]]:
    return {
        epoch: {arm: tally.requests for arm, tally in arms.items()}
        for epoch, arms in counting.read_counts(service_paths(directory)).epochs.items()
    }


def test_a_line_is_counted_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    """Reading again counts nothing again; a line still being written waits for its end."""
    where = service_paths(tmp_path)
    where.prepare()
    assert counts(tmp_path) == {}
    where.access_log.write_bytes(line() + line(c="b") + line()[:20])
    assert counts(tmp_path) == counts(tmp_path) == {"e1": {"a": 1, "b": 1}}
    with where.access_log.open("ab") as log:
        log.write(line()[20:] + line(r="split|e2"))
    assert counts(tmp_path) == {"e1": {"a": 2, "b": 1}, "e2": {"a": 1}}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=5))
def test_of_each_key_the_first_request_counts_however_the_log_is_read(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    """Wherever readings stop, a key has one outcome in each epoch, its first, and its name is not stored."""
    directory = tmp_path_factory.mktemp("keys")
    where = service_paths(directory)
    where.prepare()
    lines = [line(c="a", k="ann", s=500), line(c="b", k="bob", d=9), line(c="a", k=None), line(c="a", k="")]
    lines += [line(c="a", k="ann"), line(c="b", k="bob", s=500)] * 5
    lines += [line(r="mirror", e="e1", c="b", k="ann")] * 2
    lines += [line(r="split|e2", c="b", k="ann"), line(c="b", k="bob"), line(r="split|e2", c="b", k="ann")]
    for begin, end in itertools.pairwise([0, *sorted(min(cut, len(lines)) for cut in cuts), len(lines)]):
        with where.access_log.open("ab") as log:
            log.writelines(lines[begin:end])
        found = counting.read_counts(where).epochs
    a, b = found["e1"]["a"], found["e1"]["b"]
    assert (a.requests, a.errors, a.keys, a.repeated, a.durations) == (3, 1, 1, 5, {3: 3})
    assert (b.requests, b.errors, b.keys, b.repeated, b.durations) == (1, 0, 1, 6, {9: 1})
    assert (a.mirrored, b.mirrored) == (0, 2)
    assert (found["e2"]["b"].requests, found["e2"]["b"].repeated) == (1, 1)
    assert b"ann" not in where.counts.read_bytes()


def test_keys_are_kept_of_the_newest_epochs_and_up_to_a_number(tmp_path: Path) -> None:
    """A late line of an epoch whose keys are gone counts nothing, and neither does a key beyond the maximum."""
    where = service_paths(tmp_path)
    where.prepare()

    def read(*lines: bytes) -> counting.Counts:
        with where.access_log.open("ab") as log:
            log.writelines(lines)
        return counting.read_counts(where)

    known = read(*(line(r=f"split|e{n}", k="ann") for n in range(counting.KEEP_KEY_EPOCHS + 1)))
    assert list(known.units) == [f"e{n}" for n in range(1, counting.KEEP_KEY_EPOCHS + 1)]
    late = read(line(r="split|e0", k="bob"), line(r="split|e0"), line(r="split|e1", k="bob")).epochs
    assert [(late[e]["a"].requests, late[e]["a"].repeated) for e in ("e0", "e1")] == [(2, 1), (2, 0)]
    few = counting.Units({}, limit=3)
    assert [few.first("e", bytes([n]) * 8) for n in (1, 2, 1, 3, 4, 3)] == [True, True, False, True, False, False]
    again = counting.Units(few.texts(["e"]), limit=3)
    assert [again.first("e", bytes([n]) * 8) for n in (1, 4)] == [False, False]


def test_rotation_loses_no_line_even_of_an_envoy_that_writes_on(tmp_path: Path) -> None:
    """Lines that reach the old file after it was put aside are counted; old files go in time."""
    where = service_paths(tmp_path)
    where.prepare()
    total = 0
    for _ in range(4):
        with where.access_log.open("ab") as log:
            log.write(line() * 5)
            counting.rotate(where, lambda: None, above=0)
            log.write(line() * 2)
        total += 7
        assert counts(tmp_path) == {"e1": {"a": total}}
    assert len(list(where.envoy.glob("access-*"))) == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90), st.sampled_from("ab"), st.booleans(), st.integers(0, 3)), max_size=40))
def test_the_hours_add_up_to_the_counts(
    tmp_path_factory: pytest.TempPathFactory, seen: list[tuple[int, str, bool, int]]
) -> None:
    """Across readers that start anew and rotations, hours hold what epochs hold, and a window only what is in it."""
    where = service_paths(tmp_path_factory.mktemp("hours"))
    where.prepare()
    start = datetime(2026, 6, 1, tzinfo=UTC)
    for hour, arm, failed, then in seen:
        moment = (start + timedelta(hours=hour)).timestamp() + 59
        with where.access_log.open("ab") as log:
            log.write(line(t=f"{moment:.3f}", c=arm, s=500 if failed else 200, d=109, k="ann" if then == 3 else None))
        if then == 1:
            counting.rotate(where, lambda: None, above=0)
        elif then == 2:
            counting.read_counts(where)
    found = counting.read_counts(where)
    for arm in "ab":
        whole = sum((arms.get(arm, Tally()) for arms in found.epochs.values()), Tally())
        hours = sum(found.between(arm, start, start + timedelta(hours=90)), Tally())
        assert hours == whole.coarse
        late = sum(found.between(arm, start + timedelta(hours=40), start + timedelta(hours=50)), Tally())
        mine = [entry for entry in seen if entry[1] == arm and 40 <= entry[0] <= 50 and entry[3] != 3]
        assert late.requests - late.keys == len(mine)
        assert found.between(arm, start - timedelta(hours=9), start - timedelta(hours=1)) == []


def test_lines_without_a_moment_count_in_no_hour_and_hours_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older lines are requests all the same; the oldest hours go first."""
    monkeypatch.setattr(counting, "KEEP_HOURS", 3)
    where = service_paths(tmp_path)
    where.prepare()
    odds: tuple[object, ...] = (None, "", "-", "inf", "nan", {})
    odd = [line(t=told) for told in odds]
    where.access_log.write_bytes(b"".join(odd) + b"".join(line(t=str(3600 * n)) for n in (5, 9, 7, 8)))
    found = counting.read_counts(where)
    assert found.epochs["e1"]["a"].requests == 10
    assert list(found.hours) == [7, 8, 9]


def test_a_crash_in_the_middle_of_a_rotation_changes_no_count(tmp_path: Path) -> None:
    """Wherever the rotation stops, the next reading has the same counts."""
    where = service_paths(tmp_path)
    where.prepare()
    where.access_log.write_bytes(line() * 5)

    def crash() -> None:
        raise InfrastructureError("gone")

    with pytest.raises(InfrastructureError):
        counting.rotate(where, crash, above=0)
    where.access_log.write_bytes(line() * 3)
    [aside] = where.envoy.glob("access-*.log")
    assert counts(tmp_path) == {"e1": {"a": 8}}
    aside.replace(aside.with_suffix(".done"))
    assert counts(tmp_path) == {"e1": {"a": 8}}
    counting.rotate(where, lambda: None, above=0)
    assert counts(tmp_path) == {"e1": {"a": 8}}


def test_durations_answer_any_threshold() -> None:
    """Slow answers are those strictly above the threshold of whoever asks; quantiles come from the same numbers."""
    tally = Tally(requests=10, durations={1: 8, 50: 1, 900: 1})
    assert [tally.slow(limit) for limit in (0.5, 1, 49, 50, 900)] == [10, 2, 2, 1, 0]
    assert [tally.quantile_ms(share) for share in (0.5, 0.8, 0.9, 0.99)] == [1, 1, 50, 900]
    assert Tally().quantile_ms(0.5) is None


# --- the wanted state ---------------------------------------------------------------------------------------


def test_writers_with_an_old_token_or_an_old_view_are_told(tmp_path: Path) -> None:
    """A lost lease and a generation that moved on are conflicts; nothing is written."""
    where = service_paths(tmp_path)

    def stable(name: str) -> Callable[[WantedState], WantedState]:
        return lambda desired: desired.model_copy(update={"stable": name})

    first = update_desired(where, stable("a"), fence=3)
    with pytest.raises(ConflictError, match="holds token 2, the service has seen 3"):
        update_desired(where, stable("b"), fence=2)
    with pytest.raises(ConflictError, match="expected generation 0, seen 1"):
        update_desired(where, stable("b"), expected_generation=0)
    assert update_desired(where, stable("a"), fence=3) == first
    assert update_desired(where, stable("b")).generation == first.generation + 1


def test_a_spoiled_wanted_state_is_named(tmp_path: Path) -> None:
    """A file that is not a service's state is told by its path."""
    (tmp_path / "desired.json").write_text('{"generation": 1, "revision')
    with pytest.raises(PlaceError, match=r"desired\.json is not readable"):
        client.status(tmp_path)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        pytest.param("s3://models/1", "is not on this machine", id="another-place"),
        pytest.param("/no/such/bundle", "there is no bundle at", id="absent"),
    ],
)
def test_a_bundle_that_is_not_here_is_named(uri: str, told: str) -> None:
    """The message has the address that was asked for."""
    with pytest.raises(ConfigError, match=told):
        local_bundle(replace(WANTED, bundle_uri=uri))


def test_the_predictor_understands_its_command(tmp_path: Path) -> None:
    """The model server's own parser reads every flag of the template, and it listens on this machine only."""
    values = {"revision": "housing-3", "model": "housing", "version": 3, "bundle": "/b", "log_dir": "/l"}
    command = [part.format(**values, http_port=1, grpc_port=2) for part in predictor_command(tmp_path)]
    assert command[1:3] == ["-m", "serving.predictor"]
    found = parse(command[3:], {})
    assert (found.model_name, found.version, found.revision) == ("housing", "3", "housing-3")
    assert (found.host, found.http_port, found.grpc_port) == ("127.0.0.1", 1, 2)
    assert (found.bundle, found.log_dir, found.trusted_key) == (Path("/b"), "/l", tmp_path)


def test_a_process_is_found_by_its_command_when_its_number_was_not_written_down() -> None:
    """A crash between start and record leaves no unknown process behind."""
    children = processes.Children()
    command = (sys.executable, "-c", f"import time; time.sleep(60)  # {os.urandom(8).hex()}")
    started = children.start(command, Path(os.devnull))
    try:
        client.wait_for(lambda: processes.found_again(Running(command=command)), 10, lambda: "not found")
        again = processes.found_again(Running(command=command))
        assert again is not None
        assert again.pid == started.pid
        assert processes.found_again(started.model_copy(update={"started": started.started - 60})) is None
    finally:
        processes.terminate(started, force=True)
        client.wait_for(lambda: children.ended(started)[0] or None, 10, lambda: "does not end")
    assert processes.found_again(Running(command=command)) is None


# --- traffic through real Envoy -----------------------------------------------------------------------------


def test_twenty_percent_is_twenty_percent(live: Service) -> None:
    """2,000 requests at 20 % fall within the binomial 99.9 % interval, and the log counts what the callers saw."""
    live.split("twenty", v1=800, v2=200)
    load = send(live.port, 2000)
    low, high = binomial_interval(2000, 0.2, Z_999)
    assert not load.lost
    assert low <= load.by_revision()["housing-2"] <= high
    assert {answer.epoch for answer in load.answers} == {"twenty"}
    assert live.settled(2000, "twenty") == dict(load.by_revision())


def test_only_predictions_are_drawn_and_counted(live: Service) -> None:
    """Metadata and health go to the stable revision, a header chooses its arm, and neither is counted."""
    live.split("arms", Split({"housing-1": 500, "housing-2": 500}, header_arms=("housing-2",)))
    predict = "/v1/models/housing:predict"
    for path, body in (("/v2/models/housing/ready", None), ("/v1/models/other:predict", b"{}")):
        assert call(live.port, path, body=body).headers["x-revision"] == "housing-1"
    forced = [call(live.port, predict, body=b"{}", headers={"x-model-arm": "housing-2"}) for _ in range(5)]
    assert {answer.headers["x-revision"] for answer in forced} == {"housing-2"}
    unknown = call(live.port, predict, body=b"{}", headers={"x-model-arm": "housing-9"})
    assert (unknown.status, "x-model-arm" in json.loads(unknown.body)["error"]) == (404, True)
    closed = call(live.port, "/v2/repository/models/housing/unload", body=b"{}")
    assert closed.status == 404
    kept = call(live.port, "/v2/models/housing/infer", body=b"{}", headers={"x-request-id": "mine"})
    assert kept.headers.get("x-request-id") is None  # the model server's alone, and this one makes none
    assert sum(live.settled(1, "arms").values()) == 1


def test_a_user_stays_on_the_canary_as_it_grows(live: Service) -> None:
    """With a sticky header the same users get the same arm, and a larger share moves nobody back."""
    seen: list[set[str]] = []
    for weight in (100, 300, 600):
        split = Split({"housing-1": 1000 - weight, "housing-2": weight}, sticky_header="x-user")
        live.split(f"sticky-{weight}", split)
        users: dict[int, str] = {}
        for _ in range(2):
            load = send(live.port, 150, connections=1, headers=lambda n: f"x-user: u{n}\r\n")
            arms = {n: answer.revision for n, answer in enumerate(load.answers)}
            assert users in ({}, arms)
            users = arms
        seen.append({str(user) for user, arm in users.items() if arm == "housing-2"})
    assert seen[0] < seen[1] < seen[2]


@pytest.mark.parametrize("header", ["", "x-user: \r\n", "x-slipway-key: forged\r\n"], ids=["none", "empty", "ours"])
def test_who_sends_no_key_is_drawn_at_random_and_counts_each_time(live: Service, header: str) -> None:
    """Envoy hashes the header's value where there is one; without it 400 requests are 400 draws."""
    epoch = f"keyless-{os.urandom(4).hex()}"
    live.split(epoch, Split({"housing-1": 500, "housing-2": 500}, sticky_header="x-user"))
    load = send(live.port, 400, headers=header)
    low, high = binomial_interval(400, 0.5, Z_999)
    assert low <= load.by_revision()["housing-2"] <= high
    assert live.settled(400, epoch) == dict(load.by_revision())


def test_keys_are_written_down_only_where_the_split_is_sticky(live: Service) -> None:
    """The access log has the header's value under a sticky split, whatever bytes it is made of, and else has none."""
    log = service_paths(live.directory).access_log
    loose, sticky = (f"{kind}-{os.urandom(4).hex()}" for kind in ("loose", "sticky"))
    for epoch, header, key in ((loose, None, "nobody"), (sticky, "x-user", "somebody")):
        live.split(epoch, Split({"housing-1": 500, "housing-2": 500}, sticky_header=header))
        send(live.port, 20, headers=f"x-user: {key}\r\nx-slipway-key: forged\r\n")
        live.settled(20 if header is None else 1, epoch)
    with socket.create_connection(("127.0.0.1", live.port)) as caller:
        head = b"POST /v1/models/housing:predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n"
        caller.sendall(head + b"x-user: \xff\xfe\r\n\r\n{}")
        assert caller.recv(100).startswith(b"HTTP/1.1 200")
    assert sum(live.settled(2, sticky).values()) == 2
    assert not set(re.findall(rb"nobody|forged", log.read_bytes()))
    assert b"somebody" in log.read_bytes()
    assert b"somebody" not in service_paths(live.directory).counts.read_bytes()


@pytest.mark.parametrize("behaviour", ["errors", "hold", "exit_on_predict"])
def test_a_broken_mirror_costs_the_callers_nothing(live: Service, behaviour: str) -> None:
    """Copies go to the mirror; that it fails, hangs or dies changes no answer and no count of the arm that serves."""
    live.revision(2, **{behaviour: True})
    epoch = f"mirror-{behaviour}"
    live.split(epoch, Split({"housing-1": 1000}, mirror="housing-2"))
    load = send(live.port, 200)
    assert not load.lost
    assert live.settled(200, epoch)["housing-1"] == 200
    assert live.backend.counters().epochs[epoch]["housing-1"].errors == 0


def test_failures_are_counted_for_their_arm(live: Service) -> None:
    """Every failed answer is an error of the arm that gave it, slow ones are slow, and the other arm is clean."""
    live.revision(2, errors=True)
    live.split("bad", v1=700, v2=300)
    load = send(live.port, 200)
    live.settled(200, "bad")
    arms = live.backend.counters().epochs["bad"]
    assert arms["housing-2"].errors == arms["housing-2"].requests == len(load.lost) > 0
    assert arms["housing-1"].errors == 0
    live.revision(2, delay_s=0.15)
    live.split("slow", v1=700, v2=300)
    send(live.port, 40)
    live.settled(40, "slow")
    arms = live.backend.counters(100.0).epochs["slow"]
    assert arms["housing-2"].slow == arms["housing-2"].requests > 0


def a_whole_rollout(live: Service, rounds: int) -> Callable[[], None]:
    def act() -> None:
        for number in range(rounds):
            live.ready(2)
            for step_number, weight in enumerate((50, 200, 500, 1000, 300, 0)):
                live.split(f"r{number}.{step_number}", v1=1000 - weight, v2=weight)
            client.wait_for(lambda: live.backend.drained("housing-2") or None, 10, lambda: "does not drain")
            live.backend.remove("housing-2")
            client.wait_for(lambda: gone(live, "housing-2"), 20, lambda: "is not gone")

    return act


def gone(live: Service, name: str) -> bool | None:
    return name not in {entry.name for entry in client.status(live.directory).revisions} or None


def test_no_request_is_lost_while_weights_change_and_revisions_come_and_go(live: Service) -> None:
    """Canary steps, promotion, rollback and removal under continuous load: every request is answered."""
    load = under_load(live.port, a_whole_rollout(live, 2))
    assert len(load.answers) > 500
    assert load.lost == []


def test_a_split_that_envoy_refuses_leaves_the_old_one_serving(live: Service) -> None:
    """The reason is told, the traffic goes on, and the next good split is taken."""
    good = client.status(live.directory).epoch_observed

    def spoil(desired: WantedState) -> WantedState:
        split = Split({"housing-1": 1000, "bad\nname": 0})
        return desired.model_copy(update={"split": split, "epoch": "refused"})

    update_desired(service_paths(live.directory), spoil)
    with pytest.raises(InfrastructureError, match=r"Envoy refused the split refused .*HeaderValue"):
        wait_applied(live.directory, "refused")
    assert live.backend.observed().epoch == good
    assert not send(live.port, 50).lost
    live.split("mended", v1=1000, v2=0)
    assert live.backend.observed().rejected == ""


def test_routes_changed_by_somebody_else_are_put_right(live: Service) -> None:
    """A file overwritten behind the supervisor's back is written again; callers notice nothing."""
    live.split("kept", v1=1000, v2=0)
    path = service_paths(live.directory).routes
    text = path.read_bytes()
    other = path.with_suffix(".other")
    other.write_text("{}")

    def meddle() -> None:
        other.replace(path)
        client.wait_for(lambda: path.read_bytes() == text or None, 10, lambda: "stays")

    assert not under_load(live.port, meddle).lost


def test_a_killed_model_server_is_started_again(live: Service) -> None:
    """The revision is ready again under another process, and says what had happened."""
    before = wait_ready(live.directory, "housing-1", 10)
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)

    def back() -> client.RevisionStatus | None:
        found = client.status(live.directory).revisions[0]
        return found if found.state == "ready" and found.pid != before.pid else None

    after = client.wait_for(back, 20, lambda: f"{client.status(live.directory)}")
    assert after.restarts == before.restarts + 1
    client.wait_for(lambda: not send(live.port, 5).lost or None, 10, lambda: "does not answer")


@pytest.mark.parametrize(
    ("version", "behaviour", "told"),
    [
        pytest.param(
            7, {"crash": "ValueError: golden row 3 differs"}, "ended 3 times.*golden row 3 differs", id="crashes"
        ),
        pytest.param(8, {"crash": "signature unknown", "code": 5}, "exit code 5.*signature unknown", id="refuses"),
        pytest.param(6, {"refuses": "signed by nobody"}, "cannot serve: signed by nobody", id="says-so-itself"),
        pytest.param(9, {"never_ready": True}, "not ready 3 s after its start.*loading the model", id="never-ready"),
    ],
)
def test_a_revision_that_cannot_serve_is_reported_with_its_last_words(
    tmp_path_factory: pytest.TempPathFactory, impatient: Service, version: int, behaviour: dict[str, object], told: str
) -> None:
    """It is failed, not starting for ever, and the reason quotes its log."""
    impatient.backend.ensure(impatient.revision(version, **behaviour), 1)
    with pytest.raises(InfrastructureError, match=told):
        wait_ready(impatient.directory, f"housing-{version}", 30)
    with pytest.raises(BackendRefusal, match="failed and cannot take traffic"):
        impatient.backend.apply(Split({f"housing-{version}": 1000}), "e")
    impatient.backend.remove(f"housing-{version}")
    client.wait_for(lambda: gone(impatient, f"housing-{version}"), 10, lambda: "is not gone")
    impatient.ready(version)  # the same revision, mended and asked for again, has a new chance


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("impatient"), ready_s=3.0) as running:
        yield running


# --- supervisors that die -----------------------------------------------------------------------------------


def test_a_killed_supervisor_costs_nothing_and_the_next_one_takes_over(live: Service) -> None:
    """kill -9 and a new supervisor under load: no request is lost, the same processes go on, changes work again."""
    before = client.status(live.directory)

    def act() -> None:
        live.kill()
        assert not client.status(live.directory).running
        with pytest.raises(InfrastructureError, match="no supervisor"):
            live.backend.observed()
        live.start()
        live.split("after-the-kill", v1=500, v2=500)

    load = under_load(live.port, act, rate=400)
    after = client.status(live.directory)
    assert load.lost == []
    assert (after.envoy_pid, after.address) == (before.envoy_pid, before.address)
    assert [entry.pid for entry in after.revisions] == [entry.pid for entry in before.revisions]


def test_what_died_with_the_supervisor_is_started_again(live: Service) -> None:
    """Envoy and a model server that ended while nobody looked come back, on the same address."""
    before = client.status(live.directory)
    live.kill()
    assert before.envoy_pid
    lost = [before.envoy_pid, before.revisions[0].pid or 0]
    for pid in lost:
        os.kill(pid, signal.SIGKILL)
    live.start()
    wait_ready(live.directory, "housing-1", 20)
    after = client.status(live.directory)
    assert after.address == before.address
    assert after.revisions[1].pid == before.revisions[1].pid
    client.wait_for(lambda: not send(live.port, 5).lost or None, 10, lambda: "does not answer")


def test_an_envoy_that_dies_is_started_again_on_the_same_address(live: Service) -> None:
    """The supervisor notices and the split is in force again."""
    before = client.status(live.directory)
    assert before.envoy_pid
    os.kill(before.envoy_pid, signal.SIGKILL)

    def back() -> bool | None:
        now = client.status(live.directory)
        return (now.envoy_pid not in (None, before.envoy_pid) and now.epoch_observed == before.epoch_observed) or None

    client.wait_for(back, 20, lambda: f"{client.status(live.directory)}")
    assert client.status(live.directory).address == before.address
    assert not send(live.port, 20).lost


def test_a_second_supervisor_is_refused_by_name(live: Service) -> None:
    """The message has the process that serves already."""
    assert live.process is not None
    with pytest.raises(ConflictError, match=f"already served by process {live.process.pid}"):
        serve(live.directory, ServeOptions(command=STUB, port=0))
    with pytest.raises(ConflictError), sole_supervisor(service_paths(live.directory)):
        raise AssertionError("two supervisors")


def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path) -> None:
    """The message has the port and the next move; no process is left."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PlaceError, match=rf"port {port} on 127.0.0.1 is taken.*--port"):
            serve(tmp_path, ServeOptions(command=STUB, port=port), threading.Event())
    assert read_observed(service_paths(tmp_path)).proxy.process is None


def test_sigterm_lets_callers_finish_and_leaves_no_process(tmp_path: Path) -> None:
    """A request in flight is answered, the exit code is 0, and every child is gone."""
    with service(tmp_path) as running:
        running.ready(1)
        running.split("only", v1=1000)
        running.revision(1, delay_s=1.0)
        load = predictions(running.port)
        thread = threading.Thread(target=load.run, args=(1,))
        thread.start()
        admin = Admin(read_observed(service_paths(tmp_path)).proxy.admin_port)
        client.wait_for(lambda: admin.in_flight("housing-1") or None, 10, lambda: "not in flight")
        pids = [entry.pid for entry in client.status(tmp_path).revisions] + [client.status(tmp_path).envoy_pid]
        assert running.stop() == 0
        thread.join()
    assert [answer.status for answer in load.answers] == [200]
    assert not [pid for pid in pids if pid and Path(f"/proc/{pid}").exists()]
    assert read_observed(service_paths(tmp_path)).stopped


def test_a_service_can_be_launched_in_the_background_and_stopped(tmp_path: Path) -> None:
    """Launching again uses the one that is alive; one that cannot start says why."""
    waiting = Service(tmp_path)
    first = client.launch(tmp_path, waiting.command())
    assert client.launch(tmp_path, waiting.command()).supervisor_pid == first.supervisor_pid
    assert call(waiting.port, "/v1/models/housing:predict", body=b"{}").status == 503
    client.stop(tmp_path)
    client.stop(tmp_path)
    with pytest.raises(PlaceError, match=r"did not start: .*boom"):
        client.launch(tmp_path, (sys.executable, "-c", "raise SystemExit('boom')"))


# --- full size ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_thousand_requests_and_none_lost(live: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """Rollouts one after another until 50,000 requests were sent: every one is answered."""
    answers, lost, rounds = 0, 0, 0
    while answers < 50_000:
        load = under_load(live.port, a_whole_rollout(live, 3), connections=8)
        answers, lost, rounds = answers + len(load.answers), lost + len(load.lost), rounds + 3
    with capsys.disabled():
        print(f"\n{answers} requests over {rounds} rollouts: {lost} lost")
    assert lost == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_weight_change_is_visible_within_half_a_second(live: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """From asking to the first answer of the new epoch: p95 of 60 changes under load at most 500 ms."""
    asked: dict[str, float] = {}

    def act() -> None:
        for number in range(60):
            epoch = f"visible-{number}"
            asked[epoch] = time.monotonic()
            live.split(epoch, v1=900 - number, v2=100 + number)

    load = under_load(live.port, act)
    first: dict[str, float] = {}
    for answer in load.answers:
        first.setdefault(answer.epoch, answer.at)
    delays = sorted(first[epoch] - at for epoch, at in asked.items() if epoch in first)
    p95 = delays[int(0.95 * len(delays))]
    median, worst = delays[len(delays) // 2], delays[-1]
    with capsys.disabled():
        print(f"\nvisible after ms: median {1e3 * median:.0f}, p95 {1e3 * p95:.0f}, max {1e3 * worst:.0f}")
    assert len(load.lost) == 0
    assert p95 <= 0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("weight", [10, 50, 100, 250, 500])
def test_realized_split(live: Service, weight: int, capsys: pytest.CaptureFixture[str]) -> None:
    """10,000 requests at each weight fall within the binomial 1-1e-6 interval."""
    live.split(f"realized-{weight}", v1=1000 - weight, v2=weight)
    load = send(live.port, 10_000)
    found = load.by_revision()["housing-2"]
    low, high = binomial_interval(10_000, weight / 1000, 4.8916)
    with capsys.disabled():
        print(f"\n{weight / 10:g} % asked, {found / 100:.2f} % seen")
    assert not load.lost
    assert low <= found <= high


@pytest.mark.slow
def test_a_real_model_answers_behind_envoy(tmp_path: Path) -> None:
    """A signed bundle in the real model server: one address, the answer names its version; a foreign key is refused."""
    bundle, key = write_model(tmp_path / "model", HOUSE)
    options = ServeOptions(command=predictor_command(key), port=0)
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(tmp_path / "service", options, stop))
    thread.start()
    try:
        real = Service(tmp_path / "service")
        client.wait_running(real.directory, 60)
        real.backend.ensure(Revision("housing-1", "housing", 1, str(bundle), "d"), 1)
        wait_ready(real.directory, "housing-1", 120)
        real.split("real", v1=1000)
        body = json.dumps({"instances": [ROW]}).encode()
        answer = call(real.port, "/v1/models/housing:predict", body=body, headers={"x-request-id": "mine"})
        told = json.loads(answer.body)
        assert (answer.status, told["model_version"]) == (200, "1")
        assert "mine" != told["request_id"] == answer.headers["x-request-id"]
        assert answer.headers["x-revision"] == "housing-1"
        other, _ = write_model(tmp_path / "other", HOUSE)
        real.backend.ensure(Revision("housing-2", "housing", 2, str(other), "e"), 1)
        with pytest.raises(InfrastructureError, match="housing-2 cannot serve"):
            wait_ready(real.directory, "housing-2", 60)
    finally:
        stop.set()
        thread.join()
    assert list((tmp_path / "service" / "predictions" / "housing-1").rglob("*"))
