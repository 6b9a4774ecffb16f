"""The manifests without a cluster: what is rendered is valid, least in rights, and hides nothing.

What needs third parties' manifests runs where `make upstream` has brought them.
"""

import base64
import contextlib
import json
import re
import ssl
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no annotations
import numpy as np
import pytest
import yaml
from cryptography import x509

from pipelines.deploying import doctor_cluster, webhook_certificate
from pipelines.deploying import secrets as deploy_secrets
from pipelines.deploying.site import Site
from serving.bundle.signing import PublicKey, SigningKey
from serving.cluster import manifest, manifest_canary, manifest_route, two_slots
from serving.cluster.client import Kind
from serving.predictor.metrics import Metrics
from serving.predictor.settings import parse
from serving.rollout.backend import Revision, Split
from tests.manifests.support import (
    MANIFESTS,
    builtin_faults,
    containers,
    containers_of,
    is_builtin,
    name_of,
    needs_kubectl,
    needs_upstream,
    pod_specs,
    rendered,
)
from tests.root import ROOT

OURS = [
    "base",
    "overlays/kind",
    "overlays/production",
    *(f"controllers/{c}" for c in ("minio", "mlflow", "prometheus", "grafana")),
]
WITHOUT_CONTAINERS = ("controllers/gateway-api", "controllers/pipelines/crds")
PATCHED = [
    "controllers/gateway-api",
    "controllers/pipelines/crds",
    "overlays/kind/gateway",
    "overlays/production/gateway",
    "controllers/kserve",
    "controllers/pipelines",
    "components/pipelines-ui",
]
ours = pytest.mark.parametrize("directory", OURS)
RULES = yaml.safe_load((MANIFESTS / "controllers/prometheus/rules.yaml").read_text())
DASHBOARD = json.loads((MANIFESTS / "controllers/grafana/dashboard.json").read_text())


@needs_kubectl
@ours
def test_every_object_of_ours_is_valid_by_the_models_of_kubernetes(directory):
    """A misspelt field would be dropped by the API server, or refused only at the deploy."""
    faults = [fault for found in rendered(directory) if is_builtin(found) for fault in builtin_faults(found)]

    assert faults == []


def test_the_check_of_fields_sees_a_misspelt_one():
    """So that the test above means something."""
    pod = {"containers": [{"name": "a", "imagePullpolicy": "Never", "ports": [{"containerPort": "80"}]}]}
    found = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {"template": {"spec": pod}},
    }

    place = "Deployment -/x.spec.template.spec.containers[0]"
    assert builtin_faults(found) == [
        f"{place}.imagePullpolicy: unknown field",
        f"{place}.ports[0].containerPort: expected int, got '80'",
    ]


@needs_kubectl
@ours
def test_no_container_of_ours_is_root_or_writes_outside_of_its_volumes(directory):
    """Numeric user, no privileges to gain, read-only root, every one of them with bounds."""
    for place, spec, container in containers_of(directory):
        context = {**spec.get("securityContext", {}), **container["securityContext"]}
        assert context["runAsNonRoot"] is True, place
        assert context["runAsUser"] >= 400, place
        assert context["readOnlyRootFilesystem"] is True, place
        assert context["allowPrivilegeEscalation"] is False, place
        assert context["capabilities"] == {"drop": ["ALL"]}, place
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, place
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), place
        assert "memory" in container["resources"]["limits"], place
        assert not container["image"].endswith(":latest"), place


@needs_kubectl
@ours
def test_every_server_of_ours_has_its_three_probes(directory):
    """Started, ready and alive are three questions with three answers."""
    servers = [
        found for found in rendered(directory) if found["kind"] in ("Deployment", "StatefulSet", "ServingRuntime")
    ]
    asked = [(place, one) for found in servers for place, spec in pod_specs(found) for one in spec["containers"]]
    assert asked
    for place, container in asked:
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), place


