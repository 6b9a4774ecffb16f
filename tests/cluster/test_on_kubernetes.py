"""The whole life of a model on a real cluster (`make test-cluster`); each test makes what it begins with.

What is checked is what a user sees: answers through the gateway, objects in the cluster, artifacts in the object store.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as rpc
from scipy.stats import binom

from pipelines.kubeflow.submission import ir_digest
from serving.store.store import open_store
from tests.cluster.support import (
    CONTEXT,
    DOMAIN,
    ENDED,
    FIRST,
    FORMER,
    GATEWAY,
    House,
    ask,
    end,
    inside,
    kubectl,
    object_store,
    read,
    require_cluster,
    result,
    through_gateway,
    until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3_000)]
RUNNER = "--as=system:serviceaccount:kubeflow:pipeline-runner"
DEPLOYMENT = ("-n", "models", "deployment")


# --- a version by a run ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(FORMER), reason="about runs, and those were made by an earlier call")
def test_a_submitted_run_ends_in_a_model_that_answers(
    own: House, first: list[dict[str, Any]], bodies: list[bytes]
) -> None:
    """Every step ran on the cluster, the first version has all traffic, and both protocols say who answered."""
    assert result(first)["outcome"] == "released"
    took = {line["task"]: line["seconds"] for line in first if line.get("state") in ("SUCCEEDED", "CACHED")}
    print("seconds by task", took, "in all", result(first)["seconds"])
    assert {
        "ingest",
        "validate",
        "split",
        "train",
        "evaluate",
        "gate",
        "track",
        "verify",
        "register",
        "release",
    } <= set(took)
    answer = ask(own.name, bodies[0])
    assert (answer.status, answer.revision, json.loads(answer.body)["model_version"]) == (200, own.revision(1), "1")
    rows = [json.loads(body)["instances"][0] for body in bodies]
    number, row = next((n, row) for n, row in enumerate(rows) if None not in row.values())
    kinds = {str: "BYTES", float: "FP64", int: "INT64", bool: "BOOL"}
    tensors = [{"name": n, "shape": [1], "datatype": kinds[type(v)], "data": [v]} for n, v in row.items()]
    v1, v2 = ask(own.name, bodies[number]), ask(own.name, json.dumps({"inputs": tensors}).encode(), "/infer")
    assert v2.status == 200, v2.body
    assert json.loads(v2.body)["outputs"][0]["data"] == json.loads(v1.body)["predictions"]


@pytest.mark.skipif(bool(FORMER), reason="about runs, and those were made by an earlier call")
def test_local_and_cluster_run_are_the_same_run(own: House, first: list[dict[str, Any]]) -> None:
    """Equal graph, equal snapshot, equal bundle digest and equal metrics, here by the local runner."""
    here = result(own.run_here(*FIRST))
    there = json.loads(inside("models", "list", own.name, "--json"))["versions"][0]
    assert there["digest"] == here["digest"]
    package = Path("pipelines/train.yaml").read_bytes()
    assert next(line["graph"] for line in first if line["subject"] == "pipeline") == ir_digest(package)
    versions = json.loads((own.home / "runs/01/result.json").read_text())
    print("digest", here["digest"], "snapshot", there["snapshot"], versions)
    local = json.loads(_local_versions(own))[0]
    assert (local["snapshot"], local["metrics"]) == (there["snapshot"], there["metrics"])


def _local_versions(own: House) -> str:
    from dataclasses import asdict

    from serving.ledger.ledger import open_ledger

    ledger = open_ledger(f"sqlite:///{own.home}/ledger.db")
    return json.dumps([asdict(v) for v in ledger.versions(own.name)], default=str)


@pytest.mark.skipif(bool(FORMER), reason="about runs, and those were made by an earlier call")
def test_artifacts_and_bundle_are_in_the_object_store(own: House, first: list[dict[str, Any]], tmp_path: Path) -> None:
    """The run's artifacts under its own root, the bundle under its digest, in MinIO."""
    digest = json.loads(inside("models", "list", own.name, "--json"))["versions"][0]["digest"]
    with stores(tmp_path) as (models, artifacts):
        assert [key for key in models.list("") if digest in key and key.endswith("manifest.sig")]
        keys = list(artifacts.list(""))
        run = next(line["server_id"] for line in first if "server_id" in line)
        mine = [key for key in keys if run in key]
        print(len(mine), "artifacts of the run", mine[:3])
        assert any("snapshot" in key for key in mine)
        assert any("bundle" in key for key in mine)


