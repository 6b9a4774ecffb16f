"""What KServe's own scikit-learn server does: ``python -m tests.bench.stock FILE PORT GRPC_PORT``.

The class below is that of KServe's ``sklearnserver`` image, which is not on the package index: a pickle loaded by
joblib, ``get_predict_input``, ``predict``, ``get_predict_response``.
"""

import sys
from typing import Any

import joblib
from kserve import Model, ModelServer
from kserve.errors import InferenceError
from kserve.utils.utils import get_predict_input, get_predict_response


class SKLearnModel(Model):  # type: ignore[misc]  # kserve ships no types
    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._path = path

    def load(self) -> bool:
        self._model = joblib.load(self._path)
        self.ready = True
        return self.ready

    def predict(self, payload: Any, headers: Any = None) -> Any:
        del headers
        try:
            return get_predict_response(payload, self._model.predict(get_predict_input(payload)), self.name)
        except Exception as error:
            raise InferenceError(str(error)) from error


if __name__ == "__main__":
    path, port, grpc_port = sys.argv[1:]
    sys.argv = sys.argv[:1]
    model = SKLearnModel("housing", path)
    model.load()
    ModelServer(http_port=int(port), grpc_port=int(grpc_port), enable_latency_logging=False).start([model])
