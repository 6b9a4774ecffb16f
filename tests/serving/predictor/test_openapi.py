"""The error table row by row, and the OpenAPI document: what a route says it may answer is what it answers."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import jsonschema  # type: ignore[import-untyped]  # ships no annotations
import numpy as np
import pytest

from serving.predictor import errors, openapi
from serving.predictor.grpc_service import STATUSES, Servicer, pb
from serving.predictor.route import Front
from serving.predictor.settings import parse
from serving.predictor.state import PredictorState
from serving.predictor.work import Workers
from tests.serving.predictor.corpus import calls, messages, raw, tensors, with_raw
from tests.serving.predictor.support import (
    HOUSE,
    PREDICT,
    ROW,
    TUMOUR,
    Linear,
    Predictor,
    ask,
    document,
    front,
    random_rows,
    serving,
)

ONE = json.dumps({"instances": [ROW]}).encode()
MANY = json.dumps({"instances": [list(ROW.values())] * 2000}).encode()
EXPLAIN = "/v1/models/housing:explain"
INFER = "/v2/models/housing/infer"
SETTINGS = parse(["--model_name", "housing", "--version", "2"], {})
DOCUMENT = openapi.document(HOUSE, SETTINGS)


def conforms(told: Any, schema: dict[str, Any], whole: dict[str, Any] = DOCUMENT) -> None:
    jsonschema.Draft202012Validator({**schema, "components": whole["components"]}).validate(told)


# The error table


async def bad_request() -> Any:
    return await ask(front(), b'{"instances": [{"area_m2": "big"}]}')


async def not_found() -> Any:
    return await ask(front(), ONE, "/v1/models/other:predict")


async def method_not_allowed() -> Any:
    return await ask(front(), ONE, "/v1/models/housing")


async def body_timeout() -> Any:
    parts = iter([{"type": "http.request", "body": b"x", "more_body": True}])

    async def stops() -> Any:
        return next(parts, None) or await asyncio.Event().wait()

    return await ask(front(HOUSE, None, "--body_timeout_s", "0.01"), b"", receive=stops)


async def too_large() -> Any:
    return await ask(front(HOUSE, None, "--max_body_bytes", "65536"), b" " * 65537)


async def media_type() -> Any:
    return await ask(front(), ONE, content_type="text/plain")


async def overloaded() -> Any:
    go = threading.Event()

    class Slow(Linear):
        def score(self, matrix: Any) -> Any:
            assert go.wait(60)
            return super().score(matrix)

    app = front(HOUSE, Slow(), "--workers", "1", "--queue", "0")
    first = asyncio.create_task(ask(app, MANY))
    await asyncio.sleep(0)
    refused = await ask(app, MANY)
    go.set()
    assert (await first)[0] == 200
    return refused


async def not_implemented() -> Any:
    app = front()
    app.state.model().bundle.golden = np.empty((0, 7))  # type: ignore[misc]  # a stand-in is mutable
    return await ask(app, ONE, EXPLAIN)


def waiting(change: Callable[[PredictorState], None] = lambda state: None) -> tuple[PredictorState, Front]:
    state = PredictorState(SETTINGS)
    change(state)
    return state, Front(state, Workers(SETTINGS, state.metrics))


async def loading() -> Any:
    return await ask(waiting()[1], ONE)


async def load_failed() -> Any:
    return await ask(waiting(lambda state: state.failed("no trusted key signed it"))[1], ONE)


async def draining() -> Any:
    return await ask(waiting(PredictorState.drain)[1], ONE)


ROWS = [
    bad_request,
    not_found,
    method_not_allowed,
    body_timeout,
    too_large,
    media_type,
    overloaded,
    not_implemented,
    loading,
    load_failed,
    draining,
]


def table() -> dict[str, tuple[int, str]]:
    """Status and gRPC code of each code in the table that ``serving.predictor.errors`` begins with."""
    rows: dict[str, tuple[int, str]] = {}
    for line in (errors.__doc__ or "").splitlines():
        parts = re.split(r" {2,}", line.strip())
        if len(parts) >= 3 and parts[0].isdigit():
            rows |= {code: (int(parts[0]), parts[2]) for code in parts[1].split(", ")}
    return rows


@pytest.mark.parametrize("happens", ROWS, ids=lambda happens: happens.__name__)
def test_every_row_of_the_error_table(happens: Callable[[], Any]) -> None:
    """Each code comes with its status, in the one shape, with the headers that its documentation names."""
    status, headers, told = asyncio.run(happens())
    assert (told["code"], status) == (happens.__name__, table()[happens.__name__][0])
    conforms(told, openapi.ERROR)
    documented = openapi._errors(str(status))[str(status)]
    conforms(told, documented["content"]["application/json"]["schema"])
    assert {name.lower() for name in documented.get("headers", {})} <= headers.keys()
    assert (headers["x-request-id"], headers["content-type"]) == (told["request_id"], "application/json")


def test_the_table_is_what_is_tested_and_documented() -> None:
    """No row without a test, and none that the OpenAPI document or the gRPC codes leave out."""
    rows = table()
    assert rows.keys() == {happens.__name__ for happens in ROWS}
    assert {c: s for c, (s, _) in errors.CODES.items() if c != "internal"} == {c: s for c, (s, _) in rows.items()}
    assert {(s, code) for s, code in rows.values() if code != "-"} == {(s, code.name) for s, code in STATUSES.items()}


class Aborted(Exception):
    pass


class Context:
    """Enough of a gRPC call's context to be refused."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", "g-1"),)

    async def send_initial_metadata(self, _pairs: Any) -> None: ...

    async def abort(self, code: grpc.StatusCode, words: str, trailing_metadata: Any = ()) -> None:
        self.code, self.words, self.told = code, words, dict(trailing_metadata)
        raise Aborted


