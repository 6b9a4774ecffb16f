"""The ASGI application: KServe's V1 and V2 paths of one model, and a few of our own.

What KServe's own server has besides (loading and unloading of models, a documentation page) is not here.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

import msgspec
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from serving.predictor import metadata, openapi, work
from serving.predictor.body import Gone, Headers, Receive, check_media, held, new_id, read
from serving.predictor.errors import Refusal, bad_request, shown
from serving.predictor.served import Served
from serving.predictor.state import PredictorState
from serving.predictor.work import Done, Workers
from serving.wire import ProtocolPath, normal_path, paths_of

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Pair = tuple[bytes, bytes]

_OF_A_MODEL = re.compile(r"/v[12]/models/(?P<model>[^/:]+)(/versions/(?P<version>[^/:]+))?[/:]?[a-z]*")
_READ = b"GET, HEAD, OPTIONS"  # of HEAD the server below sends the headers alone
METHODS = {"prediction": b"POST, OPTIONS", "reading": _READ, "inside": _READ}
_JSON: Pair = (b"content-type", b"application/json")
_RAW: Pair = (b"content-type", b"application/octet-stream")


class Front:
    """Routes one model's requests; *workers* are threads for large bodies and for models without a fast form."""

    def __init__(self, state: PredictorState, workers: Workers) -> None:
        self.state, self.workers = state, workers
        self._paths = paths_of(state.settings.model_name, state.settings.version)
        self._readings = readings(state)
        self._marks: list[Pair] = [(name.encode(), value.encode()) for name, value in state.marks]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        headers = Headers(scope["headers"])
        request_id = new_id()
        route = self._paths.get(scope["path"]) or self._paths.get(normal_path(scope["path"]))
        posted = route is not None and route.kind == "prediction" and scope["method"] == "POST"
        verb = route.answers if route is not None and posted else None
        try:
            if verb is None:
                await self._other(route, scope, send, request_id)
            else:
                await self._infer(verb, headers, receive, send, request_id, began)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - what nobody meant to raise is logged and answered as such
            refusal = self.state.refused(error, verb, request_id.decode(), scope["path"], began)
            body = refusal.body(request_id.decode())
            await self._send(send, refusal.status, body, request_id, None, refusal.headers)

    async def _infer(
        self, verb: str, headers: Headers, receive: Receive, send: Send, request_id: bytes, began: float
    ) -> None:
        served, metrics = self.state.model(), self.state.metrics
        check_media(headers, raw_allowed=verb == "infer")
        body = await read(receive, headers, self.state.settings, metrics)
        metrics.in_flight += 1
        try:
            done = await self._done(verb, served, body, headers.json_length, request_id.decode())
        finally:
            metrics.in_flight -= 1
            metrics.buffered -= held(body)
        self.state.answered(verb, request_id.decode(), done, began, headers.epoch, headers.key, headers.correlation_id)
        await self._send(send, 200, done.body, request_id, done.json_length)

    async def _done(self, verb: str, served: Served, body: bytes, json_length: int | None, request_id: str) -> Done:
        """The answer, made here for a small request of a fast model and in a worker thread for others."""
        settings = self.state.settings
        if verb == "explain":
            return await self.workers.run(partial(work.explain_v1, served, body, request_id))
        if not served.quick or len(body) > settings.inline_bytes:
            return await self.workers.run(
                lambda: work.answer(served, verb, work.read(served, verb, body, json_length, large=True), request_id)
            )
        infer = work.read(served, verb, body, json_length, large=False)
        if infer.wanted.explain or len(infer.rows.matrix) > settings.inline_rows:
            return await self.workers.run(partial(work.answer, served, verb, infer, request_id))
        return work.answer(served, verb, infer, request_id)

    async def _send(
        self,
        send: Send,
        status: int,
        body: bytes,
        request_id: bytes,
        json_length: int | None = None,
        more: tuple[Pair, ...] = (),
        media: Pair = _JSON,
    ) -> None:
        headers = [media, (b"content-length", b"%d" % len(body)), (b"x-request-id", request_id), *self._marks, *more]
        if json_length is not None:
            headers[0] = _RAW
            headers.append((b"inference-header-content-length", b"%d" % json_length))
        if self.state.phase == "draining" and (b"connection", b"close") not in headers:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _other(self, route: ProtocolPath | None, scope: Scope, send: Send, request_id: bytes) -> None:
        if route is None:
            raise self._unknown(scope["path"])
        _permitted(route, scope)
        if scope["method"] == "OPTIONS":
            await self._send(send, 200, b"", request_id, None, ((b"allow", METHODS[route.kind]),))
        elif route.answers == "metrics":
            accept = next((value for name, value in scope["headers"] if name == b"accept"), b"").decode("latin-1")
            encoder, media = choose_encoder(accept)
            text = await asyncio.to_thread(encoder, REGISTRY)
            await self._send(send, 200, text, request_id, media=(b"content-type", media.encode()))
        else:
            await self._send(send, 200, msgspec.json.encode(self._readings[route.answers]()), request_id)

    def _unknown(self, path: str) -> Refusal:
        if "\0" in path:
            return bad_request("the path has a byte 0 in it")
        model = _OF_A_MODEL.fullmatch(normal_path(path))
        if model is not None:
            self.state.check(model["model"], model["version"])
        return Refusal("not_found", f"no such path: {shown(path)}; /openapi.json lists the ones there are")


def readings(state: PredictorState) -> dict[str, Callable[[], Any]]:
    """What a route answers to the function that makes its document, which raises a Refusal where there is none yet."""
    settings = state.settings
    models, model = {"models": [settings.model_name]}, {"name": settings.model_name, "ready": True}
    return {
        "alive": lambda: {"status": "alive"},
        "models": lambda: models,
        "ready": lambda: state.if_ready(model),
        "metadata": lambda: metadata.model(state.model().contract, settings.model_name, settings.version),
        "server": lambda: metadata.SERVER,
        "live": lambda: {"live": True},
        "server_ready": lambda: state.if_ready({"ready": True}),
        "openapi": lambda: openapi.document(state.model().contract, settings),
        "status": state.status,
    }


def _permitted(route: ProtocolPath, scope: Scope) -> None:
    if scope["method"] not in METHODS[route.kind].decode().split(", "):
        use, allowed = ("POST" if route.kind == "prediction" else "GET"), METHODS[route.kind]
        message = f"{scope['method']} is not for {shown(scope['path'])}: use {use}"
        raise Refusal("method_not_allowed", message, (), (b"allow", allowed))
