"""One file in which sites differ: what it may say, and that all of the manifests follow it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.deploying import dist, secrets
from pipelines.deploying.site import Site, rendered
from serving.cluster.service import cluster_address
from serving.errors import ConfigError
from tests.manifests.support import MANIFESTS, name_of, needs_kubectl
from tests.root import ROOT

USUAL_STORE = "http://minio.slipway-system:9000"
NAME = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("HOST=https://models.example.com", "HOST: expected a domain"),
        ("HOST=Models.example.com", "HOST: expected a domain"),
        ("GATEWAY=public", "GATEWAY: expected NAMESPACE/NAME"),
        ("OBJECT_STORE=minio.slipway-system:9000", "OBJECT_STORE: expected http"),
        ("OBJECT_STORE=https://key:secret@s3.example.com", "without a path or a password"),
        ("OBJECT_STORE=https://s3.example.com/bucket", "without a path or a password"),
        ("DATABASE=mysql+pymysql://root:secret@db/slipway", "are in the secret slipway-ledger"),
        ("DATABASE=postgresql://db/slipway", "DATABASE: expected mysql"),
        ("REGISTRY=https://registry.example.com", "REGISTRY: expected HOST"),
        ("REGISTRY=registry.example.com/team:v1", "without a scheme or a tag"),
        ("OWN_PACKAGES=shoreline, other", "OWN_PACKAGES: expected names of Python packages"),
        ("BUCKET=My_Bucket", "BUCKET: expected a name"),
        ("MODELS_NAMESPACE=a b", "MODELS_NAMESPACE: expected a name"),
        ("MODEL_NAMESPACE=a", "MODEL_NAMESPACE"),
        ("HOST", "line 1: expected NAME=value"),
        ("export HOST=a.b", "line 1: expected NAME=value"),
        ("HOST=a.b\nHOST=c.d", "line 2: HOST is there twice"),
        ("SYSTEM_NAMESPACE=models", "three namespaces"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_its_name(line: str, said: str) -> None:
    """Before anything is applied, and with what was expected."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        Site.read(line)


def test_comments_and_empty_values_are_for_people() -> None:
    """A value ends before a `#` that stands alone; nothing is the usual where there is one."""
    assert Site.read("# all of it\n\nHOST=a.example  # ours\nSTORAGE_CLASS=\n") == Site(host="a.example")


@pytest.mark.parametrize("overlay", sorted(dist.PIECES))
def test_the_file_of_each_overlay_can_be_read(overlay: str) -> None:
    """And names everything there is to say, where it is the one that people fill in."""
    text = (MANIFESTS / "overlays" / overlay / "values.env").read_text()
    Site.read(text)
    if overlay == "production":
        assert re.findall("^([A-Z_]+)=", text, re.MULTILINE) == [name.upper() for name in Site.model_fields]


def ours() -> list[dict[str, Any]]:
    return [*dist.of_overlay("kind"), *dist.of_overlay("production")]


@needs_kubectl
def test_the_usual_site_is_what_the_manifests_say() -> None:
    """So who applies an overlay with kubectl alone has it."""
    assert rendered(dist.of_overlay("kind"), Site()) == list(dist.of_overlay("kind"))


@needs_kubectl
@given(system=NAME, models=NAME, runs=NAME)
def test_no_object_of_a_team_names_the_namespaces_of_another(system: str, models: str, runs: str) -> None:
    """Neither as its own, nor in a selector, a subject, an address or an argument."""
    if len({system, models, runs}) < 3:
        return
    names = {"system_namespace": f"{system}-s", "models_namespace": f"{models}-m", "runs_namespace": f"{runs}-r"}
    site = Site(**names, database=f"mysql+pymysql://db.{system}-s/slipway", tracking=f"http://mlflow.{system}-s")
    found = rendered(OURS, site)
    text = yaml.safe_dump_all(found)
    assert not re.findall(r".*(?<![\w-])(?:slipway-system|kubeflow)(?![\w-]).*", text)
    assert not re.findall(r".*(?:namespace|name): models$.*", text)
    assert {one["metadata"].get("namespace") for one in found} <= {
        None,
        *names.values(),
        "kserve",
        "envoy-gateway-system",
    }


