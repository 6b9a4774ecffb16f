"""The parts of KServe that a predictor uses, without its Kubernetes client, pandas and a command line.

``import kserve`` also loads the client of the Kubernetes API and 130 models of its objects, pandas for two functions
that make tables, and what httpx prints a terminal with: half of the memory and of the time to start, for what a pod
never calls. So the packages ``kserve`` and ``pandas`` are put in place before their ``__init__`` has run; that runs
when somebody asks for a name which is not loaded yet, and then each is what it always is.
"""

import contextlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from importlib.abc import Loader
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def _own_arguments() -> Iterator[None]:
    """KServe reads the command line when it is imported, and this process's is not its own."""
    argv, sys.argv = sys.argv, [sys.argv[0], "--configure_logging=false"]
    try:
        yield
    finally:
        sys.argv = argv


class _Missing:
    """``__getattr__`` of a *package* that is in place and not loaded: loads it, once, whichever threads ask."""

    def __init__(self, package: ModuleType, loader: Loader) -> None:
        self._package, self._loader = package, loader
        self._lock = threading.RLock()  # the package asks for names of its own while it loads
        self._begun = False

    def __call__(self, name: str) -> Any:
        names = vars(self._package)
        with self._lock:
            if name not in names and not self._begun and not name.startswith("__"):
                self._begun = True
                with _own_arguments():
                    self._loader.exec_module(self._package)
                if names.get("__getattr__") is self:
                    del names["__getattr__"]
            if name in names:
                return names[name]
        raise AttributeError(f"module {self._package.__name__!r} has no attribute {name!r}")


@contextlib.contextmanager
def _later(name: str, **meanwhile: object) -> Iterator[None]:
    """Package *name* in place with nothing in it but *meanwhile*; after this it loads when asked for any other name."""
    spec = importlib.util.find_spec(name) if name not in sys.modules else None
    if spec is None or spec.loader is None:
        yield
        return
    package = importlib.util.module_from_spec(spec)
    vars(package).update(meanwhile)
    sys.modules[name] = package
    yield
    for one in meanwhile:
        del vars(package)[one]
    vars(package)["__getattr__"] = _Missing(package, spec.loader)


@contextlib.contextmanager
def _no_command_line() -> Iterator[None]:
    """httpx without its program, which it is content to do without."""
    name = "httpx._main"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to say that a module is not there
    yield
    del sys.modules[name]


with _own_arguments(), _later("kserve"), _later("pandas", DataFrame=Any), _no_command_line():
    from kserve.model import Model
    from kserve.model_server import ModelServer, app
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as rpc
    from kserve.protocol.grpc.servicer import InferenceServicer
    from kserve.protocol.rest.server import RESTServer

__all__ = ["InferenceServicer", "Model", "ModelServer", "RESTServer", "app", "pb", "rpc"]