def refused(servicer: Servicer, request: Any, method: str = "ModelInfer") -> Context:
    context = Context()
    with pytest.raises(Aborted):
        asyncio.run(getattr(servicer, method)(request, context))
    return context


@pytest.mark.parametrize(
    ("code", "flags", "change", "request_", "method"),
    [
        pytest.param("bad_request", [], None, pb.ModelInferRequest(model_name="housing"), "ModelInfer", id="400"),
        pytest.param("not_found", [], None, pb.ModelInferRequest(model_name="x"), "ModelInfer", id="404"),
        pytest.param("too_large", ["--max_rows", "1"], None, None, "ModelInfer", id="413"),
        pytest.param("overloaded", ["--inline_bytes", "0"], "full", None, "ModelInfer", id="429"),
        pytest.param("not_implemented", [], None, pb.RepositoryModelLoadRequest(), "RepositoryModelLoad", id="501"),
        pytest.param("loading", [], "unready", None, "ModelInfer", id="503"),
    ],
)
def test_every_grpc_code_of_the_error_table(
    code: str, flags: list[str], change: str | None, request_: Any, method: str
) -> None:
    """The same refusals by gRPC have the code of their row, words, and the request id in the trailing metadata."""
    app = front(HOUSE, None, *flags)
    state = PredictorState(SETTINGS) if change == "unready" else app.state
    if change == "full":
        app.workers._room = 0
    servicer = Servicer(state, app.workers)
    request = pb.ModelInferRequest.FromString(messages()[0]) if request_ is None else request_
    context = refused(servicer, request, method)
    assert context.code is not None
    assert context.code.name == table()[code][1]
    assert context.words
    assert len(context.told["x-request-id"]) == (32 if method == "ModelInfer" else 0)


def test_grpc_bytes_that_are_no_message(predictor: Predictor) -> None:
    """What protobuf cannot read is the client's mistake, and says so."""
    with grpc.insecure_channel(f"127.0.0.1:{predictor.grpc_port}") as channel:
        for method in ("ModelInfer", "ModelReady", "ModelMetadata"):
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            with pytest.raises(grpc.RpcError) as told:
                call(b"\xff\xff")
            assert told.value.code().name == table()["bad_request"][1]


# The document


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    with serving(tmp_path_factory.mktemp("gate"), program="tests.serving.predictor.support") as running:
        yield running


READABLE = [path for path, operations in DOCUMENT["paths"].items() if "get" in operations]


def documented(path: str, method: str, status: int, media: str = "application/json") -> dict[str, Any]:
    """The schema of an answer; a KeyError if the document does not have it."""
    schema: dict[str, Any] = DOCUMENT["paths"][path][method]["responses"][str(status)]["content"][media]["schema"]
    return schema


@pytest.mark.parametrize("path", READABLE)
def test_what_can_be_read_is_as_documented(predictor: Predictor, path: str) -> None:
    """Every GET route answers 200 and, with another method, 405 as its schema says."""
    for method, status in (("get", 200), ("delete", 405)):
        answer = predictor.client.request(method, path)
        assert answer.status_code == status
        conforms(answer.json(), documented(path, "get", status))


