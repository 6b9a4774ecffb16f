"""What a plan will take at a service's traffic, before it starts."""

from dataclasses import dataclass

from serving.durations import spoken
from serving.rollout.backend import WEIGHT_SUM
from serving.rollout.evidence.bounds import requests_needed
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import BAKE_WEIGHT

ADVICE = "add a shadow step, allow a larger risk.rho, lengthen time.step, or let a person promote"


@dataclass(frozen=True)
class StepForecast:
    """One step: *requests* to both arms until it is certified (None: never at these rates), and *seconds* for it."""

    name: str
    weight: float
    requests: int | None
    seconds: float | None
    warning: str = ""


@dataclass(frozen=True)
class Forecast:
    """All steps, and their sums where each is known."""

    steps: tuple[StepForecast, ...]
    requests: int | None
    seconds: float | None

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(step.warning for step in self.steps if step.warning)


def forecast(plan: RolloutPlan, rate_per_s: float) -> Forecast:
    """Requests and time per step when no request fails or is slow.

    Args:
        rate_per_s: requests per second of the service lately; 0 when there is no traffic.
    """
    found = []
    if plan.shadow is not None:
        found.append(_judged(plan, "shadow", 0.0, plan.shadow.until, rate_per_s, plan.shadow.dwell))
    stages = plan.stages
    for number, stage in enumerate(stages):
        weight = stage.permille / WEIGHT_SUM
        following = stages[number + 1].permille / WEIGHT_SUM if number + 1 < len(stages) else 1.0
        needed = requests_needed((0, 0), (0, 0), weight, following, plan.risk.rho, plan.risk.beta)
        found.append(_judged(plan, f"step {number + 1}", weight, needed, rate_per_s, stage.dwell))
    baking = plan.time.bake
    found.append(StepForecast("bake", BAKE_WEIGHT / WEIGHT_SUM, round(rate_per_s * baking), baking))
    requests = [step.requests for step in found]
    seconds = [step.seconds for step in found]
    return Forecast(
        tuple(found),
        None if None in requests else sum(n for n in requests if n is not None),
        None if None in seconds else sum(s for s in seconds if s is not None),
    )


def _judged(
    plan: RolloutPlan, name: str, weight: float, needed: int | None, rate: float, dwell: float | None
) -> StepForecast:
    stay = plan.time.dwell if dwell is None else dwell
    if needed is None:
        why = f"{name}: these event rates are never certified to within {plan.risk.rho:.2%}; {ADVICE}"
        return StepForecast(name, weight, None, None, why)
    if rate <= 0:
        return StepForecast(name, weight, needed, None, f"{name}: no traffic, so no verdict; {ADVICE}")
    seconds = max(stay, needed / rate)
    limit = plan.time.step
    if seconds <= limit:
        return StepForecast(name, weight, needed, seconds)
    why = f"{name}: {needed} requests take {spoken(seconds)} at {rate:g}/s, longer than its {spoken(limit)}; {ADVICE}"
    return StepForecast(name, weight, needed, seconds, why)
