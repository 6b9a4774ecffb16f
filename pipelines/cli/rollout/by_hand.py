"""``slipway rollout set, promote, rollback``: traffic by hand, or an order where a rollout decides."""

import click

from pipelines.cli.options import answer, model_option
from pipelines.cli.rollout.orders import order, reason_option
from pipelines.cli.session import Session
from serving.errors import UsageError


@click.command("set")
@click.argument("percent", type=click.FloatRange(0, 100))
@click.option("--version", type=int, help="The canary; by default the one that is, or the newest approved.")
@model_option
@answer
def set_(session: Session, percent: float, version: int | None) -> None:
    """Give the canary PERCENT of requests by hand; 0 ends it."""
    from serving.service import by_hand

    ledger, service = session.ledger, session.service()
    session.await_traffic(ledger, service, by_hand.give(ledger, service, version, percent, session.place.actor))


@click.command()
@click.option("--force", is_flag=True, help="Over missing evidence, never over harm; needs --reason.")
@reason_option
@model_option
@answer
def promote(session: Session, force: bool, reason: str) -> None:
    """Give the canary everything: the live rollout's if its evidence allows, else the one set by hand."""
    from serving.service import by_hand

    ledger, service = session.ledger, session.service()
    if service.live() is not None:
        order(session, "promote", reason, force=force)
        return
    if force:
        raise UsageError("--force is for the missing evidence of a live rollout, and none is live; leave it out")
    why = reason or "promoted by hand"
    session.await_traffic(ledger, service, by_hand.promote(ledger, service, None, session.place.actor, why))


@click.command()
@reason_option
@model_option
@answer
def rollback(session: Session, reason: str) -> None:
    """Back to the version before: a live rollout is aborted, else the ledger's previous version serves again."""
    from serving.service import by_hand

    ledger, service = session.ledger, session.service()
    if service.live() is not None:
        order(session, "abort", reason)
        return
    session.await_traffic(ledger, service, by_hand.undo(ledger, service, session.place.actor, reason))
