"""Traffic in a cluster: each way keeps the contract, and does what is needed in the order that loses no request."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.cluster.backends.knative import KnativeBackend
from serving.cluster.backends.route import RouteBackend
from serving.cluster.backends.standard import StandardBackend
from serving.cluster.client import DEPLOYMENT, DISRUPTION_BUDGET, HTTP_ROUTE, INFERENCE_SERVICE, Object
from serving.cluster.manifest import Installation
from serving.cluster.manifest_route import SPLIT, read_route
from serving.cluster.two_slots import RESTING
from serving.errors import BackendRefusal, ConflictError, InfrastructureError
from serving.rollout.backend import ArmCounts, Observed, Revision, Split, TrafficBackend
from serving.rollout.controller.controller import Controller
from serving.rollout.state import Phase, Request
from tests.serving.cluster.fake_cluster import NAMESPACE, FakeCluster, Notes, merge
from tests.serving.rollout.backend_contract import BackendContract, Place
from tests.serving.rollout.fake import Clock
from tests.serving.rollout.support import open_desk, plan, run

AT = Installation()


def revision(number: int) -> Revision:
    return Revision(f"housing-{number}", "housing", number, f"s3://slipway/models/housing/{number}", f"{number:064d}")


class ClusterPlace:
    """One of the ways, in a cluster with nothing running."""

    sticky_header = "x-user"

    def __init__(self, make: Callable[[FakeCluster, Notes, Clock], TrafficBackend]) -> None:
        self.clock, self.notes = Clock(), Notes()
        self.cluster = FakeCluster(self.clock)
        self.make = make
        self.backend = make(self.cluster, self.notes, self.clock)

    def revision(self, number: int) -> Revision:
        return revision(number)

    def broken(self, number: int) -> Revision:
        self.cluster.behaves(revision(number).name).broken = "crash"
        return revision(number)

    def send(self, n: int, *, arm: str | None = None, key: str | None = None) -> list[str]:
        return self.cluster.send(n, arm=arm)

    def fail(self, revision: str) -> None:
        self.cluster.behaves(revision).errors = True

    def slow(self, revision: str) -> None:
        self.cluster.behaves(revision).ms = 400

    def until(self, true: Callable[[], bool]) -> None:
        for _ in range(100):
            if true():
                return
            self.clock.sleep(0.1)
        pytest.fail("not true after ten virtual seconds")

    # beyond the contract

    def restarted(self, **changes: Any) -> TrafficBackend:
        """What a new process has: the cluster and the memory, and nothing of the old one."""
        self.backend = replace(self.make(self.cluster, self.notes, self.clock), **changes)  # type: ignore[type-var]  # all three are dataclasses
        return self.backend

    def running(self, *numbers: int) -> None:
        for number in numbers:
            self.backend.ensure(revision(number), 1)
        self.until(lambda: all(self.backend.readiness(f"housing-{number}").state == "ready" for number in numbers))

    def routed(self, weights: dict[str, int], epoch: str, **more: Any) -> Observed:
        self.backend.apply(Split(weights, **more), epoch)
        self.until(lambda: self.backend.observed().epoch == epoch)
        return self.backend.observed()

    def arm(self, epoch: str, name: str) -> ArmCounts:
        return self.backend.counters().epochs.get(epoch, {}).get(name, ArmCounts())

    def routes(self) -> list[Object]:
        return [obj for call, _, obj in self.cluster.writes if call == "apply" and obj["kind"] == "HTTPRoute"]


def route_place() -> ClusterPlace:
    return ClusterPlace(
        lambda cluster, notes, clock: RouteBackend(cluster, AT, "housing", notes, clock=clock, sleep=clock.sleep)
    )


def standard_place() -> ClusterPlace:
    return ClusterPlace(lambda cluster, notes, clock: StandardBackend(cluster, AT, "housing", notes, clock=clock))


def knative_place() -> ClusterPlace:
    return ClusterPlace(lambda cluster, notes, clock: KnativeBackend(cluster, AT, "housing", notes, clock=clock))


def kept(made: ClusterPlace) -> Iterator[ClusterPlace]:
    """*made*, of which in the end no pod was started anew: what moves traffic leaves those that serve alone."""
    yield made
    assert made.cluster.restarted == []


class TestRouteKeepsTheContract(BackendContract):
    @pytest.fixture
    def place(self) -> Iterator[ClusterPlace]:
        yield from kept(route_place())


class TestStandardKeepsTheContract(BackendContract):
    @pytest.fixture
    def place(self) -> Iterator[ClusterPlace]:
        yield from kept(standard_place())


class TestKnativeKeepsTheContract(BackendContract):
    def running(self, place: Place, *numbers: int) -> list[str]:
        """One after the other: until one is rolled out Knative gives the newest everything."""
        return [name for number in numbers for name in super(type(self), self).running(place, number)]

    @pytest.fixture
    def place(self) -> Iterator[ClusterPlace]:
        yield from kept(knative_place())


# The route of our own: what is written, in which order, and what is refused.


@pytest.fixture
def place() -> ClusterPlace:
    made = route_place()
    made.running(1, 2)
    made.routed({"housing-1": 1000}, "e0")
    return made


def slots(route: Object) -> list[tuple[str, int]]:
    return [(slot.revision, slot.weight) for slot in read_route(route).slots]


def test_a_candidate_is_in_its_slot_before_it_has_weight(place: ClusterPlace) -> None:
    """First only the endpoints change; the weights follow when the gateway has taken that up."""
    place.routed({"housing-1": 900, "housing-2": 100}, "e1")

    assert [slots(route) for route in place.routes()] == [
        [("housing-1", 999_999), ("housing-1", 1)],
        [("housing-1", 999_999), ("housing-2", 1)],
        [("housing-1", 900_000), ("housing-2", 100_000)],
    ]
    assert [read_route(route).epoch for route in place.routes()] == ["e0", "e1@", "e1"]


def test_no_weight_is_given_while_the_gateway_does_not_follow(place: ClusterPlace) -> None:
    """A gateway that stands still holds the candidate at rest; the next call goes on from there."""
    place.cluster.converges = 60.0
    with pytest.raises(InfrastructureError, match="within 8 s"):
        place.backend.apply(Split({"housing-1": 900, "housing-2": 100}), "e1")
    assert slots(place.routes()[-1]) == [("housing-1", 999_999), ("housing-2", 1)]

    place.clock.sleep(60)
    place.cluster.converges = 0.2
    place.routed({"housing-1": 900, "housing-2": 100}, "e1")
    assert len(place.routes()) == 3


def test_no_reference_is_ever_without_weight_and_each_has_its_own_filter(place: ClusterPlace) -> None:
    """Over a whole life, forward and home, Envoy never sees a cluster of the split come or go."""
    place.routed({"housing-1": 500, "housing-2": 500}, "e1")
    place.routed({"housing-2": 1000}, "e2")
    place.backend.adopt("housing-2")
    place.backend.remove("housing-1")
    place.running(3)
    place.routed({"housing-2": 500, "housing-3": 500}, "e3")
    place.routed({"housing-2": 1000}, "e4")
    place.backend.remove("housing-3")

    for route in place.routes():
        refs = route["spec"]["rules"][SPLIT]["backendRefs"]
        assert [ref["weight"] >= RESTING and len(ref["filters"]) for ref in refs] == [1, 1]
    assert slots(place.routes()[-1]) == [("housing-2", 1), ("housing-2", 999_999)]


def test_a_slot_lets_go_before_the_pods_do(place: ClusterPlace) -> None:
    """The gateway has long followed the route without a revision when its InferenceService goes."""
    place.routed({"housing-1": 900, "housing-2": 100}, "e1")
    place.routed({"housing-1": 1000}, "e2")
    before = place.clock.now
    place.backend.remove("housing-2")

    call, name, _ = place.cluster.writes[-1]
    assert (call, name) == ("delete", "housing-2")
    assert slots(place.routes()[-1]) == [("housing-1", 999_999), ("housing-1", 1)]
    assert place.clock.now - before >= 2.0


@pytest.mark.parametrize(
    ("how", "told"),
    [
        pytest.param("crash", "crashes .exit code 3, 3 restarts.*nobody's that is trusted", id="crash"),
        pytest.param("image", "ErrImagePull no such image", id="image-is-missing"),
        pytest.param("init", "storage-initializer crashes", id="bundle-cannot-be-fetched"),
    ],
)
def test_a_candidate_that_cannot_load_is_failed_with_its_reason(place: ClusterPlace, how: str, told: str) -> None:
    """The reason is that of its pods, or the last words of the container."""
    place.cluster.behaves("housing-3").broken = how
    place.backend.ensure(revision(3), 1)
    readiness = place.backend.readiness("housing-3")
    assert readiness.state == "failed"
    assert re.search(told, readiness.reason)


def test_a_newest_specification_that_fails_is_reported_while_old_pods_serve(place: ClusterPlace) -> None:
    """KServe calls the InferenceService ready; the revision is failed, and only the way home stays open to it."""
    place.routed({"housing-1": 500, "housing-2": 500}, "e1")
    place.cluster.change_in_place("housing-1", "crash")
    assert place.backend.readiness("housing-1").state == "failed"
    place.routed({"housing-1": 1000}, "e2")
    place.cluster.objects[DEPLOYMENT.plural, NAMESPACE, "housing-1-predictor"]["status"]["availableReplicas"] = 0
    with pytest.raises(BackendRefusal, match="housing-1 is failed"):
        place.backend.apply(Split({"housing-1": 1000}), "e3")


def test_dead_pods_take_the_readiness_and_their_requests_count_as_errors(place: ClusterPlace) -> None:
    """The gateway goes on sending the share of a dead side; both its errors and its readiness say so."""
    place.routed({"housing-1": 500, "housing-2": 500}, "e1")
    place.cluster.behaves("housing-2").dead = True
    place.send(100)
    assert place.backend.readiness("housing-2").state == "starting"
    arm = place.arm("e1", "housing-2")
    assert arm.errors == arm.requests > 0
    assert place.arm("e1", "housing-1").errors == 0


def test_the_way_home_from_a_candidate_that_somebody_deleted(place: ClusterPlace) -> None:
    """Its slot is pointed at the stable revision, so that no reference is left that leads nowhere."""
    place.routed({"housing-1": 500, "housing-2": 500}, "e1")
    place.cluster.delete(INFERENCE_SERVICE, NAMESPACE, "housing-2")
    place.send(40)
    assert place.arm("e1", "housing-2").errors > 0
    assert place.backend.readiness("housing-2").state == "absent"
    place.routed({"housing-1": 1000}, "e2")
    assert slots(place.routes()[-1]) == [("housing-1", 999_999), ("housing-1", 1)]
    place.send(40)
    assert place.arm("e2", "housing-1").errors == 0


def test_a_new_process_goes_on_counting_where_the_old_one_was(place: ClusterPlace) -> None:
    """Requests that came while no controller looked are counted once, under the split that was in force."""
    place.routed({"housing-1": 500, "housing-2": 500}, "e1")
    place.send(100)
    place.backend.counters()
    place.send(100)
    place.restarted()
    assert sum(arm.requests for arm in place.backend.counters().epochs["e1"].values()) == 200
    assert place.backend.observed().epoch == "e1"


def test_what_came_before_a_new_split_belongs_to_the_old_one(place: ClusterPlace) -> None:
    """Also when nobody has looked since: a write reads first."""
    place.routed({"housing-1": 500, "housing-2": 500}, "e1")
    place.send(100)
    place.routed({"housing-1": 1000}, "e2")
    place.send(10)
    epochs = place.backend.counters().epochs
    assert sum(arm.requests for arm in epochs["e1"].values()) == 100
    assert sum(arm.requests for arm in epochs["e2"].values()) == 10


@pytest.mark.parametrize("name", [pytest.param(None, id="in-its-pod"), pytest.param("envoy-2", id="as-another-pod")])
def test_a_proxy_that_starts_again_loses_no_counts(place: ClusterPlace, name: str | None) -> None:
    """Its totals begin at 0 again; what was counted before stays, what comes is added."""
    place.routed({"housing-1": 500, "housing-2": 500}, "e1")
    place.send(100)
    place.backend.counters()
    place.cluster.restart_proxy(name)
    place.send(30)
    assert sum(arm.requests for arm in place.backend.counters().epochs["e1"].values()) == 130


def test_counts_are_not_fresh_while_the_gateway_is_silent(place: ClusterPlace) -> None:
    """The last known counts, and nothing lost when it speaks again; a model server's silence is no reason."""
    place.routed({"housing-1": 500, "housing-2": 500}, "e1")
    place.send(50)
    known = place.backend.counters()
    place.cluster.fault = _silent("stats")
    place.send(50)
    assert place.backend.counters() == replace(known, fresh=False)
    place.cluster.fault = _silent("metrics")
    found = place.backend.counters()
    assert found.fresh
    assert sum(arm.requests for arm in found.epochs["e1"].values()) == 100


