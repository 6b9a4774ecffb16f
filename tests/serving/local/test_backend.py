"""The traffic backend of this machine: what it writes down, what it refuses, and what it reads from real Envoy."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from serving.errors import BackendRefusal, ConflictError, InfrastructureError, PlaceError
from serving.files import write_json
from serving.local import client, processes
from serving.local.backend import EnvoyBackend
from serving.local.envoy_admin import Admin
from serving.local.envoy_config import SPLIT_ROUTE
from serving.local.paths import service_paths
from serving.local.state import AskedRevision, ObservedState, Server, read_desired
from serving.rollout.backend import ArmCounts, Counters, Observed, Revision, Split
from tests.serving.local.support import Service, predictions, send, service
from tests.serving.rollout.backend_contract import BackendContract

HALF = {"housing-1": 500, "housing-2": 500}


def revision(version: int) -> Revision:
    return Revision(f"housing-{version}", "housing", version, f"file:///bundles/{version}", f"{version:064d}")


@pytest.fixture
def paper(tmp_path: Path) -> EnvoyBackend:
    """A service on paper: a supervisor that says that two revisions are ready and one is not, and no processes."""
    backend = EnvoyBackend(tmp_path)
    servers = {}
    for version, state in ((1, "ready"), (2, "ready"), (3, "starting")):
        backend.ensure(revision(version), 1)
        wanted = AskedRevision(**vars(revision(version)))
        servers[f"housing-{version}"] = Server.model_validate({"wanted": wanted, "state": state, "endpoint": 9})
    seen = ObservedState(supervisor_pid=os.getpid(), supervisor_started=processes.own_start(), servers=servers)
    write_json(service_paths(tmp_path).observed, seen.model_dump(mode="json"))
    return backend


def test_whoever_shares_the_process_hears_of_a_change_at_once(paper: EnvoyBackend) -> None:
    """Also of one that is made under a lease, and not of one that is asked for in vain."""
    paper.reading.changed.clear()
    with pytest.raises(BackendRefusal):
        paper.adopt("housing-9")
    assert not paper.reading.changed.is_set()
    replace(paper, fence=1).adopt("housing-1")
    assert paper.reading.changed.is_set()


def test_counts_of_an_epoch_are_made_anew_only_when_they_change(paper: EnvoyBackend) -> None:
    """Those of the epochs before stay the very same objects, unless another time counts as slow."""
    log = service_paths(paper.service_dir).access_log
    log.parent.mkdir()
    extras = {"new": {"a": ArmCounts(errors=1)}}
    backend = replace(paper, extras=lambda: extras)

    def looked(epoch: str, slow_ms: float = 2.0) -> Mapping[str, Mapping[str, ArmCounts]]:
        line = {"r": f"{SPLIT_ROUTE}{epoch}", "e": None, "c": "a", "s": 200, "f": "-", "d": 3}
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return backend.counters(slow_ms).epochs

    looked("old")
    before, after = looked("new"), looked("new")
    assert after["old"] is before["old"]
    assert [seen["new"]["a"].requests for seen in (before, after)] == [1, 2]
    extras["new"] = {"a": ArmCounts(errors=2)}
    assert looked("old")["new"]["a"].errors == 2
    assert looked("old", 5.0)["new"]["a"].slow == 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("backend")) as running:
        running.ready(1, 2)
        yield running


@pytest.mark.parametrize(
    ("split", "epoch", "told"),
    [
        pytest.param(Split({"housing-1": 1000}), "two words", "epoch token", id="a-token-that-is-no-header"),
        pytest.param(Split({"housing-9": 1000}), "e", "housing-9 is absent", id="an-unknown-arm"),
        pytest.param(Split({"housing-1": 900, "housing-3": 100}), "e", "housing-3 is starting", id="an-arm-not-ready"),
        pytest.param(
            Split({"housing-1": 1000}, mirror="housing-3"), "e", "housing-3 is starting", id="mirror-not-ready"
        ),
        pytest.param(Split({"housing-1": 1000}, header_arms=("x",)), "e", "x is absent", id="an-unknown-header-arm"),
        pytest.param(Split({"housing-1": 1000, "x": 0}), "e", "not there", id="an-unknown-arm-without-weight"),
    ],
)
def test_an_impossible_split_is_refused_and_changes_nothing(
    paper: EnvoyBackend, split: Split, epoch: str, told: str
) -> None:
    """The reason names the arm or the number, and what is wanted stays as it was."""
    before = read_desired(service_paths(paper.service_dir))
    with pytest.raises(BackendRefusal, match=told):
        paper.apply(split, epoch)
    assert read_desired(service_paths(paper.service_dir)) == before


def test_what_an_earlier_version_wanted_is_still_read(tmp_path: Path) -> None:
    """The document of a home from before reads as values of the port, and says the same when it is written again."""
    text = (
        '{"generation":3,"fence":2,"stable":"housing-1","revisions":{"housing-1":{"name":"housing-1","model":"housing",'
        '"version":1,"bundle_uri":"file:///b","digest":"d","replicas":1,"asked":2}},"split":{"weights":{"housing-1":'
        '1000},"mirror":null,"sticky_header":"x-user","header_arms":["housing-1"]},"epoch":"e1"}'
    )
    where = service_paths(tmp_path)
    where.desired.write_text(text)
    desired = read_desired(where)
    assert desired.split == Split({"housing-1": 1000}, None, "x-user", ("housing-1",))
    assert desired.revisions["housing-1"].asked == 2
    assert desired.model_dump_json() == text
    where.desired.write_text(text.replace("1000", "990"))
    with pytest.raises(PlaceError, match="restore it or remove it"):
        read_desired(where)


def test_saying_it_again_writes_nothing(paper: EnvoyBackend) -> None:
    """Every call may be repeated after a crash: the second time the wanted state keeps its generation."""
    where = service_paths(paper.service_dir)

    def everything() -> int:
        paper.ensure(revision(1), 1)
        paper.apply(Split(HALF, header_arms=("housing-2",)), "e1")
        paper.adopt("housing-1")
        paper.remove("housing-3")
        return read_desired(where).generation

    assert everything() == everything()


def test_an_arm_that_fails_later_does_not_stop_the_same_split_or_the_way_home(paper: EnvoyBackend) -> None:
    """Repeating a split needs no readiness; a new split asks only the arms that get traffic."""
    paper.apply(Split(HALF), "e1")
    path = service_paths(paper.service_dir).observed
    seen = ObservedState.model_validate_json(path.read_bytes())
    failed = seen.servers["housing-2"].model_copy(update={"state": "failed", "reason": "exit code 1"})
    servers = {**seen.servers, "housing-2": failed}
    write_json(path, seen.model_copy(update={"servers": servers}).model_dump(mode="json"))
    assert paper.readiness("housing-2").reason == "exit code 1"
    paper.apply(Split(HALF), "e1")
    with pytest.raises(BackendRefusal, match="housing-2 is failed"):
        paper.apply(Split({"housing-1": 100, "housing-2": 900}), "e2")
    paper.apply(Split({"housing-1": 1000, "housing-2": 0}), "e2")


def test_a_revision_keeps_its_name_and_its_bundle(paper: EnvoyBackend) -> None:
    """The same name for another bundle is a conflict; a name that Envoy could not carry is refused."""
    with pytest.raises(ConflictError, match="never used for another bundle"):
        paper.ensure(replace(revision(1), digest="f" * 64), 1)
    with pytest.raises(BackendRefusal, match="seen 'a b'"):
        paper.ensure(replace(revision(1), name="a b"), 1)


def test_what_has_weight_stays_and_what_is_absent_is_done(paper: EnvoyBackend) -> None:
    """Removal is refused while there is traffic; adopting needs a revision; removing nothing is no error."""
    paper.apply(Split({"housing-1": 990, "housing-2": 10}, header_arms=("housing-2",)), "e1")
    with pytest.raises(BackendRefusal, match="has 10 per mille"):
        paper.remove("housing-2")
    with pytest.raises(BackendRefusal, match="housing-9 is not there"):
        paper.adopt("housing-9")
    paper.remove("housing-9")
    paper.apply(Split({"housing-1": 1000, "housing-2": 0}, header_arms=("housing-2",)), "e2")
    paper.remove("housing-2")
    desired = read_desired(service_paths(paper.service_dir))
    assert desired.split is not None
    assert (dict(desired.split.weights), desired.split.header_arms) == ({"housing-1": 1000}, ())
    assert paper.readiness("housing-2").state == "absent"


def test_a_controller_that_lost_its_lease_is_stopped(paper: EnvoyBackend) -> None:
    """Once a newer token has written, an older one is a conflict; a person is not fenced off."""
    old, new = replace(paper, fence=4), replace(paper, fence=5)
    old.apply(Split(HALF), "e1")
    new.apply(Split({"housing-1": 1000}), "e2")
    for act in (lambda: old.apply(Split(HALF), "e3"), lambda: old.adopt("housing-2"), lambda: old.remove("housing-2")):
        with pytest.raises(ConflictError, match="token 4, the service has seen 5"):
            act()
    paper.adopt("housing-1")


def test_without_a_supervisor_the_place_does_not_answer(tmp_path: Path) -> None:
    """What needs an answer says so; what is wanted can be written down for later; counts are known but not fresh."""
    backend = EnvoyBackend(tmp_path)
    backend.ensure(revision(1), 1)
    for ask in (backend.observed, lambda: backend.drained("housing-1"), lambda: backend.readiness("housing-1")):
        with pytest.raises(InfrastructureError, match="slipway serve"):
            ask()
    assert not backend.counters().fresh


def test_what_only_the_prediction_log_knows_is_added(tmp_path: Path) -> None:
    """Bins, labels and mirrored answers come from the injected reader, requests and time from Envoy's log."""
    where = service_paths(tmp_path)
    where.prepare()
    where.access_log.write_text('{"r":"split|e1","c":"housing-1","s":200,"f":"-","d":30}\n' * 3)
    extra = ArmCounts(errors=1, bins={"low": 3}, labelled=2, mistakes=1, mirrored_differences=2)
    backend = EnvoyBackend(tmp_path, extras=lambda: {"e1": {"housing-1": extra}})
    assert backend.counters(20).epochs == {"e1": {"housing-1": replace(extra, requests=3, slow=3, mirrored=2)}}


