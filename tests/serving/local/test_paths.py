"""Odd paths, methods and versions of HTTP: the real Envoy and the real model server read each in one way."""

import json
import random
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from serving.local import client
from serving.local.paths import service_paths
from serving.local.state import read_observed
from serving.rollout.backend import Split
from serving.wire import ROUTES
from tests.serving.local.support import Service, service
from tests.serving.predictor.support import ROW

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
