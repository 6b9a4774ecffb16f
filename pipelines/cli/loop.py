"""``slipway loop``: watch, and train again when there is a reason."""

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import MOMENT, answer, project_option
from pipelines.cli.run import conclude, show
from pipelines.cli.session import Session
from pipelines.cli.watch import labels_option, tell
from serving.errors import SlipwayError, UsageError

if TYPE_CHECKING:
    from pipelines.loop.decide import LoopDecision
    from pipelines.loop.watch import Watched


@click.command()
@project_option
@labels_option
@click.option("--source", metavar="URI", help="Train on this table instead of the project's.")
@click.option("--once", is_flag=True, help="One look, at most one run; the default.")
@click.option("--every", metavar="LENGTH", help="Look again after LENGTH, e.g. 1h, until interrupted.")
@click.option(
    "--as-of", type=MOMENT, metavar="TIME", help="With --once: pretend that it is this moment (default now, UTC)."
)
@answer
def loop(
    session: Session, labels: str | None, source: str | None, once: bool, every: str | None, as_of: datetime | None
) -> int:
    """Turn an alarm, a schedule or new data into one training run, or say why not.

    The project's `retrain` section decides: which reasons count, the least time between two runs, and how many fresh
    labels a run needs. A run ends as `slipway run` does: 0 released, 5 refused by a gate, 20 waiting for approval.
    """
    if every and (once or as_of):
        raise UsageError("--every goes with neither --once nor --as-of; leave it out for a single look")
    pause = _length(every) if every else None
    if pause is None:
        return _turn(session, as_of or datetime.now(UTC), labels, source)
    while True:
        try:
            _turn(session, datetime.now(UTC), labels, source)
        except SlipwayError as error:  # the next look may find things mended
            session.line("failed", str(error), exit_code=error.exit_code)
        time.sleep(pause.total_seconds())


def _turn(session: Session, now: datetime, labels: str | None, source: str | None) -> int:
    from pipelines.loop.turn import turn

    def decided(decision: "LoopDecision", watched: "Watched | None") -> None:
        if watched is not None:
            tell(session, watched)
        session.line("loop", decision.sentence, run=decision.run, trigger=decision.trigger)

    told = partial(show, session.line)
    done = turn(session.project, session.place, now, labels=labels, source=source, on_decision=decided, on_event=told)
    if done.result is None:
        return 0
    conclude(session, done.result)
    session.close()
    return done.result.exit_code


def _length(text: str) -> timedelta:
    from serving.durations import parse

    try:
        length = parse(text)
    except ValueError as error:
        raise UsageError(f"--every: {error}, got {text!r}") from error
    if length < timedelta(seconds=1):
        raise UsageError(f"--every: expected at least 1s, got {text!r}")
    return length
