"""The one place that chooses between the places a service may run in: this machine, or a cluster."""

from urllib.parse import urlsplit

from serving.errors import ConfigError
from serving.service.service import Service


def open_service(serving: str, model: str, ledger_url: str) -> Service:
    """The service of *model* at the place's serving URI: ``file:///directory`` or ``kserve://namespace``.

    Args:
        ledger_url: of the database that holds a cluster's rollouts; not touched for a local service.

    Raises:
        ConfigError: the URI is neither.
    """
    scheme = urlsplit(serving).scheme
    if scheme == "kserve":
        from serving.cluster.service import ClusterService  # one place does not pay for the libraries of the other

        return ClusterService(serving, model, ledger_url)
    if scheme not in ("", "file"):
        raise ConfigError(f"serving: expected file:///directory or kserve://namespace, got {serving!r}")
    from serving.local.service import LocalService

    return LocalService(serving, model)
