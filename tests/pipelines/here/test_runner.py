"""Running a compiled pipeline on this machine: events, the cache, causes of failure, and kills."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.compiling.ir import SELF, terms
from pipelines.here import runner, step_log
from pipelines.here.interpreter import Step, in_order, leaves
from pipelines.here.run import check_arguments
from pipelines.here.runner import RunResult, TaskEvent
from pipelines.here.step_cache import CachedStep, StepCache, key_of, read_content, unchanged
from pipelines.here.steps import StepFailed, Steps
from serving.errors import ConfigError, ConflictError, UsageError
from tests.pipelines.compiling.kfp_examples.loading import compiled, documents

SECRET = "s3cr3t-of-the-store"


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("packages")
    for module, pipeline in [
        ("chain", "chain"),
        ("trouble", "failing"),
        ("trouble", "waiting"),
        ("groups", "groups"),
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
    with patch.dict("os.environ", EXAMPLE_SECRET=SECRET):
        results = {"first": go(package, {}, root, "first", on_event=events.append)}
    results |= {
        "same": go(package, {"rate": 0.5, "run": "another"}, root, "same"),
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
    assert first.outputs == {"Output": "accepted"}
    assert first.task("release").outputs == {"Output": "accepted abc 0.5 3"}
    made = dict.fromkeys(["ingest", "train", "judge", "stamp", "release"], "SUCCEEDED")
    assert states(first) == {**made, "note": "SKIPPED"}
    assert [task.task for task in first.tasks] == ["ingest", "stamp", "train", "judge", "release", "note"]
    assert first.task("ingest").message == "3 letters"
    assert first.task("train").outputs["model"]["metadata"] == {}
    assert Path(first.task("train").outputs["model"]["uri"], "weights.txt").read_text() == "abc 0.5 3"
    assert [event.state for event in events if event.task == "train"] == ["RUNNING", "SUCCEEDED"]
    lines = (root / "runs" / "first" / "events.jsonl").read_text().splitlines()
    assert [TaskEvent(**json.loads(line)) for line in lines] == events


def test_the_same_again_is_served_from_the_cache(chain):
    """Outputs, summaries and artifacts return; only steps told to run again do."""
    _, _, results = chain
    first, same = results["first"], results["same"]
    expected = {"ingest": "CACHED", "train": "CACHED", "judge": "CACHED", "release": "SUCCEEDED", "stamp": "SUCCEEDED"}
    assert states(same) == {**expected, "note": "SKIPPED"}
    assert same.outputs == first.outputs
    assert same.task("ingest").state == "CACHED"
    assert same.task("ingest").message == "3 letters"
    assert same.task("ingest").outputs == first.task("ingest").outputs
    assert same.task("stamp").outputs == {"Output": "another"}


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
    assert results["rate"].outputs == {"Output": "refused"}
    assert results["rate"].task("note").outputs == {"Output": "kept the champion: refused"}


def test_a_run_without_cache_makes_everything_again(chain):
    """cache=False serves nothing."""
    _, _, results = chain
    assert "CACHED" not in states(results["uncached"]).values()
    assert results["uncached"].outputs == results["first"].outputs


def test_the_environment_reaches_steps_and_no_file(chain):
    """A step has the variables of the command, secrets too; nothing below the root contains them."""
    root, _, results = chain
    assert results["first"].task("stamp").message == f"a secret of {len(SECRET)} letters"
    assert results["same"].task("stamp").message == "a secret of 0 letters"
    assert not [path for path in root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_nothing_temporary_is_left(chain):
    """The temporary directories of steps go with the run."""
    root, _, _ = chain
    assert list((root / "runs" / "first" / "tmp").iterdir()) == []


def test_groups_of_every_kind_are_followed(packages, tmp_path):
    """Conditions in conditions, quotes in values, loops, loops over nothing, one pipeline twice given artifacts."""
    result = go(packages / "groups.yaml", {}, tmp_path, "r")
    assert result.error is None
    assert result.outputs == {"Output": "first second FIRST A+B+C:a+b+c 0"}
    assert states(result) == {
        **dict.fromkeys(["measure", "write", "write-4", "write-5", "reading/read", "reading-2/read"], "SUCCEEDED"),
        **dict.fromkeys([f"for-loop-3-iteration-{number}/write-2" for number in range(3)], "SUCCEEDED"),
        **dict.fromkeys(["join", "count", "collect"], "SUCCEEDED"),
        "for-loop-4/write-3": "SKIPPED",
    }
    other = go(packages / "groups.yaml", {"word": "fair"}, tmp_path, "other")
    assert other.task("write").state == "SKIPPED"  # the step below two conditions


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
    """The final message has the task, the reason in one line and the log; what comes after it is passed over."""
    result = go(packages / "failing.yaml", {"how": how}, tmp_path, "r")
    log = tmp_path / "runs" / "r" / "logs" / "fail.log"
    assert result.state == "FAILED"
    assert result.error is not None
    assert result.error.startswith(f"fail: {sentence}")
    assert result.error.endswith(f"(log: {log})")
    assert result.exit_code == exit_code
    assert "\n" not in result.error
    assert states(result) == {"prepare": "SUCCEEDED", "fail": "FAILED", "prepare-2": "SKIPPED"}


def test_a_wrong_argument_runs_nothing(packages, tmp_path):
    """A usage error of the pipeline is the result, with its exit code."""
    result = go(packages / "failing.yaml", {"how": "{{$.x}}"}, tmp_path, "r")
    assert (result.state, result.exit_code, result.tasks) == ("FAILED", 2, ())
    assert result.error == "argument 'how' contains '{{$', which KFP replaces; encode it"


def test_a_package_that_cannot_be_followed_runs_nothing(packages, tmp_path):
    """One that was made elsewhere is held to the same shape as ours, before its first step."""
    package = tmp_path / "package.yaml"
    text = (packages / "chain.yaml").read_text()
    package.write_text(text.replace("taskInfo:\n          name: judge", "retryPolicy: {}", 1))
    assert package.read_text() != text
    result = go(package, {}, tmp_path, "r")
    assert (result.state, result.exit_code, result.tasks) == ("FAILED", 3, ())
    assert result.error is not None
    assert "'root.dag.tasks.judge.retryPolicy'" in result.error


def test_no_package_is_a_configuration_error(tmp_path):
    """A package that was never compiled is named before anything starts."""
    with pytest.raises(ConfigError, match="no compiled pipeline at"):
        go(tmp_path / "none.yaml", {}, tmp_path, "r")


def test_two_runs_of_one_name_do_not_mix(packages, tmp_path):
    """The second is told, and the first keeps its records."""
    with runner._alone(tmp_path / "runs" / "r"), pytest.raises(ConflictError, match="run r is under way"):
        go(packages / "failing.yaml", {"how": "well"}, tmp_path, "r")


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


SLOW_STEP = """
import json, os, sys
from components.steps.progress import beside

