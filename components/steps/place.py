"""The places a run works with, as URIs."""

from pathlib import Path
from urllib.parse import urlsplit

from serving.errors import ConfigError
from serving.frozen import Frozen
from serving.store.store import S3Settings


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
