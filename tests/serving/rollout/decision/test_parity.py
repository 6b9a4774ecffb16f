"""The verdicts of a rollout depend on counts alone, not on the backend that counted them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.files import write_json
from serving.local.backend import EnvoyBackend
from serving.local.envoy_config import SPLIT_ROUTE
from serving.local.extras import LogExtras
from serving.local.paths import service_paths
from serving.local.state import AskedRevision, update_desired
from serving.rollout.backend import ArmCounts, Counters, Observed
from serving.rollout.decision.engine import decide
from serving.rollout.decision.render import wanted_split
from serving.rollout.decision.rules import Seen
from serving.rollout.state import RolloutState, begin
from tests.serving.rollout.fake import Clock, FakeBackend
from tests.serving.rollout.support import NOW, READY, request

SLOW_MS = 200.0


class Fake:
    """Counts told to the fake backend."""

    def __init__(self, _: Path) -> None:
        self.backend = FakeBackend(Clock())

    def add(self, epoch: str, name: str, counts: ArmCounts) -> None:
        self.backend._count(epoch, name, counts)

    def counters(self) -> Counters:
        return self.backend.counters()


class Envoy:
    """The same counts as lines of Envoy's access log and of the model servers' prediction log."""

    def __init__(self, directory: Path) -> None:
        bundle = directory / "bundle"
        bundle.mkdir()
        self.where = service_paths(directory)
        self.where.prepare()
        wanted = AskedRevision(name="housing-1", model="housing", version=1, bundle_uri=bundle.as_uri(), digest="1")
        update_desired(
            self.where, lambda d: d.model_copy(update={"stable": "housing-1", "revisions": {"housing-1": wanted}})
        )
        write_json(bundle / "none.json", {})
        self.backend = EnvoyBackend(directory, extras=LogExtras(directory, lambda _: bundle).read)

    def add(self, epoch: str, name: str, counts: ArmCounts) -> None:
        with self.where.access_log.open("a") as file:
            for number in range(counts.requests):
                status = 500 if number < counts.errors else 200
                duration = 900 if number >= counts.requests - counts.slow else 5
                line = {"r": SPLIT_ROUTE + epoch, "c": name, "s": status, "f": "-", "d": duration, "e": None}
                file.write(json.dumps(line) + "\n")
        folder = self.where.predictions / name
        folder.mkdir(exist_ok=True)
        with (folder / "predictions-1.jsonl").open("a") as file:
            for value, n in counts.bins.items():
                line = {"request_id": "r", "row": 0, "time": "2026-01-01T00:00:00Z", "prediction": value}
                file.write((json.dumps({**line, "epoch": epoch}) + "\n") * n)

    def counters(self) -> Counters:
        return Counters(self.backend.counters(SLOW_MS).epochs)  # Envoy itself does not run here


def trace(source: Any, rates: dict[str, float], seed: int) -> list[tuple[str, str, str]]:
    """Verdict, sentence and evidence of each look at one rollout whose counts are drawn with *seed*."""
    rng = np.random.default_rng(seed)
    state: RolloutState = begin(request(), FakeBackend(Clock()).capabilities(), NOW)
    now, found = NOW, list[tuple[str, str, str]]()
    for _ in range(120):
        now += 2.0
        epoch = state.epoch
        if epoch is not None and state.settled:
            canary = int(rng.binomial(600, epoch.weight / 1000))
            source.add(epoch.token, "housing-2", drawn(rng, canary, rates))
            source.add(epoch.token, "housing-1", drawn(rng, 600 - canary, {}))
        split = wanted_split(state)
        observed = Observed(split, epoch.token if epoch else None, "digest")
        decision = decide(state, Seen(READY, READY, observed, source.counters(), drained=True), now)
        found.append((decision.verdict, decision.sentence, decision.evidence.model_dump_json()))
        state = decision.state.model_copy(update={"done": ("adopt", "remove")})
        if decision.state.terminal or decision.verdict == "pause":
            break
    return found


def drawn(rng: np.random.Generator, n: int, rates: dict[str, float]) -> ArmCounts:
    errors = int(rng.binomial(n, rates.get("errors", 0.001)))
    slow = int(rng.binomial(n - errors, rates.get("slow", 0.001)))
    high = int(rng.binomial(n - errors, rates.get("high", 0.5)))
    bins = {name: count for name, count in (("low", n - errors - high), ("high", high)) if count}
    return ArmCounts(requests=n, errors=errors, slow=slow, bins=bins)


@pytest.mark.parametrize(
    ("rates", "end"),
    [
        pytest.param({}, "finish", id="equal"),
        pytest.param({"errors": 0.05}, "rollback", id="errors"),
        pytest.param({"slow": 0.05}, "rollback", id="slow"),
        pytest.param({"high": 1.0}, "pause", id="other-predictions"),
    ],
)
def test_equal_counts_lead_to_equal_verdicts(tmp_path: Path, rates: dict[str, float], end: str) -> None:
    """Look by look, to the last digit of the evidence, whether a fake or Envoy's log counted."""
    fake, envoy = trace(Fake(tmp_path), rates, 7), trace(Envoy(tmp_path), rates, 7)
    assert fake == envoy
    assert end in [verdict for verdict, _, _ in fake]
