"""What the doctor says of a machine and a cluster, and that each complaint comes with what to do about it."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines import settings
from pipelines.deploying import doctor
from pipelines.deploying.doctor import Finding
from pipelines.deploying.doctor_cluster import (
    CRDS,
    ENDPOINTS,
    KINDS,
    OBJECTS,
    WORKLOADS,
    installation,
)
from pipelines.deploying.installed import PLACE, SYSTEM, USUAL, installed, installed_or_usual
from pipelines.deploying.versions import BUNDLE, KnownVersions, Name, judged_versions, known_versions
from serving.cluster.client import CONFIG_MAP, CRD, DEPLOYMENT, GATEWAY, Kind, Object
from serving.errors import ConfigError, InfrastructureError
from tests.pipelines.here.support import slipway

Place = tuple[Kind, str | None, str]
GATE: Place = (GATEWAY, "kserve", "kserve-ingress-gateway")
CONTROLLER = ("Deployment", "slipway-system", "rollout-controller")
TESTED = KnownVersions(
    {"kubernetes": ["1.34"]},
    [{"pipelines": "2.14.3", "kserve": "v0.20.0"}, {"pipelines": "2.17.0", "kserve": "v0.21.0"}],
)


def nothing() -> None:
    return


class FakeCluster:
    """Objects by kind, namespace and name; *forbidden* are kinds that this account may not read."""

    def __init__(
        self, objects: Mapping[Place, Object], forbidden: tuple[Kind, ...] = (), version: str = "v1.34.4"
    ) -> None:
        self.objects, self.forbidden, self.version = objects, forbidden, version

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        if kind in self.forbidden:
            raise InfrastructureError(f"this account may not GET {kind.plural}")
        return self.objects.get((kind, namespace, name))

    def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> "list[Object]":
        return [found for (one, _, _), found in self.objects.items() if one == kind]

    def server_version(self) -> str:
        return self.version


def objects() -> dict[Place, Object]:
    """A cluster on which everything is."""

    def workload(image: str, container: str) -> Object:
        spec = {"replicas": 1, "template": {"spec": {"containers": [{"name": container, "image": image}]}}}
        return {"metadata": {}, "spec": spec, "status": {"readyReplicas": 1}}

    images = {
        "ml-pipeline": ("ghcr.io/kubeflow/kfp-api-server:2.14.3", "ml-pipeline-api-server"),
        "envoy-gateway": ("docker.io/envoyproxy/gateway:v1.8.3", "envoy-gateway"),
        "kserve-controller-manager": ("kserve/kserve-controller:v0.20.0", "manager"),
    }
    found: dict[Place, Object] = {}
    for kind, namespace, name in WORKLOADS:
        found[KINDS[kind], namespace, name] = workload(*images.get(name, ("x:1", "x")))
    for kind, namespace, name in OBJECTS:
        found[KINDS[kind], namespace, name] = {"metadata": {}, "data": {"password": "c2VjcmV0"}}
    for name in CRDS:
        versions = [{"name": "v1", "served": True}, {"name": "v1beta1", "served": True}]
        found[CRD, None, name] = {
            "metadata": {"annotations": {BUNDLE: "v1.5.1"}}, "spec": {"versions": versions}
        }  # fmt: skip
    endpoints = [{"addresses": [f"10.0.0.{n}"], "conditions": {"ready": n == 1}} for n in (1, 2)]
    found[ENDPOINTS, "slipway-system", "minio"] = {"endpoints": endpoints}
    programmed = {"conditions": [{"type": "Programmed", "status": "True"}]}
    found[GATE] = {"metadata": {}, "status": programmed}
    return found


def at(name: Name) -> Place:
    """Where the fake keeps a piece that the doctor names."""
    return KINDS[name[0]], name[1], name[2]


def checks(cluster: FakeCluster, health: Callable[[], None] = nothing) -> list[Finding]:
    return installation(cluster, "kind-slipway", health, TESTED)  # type: ignore[arg-type]  # only what reads


TEAM = {SYSTEM: "blue-system", "SLIPWAY_SERVING": "kserve://blue-models?gateway=edge/front&domain=m.example"}
NAMES = {"slipway-system": "blue-system", "models": "blue-models", "kubeflow": "blue-runs", "kserve": "edge"}


def of_a_team() -> FakeCluster:
    """A cluster on which everything is under a team's names, and nothing of ours under the usual ones."""
    ours = {"slipway-system", "models", "kubeflow"}
    found = {
        (kind, NAMES[namespace] if namespace in ours else namespace, name): one
        for (kind, namespace, name), one in objects().items()
    }
    found[GATEWAY, "edge", "front"] = found.pop(GATE)
    found[CONFIG_MAP, "blue-runs", PLACE] = {"data": TEAM}
    return FakeCluster(found)


