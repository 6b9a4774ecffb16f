"""The rollout controller of a cluster: all models of a namespace, what it tells steps and people, and its probes."""

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest

from serving.cluster.control import ClusterControl
from serving.cluster.http import STUCK_S, answer, answering
from serving.cluster.service import ClusterService, cluster_address
from serving.errors import ConfigError, InfrastructureError, PlaceError
from serving.json_lines import JsonLines
from serving.ledger.ledger import open_ledger
from serving.places import open_service
from serving.rollout.backend import Readiness, TrafficBackend
from serving.rollout.controller.desk import Memory
from serving.rollout.controller.tables import open_rollouts
from serving.service.release import Release, release_version
from tests.pipelines.here.support import QUICK, environment, one_sentence, slipway
from tests.root import HOUSING
from tests.serving.ledger.facts import facts
from tests.serving.rollout.fake import Behaviour, Clock, FakeBackend


class Namespace:
    """Two models, a fake place for each, one controller."""

    def __init__(self, home: Path) -> None:
        self.home, self.clock = home, Clock()
        self.url = f"sqlite:///{home}/ledger.db"
        self.ledger = open_ledger(self.url, now=lambda: datetime.fromtimestamp(self.clock(), UTC))
        self.backends = {name: FakeBackend(self.clock, rate=400, seed=2) for name in ("housing", "churn")}
        self.down = ""
        self.control = self.another()

    def another(self) -> ClusterControl:
        return ClusterControl("models", self.ledger, open_rollouts(self.url), self._backend, self._ping)

    def _backend(self, model: str, memory: Memory, fence: int) -> TrafficBackend:
        return self.backends[model]

    def _ping(self) -> None:
        if self.down:
            raise InfrastructureError(self.down)

    def register(self, model: str, *numbers: int) -> None:
        for number in numbers:
            made = self.ledger.register(model, facts(f"{number:064d}", f"s3://b/{number}"), "ada")
            self.ledger.approve(model, made.version, "ada", "good")

    def service(self, model: str, *, attended: bool = True) -> ClusterService:
        """As a step sees it; while it waits, the controller goes on if it is *attended*."""
        found = open_service("kserve://models", model, self.url)
        assert isinstance(found, ClusterService)
        found.clock = found.monotonic = self.clock
        found.sleep = self.tick if attended else self.clock.sleep
        return found

    def release(self, model: str, version: int, *, attended: bool = True, timeout_s: float | None = None) -> Release:
        service = self.service(model, attended=attended)
        return release_version(self.ledger, service, version, QUICK, "ada", again=True, timeout_s=timeout_s)

    def tick(self, seconds: float = 1.0) -> None:
        self.control.look(self.clock())
        self.clock.sleep(seconds)

    def passes(self, number: int) -> None:
        for _ in range(number):
            self.tick()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Namespace]:
    made = Namespace(tmp_path)
    yield made
    made.control.close()


# --- releases --------------------------------------------------------------------------------------------------------


def test_the_first_release_waits_until_traffic_follows(place: Namespace) -> None:
    """The step ends when the controller says so, and by then every request goes to the version."""
    place.register("housing", 1)
    assert place.release("housing", 1) == Release("released", "housing 1 takes 100 %")
    assert place.backends["housing"].serving() == {"housing-1": 1000}


def test_without_a_controller_the_step_says_what_is_missing(place: Namespace) -> None:
    """After half a minute without a sign of it; the ledger keeps what was asked, and it comes to pass later."""
    place.register("housing", 1)
    began = place.clock()
    outcome = place.release("housing", 1, attended=False)
    assert outcome == Release("released", "housing 1 takes 100 % when the rollout controller runs")
    assert place.clock() - began == pytest.approx(30, abs=1)
    place.passes(5)
    assert place.backends["housing"].serving() == {"housing-1": 1000}


def test_a_version_that_cannot_serve_fails_its_step_with_the_reason(place: Namespace) -> None:
    """The controller's word is passed on at once, not after the whole time."""
    place.backends["housing"].behave("housing-1", Behaviour(broken="the image cannot be pulled"))
    place.register("housing", 1)
    with pytest.raises(InfrastructureError, match="housing-1 cannot serve: the image cannot be pulled"):
        place.release("housing", 1)


