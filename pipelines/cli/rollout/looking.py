"""``slipway rollout status, explain, page, history, replay``: how the newest rollout stands, and why."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer, model_option
from pipelines.cli.session import Session
from serving.errors import ConflictError

if TYPE_CHECKING:
    from serving.rollout.controller.desk import Desk
    from serving.rollout.state import RolloutState


@click.command()
@model_option
@answer
def status(session: Session) -> None:
    """Phase, step, the split as configured, observed and realized, and the evidence against its threshold."""
    service = session.service()
    with service.desk() as desk:
        stored, lease = desk.load(), desk.current()
        edited = "" if stored is not None else service.edited(0.0, time.time())
        if edited:
            session.result({"sentences": [edited]}, edited)
            return
        state = _newest(desk)
    from serving.service.follow import look  # the evidence of a rollout needs libraries that its absence does not

    seen = look(state, service, lease)
    lines = [
        f"rollout {seen.id}: {seen.candidate} against {seen.stable or 'nothing'}, phase {seen.phase}"
        + (f" ({seen.pause})" if seen.pause else f", step {min(seen.step + 1, seen.steps)} of {seen.steps}"),
        *(f"  {sentence}" for sentence in seen.sentences),
    ]
    session.result(seen.model_dump(mode="json"), "\n".join(lines))


@click.command()
@model_option
@answer
def explain(session: Session) -> None:
    """Each gate's counts, the inputs of its formula, and what follows."""
    from serving.rollout.telling.explain import explain as read

    with session.service().desk() as desk:
        lines = read(_newest(desk))
    session.result({"lines": lines}, "\n".join(lines))


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="The file; by default the service's own page.")
@model_option
@answer
def page(session: Session, output: Path | None) -> None:
    """Write the newest rollout as one HTML page: decision, split, evidence against its bars, timeline."""
    from serving.files import write_text
    from serving.rollout.telling.page import rollout_page
    from serving.service.follow import look

    service = session.service()
    with service.desk() as desk:
        state = _newest(desk)
        records = desk.records(state.id)
    path = (output or service.page or session.place.root / "rollout" / f"{session.model}.html").absolute()
    write_text(path, rollout_page(state, look(state, service), records, time.time()))
    session.result({"page": str(path), "rollout": state.id}, path.as_uri())


@click.command()
@model_option
@answer
def history(session: Session) -> None:
    """The journal: each intent, decision and command with its numbers."""
    with session.service().desk() as desk:
        records = desk.records()
    lines = [
        f"{record.seq:>5}  {time.strftime('%H:%M:%S', time.gmtime(record.at))}  {record.rollout}  {record.kind:<8} "
        + str(record.body.get("sentence") or record.body.get("action") or record.body.get("command") or "")
        for record in records
    ]
    session.result({"records": [asdict(record) for record in records]}, "\n".join(lines) or "no rollout yet")


@click.command()
@model_option
@answer
def replay(session: Session) -> None:
    """Decide everything again from the journal; any difference, or an edited record, is an error."""
    from serving.rollout.controller.replay import replay as again

    with session.service().desk() as desk:
        seen = again(desk.records())
    session.result({**asdict(seen), "identical": seen.identical}, f"replayed: identical {seen.identical}")
    if not seen.identical:
        raise ConflictError("the journal does not lead to the verdicts it holds; see `slipway rollout history`")


def _newest(desk: "Desk") -> "RolloutState":
    stored = desk.load()
    if stored is None:
        raise ConflictError("no rollout has been started for this service; slipway rollout start VERSION")
    return stored.state
