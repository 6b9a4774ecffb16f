"""The one place that talks to the Kubernetes API; objects are plain dictionaries, as in YAML.

Every call ends within its timeout and may be repeated. What is written is written by server-side apply under our own
name, so that fields which others own stay theirs, and a change of ours undoes a change that somebody made of it.
"""

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from serving.errors import ConfigError, ConflictError, InfrastructureError

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

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


INFERENCE_SERVICE = Kind("serving.kserve.io", "v1beta1", "inferenceservices")
HTTP_ROUTE = Kind("gateway.networking.k8s.io", "v1", "httproutes")
GATEWAY = Kind("gateway.networking.k8s.io", "v1", "gateways")
DEPLOYMENT = Kind("apps", "v1", "deployments")
POD = Kind("", "v1", "pods")
SERVICE = Kind("", "v1", "services")
CONFIG_MAP = Kind("", "v1", "configmaps")
CRD = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions")

_PLURALS = {
    "InferenceService": INFERENCE_SERVICE,
    "HTTPRoute": HTTP_ROUTE,
    "Gateway": GATEWAY,
    "Deployment": DEPLOYMENT,
    "Pod": POD,
    "Service": SERVICE,
    "ConfigMap": CONFIG_MAP,
}


@dataclass(frozen=True)
class PodReply:
    """What a pod answered; the names of *headers* are in small letters."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Cluster(Protocol):
    """What we need of Kubernetes. Every call raises ``InfrastructureError`` when the API or a pod does not answer."""

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None: ...

    def apply(self, obj: Object) -> Object:
        """Create *obj* or bring it to what is said; ``ConflictError`` when it names a resourceVersion that is past."""

    def patch(self, kind: Kind, namespace: str, name: str, body: Object) -> Object:
        """A JSON merge patch of an object that is there."""

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Done at once; an absent object is done already."""

    def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Object]:
        """The objects that carry all of *labels*; None for *namespace* is everywhere."""

    def answer(
        self, namespace: str, pod: str, port: int, path: str, headers: Mapping[str, str] | None = None
    ) -> PodReply:
        """GET *path* from a pod, whatever its status is."""

    def pods_text(self, namespace: str, pod: str, port: int, path: str) -> str:
        """The body of a GET from a pod that answers 200."""

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
    return KubernetesCluster(client.ApiClient(configuration), inside=inside)


