"""Running a compiled pipeline on this machine: events, the cache, causes of failure, and kills."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.compiling.arguments import check_arguments
from pipelines.here import kfp_shim, runner, step_log
from pipelines.here.kfp_shim import OrchestrationError, evaluate
from pipelines.here.run import leaves
from pipelines.here.runner import RunResult, TaskEvent
from pipelines.here.step_cache import CachedStep, StepCache, key_of, read_content, unchanged
from serving.errors import ConfigError, ConflictError, PlaceError, UsageError
from tests.pipelines.compiling.kfp_examples.loading import compiled, documents

SECRET = "s3cr3t-of-the-store"


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("packages")
    for module, pipeline in [
        ("chain", "chain"),
        ("trouble", "failing"),
        ("trouble", "waiting"),
        ("trouble", "again"),
        ("repaired", "repaired"),
    ]:
        compiled(module, pipeline, directory)
    return directory


def go(package: Path, arguments: dict, root: Path, run_id: str, **options) -> RunResult:
    given = {"timeout_s": 120, "on_event": lambda event: None, **options}
    return runner.run(package, arguments, root, run_id=run_id, **given)


def states(result: RunResult) -> dict[str, str]:
    return {task.task: task.state for task in result.tasks}


# --- one chain, run five times ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain(packages, tmp_path_factory) -> tuple[Path, list[TaskEvent], dict[str, RunResult]]:
    root = tmp_path_factory.mktemp("home")
    events: list[TaskEvent] = []
    package = packages / "chain.yaml"
    results = {
        "first": go(package, {}, root, "first", on_event=events.append, environment={"EXAMPLE_SECRET": SECRET}),
        "same": go(package, {"rate": 0.5}, root, "same"),
        "remark": go(package, {"source": "abc#remark"}, root, "remark"),
        "rate": go(package, {"rate": 0.3}, root, "rate"),
        "uncached": go(package, {}, root, "uncached", cache=False),
    }
    return root, events, results


def test_a_first_run_makes_everything_and_says_so(chain):
    """Every step runs once, in order; its summary and the untaken branch are told."""
    root, events, results = chain
    first = results["first"]
    assert (first.state, first.error, first.exit_code) == ("SUCCEEDED", None, 0)
    assert first.outputs == {"Output": "accepted abc 0.5 3.0"}
    made = dict.fromkeys(["ingest", "train", "judge", "stamp", "release"], "SUCCEEDED")
    assert states(first) == {**made, "note": "SKIPPED"}
    assert [task.task for task in first.tasks] == ["ingest", "stamp", "train", "judge", "release", "note"]
    assert first.task("ingest").message == "3 letters"
    assert first.task("train").outputs["model"]["metadata"] == {}
    assert Path(first.task("train").outputs["model"]["uri"], "weights.txt").read_text() == "abc 0.5 3.0"
    assert [event.state for event in events if event.task == "train"] == ["RUNNING", "SUCCEEDED"]
    lines = (root / "runs" / "first" / "events.jsonl").read_text().splitlines()
    assert [TaskEvent(**json.loads(line)) for line in lines] == events


def test_the_same_again_is_served_from_the_cache(chain):
    """Outputs, summaries and artifacts return; only a step told to run, and one that looks at its run, run again."""
    _, _, results = chain
    first, same = results["first"], results["same"]
    expected = {"ingest": "CACHED", "train": "CACHED", "judge": "CACHED", "release": "SUCCEEDED", "stamp": "SUCCEEDED"}
    assert states(same) == {**expected, "note": "SKIPPED"}
    assert same.outputs == first.outputs
    assert same.task("ingest").cached
    assert same.task("ingest").message == "3 letters"
    assert same.task("ingest").outputs == first.task("ingest").outputs
    assert same.task("stamp").outputs == {"Output": "same"}


def test_a_changed_value_that_leaves_the_data_equal_stops_there(chain):
    """Early cutoff: ingest runs with its new argument, and what reads its unchanged data is served."""
    _, _, results = chain
    remark = states(results["remark"])
    assert [remark[task] for task in ("ingest", "train", "judge")] == ["SUCCEEDED", "CACHED", "CACHED"]


def test_a_changed_value_runs_exactly_what_depends_on_it(chain):
    """Another learning rate trains and judges anew, takes the other branch, and leaves ingest alone."""
    _, _, results = chain
    rate = results["rate"]
    assert states(rate) == {
        "ingest": "CACHED",
        "train": "SUCCEEDED",
        "judge": "SUCCEEDED",
        "stamp": "SUCCEEDED",
        "note": "SUCCEEDED",
        "release": "SKIPPED",
    }
    assert rate.outputs == {"Output": "kept the champion: refused"}


def test_a_run_without_cache_makes_everything_again(chain):
    """cache=False serves nothing."""
    _, _, results = chain
    assert "CACHED" not in states(results["uncached"]).values()
    assert results["uncached"].outputs == results["first"].outputs


def test_the_environment_reaches_steps_and_no_file(chain):
    """Secrets travel through a pipe: the step has them, nothing below the root contains them."""
    root, _, results = chain
    assert results["first"].task("stamp").message == f"a secret of {len(SECRET)} letters"
    assert results["same"].task("stamp").message == "a secret of 0 letters"
    assert not [path for path in root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_nothing_temporary_is_left(chain):
    """The temporary directories of steps go with the run."""
    root, _, _ = chain
    assert list((root / "runs" / "first" / "tmp").iterdir()) == []


def test_what_kfp_local_gets_wrong_comes_out_right(packages, tmp_path):
    """Named outputs in conditions and loops, quotes in values, artifacts alone, empty loops, one pipeline twice."""
    result = go(packages / "repaired.yaml", {}, tmp_path, "r")
    assert result.outputs == {"Output": "first second FIRST A+B+C:a+b+c 0"}
    assert result.task("write").state == "SUCCEEDED"  # the step below two conditions


# --- how runs fail ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "sentence", "exit_code"),
    [
        pytest.param("data", "the table is empty: expected rows, saw none; check the source", 4, id="expected-error"),
        pytest.param("value", "ValueError: the reason a person should see", 1, id="any-exception"),
        pytest.param("early", "the step ended early: it wrote no output 'Output'", 1, id="exit-with-status-0"),
        pytest.param("killed", "the step was stopped by signal 9", 7, id="killed"),
    ],
)
def test_a_failure_names_task_cause_and_log(packages, tmp_path, how, sentence, exit_code):
    """The final message has the task, the reason in one line and the log; the exit task runs and hears of it."""
    result = go(packages / "failing.yaml", {"how": how}, tmp_path, "r")
    log = tmp_path / "runs" / "r" / "logs" / "fail.log"
    assert result.state == "FAILED"
    assert result.error is not None
    assert result.error.startswith(f"fail: {sentence}")
    assert result.error.endswith(f"(log: {log})")
    assert result.exit_code == exit_code
    assert "\n" not in result.error
    assert states(result) == {"prepare": "SUCCEEDED", "fail": "FAILED", "finish": "SUCCEEDED"}
    assert "the end was FAILED" in (log.parent / "finish.log").read_text()


def test_a_step_that_may_try_again_does(packages, tmp_path):
    """Retries are kfp's: the second go succeeds and the first is in the same log."""
    result = go(packages / "again.yaml", {"marker": str(tmp_path / "marker")}, tmp_path, "r")
    assert result.outputs == {"Output": 1}
    assert "the first time fails" in result.task("second-time").log.read_text()