def test_predictions_are_binned_by_the_model_servers(place: ClusterPlace) -> None:
    """Bins add up to the requests of the arm."""
    place.routed({"housing-1": 500, "housing-2": 500}, "e1")
    place.send(100)
    arm = place.arm("e1", "housing-2")
    assert set(arm.bins) == {"1.0", "+Inf"}
    assert sum(arm.bins.values()) == arm.requests


def test_without_a_way_to_the_proxy_a_split_is_in_force_some_time_after_it_was_accepted(place: ClusterPlace) -> None:
    """Two seconds after the condition, not at once."""
    place.cluster.probes = False
    place.backend.apply(Split({"housing-1": 1000}), "e1")
    assert place.backend.observed().epoch == "e0"
    place.clock.sleep(2)
    assert place.backend.observed().epoch == "e1"


def test_somebody_elses_change_is_seen_and_undone(place: ClusterPlace) -> None:
    """Other weights change the digest; a changed shape is told; applying again brings both back."""
    split = {"housing-1": 900, "housing-2": 100}
    before = place.routed(split, "e1")
    route = place.cluster.objects[HTTP_ROUTE.plural, NAMESPACE, "housing"]
    changed = merge(route, {})
    changed["spec"]["rules"][SPLIT]["backendRefs"][0]["weight"] = 500_000
    changed["spec"]["rules"][SPLIT]["backendRefs"][1]["weight"] = 500_000
    place.cluster.apply(changed)
    assert place.backend.observed().digest != before.digest
    place.backend.apply(Split(split), "e1")
    assert place.routed(split, "e1").digest == before.digest

    changed = merge(place.routes()[-1], {"spec": {"rules": []}})
    del changed["metadata"]["resourceVersion"]
    place.cluster.apply(changed)
    assert "is not as it was written" in place.backend.observed().rejected
    place.backend.apply(Split(split), "e1")
    assert place.routed(split, "e1").rejected == ""


