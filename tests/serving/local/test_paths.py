"""Odd paths, methods and versions of HTTP: the real Envoy and the real model server read each in one way."""

import asyncio
import json
import random
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import grpc
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

from serving.local import client
from serving.local.counting import read_counts
from serving.local.paths import service_paths
from serving.local.state import read_observed
from serving.predictor.grpc_health import NAME, SERVING, Request, Response
from serving.predictor.grpc_service import SERVICE, pb
from serving.rollout.backend import Split
from serving.wire import ROUTES
from tests.serving.local.support import Service, service
from tests.serving.predictor.support import HOUSE, ROW

SERVER = (
    *(sys.executable, "-m", "tests.serving.predictor.support", "--host", "127.0.0.1", "--drain_s", "0"),
    *("--model_name", "{model}", "--version", "{version}", "--revision", "{revision}", "--bundle", "{bundle}"),
    *("--http_port", "{http_port}", "--grpc_port", "{grpc_port}", "--log_dir", "{log_dir}", "--log_part_s", "0.2"),
    *("--cors_origins", "https://app.example"),
)
BODY = json.dumps({"instances": [ROW]}).encode()
EPOCH = "odd"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("paths"), SERVER, ready_s=120) as found:
        found.ready(1, 2)
        found.split(EPOCH, Split({"housing-1": 500, "housing-2": 500}, header_arms=("housing-2",)))
        found.backend.adopt("housing-1")
        found.looked_at_for(0)
        yield found


class Case(NamedTuple):
    """One request; *number* is in its id."""

    number: int
    method: str
    path: str
    version: str = "1.1"
    closes: bool = False


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def send(port: int, case: Case, *more: str) -> Answer:
    """The answer to *case*, written to a socket as it stands."""
    lines = [
        f"{case.method} {case.path} HTTP/{case.version}",
        "host: housing",
        f"x-request-id: odd-{case.number}",
        *more,
    ]
    lines += ["connection: close"] if case.closes else ["connection: keep-alive"] if case.version == "1.0" else []
    body = BODY if case.method in ("POST", "PUT") else b""
    lines += [f"content-length: {len(body)}"] if body else []
    with closing(socket.create_connection(("127.0.0.1", port), 20)) as link, link.makefile("rb") as read:
        link.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        status = int(read.readline().split()[1])
        pairs = iter(lambda: read.readline().decode("latin-1").rstrip("\r\n"), "")
        headers = {name.lower(): value.strip() for name, _, value in (pair.partition(":") for pair in pairs)}
        if case.method == "HEAD":
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, b"".join(iter(lambda: _chunk(read), b"")))
        length = headers.get("content-length")
        return Answer(status, headers, read.read(int(length) if length else -1))


def _chunk(read: Any) -> bytes:
    data = read.read(int(read.readline(), 16))
    read.readline()
    return bytes(data)


# --- odd spellings ---------------------------------------------------------------------------------------------------


def _encoded(chance: random.Random, path: str) -> str:
    at = chance.randrange(1, len(path)) if len(path) > 1 else 0
    made = f"%{ord(path[at]):02x}"
    return path[:at] + (made.upper() if chance.random() < 0.5 else made) + path[at + 1 :]


def _put(chance: random.Random, path: str, what: str) -> str:
    slashes = [i for i, letter in enumerate(path) if letter == "/"]
    at = chance.choice(slashes or [0])
    return path[:at] + what + path[at:]


