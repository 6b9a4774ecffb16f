"""What callers, routers and model servers agree on: headers, paths, and the unit of evidence in a sticky split."""

import hashlib

ARM_HEADER = "x-model-arm"  # of a request: the revision that is to answer, outside of all counts
EPOCH_HEADER = "x-epoch"  # in the answer for the caller, in the request for the model server's own log
KEY_HEADER = "x-slipway-key"  # from Envoy to the model server: the value of the split's sticky header
MIRROR_HEADER = "x-mirror-to"  # of a copy on its way
REQUEST_ID_HEADER = "x-request-id"
REVISION_HEADER = "x-revision"  # of an answer: who gave it
UNIT_BYTES = 8


def predict_path(model: str) -> str:
    """Where *model* takes V1 rows."""
    return f"/v1/models/{model}:predict"


def ready_path(model: str) -> str:
    """Where a server says whether it answers for *model*."""
    return f"/v2/models/{model}/ready"


def unit(epoch: bytes, key: bytes) -> bytes:
    """A key in one epoch as ``UNIT_BYTES`` bytes; of 100,000 keys two share them with a chance of 3e-10.

    All requests of one key are answered by the same arm, so they are one draw and not many, and only the first of them
    is evidence. Keys may be user ids. What is kept of one is a hash that is another in each epoch; it is not the key,
    but whoever can list the keys can find them in it.
    """
    return hashlib.blake2b(epoch + b"\0" + key, digest_size=UNIT_BYTES).digest()
