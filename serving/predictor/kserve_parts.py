"""The parts of KServe that a predictor uses, without its Kubernetes client.

``import kserve`` also loads the client of the Kubernetes API and 130 models of its objects: a third of the memory and
of the time to start, for what a pod never calls. So the package is put in place before its ``__init__`` has run; that
runs when somebody asks for a name which is not loaded yet, and then ``kserve`` is what it always is.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def _own_arguments() -> Iterator[None]:
    """KServe reads the command line when it is imported, and this process's is not its own."""
    argv, sys.argv = sys.argv, [sys.argv[0], "--configure_logging=false"]
    try:
        yield
    finally:
        sys.argv = argv


@contextlib.contextmanager
def _without_init() -> Iterator[None]:
    spec = importlib.util.find_spec("kserve") if "kserve" not in sys.modules else None
    if spec is None or spec.loader is None:
        yield
        return
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def missing(name: str) -> Any:
        if name.startswith("__") or vars(package).pop("__getattr__", None) is None:
            raise AttributeError(f"module 'kserve' has no attribute {name!r}")
        with _own_arguments():
            loader.exec_module(package)
        return getattr(package, name)

    sys.modules["kserve"] = package
    yield
    vars(package)["__getattr__"] = missing


with _own_arguments(), _without_init():
    from kserve.model import Model
    from kserve.model_server import ModelServer, app
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as rpc
    from kserve.protocol.grpc.servicer import InferenceServicer
    from kserve.protocol.rest.server import RESTServer

__all__ = ["InferenceServicer", "Model", "ModelServer", "RESTServer", "app", "pb", "rpc"]
