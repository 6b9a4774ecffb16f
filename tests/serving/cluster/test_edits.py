"""What others write by kubectl into what Slipway made: obeyed or put back by the plan, and told who did it."""

import copy
from pathlib import Path
from typing import Any

import pytest

from serving.cluster.backends.route import OPERATORS
from serving.cluster.client import HTTP_ROUTE, INFERENCE_SERVICE, Object
from serving.cluster.edits import Editor, disowned, editor
from serving.cluster.two_slots import WEIGHT_TOTAL, in_total
from serving.errors import InfrastructureError
from serving.rollout.backend import Split
from serving.rollout.controller.controller import Controller
from serving.rollout.state import Phase, Request, RolloutState
from serving.service.service import EDITED
from tests.serving.cluster.fake_cluster import NAMESPACE
from tests.serving.cluster.test_backends import ClusterPlace, revision, route_place, standard_place
from tests.serving.rollout.support import open_desk, plan, run

GRPC_SPLIT = 6


def owned(manager: str, time: str, fields: Object, **more: Any) -> Object:
    return {"manager": manager, "time": time, "fieldsV1": fields, **more}


OURS = owned("slipway", "2026-01-09T00:00:00Z", {"f:spec": {"f:rules": {}}})
RULES: Object = {"f:spec": {"f:rules": {}}}
LABELS: Object = {"f:metadata": {"f:labels": {"f:team": {}}}}


@pytest.mark.parametrize(
    ("fields", "who"),
    [
        pytest.param([], None, id="nobody-knows"),
        pytest.param([OURS], None, id="ours-alone"),
        pytest.param([OURS, owned("kubectl-label", "2026-01-02T00:00:00Z", LABELS)], None, id="a-label-of-theirs"),
        pytest.param(
            [owned("kubectl-edit", "2026-01-02T00:00:00Z", RULES)],
            Editor("kubectl-edit", "2026-01-02T00:00:00Z"), id="an-edit",
        ),
        pytest.param(
            [owned("argocd", "2026-01-03T00:00:00Z", RULES), owned("kubectl-edit", "2026-01-02T00:00:00Z", RULES)],
            Editor("argocd", "2026-01-03T00:00:00Z"), id="the-newest-of-two",
        ),
        pytest.param(
            [owned("envoy-gateway", "2026-01-03T00:00:00Z", RULES, subresource="status")], None, id="a-status",
        ),
        pytest.param([owned("", "", RULES)], Editor("somebody else", ""), id="without-a-name"),
    ],
)  # fmt: skip
def test_who_changed_an_object_is_who_owns_a_field_of_it(fields: list[Object], who: Editor | None) -> None:
    """The newest other manager of its specification; not whoever labels it or writes its status."""
    assert editor({"metadata": {"managedFields": fields}}) == who


def test_a_field_that_is_let_go_belongs_to_nobody_and_the_others_stay_ours() -> None:
    """Who is another manager keeps theirs; a second time there is nothing to do."""
    kept: Object = {"f:labels": {"f:a": {}}, "f:annotations": {".": {}, "f:b": {}}}
    ours = owned("slipway", "", {"f:spec": {"f:predictor": {"f:minReplicas": {}, "f:model": {}}}, "f:metadata": kept})
    keda = owned("keda", "", {"f:spec": {"f:predictor": {"f:minReplicas": {}}}})
    fields = (("spec", "predictor", "minReplicas"), ("metadata", "annotations", "b"))
    after = disowned({"metadata": {"managedFields": [ours, keda]}}, fields)
    assert after is not None
    assert after[0]["fieldsV1"] == {"f:spec": {"f:predictor": {"f:model": {}}}, "f:metadata": {"f:labels": {"f:a": {}}}}
    assert after[1] == keda
    assert disowned({"metadata": {"managedFields": after}}, fields) is None