@pytest.mark.parametrize("path", [path for path in READABLE if "503" in DOCUMENT["paths"][path]["get"]["responses"]])
def test_what_is_not_ready_says_so_as_documented(path: str) -> None:
    """Routes that need the model answer 503 with a reason until there is one."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    asyncio.run(waiting()[1](scope, send, send))  # type: ignore[arg-type]  # nothing is received
    assert sent[0]["status"] == 503
    conforms(json.loads(sent[1]["body"]), documented(path, "get", 503))


def _with_flags() -> list[dict[str, Any]]:
    return [{**ROW, "age": 400, "distance": 1e6, "condition": "new"}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PREDICT, {"instances": random_rows(HOUSE, 3, 1)}),
        (PREDICT, {"inputs": [list(ROW.values()), [ROW]]}),
        (PREDICT, {"instances": _with_flags()}),
        (EXPLAIN, {"instances": [ROW]}),
        (INFER, {"inputs": tensors(HOUSE, [ROW])}),
        (INFER, {"id": "a", "inputs": tensors(HOUSE, [ROW] * 3)[::-1], "outputs": [{"name": "predict"}]}),
        ("/v2/models/housing/versions/2/infer", {"inputs": tensors(HOUSE, _with_flags())}),
    ],
    ids=["records", "arrays-and-wrapped", "flagged", "explain", "one-row", "rows-in-any-order", "version"],
)
def test_documented_requests_have_documented_answers(path: str, body: Any, predictor: Predictor) -> None:
    """A request of every documented form is inside of its schema, is answered 200, and the answer is inside too."""
    request = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    conforms(body, request)
    answer = predictor.post(path, body)
    assert answer.status_code == 200, answer.text
    conforms(answer.json(), documented(path, "post", 200))


def test_raw_answers_have_their_documented_type(predictor: Predictor) -> None:
    """Raw tensors come as octet-stream, whose JSON part is as documented."""
    request = {"inputs": tensors(HOUSE, [ROW]), "parameters": {"binary_data_output": True}}
    body, length = with_raw(request)
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(length)}
    answer = predictor.infer(body, headers)
    assert answer.status_code == 200
    assert documented(INFER, "post", 200, answer.headers["content-type"])
    conforms(document(answer.headers, answer.content), documented(INFER, "post", 200))
    assert answer.content.endswith(raw([_linear(ROW)], "FP64"))


def _linear(row: dict[str, Any]) -> float:
    matrix = HOUSE.encode({name: [row[name]] for name in HOUSE.names})
    return float(Linear().score(matrix)[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"area_m2": "big"},
        {"area_m2": 5},
        {"area_m2": None},
        {"kind": "castle"},
        {"garden": 1},
        {"rooms": 2.5},
        {"extra": 1},
    ],
    ids=str,
)
def test_what_is_refused_is_outside_of_the_schema(changes: dict[str, Any]) -> None:
    """The schema of a row is the contract: a client that checks it before sending is not refused."""
    body = {"instances": [{**ROW, **changes}]}
    with pytest.raises(jsonschema.ValidationError):
        conforms(body, DOCUMENT["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]["schema"])
    assert asyncio.run(ask(front(), json.dumps(body).encode()))[0] == 400


def test_classes_and_matrices_are_documented_where_there_are_any() -> None:
    """A classifier's answers have probabilities, and a contract of numbers takes a matrix."""
    whole = openapi.document(TUMOUR, SETTINGS)
    plain = [json.loads(body) for body, length in calls(TUMOUR) if length is None]
    assert plain
    for call in plain:
        conforms(call, openapi._ref("InferRequest"), whole)

    class Classifier(Linear):
        def score(self, matrix: Any) -> Any:
            second = matrix[:, 0] / 50
            return np.column_stack([1 - second, second])

    app = front(TUMOUR, Classifier())
    rows = json.dumps({"instances": [[10, 1], [40, 1]]}).encode()
    matrix = json.dumps(
        {"inputs": [{"name": "all", "shape": [2, 2], "datatype": "FP32", "data": [10, 1, 40, 1]}]}
    ).encode()
    for path, body, schema in (
        (PREDICT, rows, "Predictions"),
        (EXPLAIN, rows, "Explanations"),
        (INFER, matrix, "InferResponse"),
    ):
        status, _, told = asyncio.run(ask(app, body, path))
        assert status == 200, told
        conforms(told, openapi._ref(schema), whole)


def test_the_document_is_openapi_and_the_one_that_is_served(predictor: Predictor) -> None:
    """One document, whose references all lead somewhere."""
    served = predictor.client.get("/openapi.json")
    assert served.json() == json.loads(json.dumps(DOCUMENT))
    names = set(re.findall(r"#/components/schemas/(\w+)", served.text))
    assert names <= DOCUMENT["components"]["schemas"].keys()
    assert DOCUMENT["openapi"] == "3.1.0"