@needs_kubectl
def test_the_doctor_misses_only_what_a_deployment_brings():
    """What it looks for is rendered, or made at deploy time; a piece that nobody brings would be missed for ever."""
    made = deploy_secrets.objects({}, lambda: "0" * 40, deploy_secrets.new_key, Site())["items"]
    found = [*rendered("overlays/kind"), *rendered("controllers/minio"), *made]
    brought = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found}

    of_pipelines = {("ServiceAccount", "kubeflow", "pipeline-runner")}
    assert doctor_cluster.OBJECTS.keys() - brought == of_pipelines


@needs_kubectl
@ours
def test_every_reference_to_an_account_a_role_a_volume_or_a_secret_leads_somewhere(directory):
    """A name that leads nowhere is silently ignored by some and waits for ever with others."""
    found = rendered(directory) + (rendered("base") if directory != "base" else ())
    there = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found}
    made = deploy_secrets.objects({}, lambda: "0" * 40, deploy_secrets.new_key, Site())["items"]
    there |= {(one["kind"], one["metadata"]["namespace"], one["metadata"]["name"]) for one in made}
    missing = [want for one in rendered(directory) for want in _wanted(one) if want not in there]

    assert missing == []


@needs_kubectl
@ours
def test_no_object_of_ours_carries_a_secret(directory):
    """They are made at deploy time; none is in the repository."""
    kinds = [found["kind"] for found in rendered(directory)]

    assert "Secret" not in kinds


@needs_kubectl
def test_the_pipeline_may_touch_services_and_routes_of_one_namespace_and_nothing_more():
    """No secrets but the one it mounts, no pods to run commands in, no rights over the cluster."""
    rights = rights_of(rendered("overlays/kind"), "pipeline-runner", "kubeflow")

    assert rights == {
        ("models", "serving.kserve.io", "inferenceservices"): {"get", "list", "watch", "create", "patch", "delete"},
        ("models", "gateway.networking.k8s.io", "httproutes"): {"get", "list", "watch", "create", "patch", "delete"},
        ("kubeflow", "", "secrets:slipway-object-store"): {"get"},
    }


@needs_kubectl
@pytest.mark.parametrize("directory", ["overlays/kind", "overlays/production", "controllers/prometheus"])
def test_no_right_of_ours_is_a_wildcard_or_reads_secrets_it_cannot_name(directory):
    """What a role does not say it needs, it does not get."""
    roles = [found for found in rendered(directory) if found["kind"] in ("Role", "ClusterRole")]
    rules = [(name_of(found), rule) for found in roles for rule in found["rules"]]
    assert rules
    for name, rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name
        assert "secrets" not in rule["resources"] or rule.get("resourceNames"), name


@needs_kubectl
def test_the_runtime_starts_the_predictor_with_flags_that_it_knows():
    """The template is filled as KServe fills it, and read by the predictor's own parser."""
    runtime = next(found for found in rendered("base") if found["kind"] == "ServingRuntime")
    container = runtime["spec"]["containers"][0]
    filled = [part.replace("{{.Name}}", "housing-2") for part in container["args"]]
    made = manifest.inference_service(Revision("housing-2", "housing", 2, "s3://b/m", "d"), manifest.Installation())
    environment = {entry["name"]: entry["value"] for entry in made["spec"]["predictor"]["model"]["env"]}

    settings = parse([*filled, *made["spec"]["predictor"]["model"]["args"]], environment)  # KServe puts them behind

    assert (settings.model_name, settings.version, settings.revision) == ("housing", "2", "housing-2")
    named = made["spec"]["predictor"]["model"]["ports"]
    assert "ports" not in container
    assert [port["containerPort"] for port in named] == [settings.http_port, settings.grpc_port]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == settings.health_port
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(settings.trusted_key), str(settings.log_s3), "/tmp"} <= mounts


@needs_kubectl
def test_readiness_and_life_do_not_hang_on_a_name():
    """Ours is ready when its model is, under whatever name; a model that is slow is no reason to start again."""
    runtime = next(found for found in rendered("base") if found["kind"] == "ServingRuntime")
    container = runtime["spec"]["containers"][0]

    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }

    assert paths == {
        "startupProbe": "/v2/health/ready",
        "readinessProbe": "/v2/health/ready",
        "livenessProbe": "/v2/health/live",
    }


