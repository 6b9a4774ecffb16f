"""The one place that talks to the Kubernetes API; objects are plain dictionaries, as in YAML.

Every call ends within its timeout and may be repeated. What is written is written by server-side apply under our own
name, so that fields which others own stay theirs, and a change of ours undoes a change that somebody made of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from serving.cluster.refusals import ApiRefusal, refusal, said_by_the_server
from serving.errors import ConfigError, InfrastructureError
from serving.http_client import Reply, ask

Object = dict[str, Any]
FIELD_MANAGER = "slipway"
TIMEOUT_S = 10.0
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")  # mounted into every pod with an account


@dataclass(frozen=True)
class Kind:
    """A type of object. *group* is empty for the core types; *plural* is its name in a path."""

    group: str
    version: str
    plural: str

    @property
    def root(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


INFERENCE_SERVICE = Kind("serving.kserve.io", "v1beta1", "inferenceservices")
HTTP_ROUTE = Kind("gateway.networking.k8s.io", "v1", "httproutes")
GATEWAY = Kind("gateway.networking.k8s.io", "v1", "gateways")
DEPLOYMENT = Kind("apps", "v1", "deployments")
POD = Kind("", "v1", "pods")
SERVICE = Kind("", "v1", "services")
DISRUPTION_BUDGET = Kind("policy", "v1", "poddisruptionbudgets")
CONFIG_MAP = Kind("", "v1", "configmaps")
SECRET = Kind("", "v1", "secrets")
CRD = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions")


class Cluster(Protocol):
    """What we need of Kubernetes.

    Every call raises ``InfrastructureError`` when the API or a pod does not answer, of the kind ``ApiRefusal`` when the
    API answers that it will not.
    """

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None: ...

    def apply(self, obj: Object) -> Object:
        """Create *obj* or bring it to what is said; ``ConflictError`` when it names a resourceVersion that is past."""

    def patch(self, kind: Kind, namespace: str | None, name: str, body: Object, *, part: str = "") -> Object:
        """A JSON merge patch of an object that is there, or of a *part* with a path of its own such as ``status``."""

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Done at once; an absent object is done already."""

    def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Object]:
        """The objects that carry all of *labels*; None for *namespace* is everywhere."""

    def answer(self, namespace: str, pod: str, port: int, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """GET *path* from a pod, whatever its status is."""

    def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """The last *lines* of a container, of its former life when it has just died; empty without any."""

    def server_version(self) -> str: ...


def open_cluster(context: str | None = None) -> "KubernetesCluster":
    """The cluster this process runs in, or the one that *context* of the kubeconfig names.

    Raises:
        ConfigError: neither an account is mounted nor does a kubeconfig have *context*.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    inside = context is None and TOKEN.exists()
    try:
        if inside:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(context=context, client_configuration=configuration)
    except config.ConfigException as error:
        wanted = f"context {context!r}" if context else "a current context"
        raise ConfigError(f"no cluster to talk to: expected {wanted} in a kubeconfig, {error}") from error
    configuration.retries = 1
    api = client.ApiClient(configuration)
    api.user_agent = FIELD_MANAGER
    return KubernetesCluster(api, inside=inside)


class KubernetesCluster:
    """``Cluster`` over the official client.

    Args:
        api: a ``kubernetes.client.ApiClient``.
        inside: pods are reached by their addresses; otherwise through the API server.
        timeout_s: of each wait for an answer.
    """

    def __init__(self, api: Any, *, inside: bool, timeout_s: float = TIMEOUT_S) -> None:
        self._api, self._inside, self._timeout = api, inside, timeout_s

    @property
    def configuration(self) -> Any:
        """How the API is reached, a ``kubernetes.client.Configuration``: for other services behind its proxy."""
        return self._api.configuration

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        return self._object("GET", _path(kind, namespace, name))

    def apply(self, obj: Object) -> Object:
        path = _path(kind_of(obj), obj["metadata"].get("namespace"), obj["metadata"]["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self._there("PATCH", path, query, obj, "application/apply-patch+yaml")

    def patch(self, kind: Kind, namespace: str | None, name: str, body: Object, *, part: str = "") -> Object:
        query, path = {"fieldManager": FIELD_MANAGER}, _path(kind, namespace, name) + (f"/{part}" if part else "")
        return self._there("PATCH", path, query, body, "application/merge-patch+json")

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        self._object("DELETE", _path(kind, namespace, name), {"propagationPolicy": "Background"})

    def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Object]:
        selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        found = self._object("GET", _path(kind, namespace), {"labelSelector": selector} if selector else {})
        return list((found or {}).get("items", ()))  # None: the type itself is not installed

    def answer(self, namespace: str, pod: str, port: int, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        if not self._inside:
            return self._through_api(namespace, pod, port, path, headers or {})
        address = (self.get(POD, namespace, pod) or {}).get("status", {}).get("podIP")
        if not address:
            raise InfrastructureError(f"pod {namespace}/{pod} has no address; it is gone or not started")
        return ask(f"http://{address}:{port}", "GET", path, headers=headers or {}, timeout_s=self._timeout)

    def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        for previous in ("true", "false"):
            query = {"container": container, "tailLines": str(lines), "previous": previous}
            try:
                reply = self._ask("GET", f"{_path(POD, namespace, pod)}/log", query)
            except InfrastructureError:
                continue
            if reply.ok:
                return reply.text
        return ""

    def server_version(self) -> str:
        return str(self._there("GET", "/version").get("gitVersion", "unknown"))

    def _through_api(self, namespace: str, pod: str, port: int, path: str, headers: Mapping[str, str]) -> Reply:
        reply = self._ask("GET", f"{_path(POD, namespace, f'{pod}:{port}')}/proxy{path}", headers=headers)
        if reply.status >= HTTPStatus.BAD_REQUEST and (told := said_by_the_server(reply)):
            raise ApiRefusal(
                f"pod {namespace}/{pod} does not answer on port {port}: {told.get('message', reply.status)}",
                reply.status, str(told.get("reason", "")),
            )  # fmt: skip
        return reply

    def _object(self, method: str, path: str, *how: Any) -> Object | None:
        """As ``_there``; None where there is no such object, nor such a type."""
        try:
            return self._there(method, path, *how)
        except ApiRefusal as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _there(self, method: str, path: str, *how: Any) -> Object:
        """The object that a request, as of ``_ask``, is answered with."""
        reply = self._ask(method, path, *how)
        if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise refusal(method, path, reply)
        found: Object = json.loads(reply.body)
        return found

    def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Object | None = None,
        media: str = "application/json", headers: Mapping[str, str] | None = None,
    ) -> Reply:  # fmt: skip
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        sent = {"Accept": "*/*", "Content-Type": media, **(headers or {})}
        try:
            found = self._api.call_api(
                path, method, query_params=list((query or {}).items()), header_params=sent, body=body,
                auth_settings=["BearerToken"], _preload_content=False, _return_http_data_only=True,
                _request_timeout=(self._timeout, self._timeout),  # a single number is ignored unless it is whole
            )  # fmt: skip
            status, data = found.status, found.data
        except (ApiException, HTTPError, OSError) as error:
            found, status, data = error, getattr(error, "status", None), getattr(error, "body", b"")
            if not status:  # nobody answered, or with a certificate that is not believed
                why = " ".join(str(getattr(error, "reason", error)).split())
                raise InfrastructureError(
                    f"the Kubernetes API does not answer {method} {path}: {why}; is the cluster up?"
                ) from error
        return Reply(status, data, {str(name).lower(): str(value) for name, value in found.headers.items()})


def pods_text(cluster: Cluster, namespace: str, pod: str, port: int, path: str) -> str:
    """The body of a GET from a pod.

    Raises:
        InfrastructureError: it does not answer, or not with 200.
    """
    reply = cluster.answer(namespace, pod, port, path)
    if not reply.ok:
        raise InfrastructureError(f"pod {namespace}/{pod} answers {reply.status} on port {port} for {path}")
    return reply.text


def kind_of(obj: Mapping[str, Any]) -> Kind:
    """The type of *obj*, by its ``apiVersion`` and ``kind``; all that we write have the plain plural."""
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    return Kind(group, version, f"{str(obj['kind']).lower()}s")


def _path(kind: Kind, namespace: str | None, name: str | None = None) -> str:
    within = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"{kind.root}{within}/{kind.plural}" + (f"/{quote(name)}" if name else "")