def test_a_controller_that_lost_its_lease_changes_nothing(place: ClusterPlace) -> None:
    """Once a newer token has written, an older one is a conflict; a person is not fenced off."""
    old = place.restarted(fence=4)
    place.restarted(fence=5).apply(Split({"housing-1": 900, "housing-2": 100}), "e1")
    count = len(place.cluster.writes)
    for act in (
        lambda: old.apply(Split({"housing-1": 1000}), "e2"),
        lambda: old.remove("housing-2"),
    ):
        with pytest.raises(ConflictError, match="token 4, housing has seen 5"):
            act()
    assert len(place.cluster.writes) == count
    place.restarted().apply(Split({"housing-1": 1000}), "e2")
    with pytest.raises(ConflictError, match="has seen 5"):
        old.apply(Split({"housing-1": 1000}), "e3")


def test_conditions_that_the_gateway_writes_meanwhile_stop_no_write(place: ClusterPlace) -> None:
    """Only a change of what we wrote is a conflict; a new resource version is read again."""
    place.cluster.fault = _once("apply", lambda: place.cluster.touch_status("housing"))
    place.routed({"housing-1": 900, "housing-2": 100}, "e1")


def test_a_route_of_somebody_else_is_left_alone() -> None:
    """An InferenceService called like the model has a route of that name; it is not taken over."""
    place = route_place()
    place.running(1)
    place.cluster.apply(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "housing", "namespace": NAMESPACE},
            "spec": {"rules": []},
        }
    )
    with pytest.raises((ConflictError, InfrastructureError)):
        place.backend.apply(Split({"housing-1": 1000}), "e1")
    assert len(place.routes()) == 1


