"""The real server process on a real bundle: every protocol's happy path, and every row of the error table."""

import asyncio
import contextlib
import http.client
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as rpc

from serving.bundle.bundle import Bundle, open_bundle
from serving.bundle.signing import load_public_key
from serving.local.client import wait_for
from serving.wire import unit
from tests.serving.predictor.support import HOUSE, ROW, Predictor, random_rows, serving, write_model

DATATYPES = {"float": "FP64", "int": "INT64", "bool": "BOOL", "category": "BYTES"}
LIMIT = 65536


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return write_model(tmp_path_factory.mktemp("model"), HOUSE)


@pytest.fixture(scope="module")
def bundle(written: tuple[Any, Any]) -> Bundle:
    return open_bundle(written[0], [load_public_key(written[1])])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def predictor(written: tuple[Any, Any], log: Path) -> Iterator[Predictor]:
    limits = ["--max_body_bytes", str(LIMIT), "--max_rows", "300", "--log_dir", str(log), "--revision", "blue"]
    with serving(written[0], "--trusted_key", str(written[1]), *limits) as running:
        yield running


def expected(bundle: Bundle, rows: list[dict[str, Any]]) -> list[float]:
    return bundle.scorer.score(HOUSE.encode({n: [row[n] for row in rows] for n in HOUSE.names})).tolist()


def tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": n, "datatype": DATATYPES[c.type], "shape": [len(rows)], "data": [row[n] for row in rows]}
        for n, c in HOUSE.columns.items()
    ]


def raw(values: list[Any], datatype: str) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)
    return np.array(values, dtype={"FP64": "<f8", "FP32": "<f4", "INT64": "<i8", "BOOL": "?"}[datatype]).tobytes()


# Happy paths


@pytest.mark.parametrize("count", [1, 40, 300], ids=["one-row", "some-rows", "as-many-as-allowed"])
def test_records_are_answered_as_the_model_says(predictor: Predictor, bundle: Bundle, count: int) -> None:
    """V1 records: predictions equal the scorer's bit for bit, with model, version and request id."""
    rows = random_rows(HOUSE, count, count)
    answer = predictor.predict({"instances": rows}, {"x-request-id": "mine-1"})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "predictions": expected(bundle, rows),
        "model_name": "housing",
        "model_version": "2",
        "request_id": answer.headers["x-request-id"],
    }
    assert answer.headers["x-request-id"] != "mine-1"
    told = {name: answer.headers[name] for name in ("x-model-version", "x-revision")}
    assert told == {"x-model-version": "2", "x-revision": "blue"}


def test_a_body_of_curl_is_answered(predictor: Predictor) -> None:
    """``curl -d`` without a content type works, since everybody tries that first; so does a charset."""
    for media in ("application/x-www-form-urlencoded", "application/json; charset=utf-8"):
        assert predictor.predict({"instances": [ROW]}, {"content-type": media}).status_code == 200


def test_every_request_gets_an_id_of_its_own(predictor: Predictor) -> None:
    """Whatever the caller calls it, and however often."""
    given: list[dict[str, str]] = [{}, {"x-request-id": "a b"}, {"x-request-id": "mine"}, {"x-request-id": "mine"}]
    ids = [predictor.predict({"instances": [ROW]}, more).json()["request_id"] for more in given]
    assert len(set(ids)) == 4
    assert all(len(one) == 32 for one in ids)


def test_the_log_has_the_hash_of_the_key_that_a_router_says(predictor: Predictor, log: Path) -> None:
    """And never the key; a request that no sticky split sent has none."""
    headers = {"x-epoch": "e1", "x-request-id": "routed", "x-slipway-key": "ann"}
    for more in (headers, {"x-epoch": "e1", "x-request-id": "keyless"}):
        assert predictor.predict({"instances": [ROW]}, more).status_code == 200

    def lines() -> dict[str, Any] | None:
        written = [text for path in log.glob("*.jsonl") for text in path.read_text().splitlines(keepends=True)]
        found = [json.loads(text) for text in written if text.endswith("\n")]  # the last may still be on its way
        by_id = {line["correlation_id"]: line for line in found if "correlation_id" in line}
        return by_id if {"routed", "keyless"} <= set(by_id) else None

    seen = wait_for(lines, 10, lambda: "the log has not got the requests")
    assert seen["routed"]["unit"] == unit(b"e1", b"ann").hex()
    assert "unit" not in seen["keyless"]
    assert "ann" not in json.dumps(seen["routed"])


