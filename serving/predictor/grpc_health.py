"""``grpc.health.v1.Health``: what gRPC clients and a kubelet's probe ask, of the server or of the model by name."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
from google.protobuf import (  # type: ignore[import-untyped]  # protobuf ships no types
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

from serving.predictor.state import PredictorState

NAME = "grpc.health.v1.Health"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
_LOOK_EVERY_S = 0.5


def _message(name: str, field: str, kind: int) -> Any:
    """A message of one *field*, in a pool of its own: the package that has these messages may be installed too."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="grpc.health.v1", syntax="proto3")
    file.message_type.add(name=name).field.add(name=field, number=1, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"grpc.health.v1.{name}"))


Request = _message("HealthCheckRequest", "service", descriptor_pb2.FieldDescriptorProto.TYPE_STRING)
Response = _message("HealthCheckResponse", "status", descriptor_pb2.FieldDescriptorProto.TYPE_INT32)


def handler(state: PredictorState, services: Collection[str]) -> Any:
    """Both methods for a gRPC server that has *services* and one model."""
    known = {"", state.settings.model_name, *services}

    def status() -> int:
        return SERVING if state.ready else NOT_SERVING

    async def check(request: Any, context: Any) -> Any:
        if request.service not in known:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service[:60]!r} here")
        return Response(status=status())

    async def watch(request: Any, _context: Any) -> AsyncIterator[Any]:
        told = None
        while True:
            now = status() if request.service in known else SERVICE_UNKNOWN
            if now != told:
                told = now
                yield Response(status=now)
            if state.phase == "draining":
                return  # a stream that stayed would hold up the end of the process
            await asyncio.sleep(_LOOK_EVERY_S)

    methods = {
        "Check": grpc.unary_unary_rpc_method_handler(check, Request.FromString, Response.SerializeToString),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, Request.FromString, Response.SerializeToString),
    }
    return grpc.method_handlers_generic_handler(NAME, methods)
