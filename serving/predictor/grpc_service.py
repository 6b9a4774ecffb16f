"""The gRPC form of the Open Inference Protocol: KServe's messages and service with our tensors, errors and codes."""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types

from serving.predictor import metadata, work
from serving.predictor.body import given_id, new_id
from serving.predictor.encode import Answer, raw_bytes, told_beside
from serving.predictor.errors import Refusal, bad_request
from serving.predictor.rows.tensors import Tensor, announced, rows_of_tensors, tensor
from serving.predictor.rows.v2 import PLAIN, Wanted, beside_in, named_outputs, outputs_known, raw_values, text
from serving.predictor.served import Served
from serving.predictor.state import PredictorState
from serving.wire import EPOCH_HEADER, KEY_HEADER, REQUEST_ID_HEADER

VERB = "grpc"
_OF_HTTP = (b"connection", b"allow")
STATUSES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def _definitions() -> ModuleType:
    """KServe's messages, read from its own file: to import the package would load its Kubernetes client and pandas."""
    package = importlib.util.find_spec("kserve")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("kserve is not installed: its definitions of the gRPC protocol are needed")
    file = Path(package.submodule_search_locations[0]) / "protocol" / "grpc" / "grpc_predict_v2_pb2.py"
    spec = importlib.util.spec_from_file_location("serving.predictor.kserve_messages", file)
    assert spec is not None  # noqa: S101 - so says the type; of a path to a .py file there is one
    assert spec.loader is not None  # noqa: S101 - as above
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pb: Any = _definitions()
SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]