def test_v2_tensors_are_answered_as_the_model_says(predictor: Predictor, bundle: Bundle) -> None:
    """Named tensors in any order; the id comes back, and the version."""
    rows = random_rows(HOUSE, 20, 9)
    answer = predictor.infer({"id": "seven", "inputs": tensors(rows)[::-1], "parameters": {"content_type": "pd"}})
    assert answer.json() == {
        "model_name": "housing",
        "model_version": "2",
        "id": "seven",
        "outputs": [{"name": "predict", "shape": [20], "datatype": "FP64", "data": expected(bundle, rows)}],
    }
    assert predictor.post("/v2/models/housing/versions/2/infer", {"inputs": tensors(rows)}).status_code == 200


def test_v2_raw_tensors_go_both_ways(predictor: Predictor, bundle: Bundle) -> None:
    """Binary tensors after the JSON are read, and written when they are asked for."""
    rows = [row for row in random_rows(HOUSE, 60, 4) if row["condition"] is not None]
    rows = [{**row, "age": float("nan") if row["age"] is None else row["age"]} for row in rows]
    given = tensors(rows)
    parts = []
    for tensor in given:
        parts.append(raw(tensor.pop("data"), tensor["datatype"]))
        tensor["parameters"] = {"binary_data_size": len(parts[-1])}
    head = json.dumps({"inputs": given, "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    answer = predictor.infer(head + b"".join(parts), headers)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 8 * len(rows)}
    assert np.frombuffer(answer.content[length:], "<f8").tolist() == expected(bundle, rows)


def test_the_kserve_client_is_answered(predictor: Predictor, bundle: Bundle) -> None:
    """KServe's own Python client sends V1, V2 and binary V2 requests and understands the answers."""
    from kserve import InferenceRESTClient, InferInput, InferRequest
    from kserve.inference_client import RESTConfig

    rows = random_rows(HOUSE, 5, 11)
    base = f"http://127.0.0.1:{predictor.http_port}"

    def request(binary: bool) -> InferRequest:
        inputs = []
        for tensor in tensors(rows):
            made = InferInput(tensor["name"], tensor["shape"], tensor["datatype"])
            values = (
                [0 if v is None else v for v in tensor["data"]]
                if tensor["datatype"] != "BYTES"
                else [v or "good" for v in tensor["data"]]
            )
            dtype = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}[tensor["datatype"]]
            made.set_data_from_numpy(np.array(values, dtype=dtype), binary_data=binary)
            inputs.append(made)
        return InferRequest("housing", inputs, request_id="k-1")

    async def ask() -> list[Any]:
        v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
        v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
        answers = [await v1.infer(base, {"instances": rows}, model_name="housing")]
        answers += [await v2.infer(base, request(binary), model_name="housing") for binary in (False, True)]
        answers.append(await v2.is_model_ready(base, "housing"))
        await v1.close()
        await v2.close()
        return answers

    first, plain, binary, ready = asyncio.run(ask())
    filled = [{**r, "age": r["age"] or 0, "condition": r["condition"] or "good"} for r in rows]
    assert first["predictions"] == expected(bundle, rows)
    assert plain.id == binary.id == "k-1"
    assert plain.outputs[0].as_numpy().tolist() == expected(bundle, filled)
    assert binary.outputs[0].as_numpy().tolist() == expected(bundle, filled)
    assert ready is True


def test_explanations_sum_to_predictions(predictor: Predictor) -> None:
    """Base plus contributions is the prediction; no header of the request comes back."""
    answer = predictor.post(
        "/v1/models/housing:explain", {"instances": [ROW]}, {"authorization": "secret", "cookie": "a=b"}
    )
    document = answer.json()
    (found,) = document["explanations"]
    assert set(found["contributions"]) == set(HOUSE.names)
    assert found["base"] + sum(found["contributions"].values()) == pytest.approx(document["predictions"][0])
    assert not {"authorization", "cookie", "host"} & set(answer.headers)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/", {"status": "alive"}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v1/models", {"models": ["housing"]}),
        ("/v2/models", {"models": ["housing"]}),
        ("/v1/models/housing", {"name": "housing", "ready": True}),
        ("/v2/models/housing/ready", {"name": "housing", "ready": True}),
        ("/v2/models/housing/versions/2/ready", {"name": "housing", "ready": True}),
    ],
)
def test_kserves_own_paths_are_answered(predictor: Predictor, path: str, document: Any) -> None:
    """Health, readiness and the lists of models are where KServe has them."""
    assert predictor.client.get(path).json() == document