@pytest.mark.parametrize(
    ("weights", "second"),
    [((80, 20), 200_000), ((1, 1), 500_000), ((999_999, 1), 1), ((0, 7), 999_999), ((5, 0), 1), ((2, 1), 333_333)],
)
def test_weights_are_shares_of_their_sum(weights: tuple[int, int], second: int) -> None:
    """As the Gateway API has it; nothing is left without its resting weight."""
    assert in_total(weights) == [WEIGHT_TOTAL - second, second]


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2)])
def test_what_is_no_share_is_refused(weights: tuple[int, int]) -> None:
    """Two zeros divide nothing."""
    with pytest.raises(ValueError, match="not both 0"):
        in_total(weights)


# --- replicas --------------------------------------------------------------------------------------------------------


def replicas(place: ClusterPlace) -> Object:
    found = place.cluster.get(INFERENCE_SERVICE, NAMESPACE, "housing-1")
    assert found is not None
    return found


@pytest.mark.parametrize("manager", ["kubectl-patch", "argocd-controller", "keda-operator", "kubectl-edit"])
def test_replicas_belong_to_who_operates_the_model(manager: str) -> None:
    """Those of the plan to begin with; then whoever sets them, a label of their own or an autoscaler keeps it."""
    place = route_place()
    place.backend.ensure(revision(1), 3)
    assert replicas(place)["spec"]["predictor"]["minReplicas"] == 3
    assert "maxReplicas" not in replicas(place)["spec"]["predictor"]
    theirs: Object = {
        "metadata": {
            "labels": {"team": "red"},
            "annotations": {"serving.kserve.io/autoscalerClass": "hpa", "example.com/note": "ours"},
        },
        "spec": {"predictor": {"minReplicas": 4, "maxReplicas": 9}},
    }
    place.cluster.edit(INFERENCE_SERVICE, "housing-1", theirs, manager)
    for number in (3, 1):
        place.backend.ensure(revision(1), number)
        found = replicas(place)
        assert (found["spec"]["predictor"]["minReplicas"], found["spec"]["predictor"]["maxReplicas"]) == (4, 9)
        assert found["metadata"]["labels"]["team"] == "red"
        assert theirs["metadata"]["annotations"].items() <= found["metadata"]["annotations"].items()


def test_this_controller_owns_no_field_that_operators_set() -> None:
    """So that a server-side apply of theirs meets no conflict; also of what an older version has made."""
    place = route_place()
    place.backend.ensure(revision(1), 3)
    assert disowned(replicas(place), OPERATORS) is None
    assert editor(replicas(place)) is None  # nobody else owns the rest either
    old = copy.deepcopy(replicas(place))
    old["metadata"].pop("managedFields")
    place.cluster.objects[INFERENCE_SERVICE.plural, NAMESPACE, "housing-1"] = place.cluster._owned(old, old, "slipway")
    assert disowned(replicas(place), OPERATORS) is not None
    place.backend.ensure(revision(1), 3)
    assert disowned(replicas(place), OPERATORS) is None


# --- weights ---------------------------------------------------------------------------------------------------------