@needs_kubectl
def test_two_teams_have_no_object_in_common() -> None:
    """What lies in third parties' namespaces and what is of the whole cluster, too; a type is there once for all."""
    teams = [
        Site(system_namespace=f"{team}-system", models_namespace=team, runs_namespace=f"{team}-runs")
        for team in ("a", "b")
    ]
    own = [one for one in OURS if one["kind"] != "CustomResourceDefinition"]
    a, b = ({name_of(one) for one in rendered(own, site)} for site in teams)
    assert len(a) == len(b) == len({name_of(one) for one in own})
    assert not a & b


@needs_kubectl
def test_every_reference_of_a_team_leads_to_its_own() -> None:
    """A role, and whom it is given to."""
    found = rendered(OURS, Site(system_namespace="t-system", models_namespace="t", runs_namespace="t-runs"))
    roles = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found}
    for one in found:
        if one["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            kind, namespace = one["roleRef"]["kind"], one["metadata"].get("namespace")
            assert (kind, None if kind == "ClusterRole" else namespace, one["roleRef"]["name"]) in roles, name_of(one)
            assert {subject["namespace"] for subject in one["subjects"]} <= {"t-system", "t-runs"}


@needs_kubectl
def test_a_site_of_somebody_else_is_in_every_place() -> None:
    """Host and gateway in the address that the controller reads, the store with its port, the bucket, the class."""
    text = """HOST=ml.example.org
GATEWAY=infra/public
OBJECT_STORE=https://s3.example.org
BUCKET=ours
DATABASE=mysql+pymysql://db.example.org:3307/ledger
STORAGE_CLASS=fast
PRIORITY_CLASS=served
OWN_PACKAGES=shoreline,tide.tables"""
    site = Site.read(text)
    found = {name_of(one): one for one in rendered(OURS, site)}
    for namespace in ("slipway-system", "kubeflow"):
        place = found[f"ConfigMap {namespace}/slipway-place"]["data"]
        where = cluster_address(place["SLIPWAY_SERVING"])
        assert (where.namespace, where.domain, where.gateway) == ("models", "ml.example.org", "infra/public")
        assert where.priority == "served", "pods of models have it from the controller"
        assert place["SLIPWAY_STORE"] == "s3://ours/models"
        assert place["SLIPWAY_LEDGER"].startswith("mysql+pymysql://db.example.org:3307/ledger?read_default_file=")
        assert place["SLIPWAY_OWN_PACKAGES"] == "shoreline,tide.tables", "the step verify has it from there"
    (server,) = found["ServingRuntime models/slipway"]["spec"]["containers"]
    assert {"name": "SLIPWAY_OWN_PACKAGES", "value": "shoreline,tide.tables"} in server["env"]
    (controller,) = found["Deployment slipway-system/rollout-controller"]["spec"]["template"]["spec"]["containers"]
    assert controller["envFrom"] == [{"configMapRef": {"name": "slipway-place"}}], "what is asked there has it too"
    assert {"ports": [{"port": 443}]} in found["NetworkPolicy models/predictors"]["spec"]["egress"]
    assert "s3://slipway/" not in str(found["ServingRuntime models/slipway"])
    claims = found["StatefulSet slipway-system/ledger"]["spec"]["volumeClaimTemplates"]
    assert [one["spec"]["storageClassName"] for one in claims] == ["fast"]
    workloads = [one for one in found.values() if one["kind"] in ("Deployment", "StatefulSet")]
    assert {one["spec"]["template"]["spec"].get("priorityClassName") for one in workloads} == {"served"}
    made = secrets.objects({}, lambda: "x" * 40, secrets.new_key, site)["items"]
    store = secrets.read({"items": [made[0]]})["slipway-object-store"]
    assert (store["endpoint"], store["secure"]) == ("s3.example.org", "true")


@pytest.mark.parametrize(
    ("said", "kept", "endpoint", "secure"),
    [
        ("https://new.example.org", {"endpoint": "old:9000", "secure": "false"}, "new.example.org", "true"),
        (
            "http://minio.slipway-system:9000",
            {"endpoint": "s3.example.org", "secure": "true"},
            "s3.example.org",
            "true",
        ),
        (USUAL_STORE, {}, "minio.slipway-system:9000", "false"),
    ],
)
def test_a_store_that_the_site_names_is_the_one_that_keys_are_for(
    said: str, kept: dict[str, str], endpoint: str, secure: str
) -> None:
    """Also where a secret of before names another; the keys in it stay. A site that names none leaves it as it is."""
    existing = {"slipway-object-store": {**kept, "access_key": "a", "secret_key": "b"}}
    made = secrets.objects(existing, lambda: "x" * 40, secrets.new_key, Site(object_store=said))["items"]
    store = secrets.read({"items": [made[0]]})["slipway-object-store"]
    assert (store["endpoint"], store["secure"], store["access_key"]) == (endpoint, secure, "a")
    assert made[0]["metadata"]["annotations"]["serving.kserve.io/s3-endpoint"] == endpoint


@needs_kubectl
def test_a_team_with_a_store_of_its_own_reaches_no_other() -> None:
    """Its predictors' way out stays the one pod; only a store elsewhere opens a port."""
    names = {"system_namespace": "t-system", "models_namespace": "t", "runs_namespace": "t-runs"}
    for store, own in (("http://minio.t-system:9000", True), ("http://minio.slipway-system:9000", False)):
        found = {name_of(one): one for one in rendered(OURS, Site(**names, object_store=store))}
        egress = found["NetworkPolicy t/predictors"]["spec"]["egress"]
        assert ({"ports": [{"port": 9000}]} in egress) != own
        assert ("'minio'" in str(egress)) == own


@needs_kubectl
@pytest.mark.parametrize("overlay", sorted(dist.PIECES))
def test_the_file_for_kubectl_alone_is_the_overlay(overlay: str) -> None:
    """But for namespaces, which outlive it; `make dist` writes it."""
    site = Site.of(MANIFESTS / "overlays" / overlay / "values.env")
    assert (ROOT / f"dist/slipway-{overlay}.yaml").read_text() == dist.written(
        overlay, site, list(dist.of_overlay(overlay))
    )
    kinds = {one["kind"] for one in yaml.safe_load_all((ROOT / f"dist/slipway-{overlay}.yaml").read_text())}
    assert not kinds & {"Namespace", "Secret", "PersistentVolumeClaim", "CustomResourceDefinition"}, kinds


def test_the_files_beside_it_are_as_the_command_writes_them() -> None:
    """Namespaces, and secrets to fill in."""
    assert (ROOT / "dist" / dist.NAMESPACES).read_text() == dist.namespaces(Site())
    assert (ROOT / "dist" / dist.SECRETS).read_text() == dist.template(Site())


def test_a_template_has_the_objects_and_the_keys_of_what_a_deployment_makes() -> None:
    """And says of each secret what it is, and shows none."""
    site = Site()
    made = secrets.objects({}, lambda: "x" * 40, secrets.new_key, site)["items"]
    asked = secrets.template(site)["items"]
    assert [name_of(one) for one in made] == [name_of(one) for one in asked]
    for one, other in zip(made, asked, strict=True):
        if one["kind"] == "Secret":
            assert one["data"].keys() == other["stringData"].keys(), name_of(one)
            shown = {key for key, value in other["stringData"].items() if not value.startswith("<")}
            assert shown <= {"endpoint", "region", "secure"}, name_of(one)


@needs_kubectl
def test_the_images_of_a_kustomization_reach_every_image_of_ours(tmp_path: Path) -> None:
    """By a digest, as a GitOps tool sets them."""
    names = ("slipway-python", "slipway-serving")
    digest = f"sha256:{'0' * 64}"
    lines = [{"name": name, "newName": f"registry.example.com/{name}", "digest": digest} for name in names]
    for overlay in dist.PIECES:
        (tmp_path / f"slipway-{overlay}.yaml").write_text((ROOT / f"dist/slipway-{overlay}.yaml").read_text())
        (tmp_path / "kustomization.yaml").write_text(
            yaml.safe_dump({"resources": [f"slipway-{overlay}.yaml"], "images": lines})
        )
        said = dist.kustomized(tmp_path)
        assert not re.findall(r"image: slipway-.*", said)
        assert f"image: registry.example.com/slipway-serving@{digest}" in said


OURS = ours() if needs_kubectl.args[0] is False else []