def test_a_backend_that_refuses_is_heard_by_the_step(place: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cluster objects to is the reason in the step's error; other models go on."""

    def refuses(*_: object, **__: object) -> Readiness:
        raise InfrastructureError("this account may not PATCH httproutes")

    monkeypatch.setattr(place.backends["housing"], "ensure", refuses)
    place.register("housing", 1)
    place.register("churn", 1)
    place.ledger.promote("churn", 1, "ada", "first")
    with pytest.raises(InfrastructureError, match="did not follow within 9 s: this account may not PATCH"):
        place.release("housing", 1, timeout_s=9)
    assert place.backends["churn"].serving() == {"churn-1": 1000}
    assert 'slipway_controller_pass_failures_total{service="housing"}' in place.control.metrics(place.clock())


def test_two_models_roll_out_at_once_each_by_its_own_evidence(place: Namespace) -> None:
    """The good one is promoted, the bad one goes home; slow answers are counted by the plan that is live."""
    for model in place.backends:
        place.register(model, 1, 2)
        place.release(model, 1)
    place.backends["churn"].behave("churn-2", Behaviour(errors=0.5))
    for model in place.backends:
        assert place.release(model, 2).sentence == f"{model} 2 starts at 10 % beside {model} 1"
    place.passes(60)
    assert place.backends["housing"].serving() == {"housing-2": 1000}
    assert place.backends["churn"].serving() == {"churn-1": 1000}
    assert place.ledger.version("churn", 2).stage == "archived"
    assert place.backends["housing"].slow_ms == 200.0


def test_a_model_without_a_slot_is_left_alone(place: Namespace) -> None:
    """Versions that nobody released are no reason to touch the cluster."""
    place.register("housing", 1)
    place.passes(3)
    assert place.backends["housing"].effects == []
    assert place.control.last.models == 0


def test_a_second_controller_waits_and_takes_over(place: Namespace) -> None:
    """While the first holds the lease the second moves nothing; when it has ended, the second goes on at once."""
    place.register("housing", 1, 2)
    place.release("housing", 1)
    second = place.another()
    place.ledger.promote("housing", 2, "ada", "by hand")
    for _ in range(10):
        second.look(place.clock())
        place.clock.sleep(1)
    assert place.backends["housing"].serving() == {"housing-1": 1000}
    place.control.close()
    for _ in range(8):
        second.look(place.clock())
        place.clock.sleep(1)
    assert place.backends["housing"].serving() == {"housing-2": 1000}
    second.close()


def test_the_loop_ends_and_gives_its_leases_back(place: Namespace) -> None:
    """What SIGTERM sets ends the loop; nobody has to wait for the lease."""
    place.register("housing", 1)
    place.ledger.promote("housing", 1, "ada", "first")
    stopping = threading.Event()
    place.control._ping = stopping.set  # type: ignore[method-assign]  # the signal comes during the first pass
    place.control.run(stopping, interval_s=0)
    with place.service("housing").desk() as desk:
        assert desk.current() is None


# --- probes ----------------------------------------------------------------------------------------------------------


def test_ready_is_when_ledger_and_cluster_answer(place: Namespace) -> None:
    """Not before the first pass, not while the API is away, with the reason in words."""
    ready = lambda: answer("/readyz", place.control, place.clock(), time.monotonic())  # noqa: E731  # asked three times
    assert ready()[0] == HTTPStatus.SERVICE_UNAVAILABLE
    place.tick()
    assert ready()[0] == HTTPStatus.OK
    place.down = "the Kubernetes API does not answer"
    place.tick()
    assert ready() == (HTTPStatus.SERVICE_UNAVAILABLE, "the Kubernetes API does not answer\n")


def test_a_loop_that_is_stuck_is_not_healthy(place: Namespace) -> None:
    """A pass within a minute is life, whatever it came to."""
    place.down = "gone"
    place.tick()
    at = place.control.last.at
    assert answer("/healthz", place.control, 0.0, at + STUCK_S - 1)[0] == HTTPStatus.OK
    assert answer("/healthz", place.control, 0.0, at + STUCK_S + 1)[0] == HTTPStatus.SERVICE_UNAVAILABLE


def test_metrics_of_all_models_are_one_text(place: Namespace) -> None:
    """Each family once, with the samples of both rollouts, as a scrape demands."""
    for model in place.backends:
        place.register(model, 1, 2)
        place.release(model, 1)
        place.release(model, 2)
    place.passes(3)
    with answering(place.control, "127.0.0.1:0") as port:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
        with pytest.raises(PlaceError, match="cannot listen"), answering(place.control, f"127.0.0.1:{port}"):
            pass
    types = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    for model in place.backends:
        assert f'slipway_rollout_phase{{phase="step",service="{model}"}} 1.0' in text
    assert "slipway_controller_models 2.0" in text


def test_log_lines_are_json_with_fields() -> None:
    """A constant message, and what goes with it as fields."""
    record = logging.makeLogRecord({"msg": "a pass failed", "levelname": "WARNING", "model": "housing"})
    line = json.loads(JsonLines().format(record))
    assert (line["message"], line["level"], line["model"]) == ("a pass failed", "WARNING", "housing")


# --- the command line ------------------------------------------------------------------------------------------------


def test_the_verbs_work_on_the_database_alone(place: Namespace) -> None:
    """Status, explain, history, replay and the page of a cluster's rollout, by the model's name."""
    place.register("housing", 1, 2)
    place.release("housing", 1)
    place.release("housing", 2)
    place.passes(60)
    with environment(SLIPWAY_SERVING="kserve://models", SLIPWAY_LEDGER=place.url):
        for verb in ("status", "explain", "history", "replay", "page"):
            said = slipway("rollout", verb, "--model", "housing", home=place.home)
            assert said.code == 0, said.err
        status = slipway("rollout", "status", "--model", "housing", "--json", home=place.home)
    assert json.loads(status.out)["observed"] == {"housing-2": 100.0}
    assert (place.home / "rollout" / "housing.html").exists()


def test_an_order_reaches_the_controller(place: Namespace) -> None:
    """What a person asks for is answered by the controller's next pass."""
    place.register("housing", 1, 2)
    place.release("housing", 1)
    place.release("housing", 2)
    place.passes(2)
    stopping = threading.Event()

    def ticking() -> None:
        while not stopping.wait(0.05):
            place.tick(0.01)

    loop = threading.Thread(target=ticking)
    loop.start()
    try:
        with environment(SLIPWAY_SERVING="kserve://models", SLIPWAY_LEDGER=place.url):
            said = slipway("rollout", "pause", "--model", "housing", "--reason", "lunch", home=place.home)
    finally:
        stopping.set()
        loop.join()
    assert (said.code, said.out.strip()) == (0, "done: pause")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["serve", "status"], id="serve"),
        pytest.param(["predict", "rows.csv"], id="predict"),
        pytest.param(["rollout", "experiment", "compare"], id="experiment-compare"),
        pytest.param(["rollout", "experiment", "start", "2"], id="experiment-start"),
    ],
)
def test_what_needs_a_directory_says_so(words: list[str], tmp_path: Path) -> None:
    """Verbs for this machine refuse a cluster's service, and say what to do instead."""
    with environment(SLIPWAY_SERVING="kserve://models"):
        said = slipway(*words, "--project", HOUSING, home=tmp_path)
    one_sentence(said, 3, "served by the cluster (kserve://models)", "slipway rollout status")


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("kserve://", id="no-namespace"),
        pytest.param("kserve://models/housing", id="a-path"),
        pytest.param("kserve://models?gateway=x", id="unknown-option"),
    ],
)
def test_a_place_that_says_nothing_is_refused(uri: str) -> None:
    """The sentence shows the form."""
    with pytest.raises(ConfigError, match="expected kserve://NAMESPACE"):
        cluster_address(uri)
    assert cluster_address("kserve://models?domain=example.com&way=route").domain == "example.com"