def test_metadata_names_columns_as_tensors(predictor: Predictor) -> None:
    """V2 metadata gives versions, and every column with a datatype."""
    document = predictor.client.get("/v2/models/housing").json()
    assert document["versions"] == ["2"]
    assert [t["name"] for t in document["inputs"]] == list(HOUSE.names)
    assert document["outputs"] == [{"name": "predict", "datatype": "FP64", "shape": [-1]}]


def test_openapi_describes_this_models_rows(predictor: Predictor) -> None:
    """The document knows columns, bounds and categories, and no page is served for it."""
    document = predictor.client.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert row["properties"]["area_m2"] == {
        "type": "number",
        "minimum": 10.0,
        "maximum": 1500.0,
        "description": "in m2",
    }
    assert row["properties"]["kind"]["enum"] == ["house", "flat"]
    assert "/v1/models/housing:predict" in document["paths"]


def test_metrics_count_requests_cells_and_values(predictor: Predictor) -> None:
    """One scrape shows codes, latency, refused cells, histograms on the profile's bins, and what is served."""
    predictor.predict({"instances": [ROW]})
    predictor.predict({"instances": [{**ROW, "area_m2": "big", "price": 1}]})
    text = predictor.client.get("/metrics").text
    for line in (
        'slipway_requests_total{code="200",model="housing",verb="predict",version="2"}',
        'slipway_requests_total{code="400",model="housing",verb="predict",version="2"}',
        'slipway_request_seconds_bucket{le="0.0001",model="housing",verb="predict",version="2"}',
        'slipway_rows_total{model="housing",verb="predict",version="2"}',
        'slipway_in_flight{model="housing",version="2"} 0.0',
        'slipway_queue{model="housing",version="2"} 0.0',
        'slipway_cells_total{action="refused",column="area_m2",model="housing",reason="type",version="2"}',
        'slipway_cells_total{action="refused",column="(unknown)",model="housing",reason="unknown_column",version="2"}',
        'slipway_input_value_bucket{column="area_m2",le="100.0",model="housing",version="2"}',
        'slipway_input_category_total{column="kind",model="housing",value="flat",version="2"}',
        'slipway_prediction_value_bucket{le="50000.0",model="housing",version="2"}',
        'slipway_load_seconds{model="housing",version="2"}',
        'slipway_ready{model="housing",version="2"} 1.0',
        'slipway_log_dropped_rows_total{model="housing",version="2"} 0.0',
        'request_explain_seconds_count{model_name="housing"}',
        "process_cpu_seconds_total",
    ):
        assert line in text, line
    answered = sum(
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("slipway_request_seconds_count") and 'verb="explain"' not in line
    )
    assert f'request_predict_seconds_count{{model_name="housing"}} {answered}' in text


def test_status_is_for_people(predictor: Predictor, bundle: Bundle) -> None:
    """Version, digest, form of the scorer, counts and latency in one document."""
    predictor.predict({"instances": [ROW]})
    status = predictor.client.get("/slipway/status").json()
    assert (status["version"], status["digest"], status["ready"]) == ("2", bundle.digest, True)
    assert status["scorer"] == {"form": bundle.scorer.form, "reason": bundle.scorer.reason}
    assert set(status["latency_ms"]) == {"p50", "p95", "p99"}
    assert status["latency_ms"]["p50"] > 0


# The error table


