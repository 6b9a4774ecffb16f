"""The data stages on paths: what the doorways ``ingest``, ``validate`` and ``split`` call."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from components.data import snapshots, sources
from components.data.moments import moments, naive
from components.data.quarantine_report import quarantine_page
from components.data.split import SplitPolicy
from components.data.split import split as split_rows
from components.data.validation import require
from components.data.validation import validate as validate_rows
from components.steps.place import Place, s3_settings
from components.steps.telling import SHORT, tell
from serving.contract import Contract
from serving.durations import parse
from serving.errors import ConfigError
from serving.files import canonical_json, sha256_bytes, whole_directory, write_text


def ingest(source: str, contract: str, as_of: str, window: str, place: str, snapshot: str) -> str:
    """Write the table behind the URI *source* to the directory *snapshot*; returns the snapshot's id.

    Args:
        window: ``""`` for all rows, or a length such as ``180d``: only events since then, seen from *as_of*.
    """
    rules = Contract.model_validate_json(contract)
    frame = sources.read(source, s3=s3_settings(Place.model_validate_json(place)))
    if window:
        frame = recent(frame, rules, moment(as_of), window)
    written = snapshots.write(frame, Path(snapshot), source=source, key=rules.key)
    tell(f"snapshot {written.id[:SHORT]} ({written.rows:,} rows, {len(written.columns)} columns)")
    return written.id


def recent(frame: pl.DataFrame, contract: Contract, as_of: datetime, window: str) -> pl.DataFrame:
    """The rows whose event is at most *window* older than *as_of*; rows without a readable time stay for validation."""
    if contract.event_time is None or contract.event_time not in frame.columns:
        raise ConfigError(f"retrain.window is {window}, but the table has no event time; name contract.event_time")
    since = naive(as_of - parse(window))
    return frame.filter((moments(frame.schema, contract.event_time) >= since).fill_null(value=True))


def validate(contract: str, as_of: str, snapshot: str, accepted: str, quarantine: str) -> str:
    """Write accepted rows and quarantine; returns the accepted rows' snapshot id.

    Raises:
        DataError: a column is absent, or more rows are bad than the contract tolerates; the report is written first.
    """
    rules = Contract.model_validate_json(contract)
    result = validate_rows(snapshots.read(Path(snapshot)), rules, moment(as_of))
    with whole_directory(Path(quarantine)) as folder:
        result.quarantined.write_parquet(folder / "rows.parquet")
        write_text(folder / "report.json", result.report.model_dump_json(indent=2))
        write_text(folder / "report.html", quarantine_page(result.report))
    require(result.report, rules)
    written = snapshots.write(result.accepted, Path(accepted), source="validate", key=rules.key)
    tell(result.report.sentence)
    return written.id


def split(policy: str, contract: str, seed: int, accepted: str, train: str, holdout: str) -> str:
    """Write training and holdout rows; returns a digest of both."""
    rules = Contract.model_validate_json(contract)
    parts = split_rows(snapshots.read(Path(accepted)), SplitPolicy.model_validate_json(policy), rules, seed)
    left = snapshots.write(parts.train, Path(train), source="split", key=rules.key)
    right = snapshots.write(parts.holdout, Path(holdout), source="split", key=rules.key)
    tell(parts.sentence)
    return sha256_bytes(canonical_json({"train": left.id, "holdout": right.id}))


def moment(as_of: str) -> datetime:
    """The end of the day *as_of* (``2026-11-24``) or the moment in it, in UTC."""
    stated = datetime.fromisoformat(as_of)
    if len(as_of) == len("2026-11-24"):
        stated = stated.replace(hour=23, minute=59, second=59)
    return stated if stated.tzinfo else stated.replace(tzinfo=UTC)
