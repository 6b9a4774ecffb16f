"""The data stages on paths: what the doorways ``ingest``, ``validate`` and ``split`` call."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from components.data import snapshots, sources
from components.data.dealing import NoRows
from components.data.meeting import Needed
from components.data.moments import Recent, moment
from components.data.quarantine_report import quarantine_page
from components.data.split import SplitPolicy, columns, decide
from components.data.split_rule import inherited
from components.data.validation import Validator, require
from components.steps.place import Place, s3_settings
from components.steps.telling import SHORT, tell
from serving.bundle.files import SPLIT
from serving.contract import Contract
from serving.files import canonical_json, sha256_bytes, whole_directory, write_text


def ingest(source: str, as_of: str, window: str, place: Place, rules: str, snapshot: str) -> str:
    """Write the table behind the URI *source* to the directory *snapshot*; returns the snapshot's id.

    Args:
        window: ``""`` for all rows, or a length such as ``180d``: only events since then, seen from *as_of*.
        rules: path of the contract.
    """
    s3 = s3_settings(place)
    wanted = Contract.read(Path(rules))
    cut = Recent(wanted, moment(as_of), window) if window else None
    with sources.opened(source, s3, Needed.of(wanted)) as table:
        for notice in table.notices:
            tell(notice)
        chunks = map(cut, table.chunks()) if cut else table.chunks()
        written = snapshots.write_chunks(chunks, Path(snapshot), source=source, key=wanted.key)
    if cut and cut.unreadable:
        tell(f"{cut.unreadable:,} rows have no readable {wanted.event_time} and are in no window; they are left out")
    tell(f"snapshot {written.id[:SHORT]} ({written.rows:,} rows, {len(written.columns)} columns)")
    return written.id


def validate(contract: str, as_of: str, snapshot: str, accepted: str, quarantine: str) -> str:
    """Write accepted rows and quarantine; returns the accepted rows' snapshot id.

    Raises:
        DataError: a column is absent, or more rows are bad than the contract tolerates; the report is written first.
    """
    rules, rows = Contract.read(Path(contract)), Path(snapshot)
    with whole_directory(Path(quarantine)) as folder:
        with Validator(rules, moment(as_of), snapshots.size(rows), folder / "rows.parquet") as validator:
            good = [validator.note(found) for found in snapshots.each(rows, validator.judge)]
        with suppress(NoRows):  # which ``require`` says better
            snapshots.select(rows, {Path(accepted): good}, source="validate")
        write_text(folder / "report.json", validator.report.model_dump_json(indent=2))
        write_text(folder / "report.html", quarantine_page(validator.report))
    require(validator.report, rules)
    tell(validator.report.sentence)
    return snapshots.open_snapshot(Path(accepted)).id


def split(name: str, place: str, policy: str, contract: str, seed: int, accepted: str, train: str, holdout: str) -> str:
    """Write training and holdout rows, and beside the former the rule that chose them; returns a digest of both."""
    how, rules, rows = SplitPolicy.model_validate_json(policy), Contract.read(Path(contract)), Path(accepted)
    asked = columns(how, rules)
    each = partial(snapshots.each, rows, columns=asked)
    before = inherited(name, Place.model_validate_json(place)) if asked is None else None
    cut = decide(each, how, rules, seed, before)
    sides = list(each(cut.sides))
    sentence = cut.sentence(sides)
    chosen = {Path(train): [side.train for side in sides], Path(holdout): [side.held for side in sides]}
    left, right = snapshots.select(rows, chosen, source="split")
    write_text(Path(train) / SPLIT, cut.rule.model_dump_json())
    tell(sentence)
    return sha256_bytes(canonical_json({"train": left.id, "holdout": right.id}))
