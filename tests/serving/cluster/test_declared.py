"""A share declared by ``kubectl apply``: obeyed as the verbs are, once for each change, and answered in place."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from serving.cluster.backends.route import RouteBackend
from serving.cluster.client import HTTP_ROUTE, INFERENCE_SERVICE, Object
from serving.cluster.control import ClusterControl
from serving.cluster.declared import SPLIT
from serving.cluster.manifest import Installation
from serving.cluster.manifest_route import read_route
from serving.ledger.ledger import open_ledger
from serving.places import open_service
from serving.rollout.controller.tables import open_rollouts
from serving.rollout.plan import RolloutPlan
from serving.service.release import release_version
from tests.pipelines.here.support import environment, slipway
from tests.serving.cluster.fake_cluster import NAMESPACE, FakeCluster
from tests.serving.ledger.facts import facts
from tests.serving.rollout.fake import Clock
from tests.serving.rollout.support import plan

BRISK = plan(steps=[10, 50], time={"dwell": "1s", "bake": "3s", "drain": "5s"}, replicas=3, gates={"output": None})
SLOW = BRISK.model_copy(update={"time": BRISK.time.model_copy(update={"dwell": 600.0})})


class Namespace:
    """A ledger with three approved versions, the first of them in production, and a cluster with its controller."""

    def __init__(self, home: Path) -> None:
        self.clock = Clock()
        self.cluster = FakeCluster(self.clock)
        self.url = f"sqlite:///{home}/ledger.db"
        self.ledger = open_ledger(self.url, now=lambda: datetime.fromtimestamp(self.clock(), UTC))
        self.control = ClusterControl(
            "models", self.ledger, open_rollouts(self.url), self._backend, lambda: None, cluster=self.cluster
        )
        for number in (1, 2, 3):
            made = self.ledger.register("housing", facts(f"{number:064d}", f"s3://b/{number}"), "ada")
            self.ledger.approve("housing", made.version, "ada", "good")

    def _backend(self, model: str, memory: Any, fence: int) -> RouteBackend:
        return RouteBackend(
            self.cluster, Installation(), model, memory, fence=fence, clock=self.clock, sleep=self.clock.sleep
        )

    def release(self, version: int, plan: RolloutPlan) -> None:
        service = open_service("kserve://models", "housing", self.url)
        service.clock = service.monotonic = self.clock  # type: ignore[attr-defined]  # a cluster's service
        service.sleep = lambda _: self.passes(1)
        release_version(self.ledger, service, version, plan, "ada", again=True)

    def passes(self, number: int, rate: int = 60) -> None:
        for _ in range(number):
            self.control.look(self.clock())
            self.cluster.send(rate)
            self.clock.sleep(1.0)
        assert not self.control.last.trouble

    def declare(self, version: int, percent: float, manager: str = "argocd-controller", **more: Any) -> None:
        self.cluster.edit(SPLIT, "housing", {"spec": {"version": version, "percent": percent, **more}}, manager)

    def split(self) -> dict[str, int]:
        return dict(read_route(self.cluster.objects[HTTP_ROUTE.plural, NAMESPACE, "housing"]).split().arms)

    def ready(self, name: str = "housing") -> Object:
        (found,) = self.cluster.objects[SPLIT.plural, NAMESPACE, name]["status"]["conditions"]
        return dict(found)

    def minimum(self, version: int) -> int:
        found = self.cluster.objects[INFERENCE_SERVICE.plural, NAMESPACE, f"housing-{version}"]
        return int(found["spec"]["predictor"]["minReplicas"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Namespace]:
    made = Namespace(tmp_path)
    made.release(1, SLOW)
    yield made
    made.control.close()


def test_a_share_is_set_changed_promoted_and_taken_back(place: Namespace) -> None:
    """What the ledger then says is what the verbs would have written, in the name of the field manager."""
    for version, percent, arms, kind in (
        (2, 20, {"housing-1": 800, "housing-2": 200}, "canary"),
        (2, 35.5, {"housing-1": 645, "housing-2": 355}, "canary"),
        (2, 100, {"housing-2": 1000}, "promoted"),
        (1, 100, {"housing-1": 1000}, "rolled back"),
        (2, 10, {"housing-1": 900, "housing-2": 100}, "canary"),
        (2, 0, {"housing-1": 1000}, "canary ended"),
    ):
        place.declare(version, percent, reason="as in git")
        place.passes(12)
        assert place.split() == arms
        assert place.ready()["status"] == "True"
        last = [event for event in place.ledger.history("housing") if event.kind == kind][-1]
        assert (last.actor, last.reason) == ("argocd-controller", "as in git")
    status = place.cluster.objects[SPLIT.plural, NAMESPACE, "housing"]["status"]
    assert (status["percent"], status["by"]) == (0, "argocd-controller")


def test_a_change_is_obeyed_once(place: Namespace) -> None:
    """What somebody says afterwards with a verb holds, and the status shows what is in force."""
    place.declare(2, 20)
    place.passes(8)
    place.ledger.canary("housing", 2, 50, "ada", "by hand")
    place.passes(12)
    assert place.split() == {"housing-1": 500, "housing-2": 500}
    assert place.cluster.objects[SPLIT.plural, NAMESPACE, "housing"]["status"]["percent"] == 50
    place.cluster.edit(SPLIT, "housing", {"metadata": {"labels": {"team": "red"}}}, "kubectl-label")
    place.passes(8)
    assert place.split() == {"housing-1": 500, "housing-2": 500}


@pytest.mark.parametrize(
    ("version", "percent", "says"),
    [
        pytest.param(9, 20, "housing", id="a-version-that-is-not-there"),
        pytest.param(1, 20, "name the version that shall have 80 %", id="of-the-version-in-production"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(place: Namespace, version: int, percent: float, says: str) -> None:
    """In the status and as an Event, with who asked; nothing moves, and a later change is heard."""
    place.declare(version, percent)
    place.passes(6)
    assert (place.ready()["status"], place.ready()["reason"]) == ("False", "Refused")
    assert says in place.ready()["message"]
    (event,) = [obj for (plural, *_), obj in place.cluster.objects.items() if plural == "events"]
    assert (event["type"], event["reason"]) == ("Warning", "SplitRefused")
    assert event["message"].startswith("argocd-controller asked by Split for")
    assert place.split() == {"housing-1": 1000}
    place.declare(2, 20)
    place.passes(8)
    assert place.split() == {"housing-1": 800, "housing-2": 200}


def test_a_split_of_no_model_says_so(place: Namespace) -> None:
    """A name that is misspelt is not silence."""
    place.cluster.edit(SPLIT, "hosing", {"spec": {"version": 1, "percent": 100}}, "kubectl")
    place.passes(2)
    assert "no version of a model 'hosing' serves here" in place.ready("hosing")["message"]


def test_a_live_rollout_holds_goes_on_and_ends_as_declared(place: Namespace) -> None:
    """20 % is held with a pause that says who, its removal ends the pause, 0 sends the candidate home."""
    place.declare(2, 20)
    place.release(2, SLOW)
    place.passes(1)
    place.passes(10)
    assert place.split() == {"housing-1": 800, "housing-2": 200}
    state = open_service("kserve://models", "housing", place.url).live()
    assert state is not None
    assert state.pause is not None
    assert "held at 20 % by argocd-controller" in state.pause.detail
    assert place.ready()["status"] == "True"
    place.cluster.delete(SPLIT, NAMESPACE, "housing")
    place.passes(3)
    state = open_service("kserve://models", "housing", place.url).live()
    assert state is not None
    assert state.pause is None
    place.declare(2, 0)
    place.passes(30)
    assert place.split() == {"housing-1": 1000}
    assert open_service("kserve://models", "housing", place.url).live() is None


def test_a_rollout_of_other_versions_refuses_the_share(place: Namespace) -> None:
    """With the name of the version that it is about."""
    place.release(2, SLOW)
    place.passes(10)
    place.declare(3, 20)
    place.passes(3)
    assert "housing-2 is live, and this Split is about version 3" in place.ready()["message"]


@pytest.mark.parametrize(("edits", "arms"), [("obey", 300), ("put-back", 200)])
def test_an_edit_of_the_route_between_rollouts_follows_the_plan(
    place: Namespace, edits: str, arms: int, tmp_path: Path
) -> None:
    """That of the version in production; what is obeyed is in the ledger's history, and a status needs no rollout."""
    service = open_service("kserve://models", "housing", place.url)
    service.keep_plan(1, SLOW.model_copy(update={"edits": edits}))
    place.declare(2, 20)
    place.passes(12)
    spec = place.cluster.get(HTTP_ROUTE, NAMESPACE, "housing")["spec"]  # type: ignore[index]  # it is there
    for rule in (spec["rules"][2], spec["rules"][6]):
        rule["backendRefs"][0]["weight"], rule["backendRefs"][1]["weight"] = 70, 30
    place.cluster.edit(HTTP_ROUTE, "housing", {"spec": spec}, "kubectl-edit")
    place.passes(15)
    assert place.split() == {"housing-1": 1000 - arms, "housing-2": arms}
    assert ("kubectl-edit" in {event.actor for event in place.ledger.history("housing")}) is (edits == "obey")
    with environment(SLIPWAY_SERVING="kserve://models", SLIPWAY_LEDGER=place.url):
        said = slipway("rollout", "status", "--model", "housing", home=tmp_path)
    assert "kubectl-edit changed HTTPRoute housing to housing-1 70 %, housing-2 30 %" in said.out


def test_replicas_are_the_plans_at_first_and_the_operators_afterwards(place: Namespace) -> None:
    """A rollout planned with three ends with three, and four by hand stay four."""
    assert place.minimum(1) == 3
    place.release(2, BRISK)
    place.passes(60, rate=400)
    assert place.ledger.slot("housing").version == 2
    place.passes(20)
    assert place.minimum(2) == 3
    place.cluster.edit(INFERENCE_SERVICE, "housing-2", {"spec": {"predictor": {"minReplicas": 4}}}, "kubectl-patch")
    place.passes(20)
    assert place.minimum(2) == 4


def test_an_order_of_the_split_is_a_command_like_any_other(place: Namespace) -> None:
    """The journal has it with its author, as it has those of the command line."""
    place.release(2, SLOW)
    place.passes(10)
    place.declare(2, 20, "kustomize-controller")
    place.passes(3)
    with open_service("kserve://models", "housing", place.url).desk() as desk:
        orders = [record.order for record in desk.records() if record.order is not None]
    assert [(order["command"], order["who"]) for order in orders] == [("pause", "kustomize-controller")]