@pytest.mark.skipif(bool(FORMER), reason="about runs, and those were made by an earlier call")
def test_each_task_makes_the_same_bytes_here_and_there(own: House, first: list[dict[str, Any]], tmp_path: Path) -> None:
    """Every file that a task hands on, but for signatures, which are drawn, and the report, which is of its own run."""
    here = own.home / "pipeline_root/runs/01"
    files = (path for path in here.rglob("*") if path.is_file())
    made_here = {_handed_on(path.relative_to(here).parts): path.read_bytes() for path in files}
    run = next(line["server_id"] for line in first if "server_id" in line)
    with stores(tmp_path) as (_, artifacts):
        keys = [key for key in artifacts.list("") if run in key]
        made_there = {_handed_on(key.partition(f"{run}/")[2].split("/")): artifacts.get(key) for key in keys}
    names = {name for name in [*made_here, *made_there] if name and not name.startswith("track/")}
    assert names, "nothing was handed on"
    for task in sorted({name.partition("/")[0] for name in names}):
        mine = sorted(name for name in names if name.startswith(f"{task}/"))
        equal = [name for name in mine if made_here.get(name) == made_there.get(name)]
        print(f"| {task} | {len(mine)} files | {len(equal)} equal |")
        assert equal == mine, sorted(set(mine) - set(equal))


def _handed_on(parts: Sequence[str]) -> str:
    """TASK/ARTIFACT/FILE of a path TASK/TRY/ARTIFACT/FILE; empty for what no other task reads."""
    own = (
        len(parts) < 3 or parts[-1] in ("executor_output.json", "manifest.sig") or parts[-1].startswith("executor-logs")
    )
    return "" if own else "/".join([parts[0], *parts[2:]])


@contextlib.contextmanager
def stores(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    with object_store(tmp_path) as settings:
        yield open_store("s3://slipway/models", settings), open_store("s3://mlpipeline", settings)


# --- traffic by hand -------------------------------------------------------------------------------------------------


def test_the_split_is_as_set(own: House, rested: None, bodies: list[bytes]) -> None:
    """2,000 requests at 20 %: the canary's share lies in the binomial 99.9 % interval."""
    own.rollout("set", "20", "--version", "2")
    with through_gateway(own.name, bodies, rate=150) as load:
        load.await_answers(2_000)
    share = load.by_revision()[own.revision(2)]
    low, high = binom.interval(0.999, len(load.answers), 0.2)
    print(len(load.answers), dict(load.by_revision()), low, high)
    assert load.lost == []
    assert low <= share <= high


def test_calls_of_grpc_are_divided_by_the_same_weights(own: House, rested: None, bodies: list[bytes]) -> None:
    """1,000 calls at 20 % through the gateway; what they say is what requests are told, and a failed one is counted."""
    own.rollout("set", "20", "--version", "2")
    row = json.loads(next(body for body in bodies if b"null" not in body))["instances"][0]
    with grpc.insecure_channel(GATEWAY, options=[("grpc.default_authority", f"{own.name}.{DOMAIN}")]) as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        asked = pb.ModelInferRequest(model_name=own.name, inputs=[_tensor(name, value) for name, value in row.items()])
        told = [dict(stub.ModelInfer.with_call(asked)[1].initial_metadata())["x-revision"] for _ in range(1_000)]
        assert stub.ModelReady(pb.ModelReadyRequest(name=own.name)).ready
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(pb.ModelInferRequest(model_name=own.name))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    low, high = binom.interval(0.999, len(told), 0.2)
    print(len(told), told.count(own.revision(2)), low, high)
    assert low <= told.count(own.revision(2)) <= high


def _tensor(name: str, value: Any) -> Any:
    kinds = {str: ("BYTES", "bytes_contents"), float: ("FP64", "fp64_contents"), int: ("INT64", "int64_contents")}
    datatype, field = {**kinds, bool: ("BOOL", "bool_contents")}[type(value)]
    contents = pb.InferTensorContents(**{field: [value.encode() if isinstance(value, str) else value]})
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=[1], contents=contents)


def test_no_request_is_lost_through_promote_and_rollback(own: House, rested: None, bodies: list[bytes]) -> None:
    """Three times a canary, all traffic and back, under continuous load through the gateway."""
    with through_gateway(own.name, bodies, rate=200) as load:
        for _ in range(3):
            own.rollout("set", "20", "--version", "2")
            own.rollout("promote", "--reason", "seen enough")
            load.await_answers(1_000)
            own.rollout("rollback", "--reason", "not so sure")
            load.await_answers(1_000)
        load.await_answers(max(0, 10_000 - len(load.answers)))
    print(len(load.answers), dict(load.by_revision()), "lost", len(load.lost))
    assert set(load.by_revision()) == {own.revision(1), own.revision(2)}
    assert load.lost == []