def tensors_of(request: Any, limit: int) -> list[Tensor]:
    """Input tensors of a ``ModelInferRequest``.

    Raises:
        Refusal: 400 or 413 with the words of the REST form.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise bad_request(f"raw_input_contents: expected one for each of {len(request.inputs)} inputs, got {len(raw)}")
    tensors = []
    for i, given in enumerate(request.inputs):
        name = given.name
        datatype, count = announced(name, given.datatype, given.shape, limit)
        if raw:
            if given.HasField("contents"):
                raise bad_request(f"inputs.{name}: expected either contents or raw_input_contents, got both")
            values = raw_values(name, datatype, memoryview(raw[i]), count)
        else:
            values = _contents(name, datatype, given.contents)
        tensors.append(tensor(name, datatype, given.shape, values))
    return tensors


def _contents(name: str, datatype: str, contents: Any) -> Any:
    field = CONTENTS.get(datatype)
    if field is None:
        raise bad_request(f"inputs.{name}: expected {datatype} in raw_input_contents, got contents")
    values = getattr(contents, field)
    if datatype == "BYTES":
        return [text(name, value) for value in values]
    return np.array(values, dtype=np.float64)


def response_of(served: Served, answer: Answer, wanted: Wanted, request_id: str, raw: bool) -> Any:
    """A ``ModelInferResponse``; raw output contents answer raw input contents."""
    response = pb.ModelInferResponse(
        model_name=served.encoder.model, model_version=served.encoder.version, id=wanted.id or request_id
    )
    for name, datatype, shape, values in served.encoder.outputs(answer, wanted.outputs):
        output = response.outputs.add(name=name, datatype=datatype, shape=shape)
        if raw:
            response.raw_output_contents.append(raw_bytes(datatype, values))
        else:
            said = [word.encode() for word in values] if datatype == "BYTES" else values
            getattr(output.contents, CONTENTS[datatype]).extend(said if isinstance(said, list) else said.tolist())
    for name, told in told_beside(answer).items():
        response.parameters[name].string_param = told
    return response


def handler(servicer: "Servicer") -> Any:
    """All methods of the service for a gRPC server, each answered by the method of that name of *servicer*."""
    methods = {method.name: _method(getattr(servicer, method.name), method) for method in SERVICE.methods}
    return grpc.method_handlers_generic_handler(SERVICE.full_name, methods)


def _method(call: Callable[[Any, Any], Any], described: Any) -> Any:
    """Bytes that are no message are a client's mistake: gRPC's own answer is UNKNOWN, with a traceback in the log."""
    read, written = (getattr(pb, kind.name) for kind in (described.input_type, described.output_type))

    def message(given: bytes) -> Any:
        try:
            return read.FromString(given)
        except DecodeError:
            return None

    async def answer(request: Any, context: Any) -> Any:
        if request is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected a message of the protocol, got other bytes")
        return await call(request, context)

    return grpc.unary_unary_rpc_method_handler(answer, message, written.SerializeToString)


class Servicer:
    """The methods of KServe's service: predictions, metadata, readiness; callers cannot load or unload a model."""

    def __init__(self, state: PredictorState, workers: work.Workers) -> None:
        self._state, self._workers = state, workers

    async def ServerLive(self, _request: Any, _context: Any) -> Any:  # noqa: N802  # the protocol's name
        return pb.ServerLiveResponse(live=True)

    async def ServerMetadata(self, _request: Any, _context: Any) -> Any:  # noqa: N802  # as above
        return pb.ServerMetadataResponse(**metadata.SERVER)

    async def ServerReady(self, _request: Any, _context: Any) -> Any:  # noqa: N802  # as above
        return pb.ServerReadyResponse(ready=self._state.ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802  # as above
        try:
            self._state.check(request.name, request.version)
        except Refusal as refusal:
            await self._abort(context, refusal, "")
        return pb.ModelReadyResponse(ready=self._state.ready)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802  # as above
        try:
            self._state.check(request.name, request.version)
            contract = self._state.model().contract
        except Refusal as refusal:
            await self._abort(context, refusal, "")
        settings = self._state.settings
        return pb.ModelMetadataResponse(**metadata.model(contract, settings.model_name, settings.version))

    async def RepositoryModelLoad(self, _request: Any, context: Any) -> Any:  # noqa: N802  # as above
        await self._abort(context, Refusal("not_implemented", "models are not loaded by callers"), "")

    async def RepositoryModelUnload(self, _request: Any, context: Any) -> Any:  # noqa: N802  # as above
        await self._abort(context, Refusal("not_implemented", "models are not unloaded by callers"), "")

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802  # as above
        began = time.perf_counter()
        request_id = new_id().decode()
        metrics = self._state.metrics
        metrics.in_flight += 1
        try:
            self._state.check(request.model_name, request.model_version)
            response, done = await self._infer(self._state.model(), request, request_id)
        except Exception as error:  # noqa: BLE001 - what nobody meant to raise is logged and answered as such
            await self._abort(context, self._state.refused(error, VERB, request_id, "ModelInfer", began), request_id)
        finally:
            metrics.in_flight -= 1
        epoch, key, called = (_told(context, name).encode() for name in (EPOCH_HEADER, KEY_HEADER, REQUEST_ID_HEADER))
        self._state.answered(VERB, request_id, done, began, epoch, key, given_id(called))
        await context.send_initial_metadata(self._marks(request_id))
        return response

    async def _infer(self, served: Served, request: Any, request_id: str) -> tuple[Any, work.Done]:
        settings = self._state.settings

        def all_of_it() -> tuple[Any, work.Done]:
            wanted = _wanted(served, request)
            tensors = tensors_of(request, settings.max_rows * len(served.columns))
            rows = rows_of_tensors(served.checker, tensors, settings.max_rows)
            answer = served.answer(rows, wanted)
            raw = bool(request.raw_input_contents)
            return response_of(served, answer, wanted, request_id, raw), work.Done(b"", rows, answer, id=wanted.id)

        if served.quick and "explain" not in request.parameters and request.ByteSize() <= settings.inline_bytes:
            return all_of_it()
        return await self._workers.run(all_of_it)

    def _marks(self, request_id: str) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", request_id), *self._state.marks)

    async def _abort(self, context: Any, refusal: Refusal, request_id: str) -> None:
        code = STATUSES.get(refusal.status, grpc.StatusCode.INTERNAL)
        told = tuple((name.decode(), value.decode()) for name, value in refusal.headers if name not in _OF_HTTP)
        await context.abort(code, refusal.message, trailing_metadata=(*self._marks(request_id), *told))


def _wanted(served: Served, request: Any) -> Wanted:
    parameters = {name: _plain(value) for name, value in request.parameters.items()}
    beside = beside_in(parameters) if parameters else PLAIN
    known = outputs_known(served.contract, beside)
    names = named_outputs((output.name for output in request.outputs), known)
    return Wanted(request.id[:256], names, interval=beside.interval, explain=beside.explain, top=beside.top)


def _plain(value: Any) -> Any:
    """What stands in a parameter; a number as text where the caller's form of the protocol has no fractions."""
    told = getattr(value, value.WhichOneof("parameter_choice") or "string_param")
    try:
        return float(told) if isinstance(told, str) else told
    except ValueError:
        return told


def _told(context: Any, name: str) -> str:
    """What the request's metadata say under *name*; empty where they say nothing."""
    value = next((value for key, value in context.invocation_metadata() or () if key == name), "")
    return value if isinstance(value, str) else value.decode("latin-1")
