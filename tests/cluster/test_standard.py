"""KServe's own canary on a real cluster whose KServe divides its traffic (`make test-cluster`).

What is checked is what callers and operators see: answers through the gateway, pods, the object that KServe has.
"""

import signal
from collections.abc import Iterator

import pytest

from serving.cluster.client import open_cluster
from serving.cluster.installation import probe, reason_against
from serving.errors import InfrastructureError
from serving.rollout.state import Phase
from tests.cluster.support import CONTEXT, kubectl, read, require_cluster, until
from tests.cluster.ways import RATE, STEPS, Town, town

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_200)]


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    require_cluster()
    why = reason_against(probe(open_cluster(CONTEXT)), "standard")
    if why:
        pytest.skip(f"this installation cannot: {why}")
    with town("standard", tmp_path_factory.mktemp("town")) as found:
        found.serves(1)
        yield found


def test_a_rollout_that_is_promoted_and_one_that_is_sent_home_lose_nothing(made: Town) -> None:
    """Under load through the gateway: every request is answered, shares are as asked, and the pods that served as a
    canary serve on as the stable side."""
    with made.load(rate=RATE) as load:
        load.await_answers(RATE)
        made.begin(2)
        canary = made.pods(2)
        promoted = made.rollout(2)
        assert promoted.phase is Phase.SUCCEEDED
        assert made.pods(2) == canary, "a pod was started anew on the way"
        load.await_answers(5 * RATE)
        home = made.rollout(3, home_at=STEPS[-1])
        assert home.phase is Phase.ROLLED_BACK
        assert made.pods(2) == canary
        until(lambda: not made.pods(3), "the candidate's pods are gone")
        load.await_answers(5 * RATE)
    print(len(load.answers), "answers", dict(load.by_revision()), "lost", len(load.lost))
    assert load.lost == []
    assert {f"{made.model}-{number}" for number in (1, 2, 3)} == set(load.by_revision())
    assert made.predictor()["name"] == "v2"


@pytest.mark.parametrize("home_at", [None, STEPS[-1]], ids=["promoted", "sent-home"])
def test_a_controller_that_is_killed_in_each_phase_loses_nothing(made: Town, home_at: int | None) -> None:
    """The next one goes on from where the split is, both ways, and no pod is started anew."""
    killed: set[Phase] = set()
    with made.load(rate=RATE) as load:
        made.begin(2)
        pods = made.pods(1), made.pods(2)
        until(lambda: killed_in_each_phase(made, killed, home_at), "the rollout ends", 900)
        load.await_answers(2 * RATE)
    print(len(load.answers), "answers", dict(load.by_revision()), "lost", len(load.lost), sorted(killed))
    assert load.lost == []
    assert len(killed) > 3
    assert made.pods(1 if home_at else 2) == pods[0 if home_at else 1]


def killed_in_each_phase(made: Town, killed: set[Phase], home_at: int | None) -> bool:
    state = made.live()
    assert state is not None
    if made.over(home_at):
        return True
    if state.phase not in killed:
        killed.add(state.phase)
        made.end(signal.SIGKILL)
        made.control()
    return False


def test_a_canary_takes_no_capacity_and_one_that_cannot_load_no_traffic(made: Town) -> None:
    """Two replicas serve beside a canary of one and after it; a bundle that is not there is told with its reason, and
    nobody's request meets it."""
    kubectl(
        "-n", made.namespace, "patch", "inferenceservice", made.model, "--type=merge",
        "-p", '{"spec": {"predictor": {"minReplicas": 2}}}',
    )  # fmt: skip
    until(lambda: ready(made, 1) == 2, "two replicas of the stable side")
    with made.load(rate=RATE) as load:
        load.await_answers(RATE)
        made.begin(2)
        assert (ready(made, 1), ready(made, 2)) == (2, 1)
        made.rollout(2, home_at=STEPS[0])
        until(lambda: (ready(made, 1), ready(made, 2)) == (2, 0), "two replicas are left")
        made.missing(3)
        state = made.rollout(3)
        assert state.phase is Phase.ROLLED_BACK
        load.await_answers(2 * RATE)
    print(len(load.answers), "answers", dict(load.by_revision()), "lost", len(load.lost), state.outcome)
    assert load.lost == []
    assert f"{made.model}-3" not in load.by_revision()
    assert made.predictor()["minReplicas"] == 2


def ready(made: Town, version: int) -> int:
    deployments = read("-n", made.namespace, "get", "deployments")["items"]
    mine = (one for one in deployments if one["metadata"]["name"] == f"{made.model}-v{version}-predictor")
    return next((int(one.get("status", {}).get("readyReplicas") or 0) for one in mine), 0)


def test_the_webhooks_no_is_told_as_its_own() -> None:
    """What KServe's webhook denies is not blamed on a role."""
    require_cluster()
    body = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "denied", "namespace": "models"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "slipway"}, "name": "kserve-container"}}},
    }
    with pytest.raises(InfrastructureError, match=r"^the admission webhook inferenceservice\.kserve.* refuses PATCH"):
        open_cluster(CONTEXT).apply(body)
