"""``slipway rollout history, replay``: what was decided, and that it follows from what was seen."""

import time
from dataclasses import asdict

import click

from pipelines.cli.console import console_of
from pipelines.cli.options import json_option, model_option, service_of
from serving.errors import ConflictError


@click.command()
@model_option
@json_option
@click.pass_context
def history(ctx: click.Context, model: str) -> None:
    """The journal: each intent, decision and command with its numbers."""
    with service_of(ctx, model).desk() as desk:
        records = desk.records()
    lines = [
        f"{record.seq:>5}  {time.strftime('%H:%M:%S', time.gmtime(record.at))}  {record.rollout}  {record.kind:<8} "
        + str(record.body.get("sentence") or record.body.get("action") or record.body.get("command") or "")
        for record in records
    ]
    console_of(ctx).result({"records": [asdict(record) for record in records]}, "\n".join(lines) or "no rollout yet")


@click.command()
@model_option
@json_option
@click.pass_context
def replay(ctx: click.Context, model: str) -> None:
    """Decide everything again from the journal; any difference, or an edited record, is an error."""
    from serving.rollout.controller.replay import replay as again

    with service_of(ctx, model).desk() as desk:
        seen = again(desk.records())
    console_of(ctx).result({**asdict(seen), "identical": seen.identical}, f"replayed: identical {seen.identical}")
    if not seen.identical:
        raise ConflictError("the journal does not lead to the verdicts it holds; see `slipway rollout history`")