output = json.loads(sys.argv[1])["outputs"]["outputFile"]
seen = beside(output) / "so far"
seen.parent.mkdir(parents=True, exist_ok=True)
seen.open("a").write("x")
if seen.read_text() != "xx":
    os.kill(os.getpid(), 9)
json.dump({"parameterValues": {"n": len(seen.read_text())}}, open(output, "w"))
"""


def test_what_a_killed_step_had_so_far_is_there_for_the_next_attempt_at_the_same_step_alone(tmp_path):
    """A step of other arguments begins with nothing, and once there is a result nothing is left of what led to it."""
    component = {"outputDefinitions": {"parameters": {"n": {"parameterType": "NUMBER_INTEGER"}}}}
    container = {"command": [sys.executable, "-c", SLOW_STEP], "args": [SELF]}
    cache = StepCache(tmp_path / "cache")
    steps = Steps(tmp_path / "made", tmp_path / "logs", cache, lambda **event: None)
    one, other = (Step("slow", component, container, {"seed": {"value": seed}}, cached=True) for seed in (1, 2))
    for step in (one, other):
        with pytest.raises(StepFailed, match="signal 9"):
            steps.execute(step)
    assert steps.execute(one) == {"n": {"value": 2}}
    assert len(list(cache.directory.glob(".*.progress"))) == 1  # the other's
    assert steps.execute(other) == {"n": {"value": 2}}
    assert [path.suffix for path in cache.directory.iterdir()] == [".json"] * 2
    assert not list(tmp_path.glob("made/**/.progress"))


def test_without_a_cache_each_attempt_begins_with_nothing_and_leaves_nothing(tmp_path):
    """A step that keeps what it has so far ends as well as it does with a cache."""
    component = {"outputDefinitions": {"parameters": {"n": {"parameterType": "NUMBER_INTEGER"}}}}
    quick = SLOW_STEP.replace('!= "xx"', '!= "x"')
    step = Step("quick", component, {"command": [sys.executable, "-c", quick], "args": [SELF]}, {}, cached=True)
    steps = Steps(tmp_path / "made", tmp_path / "logs", None, lambda **event: None)
    assert [steps.execute(step) for _ in range(2)] == [{"n": {"value": 1}}] * 2
    assert not list(tmp_path.glob("made/**/.progress"))


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
INPUT = "pipelinechannel--judge-Output"


@pytest.mark.parametrize(
    ("condition", "read"),
    [
        pytest.param(f"{WORD} == 'good'", [(INPUT, "good", True)], id="if"),
        pytest.param(f"{WORD} != 'good'", [(INPUT, "good", False)], id="if-not"),
        pytest.param(f"!({WORD} == 'good')", [(INPUT, "good", False)], id="else"),
        pytest.param(f"!({WORD} != 'good')", [(INPUT, "good", True)], id="else-of-not"),
        pytest.param(f"!({WORD} == 'a') && {WORD} == 'b'", [(INPUT, "a", False), (INPUT, "b", True)], id="elif"),
    ],
)
def test_conditions_are_read_as_the_server_reads_them(condition, read):
    """The comparisons that dsl.If, Elif and Else compile to; all of them must hold."""
    assert terms(condition) == read


@pytest.mark.parametrize(
    "condition",
    [f"int({WORD}) > 5", f"{WORD} == true", f"{WORD} == 'a' || {WORD} == 'b'", f"{WORD} == 'it's'", f"!{WORD} == 'a'"],
)
def test_another_condition_is_not_guessed(condition):
    """It is an error and not a branch that is silently not taken."""
    with pytest.raises(ValueError, match=re.escape(condition)):
        terms(condition)


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
        pytest.param({"how": "{{$.x}}"}, "which KFP replaces", id="placeholder"),
        pytest.param({"how": "x" * 100_001}, "100,001 characters, at most 100,000 travel", id="too-large"),
    ],
)
def test_arguments_that_would_not_arrive_are_refused(arguments, message):
    """What a command line does not carry or KFP would change is refused first."""
    check_arguments({"how": "well"})
    with pytest.raises(UsageError, match=message.replace("$", r"\$")):
        check_arguments(arguments)


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
    graph = {"d": ["b", "c"], "c": ["a"], "b": ["a"], "a": []}
    assert in_order(graph) == ["a", "b", "c", "d"]
    assert in_order(dict(reversed(graph.items()))) == ["a", "b", "c", "d"]
