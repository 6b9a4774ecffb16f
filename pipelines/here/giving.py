"""A model from outside into the ledger, held to the project's gates, as a version that waits for somebody's word."""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from components.data import snapshots
from components.data import stages as of_data
from components.data.meeting import Needed
from components.judging import stages as of_judging
from components.judging.evaluation import Evaluation
from components.judging.gates import GateReport
from components.modelling.given.bundling import bundle_given
from components.modelling.given.reading import ACCEPTED, read_model
from components.projects.project import Project
from components.recording.stages import enter
from components.recording.tracking import downloaded
from components.steps.keys import opened_key
from components.steps.place import Place
from serving.errors import GateRefusal, UsageError
from serving.files import read_json, sha256_file, sha256_files, write_text
from serving.ledger.values import Version

BY_HAND = "by-hand"  # in the place of a run
STORED = ("models:/", "runs:/")


def give(
    project: Project,
    place: Place,
    source: str,
    read_table: Callable[[str, Needed], pl.DataFrame],
    rows: str | None,
    reason: str | None,
    named: Mapping[str, str],
) -> tuple[Version, str]:
    """The version that the model in *source* became, and what there is to say of it.

    Args:
        source: a path, or an address of the project's own tracking store.
        rows: table to judge it on; None: those that the project holds out of its own.
        reason: why it is taken though a gate refuses it; None: it is not.
        named: the contract's column for a name in the file.

    Raises:
        GateRefusal: a gate or guard of the project refuses it, and nobody says why it should be taken.
    """
    table = read_table(rows or project.source.uri, Needed.of(project.contract))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = brought(source, place, folder)
        facts = {"made_by": BY_HAND, "file": digest_of(file), "source": rows or project.source.uri}
        known, held = sides(project, place, table, folder, whole=rows is not None)
        key, _ = opened_key(place.key)
        model, bundle = read_model(file, named), folder / "bundle"
        found = bundle_given(model.ready, known, held, project.contract, bundle, facts, key)
        version = entered(project, place, folder, "fitted elsewhere", reason)
    return version, _told(version, *found)


def entered(project: Project, place: Place, folder: Path, what: str, reason: str | None, mistake: str = "") -> Version:
    """The version that the bundle in *folder* becomes, judged on the rows held out there.

    Args:
        what: how it was made, for the history.
        mistake: why it would be refused whatever the gates say; empty for no such thing.

    Raises:
        GateRefusal: as ``give``.
    """
    verdict = _judged(project, place, folder)
    sentence = "; ".join(filter(None, (mistake, verdict.sentence)))
    refused = bool(mistake) or not verdict.accepted
    if refused and reason is None:
        raise GateRefusal(f"{sentence}; nothing was registered, --reason WHY takes it all the same")
    taken = f"taken all the same ({reason}), though {sentence}" if refused else sentence
    verdict = verdict.model_copy(update={"accepted": True, "sentence": f"{what}; {taken}"})
    return enter(project.name, BY_HAND, place, str(folder / "bundle"), verdict)[1]


def _told(version: Version, judged: Evaluation, notes: tuple[str, ...]) -> str:
    """What there is to know and to do."""
    seen = f"judged on {judged.rows:,} rows, of which nobody here knows whether it was fitted on them"
    return told(version, judged.sentence, seen, *notes)


def told(version: Version, *more: str) -> str:
    """What was judged of *version*, what *more* there is to know, and the next move."""
    said = (version.provenance["gate"]["sentence"], *more)
    return "; ".join(said) + f"; next: slipway models approve {version.model} {version.version} --reason ..."


def brought(source: str, place: Place, folder: Path) -> Path:
    """The file or directory that *source* means, fetched to *folder* where it lies in the tracking store."""
    if source.startswith(STORED):
        return downloaded(source, place.tracking, folder / "model")
    if not Path(source).exists():
        raise UsageError(f"{source}: no such file or directory; expected {ACCEPTED}")
    return Path(source)


def digest_of(file: Path) -> str:
    """Of a file, or of all in a directory."""
    if not file.is_dir():
        return sha256_file(file)
    return sha256_files(file, (one for one in file.rglob("*") if one.is_file()))


def sides(
    project: Project, place: Place, table: pl.DataFrame, folder: Path, *, whole: bool
) -> tuple[pl.DataFrame | None, pl.DataFrame]:
    """The rows before and those to judge on, as the steps of a run make them; the latter are left in *folder* too."""
    rules, now = folder / "contract.json", datetime.now(UTC).isoformat()
    write_text(rules, project.contract.model_dump_json())
    snapshots.write(table, folder / "rows", source="given", key=project.contract.key)
    accepted, train, holdout = (str(folder / part) for part in ("accepted", "train", "holdout"))
    with silent():
        good = holdout if whole else accepted
        of_data.validate(str(rules), now, str(folder / "rows"), good, str(folder / "quarantine"))
        if not whole:
            how, seed = project.split.model_dump_json(), project.seed
            of_data.split(project.name, place.model_dump_json(), how, str(rules), seed, accepted, train, holdout)
    return None if whole else snapshots.read(Path(train)), snapshots.read(Path(holdout))


def _judged(project: Project, place: Place, folder: Path) -> GateReport:
    """What the project's gates and guards say of the bundle in *folder*, beside the champion if there is one."""
    holdout, bundle, evaluation, decision = (
        str(folder / part) for part in ("holdout", "bundle", "evaluation", "decision")
    )
    asked, slices = project.demands.model_dump_json(exclude_unset=True), json.dumps(project.along)
    with silent():
        of_judging.evaluate(slices, place.key, holdout, bundle, evaluation)
        where = place.model_dump_json()
        of_judging.gate(project.name, asked, slices, where, evaluation, holdout, bundle, decision)
    return GateReport.model_validate(read_json(folder / "decision" / "decision.json"))


def silent() -> contextlib.redirect_stdout[io.StringIO]:
    """Steps print a line for the run that they are of; this is none."""
    return contextlib.redirect_stdout(io.StringIO())