def test_the_observed_split_is_the_one_that_was_asked_for(shared: Service) -> None:
    """Weights to the per mille, mirror, hash header and header arms come back from Envoy as they went in."""
    split = Split({"housing-1": 999, "housing-2": 1}, "housing-2", "x-user", ("housing-1", "housing-2"))
    shared.split("full", split)
    found = shared.backend.observed()
    assert found == Observed(split, "full", found.digest, "")


def test_the_digest_changes_with_the_split_and_with_nothing_else(shared: Service) -> None:
    """Adopting another stable revision is no drift; another weight is."""
    shared.split("digest", Split(HALF))
    before = shared.backend.observed()
    shared.backend.adopt("housing-2")
    wanted = read_desired(service_paths(shared.directory)).generation

    def settled() -> bool | None:
        load = send(shared.port, 1, model="other")
        return load.answers[0].revision == "housing-2" or None

    client.wait_for(settled, 10, lambda: f"generation {wanted} did not settle")
    assert shared.backend.observed() == before
    shared.split("digest", Split({"housing-1": 501, "housing-2": 499}))
    client.wait_for(lambda: shared.backend.observed().digest != before.digest or None, 10, lambda: "same digest")


def test_drained_means_that_the_last_caller_has_its_answer(shared: Service) -> None:
    """Weight 0 is not enough: a request in flight keeps the revision until it is answered."""
    shared.split("busy", Split({"housing-2": 1000}))
    shared.revision(2, hold=True)
    load = predictions(shared.port)
    thread = threading.Thread(target=load.run, args=(1,))
    thread.start()
    admin = Admin(int(client.status(shared.directory).admin_address.rpartition(":")[2]))
    client.wait_for(lambda: admin.in_flight("housing-2") or None, 10, lambda: "not in flight")
    assert not shared.backend.drained("housing-2")
    shared.split("home", Split({"housing-1": 1000, "housing-2": 0}))
    assert not shared.backend.drained("housing-2")
    shared.backend.remove("housing-2")
    shared.looked_at_for(1.0)  # the supervisor has had many occasions to end it, and waits for the caller
    assert not load.answers
    shared.revision(2)
    client.wait_for(lambda: shared.backend.drained("housing-2") or None, 10, lambda: "does not drain")
    thread.join()
    assert [answer.status for answer in load.answers] == [200]
    shared.ready(2)


