"""Ids, protocols and paths together, through the real Envoy: what is answered is logged once, under the answer's id."""

import json
import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import grpc
import pytest

from serving.local import client
from serving.local.counting import read_counts
from serving.local.paths import service_paths
from serving.predictor.grpc_service import SERVICE, pb
from serving.rollout.backend import Split
from tests.serving.local.support import Service, service
from tests.serving.local.test_paths import MISSPELLINGS, SERVER
from tests.serving.predictor.support import HOUSE, ROW

EPOCH = "named"
PREFIXES = (
    "/v1/models/housing",
    "/v2/models/housing",
    "/v1/models/housing/versions/1",
    "/v2/models/housing/versions/2",
)
HEADER_IDS: tuple[tuple[bytes, ...], ...] = (
    (),
    (b"",),
    (b"mine",),
    (b"mine",),
    (b"00000017",),
    (b"a b", b"mine"),
    (b"x" * 128,),
    (b"x" * 129,),
    (b"x" * 5_000,),
    ("größe".encode(),),
    (b'"};{"request_id":"forged"',),
    (b"mine", b"mine"),
)
BODY_IDS = (None, "", "mine", "mine", "17", "y" * 3_000, "größe", "a\nb\u0000", '"},{"')
KINDS = {"category": "BYTES", "bool": "BOOL", "int": "INT64", "float": "FP64"}
BROKEN = {"instances": [{**ROW, "area_m2": "wide"}], "inputs": []}


class Asked(NamedTuple):
    """One request; *broken* is one whose rows a server refuses."""

    kind: str
    path: str
    named: tuple[bytes, ...]
    body_id: str | None
    version: str = "1.1"
    broken: bool = False


class Told(NamedTuple):
    """What an answer says of itself; empty where it does not."""

    ok: bool
    request_id: str = ""
    version: str = ""
    counted: bool = False
    said: str = ""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("ids"), SERVER, ready_s=120) as found:
        found.ready(1, 2)
        found.split(EPOCH, Split({"housing-1": 900, "housing-2": 100}, header_arms=("housing-2",)))
        found.backend.adopt("housing-1")
        found.looked_at_for(0)
        yield found


def requests(count: int, seed: int) -> list[Asked]:
    """Predictions by each protocol, named in each way; of those over HTTP a third by a path that is spelled oddly."""
    chance, made = random.Random(seed), list[Asked]()
    for _ in range(count):
        named, body_id = chance.choice(HEADER_IDS), chance.choice(BODY_IDS)
        kind, broken = chance.choice(("v1", "v2", "grpc")), chance.random() < 0.1
        prefix = chance.choice([path for path in PREFIXES if kind in path] or [""])
        path = prefix + {"v1": ":predict", "v2": "/infer", "grpc": ""}[kind]
        for change in chance.sample(MISSPELLINGS, chance.choice((0, 0, 1)) if path else 0):
            path = change(chance, path)
        made.append(Asked(kind, path, named, body_id, chance.choice(("1.1", "1.0")), broken))
    return made


def ask(port: int, asked: Asked) -> Told:
    """The answer over HTTP, written to a socket as it stands."""
    inputs = [{"name": n, "shape": [1], "datatype": KINDS[c.type], "data": [ROW[n]]} for n, c in HOUSE.columns.items()]
    good: dict[str, Any] = {"instances": [ROW]} if asked.kind == "v1" else {"inputs": inputs}
    body = {key: BROKEN[key] for key in good} if asked.broken else good
    data = json.dumps(body if asked.body_id is None else body | {"id": asked.body_id}).encode()
    lines = [
        f"POST {asked.path} HTTP/{asked.version}\r\nhost: h\r\nconnection: close".encode("latin-1"),
        f"content-type: application/json\r\ncontent-length: {len(data)}".encode(),
        *(b"x-request-id: " + name for name in asked.named),
    ]
    with closing(socket.create_connection(("127.0.0.1", port), 20)) as link, link.makefile("rb") as read:
        link.sendall(b"\r\n".join([*lines, b"", data]))
        top, _, content = read.read().partition(b"\r\n\r\n")
    first, *pairs = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (pair.partition(":") for pair in pairs)}
    drawn = headers.get("x-epoch") == EPOCH
    if first.split()[1] != "200":
        return Told(False, headers.get("x-request-id", ""), counted=drawn)
    at, end = content.find(b"{"), content.rfind(b"}") + 1
    said = json.loads(content[at:end])
    own = str(said["request_id"] if asked.kind == "v1" else said["id"])
    return Told(True, headers["x-request-id"], headers["x-model-version"], drawn, own)


