"""What the cluster is asked for: golden objects, and what no route may ever do."""

import re
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.cluster import manifest_canary as canary
from serving.cluster import manifest_route as routing
from serving.cluster import two_slots
from serving.cluster.manifest import Installation, inference_service, storage_uri
from serving.errors import BackendRefusal, ConfigError
from serving.rollout.backend import Revision, Split

AT = Installation()


def revision(version: int, model: str = "housing") -> Revision:
    return Revision(
        f"{model}-{version}", model, version, f"s3://models/{model}/sha256-{version:04d}", f"{version:064d}"
    )


def rules(route: two_slots.Route) -> list[dict]:
    return routing.http_route(route, AT)["spec"]["rules"]


def test_a_revision_is_this_inference_service():
    """Every key of the object that a revision becomes, so that a change of one is seen in review."""
    assert inference_service(revision(2), AT, replicas=2, fence=7) == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "housing-2",
            "namespace": "models",
            "labels": {
                "app.kubernetes.io/name": "housing",
                "app.kubernetes.io/part-of": "slipway",
                "app.kubernetes.io/managed-by": "slipway",
                "model": "housing",
                "slipway.dev/revision": "housing-2",
                "slipway.dev/version": "2",
                "networking.kserve.io/visibility": "cluster-local",
            },
            "annotations": {
                "slipway.dev/digest": f"{2:064d}",
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "none",
                "slipway.dev/fence": "7",
            },
        },
        "spec": {
            "predictor": {
                "minReplicas": 2,
                "serviceAccountName": "predictor",
                "model": {
                    "modelFormat": {"name": "slipway"},
                    "runtime": "slipway",
                    "protocolVersion": "v2",
                    "storageUri": "s3://models/housing/sha256-0002/",
                    "args": ["--model_name=housing"],
                    "ports": [
                        {"name": "http1", "containerPort": 8080, "protocol": "TCP"},
                        {"name": "h2c", "containerPort": 8081, "protocol": "TCP"},
                    ],
                    "env": [
                        {"name": "SLIPWAY_VERSION", "value": "2"},
                        {"name": "SLIPWAY_REVISION", "value": "housing-2"},
                    ],
                },
            }
        },
    }


def test_pods_have_the_priority_of_their_installation():
    """In each way of moving traffic; where none is named the field is absent, and the cluster's default holds."""
    at = Installation(priority="served")
    assert inference_service(revision(1), at)["spec"]["predictor"]["priorityClassName"] == "served"
    assert "priorityClassName" not in inference_service(revision(1), Installation())["spec"]["predictor"]


def test_the_split_of_a_route_is_this_rule():
    """Two references with weights and own filters, the epoch in the answer and in the request."""
    route = two_slots.divided(
        two_slots.resting("housing", "housing-1", "e1"), Split({"housing-1": 800, "housing-2": 200}), "e2"
    )

    def ref(name: str, weight: int) -> dict:
        header = {"set": [{"name": "x-revision", "value": name}]}
        return {
            "group": "",
            "kind": "Service",
            "name": f"{name}-predictor",
            "port": 80,
            "weight": weight,
            "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": header}],
        }

    epoch = {"set": [{"name": "x-epoch", "value": "e2"}]}
    assert rules(route)[routing.SPLIT] == {
        "matches": [
            {
                "path": {
                    "type": "RegularExpression",
                    "value": "(/v1/models/housing(:|%3[Aa])predict|/v1/models/housing(:|%3[Aa])explain"
                    "|/v2/models/housing/infer)/?",
                },
                "method": "POST",
            }
        ],
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": epoch},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": epoch},
        ],
        "backendRefs": [ref("housing-1", 800_000), ref("housing-2", 200_000)],
        "timeouts": {"request": "60s"},
    }


def test_the_url_that_kserve_tells_of_a_revision_is_one_of_the_route():
    """``status.url`` answers, by the split; a revision that is no slot's any more has no host."""
    route = two_slots.divided(two_slots.resting("m", "m-1", "e0"), Split({"m-1": 500, "m-2": 500}), "e1")
    hosts = [
        routing.http_route(found, AT)["spec"]["hostnames"] for found in (two_slots.resting("m", "m-1", "e"), route)
    ]

    assert hosts == [
        ["m.models.example.com", "m-1-models.example.com"],
        ["m.models.example.com", "m-1-models.example.com", "m-2-models.example.com"],
    ]


