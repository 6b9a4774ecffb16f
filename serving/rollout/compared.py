"""By what a candidate is compared with the version that serves, and how much worse it may be; see ``plan``."""

from typing import Annotated, Literal

from pydantic import Field

from serving.contract import Frozen
from serving.durations import Seconds, SpanSeconds
from serving.frozen import TINY

Part = Annotated[float, Field(ge=0.001, le=1_000)]


class ErrorGate(Frozen):
    """Failed requests.

    Attributes:
        slo: error rate that the service promises, in (0, 1); the absolute guard and the health of stable use it.
        ratio: canary rate over stable rate that is still tolerated, at least 1.
        share: part of alpha spent on this gate, relative to the other gates.
    """

    slo: float = Field(default=0.01, ge=TINY, lt=1)
    ratio: float = Field(default=1.1, ge=1, le=1_000)
    share: Part = 0.5


class SlowGate(Frozen):
    """Slow answers.

    Attributes:
        slo: time after which an answer is late; the backend counts by it.
        ratio: canary rate of late answers over stable rate that is still tolerated, at least 1.
        share: part of alpha spent on this gate, relative to the other gates.
    """

    slo: SpanSeconds = 0.2
    ratio: float = Field(default=1.2, ge=1, le=1_000)
    share: Part = 0.3


class OutputGate(Frozen):
    """Distribution of predictions over fixed bins; a new model may differ, so the default is to ask a person.

    Attributes:
        on_shift: what a distribution that differs causes.
        ratio: how many times as often a bin may be hit as on stable.
    """

    on_shift: Literal["pause", "rollback", "ignore"] = "pause"
    ratio: float = Field(default=2.0, ge=1, le=1_000)


class QualityGate(Frozen):
    """Delayed labels that say an answer was wrong.

    Attributes:
        labels: ``block`` waits for labels before more traffic; ``watch`` promotes on the other gates and keeps testing.
        label_delay: age at which a request's label can be expected; younger requests are not counted.
        ratio: canary rate of wrong answers over stable rate that is still tolerated, at least 1.
        share: part of alpha spent on this gate, relative to the other gates.
    """

    labels: Literal["watch", "block"] = "watch"
    label_delay: Seconds = 86400.0
    ratio: float = Field(default=1.1, ge=1, le=1_000)
    share: Part = 0.2


class Gates(Frozen):
    """What is compared; a gate set to null is off.

    Attributes:
        error: failed requests.
        slow: late answers.
        output: the distribution of predictions.
        quality: answers that labels say were wrong.
    """

    error: ErrorGate | None = ErrorGate()
    slow: SlowGate | None = SlowGate()
    output: OutputGate | None = OutputGate()
    quality: QualityGate | None = QualityGate()
