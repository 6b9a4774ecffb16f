"""What a predictor process knows about itself: its phase, its model once there is one, its counts."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from serving.predictor.errors import Refusal, internal, shown
from serving.predictor.log import AnsweredRequest, PredictionLog, open_log
from serving.predictor.metrics import Metrics, quantile
from serving.predictor.served import Served
from serving.predictor.settings import Settings
from serving.predictor.work import Done
from serving.wire import REVISION_HEADER, unit

if TYPE_CHECKING:
    from serving.bundle.bundle import Bundle

LOG = logging.getLogger("slipway.predictor")

Phase = Literal["loading", "load_failed", "ready", "draining"]


class PredictorState:
    """The one mutable value of the process; changed on the event loop, and by the thread that loads.

    Attributes:
        reason: why the model does not answer; a sentence.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.phase: Phase = "loading"
        self.reason = f"{settings.bundle} is being loaded"
        self.served: Served | None = None
        self.log: PredictionLog | None = None
        self.metrics = Metrics(settings.model_name, settings.version)
        self.started = time.time()

    @property
    def ready(self) -> bool:
        """Whether new traffic should be sent here."""
        return self.phase == "ready"

    def model(self) -> Served:
        """The model, while it answers: also while draining, when readiness already says no.

        Raises:
            Refusal: 503 with the reason.
        """
        if self.served is None:
            raise self.unready()
        return self.served

    @property
    def marks(self) -> tuple[tuple[str, str], ...]:
        """Headers of every answer: who gave it."""
        return (("x-model-version", self.settings.version), (REVISION_HEADER, self.settings.revision))

    def check(self, name: str, version: str | None) -> None:
        """Whether the model that a caller names is the one here; it need not name a version.

        Raises:
            Refusal: 404.
        """
        settings = self.settings
        if name != settings.model_name:
            raise Refusal("not_found", f"no model named {shown(name)}: this server has {settings.model_name!r}")
        if version and version != settings.version:
            raise Refusal("not_found", f"model {name!r} has version {settings.version!r} only, got {shown(version)}")

    def if_ready(self, answer: dict[str, Any]) -> dict[str, Any]:
        """*answer*, where new traffic should be sent here.

        Raises:
            Refusal: 503 with the reason.
        """
        if not self.ready:
            raise self.unready()
        return answer

    def unready(self) -> Refusal:
        return Refusal(self.phase, f"model {self.settings.model_name!r} does not answer: {self.reason}")

    def loaded(self, served: Served, seconds: float, log: PredictionLog | None = None) -> None:
        """Publish the model; everything a request touches is in place before it is ready."""
        self.log = self.metrics.logged = log
        self.metrics.tally = served.tally
        self.metrics.load_seconds = seconds
        self.metrics.info = {
            "revision": self.settings.revision,
            "digest": served.bundle.digest,
            "form": served.scorer.form,
        }
        self.served = served
        if self.phase == "loading":
            self.phase, self.reason = "ready", ""
            self.metrics.ready = True

    def failed(self, reason: str) -> None:
        if self.phase == "loading":
            self.phase, self.reason = "load_failed", reason

    def drain(self) -> None:
        """Readiness says no from now on; requests are still answered."""
        self.phase, self.reason = "draining", "the process was told to end"
        self.metrics.ready = False

    def answered(
        self,
        verb: str,
        request_id: str,
        done: Done,
        began: float,
        epoch: bytes = b"",
        key: bytes = b"",
        header_id: str = "",
    ) -> None:
        """Count and log an answer to a request that *began* then, by ``time.perf_counter``.

        Args:
            header_id: the correlation id of the headers, which a proxy makes where the caller gives none; the id in a
                V2 body is always the caller's, and goes before it.
        """
        metrics, answer, rows = self.metrics, done.answer, done.rows
        seconds = time.perf_counter() - began
        metrics.answered(verb, 200, seconds)
        metrics.rows[verb] += len(rows.matrix)
        metrics.let_through(rows.flags)
        if self.log is None or answer is None:
            return
        who = (epoch.decode("latin-1"), unit(epoch, key).hex() if key else "", done.id or header_id, header_id)
        said = (answer.predictions, answer.probabilities, answer.flags)
        self.log.offer(AnsweredRequest(request_id, time.time(), rows.matrix, *said, seconds, *who, ids=rows.ids))

    def refused(self, error: Exception, verb: str | None, request_id: str, path: str, began: float) -> Refusal:
        """The answer to a request that met *error*, counted; what nobody meant to raise is logged."""
        refusal = error if isinstance(error, Refusal) else internal()
        if refusal is not error:
            LOG.error("request failed", exc_info=error, extra={"request_id": request_id, "path": path})
        if verb is not None:
            self.metrics.answered(verb, refusal.status, time.perf_counter() - began)
            self.metrics.refused(refusal.problems, self.served.columns if self.served else frozenset())
        return refusal

    def status(self) -> dict[str, Any]:
        """What ``slipway serve status`` shows."""
        metrics, settings, served = self.metrics, self.settings, self.served
        counts = metrics.total_latency().counts
        codes: dict[str, int] = {}
        for (_, code), count in list(metrics.requests.items()):
            codes[str(code)] = codes.get(str(code), 0) + count
        return {
            "model": settings.model_name,
            "version": settings.version,
            "revision": settings.revision,
            "ready": self.ready,
            "phase": self.phase,
            "reason": self.reason,
            "digest": served.bundle.digest if served else None,
            "scorer": {"form": served.scorer.form, "reason": served.scorer.reason} if served else None,
            "uptime_s": round(time.time() - self.started, 3),
            "load_s": metrics.load_seconds,
            "requests": codes,
            "rows": sum(metrics.rows.values()),
            "in_flight": metrics.in_flight,
            "queue": metrics.queued,
            "latency_ms": {f"p{round(q * 100)}": _milliseconds(quantile(counts, q)) for q in (0.5, 0.95, 0.99)},
            "log": {"written": self.log.written, "dropped": self.log.dropped, "waiting": self.log.waiting}
            if self.log
            else None,
        }


def load(
    state: PredictorState, opener: "Callable[[], Bundle]", clock: Callable[[], float] = time.perf_counter
) -> Served:
    """Open, warm and publish the model and its log; a failure becomes the reason that readiness gives.

    For a thread of its own.
    """
    began = clock()
    try:
        served = Served(opener(), state.settings)
        served.warm()
        log = open_log(state.settings, served.contract)
    except Exception as error:
        state.failed(str(error) or type(error).__name__)
        raise
    state.loaded(served, clock() - began, log)
    return served


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
