"""What the doctor says of a machine and a cluster, and that each complaint comes with what to do about it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import settings
from pipelines.deploying import doctor, doctor_facts
from pipelines.deploying.doctor import CRDS, OBJECTS, WORKLOADS, ClusterFacts, Finding, Machine
from serving.cluster.client import CRD, DEPLOYMENT, GATEWAY, Kind, Object
from serving.cluster.installation import CapabilitiesOfInstallation
from serving.errors import InfrastructureError
from tests.pipelines.here.support import slipway

LAPTOP = Machine((3, 11), "/srv/slipway", {"envoy": "/bin/envoy", "kubectl": None, "kind": None}, {"home": ""})
CAPABILITIES = CapabilitiesOfInstallation(
    kserve="0.20.0", canary=True, canary_percent=True, routes=("v1",), default_mode="Standard", kubernetes="v1.34.4"
)
WELL = ClusterFacts(
    context="kind-slipway",
    capabilities=CAPABILITIES,
    versions={"kubernetes": "v1.34.4", "kserve": "0.20.0", "pipelines": "2.14.3"},
    crds=frozenset(CRDS),
    objects=frozenset(OBJECTS),
    workloads=dict.fromkeys(WORKLOADS, (1, 1)),
    gateway="",
    store_pods=1,
)
TESTED = {"kubernetes": ["1.34"], "kserve": ["v0.20.0"], "pipelines": ["2.14.3"]}


def failing(found: list[Finding]) -> list[tuple[str, str]]:
    return [(check.subject, check.text) for check in found if check.state == "fails"]


def cluster_checks(**changes: Any) -> list[Finding]:
    return doctor.checks(LAPTOP, replace(WELL, **changes), TESTED)


def test_a_laptop_alone_is_well() -> None:
    """Without a cluster the doctor says that it looked at the laptop only, and is content."""
    found = doctor.checks(LAPTOP, None)
    assert (failing(found), doctor.exit_code(found)) == ([], 0)
    assert found[-1].text.startswith("no cluster: only the laptop was checked")


def test_a_whole_installation_is_well() -> None:
    found = cluster_checks()
    assert (failing(found), doctor.exit_code(found)) == ([], 0)
    assert any("'route'" in check.text for check in found), "it says how traffic will move"


@pytest.mark.parametrize(
    ("changes", "subject", "text", "remedy"),
    [
        pytest.param({"crds": frozenset(CRDS[1:])}, "types", CRDS[0], "make upstream", id="a-type-is-missing"),
        pytest.param(
            {"objects": frozenset(OBJECTS) - {("Secret", "kubeflow", "slipway-ledger")}},
            "secrets", "kubeflow/slipway-ledger", "make deploy", id="a-secret-is-missing",
        ),
        pytest.param(
            {"objects": frozenset(OBJECTS) - {("ServingRuntime", "models", "slipway")}},
            "serving runtimes", "models/slipway", "make deploy", id="the-runtime-is-missing",
        ),
        pytest.param(
            {"objects": frozenset(OBJECTS) - {("RoleBinding", "models", "pipeline-runner-releases")}},
            "role bindings", "pipeline-runner-releases", "make deploy", id="a-right-is-missing",
        ),
        pytest.param({"gateway": None}, "gateway", "no Gateway", "make deploy", id="no-gateway"),
        pytest.param({"gateway": "no addresses"}, "gateway", "no addresses", "describe gateway", id="gateway-waits"),
        pytest.param({"store_pods": 0}, "object store", "no pod", "describe statefulset minio", id="store-is-down"),
        pytest.param({"pipelines": "503"}, "pipelines", "503", "logs deployment/ml-pipeline", id="pipelines-is-down"),
        pytest.param(
            {"workloads": {**WELL.workloads, ("Deployment", "slipway-system", "rollout-controller"): (0, 1)}},
            "slipway-system", "rollout-controller: 0 of 1", "describe deployment rollout-controller",
            id="the-controller-is-not-ready",
        ),
        pytest.param(
            {"workloads": {**WELL.workloads, ("Deployment", "kubeflow", "ml-pipeline"): (0, 0)}},
            "kubeflow", "ml-pipeline: 0 of 0", "describe deployment ml-pipeline", id="scaled-to-nothing",
        ),
        pytest.param(
            {"capabilities": CAPABILITIES.model_copy(update={"kserve": None})},
            "traffic", "KServe is not installed", "make", id="no-kserve",
        ),
    ],
)  # fmt: skip
def test_what_fails_is_named_with_its_remedy(changes: Mapping[str, Any], subject: str, text: str, remedy: str) -> None:
    """One fault is one line: the piece, what was seen, what to do; the exit code is that of infrastructure."""
    found = cluster_checks(**changes)
    (only,) = [check for check in found if check.state == "fails"]
    assert only.subject == subject
    assert text in only.text
    assert remedy in only.remedy
    assert doctor.exit_code(found) == 30


def test_a_piece_that_a_site_brings_itself_is_no_fault() -> None:
    """MinIO, the ledger's database and MLflow may be elsewhere."""
    own = {name: ready for name, ready in WELL.workloads.items() if WORKLOADS[name]}
    found = cluster_checks(workloads=own, store_pods=None)
    assert failing(found) == []
    assert any(check.state == "note" and "minio" in check.text for check in found)


