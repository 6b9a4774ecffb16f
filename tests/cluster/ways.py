"""``python -m tests.cluster.ways``: by each way one rollout promoted and one sent home, under load through the gateway.

In a namespace of its own, with a rollout controller of this checkout outside of the cluster. What is printed is a table
of docs/cluster.md.
"""

import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from pipelines.deploying.namespace import COPIED
from serving.bundle.signing import SigningKey
from serving.cluster.client import open_cluster
from serving.cluster.installation import Way, choose, probe
from serving.files import sha256_bytes
from serving.ledger.ledger import Ledger, open_ledger
from serving.places import open_service
from serving.rollout.controller.persistence import Command
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import Phase, Reason, RolloutState
from serving.service import by_hand
from serving.service.release import release_version
from serving.service.service import Service
from serving.store.settings import S3Settings
from serving.store.store import Store, open_store
from tests.cluster.kserve.models import bundle, iris
from tests.cluster.kserve.models import secret as values_of
from tests.cluster.support import CONTEXT, DOMAIN, forwarded, kubectl, read, through_gateway, until
from tests.load import Load
from tests.root import ROOT
from tests.serving.ledger.facts import facts

WAYS: tuple[Way, ...] = ("route", "standard")
RATE = 100  # requests per second
STEPS = (20, 50)
QUICK = {"ready": "3m", "dwell": "5s", "step": "10m", "bake": "5s", "drain": "20s"}
BODIES = [json.dumps({"instances": [[6.8, 2.8, 4.8, width / 10]]}).encode() for width in range(10, 20)]
_OVER = (Phase.SUCCEEDED, Phase.ROLLED_BACK)


