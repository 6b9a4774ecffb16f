"""Answers to browsers: pages of the origins that are listed may call the model, pages of others may not."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from serving.wire import EPOCH_HEADER, REQUEST_ID_HEADER, REVISION_HEADER

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Any, Send], Awaitable[None]]
Pair = tuple[bytes, bytes]

ANY = "*"
_TOLD = ", ".join((REQUEST_ID_HEADER, REVISION_HEADER, EPOCH_HEADER, "x-model-version")).encode()
_MINUTES_10 = b"600"


class Cors:
    """*application*, for pages of *origins* too, each as ``https://host[:port]``; ``*`` is every page there is."""

    def __init__(self, application: Application, origins: Sequence[str]) -> None:
        self._application, self._origins = application, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        asked = dict(scope["headers"]) if scope["type"] == "http" else {}
        origin = asked.get(b"origin", b"")
        if not origin or not {ANY, origin.decode("latin-1")} & self._origins:
            await self._application(scope, receive, send)
            return
        allowed: list[Pair] = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in asked:
            wished = asked.get(b"access-control-request-headers", b"content-type")
            allowed += [(b"access-control-allow-methods", b"GET, HEAD, POST, OPTIONS")]
            allowed += [(b"access-control-allow-headers", wished), (b"access-control-max-age", _MINUTES_10)]
            await send({"type": "http.response.start", "status": 204, "headers": allowed})
            await send({"type": "http.response.body", "body": b""})
            return

        async def answered(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told = (b"access-control-expose-headers", _TOLD)
                message["headers"] = [*message["headers"], *allowed, told]
            await send(message)

        await self._application(scope, receive, answered)
