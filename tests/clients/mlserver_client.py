"""MLServer's codecs: a table to a V2 request, and what they make of the answer."""

import json
import urllib.request
from typing import Any

import pandas as pd
from asked import Asked, asked, tell
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.types import InferenceResponse, RequestOutput


def answer(to: Asked, wanted: str | None) -> InferenceResponse:
    request = PandasCodec.encode_request(pd.DataFrame([to.row]))
    if wanted:
        request.outputs = [RequestOutput(name=wanted)]
    sent = request.model_dump_json(exclude_none=True).encode()
    headers = {"Host": to.host, "Content-Type": "application/json"}
    url = f"http://{to.address}/v2/models/{to.model}/infer"
    with urllib.request.urlopen(urllib.request.Request(url, sent, headers), timeout=20) as got:
        return InferenceResponse(**json.loads(got.read()))


def by_numpy(to: Asked) -> Any:
    return NumpyCodec.decode_output(answer(to, None).outputs[0]).ravel()[0]


if __name__ == "__main__":
    to = asked()
    tell(
        {
            "PandasCodec": lambda: PandasCodec.decode_response(answer(to, None))["predict"][0],
            "PandasCodec, one output asked for": lambda: PandasCodec.decode_response(answer(to, "output-0"))[
                "output-0"
            ][0],
            "NumpyCodec": lambda: by_numpy(to),
        }
    )