def test_counts_outlive_whoever_asks(shared: Service) -> None:
    """Every backend object and every supervisor sees the same counts; each request is in exactly one epoch."""
    shared.ready(1, 2)
    for number in range(3):
        shared.split(f"count-{number}", Split(HALF))
        send(shared.port, 100)
    for number in range(3):
        assert sum(shared.settled(100, f"count-{number}").values()) == 100
    before = shared.backend.counters()
    assert before.fresh
    shared.kill()
    shared.start()
    assert EnvoyBackend(shared.directory).counters() == before


@dataclass(frozen=True)
class OneOfMany(EnvoyBackend):
    """The backend of a service that several tests use in turn, each with epochs of its own."""

    prefix: str = ""

    def apply(self, split: Split, epoch: str) -> None:
        super().apply(split, self.prefix + epoch)

    def observed(self) -> Observed:
        found = super().observed()
        mine = found.epoch is not None and found.epoch.startswith(self.prefix)
        return replace(found, epoch=(found.epoch or "").removeprefix(self.prefix) if mine else None)

    def counters(self, slow_ms: float | None = None) -> Counters:
        found = super().counters(slow_ms)
        mine = {e.removeprefix(self.prefix): arms for e, arms in found.epochs.items() if e.startswith(self.prefix)}
        return replace(found, epochs=mine)


