"""When to train again: from what is known at one moment to one decision and the sentence that explains it.

A run costs time and may be refused by the gates, so a reason alone does not start one: nothing else is running, the
last run is some time ago, and for performance and drift there are labels to learn from that no training has seen.
"""

from collections.abc import Iterator
from datetime import datetime

from components.watching import cron
from components.watching.policy import Retrain, Trigger
from components.watching.values import WatchReport
from serving.contract import Frozen
from serving.durations import text

NEEDS_LABELS: tuple[Trigger, ...] = ("performance", "drift")


class LoopState(Frozen):
    """What came before.

    Attributes:
        last_run: when the last training run of the model started, however it ended; None: never.
        last_training_event: of the newest row that it could learn from; None: unknown, every label is fresh.
        running: a run is under way now, or the version it made has a part of the traffic only.
    """

    last_run: datetime | None = None
    last_training_event: datetime | None = None
    running: bool = False


class LoopDecision(Frozen):
    """Whether to run, why, and which trigger it was; with ``run`` false, ``trigger`` is the one that has to wait."""

    run: bool
    why: str
    trigger: Trigger | None = None

    @property
    def sentence(self) -> str:
        return f"{'retrain' if self.run else 'no run'}, {self.why}"


def decide(
    policy: Retrain,
    watch: WatchReport | None,
    state: LoopState,
    fresh_labels: int,
    newest_data: datetime | None,
    now: datetime,
) -> LoopDecision:
    """Decide on one run. All moments have a zone.

    Args:
        watch: the last look at the version that serves; None: nothing serves or nobody looked.
        fresh_labels: labelled predictions newer than ``state.last_training_event``.
        newest_data: newest event of the source; None: unknown.
    """
    due = {trigger: why for trigger, why in _due(policy, watch, state, newest_data, now) if trigger in policy.on}
    if not due:
        return LoopDecision(run=False, why=f"no reason to train: {_quiet(policy, watch)}")
    ready = [trigger for trigger in due if trigger not in NEEDS_LABELS or fresh_labels >= policy.fresh_labels]
    trigger = next(iter(ready or due))
    reason = f"{trigger}: {due[trigger]}"
    if state.running:
        return LoopDecision(run=False, why=f"{reason}; waits, a run or its canary is under way", trigger=trigger)
    if state.last_run is not None and now - state.last_run < policy.cooldown:
        until = state.last_run + policy.cooldown
        wait = f"waits until {until:%Y-%m-%d %H:%M}, {text(policy.cooldown)} after the last run"
        return LoopDecision(run=False, why=f"{reason}; {wait}", trigger=trigger)
    if not ready:
        wait = f"waits for labels, {fresh_labels:,} of {policy.fresh_labels:,} are newer than the training rows"
        return LoopDecision(run=False, why=f"{reason}; {wait}", trigger=trigger)
    labels = f"; {fresh_labels:,} fresh labels" if trigger in NEEDS_LABELS else ""
    return LoopDecision(run=True, why=f"{reason}{labels}; {_ago(state.last_run, now)}", trigger=trigger)


def _due(
    policy: Retrain, watch: WatchReport | None, state: LoopState, newest_data: datetime | None, now: datetime
) -> Iterator[tuple[Trigger, str]]:
    """Every trigger that has something to say, the weightiest first."""
    if watch is not None and watch.performance_alarm:
        yield "performance", watch.sentence
    if watch is not None and watch.drift is not None and watch.drift_alarm:
        yield "drift", watch.drift.sentence
    learned = state.last_training_event
    if newest_data is not None and learned is not None and newest_data > learned:
        yield "data", f"rows until {newest_data:%Y-%m-%d %H:%M}, trained on rows until {learned:%Y-%m-%d %H:%M}"
    if policy.schedule and state.last_run is not None:
        moment = cron.due_since(policy.schedule, state.last_run, now)
        if moment is not None:
            yield "schedule", f"{policy.schedule!r} was due at {moment:%Y-%m-%d %H:%M}"


def _quiet(policy: Retrain, watch: WatchReport | None) -> str:
    if watch is None:
        return "nothing was watched"
    listened = "" if policy.on else "retrain.on names no trigger; "
    return listened + watch.sentence


def _ago(last: datetime | None, now: datetime) -> str:
    if last is None:
        return "no run before"
    days = (now - last).total_seconds() / 86_400
    return f"the last run was {days:.0f} days ago" if days >= 1 else f"the last run was {24 * days:.1f} hours ago"