@dataclass
class Town:
    """A namespace with bundles 1, 2, 3 of a model in MinIO, and its ledger and controller here."""

    namespace: str
    way: Way
    home: Path
    digests: dict[int, str] = field(default_factory=dict)
    controller: subprocess.Popen[bytes] | None = None

    @property
    def model(self) -> str:
        return f"iris-{self.way}"

    @property
    def serving(self) -> str:
        return f"kserve://{self.namespace}?way={self.way}"

    @cached_property
    def ledger(self) -> Ledger:
        return open_ledger(f"sqlite:///{self.home}/ledger.db")

    @property
    def service(self) -> Service:
        return open_service(self.serving, self.model, f"sqlite:///{self.home}/ledger.db")

    @property
    def host(self) -> str:
        """Where callers find the model: by our route, or as KServe says of its InferenceService."""
        if self.way == "route":
            return f"{self.model}.{DOMAIN}"
        found = read("-n", self.namespace, "get", "inferenceservices")["items"]
        return next((str(one.get("status", {}).get("url", "")).partition("://")[2] for one in found), "")

    def load(self, **how: Any) -> Load:
        return through_gateway(self.model, BODIES, to=self.host, **how)

    def live(self) -> RolloutState | None:
        """The rollout that is, or was last."""
        with self.service.desk() as desk:
            found = desk.load()
        return found.state if found is not None else None

    def pods(self, version: int) -> set[str]:
        """UIDs of the pods that were started for *version*, of those that run."""
        found = read("-n", self.namespace, "get", "pods", "-l", "component=predictor")["items"]
        mine = [pod for pod in found if {"name": "SLIPWAY_VERSION", "value": str(version)} in _env(pod)]
        return {pod["metadata"]["uid"] for pod in mine if "deletionTimestamp" not in pod["metadata"]}

    def control(self) -> None:
        """Start the verb of the cluster's Deployment as a process of this machine."""
        command = [
            sys.executable, "-m", "pipelines.cli.main", "--home", str(self.home), "rollout", "controller",
            "--context", CONTEXT, "--health", "127.0.0.1:0",
        ]  # fmt: skip
        place = {"SLIPWAY_LEDGER": f"sqlite:///{self.home}/ledger.db", "SLIPWAY_SERVING": self.serving}
        with (self.home / "controller.log").open("a") as log:
            self.controller = subprocess.Popen(command, cwd=ROOT, env=os.environ | place, stdout=log, stderr=log)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the controller, and wait for its end."""
        if self.controller is not None:
            self.controller.send_signal(how)
            self.controller.wait()

    def serves(self, version: int) -> None:
        """Have *version* registered, and serve alone."""
        self.register(version)
        self.ledger.promote(self.model, version, "ways", "to begin with")
        until(lambda: self.host, "there is a host")
        until(lambda: self.load().run(1).answers[0].status == 200, "it answers")

    def register(self, version: int) -> None:
        known = facts(self.digests[version], f"s3://slipway/{self.namespace}/{version}")
        made = self.ledger.register(self.model, known, "ways")
        assert made.version == version
        self.ledger.approve(self.model, version, "ways", "it answers")

    def missing(self, version: int) -> None:
        """Let the bundle of *version* be where nothing is."""
        nowhere = facts("0" * 64, f"s3://slipway/{self.namespace}/nowhere")
        self.ledger.register(self.model, nowhere, "ways")
        self.ledger.approve(self.model, version, "ways", "a mistake")

    def predictor(self) -> dict[str, Any]:
        found = read("-n", self.namespace, "get", "inferenceservice", self.model)["spec"]["predictor"]
        assert isinstance(found, dict)
        return found

    def start(self, version: int) -> None:
        """Begin the rollout of *version* through ``STEPS``; once more changes nothing."""
        if len(self.ledger.versions(self.model)) < version:
            self.register(version)
        plan = RolloutPlan.model_validate(
            {
                "service": self.model,
                "steps": list(STEPS),
                "time": QUICK,
                "risk": {"max_initial_weight": STEPS[0]},
                "gates": {"output": {"on_shift": "ignore"}},  # of ten rows that are asked again and again
            }
        )
        release_version(self.ledger, self.service, version, plan, "ways", again=True, timeout_s=0.0)
        until(lambda: (found := self.live()) and found.candidate.version == version, "it is begun")

    def begin(self, version: int) -> None:
        """Have the rollout of *version* wait at its first step until a person agrees to the next."""

        def asked() -> Reason | None:
            state = self.live()
            return state.pause.reason if state is not None and state.pause is not None else None

        self.start(version)
        until(lambda: asked() is Reason.UNRANDOM, "a person is asked, as arms are dealt out in turn", 300)

    def rollout(self, version: int, *, home_at: int | None = None) -> RolloutState:
        """Take *version* to its end, see ``over``."""
        self.start(version)
        until(lambda: self.over(home_at), f"the rollout of version {version} ends", 600)
        state = self.live()
        assert state is not None
        return state

    def over(self, home_at: int | None = None) -> bool:
        """Whether the rollout has ended; a person agrees where one is asked, and sends it home at *home_at* percent."""
        state = self.live()
        assert state is not None
        if state.phase in _OVER:
            return True
        if home_at is not None and state.settled and state.weight == home_at * 10:
            self._say("abort")
        elif state.pause is not None:
            assert state.pause.reason is Reason.UNRANDOM, state.pause
            self._say("approve")
        return False

    def _say(self, order: Any) -> None:
        with contextlib.suppress(Exception):  # the rollout went on meanwhile
            by_hand.order(self.service, Command(order, "ways", "seen enough"))


def _env(pod: Any) -> list[Any]:
    return list(pod["spec"]["containers"][0].get("env", ()))


@contextlib.contextmanager
def town(way: Way, home: Path) -> Iterator[Town]:
    """A town for *way*, gone with all that is in it at the end."""
    made = Town(f"ways-{secrets.token_hex(3)}", way, home)
    copied = kubectl("-n", "models", "get", *COPIED.split(), "-o", "json")
    command = [sys.executable, "-m", "pipelines.deploying.namespace", made.namespace]
    wanted = subprocess.run(command, cwd=ROOT, input=copied, capture_output=True, text=True, check=True).stdout
    kubectl("apply", "--server-side", "-f", "-", given=wanted)
    try:
        upload(made)
        made.control()
        yield made
    finally:
        made.end()
        kubectl("delete", "namespace", made.namespace, code=None)  # pods that end write the last of their predictions
        with bundles(made.home) as store:
            for key in store.list(made.namespace):
                store.delete(key)


@contextlib.contextmanager
def bundles(home: Path) -> Iterator[Store]:
    """The cluster's store, by a port of this machine and secrets that are left in *home*."""
    with forwarded("slipway-system", "svc/minio", 9000) as port:
        for name, value in {**values_of("slipway-object-store"), "endpoint": f"127.0.0.1:{port}".encode()}.items():
            (home / name).write_bytes(value)
        yield open_store("s3://slipway", S3Settings.from_files(home))


