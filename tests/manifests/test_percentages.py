"""What is declared of shares of traffic: the type, the refusals at the door, and the rights that answering takes.

Whether the API server takes the expressions as they are meant, `tests/cluster/test_percentages.py` asks a real one.
"""

import re
from typing import Any

import click
import jsonschema  # type: ignore[import-untyped]  # ships no annotations
import pytest

from pipelines.cli.rollout.group import rollout
from serving.cluster.client import HTTP_ROUTE, INFERENCE_SERVICE
from serving.cluster.declared import SPLIT, show
from serving.cluster.edits import EVENT
from serving.cluster.manifest import REVISION_LABEL, Installation, inference_service
from serving.rollout.backend import Split
from tests.manifests.support import needs_kubectl, rendered
from tests.manifests.test_manifests import rights_of
from tests.serving.cluster.fake_cluster import NAMESPACE, FakeCluster
from tests.serving.cluster.test_backends import revision
from tests.serving.rollout.fake import Clock

pytestmark = needs_kubectl


def one(kind: str, name: str) -> dict[str, Any]:
    return next(found for found in rendered("base") if (found["kind"], found["metadata"]["name"]) == (kind, name))


def policy() -> dict[str, Any]:
    return dict(one("ValidatingAdmissionPolicy", "slipway-percentages")["spec"])


def test_only_what_slipway_made_in_its_namespaces_is_asked() -> None:
    """Everything else in the cluster, KServe's own suite among it, is none of the policy's concern."""
    rules = policy()["matchConstraints"]
    made = inference_service(revision(1), Installation())
    assert rules["objectSelector"]["matchLabels"].items() <= made["metadata"]["labels"].items()
    assert rules["namespaceSelector"]["matchLabels"].items() <= one("Namespace", "models")["metadata"]["labels"].items()
    (resource,) = rules["resourceRules"]
    assert (resource["apiGroups"], resource["resources"]) == ([INFERENCE_SERVICE.group], [INFERENCE_SERVICE.plural])
    assert one("ValidatingAdmissionPolicyBinding", "slipway-percentages")["spec"]["validationActions"] == ["Deny"]


def test_the_controllers_write_what_they_mean() -> None:
    """The accounts of our Deployment and of KServe's manager pass; a person and another account do not."""
    (pattern,) = re.findall(r"matches\('(.*)'\)", policy()["matchConditions"][0]["expression"])
    pod = one("Deployment", "rollout-controller")["spec"]["template"]["spec"]
    ours = f"system:serviceaccount:slipway-system:{pod['serviceAccountName']}"
    assert re.search(pattern, ours)
    assert re.search(pattern, "system:serviceaccount:kserve:kserve-controller-manager")
    for name in ("kubernetes-admin", "system:serviceaccount:models:default", f"x{ours}", f"{ours}-of-mine"):
        assert not re.search(pattern, name)


def test_a_refusal_names_ways_that_there_are() -> None:
    """The type with its version and fields, and a verb with its options; the label is ours."""
    text = str(policy())
    assert f"apiVersion: {SPLIT.group}/{SPLIT.version}" in text
    assert set(re.findall(r"spec: \{(\w+): N, (\w+): 20\}", text)) == {("version", "percent")}
    verb = rollout.get_command(click.Context(rollout), "set")
    assert verb is not None
    assert {"--version", "--model"} <= {option for one in verb.params for option in one.opts}
    assert REVISION_LABEL in text


@pytest.mark.parametrize("obeyed", [True, False, None])
def test_a_status_is_one_that_the_type_keeps(obeyed: bool | None) -> None:
    """A field that the type does not know would be dropped without a word."""
    (version,) = one("CustomResourceDefinition", "splits.slipway.dev")["spec"]["versions"]
    cluster = FakeCluster(Clock())
    found = cluster.edit(SPLIT, "housing", {"spec": {"version": 2, "percent": 20}})
    said = {"change": "1"} if obeyed is None else {"change": "1", "obeyed": obeyed, "sentence": "so it is"}
    show(cluster, found, said, Split({"housing-1": 800, "housing-2": 200}), 0.0)
    written = cluster.objects[SPLIT.plural, NAMESPACE, "housing"]
    schema = version["schema"]["openAPIV3Schema"]
    jsonschema.Draft202012Validator(_closed(schema)).validate({part: written[part] for part in ("spec", "status")})
    assert written["status"]["percent"] == 20
    assert version["subresources"] == {"status": {}}


def test_the_controller_may_answer_and_not_declare() -> None:
    """Events and the status of a Split; what is declared it only reads, and replicas it sets through no other type."""
    rights = rights_of(rendered("base"), "rollout-controller", "slipway-system")
    assert {"get", "create", "patch"} <= rights["models", EVENT.group, EVENT.plural]
    assert rights["models", SPLIT.group, SPLIT.plural] == {"get", "list", "watch"}
    assert rights["models", SPLIT.group, f"{SPLIT.plural}/status"] == {"patch"}
    assert {"get", "patch"} <= rights["models", HTTP_ROUTE.group, HTTP_ROUTE.plural]


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """*schema* that takes no other fields than those it names."""
    inner = {name: _closed(value) for name, value in schema.get("properties", {}).items()}
    shut = {"properties": inner, "additionalProperties": False} if inner else {}
    items = {"items": _closed(schema["items"])} if "items" in schema else {}
    return {**schema, **shut, **items}
