"""The places a run works with, as URIs."""

from pathlib import Path
from urllib.parse import urlsplit

from serving.bundle.own import VARIABLE
from serving.errors import ConfigError
from serving.frozen import Frozen
from serving.store.store import S3Settings

MOUNTED = Path("/etc/slipway/place")  # in a pod: a file for each variable of the cluster's ConfigMap
ACCOUNT = "pipeline-runner"  # acts where nobody has said who starts a run


class Place(Frozen):
    """Where runs, versions, bundles and traffic live.

    Attributes:
        home: directory of this machine for runs, caches and logs.
        ledger: SQLAlchemy URL.
        tracking: MLflow tracking URI.
        store: bundles; ``file://`` or ``s3://bucket/prefix``.
        serving: what moves traffic; ``file://`` names the directory that ``slipway serve`` watches.
        key: signing key; a directory gets a development pair on first use.
        s3_secrets: directory with the files ``endpoint``, ``access_key``, ``secret_key`` and so on, for ``s3://`` URIs.
        rollout_webhook: http(s) address that is told of each transition of a rollout; empty: nobody is.
        actor: who acts, for the audit trail.
    """

    home: str
    ledger: str
    tracking: str
    store: str
    serving: str
    key: str
    s3_secrets: str = ""
    rollout_webhook: str = ""
    actor: str = "unknown"

    @property
    def root(self) -> Path:
        return Path(self.home)


def opened(text: str) -> Place:
    """The place in *text*, which is JSON, or where that is empty the one that the cluster mounts.

    Raises:
        ConfigError: nothing is mounted.
    """
    if text:
        return Place.model_validate_json(text)
    files = {name: MOUNTED / f"SLIPWAY_{name.upper()}" for name in Place.model_fields}
    found = {name: file.read_text(encoding="utf-8").strip() for name, file in files.items() if file.exists()}
    if not found:
        raise ConfigError(
            f"no place to work in: expected the parameter place, or the ConfigMap slipway-place in {MOUNTED}, seen "
            "neither; install Slipway on the cluster with `make deploy`, and compile with `slipway compile --image`"
        )
    return Place.model_validate({"actor": ACCOUNT, **found})


def own_packages() -> str:
    """The packages whose code a model server may load that a step starts, with commas, as the cluster mounts it; empty
    elsewhere, where the server has the step's own environment.
    """
    file = MOUNTED / VARIABLE
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def local_path(uri: str, purpose: str) -> Path:
    """The path that a ``file://`` URI or a plain path names."""
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        raise ConfigError(f"{purpose}: expected a file:// URI or a path, got {uri!r}")
    return Path(parts.path if parts.scheme else uri).absolute()


def s3_settings(place: Place) -> S3Settings | None:
    """The credentials that the place names; None for a place that needs none."""
    if not place.s3_secrets:
        return None
    return S3Settings.from_files(Path(place.s3_secrets))
