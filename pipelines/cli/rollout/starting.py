"""``slipway rollout plan, start, watch, simulate``: what a rollout will need, its beginning and its end."""

from dataclasses import asdict

import click

from pipelines.cli.options import answer, model_option, project_option
from pipelines.cli.session import Session
from serving.errors import Inconclusive, RolledBack


@click.command()
@click.option("--rate", "rate_per_s", type=float, default=50.0, show_default=True, help="Requests per second expected.")
@project_option
@answer
def plan(session: Session, rate_per_s: float) -> None:
    """The steps, the requests each needs, and where traffic is too little for a verdict."""
    from serving.durations import spoken
    from serving.rollout.evidence.forecast import forecast

    project = session.project
    seen = forecast(project.rollout, rate_per_s)
    lines = [
        f"  {step.name:<8} {step.weight:>6.1%}  "
        + ("no certificate at these rates" if step.requests is None else f"{step.requests:>7,} requests")
        + ("" if step.seconds is None else f"  about {spoken(step.seconds)}")
        for step in seen.steps
    ]
    session.result(
        {"plan": project.rollout.model_dump(mode="json"), "hash": project.rollout.hash, "forecast": asdict(seen)},
        "\n".join([f"plan {project.rollout.hash[:12]} at {rate_per_s:g} requests/s", *lines, *seen.warnings]),
    )


@click.command()
@click.argument("version", type=int)
@click.option("--wait", is_flag=True, help="Wait for the end: 0 promoted, 10 rolled back, 20 paused.")
@project_option
@answer
def start(session: Session, version: int, wait: bool) -> None:
    """Start the project's plan for VERSION; starting it again joins the one that runs."""
    from serving.service.release import release_version

    plan, actor = session.project.rollout, session.place.actor
    outcome = release_version(session.ledger, session.service(), version, plan, actor, again=True)
    session.line("rollout", outcome.sentence, state=outcome.state)
    if outcome.state == "waiting":
        raise Inconclusive(outcome.sentence)
    if wait:
        _follow(session, version)


@click.command()
@model_option
@answer
def watch(session: Session) -> None:
    """Follow the live rollout to its end: 0 promoted, 10 rolled back, 20 paused."""
    _follow(session, None)


@click.command()
@click.option("--runs", type=click.IntRange(50), default=200, show_default=True, help="Rollouts played per rule.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything that is drawn.")
@answer
def simulate(session: Session, runs: int, seed: int) -> None:
    """False rollbacks and false promotions of the rule, beside thresholds and a peeking z-test."""
    from serving.rollout.decision.characteristics import operating_characteristics, table

    rows = operating_characteristics(runs, seed)
    session.result({"table": [row.model_dump(mode="json") for row in rows]}, table(rows))


def _follow(session: Session, version: int | None) -> None:
    """Print each change until the rollout is over or waits for a person."""
    from serving.service.follow import follow

    end = follow(session.service(), session.line, version=version)
    if end.phase == "rolled back":
        raise RolledBack(end.sentence)
    if end.phase != "succeeded":
        raise Inconclusive(end.sentence)
