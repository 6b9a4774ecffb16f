"""Asking over HTTP with what Python brings: a command that asks once does not wait for a library to load."""

import http.client
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from serving.errors import InfrastructureError


@dataclass(frozen=True)
class Reply:
    """What was answered; the names of *headers* are in small letters."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == HTTPStatus.OK

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class NoAnswer(InfrastructureError):
    """Nobody listens there, or the answer did not come in time or is none."""


class Connection(AbstractContextManager["Connection"]):
    """Requests to one server over one connection, which the first request opens, and the next one after a failure.

    Args:
        address: ``http://host:port`` or ``https://host:port``; a path in it is ignored.
        timeout_s: of each wait for the server, not of the whole answer.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        parts = urlsplit(address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._address = f"{parts.scheme}://{parts.netloc}"
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)

    def ask(self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] = {}) -> Reply:
        """Whatever the server's status is; ``NoAnswer`` where there is no answer."""
        try:
            self._connection.request(method, path, body, dict(headers))
            found = self._connection.getresponse()
            return Reply(found.status, found.read(), {name.lower(): value for name, value in found.getheaders()})
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise NoAnswer(f"{self._address}{path} does not answer: {error or type(error).__name__}") from error

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def ask(
    address: str, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] = {}, *,
    timeout_s: float,
) -> Reply:  # fmt: skip
    """One request over a connection of its own; as ``Connection.ask``."""
    with Connection(address, timeout_s) as connection:
        return connection.ask(method, path, body, headers)
