"""What a controller tells others: events as they happen, and what one tick did."""

from dataclasses import dataclass

from serving.rollout.decision.rules import Decision, Seen
from serving.rollout.state import Phase, RolloutState


@dataclass(frozen=True)
class Notice:
    """A transition or an alert, for webhooks, logs and gauges."""

    at: float
    service: str
    rollout: str
    before: Phase
    after: Phase
    verdict: str
    sentence: str
    critical: bool = False


@dataclass(frozen=True)
class Tick:
    """What one tick did; *held_by* names another controller when this one did nothing."""

    state: RolloutState | None
    decision: Decision | None = None
    seen: Seen | None = None
    held_by: str = ""
    trouble: str = ""