class Rollout:
    """A rollout of version 2 on a route, and what others write there."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.place = route_place()
        self.place.running(1)
        self.place.routed({"housing-1": 1000}, "before")
        self._owed = 0.0
        self.place.clock.watchers.append(self._flows)
        self.desk = open_desk(directory, "housing")
        self.controller = Controller(self.place.backend, self.desk, "test")
        asked = Request(plan=plan(steps=[10, 50], **changes), candidate=revision(2), stable=revision(1))
        self.controller.start(asked, self.place.clock.now)

    def _flows(self, seconds: float) -> None:
        self._owed += 60 * seconds
        self.place.send(int(self._owed))
        self._owed -= int(self._owed)

    def until(self, phase: Phase, limit: float = 600.0) -> RolloutState:
        tick = run(self.controller, self.place.clock, until=lambda tick: _is(tick.state, phase), limit=limit)
        assert tick.state is not None
        assert tick.state.phase is phase, tick.state.outcome
        return tick.state

    def goes_on(self, seconds: float) -> RolloutState:
        tick = run(self.controller, self.place.clock, limit=seconds)
        assert tick.state is not None
        return tick.state

    def edit(self, change: Any, manager: str = "kubectl-edit") -> None:
        spec = copy.deepcopy(self.place.cluster.objects[HTTP_ROUTE.plural, NAMESPACE, "housing"]["spec"])
        change(spec)
        self.place.cluster.edit(HTTP_ROUTE, "housing", {"spec": spec}, manager)

    def events(self) -> list[Object]:
        return [obj for (plural, *_), obj in self.place.cluster.objects.items() if plural == "events"]

    def split(self) -> Split:
        found = self.place.backend.observed().split
        assert found is not None
        return found


def _is(state: RolloutState | None, phase: Phase) -> bool:
    return state is not None and state.phase is phase and (phase is not Phase.STEP or state.settled)


def weights(first: int, second: int, *rules: int) -> Any:
    def change(spec: Object) -> None:
        for number in rules or (2, GRPC_SPLIT):
            refs = spec["rules"][number]["backendRefs"]
            refs[0]["weight"], refs[1]["weight"] = first, second

    return change


def _stranger(spec: Object) -> None:
    spec["rules"][2]["backendRefs"][1] |= {"name": "churn-1-predictor", "weight": 400_000}
    spec["rules"][2]["backendRefs"][0]["weight"] = 600_000


def _no_second(spec: Object) -> None:
    spec["rules"][2]["backendRefs"].pop()


def _no_filters(spec: Object) -> None:
    spec["rules"][2].pop("filters")


def _other_host(spec: Object) -> None:
    spec["hostnames"] = ["elsewhere.example.com"]


SHAPES = [
    pytest.param(weights(800_000, 200_000), 200, id="weights"),
    pytest.param(weights(80, 20), 200, id="weights-of-a-hundred"),
    pytest.param(weights(80, 20, 2), 200, id="weights-of-http-alone"),
    pytest.param(weights(80, 20, GRPC_SPLIT), None, id="weights-of-grpc-alone"),
    pytest.param(weights(0, 0), None, id="no-weights"),
    pytest.param(_stranger, None, id="another-model"),
    pytest.param(_no_second, None, id="a-reference-removed"),
    pytest.param(_no_filters, None, id="filters-removed"),
    pytest.param(lambda spec: spec["rules"].clear(), None, id="rules-removed"),
    pytest.param(_other_host, None, id="another-host"),
]


@pytest.mark.parametrize(("change", "theirs"), SHAPES)
@pytest.mark.parametrize("edits", ["put-back", "obey"])
def test_an_edit_of_the_route_is_obeyed_or_put_back_and_told(
    tmp_path: Path, edits: str, change: Any, theirs: int | None
) -> None:
    """Within seconds, by the plan; the Event and the line for the status name who did it, and nothing is paused."""
    rollout = Rollout(tmp_path, edits=edits, time={"dwell": "10m"})
    rollout.until(Phase.STEP)
    rollout.edit(change)
    state = rollout.goes_on(15)
    assert (state.phase, state.pause) == (Phase.STEP, None)
    wanted = theirs if edits == "obey" and theirs is not None else 100
    assert rollout.split().arms == {"housing-1": 1000 - wanted, "housing-2": wanted}
    assert rollout.place.backend.observed().by == ""
    (event,) = rollout.events()
    assert event["reason"] == ("EditObeyed" if wanted != 100 else "EditPutBack")
    assert event["message"].startswith("kubectl-edit changed HTTPRoute housing to ")
    assert event["involvedObject"]["kind"] == "HTTPRoute"
    said = rollout.place.notes.get(EDITED)
    assert said is not None
    assert said["sentence"] == event["message"]


WAY_UP = (Phase.PREPARE, Phase.STEP, Phase.BAKE, Phase.PROMOTE, Phase.ADOPT, Phase.CLEANUP)
WAY_HOME = (Phase.ROLLBACK, Phase.DRAIN)


@pytest.mark.parametrize("phase", [*WAY_UP, *WAY_HOME])
def test_an_edit_in_any_phase_is_told_and_the_rollout_comes_to_its_end(tmp_path: Path, phase: Phase) -> None:
    """Whatever is decided at that moment; what it is put back to is what the rollout wants."""
    rollout = Rollout(tmp_path)
    if phase in WAY_HOME:
        rollout.place.cluster.behaves("housing-2").errors = True
    rollout.until(phase)
    rollout.edit(weights(50, 50))
    end = rollout.goes_on(600)
    assert end.phase is (Phase.ROLLED_BACK if phase in WAY_HOME else Phase.SUCCEEDED)
    assert {event["reason"] for event in rollout.events()} == {"EditPutBack"}
    assert all("kubectl-edit" in event["message"] for event in rollout.events())


def test_a_route_that_is_deleted_is_made_again_and_told(tmp_path: Path) -> None:
    """Nobody knows who it was; the split is the one of the rollout, which goes on."""
    rollout = Rollout(tmp_path, time={"dwell": "10m"})
    rollout.until(Phase.STEP)
    rollout.place.cluster.delete(HTTP_ROUTE, NAMESPACE, "housing")
    state = rollout.goes_on(15)
    assert (state.phase, state.pause) == (Phase.STEP, None)
    assert rollout.split().arms == {"housing-1": 900, "housing-2": 100}
    (event,) = rollout.events()
    assert event["message"] == "somebody else deleted HTTPRoute housing, which is made again"


def test_a_tool_that_insists_is_counted_not_repeated(tmp_path: Path) -> None:
    """One Event whose count grows, and a rollout that stays in its step."""
    rollout = Rollout(tmp_path, time={"dwell": "10m"})
    rollout.until(Phase.STEP)
    for _ in range(3):
        rollout.edit(weights(50, 50), "argocd-controller")
        assert rollout.goes_on(5).phase is Phase.STEP
    assert [event["count"] for event in rollout.events()] == [3]


def test_an_event_that_cannot_be_written_holds_nothing_up(tmp_path: Path) -> None:
    """A role without events still moves traffic, and the status knows."""
    rollout = Rollout(tmp_path, time={"dwell": "10m"})
    rollout.until(Phase.STEP)
    apply = rollout.place.cluster.apply

    def forbidden(obj: Object) -> Object:
        if obj["kind"] == "Event":
            raise InfrastructureError("this account may not PATCH events")
        return apply(obj)

    rollout.place.cluster.apply = forbidden  # type: ignore[method-assign]  # as the API of such a role answers
    rollout.edit(weights(50, 50))
    rollout.goes_on(10)
    assert rollout.split().weight("housing-2") == 100
    assert rollout.events() == []
    assert "kubectl-edit" in str(rollout.place.notes.get(EDITED))


def test_an_edit_of_the_canary_that_kserve_divides_is_told_as_well() -> None:
    """By the same word, on the InferenceService; what is obeyed once is not told again at the next step."""
    place = standard_place()
    place.running(1)
    place.backend.apply(Split({"housing-1": 1000}), "before")
    place.running(2)
    place.routed({"housing-1": 800, "housing-2": 200}, "e1")
    found = place.cluster.get(INFERENCE_SERVICE, NAMESPACE, "housing")
    assert found is not None
    theirs = [{**found["spec"]["canary"][0], "trafficPercent": 40}]
    place.cluster.edit(INFERENCE_SERVICE, "housing", {"spec": {"canary": theirs}})
    place.until(lambda: place.backend.observed().by == "kubectl-edit")
    place.routed({"housing-1": 600, "housing-2": 400}, "e2")
    place.routed({"housing-1": 500, "housing-2": 500}, "e3")
    (event,) = [obj for (plural, *_), obj in place.cluster.objects.items() if plural == "events"]
    assert event["reason"] == "EditObeyed"
    assert event["message"] == (
        "kubectl-edit changed InferenceService housing to housing-1 60 %, housing-2 40 %, which is obeyed"
    )