@needs_kubectl
def test_what_the_kind_overlay_asks_for_fits_beside_the_others():
    """Requests of ours on one node stay below half a core and 1 GiB; the whole may be 4 cores and 8 GiB."""
    directories = ["overlays/kind", *(f"controllers/{piece}" for piece in ("minio", "mlflow", "prometheus", "grafana"))]
    requests = [
        container["resources"]["requests"]
        for directory in directories
        for found in rendered(directory)
        if found["kind"] in ("Deployment", "StatefulSet")
        for _, spec in pod_specs(found)
        for container in spec["containers"]
    ]

    assert sum(int(request["cpu"].removesuffix("m")) for request in requests) <= 500
    assert sum(int(request["memory"].removesuffix("Mi")) for request in requests) <= 1024


def test_prometheus_and_its_operator_have_the_same_rules():
    """A site has one of them, and should be woken by the same things."""
    of_operator = yaml.safe_load((MANIFESTS / "components/prometheus-operator/rules.yaml").read_text())

    assert of_operator["spec"] == RULES


def test_every_alert_names_the_next_move():
    """An alert without one only wakes somebody up."""
    rules = RULES["groups"][0]["rules"]

    assert rules
    assert all(rule["annotations"]["remedy"] and rule["annotations"]["summary"] for rule in rules)
    assert len({rule["alert"] for rule in rules}) == len(rules)


def test_rules_and_dashboard_ask_for_what_a_model_server_says():
    """A metric or label that was renamed leaves an alert that never comes, and a panel without a line."""
    expressions = [rule["expr"] for rule in RULES["groups"][0]["rules"]] + [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
    ]
    asked = {name for text in expressions for name in re.findall(r"slipway_\w+", text)}

    assert {"slipway_requests_total", "slipway_request_seconds_bucket"} <= asked <= exposed()
    assert all(text.count(a) == text.count(b) for text in expressions for a, b in ("{}", "()", "[]"))


def exposed() -> set[str]:
    """Names of the samples that a model server can give."""
    metrics = Metrics("m", "1")
    metrics.answered("infer", 200, 0.1)
    metrics.cells["rooms", "type", "refused"] += 1
    metrics.logged = SimpleNamespace(written=1, dropped=1)
    prediction, counts = SimpleNamespace(edges=np.array([1.0])), ((), np.array([1, 1, 0]), 3.0)
    tally: Any = SimpleNamespace(inputs=(), prediction=prediction, counts=lambda: counts)
    metrics.tally = tally
    return {sample.name for family in metrics.collect() for sample in family.samples}


def test_the_port_of_kind_is_the_port_of_the_gateway():
    """One number in two files."""
    mapping = yaml.safe_load((ROOT / "kind-config.yaml").read_text())["nodes"][0]["extraPortMappings"][0]
    proxy = yaml.safe_load((MANIFESTS / "overlays/kind/gateway/node-port.yaml").read_text())
    port = proxy["spec"]["provider"]["kubernetes"]["envoyService"]["patch"]["value"]["spec"]["ports"][0]

    assert mapping["containerPort"] == mapping["hostPort"] == port["nodePort"]
    assert mapping["listenAddress"] == "127.0.0.1"


def test_every_target_of_the_cluster_explains_itself_and_the_scripts_find_what_they_apply():
    """`make` alone lists them; a directory that was renamed would only be missed at a deploy."""
    targets = set(re.findall(r"^([a-z-]+):.*## \S", (ROOT / "cluster.mk").read_text(), re.MULTILINE))
    script = (MANIFESTS / "deploy.sh").read_text()

    assert {"upstream", "kind-up", "images", "deploy", "status", "test-cluster", "kind-down"} <= targets
    for directory in re.findall(r"^(?:(?:with|asked) \w+ && )?apply \S+ ([a-z/-]+)$", script, re.MULTILINE):
        assert (MANIFESTS / directory / "kustomization.yaml").is_file(), directory


