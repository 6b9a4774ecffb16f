"""``slipway tour``: the main job in one go, as ``make run`` does it."""

from pathlib import Path

import click

from pipelines.cli.console import console_of, json_option, place_of, project_option
from pipelines.cli.run import Progress

WORLDS = ("recession", "calm", "season")


@click.command()
@project_option
@click.option(
    "--world", type=click.Choice(WORLDS), default="recession", show_default=True, help="How the market goes on."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Of the endpoint; 0 picks a free one and keeps it."
)
@click.option("--keep", is_flag=True, help="Leave the endpoint running.")
@json_option
@click.pass_context
def tour(ctx: click.Context, project_path: Path, world: str, port: int, keep: bool) -> None:
    """Rows to live traffic; then the market turns, the alarm, the retraining, the canary, back and forward again.

    What the last tour left is put aside in `earlier/` below the home; what its runs computed is used again.
    """
    from pipelines import project as projects
    from pipelines.settings import DEFAULT_HOME
    from pipelines.tour import Story, Tour, serving
    from pipelines.tour_home import finish, prepare

    console = console_of(ctx)
    project, place = projects.load(project_path), place_of(ctx)
    prepare(place, project.name)
    story = Story(console.line)
    with serving(project_path, place, project.name, port, keep=keep) as address:
        played = Tour(project, project_path, place, world, story, Progress(console).show)
        played.address = address
        result = played.play()
    page = finish(place, story, result, address=address, kept=keep)
    minutes, seconds = divmod(int(story.happenings[-1].at), 60)
    console.line("", "")
    console.line("report", str(page))
    own = "slipway" if place.root == Path(DEFAULT_HOME).absolute() else f"slipway --home {place.home}"
    console.line("experiments", f"{own} ui   (MLflow, on http://127.0.0.1:5000)")
    if keep:
        console.line("endpoint", f"{address}/v1/models/{project.name}:predict; {own} serve stop ends it")
    else:
        console.line("try", "make run KEEP=1                    leave the endpoint running")
    console.line("try" if keep else "", f"{own} models history {project.name}   who decided what, and why")
    console.line("", f"{own} rollout explain            the evidence behind the canary")
    console.line("", f"the tour took {minutes} min {seconds} s")