def test_a_wrong_argument_runs_nothing(packages, tmp_path):
    """A usage error of the pipeline is the result, with its exit code."""
    result = go(packages / "again.yaml", {"maker": "x"}, tmp_path, "r")
    assert (result.state, result.exit_code, result.tasks) == ("FAILED", 2, ())
    assert result.error == "pipeline 'again' has no argument 'maker'; it takes marker"


def test_no_package_is_a_configuration_error(tmp_path):
    """A package that was never compiled is named before anything starts."""
    with pytest.raises(ConfigError, match="no compiled pipeline at"):
        go(tmp_path / "none.yaml", {}, tmp_path, "r")


def test_two_runs_of_one_name_do_not_mix(packages, tmp_path):
    """The second is told, and the first keeps its records."""
    with runner._alone(tmp_path / "runs" / "r"), pytest.raises(ConflictError, match="run r is under way"):
        go(packages / "again.yaml", {"marker": "m"}, tmp_path, "r")


# --- ends from outside -----------------------------------------------------------------------------------------------


@pytest.fixture
def fifo(tmp_path) -> Path:
    """The waiting step opens it to say that it runs; reading it to its end waits for the step's death."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def finish_later(packages: Path, fifo: Path, root: Path) -> RunResult:
    """The same command after whatever happened, with nothing to wait for any more."""
    fifo.unlink()
    result = go(packages / "waiting.yaml", {"fifo": str(fifo)}, root, "r")
    assert result.outputs == {"Output": "went on"}
    return result


def test_a_cancelled_run_ends_with_all_it_started(packages, tmp_path, fifo):
    """Cancel ends the step too, the error names it, and the same command takes up where it stopped."""
    with os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reader:
        heard: list[bytes] = []

        def running() -> bool:
            os.set_blocking(reader.fileno(), False)
            heard.append(reader.read(7) or b"")
            return b"running" in heard

        result = go(packages / "waiting.yaml", {"fifo": str(fifo)}, tmp_path, "r", cancelled=running)
        os.set_blocking(reader.fileno(), True)
        assert reader.read() == b""  # the step held it open
    assert (result.state, result.exit_code) == ("CANCELLED", 130)
    assert result.error is not None
    assert "in task 'wait'" in result.error
    assert states(finish_later(packages, fifo, tmp_path))["prepare"] == "CACHED"


def test_a_run_over_its_time_is_stopped(packages, tmp_path, fifo):
    """The time limit ends the run and says so."""
    result = go(packages / "waiting.yaml", {"fifo": str(fifo)}, tmp_path, "r", timeout_s=0.0)
    assert (result.state, result.exit_code) == ("TIMED_OUT", 7)
    assert result.error is not None
    assert "stopped after 0 s" in result.error


def test_a_listener_that_raises_ends_the_run(packages, tmp_path, fifo):
    """Ctrl-C in the caller's own code leaves no process behind: the run's name is free at once."""

    def interrupt(event: TaskEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(packages / "waiting.yaml", {"fifo": str(fifo)}, tmp_path, "r", on_event=interrupt)
    finish_later(packages, fifo, tmp_path)


def test_a_killed_parent_takes_its_steps_along_and_the_same_command_completes(packages, tmp_path, fifo):
    """kill -9 of the command in the middle of a step: the step dies too, finished work is served afterwards."""
    code = (
        "import sys; from pathlib import Path; from pipelines.here import runner;"
        "runner.run(Path(sys.argv[1]), {'fifo': sys.argv[2]}, Path(sys.argv[3]), run_id='r', timeout_s=120,"
        " on_event=print)"
    )
    command = [sys.executable, "-c", code, str(packages / "waiting.yaml"), str(fifo), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as parent, fifo.open("rb", buffering=0) as reader:
        assert reader.read(7) == b"running"
        parent.send_signal(signal.SIGKILL)
        assert reader.read() == b""  # the end of the file is the end of the step
    assert states(finish_later(packages, fifo, tmp_path))["prepare"] == "CACHED"


def test_a_killed_child_is_told_and_the_same_command_completes(packages, tmp_path, fifo):
    """kill -9 of the process that follows the pipeline is a failed run with the next move in its message."""
    with os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reader:
        result = go(packages / "waiting.yaml", {"fifo": str(fifo), "how": "kill the run"}, tmp_path, "r")
        os.set_blocking(reader.fileno(), True)
        assert reader.read() == b"running"
    assert (result.state, result.exit_code) == ("FAILED", 7)
    assert result.error is not None
    assert "ended with status -9" in result.error
    assert "same command again" in result.error
    assert states(finish_later(packages, fifo, tmp_path))["prepare"] == "CACHED"


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path) -> tuple[StepCache, Path]:
    """A cache with one entry, for a directory of two files."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "a").write_text("aaaa")
    (made / "b").write_text("bbbb")
    cache = StepCache(tmp_path / "cache")
    cache.keep("key", CachedStep("01", 1.0, "said", {"n": {"value": 1}}, {str(made): read_content(str(made))}))
    return cache, made


