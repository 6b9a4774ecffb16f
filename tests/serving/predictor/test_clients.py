"""KServe's documented requests by KServe's own clients, and tritonclient-style V2 over plain HTTP.

The requests are the ones of KServe's protocol pages and of its scikit-learn and gRPC examples: iris, four columns.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from serving.bundle.bundle import Bundle, open_bundle
from serving.bundle.signing import load_public_key
from serving.contract import Contract
from tests.serving.predictor.corpus import raw
from tests.serving.predictor.support import Predictor, serving, write_model

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
IRIS = Contract.model_validate(
    {
        "target": {"name": "species", "classes": ["setosa", "versicolor"]},
        "columns": {name: {"type": "float", "unit": "cm", "range": [0, 10]} for name in COLUMNS},
    }
)
FLOWERS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
FLAT = [value for row in FLOWERS for value in row]
MODEL = "sklearn-iris"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return write_model(tmp_path_factory.mktemp("iris"), IRIS)


@pytest.fixture(scope="module")
def bundle(written: tuple[Any, Any]) -> Bundle:
    return open_bundle(written[0], [load_public_key(written[1])])


@pytest.fixture(scope="module")
def predictor(written: tuple[Any, Any]) -> Iterator[Predictor]:
    with serving(written[0], "--trusted_key", str(written[1]), model=MODEL) as running:
        yield running


def said(bundle: Bundle, values: Any) -> tuple[list[str], list[float]]:
    """Class and flat probabilities that the model itself gives for rows of numbers."""
    scores = bundle.scorer.score(np.array(values, dtype=np.float64))
    return [IRIS.target.classes[i] for i in scores.argmax(axis=1)], scores.ravel().tolist()


def rest(predictor: Predictor, protocol: str, call: Any) -> Any:
    """What *call* makes of a client and the server's address."""

    async def one() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol=protocol))
        try:
            return await call(client, f"http://127.0.0.1:{predictor.http_port}")
        finally:
            await client.close()

    return asyncio.run(one())


def by_grpc(predictor: Predictor, call: Any) -> Any:
    async def one() -> Any:
        async with InferenceGRPCClient(f"127.0.0.1:{predictor.grpc_port}", retries=0) as client:
            return await call(client)

    return asyncio.run(one())


def matrix(datatype: str = "FP32", binary: bool | None = None) -> InferInput:
    made = InferInput("input-0", [2, 4], datatype, None if binary is not None else FLAT)
    if binary is not None:
        dtype = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}[datatype]
        made.set_data_from_numpy(np.array(FLOWERS, dtype=dtype), binary_data=binary)
    return made


def columns() -> list[InferInput]:
    """One tensor per column, as ``content_type: pd`` requests have them."""
    return [InferInput(n, [2], "FP32", [row[i] for row in FLOWERS]) for i, n in enumerate(COLUMNS)]


# V1


@pytest.mark.parametrize(
    "instances",
    [
        pytest.param(FLOWERS, id="arrays"),
        pytest.param([dict(zip(COLUMNS, row, strict=True)) for row in FLOWERS], id="records"),
        pytest.param([[dict(zip(COLUMNS, row, strict=True))] for row in FLOWERS], id="a-record-in-an-array-per-row"),
    ],
)
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_v1_predict(predictor: Predictor, bundle: Bundle, instances: Any, key: str) -> None:
    """``{"instances": [...]}`` or ``{"inputs": [...]}`` is answered with ``predictions``, one per row, in order."""
    answer = rest(predictor, "v1", lambda client, url: client.infer(url, {key: instances}, model_name=MODEL))
    assert answer["predictions"] == said(bundle, FLOWERS)[0]


