"""From the ledger to traffic: what becomes of a version that is released.

The ledger says what should serve. A rollout moves a later version there by evidence; commands move it by hand. Either
way one process, the service's controller, makes traffic follow; whoever asks only writes down what is wanted.
"""

from dataclasses import dataclass
from typing import Literal

from serving.errors import ConflictError
from serving.ledger.ledger import Ledger
from serving.ledger.values import Version
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import Request
from serving.service.service import Service
from serving.service.slots import revision_of

State = Literal["released", "waiting"]


@dataclass(frozen=True)
class Release:
    """What became of a release, and the sentence that says it, with what a person should know of the version.

    Attributes:
        notices: whether its champion could be asked, and what its contract refuses that the champion's took.
    """

    state: State
    sentence: str
    notices: tuple[str, ...] = ()


def release_version(
    ledger: Ledger,
    service: Service,
    version: int,
    plan: RolloutPlan | None,
    actor: str,
    *,
    again: bool = False,
    timeout_s: float | None = None,
) -> Release:
    """Hand an approved *version* to traffic: the first one takes all of it, a later one starts the rollout *plan*.

    Args:
        plan: None for the one that the release of *version* was asked for with before.
        again: also when the version was put away before; without it a person is asked to say so.
        timeout_s: for how long to wait until traffic follows a first version; None for what the place usually needs.

    Raises:
        GateRefusal: its bundle was removed.
        InfrastructureError: a version in production does not get its traffic; the message says why.
    """
    model, when = service.model, f" when {service.keeper} runs"
    found = ledger.version(model, version)
    if plan is None:
        plan = service.kept_plan(version) or RolloutPlan()
    else:
        service.keep_plan(version, plan)
    if found.approval != "approved":
        approve = f"slipway models approve {model} {version} --reason '...'"
        return _noticed(Release("waiting", f"{found.name} is {found.approval}, not approved: {approve}"), found)
    production = ledger.slot(model, "production").version
    if production == version:
        if service.live() is None:
            service.await_traffic(ledger, timeout_s)  # a release that is repeated says no more than is true
        return Release("released", f"{model} {version} has all traffic already")
    if found.stage == "archived" and not again:
        return Release("waiting", f"{found.name} was put away before: slipway rollout start {version} brings it back")
    ledger.require_bundle(model, version)
    if production is None:
        ledger.promote(model, version, actor, "first version")
        followed = service.await_traffic(ledger, timeout_s)
        return Release("released", f"{model} {version} takes 100 %" + ("" if followed else when))
    return _noticed(_beside(ledger, service, found, ledger.version(model, production), plan), found)


def _noticed(release: Release, found: Version) -> Release:
    """*release* with what the gate had to say of the version beside its verdict."""
    notices = tuple(map(str, found.provenance.get("gate", {}).get("notices", ())))
    return Release(release.state, "; ".join([release.sentence, *notices]), notices)


def _beside(ledger: Ledger, service: Service, found: Version, stable: Version, plan: RolloutPlan) -> Release:
    """Ask for the rollout of *found* beside *stable*, unless somebody holds a canary by hand."""
    model, when = service.model, f" when {service.keeper} runs"
    canary = ledger.slot(model, "canary")
    if canary.version not in (None, found.version) and not service.live():
        return Release(
            "waiting",
            f"{model} {canary.version} has {canary.percent:g} % by hand: slipway rollout set 0 ends that, "
            f"then slipway rollout start {found.version}",
        )
    service.ask(
        Request(
            plan=plan.model_copy(update={"service": model}),
            candidate=revision_of(found),
            stable=revision_of(stable),
            attempt=1 + _ended(service, found.digest),
        )
    )
    share = f"{model} {found.version} starts at {plan.stages[0].weight:g} % beside {model} {stable.version}"
    return Release("released", share if service.serves() else share + when)


def refuse_during_rollout(service: Service) -> None:
    """Raise ``ConflictError`` while a rollout decides about this service's traffic."""
    if (state := service.live()) is not None:
        raise ConflictError(
            f"rollout {state.id} of {state.candidate.name} is live ({state.phase.value}); "
            "use slipway rollout promote, pause or abort"
        )


def _ended(service: Service, digest: str) -> int:
    """How many rollouts of the bundle *digest* are over."""
    return sum(state.terminal and state.candidate.digest == digest for state in service.rollouts())
