"""What a rollout is allowed to do, as data: steps, gates, risks, times and policies.

Everything has a default except the service, so ``rollout: {steps: [5, 10, 25, 50]}`` is a whole section. A plan is
named by the digest of its normalised form: two texts that mean the same have the same hash.
"""

import itertools
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from serving.contract import Frozen
from serving.durations import Seconds, SpanSeconds
from serving.files import canonical_json, sha256_bytes
from serving.frozen import TINY, Count
from serving.rollout.backend import HEADER_NAME, WEIGHT_SUM, Capabilities, callers_header
from serving.rollout.compared import Gates

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Step(Frozen):
    """One stage of exposure: a share of user traffic, or (``shadow``) copies of requests whose answers are dropped.

    Attributes:
        weight: percent of requests the candidate answers, in steps of 0.1; None for a shadow step.
        shadow: 100, every request is copied; the routing has no smaller mirror.
        until: mirrored requests after which a shadow step ends.
        approve: ``required`` waits for a person before this step begins; ``optional`` announces it and goes on.
        dwell: shortest stay, in place of the plan's.
    """

    weight: float | None = Field(default=None, gt=0, le=100)
    shadow: float | None = Field(default=None, gt=0, le=100)
    until: Count = 500
    approve: Literal["none", "optional", "required"] = "none"
    dwell: Seconds | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.weight is None) == (self.shadow is None):
            raise ValueError("a step has either 'weight' or 'shadow'")
        if self.shadow is not None and self.shadow != 100:
            raise ValueError(f"'shadow' copies every request: expected 100, seen {self.shadow:g}")
        if self.weight is not None and abs(self.weight * 10 - round(self.weight * 10)) > 1e-9:
            raise ValueError(f"weights go in steps of 0.1 %, seen {self.weight:g} %")
        return self

    @property
    def permille(self) -> int:
        return 0 if self.weight is None else round(self.weight * WEIGHT_SUM / 100)


class Risk(Frozen):
    """The error rates a rollout keeps, and the harm it may do meanwhile.

    Attributes:
        alpha: chance of rolling back a candidate that is no worse than the gates tolerate, over the whole rollout.
        beta: chance of promoting a candidate whose excess on some gate is above ``rho``.
        rho: share of all users who may newly fail, in (0, 1); certified before each increase.
        max_canary_errors: failed requests on the candidate, beyond those that stable's own rate explains, that end the
            rollout whatever the tests say.
        max_initial_weight: largest first weight in percent; the first step has no evidence behind it.
        min_excess: excess of the candidate's rate that must be certain before the harm test may roll back.
    """

    alpha: float = Field(default=0.01, ge=TINY, lt=0.5)
    beta: float = Field(default=0.05, ge=TINY, lt=0.5)
    rho: float = Field(default=0.01, ge=TINY, lt=1)
    max_canary_errors: Count = 50
    max_initial_weight: float = Field(default=10, gt=0, le=100)
    min_excess: float = Field(default=0, ge=0, lt=1)


class Times(Frozen):
    """Durations in seconds, written as ``"2m"``.

    Attributes:
        ready: for the candidate to load.
        dwell: shortest stay in a step.
        step: longest stay in a step without a verdict.
        bake: stay at 95 % before 100 %.
        metrics: silence of the metrics source that is borne.
        converge: for a split to reach traffic.
        pause: age of a pause that triggers its policy.
        drain: for requests in flight to end.
        unattended: exposure without a living controller that is borne.
    """

    ready: SpanSeconds = 300.0
    dwell: Seconds = 120.0
    step: SpanSeconds = 3600.0
    bake: Seconds = 600.0
    metrics: Seconds = 120.0
    converge: SpanSeconds = 60.0
    pause: Seconds = 86400.0
    drain: Seconds = 60.0
    unattended: SpanSeconds = 86400.0


class Aftercare(Frozen):
    """After success.

    Attributes:
        window: how long late evidence is still tested.
        on_harm: what harm that it shows causes: a rollout back, or an alert alone.
    """

    window: Seconds = 0.0
    on_harm: Literal["reverse", "alert"] = "reverse"


class Freeze(Frozen):
    """A weekly window in UTC in which no weight grows; rolling back is always allowed.

    A window whose ``end`` is not after its ``start`` runs over midnight.

    Attributes:
        days: on which it begins.
        start, end: of the day, as ``22:00``.
    """

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = DAYS  # type: ignore[assignment]  # the tuple holds exactly these words
    start: str = Field(default="00:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    end: str = Field(default="24:00", pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")

    def covers(self, now: float) -> bool:
        moment = datetime.fromtimestamp(now, UTC)
        clock, day = moment.strftime("%H:%M"), moment.weekday()
        if self.start < self.end:
            return DAYS[day] in self.days and self.start <= clock < self.end
        return (DAYS[day] in self.days and clock >= self.start) or (DAYS[day - 1] in self.days and clock < self.end)


