"""The rollout controller of a cluster: one process that looks after all models of a namespace.

Every model that has a slot in the ledger gets the ``Control`` of a local service, with its own lease, on a backend that
moves traffic in the cluster. What one model's traffic is in the way of does not hold the others. What steps and people
need to know is left in the database, so that they need no rights in the cluster.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from serving.cluster.client import Cluster
from serving.cluster.declared import Declaration, declared_in, show
from serving.cluster.service import FOLLOWED, HEARTBEAT, OBSERVED, controller_scope
from serving.errors import InfrastructureError, SlipwayError
from serving.ledger.database import Database
from serving.ledger.ledger import Ledger
from serving.rollout.backend import Split, TrafficBackend
from serving.rollout.controller.controller import Controller
from serving.rollout.controller.desk import Desk, Memory
from serving.rollout.decision.events import Notice, Tick
from serving.rollout.telling.explain import RolloutStatus, status
from serving.rollout.telling.gauges import Sample, family, gauges, text
from serving.service.control import Control, Pass, new_holder, refusal
from serving.service.slots import Following, wanted_epoch

log = logging.getLogger(__name__)

LEASE_S = 15.0
IDLE_S = 5.0  # between two looks at traffic that is as it should be
BEAT_S = 5.0

# The backend of a model: its memory, and the fencing token under which it acts.
BackendOf = Callable[[str, Memory, int], TrafficBackend]


@dataclass(frozen=True)
class Looked:
    """What the last pass came to.

    Attributes:
        at: on the clock that cannot be set.
        trouble: why nothing can be decided now; empty when the ledger and the cluster answered.
    """

    at: float
    seconds: float = 0.0
    models: int = 0
    trouble: str = "no pass has ended yet"


@dataclass
class Notes:
    """What is kept of one model: what others were told, how often a pass failed, and the rollout at the last one."""

    memory: Memory
    failures: int = 0
    trouble: str = ""
    said: dict[str, object] = field(default_factory=dict)
    traffic: Split | None = None
    tick: Tick | None = None

    def say(self, name: str, document: dict[str, object]) -> None:
        """Leave *document* for others, once for each change."""
        if self.said.get(name) != document:
            self.memory.put(name, document)
            self.said[name] = document

    def after(self, tick: Tick, now: float) -> None:  # noqa: ARG002 - figures are made when they are asked for
        self.tick = tick

    def close(self) -> None:
        self.tick = None

    def status(self, now: float) -> RolloutStatus | None:
        tick = self.tick
        return None if tick is None or tick.state is None else status(tick.state, now, tick.seen)


class ClusterControl:
    """The controls of all models; ``run`` is the loop around them.

    Args:
        ping: asks the cluster for anything at all; raises ``InfrastructureError`` when it does not answer.
        cluster: where shares are declared; None where nobody can.
    """

    def __init__(
        self,
        namespace: str,
        ledger: Ledger,
        database: Database,
        backend_of: BackendOf,
        ping: Callable[[], object],
        notify: Callable[[Notice], None] = lambda _: None,
        cluster: Cluster | None = None,
    ) -> None:
        self._namespace, self._cluster = namespace, cluster
        self._ledger, self._database, self._backend_of, self._ping = ledger, database, backend_of, ping
        self._notify = notify
        self._holder = new_holder()
        self._memory = Memory(database, controller_scope(namespace))
        self._models: dict[str, Control] = {}
        self._notes: dict[str, Notes] = {}
        self._beaten = 0.0
        self.last = Looked(time.monotonic())

    def run(self, stopping: threading.Event, interval_s: float) -> None:
        """Pass after pass until *stopping*, then give the leases back."""
        while not stopping.wait(interval_s):
            self.look(time.time())
        self.close()

    def look(self, now: float) -> None:
        """One pass over all models; nothing is raised for what can be tried again."""
        began, trouble, models = time.monotonic(), "", 0
        try:
            self._beat(now)
            looked = [model for model in self._ledger.models() if self._look_at(model, now)]
            models = len(looked)
            self._ping()
            self._follow_declared(looked, now)
        except SlipwayError as error:
            trouble = str(error)
            if trouble != self.last.trouble:
                log.warning("a pass of the controller failed; it is tried again", extra={"reason": trouble})
        ended = time.monotonic()
        self.last = Looked(ended, ended - began, models, trouble)

    def close(self) -> None:
        for model, control in self._models.items():
            try:
                control.close()
            except InfrastructureError as error:
                log.warning(
                    "a lease was not given back; it ends by itself", extra={"model": model, "reason": str(error)}
                )

    def metrics(self, now: float) -> str:
        """Prometheus text: every rollout's figures, and the controller's own."""
        notes, last = dict(self._notes), self.last  # the loop goes on meanwhile
        statuses = [found for each in notes.values() if (found := each.status(now)) is not None]
        failures: list[Sample] = [({"service": model}, each.failures) for model, each in notes.items()]
        own = (
            family("slipway_controller_pass_seconds", "How long the last pass took.", [({}, last.seconds)]),
            family("slipway_controller_models", "Models looked after.", [({}, last.models)]),
            family("slipway_controller_ready", "1 when ledger and cluster answer.", [({}, not last.trouble)]),
            family("slipway_controller_pass_failures", "Passes that failed.", failures, kind="counter"),
        )
        return text([*gauges(*statuses), *own])

    def _beat(self, now: float) -> None:
        if now - self._beaten >= BEAT_S:
            self._memory.put(HEARTBEAT, {"at": now, "holder": self._holder})
            self._beaten = now

    def _look_at(self, model: str, now: float) -> bool:
        """Whether *model* is looked after, and one pass over it."""
        if model not in self._models and self._ledger.slot(model).version is None:
            return False
        notes = self._notes.setdefault(model, Notes(Memory(self._database, model)))
        try:
            self._tell(notes, self._control(model, notes).tick(now))
        except Exception as error:  # one model's trouble, whatever it is, must not hold the traffic of the others
            notes.failures += 1
            reason = str(error) if isinstance(error, SlipwayError) else f"{type(error).__name__}: {error}"
            if reason != notes.trouble:
                unexpected = not isinstance(error, SlipwayError)
                why = {"model": model, "reason": reason}
                log.warning("a pass over a model failed; it is tried again", extra=why, exc_info=unexpected)
            notes.trouble = reason
            self._say_followed(notes, wanted_epoch(self._ledger.slots(model)), Following(False, reason=reason))
        else:
            notes.trouble = ""
        self.last = replace(self.last, at=time.monotonic())
        return True

    def _follow_declared(self, models: Sequence[str], now: float) -> None:
        """The shares that somebody declares, of the models whose lease is ours; others get told why nothing follows."""
        if self._cluster is None:
            return
        splits = declared_in(self._cluster, self._namespace)
        for model in models:
            found, control = splits.pop(model, None), self._models.get(model)
            lease = control.desk.current() if control is not None else None
            if control is not None and lease is not None and lease.holder == self._holder:
                traffic = self._notes[model].traffic
                Declaration(self._cluster, self._ledger, control.desk, traffic, now).follow(found)
        for name, found in splits.items():
            sentence = f"no version of a model {name!r} serves here; release one, or give the Split a model's name"
            show(self._cluster, found, {"sentence": sentence, "obeyed": False}, None, now)

    def _tell(self, notes: Notes, seen: Pass) -> None:
        if seen.following is not None:
            self._say_followed(notes, seen.epoch, seen.following)
        if seen.split is not None:
            notes.traffic = seen.split
            notes.say(OBSERVED, {"weights": dict(seen.split.weights)})

    def _say_followed(self, notes: Notes, epoch: str, found: Following) -> None:
        document = {"epoch": epoch, "followed": found.followed, "reason": found.reason, "failed": found.failed}
        notes.say(FOLLOWED, document)

    def _control(self, model: str, notes: Notes) -> Control:
        if model not in self._models:
            desk = Desk(self._database, model)
            backend_of = partial(self._backend_of, model, desk.memory)
            engine = Controller(
                backend_of(0),
                desk,
                self._holder,
                check=partial(refusal, self._ledger),
                notify=self._notify,
                fenced=backend_of,
                lease_ttl=LEASE_S,
            )
            self._models[model] = Control(model, self._ledger, engine, notes, IDLE_S)
        return self._models[model]
