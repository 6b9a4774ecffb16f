"""``slipway models``: versions, their stages, who decided what, and what served when."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from pipelines.cli.console import console_of, json_option, place_of, service_of
from serving.errors import InfrastructureError, UsageError

if TYPE_CHECKING:
    from serving.ledger.ledger import Ledger

DEFAULT_MODEL = "housing"

model_argument = click.argument("model", default=DEFAULT_MODEL)
version_argument = click.argument("version", type=int)
reason_option = click.option("--reason", required=True, help="Why; it is kept in the history.")


@click.group()
def models() -> None:
    """Versions and their life: development, staging, production, archived."""


def _ledger(ctx: click.Context) -> "Ledger":
    from serving.ledger.ledger import open_ledger

    return open_ledger(place_of(ctx).ledger)


@models.command("list")
@click.argument("model", required=False)
@json_option
@click.pass_context
def list_(ctx: click.Context, model: str | None) -> None:
    """All versions of MODEL, or of every model."""
    ledger = _ledger(ctx)
    names = [model] if model else list(ledger.models())
    versions = [version for name in names for version in ledger.versions(name)]
    rows = [
        (v.model, str(v.version), v.stage, v.approval, v.created.strftime("%Y-%m-%d %H:%M"), v.digest[:12])
        for v in versions
    ]
    head = ("MODEL", "VERSION", "STAGE", "APPROVAL", "CREATED", "DIGEST")
    text = table([head, *rows]) if rows else "no versions yet; `slipway run` makes one"
    console_of(ctx).result({"versions": [asdict(v) for v in versions]}, text)


@models.command()
@model_argument
@version_argument
@json_option
@click.pass_context
def show(ctx: click.Context, model: str, version: int) -> None:
    """One version: what it was made of, how good it was, what became of it."""
    ledger = _ledger(ctx)
    found = ledger.version(model, version)
    approval = ledger.approval(model, version)
    lines = [
        f"{model} {version}: {found.stage}, {approval.verdict}"
        + (f" by {approval.actor} ({approval.reason})" if approval.actor else ""),
        f"  digest    {found.digest}",
        f"  bundle    {found.bundle_uri}",
        f"  run       {found.run_id}, snapshot {found.snapshot}",
        "  metrics   " + ", ".join(f"{name} {value:.6g}" for name, value in sorted(found.metrics.items())),
        *(f"  {key:<9} {value}" for key, value in sorted(found.provenance.items()) if isinstance(value, str | int)),
    ]
    console_of(ctx).result({"version": asdict(found), "approval": asdict(approval)}, "\n".join(lines))


@models.command()
@click.argument("model", required=False)
@json_option
@click.pass_context
def history(ctx: click.Context, model: str | None) -> None:
    """Who changed what, when and why; and whether the record is as it was written."""
    from serving.ledger.details import told

    ledger = _ledger(ctx)
    events = ledger.history(model)
    checked = ledger.verify()
    rows = [
        (e.at.strftime("%Y-%m-%d %H:%M:%S"), e.model, str(e.version), e.kind, told(e), e.actor, e.reason)
        for e in events
    ]
    text = table([("WHEN", "MODEL", "VERSION", "WHAT", "", "WHO", "WHY"), *rows]) + f"\n\n{checked.sentence}"
    console_of(ctx).result({"events": [asdict(e) for e in events], "verification": asdict(checked)}, text)


@models.command()
@click.argument("time")
@model_argument
@json_option
@click.pass_context
def at(ctx: click.Context, time: str, model: str) -> None:
    """What served MODEL at TIME, e.g. 2026-11-24T10:00 (UTC unless a zone is given)."""
    from datetime import UTC

    try:
        moment = datetime.fromisoformat(time)
    except ValueError as error:
        raise UsageError(f"TIME: expected a moment such as 2026-11-24T10:00, got {time!r}") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    served = _ledger(ctx).at(model, moment)
    text = "\n".join(
        f"{d.model} {d.version}  {d.traffic_percent:g} %  since {d.started:%Y-%m-%d %H:%M:%S}" for d in served
    )
    console_of(ctx).result({"served": [asdict(d) for d in served]}, text or f"nothing served {model} at {time}")


@models.command()
@model_argument
@version_argument
@reason_option
@json_option
@click.pass_context
def approve(ctx: click.Context, model: str, version: int, reason: str) -> None:
    """Let VERSION take traffic; a release that waited for it goes on."""
    from serving.service.release import release_version

    place = place_of(ctx)
    ledger = _ledger(ctx)
    ledger.approve(model, version, place.actor, reason)
    outcome = release_version(ledger, service_of(ctx, model), version, None, place.actor)
    console_of(ctx).result({"approved": version, "release": asdict(outcome)}, f"approved; {outcome.sentence}")


@models.command()
@model_argument
@version_argument
@reason_option
@json_option
@click.pass_context
def promote(ctx: click.Context, model: str, version: int, reason: str) -> None:
    """Give VERSION all traffic, without a canary."""
    from serving.service.release import refuse_during_rollout

    ledger, place = _ledger(ctx), place_of(ctx)
    refuse_during_rollout(service_of(ctx, model))
    seen = ledger.slot(model, "production").revision
    slot = ledger.promote(model, version, place.actor, reason, expected_revision=seen)
    _follow(ctx, model, {"production": slot.version}, f"{model} {slot.version} has all traffic")


@models.command()
@model_argument
@reason_option
@json_option
@click.pass_context
def rollback(ctx: click.Context, model: str, reason: str) -> None:
    """Give all traffic back to the version before; a second time goes forward again."""
    from serving.service.release import refuse_during_rollout

    ledger, place = _ledger(ctx), place_of(ctx)
    refuse_during_rollout(service_of(ctx, model))
    seen = ledger.slot(model, "production").revision
    slot = ledger.rollback(model, place.actor, reason, expected_revision=seen)
    _follow(ctx, model, {"production": slot.version}, f"{model} {slot.version} serves again")


@models.command()
@model_argument
@version_argument
@reason_option
@json_option
@click.pass_context
def archive(ctx: click.Context, model: str, version: int, reason: str) -> None:
    """Put VERSION away; it can come back through staging."""
    found = _ledger(ctx).move(model, version, "archived", place_of(ctx).actor, reason)
    console_of(ctx).result({"version": asdict(found)}, f"{model} {version} is archived")


def _follow(ctx: click.Context, model: str, value: dict[str, Any], sentence: str) -> None:
    """Wait until traffic is what the ledger says; say so when nothing serves here."""
    service = service_of(ctx, model)
    try:
        followed = service.await_traffic(_ledger(ctx))
    except InfrastructureError as error:
        raise InfrastructureError(f"the ledger says so ({sentence}), but traffic does not follow: {error}") from error
    text = sentence if followed else f"{sentence} as soon as {service.keeper} runs"
    console_of(ctx).result({**value, "in_force": followed}, text)


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
