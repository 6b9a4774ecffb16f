"""``slipway rollout``: traffic between two versions, by evidence or by hand."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.cli.console import (
    console_of,
    json_option,
    model_of,
    place_of,
    project_option,
    service_of,
    service_option,
)
from pipelines.cli.experiment import experiment
from pipelines.cli.rollout_controller import controller
from pipelines.cli.rollout_page import labels, page
from serving.errors import ConflictError, Inconclusive, RolledBack, UsageError

if TYPE_CHECKING:
    from pipelines.project import Project
    from serving.rollout.controller.desk import Desk
    from serving.service.service import Service

reason_option = click.option("--reason", default="", help="Why; it is kept in the journal.")


@click.group()
def rollout() -> None:
    """Move traffic to a new version step by step, by evidence; or set the split by hand."""


for _verb in (page, labels, experiment, controller):
    rollout.add_command(_verb)


@rollout.command()
@click.option("--rate", "rate_per_s", type=float, default=50.0, show_default=True, help="Requests per second expected.")
@project_option
@json_option
@click.pass_context
def plan(ctx: click.Context, rate_per_s: float, project_path: Path) -> None:
    """The steps, the requests each needs, and where traffic is too little for a verdict."""
    from serving.durations import spoken
    from serving.rollout.evidence.forecast import forecast

    project = _project(project_path)
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


@rollout.command()
@click.argument("version", type=int)
@click.option("--wait", is_flag=True, help="Wait for the end: 0 promoted, 10 rolled back, 20 paused.")
@project_option
@json_option
@click.pass_context
def start(ctx: click.Context, version: int, wait: bool, project_path: Path) -> None:
    """Start the project's plan for VERSION; starting it again joins the one that runs."""
    from serving.ledger.ledger import open_ledger
    from serving.service.release import release_version

    project, place = _project(project_path), place_of(ctx)
    ledger = open_ledger(place.ledger)
    service = service_of(ctx, project.name)
    outcome = release_version(ledger, service, version, project.rollout, place.actor, again=True)
    console_of(ctx).line("rollout", outcome.sentence, state=outcome.state)
    if outcome.state == "waiting":
        raise Inconclusive(outcome.sentence)
    if wait:
        _follow(ctx, project.name, version)


@rollout.command()
@service_option
@json_option
@click.pass_context
def status(ctx: click.Context, project_path: Path) -> None:
    """Phase, step, the split as configured, observed and realized, and the evidence against its threshold."""
    from pipelines.housing.tour.following import look

    service = _service(ctx, project_path)
    with service.desk() as desk:
        stored, lease = desk.load(), desk.current()
    if stored is None:
        raise ConflictError("no rollout has been started for this service; slipway rollout start VERSION")
    seen = look(stored.state, service, lease)
    lines = [
        f"rollout {seen.id}: {seen.candidate} against {seen.stable or 'nothing'}, phase {seen.phase}"
        + (f" ({seen.pause})" if seen.pause else f", step {min(seen.step + 1, seen.steps)} of {seen.steps}"),
        *(f"  {sentence}" for sentence in seen.sentences),
    ]
    console_of(ctx).result(seen.model_dump(mode="json"), "\n".join(lines))


@rollout.command()
@service_option
@json_option
@click.pass_context
def explain(ctx: click.Context, project_path: Path) -> None:
    """Each gate's counts, the inputs of its formula, and what follows."""
    from serving.rollout.telling.explain import explain as read

    with _desk(ctx, project_path) as desk:
        stored = desk.load()
    if stored is None:
        raise ConflictError("no rollout has been started for this service; slipway rollout start VERSION")
    lines = read(stored.state)
    console_of(ctx).result({"lines": lines}, "\n".join(lines))


@rollout.command()
@service_option
@json_option
@click.pass_context
def history(ctx: click.Context, project_path: Path) -> None:
    """The journal: each intent, decision and command with its numbers."""
    with _desk(ctx, project_path) as desk:
        records = desk.records()
    lines = [
        f"{record.seq:>5}  {time.strftime('%H:%M:%S', time.gmtime(record.at))}  {record.rollout}  {record.kind:<8} "
        + str(record.body.get("sentence") or record.body.get("action") or record.body.get("command") or "")
        for record in records
    ]
    console_of(ctx).result({"records": [asdict(record) for record in records]}, "\n".join(lines) or "no rollout yet")


