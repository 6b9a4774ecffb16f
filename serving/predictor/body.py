"""Requests as they come in: headers, ids, and bodies read within bounds of size and time."""

import asyncio
import itertools
import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving.predictor.errors import Refusal, bad_request, shown
from serving.predictor.metrics import Metrics
from serving.predictor.settings import Settings
from serving.wire import EPOCH_HEADER, KEY_HEADER, REQUEST_ID_HEADER

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
SMALL = 64 << 10
_ID_HEADER, _EPOCH_HEADER, _KEY_HEADER = (name.encode() for name in (REQUEST_ID_HEADER, EPOCH_HEADER, KEY_HEADER))
_GIVEN_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_PREFIX = uuid.uuid4().hex[:20].encode()
_numbers = itertools.count(1)


class Gone(Exception):
    """The client left before its body was complete; there is nobody to answer."""


class Headers:
    """The request headers that matter here.

    Attributes:
        correlation_id: the caller's or a proxy's name for the request; empty where there is none.
        epoch: token of the split that chose this server; empty where no router says it.
        key: what the split was sticky for; empty where it was not.
        json_length: of a V2 body with raw tensors, its JSON part in bytes; None: all is JSON.
        length: as announced; None for a chunked body.
    """

    __slots__ = ("correlation_id", "encoding", "epoch", "json_length", "key", "length", "media")

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.media = b""
        self.encoding = b""
        self.correlation_id = ""
        self.epoch = b""
        self.key = b""
        self.length: int | None = None
        self.json_length: int | None = None
        for name, value in pairs:
            if name == b"content-type":
                self.media = value
            elif name == b"content-length":
                self.length = _whole(value)
            elif name == _ID_HEADER:
                self.correlation_id = given_id(value)
            elif name == _EPOCH_HEADER:
                self.epoch = value
            elif name == _KEY_HEADER:
                self.key = value
            elif name == b"content-encoding":
                self.encoding = value
            elif name == b"inference-header-content-length":
                self.json_length = _whole(value)
                if self.json_length is None:
                    self.json_length = -1


def new_id() -> bytes:
    """The id of one answer, 32 hex digits, which no caller can choose.

    Eighty random bits per process and a count: as unique as a random id, without a system call for each.
    """
    return b"%b%012x" % (_PREFIX, next(_numbers))


def given_id(given: bytes) -> str:
    """*given* if it is printable ASCII of 1 to 128 characters, else nothing."""
    return given.decode() if _GIVEN_ID.fullmatch(given) else ""


def _whole(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) < 19 else None


def check_media(headers: Headers, raw_allowed: bool) -> None:
    """Refuse what is not JSON.

    A missing type, and the form type that ``curl -d`` sends, are taken for JSON; raw tensors (V2) say
    ``application/octet-stream`` and how long their JSON part is.

    Raises:
        Refusal: 415.
    """
    if headers.encoding and headers.encoding.strip().lower() != b"identity":
        seen = shown(_text(headers.encoding))
        raise Refusal("media_type", f"content-encoding: expected none, got {seen}; send it uncompressed")
    if headers.media in (b"application/json", b""):
        return
    media = headers.media.split(b";", 1)[0].strip().lower()
    if media in (b"application/json", b"application/x-www-form-urlencoded"):
        return
    if media == b"application/octet-stream" and raw_allowed:
        if headers.json_length is None:
            raise bad_request("expected the header inference-header-content-length with application/octet-stream")
        return
    raise Refusal("media_type", f"content-type: expected application/json, got {shown(_text(media))}")


def _text(value: bytes) -> str:
    return value.decode("latin-1")


async def read(receive: Receive, headers: Headers, settings: Settings, metrics: Metrics) -> bytes:
    """The whole body; the caller gives back ``held(body)`` bytes of ``metrics.buffered`` when it is done with it.

    Raises:
        Refusal: 408, 413, or 429 if large bodies already fill the memory they may.
        Gone: the client disconnected.
    """
    if headers.length is not None and headers.length > settings.max_body_bytes:
        raise Refusal("too_large", f"expected a body of at most {settings.max_body_bytes} bytes, got {headers.length}")
    message = await receive()
    budget = _Budget(settings, metrics)
    try:
        parts = [budget.take(message)]
        if message.get("more_body", False):
            async with asyncio.timeout(settings.body_timeout_s):
                while message.get("more_body", False):
                    message = await receive()
                    parts.append(budget.take(message))
    except TimeoutError:
        budget.give_back()
        raise Refusal("body_timeout", f"the body did not arrive within {settings.body_timeout_s:g} s") from None
    except BaseException:
        budget.give_back()
        raise
    return parts[0] if len(parts) == 1 else b"".join(parts)


def held(body: bytes) -> int:
    """Bytes that *body* counts for in ``metrics.buffered``."""
    return len(body) if len(body) > SMALL else 0


class _Budget:
    """Bytes of one body as they come in; large bodies together may not hold more than ``buffered_bytes``."""

    __slots__ = ("_metrics", "_reserved", "_settings", "_size")

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._size = self._reserved = 0

    def take(self, message: MutableMapping[str, Any]) -> bytes:
        if message["type"] == "http.disconnect":
            raise Gone
        part = bytes(message.get("body", b""))
        self._size += len(part)
        if self._size > SMALL:
            self._reserve()
        return part

    def give_back(self) -> None:
        self._metrics.buffered -= self._reserved

    def _reserve(self) -> None:
        limit = self._settings.max_body_bytes
        if self._size > limit:
            raise Refusal("too_large", f"expected a body of at most {limit} bytes, got more")
        more = self._size - self._reserved
        if self._metrics.buffered + more > self._settings.buffered_bytes:
            raise Refusal("overloaded", "too many large requests at one time; wait and send it again")
        self._metrics.buffered += more
        self._reserved = self._size