def write_later(file: Path, text: str) -> None:
    """Other bytes of the same size, and a time of change that no clock's grain can hide."""
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(before + 10**9, before + 10**9))


def test_an_entry_is_served_while_its_files_are_as_they_were(kept):
    """The whole entry comes back, and a new time of change alone does not matter."""
    cache, made = kept
    write_later(made / "a", "aaaa")
    entry = cache.find("key")
    assert entry is not None
    assert (entry.run_id, entry.summary, entry.outputs) == ("01", "said", {"n": {"value": 1}})
    assert cache.find("other key") is None


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda cache, made: write_later(made / "a", "aaab"), id="other-bytes-of-one-size"),
        pytest.param(lambda cache, made: (made / "a").write_text("aa"), id="cut-short"),
        pytest.param(lambda cache, made: (made / "b").unlink(), id="a-file-gone"),
        pytest.param(lambda cache, made: (made / "c").write_text(""), id="a-file-more"),
        pytest.param(lambda cache, made: (made / "b").rename(made / "c"), id="renamed"),
        pytest.param(lambda cache, made: made.rename(made.with_name("elsewhere")), id="moved"),
        pytest.param(lambda cache, made: (cache.directory / "key.json").write_text('{"run_id":'), id="half-an-entry"),
        pytest.param(lambda cache, made: (cache.directory / "key.json").write_text("{}"), id="empty-entry"),
    ],
)
def test_an_entry_whose_files_changed_is_not_served(kept, damage):
    """Whatever happens to the files or the entry is a miss, never a wrong result."""
    cache, made = kept
    damage(cache, made)
    assert cache.find("key") is None


