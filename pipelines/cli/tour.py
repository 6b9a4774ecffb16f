"""``slipway tour``: the main job in one go, as ``make run`` does it."""

import time
from functools import partial
from pathlib import Path

import click

from pipelines.checkout import PIPELINES
from pipelines.cli.options import answer, project_option_of
from pipelines.cli.run import show
from pipelines.cli.session import Session
from serving.wire import predict_path

WORLDS = ("recession", "calm", "season")


@click.command()
@project_option_of(
    default=PIPELINES / "housing" / "project.yaml",
    help="Another project of the simulated market than the worked example.",
)
@click.option(
    "--world", type=click.Choice(WORLDS), default="recession", show_default=True, help="How the market goes on."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Of the endpoint; 0 picks a free one and keeps it."
)
@click.option("--keep", is_flag=True, help="Leave the endpoint running.")
@click.option("--again", is_flag=True, help="Play it again although nothing has changed since it came to its end.")
@answer
def tour(session: Session, world: str, port: int, keep: bool, again: bool) -> None:
    """Rows to live traffic; then the market turns, the alarm, the retraining, the canary, back and forward again.

    A finished tour stands while code and project are unchanged; --again plays it anew. What the last one left is then
    put aside in `earlier/` below the home; what its runs computed is used again.
    """
    from pipelines.here.serving import launch
    from pipelines.housing.tour.home import key_of, recorded

    project, place = session.project, session.place
    key = key_of(project, world)
    began = time.monotonic()
    found = None if again else recorded(place, key)
    if found is None:
        address = _play(session, key, world=world, port=port, keep=keep)
    else:
        for line in found[1]:
            session.line(line.subject, line.text, seconds=line.seconds)
        session.line("unchanged", f"this is the tour of {found[0]:%Y-%m-%d %H:%M} UTC; --again (AGAIN=1) plays it anew")
        address = launch(session.project_file, place, port) if keep else ""
    _what_next(session, address)
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    session.line("", f"it took {minutes} min {seconds} s")


def _play(session: Session, key: str, *, world: str, port: int, keep: bool) -> str:
    """The whole story; returns the address at which it went on, empty when nothing serves any more."""
    from pipelines.housing.tour.home import finish, prepare
    from pipelines.housing.tour.tour import Tour, TourLog, serving

    project, place = session.project, session.place
    prepare(place, project.name)
    story = TourLog(session.line)
    with serving(project, place, port, keep=keep) as address:
        played = Tour(project, place, world, story, address, partial(show, partial(story.tell, aside=True))).play()
    finish(place, story, played, key=key, address=address, kept=keep)
    return address if keep else ""


def _what_next(session: Session, address: str) -> None:
    from pipelines.settings import DEFAULT_HOME

    place, model = session.place, session.model
    own = "slipway" if place.root == Path(DEFAULT_HOME).absolute() else f"slipway --home {place.home}"
    session.line("", "")
    session.line("report", str(place.root / "report.html"))
    session.line("experiments", f"{own} ui   (MLflow, on http://127.0.0.1:5000)")
    if address:
        session.line("endpoint", f"{address}{predict_path(model)}; {own} serve stop ends it")
    else:
        session.line("try", "make run KEEP=1                    leave the endpoint running")
    session.line("try" if address else "", f"{own} models history {model}   who decided what, and why")
    session.line("", f"{own} rollout explain            the evidence behind the canary")