def test_an_option_whose_name_is_one_of_makes_own_is_there_only_when_it_is_said():
    """`AS` is an assembler where nobody says it: a namespace was then refused for "as"."""
    told = subprocess.run(["make", "-pf", "/dev/null"], capture_output=True, text=True, check=False).stdout
    own = set(re.findall(r"^# default\n(\w+) :?= ", told, re.MULTILINE))
    assert "AS" in own
    for path in (ROOT / "Makefile", *ROOT.glob("*.mk")):
        text = path.read_text()
        said = set(re.findall(r"\b([A-Z_]+)=", "\n".join(re.findall(r"## (.*)", text))))
        assert [name for name in sorted(said & own) if f"$(filter default,$(origin {name}))" not in text] == [], path


# Secrets of an installation


def test_secrets_are_made_once_and_kept_afterwards():
    """The second deploy finds what the first one made and says the same."""
    first = deploy_secrets.objects({}, iter(["a" * 40, "b" * 40, "c" * 40]).__next__, deploy_secrets.new_key, Site())
    answer = {"items": [one for one in first["items"] if one["metadata"]["namespace"] == "slipway-system"]}

    second = deploy_secrets.objects(
        deploy_secrets.read(answer), lambda: pytest.fail("made anew"), lambda: pytest.fail("new key"), Site()
    )

    assert second == first


def test_one_key_of_the_object_store_is_known_under_every_name():
    """KServe, Pipelines, MinIO and our own client each look for it under their own."""
    made = deploy_secrets.objects({}, lambda: "0123456789" * 4, deploy_secrets.new_key, Site())["items"]
    found = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in made}
    data = {place: deploy_secrets.read({"items": [one]}) for place, one in found.items() if one["kind"] == "Secret"}
    store = data["models", "slipway-object-store"]["slipway-object-store"]

    assert store["AWS_SECRET_ACCESS_KEY"] == store["secret_key"]
    assert store == data["kubeflow", "slipway-object-store"]["slipway-object-store"]
    assert found["models", "slipway-object-store"]["metadata"]["annotations"]["serving.kserve.io/s3-usehttps"] == "0"
    assert (
        "://" not in found["models", "slipway-object-store"]["metadata"]["annotations"]["serving.kserve.io/s3-endpoint"]
    )


def test_predictors_get_the_public_half_of_the_signing_key_and_never_the_other():
    """A pod that serves a model could otherwise sign another."""
    made = deploy_secrets.objects({}, lambda: "0" * 40, deploy_secrets.new_key, Site())["items"]
    in_models = [one for one in made if one["metadata"]["namespace"] == "models"]
    trusted = next(one for one in in_models if one["kind"] == "ConfigMap")["data"]
    private = next(one for one in made if one["metadata"]["name"] == "slipway-signing-key")
    key = SigningKey.from_pem(deploy_secrets.read({"items": [private]})["slipway-signing-key"]["signing.key"].encode())

    assert [PublicKey.from_pem(pem.encode()).id for pem in trusted.values()] == [key.public.id]
    assert "slipway-signing-key" not in {one["metadata"]["name"] for one in in_models}


# The certificate of KServe's webhooks

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SERVICE = ("kserve-webhook-server-service", "kserve")