def upload(made: Town) -> None:
    """Three bundles of models that differ a little, signed by the key that the cluster trusts."""
    key = SigningKey.from_pem(values_of("slipway-signing-key")["signing.key"])
    with bundles(made.home) as store:
        for version in (1, 2, 3):
            contract, rows, kinds, _ = iris()
            model = Pipeline([("model", LogisticRegression(max_iter=1_000, C=version))])
            model.fit(contract.frame(rows), kinds)
            directory = made.home / str(version)
            bundle(directory, (contract, rows, kinds, model), key)
            store.upload_directory(directory, f"{made.namespace}/{version}")
            made.digests[version] = sha256_bytes((directory / "manifest.json").read_bytes())


def row(told: str, ended: str, load: Load) -> str:
    shares = sorted((name.rpartition("-")[2], count) for name, count in load.by_revision().items())
    by_version = ", ".join(f"{count:,} by {version or 'none'}" for version, count in shares)
    return f"| {told} | {ended} | {len(load.answers):,} | {len(load.lost):,} | {by_version} | {load.seconds:.0f} s |"


def both(made: Town) -> Iterator[str]:
    """One rollout to its end and one sent home from the last step, each under load."""
    made.serves(1)
    for told, version, home_at in (("promoted", 2, None), (f"sent home at {STEPS[-1]} %", 3, STEPS[-1])):
        with made.load(rate=RATE) as load:
            load.await_answers(RATE)
            state = made.rollout(version, home_at=home_at)
            load.await_answers(5 * RATE)
        yield row(f"`{made.way}`, {told}", state.phase.value, load)


def unaided(made: Town) -> Iterator[str]:
    """The same object written by a person, with nobody in between: a canary that leaves with its traffic, and a word
    about who owns the model."""
    made.begin(3)
    made.end()
    for told, patch in (
        ("a canary with traffic is taken out", {"spec": {"canary": []}}),
        ("an annotation is added", {"metadata": {"annotations": {"team": "pricing"}}}),
    ):
        before = made.pods(2)
        with made.load(rate=RATE) as load:
            load.await_answers(2 * RATE)
            kubectl(
                "-n", made.namespace, "patch", "inferenceservice", made.model, "--type=merge", "-p", json.dumps(patch)
            )
            load.await_answers(20 * RATE)
        anew = "all pods anew" if not before & made.pods(2) else "the same pods"
        yield row(f"`spec.canary` by `kubectl patch`, {told}", anew, load)


def main(ways: Sequence[Way]) -> None:
    seen = probe(open_cluster(CONTEXT))
    print(f"KServe {seen.kserve}, {RATE} requests/s, {' % to '.join(map(str, STEPS))} %, one replica each.\n")
    print("| way | ended | requests | lost | by version | took |\n|---|---|---|---|---|---|")
    for way in ways:
        choose(seen, way)
        with tempfile.TemporaryDirectory() as name, town(way, Path(name)) as made:
            for line in itertools.chain(both(made), unaided(made) if way == "standard" else ()):
                print(line, flush=True)


if __name__ == "__main__":
    main([way for way in WAYS if way in (sys.argv[1:] or WAYS)])
