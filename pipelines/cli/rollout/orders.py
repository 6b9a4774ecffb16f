"""``slipway rollout pause, resume, approve, abort, unlock``: orders to the controller of the live rollout."""

from typing import Any

import click

from pipelines.cli.console import console_of
from pipelines.cli.options import json_option, model_option, place_of, service_of

reason_option = click.option("--reason", default="", help="Why; it is kept in the journal.")


def order(ctx: click.Context, model: str, name: Any, reason: str, *, force: bool = False, option: str = "") -> None:
    """Have the controller of *model*'s rollout obey, and print its answer."""
    from serving.rollout.controller.persistence import Command
    from serving.service import by_hand

    command = Command(name, place_of(ctx).actor, reason, force=force, option=option)
    answer = by_hand.order(service_of(ctx, model), command)
    console_of(ctx).result({"command": name, "answer": answer}, answer)


@click.command()
@reason_option
@model_option
@json_option
@click.pass_context
def pause(ctx: click.Context, model: str, reason: str) -> None:
    """Hold the split where it is."""
    order(ctx, model, "pause", reason)


@click.command()
@click.option("--adopt", "option", flag_value="adopt", help="Keep the changed split.")
@click.option("--reassert", "option", flag_value="reassert", help="Restore ours.")
@reason_option
@model_option
@json_option
@click.pass_context
def resume(ctx: click.Context, model: str, option: str | None, reason: str) -> None:
    """Go on after a pause."""
    order(ctx, model, "resume", reason, option=option or "")


@click.command()
@reason_option
@model_option
@json_option
@click.pass_context
def approve(ctx: click.Context, model: str, reason: str) -> None:
    """Let the step begin that waits for a person."""
    order(ctx, model, "approve", reason)


@click.command()
@reason_option
@model_option
@json_option
@click.pass_context
def abort(ctx: click.Context, model: str, reason: str) -> None:
    """Send the candidate home."""
    order(ctx, model, "abort", reason)


@click.command()
@click.option("--force", is_flag=True, required=True, help="Say that no controller is alive.")
@model_option
@click.pass_context
def unlock(ctx: click.Context, force: bool, model: str) -> None:  # noqa: ARG001 - asked for to be deliberate
    """Take the lease from a controller that is gone."""
    with service_of(ctx, model).desk() as desk:
        desk.unlock()
    console_of(ctx).line("unlocked", "the next controller goes on from the journal")
