"""Who says no to a request of the Kubernetes API, and why, in one sentence."""

import json
import re
from http import HTTPStatus
from typing import Any

from serving.errors import ConflictError, InfrastructureError
from serving.http_client import Reply


class ApiRefusal(InfrastructureError):
    """The Kubernetes API, or a webhook that it asks, says no.

    Attributes:
        status: of HTTP. reason: Kubernetes' word for it, e.g. "Forbidden" or "Invalid"; empty when it has none.
    """

    def __init__(self, sentence: str, status: int, reason: str) -> None:
        super().__init__(sentence)
        self.status, self.reason = status, reason


def refusal(method: str, path: str, reply: Reply) -> ConflictError | ApiRefusal:
    """What a *reply* of the API that is no success means, with whoever said no and why in its sentence."""
    told = said_by_the_server(reply) or {}
    message = str(told.get("message") or reply.text[:200] or "no reason given")
    if reply.status == HTTPStatus.CONFLICT:
        return ConflictError(f"somebody else has changed {path}: {message}; look again and repeat")
    if reply.status == HTTPStatus.UNAUTHORIZED:
        sentence = (
            f"the Kubernetes API does not know who asks for {method} {path}: {message}; renew the account's token"
        )
    else:
        sentence = _who_refuses(f"{method} {path}", message, reply.status)
    return ApiRefusal(sentence, reply.status, str(told.get("reason", "")))


def _who_refuses(what: str, message: str, status: int) -> str:
    for words, sentence in _REFUSERS:
        if found := words.search(message):
            return sentence.format(*found.groups(), what=what, message=message)
    return f"the Kubernetes API refuses {what} with {status}: {message}"


# Statuses say little: 403 is a missing role, a webhook, a policy, a quota or a namespace that ends, and a webhook and a
# policy may have others. The API server's own words tell them apart.
_REFUSERS = tuple(
    (re.compile(words, re.DOTALL), sentence)
    for words, sentence in (
        (r'admission webhook "([^"]+)" denied the request:? ?(.*)', "the admission webhook {} refuses {what}: {}"),
        (
            r'failed calling webhook "([^"]+)": (.*)',
            "the admission webhook {} is asked for {what} and does not answer: {}; see whether its pods run",
        ),
        (
            r"(\w+AdmissionPolicy) '([^']+)' with binding '([^']+)' denied request: (.*)",
            "the {} {} (binding {}) refuses {what}: {}",
        ),
        (r"exceeded quota: (.*)", "a ResourceQuota refuses {what}: {}; ask for less, or raise it"),
        (r'violates PodSecurity "([^"]+)": (.*)', "PodSecurity {} of the namespace refuses {what}: {}"),
        (r"in namespace (\S+) because it is being terminated", "namespace {} is being deleted and refuses {what}"),
        (
            r'^namespaces "([^"]+)" not found',
            "namespace {0} is not there, which refuses {what}; make it with: make namespace NAMESPACE={0}",
        ),
        (r'\bUser "[^"]*" cannot ', "this account may not {what}: {message}; see manifests/base for its role"),
    )
)


def said_by_the_server(reply: Reply) -> dict[str, Any] | None:
    """What the API server itself says; None when something behind it does."""
    try:
        found = json.loads(reply.body)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == "Status" else None
