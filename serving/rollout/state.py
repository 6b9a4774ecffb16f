"""The state document of one rollout: small, whole, and enough to go on after any crash.

It holds no history; the journal does. Times are seconds since 1970. Counts are cumulative and only grow.
"""

from collections.abc import Mapping
from enum import StrEnum

from serving.contract import Frozen
from serving.errors import ConfigError
from serving.files import canonical_json, sha256_bytes
from serving.rollout.backend import ArmCounts, Capabilities, Revision
from serving.rollout.plan import RolloutPlan

BAKE_WEIGHT = 950  # per mille; the rest stays on a warm stable
Counts = Mapping[str, Mapping[str, ArmCounts]]  # epoch token -> revision name -> counts

_NONE = ArmCounts()


class Phase(StrEnum):
    PENDING = "pending"
    PREPARE = "prepare"
    SHADOW = "shadow"
    STEP = "step"
    BAKE = "bake"
    PROMOTE = "promote"
    ADOPT = "adopt"
    CLEANUP = "cleanup"
    SUCCEEDED = "succeeded"
    PAUSED = "paused"
    ROLLBACK = "rollback"
    DRAIN = "drain"
    REMOVE = "remove"
    ROLLED_BACK = "rolled back"


class Reason(StrEnum):
    """Why a rollout is paused."""

    MANUAL = "manual"
    APPROVAL = "approval"
    INCONCLUSIVE = "inconclusive"
    SRM = "srm"
    DRIFT = "drift"  # of before a plan said what becomes of an edit
    METRICS = "metrics"
    STABLE_SICK = "stable-sick"
    CONVERGE = "converge"
    OUTPUT = "output"
    UNRANDOM = "unrandom"


TERMINAL = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK})
GOING_HOME = frozenset({Phase.ROLLBACK, Phase.DRAIN, Phase.REMOVE})
GUARDED = frozenset({Phase.STEP, Phase.BAKE, Phase.PAUSED, Phase.PROMOTE})  # harm ends these


class Epoch(Frozen):
    """A stretch with one split.

    Attributes:
        weight, previous: candidate's per mille in this epoch and in the one before it.
        step: number of the stage it belongs to; the stages are followed by the bake and by full traffic.
        settling: counts at the moment traffic was known to follow the split, None until then. They came while either
            weight may have held: harm takes them at the larger one, promotion leaves them out.
        digest: of the configuration in force once settled.
        edited: somebody else changed the split; what is counted from then on is no evidence.
    """

    token: str
    weight: int
    previous: int
    step: int
    since: float
    settling: Mapping[str, ArmCounts] | None = None
    digest: str = ""
    mirror: bool = False
    edited: bool = False


class Pause(Frozen):
    """``resumes`` is the phase that goes on afterwards; ``until`` the time at which the plan's policy acts."""

    reason: Reason
    detail: str
    since: float
    until: float
    resumes: Phase


class Request(Frozen):
    """What ``start`` is asked for; it names the rollout together with its attempt."""

    plan: RolloutPlan
    candidate: Revision
    stable: Revision | None
    attempt: int = 1
    fast: bool = False
    leftovers: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        key = [self.plan.service, self.candidate.digest, self.plan.hash, self.attempt]
        return sha256_bytes(canonical_json(key))[:12]


class RolloutState(Frozen):
    """Where a rollout is.

    Attributes:
        step: stage in which the candidate is or will next be; ``len(plan.stages)`` in the bake, one more at 100 %.
        since, deadline: when the present phase or step began, and when it must have a verdict.
        counts: last known counters.
        silent_since: when the metrics source was last heard, None while it answers.
        applies, next_apply: tries of the present split, and the earliest time of the next.
        guards, stable_guards: (requests, errors) at which copies of the absolute guard began.
        done: actions of the present phase that are finished.
        outcome: one sentence, set when the end is decided.
        heartbeat: when a controller last looked.
        warm: the previous revision is kept running.
        successor: what starts when this one has gone home.
    """

    id: str
    request: Request
    capabilities: Capabilities
    started: float
    phase: Phase = Phase.PENDING
    step: int = 0
    since: float
    deadline: float | None = None
    epochs: tuple[Epoch, ...] = ()
    counts: Mapping[str, Mapping[str, ArmCounts]] = {}
    pause: Pause | None = None
    silent_since: float | None = None
    applies: int = 0
    next_apply: float = 0.0
    guards: tuple[tuple[int, int], ...] = ()
    stable_guards: tuple[tuple[int, int], ...] = ()
    done: tuple[str, ...] = ()
    approved: tuple[int, ...] = ()
    shift_accepted: bool = False
    outcome: str = ""
    heartbeat: float
    warm: bool = False
    successor: Request | None = None

    @property
    def plan(self) -> RolloutPlan:
        return self.request.plan

    @property
    def candidate(self) -> Revision:
        return self.request.candidate

    @property
    def stable(self) -> Revision | None:
        return self.request.stable

    @property
    def epoch(self) -> Epoch | None:
        return self.epochs[-1] if self.epochs else None

    @property
    def settled(self) -> bool:
        return self.epoch is not None and self.epoch.settling is not None

    @property
    def weight(self) -> int:
        """Candidate's per mille as asked for."""
        return self.epoch.weight if self.epoch else 0

    @property
    def terminal(self) -> bool:
        return self.phase in TERMINAL

    @property
    def going_on(self) -> Phase:
        """The phase that a pause interrupts, else the phase itself."""
        return self.pause.resumes if self.phase is Phase.PAUSED and self.pause else self.phase


def begin(request: Request, capabilities: Capabilities, now: float) -> RolloutState:
    """A rollout that has not done anything yet.

    Raises:
        ConfigError: the plan cannot run here, or the candidate already serves.
    """
    reason = request.plan.refusal(capabilities)
    if reason:
        raise ConfigError(reason)
    if not request.plan.service:
        raise ConfigError("the plan names no service: expected 'service', the one whose traffic moves")
    if request.stable is not None and request.stable.name == request.candidate.name:
        raise ConfigError(f"{request.candidate.name} already serves {request.plan.service}; name another candidate")
    return RolloutState(
        id=request.id, request=request, capabilities=capabilities, started=now, since=now, heartbeat=now
    )


def merged(known: Counts, seen: Counts) -> dict[str, dict[str, ArmCounts]]:
    """The larger of each count."""
    return {token: _larger(known.get(token, {}), seen.get(token, {})) for token in {**known, **seen}}


def of_step(state: RolloutState, step: int) -> tuple[ArmCounts, ArmCounts]:
    """Settled counts of (candidate, stable) in stage *step*."""
    epochs = [
        (state.counts.get(epoch.token, {}), epoch.settling)
        for epoch in state.epochs
        if epoch.step == step and epoch.settling is not None and not epoch.mirror
    ]
    candidate, stable = (
        sum((now.get(name, _NONE) - early.get(name, _NONE) for now, early in epochs), _NONE)
        for name in arm_names(state)
    )
    return candidate, stable


def arm_names(state: RolloutState) -> tuple[str, str]:
    """Names of (candidate, stable); the latter empty at a first deployment."""
    return state.candidate.name, state.stable.name if state.stable else ""


def _larger(known: Mapping[str, ArmCounts], seen: Mapping[str, ArmCounts]) -> dict[str, ArmCounts]:
    return {name: known.get(name, _NONE) | seen.get(name, _NONE) for name in {**known, **seen}}