MISSPELLINGS = (
    lambda chance, path: path.replace(":", "%3A"),
    lambda chance, path: path.replace(":", "%3a"),
    lambda chance, path: path.replace(":", "%253A"),
    lambda chance, path: path.replace("/", "%2F", 2).replace("%2F", "/", 1),
    lambda chance, path: path.replace("/", "\\", 2).replace("\\", "/", 1),
    lambda chance, path: path.replace("/", "%5c", 2).replace("%5c", "/", 1),
    lambda chance, path: path.replace("models", "Models"),
    lambda chance, path: path + "/",
    lambda chance, path: path + "//",
    lambda chance, path: path + "?a=%2F..//:predict",
    lambda chance, path: path + ";v=1",
    lambda chance, path: path + "%00",
    lambda chance, path: path + "%20",
    lambda chance, path: path + "%0a",
    lambda chance, path: path + "%",
    lambda chance, path: path + "%ff",
    lambda chance, path: path + "/..",
    lambda chance, path: path + "/%2e",
    lambda chance, path: "http://elsewhere" + path,
    lambda chance, path: _put(chance, path, "/"),
    lambda chance, path: _put(chance, path, "/."),
    lambda chance, path: _put(chance, path, "/%2E"),
    lambda chance, path: _put(chance, path, "/x/.."),
    lambda chance, path: _put(chance, path, "/x/%2e%2e"),
    lambda chance, path: _put(chance, path, "//.."),
    _encoded,
    _encoded,
    _encoded,
)
OTHERS = ("/v2/repository/models/housing/load", "/v3/models/housing/infer", "/v2/models/housing/versions/2:predict")