def chunked(predictor: Predictor, size: int) -> tuple[int, dict[str, Any]]:
    """Status and body of a chunked request of *size* bytes, which announces no length."""
    connection = http.client.HTTPConnection("127.0.0.1", predictor.http_port, timeout=30)
    parts = (b" " * 8192 for _ in range(size // 8192))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may close before everything was sent
        connection.request("POST", "/v1/models/housing:predict", body=parts, encode_chunked=True)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


AREA = "instances[0].area_m2: expected a number in [10, 1500] m2, got"


def _row(**changes: Any) -> dict[str, Any]:
    return {"instances": [{**ROW, **changes}]}


def _without(name: str) -> dict[str, Any]:
    return {"instances": [{k: v for k, v in ROW.items() if k != name}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(_row(area_m2="big"), f"{AREA} 'big'", id="text"),
        pytest.param(_row(area_m2=True), f"{AREA} true", id="bool"),
        pytest.param(_row(area_m2=5), f"{AREA} 5", id="range"),
        pytest.param(_row(area_m2=None), f"{AREA} null", id="null"),
        pytest.param(_row(area_m2=[84]), f"{AREA} an array", id="list"),
        pytest.param(_row(rooms=2.5), "instances[0].rooms: expected a whole number in [1, 30], got 2.5", id="fraction"),
        pytest.param(_row(garden=1), "instances[0].garden: expected true or false, got 1", id="number-for-bool"),
        pytest.param(
            _row(kind="castle"), "instances[0].kind: expected one of house, flat, got 'castle'", id="category"
        ),
        pytest.param(_row(kind=1), "instances[0].kind: expected one of house, flat, got 1", id="number-for-category"),
        pytest.param(_row(romms=3), "instances[0].romms: no such column; did you mean 'rooms'?", id="unknown-column"),
        pytest.param(
            _without("rooms"), "instances[0].rooms: expected a whole number in [1, 30], got nothing", id="missing"
        ),
        pytest.param(
            _without("age"), "instances[0].age: expected a number in [0, 300], got nothing", id="missing-nullable"
        ),
        pytest.param(
            {"instances": [[1, 2]]}, "instances[0]: expected 7 values in the order area_m2, age, ", id="short-array"
        ),
        pytest.param(
            {"instances": [ROW, 5]}, "instances[1]: expected an object of columns or an array of", id="no-row"
        ),
        pytest.param({"instances": []}, "expected 1 to 300 rows, got an empty list", id="no-rows"),
        pytest.param({"instances": ROW}, "instances: expected a list of rows, got an object", id="rows-no-list"),
        pytest.param(
            {"rows": [ROW]}, "expected either 'instances' or 'inputs', a list of rows, got 'rows'", id="no-instances"
        ),
        pytest.param({"instances": [ROW], "inputs": [5]}, "inputs[0]: expected an object of columns", id="both"),
        pytest.param([ROW], "the body: expected an object with 'instances', got an array", id="no-object"),
        pytest.param(b"", "the body: expected JSON, got nothing", id="empty"),
        pytest.param(b'{"instances": [', "the body: expected JSON, got something else", id="broken-json"),
        pytest.param(b'{"instances": [[NaN]]}', "NaN and Infinity are not JSON: send null", id="nan-literal"),
        pytest.param(
            b'{"instances": [[-Infinity]]}', "NaN and Infinity are not JSON: send null", id="infinity-literal"
        ),
        pytest.param(b'{"instances": [[1e999]]}', "the body: expected JSON", id="number-too-large"),
        pytest.param(b"\xff\xfe", "the body: expected JSON", id="not-utf-8"),
        pytest.param(b"[" * 50_000, "lists nested too deeply", id="nested-too-deeply"),
    ],
)
def test_400_of_v1(predictor: Predictor, body: Any, message: str) -> None:
    """Bad input is told with row, column, what was expected and what was seen."""
    answer = predictor.predict(body)
    assert answer.status_code == 400, answer.text
    document = answer.json()
    assert message in document["error"]
    assert set(document) == {"error", "code", "problems", "request_id"}
    assert document["code"] == "bad_request"
    if document["error"].startswith("instances["):
        assert {"row", "column", "expected", "seen"} == set(document["problems"][0])


def test_all_problems_of_the_first_bad_rows_come_at_once(predictor: Predictor) -> None:
    """A client mends a request once, not cell by cell; rows beyond the first bad ones are left out."""
    bad = {**ROW, "area_m2": "big", "kind": "castle", "extra": 1}
    document = predictor.predict({"instances": [ROW, *[bad] * 9]}).json()
    assert [(p["row"], p["column"]) for p in document["problems"]] == [
        (row, column) for row in range(1, 6) for column in ("area_m2", "kind", "extra")
    ]
    assert document["error"].count("expected") <= 5


def _changed(index: int, **changes: Any) -> dict[str, Any]:
    made = tensors([ROW])
    made[index].update(changes)
    return {"inputs": made}


_AREA = list(HOUSE.names).index("area_m2")
_KIND = list(HOUSE.names).index("kind")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            _changed(_AREA, data=[5]), "inputs.area_m2[0]: expected a number in [10, 1500] m2, got 5", id="range"
        ),
        pytest.param(
            _changed(_AREA, data=[None]), "inputs.area_m2[0]: expected a number in [10, 1500] m2, got null", id="null"
        ),
        pytest.param(
            _changed(_AREA, data=["84"]), "inputs.area_m2.data[0]: expected a value of FP64, got '84'", id="text"
        ),
        pytest.param(
            _changed(_AREA, datatype="BYTES", data=["84"]),
            "expected datatype FP64 or another of numbers",
            id="datatype",
        ),
        pytest.param(
            _changed(_AREA, datatype="FP65"), "inputs.area_m2: expected a datatype of BOOL, UINT8", id="no-datatype"
        ),
        pytest.param(
            _changed(_AREA, datatype="INT8", data=[300]),
            "inputs.area_m2.data[0]: expected a value of INT8",
            id="overflow",
        ),
        pytest.param(
            _changed(_AREA, shape=[2]), "inputs.area_m2: expected 2 values for shape [2], got 1", id="shape-and-data"
        ),
        pytest.param(_changed(_AREA, shape=[2], data=[84, 84]), "with one n for all tensors", id="unequal-rows"),
        pytest.param(
            _changed(_AREA, shape=[-1]), "inputs.area_m2: expected a shape of whole numbers from 0", id="negative-shape"
        ),
        pytest.param(_changed(_AREA, shape=[1, 1, 1]), "expected a shape of [n] or [n, 1]", id="three-dimensions"),
        pytest.param(
            _changed(_AREA, name="are_m2"),
            "inputs.are_m2: no such column; did you mean 'area_m2'?",
            id="unknown-tensor",
        ),
        pytest.param(
            _changed(_KIND, data=["castle"]), "inputs.kind[0]: expected one of house, flat, got 'castle'", id="category"
        ),
        pytest.param(
            {"inputs": []}, "inputs: expected one tensor per column, or one matrix, got an empty list", id="no-tensors"
        ),
        pytest.param({"inputs": tensors([ROW]) * 2}, "inputs: expected every name once", id="twice"),
        pytest.param({"inputs": tensors([])}, "inputs: expected 1 to 300 rows, got none", id="no-rows"),
        pytest.param({}, "the body is no V2 request: Object missing required field `inputs`", id="no-inputs"),
        pytest.param(
            {"inputs": [{"name": "x", "shape": [1, 7], "datatype": "FP64", "data": [1.0] * 7}]},
            "expected datatype BYTES in a named tensor of its own",
            id="matrix-with-categories",
        ),
        pytest.param(
            {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1.0] * 3}]},
            "expected a shape of [n, 7]",
            id="matrix-too-narrow",
        ),
        pytest.param(
            {**_changed(_AREA), "outputs": [{"name": "shap"}]}, "outputs: expected predict, got 'shap'", id="output"
        ),
        pytest.param(b"{", "the body: expected JSON", id="broken-json"),
        pytest.param(b"", "the body: expected JSON, got nothing", id="empty"),
    ],
)
def test_400_of_v2(predictor: Predictor, body: Any, message: str) -> None:
    """V2 mistakes have the same shape and the same words as those of V1."""
    answer = predictor.infer(body)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]
    assert set(answer.json()) == {"error", "code", "problems", "request_id"}


