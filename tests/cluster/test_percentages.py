"""Percentages in Kubernetes' own words: what would do nothing is refused at the door, with the right way named.

But for the last test these are server-side dry runs: nothing is made, so that no test has to remove anything.
"""

import json
import re
import secrets
from typing import Any

import pytest
import yaml

from serving.cluster.manifest import Installation, inference_service
from serving.cluster.manifest_canary import standard_canary, standard_service
from serving.cluster.manifest_route import http_route
from serving.cluster.two_slots import resting
from serving.rollout.backend import Revision
from tests.cluster.support import House, kubectl, read, require_cluster, through_gateway, until
from tests.root import ROOT
from tests.serving.cluster.fake_cluster import merge

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
MODEL = f"p{secrets.token_hex(3)}"
REVISION = Revision(f"{MODEL}-1", MODEL, 1, "s3://slipway/models/x/1", "0" * 64)
SIDE = {"name": "v2", "minReplicas": 1, "model": {"modelFormat": {"name": "slipway"}}}
CANARY = [{"trafficPercent": 20, "predictor": SIDE}]
CONTROLLER = "--as=system:serviceaccount:slipway-system:rollout-controller"


@pytest.fixture(autouse=True)
def _there() -> None:
    require_cluster()


def made(**changes: Any) -> dict[str, Any]:
    """A revision as the way ``route`` makes it, with *changes* below its predictor and its specification."""
    found = inference_service(REVISION, Installation())
    found["spec"] |= changes.pop("spec", {})
    found["spec"]["predictor"] |= changes.pop("predictor", {})
    for name, value in changes.pop("annotations", {}).items():
        found["metadata"]["annotations"][name] = value
    for name in changes.pop("unlabelled", ()):
        found["metadata"]["labels"].pop(name)
    return found


def asked(obj: dict[str, Any], *words: str, namespace: str = "models") -> str:
    obj["metadata"]["namespace"] = namespace
    return kubectl("create", "--dry-run=server", "-f", "-", *words, given=json.dumps(obj), code=None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"predictor": {"canaryTrafficPercent": 20}}, "canaryTrafficPercent does nothing", id="percent"),
        pytest.param({"predictor": {"canaryTrafficPercent": 0}}, "canaryTrafficPercent does nothing", id="none"),
        pytest.param({"spec": {"canary": CANARY}}, "spec.canary of one revision divides nothing", id="canary"),
    ],
)
def test_a_field_that_would_do_nothing_is_refused_and_the_right_way_is_named(
    changes: dict[str, Any], field: str
) -> None:
    """With the words to type, for the model that it is about."""
    said = asked(made(**changes))
    assert field in said
    assert f"metadata.name: {MODEL}, spec: {{version: N, percent: 20}}" in said
    assert f"slipway rollout set 20 --version N --model {MODEL}" in said


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        pytest.param(made(), (), id="a-revision-as-it-is-made"),
        pytest.param(made(predictor={"minReplicas": 4}), (), id="replicas"),
        pytest.param(made(spec={"canary": []}), (), id="no-canary"),
        pytest.param(
            made(predictor={"canaryTrafficPercent": 20}, unlabelled=["app.kubernetes.io/managed-by"]), (),
            id="what-somebody-else-made",
        ),
        pytest.param(
            made(predictor={"canaryTrafficPercent": 20}, annotations={"serving.kserve.io/deploymentMode": "Knative"}),
            (), id="where-knative-divides",
        ),
        pytest.param(made(predictor={"canaryTrafficPercent": 20}), (CONTROLLER,), id="the-controller"),
    ],
)  # fmt: skip
def test_everything_else_is_let_through(obj: dict[str, Any], words: tuple[str, ...]) -> None:
    """What KServe itself says to it is KServe's; the policy has no part in it."""
    assert "slipway-percentages" not in asked(obj, *words)


def test_the_way_of_kserve_may_have_its_canary() -> None:
    """One InferenceService for all revisions has no label of a revision: there the field divides."""
    found = standard_service(MODEL, REVISION, Installation())
    second = Revision(f"{MODEL}-2", MODEL, 2, "s3://slipway/models/x/2", "1" * 64)
    found = merge(found, standard_canary(MODEL, second, 1, 1, Installation()))
    assert "slipway-percentages" not in asked(found)


