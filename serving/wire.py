"""Names that callers, routers and model servers agree on: headers, and the path of a prediction."""

ARM_HEADER = "x-model-arm"  # of a request: the revision that is to answer, outside of all counts
EPOCH_HEADER = "x-epoch"  # in the answer for the caller, in the request for the model server's own log
KEY_HEADER = "x-slipway-key"  # from Envoy to the model server: the value of the split's sticky header
MIRROR_HEADER = "x-mirror-to"  # of a copy on its way
REQUEST_ID_HEADER = "x-request-id"
REVISION_HEADER = "x-revision"  # of an answer: who gave it


def predict_path(model: str) -> str:
    """Where *model* takes V1 rows."""
    return f"/v1/models/{model}:predict"


def ready_path(model: str) -> str:
    """Where a server says whether it answers for *model*."""
    return f"/v2/models/{model}/ready"