@pytest.mark.parametrize("length", ["0", "-1", "x", "9999999"])
def test_400_of_a_wrong_json_length(predictor: Predictor, length: str) -> None:
    """The header that says where raw tensors begin must be true."""
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": length}
    assert predictor.infer({"inputs": tensors([ROW])}, headers).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/models/other:predict", 404, "not_found"),
        ("POST", "/v2/models/other/infer", 404, "not_found"),
        ("POST", "/v2/models/housing/versions/9/infer", 404, "not_found"),
        ("GET", "/v2/models/other/ready", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("POST", "/v2/repository/models/housing/unload", 404, "not_found"),
        ("POST", "/v2/repository/models/housing/load", 404, "not_found"),
        ("GET", "/v1/models/housing:predict", 405, "method_not_allowed"),
        ("PUT", "/v2/models/housing/infer", 405, "method_not_allowed"),
        ("DELETE", "/v2/models/housing", 405, "method_not_allowed"),
        ("POST", "/metrics", 405, "method_not_allowed"),
    ],
)
def test_404_and_405(predictor: Predictor, method: str, path: str, status: int, code: str) -> None:
    """Unknown names and wrong methods are told apart; a wrong method hears which one is right."""
    answer = predictor.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert ("allow" in answer.headers) == (status == 405)


def test_413_of_an_announced_body(predictor: Predictor) -> None:
    """A body over the limit is refused before it is read."""
    assert predictor.predict(b" " * (LIMIT + 1)).status_code == 413


def test_413_of_a_chunked_body(predictor: Predictor) -> None:
    """A body that announces no length is refused as soon as it is over the limit."""
    status, document = chunked(predictor, LIMIT * 4)
    assert (status, document["code"]) == (413, "too_large")