def test_a_name_is_never_used_for_another_bundle(place: ClusterPlace) -> None:
    """Asking for it again writes nothing; asking for other bytes under it is a conflict."""
    count = len(place.cluster.writes)
    place.backend.ensure(revision(1), 1)
    assert len(place.cluster.writes) == count
    with pytest.raises(ConflictError, match="never used for another bundle"):
        place.backend.ensure(replace(revision(1), digest="f" * 64), 1)


def test_each_revision_has_a_budget_for_drains_that_is_then_its_operators(place: ClusterPlace) -> None:
    """Of its own pods alone; an edit of it stays, and a revision that is made anew under the name has a new one."""
    if place.backend.capabilities().name != "route":
        pytest.skip("the pods of both sides are of one InferenceService")
    cluster = place.cluster

    def budget() -> Object:
        place.backend.ensure(revision(1), 1)
        return cluster.objects["poddisruptionbudgets", NAMESPACE, "housing-1"]

    of_its_pods = {"component": "predictor", "slipway.dev/revision": "housing-1"}
    assert budget()["spec"]["selector"]["matchLabels"] == of_its_pods
    cluster.edit(DISRUPTION_BUDGET, "housing-1", {"spec": {"minAvailable": 1}})
    assert budget()["spec"]["minAvailable"] == 1
    cluster.objects["inferenceservices", NAMESPACE, "housing-1"]["metadata"]["uid"] = "another"
    assert budget()["spec"]["minAvailable"] == "50%"
    assert [one["uid"] for one in budget()["metadata"]["ownerReferences"]] == ["another"]


