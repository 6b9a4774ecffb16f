"""What tests of the cluster share: a model with two versions, a team, and what the suite writes down of itself.

The model and the team are made when the first test wants them. Whatever is left behind by a test, ``rested`` brings the
model back to where each of them begins.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.projects import project as projects
from components.steps.provenance import code_version
from pipelines.deploying.site import Site
from pipelines.housing import market
from serving.cluster.client import CRD, DEPLOYMENT, Cluster, open_cluster
from serving.cluster.installation import probe
from serving.errors import ConfigError, InfrastructureError
from tests.cluster.support import (
    CONTEXT,
    ENDED,
    FIRST,
    FORMER,
    SECOND,
    WITHOUT,
    House,
    ask,
    end,
    house,
    inside,
    kubectl,
    require_cluster,
    result,
    until,
)
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


SHARED = {  # where objects of a team are that are in none of its namespaces
    (): "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding",
    ("-n", "kserve"): "role,rolebinding",
    ("-n", "envoy-gateway-system"): "role,rolebinding",
}


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    require_cluster()
    made = house(FORMER or f"h{secrets.token_hex(3)}", tmp_path_factory.mktemp("house"))
    yield made
    if not FORMER:
        made.forget()


@pytest.fixture(scope="session")
def bodies(own: House) -> list[bytes]:
    contract = projects.load(own.project).contract
    rows = market.sales("recession", range(27, 28), 7, turn=24, dirty=0.0).to_dicts()[:500]
    return [json.dumps({"instances": [{name: row[name] for name in contract.names}]}).encode() for row in rows]


@pytest.fixture(scope="session")
def first(own: House) -> list[dict[str, Any]]:
    """The first version, by a run on the cluster, whose images are of the commit that is tested."""
    if FORMER:
        return []
    lines = own.submit(*FIRST)
    made = json.loads(inside("models", "list", own.name, "--json"))["versions"][0]["provenance"]["commit"]
    here = code_version(ROOT).commit
    assert made.startswith(here), f"the images are of commit {made}, the tests of {here}; first: make images deploy"
    return lines


@pytest.fixture(scope="session")
def second(own: House, first: list[dict[str, Any]], bodies: list[bytes]) -> list[dict[str, Any]]:
    """The second version, trained on the turned market; its rollout begins by itself, and somebody ends it."""
    if FORMER:
        return []
    lines = own.submit(*SECOND)
    until(lambda: own.phase()["candidate"] == own.revision(2), "the rollout of version 2 begins")
    own.rollout("abort", "--reason", "the test moves traffic by hand first")
    end(own)
    assert result(lines)["outcome"] == "released"
    return lines


@pytest.fixture
def rested(own: House, second: object, bodies: list[bytes]) -> None:
    """Version 1 has all traffic, version 2 is registered, and nothing moves, whatever was here before."""
    ready = ("--timeout=180s", "-n", "slipway-system", "rollout", "status")
    kubectl(*ready, "statefulset/minio")
    kubectl(*ready, "deploy/rollout-controller")
    if own.phase()["phase"] not in ENDED:
        own.rollout("abort", "--reason", "another test begins")
        end(own)
    listed = json.loads(inside("models", "list", own.name, "--json"))["versions"]
    if next(one["version"] for one in listed if one["stage"] == "production") != 1:
        own.rollout("set", "20", "--version", "1")
        own.rollout("promote", "--reason", "another test begins")
    own.rollout("set", "0", "--version", "2")
    until(lambda: ask(own.name, bodies[0]).revision == own.revision(1), "version 1 answers")


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    """A team of a random name, deployed by what its file says, and gone afterwards."""
    require_cluster()
    name = f"t{secrets.token_hex(3)}"
    text = f"""SYSTEM_NAMESPACE={name}-system
MODELS_NAMESPACE={name}
RUNS_NAMESPACE={name}-runs
HOST={name}.example.com
OBJECT_STORE=http://minio.{name}-system:9000
DATABASE=mysql+pymysql://ledger.{name}-system:3306/slipway
TRACKING=http://mlflow.{name}-system:5000
"""
    values = tmp_path_factory.mktemp("team") / "values.env"
    values.write_text(text)
    site = Site.read(text)
    make = ["make", "deploy", f"VALUES={values}", WITHOUT]
    try:
        subprocess.run(make, cwd=ROOT, check=True, timeout=600)
        yield site, values
    finally:
        kubectl("delete", "namespace", *site.namespaces.values(), "--wait=false", code=None)
        for within, kinds in SHARED.items():
            found = kubectl(*within, "get", kinds, "-o", "name").split()
            own = [one for one in found if one.endswith(f"-{site.system_namespace}")]
            kubectl(*within, "delete", *own, code=None)