def test_a_team_is_found_by_the_namespace_of_its_runs() -> None:
    """One name leads to all that the team has; asked about the usual one, the doctor says that nothing is there."""
    cluster: Any = of_a_team()
    there = installed(cluster, "blue-runs")
    assert (there.system, there.models, there.gateway) == ("blue-system", "blue-models", "edge/front")
    assert failing(installation(cluster, "kind-slipway", nothing, TESTED, there)) == []
    with pytest.raises(InfrastructureError, match=r"kubeflow/slipway-place.*--namespace"):
        installed(cluster)
    usual = installation(cluster, "kind-slipway", nothing, TESTED, installed_or_usual(cluster, USUAL.runs))
    assert {subject for subject, _ in failing(usual)} >= {"secrets", "gateway", "slipway-system", "kubeflow"}
    assert not any(name in repr(usual) for name in ("blue-", "edge/"))


def test_nothing_that_the_doctor_says_of_a_team_is_said_of_another() -> None:
    """Whatever is gone, complaint and remedy name the team's own namespaces."""
    whole: Any = of_a_team()
    there = installed(whole, "blue-runs")
    for place in whole.objects:
        rest: Any = FakeCluster({one: found for one, found in whole.objects.items() if one != place})
        for check in installation(rest, "kind-slipway", nothing, TESTED, there):
            said = re.findall(r"(?<![\w-])(slipway-system|models|kubeflow)(?:/| )", f"{check.text} {check.remedy}")
            assert not said, check


def changed(place: Place, **status: Any) -> list[Finding]:
    """The checks of a cluster on which one object is gone, or has another status or other fields."""
    found = objects()
    gone = found.pop(place)
    if status:
        found[place] = {**gone, **status}
    return checks(FakeCluster(found))


def failing(found: list[Finding]) -> list[tuple[str, str]]:
    return [(check.subject, check.text) for check in found if check.state == "fails"]


def test_a_whole_installation_is_well() -> None:
    """From objects to a clean bill: versions are read from images and annotations, secrets only by name."""
    found = checks(FakeCluster(objects()))
    assert failing(found) == []
    assert any("'route'" in check.text for check in found), "it says how traffic will move"
    assert {(check.subject, check.text) for check in found} >= {
        ("kubernetes", "v1.34.4"), ("gateway-api", "v1.5.1"), ("kserve", "0.20.0"), ("envoy-gateway", "v1.8.3"),
        ("pipelines", "2.14.3"), ("pipelines", "the API answers"),
    }  # fmt: skip
    assert "c2VjcmV0" not in repr(found)
    assert "kubernetes" in known_versions().versions
    assert {"pipelines", "kserve"} == set(known_versions().pairs[0])


WAITING = {"conditions": [{"type": "Programmed", "status": "False", "message": "no addresses"}]}


@pytest.mark.parametrize(
    ("place", "status", "subject", "text", "remedy"),
    [
        pytest.param((CRD, None, CRDS[-1]), {}, "types", CRDS[-1], "make upstream", id="a-type-is-missing"),
        pytest.param(
            at(("Secret", "kubeflow", "slipway-ledger")), {},
            "secrets", "kubeflow/slipway-ledger", "make deploy", id="a-secret-is-missing",
        ),
        pytest.param(
            at(("ServingRuntime", "models", "slipway")), {},
            "serving runtimes", "models/slipway", "make deploy", id="the-runtime-is-missing",
        ),
        pytest.param(
            at(("RoleBinding", "models", "pipeline-runner-releases")), {},
            "role bindings", "pipeline-runner-releases", "make deploy", id="a-right-is-missing",
        ),
        pytest.param(GATE, {}, "gateway", "no Gateway", "make deploy", id="no-gateway"),
        pytest.param(GATE, {"status": WAITING}, "gateway", "no addresses", "describe gateway", id="gateway-waits"),
        pytest.param(GATE, {"status": {}}, "gateway", "not looked", "describe gateway", id="gateway-is-new"),
        pytest.param(
            (ENDPOINTS, "slipway-system", "minio"), {"endpoints": None},
            "object store", "no pod", "describe statefulset minio", id="store-is-down",
        ),
        pytest.param(
            at(CONTROLLER), {"status": {"readyReplicas": 0}},
            "slipway-system", "rollout-controller: 0 of 1", "describe deployment rollout-controller",
            id="the-controller-is-not-ready",
        ),
        pytest.param(at(CONTROLLER), {}, "slipway-system", "no Deployment roll", "make deploy", id="no-controller"),
        pytest.param(
            at(("Deployment", "kubeflow", "workflow-controller")), {"spec": {"replicas": 0}, "status": {}},
            "kubeflow", "workflow-controller: 0 of 0", "describe deployment workflow-controller",
            id="scaled-to-nothing",
        ),
    ],
)  # fmt: skip
def test_what_fails_is_named_with_its_remedy(
    place: Place, status: Mapping[str, Any], subject: str, text: str, remedy: str
) -> None:
    """One fault is one line: the piece, what was seen, what to do."""
    (only,) = [check for check in changed(place, **status) if check.state == "fails"]
    assert only.subject == subject
    assert text in only.text
    assert remedy in only.remedy