def test_v1_explain(predictor: Predictor) -> None:
    """``:explain`` is answered with ``predictions`` and ``explanations``."""
    answer = rest(predictor, "v1", lambda client, url: client.explain(url, MODEL, {"instances": FLOWERS}))
    assert len(answer["predictions"]) == len(answer["explanations"]) == 2


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_probes_of_the_rest_client(predictor: Predictor, protocol: str) -> None:
    """Liveness and the model's readiness by either protocol, the server's readiness by V2."""

    async def probes(client: Any, url: str) -> list[bool]:
        told = [await client.is_server_live(url), await client.is_model_ready(url, MODEL)]
        return told + ([await client.is_server_ready(url)] if protocol == "v2" else [])

    assert set(rest(predictor, protocol, probes)) == {True}


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_an_error_reaches_the_rest_client_with_its_words(predictor: Predictor, protocol: str) -> None:
    """The client finds ``error`` in the body and raises with it; an unknown model is a 404."""
    bad = (
        {"instances": [[6.8, 2.8]]} if protocol == "v1" else InferRequest(MODEL, [InferInput("x", [1], "FP32", [1.0])])
    )

    with pytest.raises(httpx.HTTPStatusError, match=r"expected 4 values|no such column|a tensor with a number"):
        rest(predictor, protocol, lambda client, url: client.infer(url, bad, model_name=MODEL))
    with pytest.raises(httpx.HTTPStatusError, match="no model named 'other'") as refused:
        rest(predictor, protocol, lambda client, url: client.infer(url, bad, model_name="other"))
    assert refused.value.response.status_code == 404


# V2


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(lambda: [matrix()], id="one-matrix"),
        pytest.param(lambda: [matrix("FP64")], id="one-matrix-of-doubles"),
        pytest.param(lambda: [matrix("FP32", binary=False)], id="one-matrix-from-numpy"),
        pytest.param(lambda: [matrix("FP32", binary=True)], id="one-matrix-raw"),
        pytest.param(lambda: [matrix("FP16", binary=True)], id="one-matrix-of-halves-raw"),
        pytest.param(columns, id="one-tensor-per-column"),
    ],
)
@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_v2_infer(predictor: Predictor, bundle: Bundle, inputs: Any, way: str) -> None:
    """The id comes back, and outputs with name, datatype and shape, by REST and by gRPC."""
    given = inputs()
    asked = InferRequest(MODEL, given, request_id="iris-1", parameters={"content_type": "pd"})
    if way == "rest":
        answer = rest(predictor, "v2", lambda client, url: client.infer(url, asked, model_name=MODEL))
    else:
        answer = by_grpc(predictor, lambda client: client.infer(asked))
    values = np.array(FLOWERS, dtype=given[0].as_numpy().dtype) if given[0].datatype == "FP16" else FLOWERS
    if given[0].datatype == "FP32" and (way == "grpc" or given[0]._raw_data is not None):
        values = np.array(FLOWERS, dtype=np.float32)  # on the wire they were single
    names, probabilities = said(bundle, values)
    assert (answer.id, answer.model_name) == ("iris-1", MODEL)
    assert answer.model_version == (None if way == "rest" else "2")  # the REST client does not read it
    assert [(o.name, o.datatype, o.shape) for o in answer.outputs] == [
        ("predict", "BYTES", [2]),
        ("probabilities", "FP64", [2, 2]),
    ]
    assert [w.decode() if isinstance(w, bytes) else w for w in answer.outputs[0].as_numpy().ravel().tolist()] == names
    assert answer.outputs[1].as_numpy().ravel().tolist() == probabilities


def test_binary_output_is_sent_for_what_asked_for_it(predictor: Predictor, bundle: Bundle) -> None:
    """``binary_data_output`` holds for all outputs but those that say ``binary_data`` of their own."""
    outputs = [RequestedOutput("predict", {"binary_data": False}), RequestedOutput("probabilities")]
    asked = InferRequest(MODEL, [matrix()], parameters={"binary_data_output": True}, request_outputs=outputs)
    answer = rest(predictor, "v2", lambda client, url: client.infer(url, asked, model_name=MODEL))
    assert answer.outputs[0].data == said(bundle, FLOWERS)[0]
    assert answer.outputs[1].as_numpy().ravel().tolist() == said(bundle, FLOWERS)[1]


