"""``slipway models``: versions, their stages, who decided what, and what served when."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from pipelines.cli.options import MOMENT, answer, project_option
from pipelines.cli.session import Session, table
from serving.errors import UsageError


def _one_model(ctx: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> str:
    """The model that is named, or the only one that there is."""
    if len(words) > 1:
        raise UsageError(f"expected one MODEL, got {' and '.join(words)}")
    if words:
        return words[0]
    session: Session = ctx.obj
    names = session.ledger.models()
    if len(names) != 1:
        known = f"one of {', '.join(names)}" if names else "there is none yet, `slipway run` makes one"
        raise UsageError(f"MODEL is not named: {known}")
    return names[0]


# many, of which one is allowed: click gives a lone word to VERSION then, and not to the argument that may be left out
model_argument = click.argument("model", nargs=-1, metavar="[MODEL]", callback=_one_model)
version_argument = click.argument("version", type=int)
FILE = click.Path(dir_okay=False, path_type=Path)
reason_option = click.option("--reason", required=True, help="Why; it is kept in the history.")


@click.group()
def models() -> None:
    """Versions and their life: development, staging, production, archived."""


@models.command("list")
@click.argument("model", required=False)
@answer
def list_(session: Session, model: str | None) -> None:
    """All versions of MODEL, or of every model."""
    ledger = session.ledger
    names = [model] if model else list(ledger.models())
    versions = [version for name in names for version in ledger.versions(name)]
    rows = [
        (v.model, str(v.version), v.stage, v.approval, v.created.strftime("%Y-%m-%d %H:%M"), v.digest[:12])
        for v in versions
    ]
    head = ("MODEL", "VERSION", "STAGE", "APPROVAL", "CREATED", "DIGEST")
    text = table([head, *rows]) if rows else "no versions yet; `slipway run` makes one"
    session.result({"versions": [asdict(v) for v in versions]}, text)


@models.command()
@model_argument
@version_argument
@answer
def show(session: Session, model: str, version: int) -> None:
    """One version: what it was made of, how good it was, what became of it."""
    ledger = session.ledger
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
        *(f"  gate      {notice}" for notice in found.provenance.get("gate", {}).get("notices", ())),
    ]
    session.result({"version": asdict(found), "approval": asdict(approval)}, "\n".join(lines))


@models.command()
@click.argument("model", required=False)
@answer
def history(session: Session, model: str | None) -> None:
    """Who changed what, when and why; and whether the record is as it was written."""
    from serving.ledger.details import told

    ledger = session.ledger
    events = ledger.history(model)
    checked = ledger.verify()
    rows = [
        (e.at.strftime("%Y-%m-%d %H:%M:%S"), e.model, str(e.version), e.kind, told(e), e.actor, e.reason)
        for e in events
    ]
    text = table([("WHEN", "MODEL", "VERSION", "WHAT", "", "WHO", "WHY"), *rows]) + f"\n\n{checked.sentence}"
    session.result({"events": [asdict(e) for e in events], "verification": asdict(checked)}, text)


@models.command()
@click.argument("time", type=MOMENT)
@model_argument
@answer
def at(session: Session, time: datetime, model: str) -> None:
    """What served MODEL at TIME, such as 2026-11-24T10:00 (UTC unless a zone is given)."""
    served = session.ledger.at(model, time)
    text = "\n".join(
        f"{d.model} {d.version}  {d.traffic_percent:g} %  since {d.started:%Y-%m-%d %H:%M:%S}" for d in served
    )
    session.result({"served": [asdict(d) for d in served]}, text or f"nothing served {model} at {time}")


@models.command()
@model_argument
@version_argument
@reason_option
@answer
def approve(session: Session, model: str, version: int, reason: str) -> None:
    """Let VERSION take traffic; a release that waited for it goes on."""
    from serving.service.release import release_version

    ledger, actor = session.ledger, session.place.actor
    ledger.approve(model, version, actor, reason)
    outcome = release_version(ledger, session.service(model), version, None, actor)
    session.result({"approved": version, "release": asdict(outcome)}, f"approved; {outcome.sentence}")


@models.command()
@model_argument
@version_argument
@reason_option
@answer
def reject(session: Session, model: str, version: int, reason: str) -> None:
    """Keep VERSION from new traffic; what it serves already, it serves until `promote` or `rollback`."""
    found = session.ledger.reject(model, version, session.place.actor, reason)
    session.result({"version": asdict(found)}, f"{model} {version} is rejected")


@models.command()
@model_argument
@version_argument
@reason_option
@answer
def promote(session: Session, model: str, version: int, reason: str) -> None:
    """Give VERSION all traffic, without a canary."""
    from serving.service import by_hand

    ledger, service = session.ledger, session.service(model)
    sentence = by_hand.promote(ledger, service, version, session.place.actor, reason)
    session.await_traffic(ledger, service, sentence, production=version)


@models.command()
@model_argument
@reason_option
@answer
def rollback(session: Session, model: str, reason: str) -> None:
    """Give all traffic back to the version before; a second time goes forward again."""
    from serving.service import by_hand

    ledger, service = session.ledger, session.service(model)
    sentence = by_hand.roll_back(ledger, service, session.place.actor, reason)
    session.await_traffic(ledger, service, sentence, production=ledger.slot(model).version)


@models.command()
@model_argument
@version_argument
@reason_option
@answer
def archive(session: Session, model: str, version: int, reason: str) -> None:
    """Put VERSION away; it can come back through staging."""
    found = session.ledger.move(model, version, "archived", session.place.actor, reason)
    session.result({"version": asdict(found)}, f"{model} {version} is archived")


@models.command("import")
@click.argument("source", metavar="FILE")
@click.option("--rows", metavar="TABLE", help="Rows to judge it on; by default those the project holds out of its own.")
@click.option("--column", "named", metavar="NAME=COLUMN", multiple=True, help="Which column a name in FILE is.")
@click.option("--reason", help="Why it is taken though a gate refuses it; it is kept in the history.")
@project_option
@answer
def import_(session: Session, source: str, rows: str | None, named: tuple[str, ...], reason: str | None) -> None:
    """Make a version of a model that was fitted elsewhere; `models approve` gives it traffic.

    FILE is of skops, or a pickle of joblib, of XGBoost (.json, .ubj), LightGBM (.txt) or CatBoost (.cbm), a directory
    of MLflow, or models:/NAME/VERSION or runs:/ID/PATH of the project's tracking store. A pickle runs what it says as
    it is read, so it has to be yours. Columns, target, gates and guards are those of the project.
    """
    from pipelines.here.giving import give

    pairs = dict(_pair(word) for word in named)
    version, sentence = give(session.project, session.place, source, session.read_table, rows, reason, pairs)
    session.result({"version": asdict(version), "said": sentence}, f"{version.model} {version.version}: {sentence}")


@models.command()
@click.argument("teacher", metavar="[TEACHER]", required=False)
@click.option("--ask", metavar="FILE", type=FILE, help="Write the rows here that a teacher elsewhere is to answer.")
@click.option("--answers", metavar="FILE", type=FILE, help="Its answers to them, parquet or CSV.")
@click.option(
    "--rows", metavar="N", type=click.IntRange(0), help="Rows that are made besides; by default 4 a training row."
)
@click.option("--at-most", metavar="SHARE", default="5%", show_default=True, help="Loss that may be given away.")
@click.option("--column", "named", metavar="NAME=COLUMN", multiple=True, help="Which column a name in TEACHER is.")
@click.option("--reason", help="Why it is taken though it is refused; it is kept in the history.")
@project_option
@answer
def distill(
    session: Session,
    teacher: str | None,
    ask: Path | None,
    answers: Path | None,
    rows: int | None,
    at_most: str,
    named: tuple[str, ...],
    reason: str | None,
) -> None:
    """Teach the project's fast family what a slow model says; `models approve` gives the pupil traffic.

    TEACHER is what `models import` takes, or a pickle of anything with predict or predict_proba of a pandas table. One
    that lives elsewhere, such as an ensemble of AutoGluon, answers the rows of --ask; --answers brings that back.
    """
    from pipelines.here.distilling import Distilling

    if [teacher, ask, answers].count(None) != 2:
        raise UsageError("expected one of TEACHER, --ask FILE and --answers FILE")
    if (answers and rows is not None) or (named and not teacher):
        raise UsageError("--rows is for TEACHER and --ask, since answers are to the rows asked; --column for TEACHER")
    work = Distilling(session.project, session.place, session.read_table, rows, _share(at_most), reason)
    if ask is not None:
        count, wanted = work.ask(ask)
        noun = f"a column {wanted[0]}" if len(wanted) == 1 else f"columns {', '.join(wanted)} of probabilities"
        text = f"{count:,} rows are in {ask}; add {noun}, and give it back by `slipway models distill --answers FILE`"
        session.result({"file": str(ask), "rows": count, "columns": wanted}, text)
        return
    pairs = dict(_pair(word) for word in named)
    version, sentence = work.by_answers(answers) if answers else work.by_file(str(teacher), pairs)
    session.result({"version": asdict(version), "said": sentence}, f"{version.model} {version.version}: {sentence}")


def _share(word: str) -> float:
    try:
        share = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 10:
        raise UsageError(f"--at-most: expected a share such as 5% or 0.05, got {word!r}")
    return share


def _pair(word: str) -> tuple[str, str]:
    name, sign, column = word.rpartition("=")
    if not sign or not name or not column:
        raise UsageError(f"--column: expected NAME=COLUMN, got {word!r}")
    return name, column


@models.command()
@model_argument
@version_argument
@click.option("--joblib", "file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@answer
def export(session: Session, model: str, version: int, file: Path) -> None:
    """Write VERSION's pipeline for a server that reads nothing else, such as KServe's stock runtime for scikit-learn.

    A bundle is checked before. Nothing checks the file: whoever can change it can run code where it is loaded.
    """
    from components.judging.champions import local_bundle
    from components.steps.keys import trusted_keys
    from serving.bundle.bundle import export_joblib

    place = session.place
    export_joblib(local_bundle(session.ledger.version(model, version), place), file, trusted_keys(place.key))
    session.result({"version": version, "file": str(file)}, f"{model} {version} is written to {file}")
