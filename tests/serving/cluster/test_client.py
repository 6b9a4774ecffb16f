"""The one place that talks to the Kubernetes API, against a small server that answers like one; and what is probed."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes import client

from serving.cluster.client import (
    CONFIG_MAP,
    DEPLOYMENT,
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    POD,
    KubernetesCluster,
    Object,
    open_cluster,
    pods_text,
)
from serving.cluster.installation import CapabilitiesOfInstallation, choose, probe
from serving.cluster.refusals import ApiRefusal
from serving.errors import ConfigError, ConflictError, InfrastructureError


class Api(ThreadingHTTPServer):
    """Answers by method and path, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, body))
        missing = (404, {"kind": "Status", "message": "not found"})
        status, answer = self.server.answers.get((self.command, self.path.partition("?")[0]), missing)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("X-Epoch", "e1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PATCH = do_DELETE = _answer  # noqa: N815  # the names that the base class calls

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cluster(api: Api) -> Iterator[KubernetesCluster]:
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{api.server_address[1]}"
    configuration.api_key["authorization"] = "Bearer secret"
    configuration.retries = 1
    made = client.ApiClient(configuration)
    yield KubernetesCluster(made, inside=False, timeout_s=5)
    made.rest_client.pool_manager.clear()


ROUTE: Object = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "m", "namespace": "models"},
}
ROUTE_PATH = "/apis/gateway.networking.k8s.io/v1/namespaces/models/httproutes/m"


def test_what_is_written_is_applied_by_the_server_under_our_name(api: Api, cluster: KubernetesCluster) -> None:
    """Fields of others stay theirs; ours are taken back."""
    api.answers["PATCH", ROUTE_PATH] = (200, ROUTE)
    assert cluster.apply(ROUTE) == ROUTE
    method, path, headers, body = api.asked[0]
    assert (method, path) == ("PATCH", f"{ROUTE_PATH}?fieldManager=slipway&force=true")
    assert headers["content-type"] == "application/apply-patch+yaml"
    assert headers["authorization"] == "Bearer secret"
    assert json.loads(body) == ROUTE


def test_what_is_absent_is_none_empty_or_done_already(cluster: KubernetesCluster) -> None:
    """Also where the type itself is not installed."""
    assert cluster.get(HTTP_ROUTE, "models", "m") is None
    assert cluster.list(INFERENCE_SERVICE, "models", {}) == []
    cluster.delete(INFERENCE_SERVICE, "models", "m")


def test_a_list_asks_for_labels(api: Api, cluster: KubernetesCluster) -> None:
    """Only the objects that carry all of them are sent."""
    api.answers["GET", "/api/v1/namespaces/models/pods"] = (200, {"items": [{"metadata": {"name": "p"}}]})
    assert cluster.list(POD, "models", {"b": "2", "a": "1"}) == [{"metadata": {"name": "p"}}]
    assert api.asked[0][1].endswith("?labelSelector=a%3D1%2Cb%3D2")