def test_no_path_of_a_route_leads_to_the_repository_or_the_metrics():
    """Loading a model past the rollout, or reading metrics from outside, is no route of ours."""
    paths = [match["path"]["value"] for rule in rules(two_slots.resting("m", "m-1", "e")) for match in rule["matches"]]

    asked = {"/", "/v1/models", "/v2", "/v2/models", "/v2/health/live", "/v2/health/ready", "/openapi.json"}
    called = {"/inference.GRPCInferenceService", "/inference.GRPCInferenceService/ModelInfer", "/grpc.health.v1.Health"}
    assert {path for path in paths if "(" not in path} == asked | called


@pytest.mark.parametrize("path", [":predict", ":explain", "", "/infer", "/ready"])
def test_a_path_that_names_a_version_reaches_its_revision_outside_of_the_split(path):
    """Each slot's rule takes the paths of its version; the split takes none, and neither slot those of a third."""
    route = two_slots.divided(two_slots.resting("m", "m-1", "e0"), Split({"m-1": 500, "m-2": 500}), "e1")

    def takers(version: str) -> set[str]:
        asked = f"/v{2 if path in ('/infer', '/ready') else 1}/models/m/versions/{version}{path}"
        return {
            ref["name"]
            for rule in rules(route)
            for match in rule["matches"]
            if match["path"]["type"] == "RegularExpression" and "headers" not in match
            if re.fullmatch(match["path"]["value"], asked)
            for ref in rule["backendRefs"]
        }

    assert [takers(version) for version in ("1", "2", "3")] == [{"m-1-predictor"}, {"m-2-predictor"}, set()]


@pytest.mark.parametrize(
    ("arms", "values"),
    [
        pytest.param((), ["-", "-"], id="hidden-arms-keep-their-rules"),
        pytest.param(("m-2",), ["-", "m-2"], id="the-candidate-alone"),
        pytest.param(("m-1", "m-2"), ["m-1", "m-2"], id="both"),
    ],
)
def test_header_arms_change_a_value_and_never_the_number_of_rules(arms, values):
    """A rule that came or went would move the statistics of the split to another position."""
    route = two_slots.divided(two_slots.resting("m", "m-1", "e1"), Split({"m-1": 1000}, header_arms=arms), "e2")

    found = rules(route)

    arms_of = [found[rule]["matches"][0]["headers"] for first in (0, routing.GRPC) for rule in (first, first + 1)]
    assert [headers[0]["value"] for headers in arms_of] == values * 2
    assert len(found) == 8


def test_a_mirror_is_a_filter_of_the_split_alone():
    """Copies are made of divided requests and calls, not of metadata and not of those that chose their arm."""
    found = rules(two_slots.divided(two_slots.resting("m", "m-1", "e1"), Split({"m-1": 1000}, mirror="m-2"), "e2"))

    mirrors = [[f["requestMirror"] for f in rule.get("filters", ()) if f["type"] == "RequestMirror"] for rule in found]
    to = [
        [{"backendRef": {"kind": "Service", "name": "m-2-predictor", "port": port}, "percent": 100}]
        for port in (80, 8081)
    ]
    assert mirrors == [[], [], to[0], [], [], [], to[1], []]


def test_calls_of_grpc_are_divided_as_requests_are():
    """The same slots, weights, filters and epoch at the port of HTTP/2, for calls alone; the rest is stable's."""
    route = two_slots.divided(two_slots.resting("m", "m-1", "e0"), Split({"m-1": 800, "m-2": 200}), "e1")
    found = rules(route)

    def at_grpc(refs: list[dict]) -> list[dict]:
        return [{**ref, "port": 8081} for ref in refs]

    call = [{"type": "RegularExpression", "name": "content-type", "value": "application/grpc.*"}]
    for rule in range(routing.GRPC):
        requests, calls = found[rule], found[routing.GRPC + rule]
        assert calls["backendRefs"] == at_grpc(requests["backendRefs"])
        assert calls.get("filters") == requests.get("filters")
        assert all(match["headers"][-1:] == call for match in calls["matches"])
    assert [match["path"]["value"] for match in found[routing.GRPC + routing.SPLIT]["matches"]] == [
        "/inference.GRPCInferenceService/ModelInfer"
    ]


def test_a_route_of_a_version_without_grpc_is_read_as_it_is():
    """A controller that is replaced goes on from the route that it finds; its next write brings the other rules."""
    route = two_slots.divided(two_slots.resting("m", "m-1", "e0"), Split({"m-1": 800, "m-2": 200}), "e1")
    written = routing.http_route(route, AT)
    del written["spec"]["rules"][routing.GRPC :]

    assert routing.read_route(written) == route


