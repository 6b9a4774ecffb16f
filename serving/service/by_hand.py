"""What people do to traffic: orders to the rollout that decides about it, and the ledger's slots while none does.

Commands write down what is wanted; whoever looks after the service makes traffic follow.
"""

from serving.errors import ConflictError, Inconclusive, UsageError
from serving.ledger.ledger import Ledger
from serving.polling import await_true
from serving.rollout.controller.persistence import Command
from serving.service.release import refuse_during_rollout
from serving.service.service import Service

ANSWER_S = 10.0


def order(service: Service, command: Command) -> str:
    """Leave *command* for the live rollout's controller and return its answer.

    Raises:
        ConflictError: no rollout is live, or the controller refused; the message is its answer.
        Inconclusive: nobody answered within ``ANSWER_S``; the command stays and is obeyed later.
    """
    if service.live() is None:
        raise ConflictError("no rollout is live; nothing to change")
    with service.desk() as desk:
        number = desk.ask(command)
        answer = await_true(
            lambda: desk.answered(number), ANSWER_S, service.poll_s, clock=service.monotonic, sleep=service.sleep
        )
    if answer is None:
        raise Inconclusive(
            f"asked for {command.name}; no controller has answered yet, it does so when {service.keeper} runs"
        )
    if not answer.startswith("done"):
        raise ConflictError(answer)
    return answer


def give(ledger: Ledger, service: Service, version: int | None, percent: float, actor: str) -> str:
    """Give *version*, or else the canary or the newest other approved version, *percent* of requests; says what it did.

    Raises:
        ConflictError: a rollout is live.
        UsageError: no version can be meant.
    """
    refuse_during_rollout(service)
    model, slot = service.model, ledger.slot(service.model, "canary")
    chosen = version if version is not None else slot.version or _newest_other(ledger, model)
    ledger.canary(model, chosen, percent, actor, "set by hand", expected_revision=slot.revision)
    return f"{model} {chosen} has {percent:g} % of requests"


def promote(ledger: Ledger, service: Service, version: int | None, actor: str, reason: str) -> str:
    """Give *version*, or else the canary, all traffic; says so.

    Raises:
        ConflictError: a rollout is live, or there is no canary.
    """
    refuse_during_rollout(service)
    model = service.model
    chosen = version if version is not None else ledger.slot(model, "canary").version
    if chosen is None:
        raise ConflictError(f"{model} has no canary to promote; slipway rollout start VERSION, or set PERCENT")
    ledger.promote(model, chosen, actor, reason, expected_revision=ledger.slot(model).revision)
    return f"{model} {chosen} has all traffic"


def roll_back(ledger: Ledger, service: Service, actor: str, reason: str) -> str:
    """Give all traffic to the version before, a second time forward again; says which one serves.

    Raises:
        ConflictError: a rollout is live.
    """
    refuse_during_rollout(service)
    seen = ledger.slot(service.model).revision
    slot = ledger.rollback(service.model, actor, reason, expected_revision=seen)
    return f"{service.model} {slot.version} serves again"


def undo(ledger: Ledger, service: Service, actor: str, reason: str) -> str:
    """End the canary that was set by hand, or without one ``roll_back``; says what it did."""
    refuse_during_rollout(service)
    slot = ledger.slot(service.model, "canary")
    if slot.version is None:
        return roll_back(ledger, service, actor, reason or "rolled back by hand")
    ledger.canary(service.model, slot.version, 0, actor, reason or "by hand", expected_revision=slot.revision)
    return f"the canary {service.model} {slot.version} has no requests any more"


def say_share(ledger: Ledger, model: str, version: int, percent: float, actor: str, reason: str) -> str:
    """Have the ledger's slots say that *version* has *percent* of requests.

    What ``give``, ``promote``, ``roll_back`` and ``undo`` do, for who states what shall be and not how to come there;
    what is so already stays. 100 promotes, or goes back to the version before; 0 ends the canary.

    Raises:
        ConflictError: *version* has all requests and can give some only to another, or another is the canary.
    """
    slots = ledger.slots(model)
    production, canary, previous = (slots[name].version for name in ("production", "canary", "previous"))
    if version == production and percent < 100:
        raise ConflictError(f"{model} {version} is in production: name the version that shall have {100 - percent:g} %")
    if version == production:
        if canary is not None:
            ledger.canary(model, canary, 0, actor, reason)
    elif percent == 100 and version == previous:
        ledger.rollback(model, actor, reason)
    elif percent == 100:
        ledger.promote(model, version, actor, reason)
    elif percent or version == canary:
        ledger.canary(model, version, percent, actor, reason)
    return f"{model} {version} has {percent:g} % of requests"


def _newest_other(ledger: Ledger, model: str) -> int:
    serves = ledger.slot(model).version
    others = [v.version for v in ledger.versions(model) if v.approval == "approved" and v.version != serves]
    if not others:
        raise UsageError(f"{model} has no approved version besides the one that serves; name one with --version")
    return others[-1]