def test_413_of_too_many_rows(predictor: Predictor) -> None:
    """Rows are bounded too."""
    answer = predictor.predict({"instances": [list(ROW.values())] * 301})
    assert answer.status_code == 413
    assert "at most 300 rows" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/octet-stream"},
        {"content-encoding": "gzip"},
    ],
    ids=["text", "raw-bytes-in-v1", "compressed"],
)
def test_415(predictor: Predictor, headers: dict[str, str]) -> None:
    """What is not JSON is refused by its type, not tried."""
    answer = predictor.predict({"instances": [ROW]}, headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type")


def test_the_connection_lives_on_after_errors(predictor: Predictor) -> None:
    """A client that made a mistake need not connect again."""
    with httpx.Client(base_url=f"http://127.0.0.1:{predictor.http_port}", trust_env=False) as client:
        for body, status in ((b"{", 400), (json.dumps({"instances": [ROW]}).encode(), 200)):
            assert client.post("/v1/models/housing:predict", content=body).status_code == status


# gRPC


@pytest.fixture(scope="module")
def stub(predictor: Predictor) -> Iterator[rpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(f"127.0.0.1:{predictor.grpc_port}") as channel:
        yield rpc.GRPCInferenceServiceStub(channel)


FIELDS = {"FP64": "fp64_contents", "INT64": "int64_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}


def message(rows: list[dict[str, Any]], as_raw: bool = False, **changes: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(**{"model_name": "housing", "id": "g-1", **changes})
    for tensor in tensors(rows):
        made = request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        if as_raw:
            request.raw_input_contents.append(raw(tensor["data"], tensor["datatype"]))
        else:
            values = [v.encode() if isinstance(v, str) else v for v in tensor["data"]]
            getattr(made.contents, FIELDS[tensor["datatype"]]).extend(values)
    return request


def test_grpc_is_answered_as_the_model_says(predictor: Predictor, stub: Any, bundle: Bundle) -> None:
    """Typed and raw contents give the same predictions, each answered in kind."""
    rows = [ROW, {**ROW, "area_m2": 200.5}]
    typed, as_raw = stub.ModelInfer(message(rows)), stub.ModelInfer(message(rows, as_raw=True))
    assert (typed.model_version, typed.id) == ("2", "g-1")
    assert list(typed.outputs[0].contents.fp64_contents) == expected(bundle, rows)
    assert np.frombuffer(as_raw.raw_output_contents[0], "<f8").tolist() == expected(bundle, rows)


def test_grpc_health_and_metadata(predictor: Predictor, stub: Any) -> None:
    """Live, ready and described like the REST form."""
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="housing")).ready
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="housing"))
    assert [tensor.name for tensor in metadata.inputs] == list(HOUSE.names)
    assert list(metadata.versions) == ["2"]


def _bad(name: str, value: Any) -> pb.ModelInferRequest:
    return message([{**ROW, name: value}])


@pytest.mark.parametrize(
    ("call", "request_", "code", "words"),
    [
        pytest.param(
            "ModelInfer", _bad("area_m2", 5.0), "INVALID_ARGUMENT", "inputs.area_m2[0]: expected a number", id="cell"
        ),
        pytest.param(
            "ModelInfer", pb.ModelInferRequest(model_name="housing"), "INVALID_ARGUMENT", "one tensor per", id="empty"
        ),
        pytest.param("ModelInfer", message([ROW], model_name="x"), "NOT_FOUND", "no model named 'x'", id="model"),
        pytest.param("ModelInfer", message([ROW], model_version="9"), "NOT_FOUND", "version '2' only", id="version"),
        pytest.param("ModelInfer", message([ROW] * 301), "RESOURCE_EXHAUSTED", "at most 300 rows", id="rows"),
        pytest.param("ModelReady", pb.ModelReadyRequest(name="x"), "NOT_FOUND", "no model named 'x'", id="ready"),
        pytest.param(
            "RepositoryModelUnload",
            pb.RepositoryModelUnloadRequest(model_name="housing"),
            "UNIMPLEMENTED",
            "",
            id="unload",
        ),
    ],
)
def test_grpc_codes_match(predictor: Predictor, stub: Any, call: str, request_: Any, code: str, words: str) -> None:
    """Each refusal has the gRPC code of its kind and the words of the REST form."""
    with pytest.raises(grpc.RpcError) as refused:
        getattr(stub, call)(request_)
    assert refused.value.code().name == code
    assert words in refused.value.details()
