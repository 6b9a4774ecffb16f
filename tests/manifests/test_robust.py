"""What is declared of pods that come and go; `tests/cluster/test_robust.py` drains them."""

from typing import Any

import pytest

from serving.cluster.manifest import Installation, Object, disruption_budget, inference_service
from serving.predictor.settings import parse
from serving.rollout.backend import Revision
from tests.manifests.support import needs_kubectl, rendered
from tests.manifests.test_manifests import rights_of

pytestmark = needs_kubectl
REVISION = Revision("housing-1", "housing", 1, "s3://slipway/models/x/1", "0" * 64)
MADE = inference_service(REVISION, Installation())
MADE["metadata"]["uid"] = "a"
OWN = disruption_budget(REVISION, MADE)


def chosen(budget: Object, labels: dict[str, str]) -> bool:
    selector = budget["spec"]["selector"]
    absent = [one["key"] for one in selector.get("matchExpressions", ()) if one["operator"] == "DoesNotExist"]
    return selector["matchLabels"].items() <= labels.items() and not set(absent) & labels.keys()


def budgets(directory: str) -> list[Object]:
    found = [one for one in rendered(directory) if one["kind"] == "PodDisruptionBudget"]
    return [one for one in found if one["metadata"]["namespace"] == "models"]


@pytest.mark.parametrize("directory", ["overlays/kind", "overlays/production"])
def test_every_predictor_has_one_budget(directory: str) -> None:
    """A pod that two select can not be evicted at all, and one without is taken with all others."""
    of_kserve = {"component": "predictor"}  # to every predictor, beside the labels of its InferenceService
    for labels in (MADE["metadata"]["labels"] | of_kserve, of_kserve):
        assert len([one for one in [*budgets(directory), OWN] if chosen(one, labels)]) == 1


def test_the_controller_may_make_what_it_makes() -> None:
    rights = rights_of(rendered("base"), "rollout-controller", "slipway-system")
    assert {"get", "create", "patch"} <= rights["models", "policy", "poddisruptionbudgets"]


def test_a_pod_that_ends_has_the_time_that_it_takes() -> None:
    """Waiting, draining and finishing fit into what Kubernetes gives a pod that asks for nothing else."""
    (runtime,) = [one for one in rendered("base") if one["kind"] == "ServingRuntime"]
    container: dict[str, Any] = runtime["spec"]["containers"][0]
    (_, waits) = container["lifecycle"]["preStop"]["exec"]["command"]
    settings = parse([arg.replace("{{.Name}}", "housing-1") for arg in container["args"]])
    assert settings.drain_s < settings.grace_s
    assert float(waits) + settings.grace_s < 30