def test_raw_and_json_tensors_mix(predictor: Predictor, bundle: Bundle) -> None:
    """The extension's own example: some tensors as raw bytes of other datatypes, one as nested JSON in between."""
    first, third = raw([7, 6], "FP16"), raw([5, 4], "UINT8")
    inputs = [
        {"name": COLUMNS[0], "shape": [2], "datatype": "FP16", "parameters": {"binary_data_size": len(first)}},
        {"name": COLUMNS[1], "shape": [2, 1], "datatype": "UINT32", "data": [[3], [2]]},
        {"name": COLUMNS[2], "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": len(third)}},
        {"name": COLUMNS[3], "shape": [2], "datatype": "FP64", "data": [1.4, 1.6]},
    ]
    head = json.dumps({"model_name": MODEL, "inputs": inputs}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    answer = predictor.infer(head + first + third, headers)
    assert answer.json()["outputs"][0]["data"] == said(bundle, [[7, 3, 5, 1.4], [6, 2, 4, 1.6]])[0]


def triton(binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers as ``tritonclient.http`` sends ``infer``: no content type, outputs asked for by name."""
    tensor: dict[str, Any] = {"name": "input-0", "shape": [2, 4], "datatype": "FP32"}
    rest_ = raw(FLAT, "FP32") if binary else b""
    tensor |= {"parameters": {"binary_data_size": len(rest_)}} if binary else {"data": FLAT}
    outputs = [{"name": "probabilities", "parameters": {"binary_data": binary}}]
    head = json.dumps({"id": "t-1", "inputs": [tensor], "outputs": outputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    return head + rest_, headers


@pytest.mark.parametrize("binary", [False, True], ids=["json", "raw"])
@pytest.mark.parametrize("path", ["", "/versions/2"], ids=["without-version", "with-version"])
def test_tritonclients_requests_are_answered(predictor: Predictor, bundle: Bundle, binary: bool, path: str) -> None:
    """Without a content type, with only the outputs that were asked for, and with or without a version in the path."""
    body, headers = triton(binary)
    answer = predictor.client.post(f"/v2/models/{MODEL}{path}/infer", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    told = json.loads(answer.content[:length])
    (output,) = told["outputs"]
    values = np.frombuffer(answer.content[length:], "<f8").tolist() if binary else output["data"]
    assert (told["id"], output["name"], output["shape"]) == ("t-1", "probabilities", [2, 2])
    assert values == said(bundle, np.array(FLOWERS, np.float32) if binary else FLOWERS)[1]


def test_tritonclients_metadata_requests_are_answered(predictor: Predictor) -> None:
    """Server and model metadata have the keys that a V2 client reads, with -1 where rows go."""
    server, model = predictor.client.get("/v2").json(), predictor.client.get(f"/v2/models/{MODEL}").json()
    assert {"name", "version", "extensions"} == set(server)
    assert "binary_tensor_data" in server["extensions"]
    assert (model["name"], model["versions"], model["platform"]) == (MODEL, ["2"], "slipway")
    assert model["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1]} for name in COLUMNS]
    assert [(o["name"], o["datatype"], o["shape"]) for o in model["outputs"]] == [
        ("predict", "BYTES", [-1]),
        ("probabilities", "FP64", [-1, 2]),
    ]


# gRPC


def test_probes_of_the_grpc_client(predictor: Predictor) -> None:
    """Live, ready, and the model ready."""

    async def probes(client: Any) -> list[bool]:
        return [await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready(MODEL)]

    assert by_grpc(predictor, probes) == [True, True, True]


@pytest.mark.parametrize(
    ("model", "inputs", "code", "words"),
    [
        ("other", [matrix()], "NOT_FOUND", "no model named 'other'"),
        (MODEL, [InferInput("input-0", [1, 3], "FP32", [1.0, 2.0, 3.0])], "INVALID_ARGUMENT", "a shape of [n, 4]"),
        (MODEL, [InferInput("input-0", [1, 4], "FP32", [1.0, 2.0, 3.0])], "INVALID_ARGUMENT", "expected 4 values"),
    ],
    ids=["model", "width", "shape-and-data"],
)
def test_an_error_reaches_the_grpc_client_with_its_words(
    predictor: Predictor, model: str, inputs: Any, code: str, words: str
) -> None:
    """Refusals are gRPC codes, and details say what was expected."""
    with pytest.raises(grpc.RpcError) as refused:
        by_grpc(predictor, lambda client: client.infer(InferRequest(model, inputs)))
    assert refused.value.code().name == code
    assert words in refused.value.details()