@rollout.command()
@service_option
@json_option
@click.pass_context
def replay(ctx: click.Context, project_path: Path) -> None:
    """Decide everything again from the journal; any difference, or an edited record, is an error."""
    from serving.rollout.controller.replay import replay as again

    with _desk(ctx, project_path) as desk:
        seen = again(desk.records())
    console_of(ctx).result({**asdict(seen), "identical": seen.identical}, f"replayed: identical {seen.identical}")
    if not seen.identical:
        raise ConflictError("the journal does not lead to the verdicts it holds; see `slipway rollout history`")


def _command(name: str, summary: str, *, options: bool = False) -> None:
    """A subcommand that leaves an order for the controller."""

    @click.option("--force", is_flag=True, hidden=not options, help="Over missing evidence, never over harm.")
    @click.option("--adopt", "option", flag_value="adopt", hidden=name != "resume", help="Keep the changed split.")
    @click.option("--reassert", "option", flag_value="reassert", hidden=name != "resume", help="Restore ours.")
    @reason_option
    @service_option
    @json_option
    @click.pass_context
    def command(ctx: click.Context, force: bool, option: str | None, reason: str, project_path: Path) -> None:
        _order(ctx, project_path, name, reason, force=force, option=option or "")

    rollout.command(name, help=summary)(command)


_command("pause", "Hold the split where it is.")
_command("resume", "Go on after a pause.", options=True)
_command("approve", "Let the step begin that waits for a person.")
_command("abort", "Send the candidate home.")


@rollout.command("set")
@click.argument("percent", type=click.FloatRange(0, 100))
@click.option("--version", type=int, help="The canary; by default the one that is, or the newest approved.")
@service_option
@json_option
@click.pass_context
def set_(ctx: click.Context, percent: float, version: int | None, project_path: Path) -> None:
    """Give the canary PERCENT of requests by hand; 0 ends it."""
    from serving.ledger.ledger import open_ledger
    from serving.service.release import refuse_during_rollout

    name, place = model_of(ctx, project_path), place_of(ctx)
    refuse_during_rollout(service_of(ctx, name))
    ledger = open_ledger(place.ledger)
    chosen = version or _canary_version(ledger, name)
    slot = ledger.slot(name, "canary")
    ledger.canary(name, chosen, percent, place.actor, "set by hand", expected_revision=slot.revision)
    _await(ctx, name, f"{name} {chosen} has {percent:g} % of requests")


@rollout.command()
@click.option("--force", is_flag=True, help="Over missing evidence, never over harm; needs --reason.")
@reason_option
@service_option
@json_option
@click.pass_context
def promote(ctx: click.Context, force: bool, reason: str, project_path: Path) -> None:
    """Give the canary everything: the live rollout's if its evidence allows, else the one set by hand."""
    from serving.ledger.ledger import open_ledger

    name, place = model_of(ctx, project_path), place_of(ctx)
    if _live(ctx, project_path):
        _order(ctx, project_path, "promote", reason, force=force)
        return
    ledger = open_ledger(place.ledger)
    chosen = ledger.slot(name, "canary").version
    if chosen is None:
        raise ConflictError(f"{name} has no canary to promote; slipway rollout start VERSION, or set PERCENT")
    seen = ledger.slot(name, "production").revision
    ledger.promote(name, chosen, place.actor, reason or "promoted by hand", expected_revision=seen)
    _await(ctx, name, f"{name} {chosen} has all requests")


@rollout.command()
@reason_option
@service_option
@json_option
@click.pass_context
def rollback(ctx: click.Context, reason: str, project_path: Path) -> None:
    """Back to the version before: a live rollout is aborted, else the ledger's previous version serves again."""
    from serving.ledger.ledger import open_ledger

    name, place = model_of(ctx, project_path), place_of(ctx)
    if _live(ctx, project_path):
        _order(ctx, project_path, "abort", reason)
        return
    ledger = open_ledger(place.ledger)
    canary = ledger.slot(name, "canary")
    if canary.version is not None:
        ledger.canary(name, canary.version, 0, place.actor, reason or "by hand", expected_revision=canary.revision)
        _await(ctx, name, f"the canary {name} {canary.version} has no requests any more")
        return
    seen = ledger.slot(name, "production").revision
    slot = ledger.rollback(name, place.actor, reason or "rolled back by hand", expected_revision=seen)
    _await(ctx, name, f"{name} {slot.version} serves again")


