"""A model from outside into the ledger, as a version that waits for somebody's word."""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from components.data.meeting import Needed
from components.judging.gates import GateReport
from components.modelling.given import bundle_given, read_model
from components.projects.project import Project
from components.recording.stages import enter
from components.steps.keys import opened_key
from components.steps.place import Place
from serving.files import sha256_file
from serving.ledger.values import Version

BY_HAND = "by-hand"  # in the place of a run


def give(
    project: Project,
    place: Place,
    file: Path,
    read_table: Callable[[str, Needed], pl.DataFrame],
    rows: str | None,
    reason: str,
) -> tuple[Version, str]:
    """The version that *file* became, and how good it is.

    Args:
        rows: table to judge it on; None: the project's own.
    """
    contract = project.contract
    table = read_table(rows or project.source.uri, Needed.of(contract))
    facts = {"made_by": BY_HAND, "file": sha256_file(file), "source": rows or project.source.uri}
    with tempfile.TemporaryDirectory() as name:
        bundle = Path(name) / "bundle"
        key, _ = opened_key(place.key)
        judged = bundle_given(read_model(file), table, contract, datetime.now(UTC), bundle, facts, key)
        verdict = GateReport(
            accepted=True, sentence=f"fitted elsewhere, no gate was asked ({reason}): {judged.sentence}"
        )
        _, version = enter(project.name, BY_HAND, place, str(bundle), verdict)
    return version, f"{judged.sentence}; next: slipway models approve {project.name} {version.version} --reason ..."
