"""A/B tests on real Envoy as a person runs them: started, told, looked at and believed over the command line."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.pipelines.here.support import environment, slipway, write_project
from tests.serving.local.rollout_live import MODEL, LiveService, live
from tests.serving.local.support import send

LOOKS, USERS, REQUESTS = 12, 60, 4  # new users per look, requests of each


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """Version 1 serves, version 2 is approved."""
    with live(tmp_path_factory.mktemp("home") / "serving") as running:
        running.version()
        write_project(running.directory.parent.parent, name=MODEL)
        yield running


class Experiment:
    """Users of the service who come back, and what is known of them."""

    def __init__(self, house: LiveService, seed: int) -> None:
        self.house, self.home = house, house.directory.parent.parent
        self.rng = np.random.default_rng(seed)
        self.seen: dict[str, set[str]] = defaultdict(set)  # user -> revisions

    def say(self, *words: object) -> Any:
        with environment(SLIPWAY_LEDGER=f"sqlite:///{self.home}/serving/ledger.db"):
            command = ("rollout", "experiment", *words, "--project", self.home / "project.yaml", "--json")
            said = slipway(*command, home=self.home)
        assert (said.code, said.err) == (0, ""), said
        return json.loads(said.out)

    def visit(self, users: list[str], look: str) -> dict[str, str]:
        """One request of each user; the revision that answered, by request id."""
        ids = [f"{look}-{user}" for user in users]
        heads = [f"x-user: {user}\r\nx-request-id: {name}\r\n" for user, name in zip(users, ids, strict=True)]
        load = send(self.house.port, len(users), connections=1, headers=heads.__getitem__, model=MODEL)
        assert load.lost == []
        for user, answer in zip(users, load.answers, strict=True):
            self.seen[user].add(answer.revision)
        return {name: answer.revision for name, answer in zip(ids, load.answers, strict=True)}

    def tell(self, revisions: dict[str, str], mean: Callable[[str], float]) -> None:
        """The value of each request: about half earn nothing, the others twice *mean* of their revision."""
        table = self.home / "values.csv"
        rows = [f"{name},{2 * mean(arm) * self.rng.integers(0, 2)}" for name, arm in revisions.items()]
        table.write_text("\n".join(["request_id,value", *rows]))
        self.say("value", table)

    def run(self, mean: Callable[[str], float], *options: object) -> Iterator[Any]:
        """Old and new users, look after look; what each look says."""
        for look in range(LOOKS):
            users = [f"u{number}" for number in range(USERS * (look + 1))]
            come = users[-USERS:] + [str(user) for user in self.rng.choice(users, USERS)]
            for turn in range(REQUESTS):
                self.tell(self.visit(list(dict.fromkeys(come)), f"{look}.{turn}"), mean)
            yield self.say("compare", "--metric", "value", *options)


def test_users_who_are_worth_more_are_found_out(house: LiveService) -> None:
    """Looked at again and again, b is better at last; a user is one unit and never changes the variant."""
    experiment = Experiment(house, seed=3)
    assert experiment.say("start", 2, "--sticky", "x-user", "--percent", 40)["in_force"]
    looks = experiment.run(lambda arm: 3.0 if arm == "housing-2" else 2.0)
    seen = next(said for said in looks if said["verdict"] != "undecided")
    assert seen["verdict"] == "better"
    assert seen["estimate"] > REQUESTS / 2  # each request is worth 1 more, and a user's value is their sum
    assert all(len(arms) == 1 for arms in experiment.seen.values())
    counted = house.backend.counters()
    (epoch,) = {name for name, arms in counted.epochs.items() if "housing-2" in arms}
    assert sum(arm.requests for arm in counted.epochs[epoch].values()) == len(experiment.seen)


def test_equal_variants_are_never_told_apart(house: LiveService) -> None:
    """An A/A test, all looks long: undecided, and equivalent once the interval is within the margin."""
    experiment = Experiment(house, seed=5)
    assert experiment.say("start", 2, "--sticky", "x-user")["in_force"]
    verdicts = [seen["verdict"] for seen in experiment.run(lambda _: 2.0, "--margin", 8)]
    assert set(verdicts) <= {"undecided", "equivalent"}
    assert verdicts[-1] == "equivalent"
    assert all(len(arms) == 1 for arms in experiment.seen.values())
    assert {arm for arms in experiment.seen.values() for arm in arms} == {"housing-1", "housing-2"}
