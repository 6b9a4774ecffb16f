"""``slipway rollout set, promote, rollback``: traffic by hand, or an order where a rollout decides."""

import click

from pipelines.cli.options import json_option, ledger_of, model_option, place_of, service_of
from pipelines.cli.rollout.orders import order, reason_option
from pipelines.cli.traffic import follow


@click.command("set")
@click.argument("percent", type=click.FloatRange(0, 100))
@click.option("--version", type=int, help="The canary; by default the one that is, or the newest approved.")
@model_option
@json_option
@click.pass_context
def set_(ctx: click.Context, percent: float, version: int | None, model: str) -> None:
    """Give the canary PERCENT of requests by hand; 0 ends it."""
    from serving.service import by_hand

    ledger, service = ledger_of(ctx), service_of(ctx, model)
    follow(ctx, ledger, service, by_hand.give(ledger, service, version, percent, place_of(ctx).actor))


@click.command()
@click.option("--force", is_flag=True, help="Over missing evidence, never over harm; needs --reason.")
@reason_option
@model_option
@json_option
@click.pass_context
def promote(ctx: click.Context, force: bool, reason: str, model: str) -> None:
    """Give the canary everything: the live rollout's if its evidence allows, else the one set by hand."""
    from serving.service import by_hand

    ledger, service = ledger_of(ctx), service_of(ctx, model)
    if service.live() is not None:
        order(ctx, model, "promote", reason, force=force)
        return
    why = reason or "promoted by hand"
    follow(ctx, ledger, service, by_hand.promote(ledger, service, None, place_of(ctx).actor, why))


@click.command()
@reason_option
@model_option
@json_option
@click.pass_context
def rollback(ctx: click.Context, reason: str, model: str) -> None:
    """Back to the version before: a live rollout is aborted, else the ledger's previous version serves again."""
    from serving.service import by_hand

    ledger, service = ledger_of(ctx), service_of(ctx, model)
    if service.live() is not None:
        order(ctx, model, "abort", reason)
        return
    follow(ctx, ledger, service, by_hand.undo(ledger, service, place_of(ctx).actor, reason))