def test_requests_in_flight_keep_a_revision(place: ClusterPlace) -> None:
    """Weight 0 is not enough to be drained."""
    place.routed({"housing-1": 900, "housing-2": 100}, "e1")
    place.cluster.behaves("housing-2").in_flight = 1
    place.routed({"housing-1": 1000}, "e2")
    assert not place.backend.drained("housing-2")
    place.cluster.behaves("housing-2").in_flight = 0
    assert place.backend.drained("housing-2")


# KServe's own canaries.


def test_a_standard_canary_loses_its_weight_before_its_pods() -> None:
    """Dark first, and never are weight and removal one patch; both sides are always named."""
    place = standard_place()
    place.running(1, 2)
    place.routed({"housing-1": 800, "housing-2": 200}, "e1")
    with pytest.raises(BackendRefusal, match="per mille of the traffic"):
        place.backend.remove("housing-2")
    place.routed({"housing-2": 1000}, "e2")
    with pytest.raises(BackendRefusal, match="per mille of the traffic"):
        place.backend.remove("housing-2")
    place.backend.adopt("housing-2")
    place.backend.remove("housing-1")

    patches = [
        obj["spec"]
        for call, name, obj in place.cluster.writes
        if call in ("apply", "patch") and "canary" in obj["spec"]
    ]
    shown = [[(c["predictor"]["name"], c["trafficPercent"]) for c in spec["canary"]] for spec in patches]
    assert shown == [[("v2", 0)], [("v2", 20)], [("v2", 100)], [("v1", 0)], []]
    assert [spec["predictor"]["name"] for spec in patches] == ["v1", "v1", "v1", "v2", "v2"]


