"""What a run of the cluster suite was on, for the record that it leaves (``make cluster-table``)."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from serving.cluster.client import CRD, DEPLOYMENT, Cluster, open_cluster
from serving.cluster.installation import probe
from serving.errors import ConfigError, InfrastructureError
from tests.cluster.support import CONTEXT
from tests.root import ROOT


def pieces(cluster: Cluster) -> dict[str, str]:
    """Versions of third parties, as the doctor sees them."""
    from pipelines.deploying.doctor_cluster import CRDS, KINDS, WORKLOADS
    from pipelines.deploying.installed import USUAL
    from pipelines.deploying.versions import versions

    types = {name: cluster.get(CRD, None, name) for name in CRDS}
    deployments = {name: cluster.get(DEPLOYMENT, *name[1:]) for name in WORKLOADS if KINDS[name[0]] == DEPLOYMENT}
    return versions(probe(cluster), types, deployments, USUAL.runs)


@pytest.fixture(scope="session", autouse=True)
def on_record(record_testsuite_property: Callable[[str, object], None]) -> Iterator[None]:
    """Commit, load and versions; nothing where no cluster answers."""
    try:
        seen = pieces(open_cluster(CONTEXT))
    except (ConfigError, InfrastructureError):
        seen = {}
    for name, version in seen.items():
        record_testsuite_property(f"version {name}", version)
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    record_testsuite_property("commit", said.stdout.strip())
    before = os.getloadavg()[0]
    yield
    record_testsuite_property("load", f"{before:.1f} to {os.getloadavg()[2]:.1f}")