def infer(channel: grpc.Channel, asked: Asked) -> Told:
    """The answer over gRPC, whose metadata are text."""
    call = channel.unary_unary(
        f"/{SERVICE.full_name}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    wanted = pb.ModelInferRequest(model_name="housing", id=asked.body_id or "")
    for name, column in list(HOUSE.columns.items())[asked.broken :]:
        tensor = wanted.inputs.add(name=name, datatype=KINDS[column.type], shape=[1])
        field = {"BYTES": "bytes", "BOOL": "bool", "INT64": "int64", "FP64": "fp64"}[tensor.datatype]
        value = ROW[name].encode() if tensor.datatype == "BYTES" else ROW[name]
        getattr(tensor.contents, f"{field}_contents").append(value)
    metadata = [("x-request-id", name.decode()) for name in asked.named if name.isascii()]
    try:
        answer, seen = call.with_call(wanted, metadata=metadata, timeout=20)
    except grpc.RpcError:
        return Told(False, counted=True)
    marks = {str(name): str(value) for name, value in seen.initial_metadata()}
    return Told(True, marks["x-request-id"], answer.model_version, True, answer.id)


def logged(running: Service) -> dict[tuple[str, int], dict[str, Any]]:
    """The prediction logs of both servers by id and row; no pair may stand twice."""
    parts = sorted(service_paths(running.directory).predictions.rglob("*.jsonl"))
    lines = [json.loads(line) for part in parts for line in part.read_bytes().splitlines(keepends=True) if whole(line)]
    found = {(line["request_id"], line["row"]): line for line in lines}
    assert len(found) == len(lines)
    return found


def whole(line: bytes) -> bool:
    return line.endswith(b"\n")


def counted(running: Service) -> int:
    """Requests of the split so far."""
    return sum(arm.requests for arm in read_counts(service_paths(running.directory)).epochs.get(EPOCH, {}).values())


def name_of(asked: Asked) -> str | None:
    """What the log has to call it for its caller; None where a proxy gives the name."""
    headers = [name.decode() for name in asked.named if name]
    usable = len(headers) == 1 and headers[0].isascii() and len(headers[0]) <= 128
    in_body = asked.body_id if asked.kind in ("v2", "grpc") else None
    return (in_body or "")[:256] or (headers[0] if usable else None)


def each_once(running: Service, wanted: Sequence[Asked]) -> None:
    known, before = logged(running), counted(running)
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        told = [infer(channel, one) if one.kind == "grpc" else ask(running.port, one) for one in wanted]
    good = {(answer.request_id, 0): (one, answer) for one, answer in zip(wanted, told, strict=True) if answer.ok}
    assert len(good) == sum(answer.ok for answer in told) > len(wanted) / 2, "an id of an answer is of no other"
    every = len(known) + len(good)
    client.wait_for(lambda: len(logged(running)) >= every or None, 20, lambda: f"{len(logged(running))} of {every}")
    drawn = before + sum(answer.counted for answer in told)
    client.wait_for(lambda: counted(running) >= drawn or None, 20, lambda: f"{counted(running)} of {drawn} are counted")
    assert counted(running) == drawn, "nothing goes around the split, and nothing is in it twice"
    lines = {key: line for key, line in logged(running).items() if key not in known}
    assert lines.keys() == good.keys()
    for key, (one, answer) in good.items():
        assert seen_as(lines[key]) == (
            answer.version,
            EPOCH if answer.counted else None,
            name_of(one) or lines[key].get("correlation_id"),
        )
        assert answer.said == (answer.request_id if one.kind == "v1" or not one.body_id else one.body_id[:256])


def seen_as(line: dict[str, Any]) -> tuple[str, str | None, str | None]:
    return line["version"], line.get("epoch"), line.get("correlation_id")


def test_each_answer_is_in_the_log_once_under_its_id(running: Service) -> None:
    """Ids that are absent, empty, repeated, long or of other letters, in the header, the body or both."""
    each_once(running, requests(200, seed=5))


@pytest.mark.slow
def test_three_thousand_answers_are_in_the_log_once_each(running: Service) -> None:
    """The same for 3,000 requests."""
    each_once(running, requests(3_000, seed=6))