ONE_SERVICE = pytest.mark.parametrize("make", [standard_place, knative_place], ids=["standard", "knative"])


def at_a_tenth(make: Callable[[], ClusterPlace]) -> ClusterPlace:
    """A place with two revisions, a tenth of the traffic on the second."""
    place = make()
    place.running(1)
    place.routed({"housing-1": 1000}, "e0")
    place.running(2)
    place.routed({"housing-1": 900, "housing-2": 100}, "e1")
    return place


@ONE_SERVICE
def test_a_controller_that_lost_its_lease_changes_no_canary(make: Callable[[], ClusterPlace]) -> None:
    """Once a newer token was here nothing that an older one asks for is written; a person is not fenced off."""
    place = at_a_tenth(make)
    old = place.restarted(fence=4)
    place.restarted(fence=5).apply(Split({"housing-1": 800, "housing-2": 200}), "e2")
    count = len(place.cluster.writes)
    for act in (
        lambda: old.apply(Split({"housing-1": 1000}), "e3"),
        lambda: old.apply(Split({"housing-1": 800, "housing-2": 200}), "e3"),
    ):
        with pytest.raises(ConflictError, match="token 4, housing has seen 5; it lost its lease"):
            act()
    assert len(place.cluster.writes) == count
    place.restarted().apply(Split({"housing-1": 1000}), "e4")


@ONE_SERVICE
def test_a_controller_that_stood_still_overwrites_nobody(make: Callable[[], ClusterPlace]) -> None:
    """It had looked, and a newer one moves the weights before it writes: its write is a conflict, not the last word."""
    place = at_a_tenth(make)
    old, new = place.restarted(fence=4), place.restarted(fence=5)
    place.cluster.fault = _once("patch", lambda: new.apply(Split({"housing-1": 500, "housing-2": 500}), "e2"))
    with pytest.raises(ConflictError):
        old.apply(Split({"housing-1": 1000}), "e3")
    place.send(100)
    assert shares(place) == {50}


@ONE_SERVICE
def test_a_status_that_kserve_writes_meanwhile_stops_no_canary(make: Callable[[], ClusterPlace]) -> None:
    """Only a change of the specification is a conflict."""
    place = at_a_tenth(make)
    place.cluster.fault = _once("patch", lambda: place.cluster.touch_status("housing", INFERENCE_SERVICE))
    place.backend.apply(Split({"housing-1": 800, "housing-2": 200}), "e2")
    assert shares(place) == {20}


@ONE_SERVICE
def test_nothing_but_the_specification_is_ever_changed(make: Callable[[], ClusterPlace]) -> None:
    """KServe copies labels and annotations to the pods: over a promotion and a way home they are as at the first."""
    place = at_a_tenth(make)
    place.routed({"housing-2": 1000}, "e2")
    place.backend.adopt("housing-2")
    place.backend.remove("housing-1")
    place.running(3)
    place.routed({"housing-2": 500, "housing-3": 500}, "e3")
    place.routed({"housing-2": 1000}, "e4")
    place.backend.remove("housing-3")
    metadata = [obj["metadata"] for _, name, obj in place.cluster.writes if obj.get("kind") == "InferenceService"]
    assert len(metadata) > 6
    assert [(m["labels"], m["annotations"]) for m in metadata] == [
        (metadata[0]["labels"], metadata[0]["annotations"])
    ] * len(metadata)
    assert not [name for name in metadata[0]["annotations"] if name.startswith("slipway.dev/")]


def test_a_service_that_was_made_anew_is_not_taken_for_the_one_before() -> None:
    """The split of an object that somebody deleted is not in force of the next of that name."""
    place = at_a_tenth(standard_place)
    place.cluster.delete(INFERENCE_SERVICE, NAMESPACE, "housing")
    place.running(1)
    place.clock.sleep(5)
    assert place.backend.observed().epoch is None
    place.routed({"housing-1": 1000}, "e2")