class FakeCluster:
    """Webhook configurations and one secret, and who was written to."""

    def __init__(self, *hooks: dict[str, Any]) -> None:
        self.items: list[dict[str, Any]] = [
            {"metadata": {"name": f"c{i}", "resourceVersion": "1"}, "webhooks": [hook]} for i, hook in enumerate(hooks)
        ]
        self.secret: dict[str, Any] | None = None
        self.calls: list[str] = []

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return self.secret

    def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        return self.items if kind == webhook_certificate.WEBHOOKS[0] else []

    def apply(self, obj: dict[str, Any]) -> None:
        self.calls.append("secret")
        self.secret = obj

    def patch(self, kind: Kind, namespace: str, name: str, body: dict[str, Any]) -> None:
        self.calls.append(name)
        found = next(item for item in self.items if item["metadata"]["name"] == name)
        assert body["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]
        found["webhooks"] = body["webhooks"]

    def bundle(self) -> str:
        """Whom callers of the first webhook trust."""
        return base64.b64decode(self.items[0]["webhooks"][0]["clientConfig"]["caBundle"]).decode()

    def shown(self) -> str:
        """The certificate that the server shows."""
        assert self.secret is not None
        return base64.b64decode(self.secret["data"]["tls.crt"]).decode()


def hook(service: str = SERVICE[0]) -> dict[str, Any]:
    return {"name": "w", "clientConfig": {"service": {"name": service, "namespace": SERVICE[1], "path": "/mutate"}}}


def test_a_certificate_is_made_trusted_and_then_left_alone():
    """Trust before the certificate, the service's name in it, and nothing at all at the second call."""
    cluster: Any = FakeCluster(hook(), hook("of-somebody-else"))

    webhook_certificate.ensure(cluster, *SERVICE, "cert", NOW)
    first = list(cluster.calls)
    webhook_certificate.ensure(cluster, *SERVICE, "cert", NOW + timedelta(days=200))

    assert first == cluster.calls == ["c0", "secret"]
    assert cluster.bundle() == cluster.shown()
    assert cluster.items[0]["webhooks"][0]["clientConfig"]["service"]["path"] == "/mutate"
    assert cluster.items[1]["webhooks"] == [hook("of-somebody-else")]


def test_after_two_thirds_of_its_life_it_is_renewed_and_the_one_before_stays_trusted():
    """Manager and API server do not change at the same moment."""
    cluster: Any = FakeCluster(hook())
    webhook_certificate.ensure(cluster, *SERVICE, "cert", NOW)
    before = cluster.bundle()

    webhook_certificate.ensure(cluster, *SERVICE, "cert", NOW + timedelta(days=250))

    assert cluster.bundle() == cluster.shown() + before
    assert cluster.bundle().count("BEGIN CERTIFICATE") == 2


def test_a_certificate_that_cannot_be_read_is_made_anew():
    """Whoever wrote it, and whatever type the secret has, which cannot change."""
    cluster: Any = FakeCluster(hook())
    cluster.secret = {"type": "Opaque", "data": {"tls.crt": "eA==", "tls.key": "eA=="}}

    said = webhook_certificate.ensure(cluster, *SERVICE, "cert", NOW)

    assert said == "certificate of kserve-webhook-server-service.kserve made; 1 webhook configurations changed"
    assert cluster.secret["type"] == "Opaque"
    assert cluster.bundle() == cluster.shown()


def test_the_certificate_is_believed_for_the_service_alone(tmp_path):
    """What the API server checks: its bundle holds the certificate itself, which can sign no other."""
    made = webhook_certificate.make(*SERVICE, datetime.now(UTC))
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    certificate = x509.load_pem_x509_certificate(made["tls.crt"].encode())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")

    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    shake(server, ssl.create_default_context(cadata=made["tls.crt"]), ".".join((*SERVICE, "svc")))
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'elsewhere"):
        shake(server, ssl.create_default_context(cadata=made["tls.crt"]), "elsewhere.kserve.svc")


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A handshake in memory; raises when the client does not believe the server."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(back, there, server_hostname=name), server.wrap_bio(there, back, server_side=True)]
    for side in sides * 2:
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert sides[0].version()


# Third parties' manifests


@needs_kubectl
@needs_upstream
def test_every_object_validates_against_the_types_of_the_pinned_versions():
    """Ours and theirs, rendered and written by the controller, by the schemas of their own CRDs."""
    schemas = _schemas()
    rendered_objects = [found for directory in (*PATCHED, *OURS) for found in rendered(directory)]
    checked = 0
    for found in [*rendered_objects, *_written()]:
        schema = schemas.get((found["apiVersion"], found["kind"]))
        if schema is not None:
            jsonschema.Draft202012Validator(schema).validate(found)
            assert _unknown(found, schema, name_of(found)) == []
            checked += 1

    assert checked >= 10


@needs_kubectl
@needs_upstream
@pytest.mark.parametrize("directory", PATCHED)
def test_no_container_of_third_parties_is_root(directory):
    """After our patches, and without an exception; resource definitions alone bring no container."""
    if directory in WITHOUT_CONTAINERS:
        return
    for place, spec, container in containers_of(directory):
        context = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
        assert context.get("runAsNonRoot") is True, (place, container["name"])


@needs_kubectl
@needs_upstream
def test_what_is_trimmed_is_gone_and_what_must_stay_is_there():
    """Each patch matched something: a release that renames an object would leave it untouched in silence."""
    found = {name_of(one) for one in rendered("controllers/pipelines")}
    kserve = {name_of(one) for one in rendered("controllers/kserve")}

    gone = ("cache", "metadata-writer", "viewer", "ml-pipeline-ui", "metadata-envoy", "Secret kubeflow/mlpipeline")
    left = [name for name in found for word in gone if word in name and not name.startswith("ConfigMap")]
    assert left == []
    assert "Service kubeflow/ml-pipeline-visualizationserver" in found
    assert "Deployment kubeflow/minio" not in found
    assert not [name for name in kserve if name.startswith(("Certificate", "Issuer"))]


@needs_kubectl
@needs_upstream
def test_the_ui_is_the_servers_and_brings_only_what_was_trimmed():
    """With it each object is there once, of the server's release; it reads the key of artifacts and no other secret."""
    ui = {name_of(one): one for one in rendered("components/pipelines-ui")}
    server = {name_of(one): one for one in rendered("controllers/pipelines")}
    assert sorted(ui) == [
        "Deployment kubeflow/metadata-envoy-deployment",
        "Deployment kubeflow/ml-pipeline-ui",
        "Role kubeflow/ml-pipeline-ui",
        "RoleBinding kubeflow/ml-pipeline-ui",
        "Service kubeflow/metadata-envoy-service",
        "Service kubeflow/ml-pipeline-ui",
        "ServiceAccount kubeflow/ml-pipeline-ui",
    ]
    assert not set(ui) & set(server)
    api = next(
        one
        for one in containers(next(pod_specs(server["Deployment kubeflow/ml-pipeline"]))[1])
        if "kfp" in one["image"]
    )
    pods = {name: containers(spec)[0] for one in ui.values() for name, spec in pod_specs(one)}
    assert {container["image"].partition(":")[2] for container in pods.values()} == {api["image"].partition(":")[2]}
    rules = ui["Role kubeflow/ml-pipeline-ui"]["rules"]
    assert [one["resourceNames"] for one in rules if "secrets" in one["resources"]] == [["mlpipeline-minio-artifact"]]
    told = {one["name"]: one.get("value") for one in pods["Deployment kubeflow/ml-pipeline-ui"]["env"]}
    assert (told["MINIO_HOST"], told["MINIO_NAMESPACE"]) == ("minio.slipway-system", "")


@needs_kubectl
@needs_upstream
def test_kserve_is_told_its_mode_and_its_gateway():
    """The shipped values wait for Knative, and serve an ingress of a class that nobody has."""
    config = next(one for one in rendered("controllers/kserve") if one["kind"] == "ConfigMap")["data"]

    assert json.loads(config["deploy"]) == {"defaultDeploymentMode": "Standard"}
    ingress = json.loads(config["ingress"])
    assert (ingress["enableGatewayApi"], ingress["kserveIngressGateway"]) == (True, "kserve/kserve-ingress-gateway")
    assert json.loads(config["credentials"])["s3"]["s3AccessKeyIDName"] == "AWS_ACCESS_KEY_ID"


@needs_kubectl
@needs_upstream
def test_a_step_cannot_run_commands_in_pods_or_read_other_secrets_of_its_namespace():
    """As released it could."""
    rights = rights_of(rendered("controllers/pipelines"), "pipeline-runner", "kubeflow")

    assert {key[2] for key in rights if "secret" in key[2]} == {"secrets:mlpipeline-minio-artifact"}
    assert not [key for key, verbs in rights.items() if "*" in verbs or "exec" in key[2]]


def rights_of(found: tuple[dict[str, Any], ...], account: str, namespace: str) -> dict[tuple[str, str, str], set[str]]:
    """What *account* may do: (namespace or '*' for the cluster, group, resource[:name]) to verbs."""
    roles = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]): one for one in found}
    rights: dict[tuple[str, str, str], set[str]] = {}
    for one in found:
        subjects = one.get("subjects") or ()
        if not any((s["name"], s.get("namespace")) == (account, namespace) for s in subjects):
            continue
        where = one["metadata"].get("namespace") if one["kind"] == "RoleBinding" else "*"
        reference = one["roleRef"]
        role = roles[reference["kind"], None if reference["kind"] == "ClusterRole" else where, reference["name"]]
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        key = (where, group, f"{resource}:{name}" if name else resource)
                        rights.setdefault(key, set()).update(rule["verbs"])
    return rights