# As API servers said them (1.34), each to a PATCH that was tried; and those of a webhook without pods, of a namespace
# that ends and of PodSecurity as their source has them.
MAY_NOT = 'routes "m" is forbidden: User "system:serviceaccount:models:x" cannot patch resource "httproutes"'
WEBHOOK = 'admission webhook "v.kserve" denied the request: no such runtime'
POLICY = (
    "routes \"m\" is forbidden: ValidatingAdmissionPolicy 'ours' with binding 'all' denied request: say the percent"
)
QUOTA = 'services "m" is forbidden: exceeded quota: q, requested: count/services=1, used: count/services=1'
SILENT = 'Internal error occurred: failed calling webhook "v.kserve": failed to call webhook: Post "https://x": refused'
ENDS = 'services "m" is forbidden: unable to create new content in namespace models because it is being terminated'
PODS = 'pods "m" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
REFUSED = "refuses PATCH [^ ]*: "


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        pytest.param(401, "Unauthorized", "does not know who asks for PATCH .*: Unauthorized; renew", id="who-are-you"),
        pytest.param(403, MAY_NOT, "this account may not PATCH .* cannot patch .* role$", id="no-role"),
        pytest.param(403, WEBHOOK, f"the admission webhook v.kserve {REFUSED}no such runtime$", id="webhook"),
        pytest.param(400, WEBHOOK, f"the admission webhook v.kserve {REFUSED}no such", id="webhook-without-a-status"),
        pytest.param(403, WEBHOOK.partition(":")[0], f"webhook v.kserve {REFUSED}$", id="webhook-without-words"),
        pytest.param(
            500, SILENT, "webhook v.kserve is asked for PATCH .* does not answer: .*refused; ", id="no-webhook"
        ),
        pytest.param(
            403, POLICY, f"the ValidatingAdmissionPolicy ours .binding all. {REFUSED}say the", id="policy-403"
        ),
        pytest.param(
            422, POLICY, f"the ValidatingAdmissionPolicy ours .binding all. {REFUSED}say the", id="policy-422"
        ),
        pytest.param(403, QUOTA, f"a ResourceQuota {REFUSED}q, requested.*; ask for less", id="quota"),
        pytest.param(403, PODS, f"PodSecurity restricted:latest of the namespace {REFUSED}runAsNonRoot", id="pods"),
        pytest.param(403, ENDS, "namespace models is being deleted and refuses PATCH [^ ]*$", id="namespace-ends"),
        pytest.param(
            404, 'namespaces "models" not found', "namespace models is not there, .*=models$", id="no-namespace"
        ),
        pytest.param(404, "no such type", "refuses PATCH .* with 404: no such type$", id="absent"),
        pytest.param(422, "spec.x: Required value", "refuses PATCH .* with 422: spec.x: Required", id="invalid"),
        pytest.param(403, "something new", "^the Kubernetes API refuses PATCH .* with 403: something new$", id="new"),
        pytest.param(500, "why", "refuses PATCH .* with 500: why$", id="refused"),
    ],
)
def test_a_refusal_says_who_refuses_what_and_why(
    api: Api, cluster: KubernetesCluster, status: int, message: str, told: str
) -> None:
    """One sentence with the reason that was given: who said no is told by the API server's words, never by the status,
    and a role is blamed for nothing else. Status and reason stay apart from the words."""
    api.answers["PATCH", ROUTE_PATH] = (status, {"kind": "Status", "message": message, "reason": "NotFound"})
    with pytest.raises(ApiRefusal, match=told) as refused:
        cluster.apply(ROUTE)
    assert ("role" in str(refused.value)) is (message == MAY_NOT)
    assert (refused.value.status, refused.value.reason, refused.value.exit_code) == (status, "NotFound", 30)


def test_a_change_of_somebody_else_is_a_conflict(api: Api, cluster: KubernetesCluster) -> None:
    """And to be looked at again."""
    api.answers["PATCH", ROUTE_PATH] = (409, {"kind": "Status", "message": "modified"})
    with pytest.raises(ConflictError, match=r"somebody else has changed .*: modified; look again"):
        cluster.apply(ROUTE)


def test_a_refusal_without_words_of_the_api_is_quoted(api: Api, cluster: KubernetesCluster) -> None:
    """What a proxy before the API says, or nothing."""
    api.answers["PATCH", ROUTE_PATH] = (502, "bad gateway")
    with pytest.raises(ApiRefusal, match="with 502: bad gateway"):
        cluster.apply(ROUTE)


def test_an_api_that_is_not_there_is_told(api: Api, cluster: KubernetesCluster) -> None:
    """No exception of a library reaches a person."""
    api.server_close()
    api.shutdown()
    with pytest.raises(InfrastructureError, match="does not answer GET"):
        cluster.get(POD, "models", "p")


