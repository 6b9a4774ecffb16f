"""Nodes and versions of Slipway that come and go: a team of its own, its model under load, and no request is lost.

The one node of kind can not be drained itself: it is done as ``kubectl drain`` does it, by an Eviction of each pod that
is repeated while it is refused. Of a cluster of two (``make kind-up KIND_CONFIG=tests/cluster/two-nodes.yaml``) one is.
"""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from pipelines.deploying.site import Site
from tests.cluster import test_teams as teams
from tests.cluster.support import ENDED, FIRST, SECOND, House, house, inside, kubectl, read, through_gateway, until
from tests.load import Load

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2_400)]
RATE = 75
REFUSED = "violate the pod's disruption budget"


class Town:
    """A model of two versions in the namespaces of a team."""

    def __init__(self, site: Site, own: House) -> None:
        self.site, self.own, self.name = site, own, own.name

    def load(self) -> Load:
        return through_gateway(self.name, [teams.BODY], to=f"{self.name}.{self.site.host}", rate=RATE)

    def controller(self, *words: str) -> str:
        return kubectl("-n", self.site.system_namespace, *words)

    def rollout(self, *words: str) -> str:
        return inside("rollout", words[0], "--model", self.name, *words[1:], namespace=self.site.system_namespace)

    def phase(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rollout("status", "--json"))
        return found

    def live(self, version: int) -> bool:
        found = self.phase()
        return found["candidate"] == f"{self.name}-{version}" and found["phase"] not in ENDED

    def made_by(self, number: int, words: tuple[str, ...]) -> None:
        """A run on the cluster, to its end."""
        pod = json.loads(teams.runner(self.site, self.own.project.read_text()))
        pod["metadata"]["name"] = f"run-{number}"
        pod["spec"]["containers"][0]["command"][2] += " " + " ".join(f"'{word}'" for word in words)
        kubectl("apply", "-f", "-", given=json.dumps(pod))
        where = ("-n", self.site.runs_namespace)
        state = (*where, "get", "pod", f"run-{number}", "-o", "jsonpath={.status.phase}")
        until(lambda: kubectl(*state) in ("Succeeded", "Failed"), "the run ends", 900)
        assert kubectl(*state) == "Succeeded", kubectl(*where, "logs", f"run-{number}", "--tail=20")

    # predictors

    @property
    def serving(self) -> str:
        """The revision in production."""
        listed = json.loads(inside("models", "list", self.name, "--json", namespace=self.site.system_namespace))
        return f"{self.name}-{next(one['version'] for one in listed['versions'] if one['stage'] == 'production')}"

    def pods(self, revision: str) -> dict[str, bool]:
        """Those that do not end, and whether they are ready."""
        label = f"app=isvc.{revision}-predictor"
        found = read("-n", self.site.models_namespace, "get", "pods", "-l", label)["items"]
        return {
            pod["metadata"]["name"]: any(
                one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ())
            )
            for pod in found
            if "deletionTimestamp" not in pod["metadata"]
        }

    def replicas(self, revision: str, number: int, **more: str) -> None:
        """Have *number* of them, as whoever operates the model does."""
        changed = {"spec": {"predictor": {"minReplicas": number}}, "metadata": {"annotations": more}}
        where = ("-n", self.site.models_namespace, "patch", "isvc", revision)
        kubectl(*where, "--type=merge", "-p", json.dumps(changed))
        self.has(revision, number)

    def has(self, revision: str, number: int) -> None:
        until(lambda: list(self.pods(revision).values()) == [True] * number, f"{number} pods answer")

    def evict(self, pod: str) -> str:
        """What the API server says to it; empty where the pod ends."""
        where = f"/api/v1/namespaces/{self.site.models_namespace}/pods/{pod}/eviction"
        named = {"name": pod, "namespace": self.site.models_namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": named}
        said = kubectl("create", "--raw", where, "-f", "-", given=json.dumps(body), code=None)
        return said if "Success" not in said else ""


@pytest.fixture(scope="module")
def town(team: tuple[Site, Path], tmp_path_factory: pytest.TempPathFactory) -> Town:
    """Version 1 serves, and version 2 is registered after a rollout that somebody ended."""
    own = house(f"h{secrets.token_hex(3)}", tmp_path_factory.mktemp("model"))
    own.project.write_text(own.project.read_text().replace("dwell: 2s", "dwell: 10s"))  # it outlasts two upgrades
    made = Town(team[0], own)
    made.made_by(1, FIRST)
    until(lambda: made.load().run(1).answers[0].status == 200, "version 1 answers")
    made.made_by(2, SECOND)
    until(lambda: made.live(2), "the rollout of version 2 begins")
    made.rollout("abort", "--reason", "the test begins it anew")
    until(lambda: not made.live(2), "it has ended")
    return made


def replaced(town: Town, *change: str) -> None:
    """Change the controller's Deployment, and wait until another pod acts; a rollout is live all the while."""
    before = town.phase()["holder"]
    assert town.live(2)
    town.controller(*change)
    town.controller("rollout", "status", "deploy/rollout-controller", "--timeout=180s")
    until(lambda: (now := town.phase()["holder"]) and now != before, "another one acts")
    assert town.live(2)


def test_an_upgrade_in_the_middle_of_a_rollout_loses_nothing(town: Town) -> None:
    """The controller is replaced twice, by a restart and by another reference to its image; the rollout goes on to its
    end by evidence."""
    with town.load() as load:
        where = ("deploy/rollout-controller",)
        image = town.controller("get", *where, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
        pod = town.controller("get", "pods", "-l", "app.kubernetes.io/name=rollout-controller", "-o", "name").split()[0]
        sent = town.own.project.read_text()
        kubectl("-n", town.site.system_namespace, "exec", "-i", pod, "--", "sh", "-c", "cat >/tmp/p.yaml", given=sent)
        inside("rollout", "start", "2", "--project", "/tmp/p.yaml", namespace=town.site.system_namespace)
        until(lambda: town.live(2) and town.phase()["phase"] == "step", "the first step", 300)
        replaced(town, "rollout", "restart", *where)
        replaced(town, "set", "image", *where, f"controller=docker.io/library/{image}")
        until(lambda: not town.live(2), "the rollout ends", 900)
        load.await_answers(5 * RATE)
    print(len(load.answers), dict(load.by_revision()), len(load.lost), "lost")
    assert town.phase()["phase"] == "succeeded"
    assert load.lost == []
    assert town.serving == f"{town.name}-2"


def test_a_drain_takes_the_pods_of_a_model_one_after_the_other(town: Town) -> None:
    """Of two replicas: while one is being replaced the other one is refused, and no request is lost."""
    revision = town.serving
    town.replicas(revision, 2)
    refused = 0
    with town.load() as load:
        load.await_answers(RATE)
        first, second = town.pods(revision)
        until(lambda: not town.evict(first), "the first pod ends")

        def ends() -> bool:
            nonlocal refused
            said = town.evict(second)
            refused += REFUSED in said
            assert not said or REFUSED in said, said
            return not said

        until(ends, "the second pod ends")
        assert sum(town.pods(revision).values()) == 1, "the one that took the first one's place"
        town.has(revision, 2)
        assert not {first, second} & town.pods(revision).keys()
        load.await_answers(5 * RATE)
    print(len(load.answers), len(load.lost), "lost", refused, "times refused")
    assert refused
    assert load.lost == []


def test_a_drain_waits_for_the_second_pod_of_a_model_that_has_one(town: Town) -> None:
    """Refused, with the budget named; once there are two it goes through, and no request is lost."""
    revision = town.serving
    town.replicas(revision, 1)
    with town.load() as load:
        (only,) = town.pods(revision)
        assert REFUSED in town.evict(only)
        budget = ("-n", town.site.models_namespace, "get", "pdb", revision)
        assert read(*budget)["status"]["disruptionsAllowed"] == 0
        town.replicas(revision, 2)
        until(lambda: not town.evict(only), "it ends")
        town.has(revision, 2)
        town.replicas(revision, 1)
        load.await_answers(5 * RATE)
    print(len(load.answers), len(load.lost), "lost")
    assert load.lost == []


def spare() -> str | None:
    """A node that may be drained: not the one of the API server, nor one that the gateway's pod is on."""
    nodes = {one["metadata"]["name"]: one["metadata"]["labels"] for one in read("get", "nodes")["items"]}
    gateways = read("get", "pods", "-A", "-l", "gateway.envoyproxy.io/owning-gateway-name")["items"]
    taken = {pod["spec"]["nodeName"] for pod in gateways}
    free = nodes.keys() - taken
    return next((name for name in free if "node-role.kubernetes.io/control-plane" not in nodes[name]), None)


def test_a_node_is_drained(town: Town) -> None:
    """``kubectl drain`` of a node that has one of a model's two pods ends, and no request is lost."""
    node, revision = spare(), town.serving
    if node is None:
        pytest.skip("a cluster of one node; KIND_CONFIG=tests/cluster/two-nodes.yaml has two")
    kubectl("uncordon", node)

    def there() -> list[str]:
        where = ("-n", town.site.models_namespace, "get", "pods", "-l", f"app=isvc.{revision}-predictor")
        return [pod["metadata"]["name"] for pod in read(*where)["items"] if pod["spec"].get("nodeName") == node]

    town.replicas(revision, 1)
    town.replicas(revision, 2)
    assert len(there()) == 1, "the pods are spread"
    try:
        with town.load() as load:
            load.await_answers(RATE)
            said = kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")
            town.has(revision, 2)
            load.await_answers(5 * RATE)
    finally:
        kubectl("uncordon", node)
    print(len(load.answers), len(load.lost), "lost", said.splitlines()[-1])
    assert there() == []
    assert load.lost == []
    town.replicas(revision, 1)


def test_a_version_that_is_gone_back_to_may_sleep_meanwhile(town: Town) -> None:
    """After the promotion the version before has no traffic and is without pods; woken, it has all of it again."""
    before, now = f"{town.name}-1", f"{town.name}-2"
    assert town.serving == now
    with town.load() as load:
        town.replicas(before, 0)
        load.await_answers(5 * RATE)
        town.replicas(before, 1)
        town.rollout("rollback", "--reason", "not so sure")
        load.await_answers(5 * RATE)
    print(len(load.answers), dict(load.by_revision()), len(load.lost), "lost")
    assert load.lost == []
    assert set(load.by_revision()) == {before, now}
    assert town.serving == before


def test_an_autoscaler_has_the_replicas(town: Town) -> None:
    """A HorizontalPodAutoscaler of the operator raises them to its minimum, and nobody takes them back."""
    revision = town.serving
    town.replicas(revision, 1, **{"serving.kserve.io/autoscalerClass": "external"})
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": revision, "namespace": town.site.models_namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{revision}-predictor"},
            "minReplicas": 2,
            "maxReplicas": 3,
        },
    }
    with town.load() as load:
        kubectl("apply", "-f", "-", given=json.dumps(scaler))
        town.has(revision, 2)
        load.await_answers(20 * RATE)
        found = read("-n", town.site.models_namespace, "get", "hpa", revision)["status"]
        assert (found["currentReplicas"], found["desiredReplicas"]) == (2, 2)
        assert len(town.pods(revision)) == 2
    print(len(load.answers), len(load.lost), "lost")
    assert load.lost == []