def _wanted(found: Mapping[str, Any]) -> list[tuple[str, str | None, str]]:
    namespace = found["metadata"].get("namespace")
    wanted: list[tuple[str, str | None, str]] = []
    for _, spec in pod_specs(dict(found)):
        if "serviceAccountName" in spec:
            wanted.append(("ServiceAccount", namespace, spec["serviceAccountName"]))
        for volume in spec.get("volumes", ()):
            if "secret" in volume:
                wanted.append(("Secret", namespace, volume["secret"]["secretName"]))
            if "configMap" in volume:
                wanted.append(("ConfigMap", namespace, volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                wanted.append(("PersistentVolumeClaim", namespace, volume["persistentVolumeClaim"]["claimName"]))
        for container in containers(spec):
            wanted += [("ConfigMap", namespace, one["configMapRef"]["name"]) for one in container.get("envFrom", ())]
            for entry in container.get("env", ()):
                if key := entry.get("valueFrom", {}).get("secretKeyRef"):
                    wanted.append(("Secret", namespace, key["name"]))
    if found["kind"] in ("RoleBinding", "ClusterRoleBinding"):
        kind = found["roleRef"]["kind"]
        wanted.append((kind, None if kind == "ClusterRole" else namespace, found["roleRef"]["name"]))
        theirs = {"pipeline-runner"}  # made by Pipelines
        wanted += [("ServiceAccount", s["namespace"], s["name"]) for s in found["subjects"] if s["name"] not in theirs]
    if found["kind"] == "ServiceAccount":
        wanted += [("Secret", namespace, secret["name"]) for secret in found.get("secrets", ())]
    return wanted


def _schemas() -> dict[tuple[str, str], dict[str, Any]]:
    schemas = {}
    for directory in PATCHED:
        for found in rendered(directory):
            if found["kind"] == "CustomResourceDefinition":
                names, group = found["spec"]["names"], found["spec"]["group"]
                for version in found["spec"]["versions"]:
                    schemas[f"{group}/{version['name']}", names["kind"]] = version["schema"]["openAPIV3Schema"]
    return schemas


def _written() -> list[dict[str, Any]]:
    """What the controller writes."""
    at = manifest.Installation()
    one, two = (Revision(f"m-{v}", "m", v, f"s3://b/m/{v}", str(v)) for v in (1, 2))
    route = two_slots.divided(
        two_slots.resting("m", "m-1", "e1"), Split({"m-1": 900, "m-2": 100}, "m-2", None, ("m-1", "m-2")), "e2"
    )
    standard = manifest_canary.standard_service("m", one, at)
    canary = manifest_canary.standard_canary("m", two, 1, 1, at)["spec"]["canary"]
    standard["spec"] |= manifest_canary.standard_weight({"canary": canary}, 100)["spec"]
    return [
        manifest.inference_service(two, at),
        manifest_route.http_route(route, at),
        standard,
        manifest_canary.knative_service("m", one, at),
    ]


def _unknown(value: Any, schema: Mapping[str, Any], place: str) -> list[str]:
    """Fields that a schema does not name; the API server would drop them."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or place.count(".") > 60:
        return []
    if isinstance(value, list):
        items = schema.get("items", {})
        return [fault for i, one in enumerate(value) for fault in _unknown(one, items, f"{place}[{i}]")]
    if not isinstance(value, dict):
        return []
    if "additionalProperties" in schema:
        inner = schema["additionalProperties"]
        return [
            f
            for key, one in value.items()
            for f in _unknown(one, inner if isinstance(inner, dict) else {}, f"{place}.{key}")
        ]
    known = schema.get("properties")
    if known is None:
        return []
    faults = []
    for key, one in value.items():
        faults += [f"{place}.{key}: unknown field"] if key not in known else _unknown(one, known[key], f"{place}.{key}")
    return faults