def test_a_pod_is_asked_through_the_api_with_its_own_headers(api: Api, cluster: KubernetesCluster) -> None:
    """From outside of the cluster; any status of the pod is an answer, but the API's own refusal is not."""
    where = "/api/v1/namespaces/models/pods/p%3A8080/proxy/metrics"
    api.answers["GET", where] = (503, "not yet")
    reply = cluster.answer("models", "p", 8080, "/metrics", {"Host": "m.example.com"})
    assert (reply.status, reply.text, reply.headers["x-epoch"]) == (503, "not yet", "e1")
    assert api.asked[0][2]["host"] == "m.example.com"
    with pytest.raises(InfrastructureError, match="answers 503"):
        pods_text(cluster, "models", "p", 8080, "/metrics")
    api.answers["GET", where] = (503, {"kind": "Status", "message": "no endpoints"})
    with pytest.raises(InfrastructureError, match="does not answer on port 8080: no endpoints"):
        cluster.answer("models", "p", 8080, "/metrics")


def test_a_pod_is_asked_by_its_address_from_inside(api: Api, cluster: KubernetesCluster) -> None:
    """The API gives the address, the pod gives the answer."""
    host, port = str(api.server_address[0]), int(api.server_address[1])
    api.answers["GET", "/api/v1/namespaces/models/pods/p"] = (200, {"status": {"podIP": host}})
    api.answers["GET", "/metrics"] = (200, "n 1")
    inside = KubernetesCluster(cluster._api, inside=True, timeout_s=5)
    assert pods_text(inside, "models", "p", port, "/metrics?filter=x") == "n 1"
    api.answers["GET", "/api/v1/namespaces/models/pods/p"] = (200, {"status": {}})
    with pytest.raises(InfrastructureError, match="has no address"):
        pods_text(inside, "models", "p", port, "/metrics")


def test_a_log_is_of_the_container_that_died_or_of_the_one_that_runs(api: Api, cluster: KubernetesCluster) -> None:
    """Neither is an empty text."""
    assert cluster.log("models", "p", "c", 5) == ""
    api.answers["GET", "/api/v1/namespaces/models/pods/p/log"] = (200, "last words\n")
    assert cluster.log("models", "p", "c", 5) == "last words\n"
    assert "previous=true" in api.asked[-1][1]


def test_a_context_that_is_not_there_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked of a cluster."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="expected context 'elsewhere' in a kubeconfig"):
        open_cluster("elsewhere")


# What an installation can do.

_SERVICES = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceservices.serving.kserve.io"
_ROUTES = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/httproutes.gateway.networking.k8s.io"


def services_crd(**fields: Any) -> Object:
    predictor: Object = {"properties": {"canaryTrafficPercent": {}}}
    spec = {"properties": {"spec": {"properties": {"predictor": predictor, **fields}}}}
    versions = [{"name": "v1beta1", "served": True, "schema": {"openAPIV3Schema": spec}}]
    return {"metadata": {"name": "x"}, "spec": {"versions": versions}}


def test_an_installation_is_read_from_its_types_and_its_controller(api: Api, cluster: KubernetesCluster) -> None:
    """The version is that of the manager's image; the mode that of its configuration."""
    api.answers["GET", _SERVICES] = (200, services_crd(canary={}))
    api.answers["GET", _ROUTES] = (200, {"metadata": {}, "spec": {"versions": [{"name": "v1", "served": True}]}})
    containers = [{"name": "manager", "image": "kserve/kserve-controller:v0.20.0"}]
    manager = {"spec": {"template": {"spec": {"containers": containers}}}}
    where = f"{DEPLOYMENT.root}/namespaces/kserve/deployments/kserve-controller-manager"
    api.answers["GET", where] = (200, manager)
    where = f"{CONFIG_MAP.root}/namespaces/kserve/configmaps/inferenceservice-config"
    parts = {
        "deploy": '{"defaultDeploymentMode": "Standard"}',
        "ingress": '{"enableGatewayApi": true}',
        "_example": "#",
    }
    api.answers["GET", where] = (200, {"data": parts})
    api.answers["GET", "/version"] = (200, {"gitVersion": "v1.34.4"})
    assert probe(cluster) == CapabilitiesOfInstallation(
        kserve="0.20.0",
        canary=True,
        canary_percent=True,
        routes=("v1",),
        default_mode="Standard",
        makes_routes=True,
        kubernetes="v1.34.4",
    )