# --- traffic by evidence ---------------------------------------------------------------------------------------------


def start(own: House, version: int) -> None:
    kubectl(
        "exec", "-i", "-n", "slipway-system", "deploy/rollout-controller", "--", "sh", "-c",
        f"cat > /tmp/{own.name}.yaml", given=own.project.read_text(),
    )  # fmt: skip
    inside("rollout", "start", str(version), "--project", f"/tmp/{own.name}.yaml")
    until(
        lambda: (p := own.phase())["candidate"] == own.revision(version) and p["phase"] in ("step", "prepare"),
        "it begins",
    )


@contextlib.contextmanager
def unhurried_controller() -> Iterator[None]:
    """With seconds between two looks, so that a phase of one look lasts until it has been seen from outside."""
    usual = ["slipway", "rollout", "controller"]
    controller_is([*usual, "--interval", "8"])
    try:
        yield
    finally:
        controller_is(usual)


def controller_is(command: list[str]) -> None:
    containers = [{"name": "controller", "command": command}]
    patch = json.dumps({"spec": {"template": {"spec": {"containers": containers}}}})
    kubectl("-n", "slipway-system", "patch", "deploy/rollout-controller", "-p", patch)
    kubectl("-n", "slipway-system", "rollout", "status", "deploy/rollout-controller", "--timeout=120s")


def killed_in_each_phase(own: House, killed: set[str]) -> bool:
    """Whether the rollout has ended; until then the controller is killed in each phase that is not in *killed* yet."""
    phase = own.phase()["phase"]
    if phase in ENDED:
        return True
    if phase not in killed:
        killed.add(phase)
        pods = ("delete", "pod", "-l", "app.kubernetes.io/name=rollout-controller")
        kubectl("-n", "slipway-system", *pods, "--force", "--grace-period=0")
        kubectl("-n", "slipway-system", "rollout", "status", "deploy/rollout-controller", "--timeout=120s")
    return False


def test_a_killed_controller_and_a_killed_pod_change_nothing(own: House, rested: None, bodies: list[bytes]) -> None:
    """The rollout of version 2 goes home when told and is then promoted by evidence; its controller is killed in each
    phase of both ways."""
    home: set[str] = set()
    forward: set[str] = set()
    with unhurried_controller(), through_gateway(own.name, bodies, rate=150) as load:
        start(own, 2)
        until(lambda: own.phase()["phase"] == "step", "the first step", 300)
        own.rollout("abort", "--reason", "to be killed on the way home")
        until(lambda: killed_in_each_phase(own, home), "the rollout ends", 1_200)
        assert own.phase()["phase"] == "rolled back"
        start(own, 2)
        until(lambda: killed_in_each_phase(own, forward), "the rollout ends", 1_200)
    print(
        "killed in", sorted(forward), sorted(home), len(load.answers), dict(load.by_revision()), len(load.lost), "lost"
    )
    assert own.phase()["phase"] == "succeeded"
    assert load.lost == []
    assert {"step", "bake", "promote"} <= forward
    assert home & {"rollback", "drain"}
    assert ask(own.name, bodies[0]).revision == own.revision(2)


def test_a_canary_whose_pods_die_goes_home(own: House, rested: None, bodies: list[bytes]) -> None:
    """A canary's pods are taken away: home it goes, and only its share is lost."""
    with through_gateway(own.name, bodies, rate=100) as load:
        start(own, 2)
        until(lambda: own.phase()["phase"] == "step" and ask(own.name, bodies[0]).status, "the first step", 300)
        load.await_answers(200)
        kubectl(
            "-n",
            "models",
            "patch",
            "inferenceservice",
            own.revision(2),
            "--type=merge",
            "-p",
            json.dumps({"spec": {"predictor": {"minReplicas": 0, "maxReplicas": 0}}}),
            code=None,
        )
        kubectl(
            "-n",
            "models",
            "delete",
            "pod",
            "-l",
            f"app=isvc.{own.revision(2)}-predictor",
            "--force",
            "--grace-period=0",
        )
        assert end(own) == "rolled back"
        lost = len(load.lost)
        load.await_answers(500)
    print("lost with the pods", lost, "of", len(load.answers), {a.status for a in load.lost})
    assert len(load.lost) == lost, "nothing is lost once it is home"
    assert lost <= 0.2 * len(load.answers)
    assert ask(own.name, bodies[0]).revision == own.revision(1)


