"""``slipway rollout plan, start, watch, simulate``: what a rollout will need, its beginning and its end."""

from dataclasses import asdict
from pathlib import Path

import click

from pipelines.cli.console import console_of
from pipelines.cli.options import json_option, ledger_of, model_option, place_of, project_option, service_of
from serving.errors import Inconclusive, RolledBack


@click.command()
@click.option("--rate", "rate_per_s", type=float, default=50.0, show_default=True, help="Requests per second expected.")
@project_option
@json_option
@click.pass_context
def plan(ctx: click.Context, rate_per_s: float, project_path: Path) -> None:
    """The steps, the requests each needs, and where traffic is too little for a verdict."""
    from pipelines import project as projects
    from serving.durations import spoken
    from serving.rollout.evidence.forecast import forecast

    project = projects.load(project_path)
    seen = forecast(project.rollout, rate_per_s)
    lines = [
        f"  {step.name:<8} {step.weight:>6.1%}  "
        + ("no certificate at these rates" if step.requests is None else f"{step.requests:>7,} requests")
        + ("" if step.seconds is None else f"  about {spoken(step.seconds)}")
        for step in seen.steps
    ]
    console_of(ctx).result(
        {"plan": project.rollout.model_dump(mode="json"), "hash": project.rollout.hash, "forecast": asdict(seen)},
        "\n".join([f"plan {project.rollout.hash[:12]} at {rate_per_s:g} requests/s", *lines, *seen.warnings]),
    )


@click.command()
@click.argument("version", type=int)
@click.option("--wait", is_flag=True, help="Wait for the end: 0 promoted, 10 rolled back, 20 paused.")
@project_option
@json_option
@click.pass_context
def start(ctx: click.Context, version: int, wait: bool, project_path: Path) -> None:
    """Start the project's plan for VERSION; starting it again joins the one that runs."""
    from pipelines import project as projects
    from serving.service.release import release_version

    project, service = projects.load(project_path), None
    service = service_of(ctx, project.name)
    outcome = release_version(ledger_of(ctx), service, version, project.rollout, place_of(ctx).actor, again=True)
    console_of(ctx).line("rollout", outcome.sentence, state=outcome.state)
    if outcome.state == "waiting":
        raise Inconclusive(outcome.sentence)
    if wait:
        _follow(ctx, project.name, version)


@click.command()
@model_option
@json_option
@click.pass_context
def watch(ctx: click.Context, model: str) -> None:
    """Follow the live rollout to its end: 0 promoted, 10 rolled back, 20 paused."""
    _follow(ctx, model, None)


@click.command()
@click.option("--runs", type=click.IntRange(50), default=200, show_default=True, help="Rollouts played per rule.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything that is drawn.")
@json_option
@click.pass_context
def simulate(ctx: click.Context, runs: int, seed: int) -> None:
    """False rollbacks and false promotions of the rule, beside thresholds and a peeking z-test."""
    from serving.rollout.decision.characteristics import operating_characteristics, table

    rows = operating_characteristics(runs, seed)
    console_of(ctx).result({"table": [row.model_dump(mode="json") for row in rows]}, table(rows))


def _follow(ctx: click.Context, model: str, version: int | None) -> None:
    """Print each change until the rollout is over or waits for a person."""
    from serving.service.follow import follow

    end = follow(service_of(ctx, model), console_of(ctx).line, version=version)
    if end.phase == "rolled back":
        raise RolledBack(end.sentence)
    if end.phase != "succeeded":
        raise Inconclusive(end.sentence)