def test_knative_is_asked_for_one_port():
    """It refuses a second one, and then nothing would be served."""
    made = canary.knative_service("m", revision(1, "m"), AT)["spec"]["predictor"]["model"]
    changed = canary.knative_template(revision(2, "m"), AT)["spec"]["predictor"]["model"]
    assert "ports" not in made | changed


def test_a_promotion_is_five_writes_and_none_takes_a_reference_away():
    """Start, weights, all, adopt: after it the other slot is the stable one, and its Service answers all else."""
    rest = two_slots.resting("m", "m-1", "e0")
    start = two_slots.divided(rest, Split({"m-1": 1000}, header_arms=("m-2",)), "e1")
    half = two_slots.divided(start, Split({"m-1": 500, "m-2": 500}), "e2")
    whole = two_slots.divided(half, Split({"m-2": 1000}), "e3")
    adopted = two_slots.adopted(whole, "m-2", "e4")

    seen = [[(slot.revision, slot.weight) for slot in route.slots] for route in (rest, start, half, whole, adopted)]

    assert seen == [
        [("m-1", 999_999), ("m-1", 1)],
        [("m-1", 999_999), ("m-2", 1)],
        [("m-1", 500_000), ("m-2", 500_000)],
        [("m-1", 1), ("m-2", 999_999)],
        [("m-2", 1), ("m-2", 999_999)],
    ]
    assert adopted.stable == "B"
    assert rules(adopted)[routing.OTHER]["backendRefs"][0]["name"] == "m-2-predictor"
    assert adopted.split().weights == {"m-2": 1000}


def test_adopting_is_refused_while_the_other_revision_has_traffic():
    """Pointing its slot elsewhere would move requests without a decision."""
    half = two_slots.divided(two_slots.resting("m", "m-1", "e0"), Split({"m-1": 500, "m-2": 500}), "e1")

    with pytest.raises(BackendRefusal, match="once it has all of the traffic"):
        two_slots.adopted(half, "m-2", "e2")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        pytest.param(Split({"m-1": 500, "m-2": 300, "m-3": 200}), "one other revision", id="three-arms"),
        pytest.param(Split({"m-1": 1000}, sticky_header="x-user"), "sticky", id="sticky"),
        pytest.param(Split({"m-1": 900, "m-2": 100}, mirror="m-3"), "one other revision", id="mirror-of-a-third"),
    ],
)
def test_a_split_that_two_slots_cannot_hold_is_refused(split, message):
    """A field that the route would drop is refused, with the reason."""
    with pytest.raises(BackendRefusal, match=message):
        two_slots.divided(two_slots.resting("m", "m-1", "e0"), split, "e1")


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.sampled_from(["A", "B"]))
@settings(max_examples=60)
def test_weights_sum_and_never_reach_zero_and_slots_keep_their_places(shares, stable):
    """Over any sequence of splits, from either slot, and the object in the cluster says it back."""
    route = two_slots.resting("m", "m-1", "e0", stable)
    for number, share in enumerate(shares, 1):
        split = Split({"m-1": 1000 - share, "m-2": share}, header_arms=("m-1", "m-2"))
        route = two_slots.divided(route, split, f"e{number}")
        made = routing.http_route(route, AT, fence=number)
        refs = made["spec"]["rules"][routing.SPLIT]["backendRefs"]

        assert [ref["name"] for ref in refs] == [f"{slot.revision}-predictor" for slot in route.slots]
        assert {route.stable, "A" if route.a.revision == "m-1" else "B"} == {stable}
        assert sum(ref["weight"] for ref in refs) == two_slots.WEIGHT_TOTAL
        assert min(ref["weight"] for ref in refs) >= 1
        assert routing.read_route(made) == route
        assert route.split().weights == {name: weight for name, weight in split.weights.items() if weight}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda spec: spec["rules"].pop(), id="rule-removed"),
        pytest.param(lambda spec: spec["rules"][2]["backendRefs"].pop(), id="reference-removed"),
        pytest.param(lambda spec: spec["rules"][2].pop("filters"), id="epoch-removed"),
        pytest.param(lambda spec: [ref.update(weight=0) for ref in spec["rules"][2]["backendRefs"]], id="no-weight"),
    ],
)
def test_a_route_that_somebody_changed_is_told_from_ours(change):
    """Its positions would mean something else, so it is not read as if they did not."""
    made = routing.http_route(two_slots.resting("m", "m-1", "e"), AT)
    change(made["spec"])

    with pytest.raises(ConfigError, match="not as it was written"):
        routing.read_route(made)


