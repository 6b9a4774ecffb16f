"""Every answer that is not a prediction: one value, one JSON shape, and its gRPC code.

    status  code                 gRPC
    400     bad_request          INVALID_ARGUMENT     the body is no JSON, or a row is not what the contract says
    404     not_found            NOT_FOUND            no such model, version or path
    405     method_not_allowed   -                    with Allow
    408     body_timeout         -                    the client took too long to send its body
    413     too_large            RESOURCE_EXHAUSTED   too many bytes
    415     media_type           -                    not JSON, or a content encoding
    429     overloaded           RESOURCE_EXHAUSTED   the queue is full, with Retry-After
    501     not_implemented      UNIMPLEMENTED        this model cannot do that, and why
    503     loading, load_failed, draining   UNAVAILABLE   with Retry-After, and why

The body is ``{"error", "code", "problems", "request_id"}``; ``problems`` names row, column, what was expected and what
was seen, and is empty where no cell is to blame.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Reason = Literal["missing_column", "unknown_column", "null", "type", "range", "category", "shape"]
UNNAMED = "(unknown)"


class Words(str):
    """What was seen, described instead of repeated: ``3 values``, ``nothing``."""

    __slots__ = ()


NOTHING = Words("nothing")
SHOWN = 5
Pair = tuple[bytes, bytes]


def _later(seconds: int) -> tuple[Pair, ...]:
    return ((b"retry-after", b"%d" % seconds),)


_CLOSE: tuple[Pair, ...] = ((b"connection", b"close"),)
CODES: dict[str, tuple[int, tuple[Pair, ...]]] = {
    "bad_request": (400, ()),
    "not_found": (404, ()),
    "method_not_allowed": (405, ()),
    "body_timeout": (408, _CLOSE),
    "too_large": (413, _CLOSE),
    "media_type": (415, ()),
    "overloaded": (429, _later(1)),
    "internal": (500, ()),
    "not_implemented": (501, ()),
    "loading": (503, _later(2)),
    "load_failed": (503, _later(30)),
    "draining": (503, _later(1)),
}
"""The status of each code, and the headers that always go with it."""


class RequestProblem(msgspec.Struct, frozen=True):
    """One thing wrong with a request.

    Attributes:
        row: position in the request, from 0; None where the request as a whole is meant.
        seen: the value as JSON where it is short, else what kind of thing it was.
        sentence: all of it in words, with the way to the cell.
    """

    row: int | None
    column: str | None
    expected: str
    seen: Any
    sentence: str
    reason: Reason


def wrong(row: int | None, column: str | None, expected: str, value: Any, where: str, reason: Reason) -> RequestProblem:
    """The problem of *value*, found at *where*."""
    sentence = f"{where}: expected {expected}, got {shown(value)}"
    return RequestProblem(row, column, expected, jsonable(value), sentence, reason)


def no_such_column(row: int | None, name: str, hint: str, where: str) -> RequestProblem:
    name = str(jsonable(name))
    expected = f"no such column{hint}"
    return RequestProblem(row, name, expected, name, f"{where}.{name}: {expected}", "unknown_column")


class Refusal(Exception):
    """An answer with an error status, on its way out.

    Attributes:
        headers: pairs of lower-case name and value that the answer carries.
    """

    def __init__(self, code: str, message: str, problems: Sequence[RequestProblem] = (), *headers: Pair) -> None:
        super().__init__(message)
        self.status, own = CODES[code]
        self.code, self.message = code, message
        self.problems = tuple(problems)
        self.headers = (*own, *headers)

    def body(self, request_id: str) -> bytes:
        problems = [{"row": p.row, "column": p.column, "expected": p.expected, "seen": p.seen} for p in self.problems]
        return _encode({"error": self.message, "code": self.code, "problems": problems, "request_id": request_id})


_encode = msgspec.json.Encoder().encode


def bad_request(message: str) -> Refusal:
    return Refusal("bad_request", message)


def bad_cells(problems: Sequence[RequestProblem]) -> Refusal:
    """A 400 whose message is the sentence of the first problems, and which carries all of them."""
    text = "; ".join(problem.sentence for problem in problems[:SHOWN])
    if len(problems) > SHOWN:
        text += f"; and {len(problems) - SHOWN} more"
    return Refusal("bad_request", text, problems)


def internal() -> Refusal:
    return Refusal("internal", "the server failed on this request; its log has the reason under this request id")


def shown(value: Any) -> str:
    """*value* as an error sentence shows it: JSON words for JSON values, text in quotes, long things cut."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, Words):
        return str(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def jsonable(value: Any) -> Any:
    """*value* for ``RequestProblem.seen``: itself when it is short and scalar, else as ``shown`` says it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return shown(value)
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return shown(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= 60:
        return str(value)
    return shown(value)
