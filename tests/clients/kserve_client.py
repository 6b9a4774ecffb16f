"""KServe's own Python client: V1, V2 and gRPC."""

import asyncio
from typing import Any

from asked import Asked, asked, tell
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


def request(to: Asked) -> InferRequest:
    inputs = [InferInput(name=name, shape=[1], datatype=kind, data=[value]) for name, kind, value in to.tensors()]
    return InferRequest(model_name=to.model, infer_inputs=inputs)


async def rest(to: Asked, protocol: str) -> Any:
    client = InferenceRESTClient(RESTConfig(protocol=protocol, retries=0))
    sent: Any = {"instances": [to.row]} if protocol == "v1" else request(to)
    headers = {"Host": to.host, "Content-Type": "application/json"}
    got: Any = await client.infer(f"http://{to.address}", sent, model_name=to.model, headers=headers)
    return got["predictions"][0] if protocol == "v1" else got.outputs[0].data[0]


async def remote(to: Asked) -> Any:
    options = [("grpc.default_authority", to.host)]
    client = InferenceGRPCClient(to.address, channel_args=options, timeout=20)
    return (await client.infer(request(to))).outputs[0].data[0]


if __name__ == "__main__":
    to = asked()
    tell(
        {
            "V1": lambda: asyncio.run(rest(to, "v1")),
            "V2": lambda: asyncio.run(rest(to, "v2")),
            "gRPC": lambda: asyncio.run(remote(to)),
        }
    )