class KubernetesCluster:
    """``Cluster`` over the official client.

    Args:
        api: a ``kubernetes.client.ApiClient``.
        inside: pods are reached by their addresses; otherwise through the API server.
    """

    def __init__(self, api: Any, *, inside: bool, timeout_s: float = TIMEOUT_S) -> None:
        self._api, self._inside, self._timeout = api, inside, timeout_s

    @property
    def configuration(self) -> Any:
        """How the API is reached, a ``kubernetes.client.Configuration``: for other services behind its proxy."""
        return self._api.configuration

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        try:
            return self._json("GET", _path(kind, namespace, name))
        except _NotFound:
            return None

    def apply(self, obj: Object) -> Object:
        kind = kind_of(obj)
        path = _path(kind, obj["metadata"].get("namespace"), obj["metadata"]["name"])
        query = [("fieldManager", FIELD_MANAGER), ("force", "true")]
        return self._json("PATCH", path, query=query, body=obj, media="application/apply-patch+yaml")

    def patch(self, kind: Kind, namespace: str, name: str, body: Object) -> Object:
        path, query = _path(kind, namespace, name), [("fieldManager", FIELD_MANAGER)]
        return self._json("PATCH", path, query=query, body=body, media="application/merge-patch+json")

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        try:
            self._json("DELETE", _path(kind, namespace, name), query=[("propagationPolicy", "Background")])
        except _NotFound:
            return

    def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Object]:
        selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        query = [("labelSelector", selector)] if selector else []
        try:
            return list(self._json("GET", _path(kind, namespace, None), query=query).get("items", ()))
        except _NotFound:  # the type itself is not installed
            return []

    def answer(
        self, namespace: str, pod: str, port: int, path: str, headers: Mapping[str, str] | None = None
    ) -> PodReply:
        if self._inside:
            found = self.get(POD, namespace, pod)
            address = (found or {}).get("status", {}).get("podIP")
            if not address:
                raise InfrastructureError(f"pod {namespace}/{pod} has no address; it is gone or not started")
            return self._direct(address, port, path, headers or {})
        return self._proxied(namespace, pod, port, path, headers or {})

    def pods_text(self, namespace: str, pod: str, port: int, path: str) -> str:
        reply = self.answer(namespace, pod, port, path)
        if reply.status != http.HTTPStatus.OK:
            raise InfrastructureError(f"pod {namespace}/{pod} answers {reply.status} on port {port} for {path}")
        return reply.text

    def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        path = f"{_path(POD, namespace, pod)}/log"
        for previous in ("true", "false"):
            query = [("container", container), ("tailLines", str(lines)), ("previous", previous)]
            try:
                return self._checked("GET", path, query=query).text
            except InfrastructureError:
                continue
        return ""

    def server_version(self) -> str:
        return str(self._json("GET", "/version").get("gitVersion", "unknown"))

    def _direct(self, address: str, port: int, path: str, headers: Mapping[str, str]) -> PodReply:
        connection = http.client.HTTPConnection(address, port, timeout=self._timeout)
        try:
            connection.request("GET", path, headers=dict(headers))
            found = connection.getresponse()
            names = {name.lower(): value for name, value in found.getheaders()}
            return PodReply(found.status, found.read().decode("utf-8", "replace"), names)
        except (OSError, http.client.HTTPException) as error:
            raise InfrastructureError(f"http://{address}:{port}{path} does not answer: {error}") from error
        finally:
            connection.close()

    def _proxied(self, namespace: str, pod: str, port: int, path: str, headers: Mapping[str, str]) -> PodReply:
        where = f"{_path(POD, namespace, f'{pod}:{port}')}/proxy{path}"
        reply = self._raw("GET", where, headers=headers)
        if reply.status >= http.HTTPStatus.BAD_REQUEST and _of_api(reply):
            raise InfrastructureError(f"pod {namespace}/{pod} does not answer on port {port}: {_message(reply)}")
        return reply

    def _json(self, method: str, path: str, **how: Any) -> Object:
        found: Object = json.loads(self._checked(method, path, **how).text)
        return found

    def _checked(self, method: str, path: str, **how: Any) -> PodReply:
        reply = self._raw(method, path, **how)
        if reply.status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise _told(method, path, reply)
        return reply

    def _raw(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Object | None = None,
        media: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> PodReply:
        """One request with the client's certificates and token; its own call method knows no server-side apply."""
        from urllib3.exceptions import HTTPError

        sent = {"Accept": "*/*", "Content-Type": media, "User-Agent": FIELD_MANAGER, **(headers or {})}
        self._api.update_params_for_auth(sent, [], ["BearerToken"])
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            found = self._api.rest_client.pool_manager.request(
                method, url, body=None if body is None else json.dumps(body), headers=sent, timeout=self._timeout
            )
        except (HTTPError, OSError) as error:
            raise InfrastructureError(
                f"the Kubernetes API does not answer {method} {path}: {error}; is the cluster up?"
            ) from error
        names = {str(name).lower(): str(value) for name, value in found.headers.items()}
        return PodReply(found.status, found.data.decode("utf-8", "replace"), names)


class _NotFound(InfrastructureError):
    """The API has no such object or type."""


def kind_of(obj: Mapping[str, Any]) -> Kind:
    """The type of *obj*, by its ``kind`` and ``apiVersion``."""
    known = _PLURALS.get(str(obj.get("kind")))
    if known is None:
        raise ConfigError(f"cannot apply a {obj.get('kind')!r}: expected one of {', '.join(sorted(_PLURALS))}")
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    return Kind(group, version, known.plural)


def _path(kind: Kind, namespace: str | None, name: str | None) -> str:
    within = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"{kind.root}{within}/{kind.plural}" + (f"/{quote(name)}" if name else "")


def _told(method: str, path: str, reply: PodReply) -> Exception:
    message = _message(reply)
    if reply.status == http.HTTPStatus.NOT_FOUND:
        return _NotFound(message)
    if reply.status == http.HTTPStatus.CONFLICT:
        return ConflictError(f"somebody else has changed {path}: {message}; look again and repeat")
    if reply.status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        return InfrastructureError(f"this account may not {method} {path}: {message}; see manifests/base for its role")
    return InfrastructureError(f"the Kubernetes API refuses {method} {path} with {reply.status}: {message}")


def _message(reply: PodReply) -> str:
    try:
        return str(json.loads(reply.text)["message"])
    except (TypeError, ValueError, KeyError):
        return reply.text[:200] or "no reason given"


def _of_api(reply: PodReply) -> bool:
    """Whether the API server itself says so, and not the pod behind it."""
    try:
        return bool(json.loads(reply.text).get("kind") == "Status")
    except (TypeError, ValueError, AttributeError):
        return False
