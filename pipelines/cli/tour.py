"""``slipway tour``: the main job in one go, as ``make run`` does it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.checkout import PIPELINES
from pipelines.cli.console import console_of
from pipelines.cli.options import json_option, place_of
from pipelines.cli.run import Progress
from serving.wire import predict_path

if TYPE_CHECKING:
    from pipelines.project import Project

WORLDS = ("recession", "calm", "season")


@click.command()
@click.option(
    "--project",
    "project_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="SLIPWAY_PROJECT",
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
@json_option
@click.pass_context
def tour(ctx: click.Context, project_path: Path, world: str, port: int, keep: bool, again: bool) -> None:
    """Rows to live traffic; then the market turns, the alarm, the retraining, the canary, back and forward again.

    A finished tour stands while code and project are unchanged; --again plays it anew. What the last one left is then
    put aside in `earlier/` below the home; what its runs computed is used again.
    """
    from pipelines import project as projects
    from pipelines import project_file
    from pipelines.housing.tour.home import key_of, recorded

    console = console_of(ctx)
    project, place = projects.load(project_path), place_of(ctx)
    project_file.remember(project_path, place.root)
    key = key_of(project, world)
    began = time.monotonic()
    found = None if again else recorded(place, key)
    if found is None:
        address = _play(ctx, project, project_path, key, world=world, port=port, keep=keep)
    else:
        for line in found[1]:
            console.line(line.subject, line.text, seconds=line.seconds)
        console.line("unchanged", f"this is the tour of {found[0]:%Y-%m-%d %H:%M} UTC; --again (AGAIN=1) plays it anew")
        address = _endpoint(ctx, project, project_path, port) if keep else ""
    _what_next(ctx, project, address)
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    console.line("", f"it took {minutes} min {seconds} s")


def _play(
    ctx: click.Context, project: "Project", project_path: Path, key: str, *, world: str, port: int, keep: bool
) -> str:
    """The whole story; returns the address at which it went on, empty when nothing serves any more."""
    from pipelines.housing.tour.home import Said, finish, prepare
    from pipelines.housing.tour.tour import Tour, TourLog, serving

    console, place = console_of(ctx), place_of(ctx)
    lines: list[Said] = []

    def say(subject: str, text: str, *, seconds: float | None = None, **facts: Any) -> None:
        lines.append(Said(subject, text, seconds))
        console.line(subject, text, seconds=seconds, **facts)

    prepare(place, project.name)
    story = TourLog(say)
    with serving(project_path, place, project.name, port, keep=keep) as address:
        played = Tour(project, project_path, place, world, story, Progress(say).show)
        played.address = address
        result = played.play()
    finish(place, story, result, key=key, lines=lines, address=address, kept=keep)
    return address if keep else ""


def _endpoint(ctx: click.Context, project: "Project", project_path: Path, port: int) -> str:
    """The address of the endpoint, started when it does not run."""
    from pipelines.here import serving as serving_here
    from serving.local import client
    from serving.local.paths import service_directory
    from serving.local.service import serves

    place = place_of(ctx)
    directory = service_directory(place.serving, project.name)
    if serves(directory):
        return client.endpoint(directory)
    return serving_here.launch(project_path, place, port)


def _what_next(ctx: click.Context, project: "Project", address: str) -> None:
    from pipelines.settings import DEFAULT_HOME

    console, place = console_of(ctx), place_of(ctx)
    own = "slipway" if place.root == Path(DEFAULT_HOME).absolute() else f"slipway --home {place.home}"
    console.line("", "")
    console.line("report", str(place.root / "report.html"))
    console.line("experiments", f"{own} ui   (MLflow, on http://127.0.0.1:5000)")
    if address:
        console.line("endpoint", f"{address}{predict_path(project.name)}; {own} serve stop ends it")
    else:
        console.line("try", "make run KEEP=1                    leave the endpoint running")
    console.line("try" if address else "", f"{own} models history {project.name}   who decided what, and why")
    console.line("", f"{own} rollout explain            the evidence behind the canary")