@pytest.mark.parametrize(
    ("version", "state"),
    [("v1.34.4", "ok"), ("v1.34", "ok"), ("v1.35.0", "note"), ("v1.3", "note"), ("v1.340.1", "note")],
)
def test_an_untested_version_is_a_note(version: str, state: str) -> None:
    """A version outside of the tested range may work: it is said, and nothing fails."""
    found = cluster_checks(versions={"kubernetes": version})
    assert [check.state for check in found if check.subject == "kubernetes"] == [state]


@pytest.mark.parametrize(
    ("machine", "subject"),
    [
        pytest.param(replace(LAPTOP, python=(3, 10)), "python", id="python-too-old"),
        pytest.param(replace(LAPTOP, python=(3, 14)), "python", id="python-too-new"),
        pytest.param(replace(LAPTOP, tools={"envoy": None}), "envoy", id="no-envoy"),
        pytest.param(replace(LAPTOP, faults={"ledger": "cannot be opened"}), "ledger", id="ledger-broken"),
    ],
)
def test_a_machine_that_cannot_do_it(machine: Machine, subject: str) -> None:
    found = doctor.checks(machine, None)
    assert [check.subject for check in found if check.state == "fails"] == [subject]
    assert all(check.remedy for check in found if check.state == "fails")


class FakeCluster:
    """Objects by kind, namespace and name; *forbidden* are kinds that this account may not read."""

    def __init__(
        self, objects: Mapping[tuple[Kind, str | None, str], Object], forbidden: tuple[Kind, ...] = ()
    ) -> None:
        self.objects, self.forbidden = objects, forbidden

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        if kind in self.forbidden:
            raise InfrastructureError(f"this account may not GET {kind.plural}")
        return self.objects.get((kind, namespace, name))

    def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> "list[Object]":
        ready = {"addresses": ["10.0.0.1"], "conditions": {"ready": True}}
        gone = {"addresses": ["10.0.0.2"], "conditions": {"ready": False}}
        return [{"endpoints": [ready, gone]}]

    def server_version(self) -> str:
        return "v1.34.4"


