"""Triton's Python client: V2 with raw tensors, V2 as JSON, and gRPC."""

from typing import Any

import numpy as np
import tritonclient.grpc as remote
import tritonclient.http as http
from asked import Asked, asked, tell

DTYPES = {"BOOL": np.bool_, "INT64": np.int64, "FP64": np.float64, "BYTES": np.object_}


def inputs(to: Asked, made: Any, **how: Any) -> list[Any]:
    tensors = []
    for name, kind, value in to.tensors():
        tensor = made(name, [1], kind)
        tensor.set_data_from_numpy(np.array([value], dtype=DTYPES[kind]), **how)
        tensors.append(tensor)
    return tensors


def over_http(to: Asked, binary: bool) -> Any:
    client = http.InferenceServerClient(to.address)
    wanted = [http.InferRequestedOutput("predict", binary_data=binary)]
    sent = inputs(to, http.InferInput, binary_data=binary)
    return client.infer(to.model, sent, headers={"Host": to.host}, outputs=wanted).as_numpy("predict")[0]


def over_grpc(to: Asked) -> Any:
    client = remote.InferenceServerClient(to.address, channel_args=[("grpc.default_authority", to.host)])
    return client.infer(to.model, inputs(to, remote.InferInput)).as_numpy("predict")[0]


if __name__ == "__main__":
    to = asked()
    tell(
        {
            "V2, raw tensors": lambda: over_http(to, True),
            "V2, JSON": lambda: over_http(to, False),
            "gRPC": lambda: over_grpc(to),
        }
    )