@rollout.command()
@service_option
@json_option
@click.pass_context
def watch(ctx: click.Context, project_path: Path) -> None:
    """Follow the live rollout to its end: 0 promoted, 10 rolled back, 20 paused."""
    _follow(ctx, model_of(ctx, project_path), None)


@rollout.command()
@click.option("--runs", type=click.IntRange(50), default=200, show_default=True, help="Rollouts played per rule.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything that is drawn.")
@json_option
@click.pass_context
def simulate(ctx: click.Context, runs: int, seed: int) -> None:
    """False rollbacks and false promotions of the rule, beside thresholds and a peeking z-test."""
    from serving.rollout.decision.characteristics import operating_characteristics, table

    rows = operating_characteristics(runs, seed)
    console_of(ctx).result({"table": [row.model_dump(mode="json") for row in rows]}, table(rows))


@rollout.command()
@click.option("--force", is_flag=True, required=True, help="Say that no controller is alive.")
@service_option
@click.pass_context
def unlock(ctx: click.Context, force: bool, project_path: Path) -> None:  # noqa: ARG001 - asked for to be deliberate
    """Take the lease from a controller that is gone."""
    with _desk(ctx, project_path) as desk:
        desk.unlock()
    console_of(ctx).line("unlocked", "the next controller goes on from the journal")


def _project(path: Path) -> "Project":
    from pipelines import project as projects

    return projects.load(path)


def _service(ctx: click.Context, project_path: Path) -> "Service":
    return service_of(ctx, model_of(ctx, project_path))


def _desk(ctx: click.Context, project_path: Path) -> "Desk":
    return _service(ctx, project_path).desk()


def _live(ctx: click.Context, project_path: Path) -> bool:
    return _service(ctx, project_path).live() is not None


def _order(
    ctx: click.Context, project_path: Path, name: Any, reason: str, *, force: bool = False, option: str = ""
) -> None:
    """Leave a command in the controller's inbox and wait for its answer."""
    from serving.rollout.controller.persistence import Command

    service = _service(ctx, project_path)
    if service.live() is None:
        raise ConflictError("no rollout is live; nothing to change")
    with service.desk() as desk:
        number = desk.ask(Command(name, place_of(ctx).actor, reason, force=force, option=option))
        deadline = time.monotonic() + 10
        while (answer := desk.answered(number)) is None:
            if time.monotonic() > deadline:
                raise Inconclusive(
                    f"asked for {name}; no controller has answered yet, it does so when {service.keeper} runs"
                )
            time.sleep(service.poll_s)
    if not answer.startswith("done"):
        raise ConflictError(answer)
    console_of(ctx).result({"command": name, "answer": answer}, answer)


def _canary_version(ledger: Any, model: str) -> int:
    canary = ledger.slot(model, "canary").version
    if canary is not None:
        return int(canary)
    production = ledger.slot(model, "production").version
    others = [v.version for v in ledger.versions(model) if v.approval == "approved" and v.version != production]
    if not others:
        raise UsageError(f"{model} has no approved version besides the one that serves; name one with --version")
    return int(others[-1])


def _await(ctx: click.Context, model: str, sentence: str) -> None:
    from serving.ledger.ledger import open_ledger

    service = service_of(ctx, model)
    followed = service.await_traffic(open_ledger(place_of(ctx).ledger))
    text = sentence if followed else f"{sentence} as soon as {service.keeper} runs"
    console_of(ctx).result({"in_force": followed, "sentence": sentence}, text)


def _follow(ctx: click.Context, model: str, version: int | None) -> None:
    """Print each change until the rollout is over or waits for a person."""
    from pipelines.housing.tour.following import follow

    end = follow(place_of(ctx), model, console_of(ctx).line, version=version)
    if end.phase == "rolled back":
        raise RolledBack(end.sentence)
    if end.phase != "succeeded":
        raise Inconclusive(end.sentence)
