"""``slipway rollout pause, resume, approve, abort, unlock``: orders to the controller of the live rollout."""

from typing import Any

import click

from pipelines.cli.options import answer, model_option
from pipelines.cli.session import Session

reason_option = click.option("--reason", default="", help="Why; it is kept in the journal.")


def order(session: Session, name: Any, reason: str, *, force: bool = False, percent: float | None = None) -> None:
    """Have the controller of the model's rollout obey, and print its answer."""
    from serving.rollout.controller.persistence import Command
    from serving.service import by_hand

    command = Command(name, session.place.actor, reason, force=force, percent=percent)
    said = by_hand.order(session.service(), command)
    session.result({"command": name, "answer": said}, said)


def _verb(name: str, line: str) -> click.Command:
    """An order of which nothing but the reason can be said."""

    @click.command(name, help=line)
    @reason_option
    @model_option
    @answer
    def verb(session: Session, reason: str) -> None:
        order(session, name, reason)

    return verb


resume = _verb("resume", "Go on after a pause.")
approve = _verb("approve", "Let the step begin that waits for a person.")
abort = _verb("abort", "Send the candidate home.")


@click.command()
@click.option("--at", "percent", type=click.FloatRange(0, 100), help="Of requests; by default where it is.")
@reason_option
@model_option
@answer
def pause(session: Session, percent: float | None, reason: str) -> None:
    """Hold the split where it is, or at a share of your own."""
    order(session, "pause", reason, percent=percent)


@click.command()
@click.option("--force", is_flag=True, required=True, help="Say that no controller is alive.")
@model_option
@click.pass_obj
def unlock(session: Session, force: bool) -> None:  # noqa: ARG001 - asked for to be deliberate
    """Take the lease from a controller that is gone."""
    with session.service().desk() as desk:
        desk.unlock()
    session.line("unlocked", "the next controller goes on from the journal")