def test_metrics_without_a_file_are_served(tmp_path):
    """An artifact that is only metadata has no file; that it still has none is all there is to check."""
    content = read_content(str(tmp_path / "metrics"))
    assert unchanged(str(tmp_path / "metrics"), content)
    (tmp_path / "metrics").write_text("now there is one")
    assert not unchanged(str(tmp_path / "metrics"), content)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=4), max_size=4))
@settings(max_examples=30, deadline=None)
def test_content_counts_and_not_where_it_lies(tmp_path_factory, files):
    """Two directories have one digest exactly when they hold the same files."""
    one, two = (tmp_path_factory.mktemp("d") for _ in range(2))
    for name, data in files.items():
        (one / name).write_bytes(data)
        (two / name).write_bytes(data)
    assert read_content(str(one)).digest(str(one)) == read_content(str(two)).digest(str(two))
    (two / "one more").write_bytes(b"")
    assert read_content(str(one)).digest() != read_content(str(two)).digest()


def test_keys_differ_with_every_part_and_a_nan_has_none():
    """Equal parts share a key in any order; NaN has no JSON text and is never served."""
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
    assert key_of({"a": float("nan")}) is None


# --- conditions, logs and arguments ----------------------------------------------------------------------------------

WORD = "inputs.parameter_values['pipelinechannel--judge-Output']"


def look(values: dict) -> object:
    def find(name: str) -> object:
        if name not in values:
            raise ValueError(name)
        return values[name]

    return find


@given(st.text())
@settings(max_examples=60)
def test_any_text_can_be_compared(text):
    """Values are bound and not pasted: quotes, line breaks and code in them are only text."""
    values = {"pipelinechannel--judge-Output": text}
    assert evaluate(f"{WORD} == 'good'", look(values)) is (text == "good")
    assert evaluate(f"!({WORD} == 'good') && {WORD} != 'a && b'", look(values)) is (text not in ("good", "a && b"))


