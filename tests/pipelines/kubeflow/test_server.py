"""A run on a cluster as the command line shows it: nothing is made twice, and a failure comes with its reason."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.steps import telling
from pipelines.here import step_log
from pipelines.here.runner import RunResult, TaskEvent
from pipelines.here.training import judge
from pipelines.kubeflow import submitting
from pipelines.kubeflow import tasks as kfp_tasks
from pipelines.kubeflow.follow import Follower
from pipelines.kubeflow.server import KfpServer, Phase, connect
from serving.cluster.client import Kind
from serving.errors import ConfigError, InfrastructureError, UsageError
from tests.pipelines.here.support import one_sentence, slipway
from tests.pipelines.kubeflow import support
from tests.pipelines.kubeflow.support import Answer, Fake, node, pod, run, serving, task
from tests.root import HOUSING

ROWS = ("--source", "s3://bucket/rows", "--output", "s3://bucket/out")
TASKS = ("ingest", "train", "gate", "release", "decline")
TRACEBACK = "Traceback (most recent call last):\n  File 'x'\nValueError: the reason\nF0131 main.go: exit status 1\n"
MARKED = 'SLIPWAY-ERROR {"sentence": "sold_at is absent; add it", "exit_code": 4, "kind": "DataError"}\n' + TRACEBACK


@pytest.fixture
def fake() -> Iterator[Fake]:
    with serving(Fake()) as found:
        yield found


@pytest.fixture(params=["", "(0)"], ids=["2.14", "2.17"])
def attempt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs as an older and a newer server tell of them."""
    monkeypatch.setattr(support, "ATTEMPT", request.param)


@pytest.fixture
def server(fake: Fake) -> KfpServer:
    return connect(fake.host)


@dataclass
class Pods:
    """Pods of a run and their logs, by the task they work for."""

    found: list[Answer] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)

    def list(self, _kind: Kind, _namespace: str, _labels: Mapping[str, str]) -> "list[Answer]":
        return self.found

    def log(self, _namespace: str, pod: str, _container: str, _lines: int) -> str:
        by_name = {kfp_tasks.name_of(one): kfp_tasks.task_of(one) for one in self.found}
        return self.logs.get(by_name[pod], "")


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def followed(
    fake: Fake, pods: Any, directory: Path, answers: list[Answer], timeout_s: float = 600, tasks: Sequence[str] = TASKS
) -> tuple[RunResult, list[TaskEvent]]:
    events: list[TaskEvent] = []
    fake.runs = answers
    clock = Clock()
    name, tell = "20260131T120000", events.append
    follower = Follower(
        connect(fake.host), pods, "kubeflow", "server-id", name, tasks, directory, tell, clock, clock.sleep
    )
    return follower.follow(timeout_s), events


def told(events: list[TaskEvent]) -> list[tuple[str, str, str | None]]:
    return [(event.task, event.state, event.message) for event in events if event.state != "RUNNING"]


# what is put on the server


def test_equal_bytes_are_uploaded_once(fake: Fake, server: KfpServer) -> None:
    """A second submission of the same package finds its version; another package becomes another version."""
    first = server.ensure_version("slipway-train", b"a: 1\n", "sha256-1")
    again = server.ensure_version("slipway-train", b"a: 1\n", "sha256-1")
    assert (first.uploaded, again.uploaded) == (True, False)
    assert first.version_id == again.version_id
    uploads = fake.uploads
    other = server.ensure_version("slipway-train", b"a: 2\n", "sha256-2")
    assert (fake.uploads, other.pipeline_id) == (uploads + 1, first.pipeline_id)
    assert len(fake.pipelines) == 1


def test_an_experiment_is_made_once(fake: Fake, server: KfpServer) -> None:
    assert server.ensure_experiment("housing") == server.ensure_experiment("housing")
    assert len(fake.experiments) == 1


def test_a_run_is_of_the_version_and_the_account(fake: Fake, server: KfpServer) -> None:
    """What is asked for reaches the server: version, experiment, arguments, and the account with few rights."""
    version = server.ensure_version("slipway-train", b"a: 1\n", "sha256-1")
    run_id = server.create_run(version, "exp", "housing 1", {"seed": 42})
    made = fake.created[0]
    assert run_id == made["run_id"]
    assert made["service_account"] == "pipeline-runner"
    assert made["pipeline_version_reference"]["pipeline_version_id"] == version.version_id
    assert made["runtime_config"]["parameters"] == {"seed": 42}


