"""What a predictor process knows about itself: its phase, its model once there is one, its counts."""

import time
from collections.abc import Callable
from typing import Any, Literal

from serving.predictor.errors import Refusal, not_found, shown, unavailable
from serving.predictor.log import PredictionLog, open_log
from serving.predictor.metrics import Metrics, quantile
from serving.predictor.served import LoadedBundle, Served
from serving.predictor.settings import Settings

Phase = Literal["loading", "load_failed", "ready", "draining"]
RETRY_AFTER_S = {"loading": 2, "load_failed": 30, "draining": 1}


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
        return (("x-model-version", self.settings.version), ("x-revision", self.settings.revision))

    def check(self, name: str, version: str | None) -> None:
        """Whether the model that a caller names is the one here; it need not name a version.

        Raises:
            Refusal: 404.
        """
        settings = self.settings
        if name != settings.model_name:
            raise not_found(f"no model named {shown(name)}: this server has {settings.model_name!r}")
        if version and version != settings.version:
            raise not_found(f"model {name!r} has version {settings.version!r} only, got {shown(version)}")

    def if_ready(self, answer: dict[str, Any]) -> dict[str, Any]:
        """*answer*, where new traffic should be sent here.

        Raises:
            Refusal: 503 with the reason.
        """
        if not self.ready:
            raise self.unready()
        return answer

    def unready(self) -> Refusal:
        message = f"model {self.settings.model_name!r} does not answer: {self.reason}"
        return unavailable(self.phase, message, RETRY_AFTER_S.get(self.phase, 1))

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
    state: PredictorState, opener: Callable[[], LoadedBundle], clock: Callable[[], float] = time.perf_counter
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
