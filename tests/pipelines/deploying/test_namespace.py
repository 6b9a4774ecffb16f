"""What a namespace gets to serve bundles, from what the first one has."""

from typing import Any

import pytest

from pipelines.deploying.namespace import objects

FOUND: list[dict[str, Any]] = [
    {
        "kind": "ServingRuntime",
        "metadata": {"name": "slipway", "namespace": "models", "resourceVersion": "7", "labels": {"a": "b"}},
        "spec": {
            "supportedModelFormats": [{"name": "slipway"}],
            "containers": [{"name": "kserve-container", "args": ["--log_dir=s3://acme/predictions"]}],
        },
    },
    {
        "kind": "ServiceAccount",
        "metadata": {"name": "predictor", "namespace": "models", "uid": "1"},
        "automountServiceAccountToken": False,
        "secrets": [{"name": "slipway-object-store"}],
    },
    {
        "kind": "Secret",
        "metadata": {
            "name": "slipway-object-store",
            "namespace": "models",
            "annotations": {"serving.kserve.io/s3-endpoint": "minio:9000", "kubectl.kubernetes.io/last": "{}"},
        },
        "data": {"access_key": "YQ=="},
    },
]
OTHERS = {"kserve-sklearnserver": "sklearn", "kserve-mlserver": "sklearn"}


@pytest.fixture
def made() -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects(FOUND, "team", OTHERS)["items"]}


def test_the_gateway_and_the_object_store_know_the_namespace_by_its_label(made: Any) -> None:
    """Without it routes from there are refused without a word."""
    assert made["Namespace", "team"]["metadata"]["labels"]["slipway.dev/models"] == "true"


def test_nothing_of_the_first_namespace_comes_along(made: Any) -> None:
    """Neither what the API server wrote nor the place of the log, where a model may have the same name."""
    for (kind, name), one in made.items():
        if kind != "Namespace":
            assert one["metadata"].keys() <= {"name", "namespace", "labels", "annotations"}
            assert one["metadata"]["namespace"] == "team", name
    annotations = made["Secret", "slipway-object-store"]["metadata"]["annotations"]
    assert annotations == {"serving.kserve.io/s3-endpoint": "minio:9000"}
    assert made["ServingRuntime", "slipway"]["spec"]["containers"][0]["args"] == [
        "--log_dir=s3://acme/team/predictions"
    ]


def test_an_inferenceservice_without_an_account_finds_the_object_store_too(made: Any) -> None:
    """KServe takes the secrets of ``default`` where none is named; its pods may still want their token."""
    assert made["ServiceAccount", "default"]["secrets"] == [{"name": "slipway-object-store"}]
    assert "automountServiceAccountToken" not in made["ServiceAccount", "default"]
    assert made["ServiceAccount", "predictor"]["automountServiceAccountToken"] is False


def test_the_runtime_answers_to_the_names_of_others(made: Any) -> None:
    """Each with its format alone, in an order, because KServe refuses two of one priority."""
    formats = [made["ServingRuntime", name]["spec"]["supportedModelFormats"] for name in OTHERS]
    assert [(one["name"], one["priority"]) for (one,) in formats] == [("sklearn", 2), ("sklearn", 1)]
    assert made["ServingRuntime", "slipway"]["spec"]["supportedModelFormats"] == [{"name": "slipway"}]
