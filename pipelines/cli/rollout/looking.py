"""``slipway rollout status, explain, page, history, replay``: how the newest rollout stands, and why."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.console import console_of
from pipelines.cli.options import json_option, model_option, place_of, service_of
from serving.errors import ConflictError

if TYPE_CHECKING:
    from serving.rollout.controller.desk import Desk
    from serving.rollout.state import RolloutState


@click.command()
@model_option
@json_option
@click.pass_context
def status(ctx: click.Context, model: str) -> None:
    """Phase, step, the split as configured, observed and realized, and the evidence against its threshold."""
    service = service_of(ctx, model)
    with service.desk() as desk:
        state, lease = _newest(desk), desk.current()
    from serving.service.follow import look  # the evidence of a rollout needs libraries that its absence does not

    seen = look(state, service, lease)
    lines = [
        f"rollout {seen.id}: {seen.candidate} against {seen.stable or 'nothing'}, phase {seen.phase}"
        + (f" ({seen.pause})" if seen.pause else f", step {min(seen.step + 1, seen.steps)} of {seen.steps}"),
        *(f"  {sentence}" for sentence in seen.sentences),
    ]
    console_of(ctx).result(seen.model_dump(mode="json"), "\n".join(lines))


@click.command()
@model_option
@json_option
@click.pass_context
def explain(ctx: click.Context, model: str) -> None:
    """Each gate's counts, the inputs of its formula, and what follows."""
    from serving.rollout.telling.explain import explain as read

    with service_of(ctx, model).desk() as desk:
        lines = read(_newest(desk))
    console_of(ctx).result({"lines": lines}, "\n".join(lines))


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="The file; by default the service's own page.")
@model_option
@json_option
@click.pass_context
def page(ctx: click.Context, output: Path | None, model: str) -> None:
    """Write the newest rollout as one HTML page: decision, split, evidence against its bars, timeline."""
    from serving.files import write_text
    from serving.rollout.telling.page import rollout_page
    from serving.service.follow import look

    service = service_of(ctx, model)
    with service.desk() as desk:
        state = _newest(desk)
        records = desk.records(state.id)
    path = (output or service.page or place_of(ctx).root / "rollout" / f"{model}.html").absolute()
    write_text(path, rollout_page(state, look(state, service), records, time.time()))
    console_of(ctx).result({"page": str(path), "rollout": state.id}, path.as_uri())


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


def _newest(desk: "Desk") -> "RolloutState":
    stored = desk.load()
    if stored is None:
        raise ConflictError("no rollout has been started for this service; slipway rollout start VERSION")
    return stored.state