def test_the_object_store_may_be_away(own: House, rested: None, bodies: list[bytes]) -> None:
    """MinIO away and back: what serves goes on, and loses nothing."""
    with through_gateway(own.name, bodies, rate=50) as load:
        kubectl("-n", "slipway-system", "scale", "statefulset/minio", "--replicas=0")
        load.await_answers(500)
        kubectl("-n", "slipway-system", "scale", "statefulset/minio", "--replicas=1")
        kubectl("-n", "slipway-system", "rollout", "status", "statefulset/minio", "--timeout=180s")
        load.await_answers(100)
    print(len(load.answers), "answers,", len(load.lost), "lost")
    assert load.lost == []


def test_a_restarted_manager_changes_nothing(own: House, rested: None, bodies: list[bytes]) -> None:
    """KServe's manager and Envoy Gateway start again under load: nothing is lost."""
    with through_gateway(own.name, bodies, rate=50) as load:
        for namespace, name in (("kserve", "kserve-controller-manager"), ("envoy-gateway-system", "envoy-gateway")):
            kubectl("-n", namespace, "rollout", "restart", f"deployment/{name}")
            kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=180s")
        load.await_answers(200)
    print(len(load.answers), "answers,", len(load.lost), "lost")
    assert load.lost == []


# --- why it is done as it is -----------------------------------------------------------------------------------------


def two_refs(name: str, *weights: int) -> str:
    """A route that names its sides as one would at first: by hand, and a side without weight is left out or has 0."""
    sides = [
        {
            "name": f"{name}-{number}-predictor",
            "port": 80,
            "weight": weight,
            "filters": [
                {
                    "type": "ResponseHeaderModifier",
                    "responseHeaderModifier": {"set": [{"name": "x-revision", "value": f"{name}-{number}"}]},
                }
            ],
        }
        for number, weight in enumerate(weights, 1)
        if weight >= 0
    ]
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}-naive, namespace: models}}
spec:
  parentRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: kserve-ingress-gateway, namespace: kserve}}]
  hostnames: [naive-{name}.{DOMAIN}]
  rules:
    - backendRefs: {json.dumps(sides)}
"""


def test_one_write_that_moves_and_removes_loses_requests(own: House, rested: None, bodies: list[bytes]) -> None:
    """References that come, go and rest at 0 under load: answers are lost. The same cycles in our order lose none."""
    host = f"naive-{own.name}.{DOMAIN}"
    kubectl("apply", "-f", "-", given=two_refs(own.name, 100, 0))
    until(lambda: ask(own.name, bodies[0], to=host).status == 200, "the route answers")
    try:
        with through_gateway(own.name, bodies, rate=200, to=host) as naive:
            for _ in range(8):
                for weights in ((50, 50), (0, 100), (-1, 100), (50, 50), (100, 0), (100, -1)):
                    kubectl("apply", "-f", "-", given=two_refs(own.name, *weights))
                    naive.await_answers(60)
    finally:
        kubectl("-n", "models", "delete", "httproute", f"{own.name}-naive", code=None)
    print("naive", len(naive.answers), "lost", len(naive.lost), {answer.status for answer in naive.lost})
    assert naive.lost


def test_a_newest_model_that_fails_is_told_although_kserve_is_content(
    own: House, rested: None, bodies: list[bytes]
) -> None:
    """The old pod serves on and KServe says Ready; the revision is failed for us, with the pod's own reason."""
    from serving.cluster.backends.route import RouteBackend
    from serving.cluster.client import open_cluster
    from serving.cluster.manifest import Installation
    from tests.serving.cluster.fake_cluster import Notes

    name = f"{own.name}-99"
    good = json.loads(inside("models", "list", own.name, "--json"))["versions"][0]["bundle_uri"].rstrip("/") + "/"
    backend = RouteBackend(open_cluster(CONTEXT), Installation(), own.name, Notes())
    try:
        kubectl("apply", "-f", "-", given=by_hand(name, own.name, good))
        until(lambda: backend.readiness(name).state == "ready", "it serves")
        kubectl("apply", "-f", "-", given=by_hand(name, own.name, good.replace("/models/", "/nothing/")))
        until(lambda: backend.readiness(name).state == "failed", "it is told")
        conditions = read("-n", "models", "get", "inferenceservice", name)["status"]["conditions"]
        ready = next(one["status"] for one in conditions if one["type"] == "Ready")
        pods = read("-n", "models", "get", "pods", "-l", f"app=isvc.{name}-predictor")["items"]
        serving = [pod for pod in pods if all(c.get("ready") for c in pod["status"].get("containerStatuses", [{}]))]
        print("KServe says Ready", ready, "| we say", backend.readiness(name).reason, "| pods that serve", len(serving))
        assert (ready, len(serving)) == ("True", 1)
    finally:
        kubectl("-n", "models", "delete", "inferenceservice", name, "--wait=false", code=None)