class RolloutPlan(Frozen):
    """One service's way to a new version.

    Attributes:
        steps: shares of the traffic in percent that the candidate gets one after the other; a mapping says more.
        gates: what the candidate is compared with stable by; ``null`` for one leaves it away.
        risk: how often a rollout may be wrong, and the harm it may do meanwhile.
        time: how long things may take, or have to.
        watch: what is still looked at after success.
        freeze: weekly windows in which no weight grows.
        replicas: servers of a new version when it starts.
        service: whose traffic; empty in a project file, filled in from the project's name.
        sticky_header: request header whose value keeps a caller on one arm. A value then counts once in each stretch
            with one split, by its first request there; requests without the header count each for itself, and so do
            the copies of a shadow step.
        keep_previous: the version before keeps running after success where the installation can do that, so that a
            rollback is a change of weights and no start of a server.
        edits: what becomes of weights that somebody else writes into the routing while or after the rollout decides:
            ours are put back, or theirs hold and the rollout goes on from there by evidence. Both are told.
        on_inconclusive: what a step without a verdict at its deadline does; it never promotes.
        on_silence: what a silent metrics source causes before the bake.
        on_pause_timeout: what an old pause causes.
    """

    service: str = ""
    steps: tuple[Step, ...] = (Step(weight=5), Step(weight=10), Step(weight=25), Step(weight=50))
    gates: Gates = Gates()
    risk: Risk = Risk()
    time: Times = Times()
    watch: Aftercare = Aftercare()
    freeze: tuple[Freeze, ...] = ()
    replicas: int = Field(default=1, ge=1, le=1_000)
    sticky_header: str | None = Field(default=None, pattern=HEADER_NAME)
    keep_previous: bool = True
    edits: Literal["put-back", "obey"] = "put-back"
    on_inconclusive: Literal["pause", "rollback"] = "pause"
    on_silence: Literal["rollback", "pause"] = "rollback"
    on_pause_timeout: Literal["rollback", "hold"] = "rollback"

    @field_validator("steps", mode="before")
    @classmethod
    def _numbers_are_weights(cls, value: Any) -> Any:
        """A bare number is a weight in percent; a closing 100 says what follows the steps anyway."""
        if not isinstance(value, list | tuple):
            raise ValueError(f"'steps' is a list such as [5, 10, 25, 50], seen {value!r}")  # noqa: TRY004  # pydantic turns only ValueError into its report
        steps = [_as_step(item) for item in value]
        if len(steps) > 1 and isinstance(steps[-1], dict) and steps[-1] == {"weight": 100}:
            steps.pop()
        return tuple(steps)

    @model_validator(mode="after")
    def _climbs(self) -> Self:
        weights = [step.weight for step in self.steps if step.weight is not None]
        if not weights:
            raise ValueError("'steps' is empty: expected at least one weight in percent, such as [5, 10, 25, 50]")
        if any(later <= earlier for earlier, later in itertools.pairwise(weights)):
            raise ValueError(f"'steps' must ascend, seen {', '.join(f'{weight:g}' for weight in weights)}")
        if weights[0] > self.risk.max_initial_weight:
            raise ValueError(
                f"the first weight has no evidence behind it: expected at most {self.risk.max_initial_weight:g} %, "
                f"seen {weights[0]:g} %; start smaller or raise risk.max_initial_weight"
            )
        if weights[-1] > 95:
            raise ValueError(f"steps end at 95 % or below, where the bake begins, seen {weights[-1]:g} %")
        if any(step.shadow is not None for step in self.steps[1:]):
            raise ValueError("a shadow step comes first: later steps already show the candidate to users")
        if self.gates.error is None and self.gates.slow is None:
            raise ValueError("'gates' compares nothing: expected 'error' or 'slow'")
        return self

    @property
    def shadow(self) -> Step | None:
        return self.steps[0] if self.steps[0].shadow is not None else None

    @property
    def stages(self) -> tuple[Step, ...]:
        """The steps that show the candidate to users."""
        return tuple(step for step in self.steps if step.weight is not None)

    @property
    def hash(self) -> str:
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))

    def frozen_at(self, now: float) -> bool:
        """True inside a freeze window; *now* in seconds since 1970."""
        return any(window.covers(now) for window in self.freeze)

    def refusal(self, capabilities: Capabilities) -> str:
        """Why an installation cannot run this plan, as one sentence; empty when it can."""
        if self.shadow is not None and not capabilities.mirror:
            return f"the plan begins with a shadow step, but {capabilities.name} cannot mirror; remove that step"
        if self.shadow is not None and not capabilities.pairs:
            return (
                f"the plan begins with a shadow step, but {capabilities.name} does not compare the answers of copies, "
                "so that every candidate would pass it; remove that step"
            )
        if self.sticky_header is not None and not capabilities.sticky:
            return f"the plan asks for sticky_header, but {capabilities.name} has no sticky routing; remove it"
        if self.sticky_header is not None and not callers_header(self.sticky_header):
            return f"sticky_header {self.sticky_header} is a header of our own; name one that callers send"
        odd = [step.weight for step in self.stages if step.permille % capabilities.resolution]
        if odd:
            share = capabilities.resolution * 100 / WEIGHT_SUM
            return f"{capabilities.name} takes weights in steps of {share:g} %, seen {odd[0]:g} %; round the step"
        return ""


def _as_step(item: Any) -> Any:
    if isinstance(item, bool) or not isinstance(item, int | float):
        return item
    if not 0 < item <= 100:
        raise ValueError(f"a step's weight is a percentage above 0 and at most 100, seen {item:g}")
    return {"weight": item}
