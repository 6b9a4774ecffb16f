"""Counts as arrays: those of many rollouts of one plan at once, of which the one that lives is a single row."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from serving.rollout.backend import WEIGHT_SUM, ArmCounts
from serving.rollout.evidence.bounds import Floats
from serving.rollout.evidence.guard import Bools, Ints
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import Epoch, RolloutState, arm_names

FIELDS = ("requests", "errors", "slow", "labelled", "mistakes")
_NONE = ArmCounts()
_NOTHING = (_NONE, _NONE)
_read = attrgetter(*FIELDS)


class Gate(NamedTuple):
    """What is compared: *events* among *trials*, both fields of ArmCounts; for the rest see the plan's gates."""

    name: str
    trials: str
    events: str
    ratio: float
    share: float
    required: bool


@dataclass(frozen=True)
class Stretches:
    """Counts cut where the weight changes: a settled epoch, or the part of one before it settled.

    Attributes:
        weights, steps, settled: canary's share in [0, 1], number of the step and whether traffic was known to follow
            the weight; shape (stretches,), the same in all runs.
        counts: by field, shape (runs, 2, stretches), of canary and stable.
        bins: requests per prediction bin, shape (runs, 2, bins, stretches).
    """

    weights: Floats
    steps: Ints
    settled: Bools
    counts: Mapping[str, Ints]
    bins: Ints


def gates_of(plan: RolloutPlan) -> tuple[Gate, ...]:
    """The gates that are on, in the order in which they are shown."""
    error, slow, quality = plan.gates.error, plan.gates.slow, plan.gates.quality
    found = []
    if error is not None:
        found.append(Gate("error", "requests", "errors", error.ratio, error.share, True))
    if slow is not None:
        found.append(Gate("slow", "requests", "slow", slow.ratio, slow.share, True))
    if quality is not None:
        block = quality.labels == "block"
        found.append(Gate("quality", "labelled", "mistakes", quality.ratio, quality.share, block))
    return tuple(found)


def stretches_of(state: RolloutState) -> Stretches:
    """The counts of *state* as one run."""
    cuts = [cut for epoch in state.epochs if not epoch.mirror for cut in _cuts(state, epoch)]
    until, since = [arm for cut in cuts for arm in cut.until], [arm for cut in cuts for arm in cut.since]
    counts = np.array([_read(arm) for arm in until], dtype=np.int64).reshape(len(cuts), 2, len(FIELDS))
    counts -= np.array([_read(arm) for arm in since], dtype=np.int64).reshape(len(cuts), 2, len(FIELDS))
    by_field = np.ascontiguousarray(np.maximum(counts, 0).T)[:, None]
    return Stretches(
        np.array([cut.weight for cut in cuts], dtype=float) / WEIGHT_SUM,
        np.array([cut.step for cut in cuts], dtype=np.int64),
        np.array([cut.settled for cut in cuts], dtype=bool),
        dict(zip(FIELDS, by_field, strict=True)),
        _bins(until, since),
    )


class _Cut(NamedTuple):
    weight: int
    step: int
    settled: bool
    until: tuple[ArmCounts, ArmCounts]
    since: tuple[ArmCounts, ArmCounts]


def _cuts(state: RolloutState, epoch: Epoch) -> list[_Cut]:
    now = _pair(state, state.counts.get(epoch.token, {}))
    early = now if epoch.settling is None else _pair(state, epoch.settling)
    first = _Cut(max(epoch.weight, epoch.previous), epoch.step, False, early, _NOTHING)
    return [first] if epoch.settling is None else [first, _Cut(epoch.weight, epoch.step, True, now, early)]


def _pair(state: RolloutState, arms: Mapping[str, ArmCounts]) -> tuple[ArmCounts, ArmCounts]:
    canary, stable = arm_names(state)
    return arms.get(canary, _NONE), arms.get(stable, _NONE)


def _bins(until: list[ArmCounts], since: list[ArmCounts]) -> Ints:
    names = sorted(set().union(*(arm.bins for arm in until)))
    none = [0] * len(names)

    def table(arms: list[ArmCounts]) -> Any:
        rows = [[arm.bins.get(name, 0) for name in names] if arm.bins else none for arm in arms]
        return np.array(rows, dtype=np.int64).reshape(len(arms) // 2, 2, len(names))

    return np.ascontiguousarray(np.maximum(table(until) - table(since), 0).transpose(1, 2, 0))[None]
