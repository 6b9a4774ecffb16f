"""``slipway models``: versions, their stages, who decided what, and what served when."""

from dataclasses import asdict
from pathlib import Path

import click

from pipelines.cli.console import console_of, table
from pipelines.cli.options import json_option, ledger_of, moment_of, place_of, service_of
from pipelines.cli.traffic import follow
from serving.errors import UsageError


def _one_model(ctx: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> str:
    """The model that is named, or the only one that there is."""
    if len(words) > 1:
        raise UsageError(f"expected one MODEL, got {' and '.join(words)}")
    if words:
        return words[0]
    names = ledger_of(ctx).models()
    if len(names) != 1:
        known = f"one of {', '.join(names)}" if names else "there is none yet, `slipway run` makes one"
        raise UsageError(f"MODEL is not named: {known}")
    return names[0]


# many, of which one is allowed: click gives a lone word to VERSION then, and not to the argument that may be left out
model_argument = click.argument("model", nargs=-1, metavar="[MODEL]", callback=_one_model)
version_argument = click.argument("version", type=int)
reason_option = click.option("--reason", required=True, help="Why; it is kept in the history.")


@click.group()
def models() -> None:
    """Versions and their life: development, staging, production, archived."""


@models.command("list")
@click.argument("model", required=False)
@json_option
@click.pass_context
def list_(ctx: click.Context, model: str | None) -> None:
    """All versions of MODEL, or of every model."""
    ledger = ledger_of(ctx)
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
    ledger = ledger_of(ctx)
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

    ledger = ledger_of(ctx)
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
    """What served MODEL at TIME, such as 2026-11-24T10:00 (UTC unless a zone is given)."""
    served = ledger_of(ctx).at(model, moment_of("TIME", time))
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
    ledger = ledger_of(ctx)
    ledger.approve(model, version, place.actor, reason)
    outcome = release_version(ledger, service_of(ctx, model), version, None, place.actor)
    console_of(ctx).result({"approved": version, "release": asdict(outcome)}, f"approved; {outcome.sentence}")


@models.command()
@model_argument
@version_argument
@reason_option
@json_option
@click.pass_context
def reject(ctx: click.Context, model: str, version: int, reason: str) -> None:
    """Keep VERSION from new traffic; what it serves already, it serves until `promote` or `rollback`."""
    found = ledger_of(ctx).reject(model, version, place_of(ctx).actor, reason)
    console_of(ctx).result({"version": asdict(found)}, f"{model} {version} is rejected")


@models.command()
@model_argument
@version_argument
@reason_option
@json_option
@click.pass_context
def promote(ctx: click.Context, model: str, version: int, reason: str) -> None:
    """Give VERSION all traffic, without a canary."""
    from serving.service import by_hand

    ledger, service = ledger_of(ctx), service_of(ctx, model)
    sentence = by_hand.promote(ledger, service, version, place_of(ctx).actor, reason)
    follow(ctx, ledger, service, sentence, production=version)


@models.command()
@model_argument
@reason_option
@json_option
@click.pass_context
def rollback(ctx: click.Context, model: str, reason: str) -> None:
    """Give all traffic back to the version before; a second time goes forward again."""
    from serving.service import by_hand

    ledger, service = ledger_of(ctx), service_of(ctx, model)
    sentence = by_hand.roll_back(ledger, service, place_of(ctx).actor, reason)
    follow(ctx, ledger, service, sentence, production=ledger.slot(model).version)


@models.command()
@model_argument
@version_argument
@reason_option
@json_option
@click.pass_context
def archive(ctx: click.Context, model: str, version: int, reason: str) -> None:
    """Put VERSION away; it can come back through staging."""
    found = ledger_of(ctx).move(model, version, "archived", place_of(ctx).actor, reason)
    console_of(ctx).result({"version": asdict(found)}, f"{model} {version} is archived")


@models.command()
@model_argument
@version_argument
@click.option("--joblib", "file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@json_option
@click.pass_context
def export(ctx: click.Context, model: str, version: int, file: Path) -> None:
    """Write VERSION's pipeline for a server that reads nothing else, such as KServe's stock runtime for scikit-learn.

    A bundle is checked before. Nothing checks the file: whoever can change it can run code where it is loaded.
    """
    from components.judging.champions import local_bundle
    from components.steps.keys import trusted_keys
    from serving.bundle.bundle import export_joblib

    place = place_of(ctx)
    export_joblib(local_bundle(ledger_of(ctx).version(model, version), place), file, trusted_keys(place.key))
    console_of(ctx).result({"version": version, "file": str(file)}, f"{model} {version} is written to {file}")
