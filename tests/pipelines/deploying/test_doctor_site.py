"""What the doctor says of a site's file before anything is deployed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.deploying.doctor_site import NAMESPACE, PRIORITY_CLASS, STORAGE_CLASS, USUAL_CLASS, findings, overlay_of
from pipelines.deploying.site import Object, Site
from serving.cluster.client import GATEWAY, SERVICE, Kind

LISTENER = {"protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "Selector"}}}
PLACE = {"name": "slipway-place", "namespace": "slipway-system"}
OBJECTS: list[Object] = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": PLACE, "data": {}}]
MINIO, MYSQL = "http://mino.slipway-system:9000", "mysql+pymysql://mysql.databases.svc:3306/slipway"
KIND = "manifests/overlays/kind/values.env"


class Asked:
    """A cluster that has what it is made of."""

    def __init__(
        self, gateway: Mapping[str, Any] | None = LISTENER, services: Sequence[str] = (), usual: bool = True
    ) -> None:
        self.gateway, self.services, self.usual = gateway, services, usual

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        if kind == GATEWAY and self.gateway is not None:
            return {"spec": {"listeners": [self.gateway]}}
        if kind == SERVICE and f"{namespace}/{name}" in self.services:
            return {}
        return {} if (kind, name) in ((NAMESPACE, "default"), (PRIORITY_CLASS, "served")) else None

    def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Object]:
        assert kind == STORAGE_CLASS
        return [{"metadata": {"name": "standard", "annotations": {USUAL_CLASS: str(self.usual).lower()}}}]


@pytest.mark.parametrize(
    ("text", "cluster", "subject", "state", "said"),
    [
        ("", Asked(), "gateway", "ok", "takes NAME.models.example.com"),
        ("", Asked(gateway=None), "gateway", "note", "make deploy brings it"),
        ("GATEWAY=infra/public", Asked(gateway=None), "gateway", "fails", "there is no Gateway infra/public"),
        ("HOST=a.org", Asked({**LISTENER, "hostname": "*.b.org"}), "gateway", "fails", "they take *.b.org"),
        ("HOST=a.b.org", Asked({**LISTENER, "hostname": "*.b.org"}), "gateway", "ok", ""),
        ("", Asked({"protocol": "HTTP"}), "gateway", "fails", "of its own namespace alone"),
        ("", Asked(), "storage", "ok", "the cluster's default, standard"),
        ("", Asked(usual=False), "storage", "fails", "STORAGE_CLASS is empty"),
        ("STORAGE_CLASS=fast", Asked(), "storage", "fails", "there is no fast, there are standard"),
        ("PRIORITY_CLASS=high", Asked(), "priority", "fails", "there is no high"),
        ("PRIORITY_CLASS=served", Asked(), "priority", "ok", "served"),
        ("OWN_PACKAGES=shoreline", Asked(), "own code", "note", "hold code of shoreline"),
        ("", Asked(), "object store", "note", "make deploy brings it"),
        ("", Asked(services=["slipway-system/minio"]), "object store", "ok", "slipway-system/minio"),
        (f"OBJECT_STORE={MINIO}", Asked(), "object store", "fails", "no Service mino in slipway-system"),
        ("OBJECT_STORE=https://s3.eu.example.com", Asked(), "object store", "note", "outside of the cluster"),
        (f"DATABASE={MYSQL}", Asked(), "database", "fails", "no Service mysql in databases"),
        ("TRACKING=http://mlflow.team:5000", Asked(services=["team/mlflow"]), "tracking", "ok", "team/mlflow"),
    ],
)  # fmt: skip
def test_a_value_is_held_against_the_cluster(text: str, cluster: Asked, subject: str, state: str, said: str) -> None:
    """What is wrong is named by the value that is to be corrected, before anything is applied."""
    found = findings(cluster, Site.read(text), OBJECTS, lambda _: "")  # type: ignore[arg-type]
    one = next(one for one in found if one.subject == subject)
    assert (one.state, said in one.text) == (state, True), one
    assert bool(one.remedy) == (state == "fails")


def test_what_the_api_server_refuses_is_told_in_its_words() -> None:
    """All objects are tried; those of a namespace that is not there yet in one that is."""
    tried: list[Object] = []

    def refused(objects: Sequence[Object]) -> str:
        tried.extend(objects)
        return "ServingRuntime slipway: spec.x: unknown field\n" * 5

    last = list(findings(Asked(), Site(), OBJECTS, refused))[-1]  # type: ignore[arg-type]
    assert last.state == "fails"
    assert "spec.x: unknown field" in last.text
    assert "and 2 more" in last.text
    assert [one["metadata"]["namespace"] for one in tried] == ["default"]


def test_the_overlay_is_where_the_file_lies() -> None:
    """A file from elsewhere is of an existing cluster."""
    assert [overlay_of(Path(path)) for path in (KIND, "/tmp/team.env")] == ["kind", "production"]