def test_what_may_not_be_read_is_unknown_and_named(api: Api, cluster: KubernetesCluster) -> None:
    """An account without that right still learns what it can."""
    api.answers["GET", _SERVICES] = (200, services_crd())
    where = f"{DEPLOYMENT.root}/namespaces/kserve/deployments/kserve-controller-manager"
    api.answers["GET", where] = (403, {"kind": "Status", "message": "no"})
    found = probe(cluster)
    assert (found.kserve, found.default_mode, found.makes_routes) == ("unknown", "unknown", False)
    assert "KServe's version" in found.unread[0]


@pytest.mark.parametrize(
    ("ingress", "makes"),
    [
        pytest.param('{"enableGatewayApi": true, "disableIngressCreation": false}', True, id="routes"),
        pytest.param('{"enableGatewayApi": false}', False, id="ingresses"),
        pytest.param("{}", False, id="as-kserve-comes"),
        pytest.param('{"enableGatewayApi": true, "disableIngressCreation": true}', False, id="nothing"),
        pytest.param("not json", False, id="unreadable"),
    ],
)
def test_whether_kserve_makes_routes_is_read_from_its_configuration(
    api: Api, cluster: KubernetesCluster, ingress: str, makes: bool
) -> None:
    """The type HTTPRoute alone says nothing: with Ingresses a canary has pods and no traffic."""
    where = f"{CONFIG_MAP.root}/namespaces/kserve/configmaps/inferenceservice-config"
    api.answers["GET", where] = (200, {"data": {"ingress": ingress}})
    assert probe(cluster).makes_routes is makes


FULL = CapabilitiesOfInstallation(
    kserve="0.21.0", canary=True, canary_percent=True, routes=("v1",), knative=True, makes_routes=True
)


@pytest.mark.parametrize(
    ("changes", "wanted", "expected"),
    [
        pytest.param({}, None, "route", id="the-route-where-it-can"),
        pytest.param({"routes": ()}, None, "knative", id="what-is-left"),
        pytest.param({}, "standard", "standard", id="canaries-of-0.21"),
        pytest.param({"kserve": "0.21.0-main.aaac4e2"}, "standard", "standard", id="canaries-of-its-main-branch"),
        pytest.param({}, "knative", "knative", id="knative"),
        pytest.param({"kserve": "0.20.0"}, None, "route", id="any-kserve-has-the-route"),
    ],
)
def test_the_way_is_one_that_the_installation_does(changes: dict[str, Any], wanted: str | None, expected: str) -> None:
    """A wish is granted if it has an effect."""
    assert choose(FULL.model_copy(update=changes), wanted) == expected


@pytest.mark.parametrize(
    ("changes", "wanted", "told"),
    [
        pytest.param({"kserve": "0.20.0"}, "standard", "divides no traffic before 0.21", id="field-without-effect"),
        pytest.param({"kserve": "unknown"}, "standard", "version of KServe cannot be read", id="version-unknown"),
        pytest.param({"kserve": "0.15.2", "canary": False}, "standard", "would drop it", id="field-is-dropped"),
        pytest.param({"routes": ()}, "standard", "Gateway API is missing", id="standard-needs-routes"),
        pytest.param({"makes_routes": False}, "standard", "inferenceservice-config says otherwise", id="ingresses"),
        pytest.param({"makes_routes": None}, "standard", "inferenceservice-config cannot be read", id="routes-unread"),
        pytest.param({"knative": False}, "knative", "Knative Serving is not installed", id="no-knative"),
        pytest.param({"routes": ("v1beta1",)}, "route", "no HTTPRoute of version v1", id="old-gateway-api"),
        pytest.param({"kserve": None}, None, "KServe is not installed", id="nothing"),
        pytest.param({}, "rings", "expected one of route, standard, knative", id="unknown-way"),
    ],
)
def test_a_way_that_the_installation_would_ignore_is_refused(changes: dict[str, Any], wanted: str, told: str) -> None:
    """With the reason, before anything is written."""
    with pytest.raises(ConfigError, match=told):
        choose(FULL.model_copy(update=changes), wanted)