def cases(count: int, seed: int) -> list[Case]:
    """Every path of the protocol, well spelled and not, for versions and models that are there and that are not."""
    chance = random.Random(seed)
    names = [("housing", version) for version in ("1", "2", "9", "v1")] + [("other", "1")]
    paths = [route.path.format(model=model, version=version) for route in ROUTES for model, version in names]
    made, predictions = [], [path for path in paths if re.fullmatch(r"/v./models/housing(:\w+|/infer)", path)]
    for number in range(count):
        path = chance.choice(predictions if chance.random() < 0.3 else [*paths, *OTHERS])
        for change in chance.sample(MISSPELLINGS, chance.choice((0, 1, 1, 1, 2, 3))):
            path = change(chance, path)
        method = chance.choice(("POST", "POST", "POST", "GET", "GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
        made.append(Case(number, method, path, chance.choice(("1.1", "1.1", "1.0")), chance.random() < 0.3))
    return made


def logged(running: Service, since: int, count: int) -> dict[int, list[dict[str, Any]]]:
    """Lines of the access log, from byte *since*, by the number of the request, once *count* are there."""
    path = service_paths(running.directory).access_log

    def look() -> list[dict[str, Any]] | None:
        whole = [line for line in path.read_bytes()[since:].splitlines(keepends=True) if line.endswith(b"\n")]
        return [json.loads(line) for line in whole] if len(whole) >= count else None

    found: dict[int, list[dict[str, Any]]] = {}
    for line in client.wait_for(look, 20, lambda: f"not all of {count} requests are in {path}"):
        if line["i"] and line["i"].startswith("odd-"):  # what is no HTTP at all has no id
            found.setdefault(int(line["i"].removeprefix("odd-")), []).append(line)
    return found


def ports(running: Service) -> dict[str, int]:
    servers = read_observed(service_paths(running.directory)).servers
    return {name: servers[name].endpoint for name in ("housing-1", "housing-2")}


def predicted(answer: Answer) -> bool:
    """Whether a model server took the request for a prediction: it answered one, or found fault with the rows."""
    said = json.loads(answer.body) if answer.headers.get("content-type") == "application/json" and answer.body else {}
    blamed = said.get("code") in ("bad_request", "media_type") and not said["error"].startswith("the path")
    return blamed or "model_version" in said  # as each of the three kinds of answers has it


def judged(case: Case, line: Mapping[str, Any], through: Answer, direct: Mapping[str, Answer]) -> str:
    """What is wrong with how *case* was read; empty if Envoy and both servers read it alike."""
    route, cluster = line["r"] or "", line["c"]
    asks = {name for name, answer in direct.items() if predicted(answer)}
    if route.startswith("split|"):
        return "" if asks == set(direct) and through.headers.get("x-epoch") == EPOCH else "counted, and no prediction"
    if route == "pinned":
        taken = {name for name, answer in direct.items() if answer.status != 404}
        return "" if taken == ({cluster} if cluster else set()) else f"pinned to {cluster}, and {taken} would take it"
    if predicted(through) or asks:
        return "a prediction that is not counted"
    statuses = {answer.status for answer in direct.values()}
    return "" if statuses == {through.status} else f"{through.status} by Envoy, {statuses} by the servers"


def read_alike(running: Service, asked: list[Case]) -> None:
    before = running.backend.counters().epochs.get(EPOCH, {})
    at, since = ports(running), service_paths(running.directory).access_log.stat().st_size
    through = {case.number: send(running.port, case) for case in asked}
    direct = {case.number: {name: send(port, case) for name, port in at.items()} for case in asked}
    lines = logged(running, since, len(asked))
    wrong = []
    for case in asked:
        (line,) = lines.get(case.number, [{"r": None, "c": None}])
        why = judged(case, line, through[case.number], direct[case.number])
        if why or (line["c"] and through[case.number].status != direct[case.number][line["c"]].status):
            wrong.append((why, case, line["r"], line["c"], through[case.number].status))
    assert not wrong, "\n".join(map(str, wrong[:10]))
    drawn = sum(line["r"] == f"split|{EPOCH}" for found in lines.values() for line in found)
    assert drawn > len(asked) / 20, "the table has predictions in it"
    known = sum(arm.requests for arm in before.values())
    assert sum(running.settled(known + drawn, EPOCH).values()) == known + drawn


def test_envoy_and_the_model_server_read_every_path_alike(running: Service) -> None:
    """What is counted is what a server takes for a prediction; a pinned path reaches its version or nobody."""
    read_alike(running, cases(400, seed=13))


@pytest.mark.slow
def test_envoy_and_the_model_server_read_three_thousand_paths_alike(running: Service) -> None:
    """The same for 3,000 requests."""
    read_alike(running, [case._replace(number=case.number + 10_000) for case in cases(3000, seed=14)])


# --- clients --------------------------------------------------------------------------------------------------------

PREDICT = "/v1/models/housing:predict"


@pytest.mark.parametrize(
    "more", [(), ("connection: keep-alive",), ("connection: close",)], ids=["bare", "kept", "close"]
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_each_version_of_http_is_answered(running: Service, version: str, more: tuple[str, ...]) -> None:
    """As ``ab`` and nginx's default ``proxy_pass`` speak, and as they are spoken to."""
    answer = send(running.port, Case(90_000, "POST", PREDICT, version, closes=True), *more)
    assert (answer.status, len(json.loads(answer.body)["predictions"])) == (200, 1)


def test_head_is_get_without_a_body(running: Service) -> None:
    """The same status and length; of a prediction there is none."""
    for path in ("/", "/v2/models/housing", "/v2/models/housing/ready", "/openapi.json"):
        head, get = (send(running.port, Case(90_001, method, path, closes=True)) for method in ("HEAD", "GET"))
        assert (head.status, head.headers["content-length"]) == (200, str(len(get.body)))
    refused = send(running.port, Case(90_002, "HEAD", PREDICT, closes=True))
    assert (refused.status, refused.headers["allow"]) == (405, "POST, OPTIONS")


def test_pages_of_listed_origins_may_call_and_others_may_not(running: Service) -> None:
    """A preflight is answered, and the answer itself names the origin; of another origin nothing is said."""
    for origin, allowed in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
        asked = (f"origin: {origin}", "access-control-request-method: POST", "access-control-request-headers: x-user")
        before = send(running.port, Case(90_003, "OPTIONS", PREDICT, closes=True), *asked)
        answer = send(running.port, Case(90_004, "POST", PREDICT, closes=True), f"origin: {origin}")
        for found in (before, answer):
            assert found.status in (200, 204)
            assert found.headers.get("access-control-allow-origin") == allowed
    plain = send(running.port, Case(90_005, "OPTIONS", PREDICT, closes=True))
    assert (plain.status, plain.headers["allow"]) == (200, "POST, OPTIONS")


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_pinned_version_answers_whatever_the_split_is(running: Service, version: str) -> None:
    """Ten in a row by each kind of path; the version that is not there is a 404 that says so."""
    for path in (f"/v1/models/housing/versions/{version}:predict", f"/v2/models/housing/versions/{version}/ready"):
        method = "POST" if "predict" in path else "GET"
        answers = [send(running.port, Case(90_006, method, path, closes=True)) for _ in range(10)]
        assert {(a.status, a.headers["x-model-version"]) for a in answers} == {(200, version)}
    absent = send(running.port, Case(90_007, "POST", "/v2/models/housing/versions/9/infer", closes=True))
    assert (absent.status, "no such version" in json.loads(absent.body)["error"]) == (404, True)


def test_what_a_caller_says_in_our_names_reaches_no_log(running: Service) -> None:
    """An epoch and a key that no split gave are taken off, on every route."""
    told = ("x-epoch: forged", "x-slipway-key: forged", "x-mirror-to: housing-2")
    for path in (PREDICT, "/v1/models/housing/versions/1:predict", "/v1/models/other:predict"):
        send(running.port, Case(90_008, "POST", path, closes=True), *told)
    chosen = send(running.port, Case(90_009, "POST", PREDICT, closes=True), "x-model-arm: housing-2", *told)
    assert chosen.headers["x-revision"] == "housing-2"
    log = service_paths(running.directory).access_log
    client.wait_for(lambda: b"odd-90009" in log.read_bytes() or None, 20, lambda: "the last request is not logged")
    assert b"forged" not in log.read_bytes()


def tensors() -> list[InferInput]:
    """One row, a tensor per column."""
    kinds = {"category": "BYTES", "bool": "BOOL", "int": "INT64", "float": "FP64"}
    return [InferInput(name, [1], kinds[column.type], [ROW[name]]) for name, column in HOUSE.columns.items()]


def test_grpc_through_the_endpoint_is_divided_and_counted(running: Service) -> None:
    """KServe's client at the endpoint: arms in their shares, each request counted once, refusals as refusals."""

    def counted() -> tuple[int, int]:
        arms = read_counts(service_paths(running.directory)).epochs.get(EPOCH, {}).values()
        return sum(arm.requests for arm in arms), sum(arm.refused for arm in arms)

    async def forty() -> list[Any]:
        async with InferenceGRPCClient(f"127.0.0.1:{running.port}", retries=0) as asked:
            good = [await asked.infer(InferRequest("housing", tensors())) for _ in range(40)]
            with pytest.raises(grpc.RpcError, match="expected a tensor with"):
                await asked.infer(InferRequest("housing", tensors()[:1]))
            assert await asked.is_model_ready("housing")
            return good

    before = counted()
    answers = asyncio.run(forty())
    assert {answer.model_version for answer in answers} == {"1", "2"}
    wanted = (before[0] + 41, before[1] + 1)
    client.wait_for(lambda: counted() == wanted or None, 10, lambda: f"{before} became {counted()}, not {wanted}")


def test_grpc_reaches_a_chosen_arm_and_health_is_answered(running: Service) -> None:
    """Metadata ``x-model-arm`` chooses as the header does; the health service knows server, service and model."""
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        infer = channel.unary_unary(
            f"/{SERVICE.full_name}/ModelMetadata",
            pb.ModelMetadataRequest.SerializeToString,
            pb.ModelMetadataResponse.FromString,
        )
        chosen = infer(pb.ModelMetadataRequest(name="housing"), metadata=(("x-model-arm", "housing-2"),))
        assert list(chosen.versions) == ["2"]
        check = channel.unary_unary(f"/{NAME}/Check", Request.SerializeToString, Response.FromString)
        assert [check(Request(service=name)).status for name in ("", SERVICE.full_name, "housing")] == [SERVING] * 3
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            check(Request(service="other"))
        watch = channel.unary_stream(f"/{NAME}/Watch", Request.SerializeToString, Response.FromString)
        assert next(iter(watch(Request()))).status == SERVING


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_kserves_rest_client_at_the_endpoint(running: Service, protocol: str) -> None:
    """Live, ready and asked as at KServe's own server."""

    async def asked() -> Any:
        found = InferenceRESTClient(RESTConfig(protocol=protocol))
        try:
            url = f"http://127.0.0.1:{running.port}"
            assert await found.is_server_live(url)
            assert await found.is_model_ready(url, "housing")
            body = {"instances": [ROW]} if protocol == "v1" else InferRequest("housing", tensors())
            return await found.infer(url, body, model_name="housing")
        finally:
            await found.close()

    answer = asyncio.run(asked())
    said = answer["predictions"] if protocol == "v1" else answer.outputs[0].data
    assert len(said) == 1