def test_the_way_of_a_model_that_serves_by_our_route_is_not_changed_under_it() -> None:
    """KServe would write its own route over ours, and the model's host would answer nobody."""
    place = route_place()
    place.running(1)
    place.routed({"housing-1": 1000}, "e0")
    before = len(place.cluster.writes)
    standard = StandardBackend(place.cluster, AT, "housing", place.notes, clock=place.clock)
    with pytest.raises(ConflictError, match="KServe would write over it"):
        standard.ensure(revision(1), 1)
    assert len(place.cluster.writes) == before


def test_a_route_that_kserve_made_is_not_taken_for_ours() -> None:
    """A model whose way was changed, and is changed back: KServe copies the labels of its object to its route."""
    place = route_place()
    place.running(1)
    place.routed({"housing-1": 1000}, "e0")
    place.cluster.delete(HTTP_ROUTE, NAMESPACE, "housing")
    standard = StandardBackend(place.cluster, AT, "housing", place.notes, clock=place.clock)
    standard.ensure(revision(1), 1)
    place.until(lambda: standard.readiness("housing-1").state == "ready")
    before = len(place.routes())
    with pytest.raises(ConflictError, match="HTTPRoute models/housing is not ours"):
        place.backend.apply(Split({"housing-1": 1000}), "e1")
    assert len(place.routes()) == before