@pytest.mark.parametrize(("weights", "refused"), [((100, 0), True), ((80, 20), False), ((999_999, 1), False)])
def test_a_weight_that_would_lose_requests_is_refused(weights: tuple[int, int], refused: bool) -> None:
    """With the weights that mean the same."""
    route = http_route(resting(MODEL, REVISION.name, "e"), Installation())
    for ref, weight in zip(route["spec"]["rules"][2]["backendRefs"], weights, strict=True):
        ref["weight"] = weight
    said = asked(route)
    assert ("write 999999 and 1" in said) is refused
    assert ("created" in said) is not refused


def test_the_split_of_the_docs_is_one() -> None:
    """As it stands on the page."""
    (block,) = re.findall(r"```yaml\n(.*?kind: Split.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    assert "created" in asked(yaml.safe_load(block))


def test_other_namespaces_are_not_asked() -> None:
    """KServe's own suite, and everybody who has nothing to do with Slipway."""
    assert "slipway-percentages" not in asked(made(predictor={"canaryTrafficPercent": 20}), namespace="default")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"version": 2, "percent": 20}, "created"),
        ({"version": 2, "percent": 12.5, "reason": "as in git"}, "created"),
        ({"version": 2, "percent": 100}, "created"),
        ({"version": 2, "percent": 0}, "created"),
        ({"version": 2, "percent": 1.1}, "created"),
        ({"version": 2, "percent": 101}, "spec.percent"),
        ({"version": 2, "percent": -1}, "spec.percent"),
        ({"version": 2, "percent": 0.05}, "spec.percent"),
        ({"version": 0, "percent": 20}, "spec.version"),
        ({"percent": 20}, "spec.version"),
        ({"version": 2, "percent": "20"}, "spec.percent"),
        ({"version": 2, "procent": 20}, "spec.procent"),
    ],
    ids=str,
)
def test_a_split_is_checked_when_it_is_applied(spec: dict[str, Any], says: str) -> None:
    """By its type: the field that is wrong is named."""
    split = {"apiVersion": "slipway.dev/v1", "kind": "Split", "metadata": {"name": MODEL}, "spec": spec}
    assert says in asked(split)


def test_shares_by_kubectl_lose_nothing_and_are_answered(own: House, rested: None, bodies: list[bytes]) -> None:
    """20 % by a Split, another share by an edit that is put back, four replicas by hand: all seen, no request lost."""
    split = {"apiVersion": "slipway.dev/v1", "kind": "Split", "metadata": {"name": own.name, "namespace": "models"}}
    four = {"spec": {"predictor": {"minReplicas": 4}}}
    with through_gateway(own.name, bodies, rate=50) as load:
        kubectl("apply", "-f", "-", given=json.dumps(split | {"spec": {"version": 2, "percent": 20}}))
        until(lambda: weights(own) == {own.revision(1): 800_000, own.revision(2): 200_000}, "20 %")
        edit = [
            {"op": "replace", "path": f"/spec/rules/{rule}/backendRefs/{slot}/weight", "value": 50}
            for rule in (2, 6)
            for slot in (0, 1)
        ]
        kubectl("-n", "models", "patch", "httproute", own.name, "--type=json", "-p", json.dumps(edit))
        until(lambda: weights(own).get(own.revision(2)) == 200_000, "the edit is put back")
        kubectl("-n", "models", "patch", "isvc", own.revision(1), "--type=merge", "-p", json.dumps(four))
        load.await_answers(1_000)
    print(len(load.answers), "answers,", len(load.lost), "lost")
    assert load.lost == []
    events = [
        one for one in read("-n", "models", "get", "events")["items"] if one["involvedObject"]["name"] == own.name
    ]
    told = {one["reason"]: one["message"] for one in events}
    assert "kubectl-patch changed HTTPRoute" in told["EditPutBack"]
    assert "asked by Split for 20 % to version 2" in told["SplitObeyed"]
    assert "kubectl-patch" in own.rollout("status")
    assert read("-n", "models", "get", "isvc", own.revision(1))["spec"]["predictor"]["minReplicas"] == 4
    assert "condition met" in kubectl("-n", "models", "wait", "--for=condition=Ready", f"split/{own.name}")
    kubectl("-n", "models", "delete", "split", own.name)


def weights(own: House) -> dict[str, int]:
    refs = read("-n", "models", "get", "httproute", own.name)["spec"]["rules"][2]["backendRefs"]
    return {ref["name"].removesuffix("-predictor"): ref["weight"] for ref in refs}
