"""What callers, routers and model servers agree on: headers, paths, and the unit of evidence in a sticky split."""

import hashlib
import re
from typing import Literal, NamedTuple

ARM_HEADER = "x-model-arm"  # of a request: the revision that is to answer, outside of all counts
EPOCH_HEADER = "x-epoch"  # in the answer for the caller, in the request for the model server's own log
KEY_HEADER = "x-slipway-key"  # from Envoy to the model server: the value of the split's sticky header
MIRROR_HEADER = "x-mirror-to"  # of a copy on its way
REQUEST_ID_HEADER = "x-request-id"
NO_INTERVALS = "this version has no intervals"  # of a refusal, after which one may ask without
REVISION_HEADER = "x-revision"  # of an answer: who gave it
UNIT_BYTES = 8


class ProtocolPath(NamedTuple):
    """One path of the protocol.

    Attributes:
        path: as ``normal_path`` gives it; ``{model}`` and ``{version}`` stand for names.
        answers: what it is asked for.
        kind: a *prediction* is a POST, and without a version it is divided and counted; a *reading* is a GET; what is
            *inside* is one that only this machine or the pod's own network may ask for.
    """

    path: str
    answers: str
    kind: Literal["prediction", "reading", "inside"] = "reading"

    @property
    def pinned(self) -> bool:
        """Whether it is about the one version it names, which answers whatever the split is, or nobody does."""
        return "{version}" in self.path


ROUTES = (
    ProtocolPath("/v1/models/{model}:predict", "predict", "prediction"),
    ProtocolPath("/v1/models/{model}:explain", "explain", "prediction"),
    ProtocolPath("/v2/models/{model}/infer", "infer", "prediction"),
    ProtocolPath("/v1/models/{model}/versions/{version}:predict", "predict", "prediction"),
    ProtocolPath("/v1/models/{model}/versions/{version}:explain", "explain", "prediction"),
    ProtocolPath("/v2/models/{model}/versions/{version}/infer", "infer", "prediction"),
    ProtocolPath("/v1/models/{model}/versions/{version}", "ready"),
    ProtocolPath("/v2/models/{model}/versions/{version}", "metadata"),
    ProtocolPath("/v2/models/{model}/versions/{version}/ready", "ready"),
    ProtocolPath("/v1/models/{model}", "ready"),
    ProtocolPath("/v2/models/{model}", "metadata"),
    ProtocolPath("/v2/models/{model}/ready", "ready"),
    ProtocolPath("/", "alive"),
    ProtocolPath("/v1/models", "models"),
    ProtocolPath("/v2", "server"),
    ProtocolPath("/v2/health/live", "live"),
    ProtocolPath("/v2/health/ready", "server_ready"),
    ProtocolPath("/v2/models", "models"),
    ProtocolPath("/openapi.json", "openapi"),
    ProtocolPath("/slipway/status", "status", "inside"),
    ProtocolPath("/metrics", "metrics", "inside"),
)
"""Every path there is: the server's table, Envoy's routes and the cluster's route are made of these and no others."""

ANY_VERSION = "[^/]+"
_COLON = "(:|%3[Aa])"
GRPC_SERVICES = ("inference.GRPCInferenceService", "grpc.health.v1.Health")
GRPC_INFER = f"/{GRPC_SERVICES[0]}/ModelInfer"  # divided and counted too; a service has one model
GRPC_AS_HTTP = {0: 200, 1: 499, 3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 16: 401}
"""The statuses of gRPC that a caller is to blame for, or nobody; all others count as errors, as 500 does."""


def paths_of(model: str, version: str) -> dict[str, ProtocolPath]:
    """The table of one server."""
    return {route.path.format(model=model, version=version): route for route in ROUTES}


def path_expression(model: str, *, pinned: str | None = None, kind: str = "") -> str:
    """Regular expression (RE2) of the paths that are about *model*, of one *kind* or of all.

    It is for a whole path whose dots and slashes a proxy has normalised, and takes the colon also as ``%3A``: the one
    reserved letter of these paths, which a proxy leaves as it came and a server decodes.

    Args:
        pinned: expression of the version whose pinned paths are meant; None: the paths that name no version.
    """
    paths = "|".join(
        route.path.replace(":", _COLON).format(model=re.escape(model), version=pinned)
        for route in ROUTES
        if "{model}" in route.path and route.pinned == (pinned is not None) and kind in ("", route.kind)
    )
    return f"({paths})/?"


def normal_path(path: str) -> str:
    """*path*, percent-decoded once, as a proxy reads it: dots resolved, slashes merged, none at the end."""
    if not path.startswith("/") or "\0" in path:
        return path  # neither reads these
    parts: list[str] = []
    for part in path.replace("\\", "/").split("/")[1:]:
        if part == "..":
            parts[-1:] = []
        elif part != ".":
            parts.append(part)
    return "/" + "/".join(filter(None, parts))


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