def objects() -> dict[tuple[Kind, str | None, str], Object]:
    """A cluster on which everything is."""

    def workload(image: str, container: str) -> Object:
        spec = {"replicas": 1, "template": {"spec": {"containers": [{"name": container, "image": image}]}}}
        return {"metadata": {}, "spec": spec, "status": {"readyReplicas": 1}}

    images = {
        "ml-pipeline": ("ghcr.io/kubeflow/kfp-api-server:2.14.3", "ml-pipeline-api-server"),
        "envoy-gateway": ("docker.io/envoyproxy/gateway:v1.8.3", "envoy-gateway"),
        "kserve-controller-manager": ("kserve/kserve-controller:v0.20.0", "manager"),
    }
    found: dict[tuple[Kind, str | None, str], Object] = {}
    for kind, namespace, name in WORKLOADS:
        found[doctor_facts.KINDS[kind], namespace, name] = workload(*images.get(name, ("x:1", "x")))
    for kind, namespace, name in OBJECTS:
        found[doctor_facts.KINDS[kind], namespace, name] = {"metadata": {}, "data": {"password": "c2VjcmV0"}}
    for name in CRDS:
        versions = [{"name": "v1", "served": True}, {"name": "v1beta1", "served": True}]
        found[CRD, None, name] = {
            "metadata": {"annotations": {doctor_facts.BUNDLE: "v1.5.1"}}, "spec": {"versions": versions}
        }  # fmt: skip
    programmed = {"conditions": [{"type": "Programmed", "status": "True"}]}
    found[GATEWAY, "kserve", "kserve-ingress-gateway"] = {"metadata": {}, "status": programmed}
    return found


def nothing() -> None:
    return


def test_facts_of_a_whole_cluster() -> None:
    """From objects to a clean bill: versions are read from images and annotations, secrets only by name."""
    found = doctor_facts.installation(FakeCluster(objects()), "kind-slipway", nothing)  # type: ignore[arg-type]  # only what reads
    assert failing(doctor.checks(LAPTOP, found, doctor_facts.known_versions())) == []
    assert found.versions == {
        "kubernetes": "v1.34.4", "gateway-api": "v1.5.1", "kserve": "0.20.0", "envoy-gateway": "v1.8.3",
        "pipelines": "2.14.3",
    }  # fmt: skip
    assert found.store_pods == 1
    assert "c2VjcmV0" not in repr(found)


def test_what_may_not_be_read_is_said() -> None:
    """An account without rights gets a note on what was not looked at, beside what then seems to be missing."""
    cluster = FakeCluster(objects(), (DEPLOYMENT,))
    found = doctor_facts.installation(cluster, "prod", nothing)  # type: ignore[arg-type]  # only what reads
    notes = [check.text for check in doctor.checks(LAPTOP, found) if check.subject == "rights"]
    assert any("may not GET deployments" in note for note in notes)


def test_a_cluster_whose_pipelines_do_not_answer() -> None:
    def silent() -> None:
        raise InfrastructureError(
            "Kubeflow Pipelines does not answer: refused; `slipway doctor` looks at the way to it"
        )

    found = doctor_facts.installation(FakeCluster(objects()), "kind-slipway", silent)  # type: ignore[arg-type]  # only what reads
    assert found.pipelines == "Kubeflow Pipelines does not answer: refused"


def test_this_machine_as_it_is(tmp_path: Path) -> None:
    """A home that nobody has used yet is well; one that is no directory of ours to write is not."""
    fresh = doctor_facts.machine(settings.load(str(tmp_path / "new"), {}))
    assert set(fresh.faults.values()) == {""}
    (tmp_path / "ledger.db").write_bytes(b"this is no database, but it is long enough to be read as one" * 40)
    broken = doctor_facts.machine(settings.load(str(tmp_path), {}))
    assert broken.faults["ledger"]


def test_the_verb_without_a_cluster(tmp_path: Path) -> None:
    """As JSON each check is an object; a context that is not there is a failure, since it was asked for."""
    said = slipway("--home", str(tmp_path), "doctor", "--context", "no-such-context", "--json")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 30
    assert next(line for line in lines if line["subject"] == "cluster")["state"] == "fails"
    assert next(line for line in lines if line["subject"] == "home")["state"] == "ok"
