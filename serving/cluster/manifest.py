"""What we ask of Kubernetes, as plain objects: an InferenceService for each revision.

Everything here is a pure function of its arguments; ``client`` talks to the API. Objects are complete, never
changes of something: applying one twice is applying it once. ``manifest_route`` has the traffic between revisions,
``manifest_canary`` the canaries that KServe has itself.
"""

import re
from dataclasses import dataclass
from typing import Any

from serving.errors import ConfigError
from serving.rollout.backend import Revision

Object = dict[str, Any]
MODEL_LABEL = "model"  # for people: the pods of all revisions
REVISION_LABEL = "slipway.dev/revision"
VERSION_LABEL = "slipway.dev/version"
DIGEST = "slipway.dev/digest"
MANAGED_BY = "app.kubernetes.io/managed-by"
FENCE = "slipway.dev/fence"
VISIBILITY = "networking.kserve.io/visibility"
HTTP_PORT, GRPC_PORT = 80, 8081  # of the Services that KServe makes: of the first port of a container, and of any other

_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_LABEL_LENGTH = 63


@dataclass(frozen=True)
class Installation:
    """The names that an installation of ours has chosen.

    Attributes:
        domain: public hosts are ``<model>.<domain>``.
        ingress_domain: of KServe; the ``status.url`` of an InferenceService is ``<name>-<namespace>.<ingress_domain>``.
        gateway, gateway_namespace: the Gateway that the route is attached to.
        service_account: of predictor pods; it carries the secret of the object store.
        priority: PriorityClass of predictor pods; empty for the cluster's usual one.
    """

    namespace: str = "models"
    domain: str = "models.example.com"
    ingress_domain: str = "example.com"
    gateway: str = "kserve-ingress-gateway"
    gateway_namespace: str = "kserve"
    runtime: str = "slipway"
    service_account: str = "predictor"
    priority: str = ""


def inference_service(revision: Revision, at: Installation, *, replicas: int = 1, fence: int = 0) -> Object:
    """One revision as an InferenceService in Standard mode, reached through the route of its model only.

    Raises:
        ConfigError: its name cannot be that of a Service and of a host.
    """
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": check_name(revision.name, at.namespace),
            "namespace": at.namespace,
            "labels": {
                **labels_of(revision.model),
                MODEL_LABEL: revision.model,
                REVISION_LABEL: revision.name,
                VERSION_LABEL: str(revision.version),
                VISIBILITY: "cluster-local",  # else KServe gives it a public host, past the split and its counts
            },
            "annotations": {
                DIGEST: revision.digest,
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "none",  # else an autoscaler without a metrics server to ask
                FENCE: str(fence),
            },
        },
        # No maximum: KServe would refuse whoever asks for more, and needs none without an autoscaler.
        "spec": {"predictor": {"minReplicas": replicas, **predictor(revision, at)}},
    }


def disruption_budget(revision: Revision, made: Object) -> Object:
    """What a drain of nodes must leave of *revision*; it goes with the InferenceService that was *made* for it.

    Half of its pods, rounded up: of two one at a time, a single one not at all, since with it every answer would go.
    Pods that do not answer anyway hold up nobody.
    """
    owner = {"name": revision.name, "uid": made["metadata"]["uid"]}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": revision.name,
            "namespace": made["metadata"]["namespace"],
            "labels": labels_of(revision.model),
            "ownerReferences": [{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", **owner}],
        },
        "spec": {
            "minAvailable": "50%",
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {"component": "predictor", REVISION_LABEL: revision.name}},
        },
    }


def predictor(revision: Revision, at: Installation) -> Object:
    """The part of a predictor that differs between revisions; a change of nothing else starts no new pods."""
    return {
        "serviceAccountName": at.service_account,
        **({"priorityClassName": at.priority} if at.priority else {}),
        "model": {
            "modelFormat": {"name": "slipway"},
            "runtime": at.runtime,
            "protocolVersion": "v2",
            "storageUri": storage_uri(revision.bundle_uri),
            # The path of a model outlives its revisions; without this it would be that of the InferenceService.
            "args": [f"--model_name={revision.model}"],
            # Here and not in the runtime: Knative takes one port. From its name KServe tells its own routes and the
            # gateway that the second one speaks HTTP/2.
            "ports": [
                {"name": "http1", "containerPort": 8080, "protocol": "TCP"},
                {"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"},
            ],
            "env": [
                {"name": "SLIPWAY_VERSION", "value": str(revision.version)},
                {"name": "SLIPWAY_REVISION", "value": revision.name},
            ],
        },
    }


def storage_uri(bundle_uri: str) -> str:
    """*bundle_uri* as KServe must be told it: without the last slash ``.../v1`` also fetches ``.../v10``."""
    if not bundle_uri.startswith("s3://"):
        raise ConfigError(f"KServe fetches bundles from s3://bucket/prefix/, got {bundle_uri!r}")
    return bundle_uri.rstrip("/") + "/"


def service_name(revision: str) -> str:
    """The Service that KServe makes for the predictor of an InferenceService."""
    return f"{revision}-predictor"


def host(model: str, at: Installation) -> str:
    """Where callers find *model*, whichever revision answers."""
    return f"{model}.{at.domain}"


def status_host(service: str, at: Installation) -> str:
    """What KServe tells as the host of an InferenceService, also of one that it makes no route for."""
    return f"{service}-{at.namespace}.{at.ingress_domain}"


def check_name(name: str, namespace: str) -> str:
    """*name*, if it can be the name of an InferenceService and everything that KServe calls after it.

    Raises:
        ConfigError: it is not a DNS label, or what KServe makes of it would be too long.
    """
    made = service_name(name)
    longest = max(len(f"{made}-{namespace}"), len(f"isvc.{made}"))  # a host of one label, and a label of its pods
    if not _NAME.fullmatch(name) or longest > _LABEL_LENGTH:
        room = _LABEL_LENGTH - longest + len(name)
        raise ConfigError(
            f"{name!r} cannot name an InferenceService in {namespace!r}: expected at most {room} small letters, digits "
            "and dashes that begin with a letter; choose a shorter model name"
        )
    return name


def labels_of(model: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": model,
        "app.kubernetes.io/part-of": "slipway",
        MANAGED_BY: "slipway",
    }
