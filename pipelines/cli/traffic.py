"""The end of a verb that changed the ledger's slots: traffic follows, and the answer says whether it has."""

from typing import TYPE_CHECKING, Any

import click

from pipelines.cli.console import console_of
from serving.errors import InfrastructureError

if TYPE_CHECKING:
    from serving.ledger.ledger import Ledger
    from serving.service.service import Service


def follow(ctx: click.Context, ledger: "Ledger", service: "Service", sentence: str, **facts: Any) -> None:
    """Wait until traffic is what the ledger says; say so when nobody looks after the service.

    Raises:
        InfrastructureError: traffic does not follow; the message says that the ledger has changed all the same.
    """
    try:
        followed = service.await_traffic(ledger)
    except InfrastructureError as error:
        raise InfrastructureError(f"the ledger says so ({sentence}), but traffic does not follow: {error}") from error
    text = sentence if followed else f"{sentence} as soon as {service.keeper} runs"
    console_of(ctx).result({**facts, "in_force": followed, "sentence": sentence}, text)