@pytest.mark.parametrize(
    ("condition", "value", "truth"),
    [
        pytest.param(f"int({WORD}) > 5", 7.0, True, id="integer-as-float"),
        pytest.param(f"{WORD} == true", True, True, id="flag"),
        pytest.param(f"{WORD} != 'x' || {WORD} == 'x'", "x", True, id="or"),
        pytest.param(f"!({WORD} == '!(a || b)')", "!(a || b)", False, id="operators-inside-of-text"),
    ],
)
def test_conditions_are_read_as_the_server_reads_them(condition, value, truth):
    """CEL's operators and names, and its string literals untouched."""
    assert evaluate(condition, look({"pipelinechannel--judge-Output": value})) is truth


def test_a_condition_without_its_value_is_an_error():
    """kfp.local takes it for false and reports success."""
    with pytest.raises(OrchestrationError, match="has no value"):
        evaluate(f"{WORD} == 'good'", look({}))


@pytest.mark.parametrize(
    ("log", "returncode", "sentence", "exit_code"),
    [
        pytest.param(
            'SLIPWAY-ERROR {"sentence": "no rows", "exit_code": 4, "kind": "DataError"}\n'
            "Traceback (most recent call last):\nserving.errors.DataError: no rows\n",
            1,
            "no rows",
            4,
            id="an-expected-error-goes-first",
        ),
        pytest.param(
            "Traceback (most recent call last):\n  File\nKeyError: 'a'\n\nDuring handling of the above\n\n"
            "Traceback (most recent call last):\n  File\npkg.mod.OddError: the last\n\nbye\n",
            1,
            "pkg.mod.OddError: the last",
            1,
            id="the-last-of-a-chain",
        ),
        pytest.param("working\n", 137, "the step was stopped by signal 9", 7, id="killed-below-a-shell"),
        pytest.param("cannot open x\n", 3, "exit status 3, its last line was: cannot open x", 1, id="exit-status"),
        pytest.param("", 3, "the step ended with exit status 3", 1, id="silence"),
    ],
)
def test_the_cause_is_found_in_the_log(log, returncode, sentence, exit_code):
    """An expected error's sentence, else the last exception, else the signal, else the last words."""
    cause = step_log.cause(log.splitlines(), returncode)
    assert sentence in cause.sentence
    assert cause.exit_code == exit_code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({}, "needs the argument 'marker'", id="absent"),
        pytest.param({"marker": 1}, "takes STRING, got 1", id="another-type"),
        pytest.param({"marker": "{{$.x}}"}, "which KFP replaces", id="placeholder"),
        pytest.param({"marker": "x" * 100_001}, "100,001 characters, at most 100,000 travel", id="too-large"),
    ],
)
def test_arguments_are_held_against_the_pipeline(packages, arguments, message):
    """What KFP would refuse late, crash on or change is refused first."""
    ir = documents(packages / "again.yaml")[0]
    check_arguments(ir, {"marker": "m"})
    with pytest.raises(UsageError, match=message.replace("$", r"\$")):
        check_arguments(ir, arguments)


def test_every_step_of_a_package_is_known_before_it_runs(packages):
    """Names of steps, which the untaken ones are told by, leave conditions and exit handlers out."""
    assert sorted(leaves(documents(packages / "chain.yaml")[0])) == [
        "ingest",
        "judge",
        "note",
        "release",
        "stamp",
        "train",
    ]


def test_steps_run_in_one_order():
    """Dependencies first and names where they leave a choice, whatever order a map gives them in."""
    graph = {"d": ["b", "c"], "c": ["a"], "b": ["a", "outside"], "a": []}
    assert kfp_shim.in_order(graph) == ["a", "b", "c", "d"]
    assert kfp_shim.in_order(dict(reversed(graph.items()))) == ["a", "b", "c", "d"]


def test_another_kfp_is_refused(monkeypatch):
    """The repairs reach into private names and say which version they are for."""
    monkeypatch.setattr("kfp.__version__", "2.18.0")
    with pytest.raises(PlaceError, match=r"kfp 2\.18\.0 is installed"):
        kfp_shim.require_version()
