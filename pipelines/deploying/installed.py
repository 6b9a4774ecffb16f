"""Which namespaces an installation has, found from the one that its runs are in, as ``kubectl --namespace`` is told."""

from collections.abc import Mapping
from typing import NamedTuple

from serving.cluster.client import CONFIG_MAP, Cluster
from serving.cluster.manifest import Installation
from serving.cluster.service import cluster_address
from serving.errors import InfrastructureError

PLACE, SYSTEM = "slipway-place", "SLIPWAY_SYSTEM_NAMESPACE"


class Installed(NamedTuple):
    """An installation, or the usual one.

    Attributes:
        system, models, runs: namespaces of the controller, of models, and of the steps of runs.
        gateway: ``<namespace>/<name>``.
        place: the variables of its place; empty where there is none.
    """

    system: str = "slipway-system"
    models: str = Installation().namespace
    runs: str = "kubeflow"
    gateway: str = f"{Installation().gateway_namespace}/{Installation().gateway}"
    place: Mapping[str, str] = {}

    @property
    def namespaces(self) -> dict[str, str]:
        """What the usual installation calls a namespace, and what it is called here."""
        return {USUAL.system: self.system, USUAL.models: self.models, USUAL.runs: self.runs}


USUAL = Installed()


def installed(cluster: Cluster, runs: str = USUAL.runs) -> Installed:
    """The installation of *cluster* whose runs are in the namespace *runs*.

    Raises:
        InfrastructureError: nothing of ours is deployed there.
    """
    found = cluster.get(CONFIG_MAP, runs, PLACE)
    if found is None:
        raise InfrastructureError(
            f"the cluster has no ConfigMap {runs}/{PLACE}: install Slipway there with make deploy, or name the "
            "namespace of its runs with --namespace"
        )
    place = found.get("data", {})
    served = cluster_address(place.get("SLIPWAY_SERVING", f"kserve://{USUAL.models}"))
    return Installed(place.get(SYSTEM, USUAL.system), served.namespace, runs, served.gateway or USUAL.gateway, place)


def installed_or_usual(cluster: Cluster, runs: str) -> Installed:
    """As ``installed``; for who wants to know what is missing, where nothing says otherwise, as the usual one is."""
    try:
        return installed(cluster, runs)
    except InfrastructureError:
        return Installed(runs=runs)