def test_without_kserve_no_traffic_can_be_moved() -> None:
    found = changed((CRD, None, "inferenceservices.serving.kserve.io"))
    traffic = next(check for check in found if check.subject == "traffic")
    assert "KServe is not installed" in traffic.text
    assert "make" in traffic.remedy


def test_a_piece_that_a_site_brings_itself_is_no_fault() -> None:
    """MinIO, the ledger's database and MLflow may be elsewhere."""
    own = {at(name) for name, needed in WORKLOADS.items() if not needed} | {(ENDPOINTS, "slipway-system", "minio")}
    found = checks(FakeCluster({place: obj for place, obj in objects().items() if place not in own}))
    assert failing(found) == []
    assert any(check.state == "note" and "minio" in check.text for check in found)


@pytest.mark.parametrize(
    ("version", "state"),
    [("v1.34.4", "ok"), ("v1.34", "ok"), ("v1.35.0", "note"), ("v1.3", "note"), ("v1.340.1", "note")],
)
def test_an_untested_version_is_a_note(version: str, state: str) -> None:
    """A version outside of the tested range may work: it is said, and nothing fails."""
    found = checks(FakeCluster(objects(), version=version))
    assert [check.state for check in found if check.subject == "kubernetes"] == [state]


@pytest.mark.parametrize(
    ("pipelines", "kserve", "notes"),
    [
        ("2.14.3", "v0.20.0", []),
        ("2.17.0", "v0.21.0", []),
        ("2.17.0", "v0.20.0", ["pair"]),
        ("2.15.0", "v0.20.0", ["pipelines", "pair"]),
    ],
)
def test_a_pair_that_never_ran_together_is_named(pipelines: str, kserve: str, notes: list[str]) -> None:
    """Two servers that were each tested with another one were not tested with each other."""
    found = list(judged_versions({"pipelines": pipelines, "kserve": kserve, "kubernetes": "v1.34.4"}, TESTED))
    assert [one.subject for one in found if one.state == "note"] == notes
    assert all(f"pipelines {pipelines} with kserve {kserve}" in one.text for one in found if one.subject == "pair")


def test_what_may_not_be_read_is_said() -> None:
    """An account without rights gets a note on what was not looked at, beside what then seems to be missing."""
    notes = [check.text for check in checks(FakeCluster(objects(), (DEPLOYMENT,))) if check.subject == "rights"]
    assert any("may not GET deployments" in note for note in notes)


def test_a_cluster_whose_pipelines_do_not_answer() -> None:
    """What the doctor would say of itself is left out."""

    def silent() -> None:
        raise InfrastructureError(
            "Kubeflow Pipelines does not answer: refused; `slipway doctor` looks at the way to it"
        )

    (only,) = [check for check in checks(FakeCluster(objects()), silent) if check.state == "fails"]
    assert (only.subject, only.text) == ("pipelines", "Kubeflow Pipelines does not answer: refused")
    assert "logs deployment/ml-pipeline" in only.remedy


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10), "fails"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "fails")]
)
def test_a_python_without_our_libraries_is_a_fault(version: tuple[int, int], state: str) -> None:
    found = doctor.python(version)
    assert (found.state, bool(found.remedy)) == (state, state == "fails")


def test_only_a_tool_that_is_needed_here_is_a_fault() -> None:
    assert doctor.tool("envoy", None, "make setup").state == "fails"
    assert doctor.tool("kubectl", None).state == "note"
    assert doctor.tool("kubectl", "/bin/kubectl") == Finding("kubectl", "ok", "/bin/kubectl")


def test_this_machine_as_it_is(tmp_path: Path) -> None:
    """A home that nobody has used yet is well; one that is no directory of ours to write is not."""
    assert failing(list(doctor.machine(settings.load(str(tmp_path / "new"), {})))) == []
    (tmp_path / "ledger.db").write_bytes(b"this is no database, but it is long enough to be read as one" * 40)
    (only,) = [check for check in doctor.machine(settings.load(str(tmp_path), {})) if check.state == "fails"]
    assert only.subject == "ledger"
    assert "SLIPWAY_LEDGER" in only.remedy


def test_the_verb_without_a_cluster(tmp_path: Path) -> None:
    """As JSON each check is an object; a context that is not there is a failure, since it was asked for."""
    said = slipway("--home", str(tmp_path), "doctor", "--context", "no-such-context", "--json")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 30
    assert next(line for line in lines if line["subject"] == "cluster")["state"] == "fails"
    assert next(line for line in lines if line["subject"] == "home")["state"] == "ok"


def test_a_laptop_alone_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cluster the doctor says that it looked at the laptop only, and is content."""

    def none(_context: str | None) -> None:
        raise ConfigError("no cluster to talk to")

    monkeypatch.setattr("serving.cluster.client.open_cluster", none)
    said = slipway("--home", str(tmp_path), "doctor", "--json")
    found = {line["subject"]: line for line in map(json.loads, said.out.splitlines())}
    assert said.code == 0
    assert found["cluster"]["state"] == "note"