def test_a_schedule_is_replaced_only_by_another(fake: Fake, server: KfpServer) -> None:
    """The same schedule twice is one; another one takes its place; removing leaves none."""
    version = server.ensure_version("slipway-train", b"a: 1\n", "sha256-1")

    def ask(cron: str, seed: int) -> bool:
        return server.schedule(version, "exp", "housing", cron, {"seed": seed})[1]

    assert [ask("0 0 3 1 * *", 1), ask("0 0 3 1 * *", 1), ask("0 0 3 2 * *", 1), ask("0 0 3 2 * *", 2)] == [
        True, False, True, True,
    ]  # fmt: skip
    assert len(fake.schedules) == 1
    assert fake.schedules[0]["trigger"]["cron_schedule"]["cron"] == "0 0 3 2 * *"
    assert fake.schedules[0]["no_catchup"] is True
    assert (server.unschedule("exp", "housing"), server.unschedule("exp", "housing")) == (1, 0)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(400, ConfigError, id="what-was-given-is-wrong"),
        pytest.param(500, InfrastructureError, id="the-server-cannot"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(
    fake: Fake, server: KfpServer, status: int, error: type[Exception]
) -> None:
    fake.refuse = (status, "unknown field optional")
    with pytest.raises(error, match="unknown field optional"):
        server.ensure_experiment("housing")


def test_a_server_that_is_not_there_is_infrastructure() -> None:
    with pytest.raises(InfrastructureError, match="does not answer"):
        connect("http://127.0.0.1:1").health()


def test_without_address_and_cluster_the_next_move_is_told() -> None:
    with pytest.raises(ConfigError, match="--context"):
        connect()


# how a run is followed


@pytest.mark.usefixtures("attempt")
def test_a_run_is_told_as_one_here_would_be(fake: Fake, tmp_path: Path) -> None:
    """Tasks by their names with summary and seconds; drivers and groups are hidden, what nobody ran was skipped."""
    pods = Pods([pod("train"), pod("gate"), pod("release")], {"train": "noise\nSLIPWAY-SUMMARY bundle 1d88e0\n"})
    answers = [
        run("RUNNING", task("ingest", "RUNNING", 1)),
        run("RUNNING", task("ingest", "SUCCEEDED", 1, 5), task("train", "RUNNING", 6)),
        run("SUCCEEDED", task("ingest", "SUCCEEDED", 1, 5), task("train", "SUCCEEDED", 6, 20),
            task("gate", "SUCCEEDED", 26, 8), [node("condition-2", "SUCCEEDED")],
            task("release", "SUCCEEDED", 34, 8), [node("condition-3", "SKIPPED")]),
    ]  # fmt: skip
    result, events = followed(fake, pods, tmp_path, answers)
    assert told(events) == [
        ("ingest", "CACHED", None),
        ("train", "SUCCEEDED", "bundle 1d88e0"),
        ("gate", "SUCCEEDED", None),
        ("release", "SUCCEEDED", None),
        ("decline", "SKIPPED", None),
    ]
    assert [event.seconds for event in events if event.task == "train" and event.state == "SUCCEEDED"] == [20.0]
    assert (result.state, result.exit_code, result.error) == ("SUCCEEDED", 0, None)
    assert (tmp_path / "logs" / "train.log").read_text().startswith("noise")
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == len(events)
    begun = [event.task for event in events if event.state == "RUNNING"]
    assert begun == ["ingest", "train", "gate", "release"], "each begins once"


@pytest.mark.usefixtures("attempt")
@pytest.mark.parametrize(
    ("log", "status", "sentence", "code"),
    [
        pytest.param(MARKED, {}, "sold_at is absent; add it", 4, id="our-refusal-keeps-its-family"),
        pytest.param(TRACEBACK, {}, "ValueError: the reason", 1, id="an-exception-is-named"),
        pytest.param(
            "", {"containerStatuses": [{"name": "main", "state": {"terminated": {"reason": "OOMKilled"}}}]},
            "used more memory", 7, id="out-of-memory-is-said",
        ),
        pytest.param("", {"message": "node was lost"}, "node was lost", 30, id="a-lost-pod-is-infrastructure"),
    ],
)  # fmt: skip
def test_a_failure_comes_with_its_cause(
    fake: Fake, tmp_path: Path, log: str, status: dict[str, Any], sentence: str, code: int
) -> None:
    """The server only says FAILED; the sentence and the exit code of the family come from the pod."""
    pods = Pods([pod("train", **status)], {"train": log})
    answers = [run("FAILED", task("ingest", "SUCCEEDED", 1, 5), task("train", "FAILED", 6, 9))]
    result, events = followed(fake, pods, tmp_path, answers)
    assert result.state == "FAILED"
    assert result.exit_code == code
    assert result.error is not None
    assert result.error.startswith("train: ")
    assert sentence in result.error
    assert str(tmp_path / "logs" / "train.log") in result.error
    assert ("release", "SKIPPED", None) in told(events)


@pytest.mark.usefixtures("attempt")
def test_a_driver_that_dies_speaks_for_its_task(fake: Fake, tmp_path: Path) -> None:
    """A task that failed before it had a pod of its own is explained by its driver's."""
    pods = Pods([pod("train", driver=True)], {"train": "F driver.go: input parameter type mismatch\n"})
    answers = [run("FAILED", [node("train-driver", "FAILED", 1, 2)])]
    result, _ = followed(fake, pods, tmp_path, answers)
    assert result.error is not None
    assert "type mismatch" in result.error


@pytest.mark.usefixtures("attempt")
def test_a_task_in_a_loop_is_over_when_the_loop_is(fake: Fake, tmp_path: Path) -> None:
    """The first share done is not all done, and the one that failed says why; names are those of a run here."""
    loop = [["for-loop-1", f"iteration-iterations({number}:{number})"] for number in range(2)]
    pods = [pod("score", within=loop[0], phase="Succeeded"), pod("score", within=loop[1], phase="Failed")]
    first, second = task("score", "SUCCEEDED", 6, 9), task("score", "FAILED", 6, 12)
    answers = [
        run("RUNNING", [node("for-loop-1", "RUNNING", 5)], first),
        run("FAILED", [node("for-loop-1", "FAILED", 5, 14)], first, second),
    ]
    said = {kfp_tasks.name_of(pods[1]): MARKED}
    speaking = SimpleNamespace(list=lambda *_: pods, log=lambda _space, name, *_: said.get(name, ""))
    result, events = followed(fake, speaking, tmp_path, answers, tasks=("for-loop-1/score", "collect-scores"))
    assert told(events) == [
        ("for-loop-1/score", "FAILED", "sold_at is absent; add it"), ("collect-scores", "SKIPPED", None)
    ]  # fmt: skip
    assert result.exit_code == 4
    done = [run("SUCCEEDED", [node("for-loop-1", "SUCCEEDED", 5, 14)], first, task("score", "SUCCEEDED", 6, 12))]
    result, events = followed(fake, Pods(pods[:1]), tmp_path, done, tasks=("for-loop-1/score",))
    assert told(events) == [("for-loop-1/score", "SUCCEEDED", None)]


@pytest.mark.usefixtures("attempt")
def test_details_that_come_late_are_waited_for(fake: Fake, tmp_path: Path) -> None:
    """A server calls a run done before it says so of the last task; the message of that task is not lost."""
    pods = Pods([pod("release")], {"release": "SLIPWAY-SUMMARY housing 1 takes 100 %\n"})
    early, late = task("release", "RUNNING", 1), task("release", "SUCCEEDED", 1, 9)
    answers = [run("SUCCEEDED", early), run("SUCCEEDED", early), run("SUCCEEDED", late)]
    result, events = followed(fake, pods, tmp_path, answers)
    (release,) = [event for event in events if (event.task, event.state) == ("release", "SUCCEEDED")]
    assert (release.message, release.seconds) == ("housing 1 takes 100 %", 9.0)
    assert result.state == "SUCCEEDED"


def test_details_that_never_come_do_not_hold_it_up(fake: Fake, tmp_path: Path) -> None:
    """After a while the word about the run counts for its tasks."""
    result, events = followed(fake, Pods([pod("gate")]), tmp_path, [run("SUCCEEDED", task("gate", "RUNNING", 1))])
    assert ("gate", "SUCCEEDED", None) in told(events)
    assert result.state == "SUCCEEDED"


@pytest.mark.usefixtures("attempt")
def test_a_pod_that_cannot_start_is_told_at_once(fake: Fake, tmp_path: Path) -> None:
    """A missing secret or image leaves a run hanging; the line says which, once, and following ends in time."""
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "slipway-ledger" not found'}}
    pods = Pods([pod("gate", containerStatuses=[{"name": "main", "state": waiting}])])
    result, events = followed(fake, pods, tmp_path, [run("RUNNING", task("gate", "RUNNING", 1))], timeout_s=30)
    said = [event.message for event in events if event.message]
    assert len(said) == 1
    assert 'secret "slipway-ledger" not found' in said[0]
    assert (result.state, result.exit_code) == ("TIMED_OUT", 7)
    assert "goes on" in (result.error or "")


def test_a_restarting_server_is_waited_for(fake: Fake, tmp_path: Path) -> None:
    """Two minutes without an answer are borne, more are not."""
    clock, fake.runs = Clock(), [run("SUCCEEDED")]
    fake.refuse = (503, "starting")

    def sleep(seconds: float) -> None:
        clock.sleep(20 * seconds)
        fake.refuse = (503, "starting") if clock.now < silence else None

    def go() -> RunResult:
        server = connect(fake.host)
        nobody: Any = Pods()
        return Follower(server, nobody, "kubeflow", "id", "name", TASKS, tmp_path, lambda _: None, clock, sleep).follow(
            900
        )

    silence = 60.0
    assert go().state == "SUCCEEDED"
    clock.now, silence, fake.refuse = 0.0, 600.0, (503, "starting")
    with pytest.raises(InfrastructureError, match="starting"):
        go()


@pytest.mark.parametrize(
    ("phase", "state", "code"),
    [("CANCELED", "CANCELLED", 130), ("FAILED", "FAILED", 30)],
)
def test_an_end_without_a_failed_task_is_still_an_end(
    fake: Fake, tmp_path: Path, phase: Phase, state: str, code: int
) -> None:
    result, _ = followed(fake, Pods(), tmp_path, [run(phase)])
    assert (result.state, result.exit_code) == (state, code)


# what it means


def ended(tmp_path: Path, fake: Fake, last: str, log: str) -> RunResult:
    pods = Pods([pod("gate"), pod(last)], {"gate": "SLIPWAY-SUMMARY rmse is too high\n", last: log})
    return followed(
        fake, pods, tmp_path, [run("SUCCEEDED", task("gate", "SUCCEEDED", 1, 4), task(last, "SUCCEEDED", 5, 9))]
    )[0]


@pytest.mark.parametrize(
    ("last", "log", "outcome", "sentence", "code"),
    [
        pytest.param(
            "release", "SLIPWAY-SUMMARY housing 1 takes 100 %\nSLIPWAY-OUTCOME released\n",
            "released", "housing 1 takes 100 %", 0, id="released",
        ),
        pytest.param(
            "release", "SLIPWAY-SUMMARY housing 2 is pending\nSLIPWAY-OUTCOME waiting\n",
            "waiting", "housing 2 is pending", 20, id="waits-for-a-person",
        ),
        pytest.param(
            "release", "SLIPWAY-SUMMARY models approve was said\nSLIPWAY-OUTCOME released\n",
            "released", "models approve was said", 0, id="words-for-people-decide-nothing",
        ),
        pytest.param(
            "decline", "SLIPWAY-SUMMARY housing stays as it is\n",
            "refused", "housing stays as it is", 5, id="refused-by-a-gate",
        ),
        pytest.param("decline", "", "refused", "rmse is too high", 5, id="refused-in-silence"),
    ],
)  # fmt: skip
def test_outcomes_are_those_of_a_run_here(
    tmp_path: Path, fake: Fake, last: str, log: str, outcome: str, sentence: str, code: int
) -> None:
    """What a step returns is in its log, since a server does not tell it."""
    found = judge(ended(tmp_path, fake, last, log))
    assert (found.outcome, found.sentence, found.exit_code) == (outcome, sentence, code)


def test_what_a_step_returns_is_read_from_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides of it: the step that writes and whoever follows."""
    assert telling.conclude("waiting") == "waiting"
    telling.tell("housing 2 is pending")
    lines = capsys.readouterr().out.splitlines()
    assert (step_log.outcome(lines), step_log.summary(lines)) == ("waiting", "housing 2 is pending")


@pytest.mark.parametrize("source", ["sales.csv", "/data/sales.parquet", "file:///data/sales.csv"])
def test_a_table_of_this_machine_is_refused(source: str) -> None:
    """A pod cannot read it; the message says where to put it."""
    with pytest.raises(UsageError, match="--source"):
        submitting.check_reach(source, "--source")


@pytest.mark.parametrize("source", ["s3://bucket/sales.parquet", "market://calm?months=24", "sklearn://iris"])
def test_a_table_that_a_pod_reaches_is_not(source: str) -> None:
    submitting.check_reach(source, "--source")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(("--source", "sales.csv"), "--source", id="a-table-that-no-pod-reads"),
        pytest.param(("--output", "s3://bucket/out"), "submit score", id="a-scoring-option-for-training"),
        pytest.param(("--version", "2"), "submit score", id="a-version-for-training"),
        pytest.param(("--schedule", "--no-wait"), "--schedule", id="a-schedule-starts-nothing"),
        pytest.param(("score", "--source", "s3://bucket/rows"), "--output", id="scoring-to-nowhere"),
        pytest.param(("score", "--output", "s3://bucket/out"), "--source", id="scoring-nothing"),
        pytest.param(("score", *ROWS, "--as-of", "2026-01-31"), "submit train", id="a-training-option-for-scoring"),
        pytest.param(("score", *ROWS, "--schedule"), "submit train", id="scoring-by-a-schedule-of-training"),
        pytest.param(("score", *ROWS[:3], "out"), "--output", id="predictions-to-where-no-pod-writes"),
    ],
)
def test_the_verb_refuses_before_it_asks_a_cluster(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    """What cannot work is said without a cluster, with the exit code for a wrong call."""
    said = slipway("submit", "--project", HOUSING, "--context", "no-such-context", *words, home=tmp_path)
    one_sentence(said, 2, told)


def test_an_unknown_cluster_is_told(tmp_path: Path) -> None:
    said = slipway("submit", "--project", HOUSING, "--context", "no-such-context", home=tmp_path)
    one_sentence(said, 3, "no-such-context")


@pytest.mark.parametrize(
    ("words", "pipeline", "given"),
    [
        pytest.param(
            ("--as-of", "2026-01-31", "--window", "180d"), "slipway-train",
            {"as_of": "2026-01-31", "window": "180d", "source": "market://calm?months=24&seed=7"}, id="train",
        ),
        pytest.param(
            ("score", *ROWS, "--version", "2", "--keep", "rooms", "--explain", "--top", "3"), "slipway-score",
            {
                "name": "housing", "source": ROWS[1], "output": ROWS[3], "version": 2, "keep": "rooms",
                "explain": True, "top": 3,
            }, id="score",
        ),
    ],
)  # fmt: skip
def test_one_verb_submits_both_pipelines(
    words: tuple[str, ...], pipeline: str, given: dict[str, Any], fake: Fake, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What was typed is what the run is given, beside the place of the cluster; the server has the committed graph."""
    there = dict.fromkeys(("SLIPWAY_STORE", "SLIPWAY_KEY"), f"file://{tmp_path}")
    notes = {"slipway.dev/code": "c" * 64, "slipway.dev/commit": "abc"}
    spec = {"template": {"spec": {"containers": [{"image": "slipway-python:1234"}]}}}
    objects = {"configmaps": {"data": there}, "deployments": {"metadata": {"annotations": notes}, "spec": spec}}
    cluster = SimpleNamespace(get=lambda kind, *_: objects[kind.plural])
    monkeypatch.setattr("serving.cluster.client.open_cluster", lambda _context: cluster)
    said = slipway("submit", *words, "--project", HOUSING, "--host", fake.host, "--no-wait", home=tmp_path / "home")
    assert (said.code, said.err) == (0, "")
    (made,) = fake.created
    arguments = made["runtime_config"]["parameters"]
    assert {name: arguments.get(name) for name in given} == given
    assert json.loads(arguments["place"])["store"] == there["SLIPWAY_STORE"]
    assert [one["display_name"] for one in fake.pipelines] == [pipeline]
    assert [one["display_name"] for one in fake.experiments] == ["housing"]
    if pipeline == "slipway-train":
        told = json.loads(arguments["notes"])
        assert (told["code"], told["commit"], told["run_id"]) == ("c" * 64, "abc", made["display_name"].split()[1])
        assert "run_id" not in arguments