class EnvoyPlace:
    """What the contract suite needs: revisions of its own in the shared service."""

    sticky_header = "x-user"
    used = 100

    def __init__(self, running: Service) -> None:
        self.running = running
        EnvoyPlace.used += 10
        self.first = EnvoyPlace.used
        self.backend = OneOfMany(running.directory, prefix=f"t{self.first}.")

    def revision(self, number: int) -> Revision:
        return self.running.revision(self.first + number)

    def broken(self, number: int) -> Revision:
        return self.running.revision(self.first + number, crash="ValueError: the bundle is empty")

    def send(self, n: int, *, arm: str | None = None, key: str | None = None) -> list[str]:
        headers = "".join(f"{name}: {value}\r\n" for name, value in (("x-model-arm", arm), ("x-user", key)) if value)
        load = send(self.running.port, n, connections=1 if headers else 8, headers=headers)
        return [answer.revision for answer in load.answers]

    def fail(self, revision: str) -> None:
        self.running.revision(int(revision.removeprefix("housing-")), errors=True)

    def slow(self, revision: str) -> None:
        self.running.revision(int(revision.removeprefix("housing-")), delay_s=0.12)

    def until(self, true: Callable[[], bool]) -> None:
        client.wait_for(lambda: true() or None, 20, lambda: f"{client.status(self.running.directory)}")

    def close(self) -> None:
        """All traffic back to the service's own revision, and this test's revisions away."""
        self.running.split(f"t{self.first}.end", Split({"housing-1": 1000}))
        for entry in client.status(self.running.directory).revisions:
            if entry.name != "housing-1":
                self.running.backend.remove(entry.name)


class TestEnvoyKeepsTheContract(BackendContract):
    """The suite of all backends, on one real Envoy."""

    @pytest.fixture
    def place(self, shared: Service) -> Iterator[EnvoyPlace]:
        shared.ready(1)
        made = EnvoyPlace(shared)
        yield made
        made.close()