def by_hand(name: str, model: str, bundle: str) -> str:
    """An InferenceService of a few lines, as a person writes it."""
    return f"""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
  namespace: models
  labels: {{model: {model}}}
  annotations: {{serving.kserve.io/deploymentMode: Standard, serving.kserve.io/autoscalerClass: none}}
spec:
  predictor:
    serviceAccountName: predictor
    minReplicas: 1
    model:
      modelFormat: {{name: slipway}}
      runtime: slipway
      args: ["--model_name={model}"]
      protocolVersion: v2
      storageUri: {bundle}
"""


# --- what an account may do, and what a person may write -------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        pytest.param(("get", "secrets", "-n", "slipway-system"), False, id="secrets-of-the-system"),
        pytest.param(("get", "secrets", "-n", "models"), False, id="secrets-of-the-models"),
        pytest.param(("get", "secrets", "-n", "kserve"), False, id="secrets-of-kserve"),
        pytest.param(("patch", "inferenceservices.serving.kserve.io", "-n", "default"), False, id="services-elsewhere"),
        pytest.param(
            ("create", "inferenceservices.serving.kserve.io", "-n", "kubeflow"), False, id="services-in-kubeflow"
        ),
        pytest.param(("create", "clusterrolebindings"), False, id="rights"),
        pytest.param(("create", "pods/exec", "-n", "models"), False, id="commands-in-pods-of-models"),
        pytest.param(
            ("patch", "inferenceservices.serving.kserve.io", "-n", "models"), True, id="services-of-the-models"
        ),
    ],
)
def test_the_pipelines_account_has_little(words: tuple[str, ...], allowed: bool) -> None:
    """What a step may do and what not, as the API server answers."""
    require_cluster()
    assert (kubectl("auth", "can-i", *words, RUNNER, code=None).strip() == "yes") is allowed


def test_a_secret_elsewhere_is_really_refused() -> None:
    """Tried, not asked: the API server says Forbidden."""
    require_cluster()
    assert "Forbidden" in kubectl("-n", "slipway-system", "get", "secret", "slipway-ledger", RUNNER, code=1)
    body = json.dumps(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "x", "namespace": "default"},
            "spec": {"predictor": {"model": {"modelFormat": {"name": "slipway"}}}},
        }
    )
    assert "Forbidden" in kubectl("create", "-f", "-", RUNNER, given=body, code=1)


def test_an_inference_service_by_hand_serves(own: House, rested: None, bodies: list[bytes]) -> None:
    """`kubectl apply` of a few lines with our runtime: KServe's own host answers, v1 and v2."""
    version = json.loads(inside("models", "list", own.name, "--json"))["versions"][0]
    name = f"{own.name}-hand"
    manifest = by_hand(name, own.name, version["bundle_uri"].rstrip("/") + "/")
    try:
        kubectl("apply", "-f", "-", given=manifest)
        kubectl("-n", "models", "wait", "--for=condition=Ready", f"inferenceservice/{name}", "--timeout=240s")
        host = read("-n", "models", "get", "inferenceservice", name)["status"]["url"].split("://")[1]
        answer = until(lambda: (a := ask(own.name, bodies[0], to=host)).status == 200 and a, "it answers")
        assert json.loads(answer.body)["predictions"]
    finally:
        kubectl("-n", "models", "delete", "inferenceservice", name, "--wait=false", code=None)


def test_no_container_runs_as_root() -> None:
    """Every pod of ours and of third parties says a user that is not 0, but for the exceptions that are listed."""
    require_cluster()
    rooted = []
    for pod in read("get", "pods", "-A")["items"]:
        space = pod["metadata"]["namespace"]
        if space in ("kube-system", "local-path-storage") or pod["status"].get("phase") != "Running":
            continue
        own_context = pod["spec"].get("securityContext") or {}
        for container in pod["spec"]["containers"]:
            seen = {**own_context, **(container.get("securityContext") or {})}
            if not (seen.get("runAsNonRoot") or seen.get("runAsUser")):
                rooted.append(f"{space}/{pod['metadata']['name']}/{container['name']}")
    print(rooted)
    ours = [name for name in rooted if name.startswith(("slipway-system", "models"))]
    assert ours == []