@ONE_SERVICE
def test_an_inference_service_of_somebody_else_is_left_alone(make: Callable[[], ClusterPlace]) -> None:
    """One that has the model's name by chance is no place for a canary; one that is ending is waited for."""
    place = at_a_tenth(make)
    found = place.cluster.objects[INFERENCE_SERVICE.plural, NAMESPACE, "housing"]
    labels = found["metadata"]["labels"]
    found["metadata"]["labels"] = {}
    with pytest.raises(ConflictError, match="InferenceService models/housing is not ours"):
        place.backend.ensure(revision(3), 1)
    found["metadata"] |= {"labels": labels, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    with pytest.raises(InfrastructureError, match="still going away"):
        place.backend.ensure(revision(3), 1)


def shares(place: ClusterPlace) -> set[int]:
    """Percentages that the InferenceService asks for, of whichever way."""
    spec = place.cluster.objects[INFERENCE_SERVICE.plural, NAMESPACE, "housing"]["spec"]
    return {entry["trafficPercent"] for entry in spec.get("canary", ())} or {spec["predictor"]["canaryTrafficPercent"]}


def replicas_of(place: ClusterPlace) -> dict[str, int]:
    found = place.cluster.list(DEPLOYMENT, NAMESPACE, {})
    return {deployment["metadata"]["name"].split("-")[1]: deployment["spec"]["replicas"] for deployment in found}


@pytest.mark.parametrize(("own", "asked"), [(1, 1), (1, 3), (2, 1), (3, 3)])
def test_a_canary_takes_no_replica_of_the_stable_side(own: int, asked: int) -> None:
    """KServe moves capacity to a canary; what the stable side asks for makes up for it, until the canary is gone."""
    place = standard_place()
    place.backend.ensure(revision(1), own)
    place.until(lambda: place.backend.readiness("housing-1").state == "ready")
    place.routed({"housing-1": 1000}, "e0")
    place.backend.ensure(revision(2), asked)
    place.until(lambda: place.backend.readiness("housing-2").state == "ready")
    assert replicas_of(place) == {"v1": own, "v2": asked}
    place.routed({"housing-2": 1000}, "e1")
    place.backend.adopt("housing-2")
    place.until(lambda: place.backend.readiness("housing-2").state == "ready")
    assert replicas_of(place) == {"v1": asked, "v2": own}
    place.backend.remove("housing-1")
    assert replicas_of(place) == {"v2": own}


def test_replicas_that_somebody_sets_beside_a_canary_stay() -> None:
    """The number of an operator is not taken back with the canary."""
    place = at_a_tenth(standard_place)
    place.cluster.patch(INFERENCE_SERVICE, NAMESPACE, "housing", {"spec": {"predictor": {"minReplicas": 4}}})
    place.routed({"housing-1": 1000}, "e2")
    place.backend.remove("housing-2")
    assert replicas_of(place) == {"v1": 4}


@ONE_SERVICE
@pytest.mark.parametrize(
    ("split", "told"),
    [
        pytest.param(Split({"housing-1": 995, "housing-2": 5}), "whole percents", id="half-a-percent"),
        pytest.param(Split({"housing-1": 1000}, mirror="housing-2"), "no mirror", id="mirror"),
        pytest.param(Split({"housing-1": 1000}, header_arms=("housing-2",)), "arm by header", id="header"),
    ],
)
def test_what_kserve_would_ignore_is_refused(make: Callable[[], ClusterPlace], split: Split, told: str) -> None:
    """No split is silently another one."""
    place = make()
    for number in (1, 2):
        place.running(number)
    with pytest.raises(BackendRefusal, match=told):
        place.backend.apply(split, "e1")


def test_knative_starts_no_candidate_before_something_is_rolled_out() -> None:
    """Until then Knative ignores the share and gives the newest revision everything."""
    place = knative_place()
    place.backend.ensure(revision(1), 1)
    with pytest.raises(InfrastructureError, match="not rolled out yet"):
        place.backend.ensure(revision(2), 1)


def test_a_knative_candidate_that_never_got_ready_is_no_split() -> None:
    """The numbers look like a split, with the old revision on both sides: what is effective is 100 % old."""
    place = knative_place()
    place.running(1)
    place.routed({"housing-1": 1000}, "e0")
    place.cluster.behaves("housing-2").broken = "crash"
    place.backend.ensure(revision(2), 1)
    assert place.backend.readiness("housing-2").state == "failed"
    with pytest.raises(BackendRefusal, match="housing-2 is failed"):
        place.backend.apply(Split({"housing-1": 900, "housing-2": 100}), "e1")
    place.backend.remove("housing-2")
    place.send(20)
    place.clock.sleep(5)
    assert place.arm("e0", "housing-1").errors == 0
    assert place.backend.readiness("housing-1").state == "ready"


# A whole rollout by the controller.


@pytest.mark.parametrize(
    ("errors", "phase", "left"),
    [
        pytest.param(False, Phase.SUCCEEDED, "housing-2", id="good"),
        pytest.param(True, Phase.ROLLED_BACK, "housing-1", id="bad"),
    ],
)
def test_the_controller_takes_a_rollout_to_its_end_in_a_cluster(
    tmp_path: Path, errors: bool, phase: Phase, left: str
) -> None:
    """The same engine as on a laptop; at the end one revision is left, and both slots name it."""
    place = route_place()
    place.running(1)
    place.routed({"housing-1": 1000}, "before")
    place.cluster.behaves("housing-2").errors = errors
    owed = [0.0]

    def flows(seconds: float) -> None:
        owed[0] += 60 * seconds
        place.send(int(owed[0]))
        owed[0] -= int(owed[0])

    place.clock.watchers.append(flows)
    with open_desk(tmp_path, "housing") as desk:
        controller = Controller(place.backend, desk, "test")
        asked = Request(plan=plan(), candidate=revision(2), stable=revision(1), attempt=1)
        controller.start(asked, place.clock.now)
        tick = run(controller, place.clock)
    assert tick.state is not None
    assert tick.state.phase is phase
    assert {slot for slot, _ in slots(place.routes()[-1])} == {left}
    assert place.backend.readiness("housing-1" if left == "housing-2" else "housing-2").state == "absent"


def _silent(*calls: str) -> Callable[[str], None]:
    def fail(call: str) -> None:
        if call in calls:
            raise InfrastructureError(f"{call} does not answer")

    return fail


def _once(call: str, then: Callable[[], None]) -> Callable[[str], None]:
    done: list[str] = []

    def act(made: str) -> None:
        if made == call and not done:
            done.append(made)
            then()

    return act