def test_a_name_too_long_for_a_host_is_refused_before_the_cluster_sees_it():
    """KServe joins name and namespace into one DNS label."""
    with pytest.raises(ConfigError, match="at most 46"):
        inference_service(revision(1, "m" * 45), AT)


def test_the_storage_uri_ends_with_a_slash_however_it_came():
    """Without it the initializer fetches every key that begins alike."""
    assert storage_uri("s3://b/m/v1") == storage_uri("s3://b/m/v1//") == "s3://b/m/v1/"


def test_a_standard_promotion_takes_over_the_pods_of_the_canary():
    """What is adopted equals what the canary was, also in what somebody else wrote there or an earlier Slipway; the old
    side stays, without weight, until it is let go."""
    spec = canary.standard_service("m", revision(1), AT)["spec"]
    spec["predictor"] |= {"nodeSelector": {"disk": "ssd"}, "maxReplicas": 3}
    spec |= {"canary": canary.standard_canary("m", revision(2), 1, 1, AT)["spec"]["canary"]}
    spec["canary"][0]["predictor"]["model"]["args"] = ["--of-an-earlier-slipway"]
    spec |= canary.standard_weight(spec, 1000)["spec"]
    adopt = canary.standard_promotion(spec)["spec"]

    assert spec["canary"][0]["trafficPercent"] == 100
    assert {"minReplicas": 1, **adopt["predictor"]} == spec["canary"][0]["predictor"], "the same pods are taken over"
    assert [(e["trafficPercent"], e["predictor"]["name"]) for e in adopt["canary"]] == [(0, "v1")]
    assert adopt["canary"][0]["predictor"] | {"maxReplicas": 3} == spec["predictor"]
    assert canary.standard_removal(1)["spec"]["canary"] == []


def test_a_fraction_of_a_percent_is_refused_where_it_would_be_ignored():
    """KServe knows whole percents only."""
    with pytest.raises(BackendRefusal, match="whole percents"):
        canary.standard_weight(canary.standard_canary("m", revision(2), 1, 1, AT)["spec"], 15)


@given(st.integers(1, 9), st.integers(1, 9))
def test_what_the_stable_side_asks_for_leaves_it_its_own_beside_a_canary(own, replicas):
    """By KServe's rule, and never less than the canary, which KServe would refuse."""
    asked = canary.beside(own, replicas)
    assert max(asked - replicas, 1) == own
    assert asked >= replicas


@pytest.mark.parametrize("namespace", ["x", "models", "a-namespace-of-somebody"])
def test_a_side_has_a_name_that_fits_whatever_kserve_makes_of_it(namespace):
    """Host, Service and label of the pods: the longest model that is taken, and one letter more that is refused."""
    at = replace(AT, namespace=namespace)

    def made(length):
        return canary.standard_canary("m" * length, revision(12), 1, 1, at)

    longest = next(n for n in range(1, 60) if _refused(partial(made, n + 1)))
    service = f"{'m' * longest}-v12-predictor"
    assert max(len(f"isvc.{service}"), len(f"{service}-{namespace}")) == 63
    with pytest.raises(ConfigError, match="choose a shorter model name"):
        made(longest + 1)


def _refused(act):
    try:
        act()
    except ConfigError:
        return True
    return False


def test_a_template_of_knative_starts_without_traffic():
    """On the way there and on the way back: a template without a share serves as soon as it is ready."""
    made = canary.knative_template(revision(1), AT)["spec"]["predictor"]

    assert made["canaryTrafficPercent"] == 0
    assert made["model"]["storageUri"].endswith("sha256-0001/")


def test_the_first_service_of_each_mode_says_its_mode():
    """A field of one mode is silently ignored in the other, so the mode is never left to the installation."""
    standard = canary.standard_service("housing", revision(1), AT)
    knative = canary.knative_service("housing", revision(1), AT)

    modes = [made["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] for made in (standard, knative)]
    assert modes == ["Standard", "Knative"]
    assert standard["spec"]["predictor"]["name"] == "v1", "a side without a name cannot be kept at its promotion"
    assert standard["metadata"]["name"] == knative["metadata"]["name"] == "housing"
